"""import-visdrone: objects, and what counts neither as object nor as background."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
import strategies  # noqa: F401  (registers the hypothesis profile)
from click.testing import CliRunner
from hypothesis import given
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from written_sets import boxes_of, draw, expected, pixel_sets, run, write

from chipper.cli.main import main
from chipper.coco.reading import read_coco
from chipper.errors import AnnotationError
from chipper.formats.assembly import write_coco
from chipper.formats.visdrone import CATEGORIES, import_visdrone


def read(folder: Path, **options: Any):
    return run(import_visdrone, folder, folder / "coco.json", **options)


def one(folder: Path, text: str | bytes, stem: str = "a") -> Path:
    draw(folder / "images" / f"{stem}.jpg")
    write(folder / "annotations" / f"{stem}.txt", text)
    return folder


def test_names_and_ids_are_the_official_ones(tmp_path: Path) -> None:
    lines = "".join(f"{10 * k},20,5,6,1,{k},0,0\n" for k in range(1, 11))
    coco = read(one(tmp_path, lines)).coco
    assert [annotation["category_id"] for annotation in coco["annotations"]] == list(range(1, 11))
    assert coco["categories"][3] == {"id": 4, "name": "car"}
    assert coco["categories"][7] == {"id": 8, "name": "awning-tricycle"}
    assert coco["categories"][9] == {"id": 10, "name": "motor"}
    assert coco["annotations"][0]["bbox"] == [10, 20, 5, 6]


@given(pixel_sets(words=CATEGORIES))
def test_boxes_written_as_visdrone_come_back(tmp_path_factory: pytest.TempPathFactory, images: Any) -> None:
    folder = tmp_path_factory.mktemp("visdrone")
    for stem, size, objects in images:
        draw(folder / "images" / f"{stem}.png", size)
        lines = [
            f"{x1},{y1},{x2 - x1},{y2 - y1},{1 - difficult},{CATEGORIES.index(name) + 1},0,2"
            for name, (x1, y1, x2, y2), difficult in objects
        ]
        write(folder / "annotations" / f"{stem}.txt", "\r\n".join(lines))
    imported = read(folder)
    assert boxes_of(imported.coco) == expected(images)
    write_coco(imported, folder / "coco.json")
    assert len(read_coco(folder / "coco.json").skipped) == 0


def test_ignored_regions_and_others_are_crowds_of_every_category(tmp_path: Path) -> None:
    one(tmp_path, "1,2,30,40,1,4,0,0\n50,50,20,20,0,0,0,0\n100,10,9,9,0,11,0,0\n")
    imported = read(tmp_path)
    found = boxes_of(imported.coco)["a.jpg"]
    assert found[0] == ("car", (1, 2, 31, 42), 0)
    assert found[1:11] == [(name, (50, 50, 70, 70), 1) for name in CATEGORIES]
    assert found[11:] == [(name, (100, 10, 109, 19), 1) for name in CATEGORIES]
    assert [annotation["id"] for annotation in imported.coco["annotations"]] == list(range(1, 22))
    assert (imported.objects, imported.ignored) == (1, 20)
    dropped = read(tmp_path, difficult="drop")
    assert boxes_of(dropped.coco)["a.jpg"] == found[:1]
    assert dropped.left_out["difficult"].count == 2


def test_a_detection_in_an_ignored_region_is_no_false_alarm(tmp_path: Path) -> None:
    """Why there is a crowd for each category: pycocotools asks for one of the detection's own."""
    one(tmp_path, "1,2,30,40,1,4,0,0\n50,50,40,40,0,0,0,0\n")
    write_coco(read(tmp_path), tmp_path / "coco.json")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "coco.json"))
        boxes = [([60, 60, 10, 10], 0.9), ([1, 2, 30, 40], 0.8)]
        results = [{"image_id": 1, "category_id": 4, "bbox": box, "score": score} for box, score in boxes]
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_a_comma_at_the_end_and_empty_files(tmp_path: Path) -> None:
    one(tmp_path, "1,2,30,40,1,4,0,0,\n", "b")
    one(tmp_path, "", "a")
    assert {name: len(found) for name, found in boxes_of(read(tmp_path).coco).items()} == {"a.jpg": 0, "b.jpg": 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,2,3,4,1,4,0\n", "line 1: 7 fields, but VisDrone-DET has 8"),
        ("1,2,3,4,1,4,0,0\n1,7,1,2,3,4,1,4,0,0\n", "line 2: 10 fields"),
        ("1,2,3,4,1,12,0,0\n", "line 1: category 12 is not one of VisDrone's 0 to 11"),
        ("1,2,3,4,1,-1,0,0\n", "line 1: category -1"),
        ("1,2,3,4,1,1.5,0,0\n", "line 1: the category is 1.5"),
        ("1,2,x,4,1,1,0,0\n", "line 1: 'x' is not a usable number"),
        ("1,2,inf,4,1,1,0,0\n", "line 1: 'inf' is not a usable number"),
        (b"\xff\xfe", "line 1: it is not UTF-8 text"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, is_one_line: Any, text: str | bytes, says: str) -> None:
    one(tmp_path, "1,2,30,40,1,4,0,0\n", "good")
    one(tmp_path, text, "bad")
    imported = read(tmp_path)
    [line] = imported.problems
    assert line.startswith(f"{tmp_path / 'annotations' / 'bad.txt'}, {says}")
    assert [image["file_name"] for image in imported.coco["images"]] == ["good.jpg"]
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path, on_error="fail")
    assert is_one_line(caught.value) == line


def test_folders_and_images_that_are_not_there(tmp_path: Path, is_one_line: Any) -> None:
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path)
    said = is_one_line(caught.value)
    assert "has no folder annotations" in said
    assert said.endswith("or annotations")
    one(tmp_path, "1,2,30,40,1,4,0,0\n")
    one(tmp_path, "1,2,30,40,1,4,0,0\n", "b")
    draw(tmp_path / "images" / "c.jpg")
    (tmp_path / "images" / "b.jpg").unlink()
    imported = read(tmp_path)
    assert "b.txt: no image 'b' in" in imported.problems[0]
    assert imported.left_out["image without annotation file"].first == [str(tmp_path / "images" / "c.jpg")]


def test_the_command(tmp_path: Path) -> None:
    one(tmp_path, "1,2,30,40,1,4,0,0\n50,50,40,40,0,0,0,0\n")
    out = tmp_path / "coco.json"
    done = CliRunner().invoke(main, ["import-visdrone", str(tmp_path), "--out", str(out), "--ignored", "drop"])
    assert done.exit_code == 0, done.output
    assert "1 and 0 crowd records" in done.stdout
    assert len(read_coco(out).annotations) == 1
