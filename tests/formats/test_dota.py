"""import-dota: boxes around polygons, the polygons themselves, and the official categories."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import strategies  # noqa: F401  (registers the hypothesis profile)
from click.testing import CliRunner
from hypothesis import given
from written_sets import boxes_of, draw, expected, pixel_sets, run, write

from chipper.cli.main import main
from chipper.coco.reading import read_coco
from chipper.errors import AnnotationError
from chipper.formats.assembly import write_coco
from chipper.formats.dota import VERSIONS, import_dota

HEADER = "imagesource:GoogleEarth\ngsd:0.146343590398\n"
LINE = "10.0 10.0 50.0 20.0 45.0 40.0 5.0 30.0 plane 0\n"


def read(folder: Path, **options: Any):
    return run(import_dota, folder, folder / "coco.json", **options)


def one(folder: Path, text: str | bytes, stem: str = "P0001", labels: str = "labelTxt") -> Path:
    draw(folder / "images" / f"{stem}.png")
    write(folder / labels / f"{stem}.txt", text)
    return folder


def names(imported: Any) -> list[str]:
    return [category["name"] for category in imported.coco["categories"]]


def test_the_box_is_around_the_polygon_which_is_kept(tmp_path: Path) -> None:
    [annotation] = read(one(tmp_path, HEADER + LINE)).coco["annotations"]
    assert annotation["bbox"] == [5, 10, 45, 30]
    assert annotation["segmentation"] == [[10, 10, 50, 20, 45, 40, 5, 30]]
    assert annotation["area"] == 850  # 40 x 20 sheared by (40, 10) and (-5, 20): 40 * 20 + 10 * 5
    assert annotation["iscrowd"] == 0


@given(pixel_sets(words=VERSIONS[0]))
def test_boxes_written_as_dota_come_back(tmp_path_factory: pytest.TempPathFactory, images: Any) -> None:
    folder = tmp_path_factory.mktemp("dota")
    for stem, size, objects in images:
        draw(folder / "images" / f"{stem}.png", size)
        lines = [
            f"{x1}.0 {y1}.0 {x2}.0 {y1}.0 {x2}.0 {y2}.0 {x1}.0 {y2}.0 {name} {int(difficult)}"
            for name, (x1, y1, x2, y2), difficult in objects
        ]
        write(folder / "labelTxt" / f"{stem}.txt", HEADER + "\n".join(lines))
    imported = read(folder)
    assert boxes_of(imported.coco) == expected(images)
    assert names(imported) == list(VERSIONS[0])
    for annotation in imported.coco["annotations"]:
        assert annotation["area"] == annotation["bbox"][2] * annotation["bbox"][3]
    write_coco(imported, folder / "coco.json")
    assert len(read_coco(folder / "coco.json", masks=True).skipped) == 0


def test_ids_agree_between_versions() -> None:
    assert [len(version) for version in VERSIONS] == [15, 16, 18]
    for before, after in itertools.pairwise(VERSIONS):
        assert after[: len(before)] == before


@pytest.mark.parametrize(
    ("category", "wanted"),
    [
        ("swimming-pool", VERSIONS[0]),
        ("container-crane", VERSIONS[1]),
        ("helipad", VERSIONS[2]),
        ("wind-mill", ("plane", "wind-mill")),
    ],
)
def test_categories_are_those_of_the_version(tmp_path: Path, category: str, wanted: tuple[str, ...]) -> None:
    one(tmp_path, HEADER + LINE + LINE.replace("plane", category))
    assert names(read(tmp_path)) == list(wanted)


@pytest.mark.parametrize(("way", "crowds"), [("ignore", [0, 1, 1, 0]), ("keep", [0] * 4), ("drop", [0, 0])])
def test_difficult_objects(tmp_path: Path, way: str, crowds: list[int]) -> None:
    difficult = [LINE.replace("plane 0", f"plane {value}") for value in ("0", "1", "2", "")]
    imported = read(one(tmp_path, HEADER + "".join(difficult)), difficult=way)
    assert [annotation["iscrowd"] for annotation in imported.coco["annotations"]] == crowds


def test_polygons_over_the_border_keep_their_corners(tmp_path: Path) -> None:
    imported = read(one(tmp_path, "-10 10 30 10 30 30 -10 30 ship 0\n"))
    [annotation] = imported.coco["annotations"]
    assert annotation["bbox"] == [0, 10, 30, 20]
    assert annotation["segmentation"] == [[-10, 10, 30, 10, 30, 30, -10, 30]]
    assert imported.clipped == 1


def test_masks_go_into_chips(tmp_path: Path, build: Any) -> None:
    write_coco(read(one(tmp_path, HEADER + LINE)), tmp_path / "coco.json")
    counts = build(tmp_path / "coco.json", tmp_path / "chips", masks=True).dataset().counts
    assert counts["boxes_covered"] == counts["boxes"] == 1
    assert counts["skipped"] == {}


def test_label_folders(tmp_path: Path, is_one_line: Any) -> None:
    one(tmp_path, LINE, labels="labelTxt-v1.5/DOTA-v1.5_train")
    assert len(read(tmp_path).coco["images"]) == 1  # the images do not lie in such a folder
    one(tmp_path, LINE, labels="labelTxt-v2.0")
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path)
    assert "labelTxt-v1.5, labelTxt-v2.0; choose one with annotations" in is_one_line(caught.value)
    assert len(read(tmp_path, annotations=tmp_path / "labelTxt-v2.0").coco["images"]) == 1
    one(tmp_path, LINE)
    assert len(read(tmp_path).coco["images"]) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEADER + "1 2 3 4 5 6 7 plane 0\n", "line 3: 'plane' is not a usable number"),
        (HEADER + "1 2 3 4 5 6 7 8\n", "line 3: 8 fields"),
        (LINE + "1 2 3 4 5 6 7 8 small vehicle 0\n", "line 2: 11 fields"),
        ("1 2 3 4 5 6 7 8 plane hard\n", "line 1: 'hard' is not a usable number"),
        ("1 2 3 4 5 6 7 nan plane 0\n", "line 1: 'nan' is not a usable number"),
        (b"\xfe", "line 1: it is not UTF-8 text"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, is_one_line: Any, text: str | bytes, says: str) -> None:
    one(tmp_path, LINE, "good")
    one(tmp_path, text, "bad")
    imported = read(tmp_path)
    [line] = imported.problems
    assert line.startswith(f"{tmp_path / 'labelTxt' / 'bad.txt'}, {says}")
    assert [image["file_name"] for image in imported.coco["images"]] == ["good.png"]
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path, on_error="fail")
    assert is_one_line(caught.value) == line


def test_the_command_with_classes(tmp_path: Path) -> None:
    one(tmp_path, HEADER + LINE + LINE.replace("plane", "ship"))
    classes = write(tmp_path / "classes.txt", "ship\n")
    line = ["import-dota", str(tmp_path), "--out", str(tmp_path / "coco.json"), "--classes", str(classes)]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    assert "1 x category not asked for: plane" in done.stdout
    coco = read_coco(tmp_path / "coco.json")
    assert [category.name for category in coco.categories] == ["ship"]
    assert len(coco.annotations) == 1
    write(classes, "ship\nship\n")
    done = CliRunner().invoke(main, [*line, "--overwrite"])
    assert isinstance(done.exception, AnnotationError)
    assert "twice" in str(done.exception)
