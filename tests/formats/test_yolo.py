"""import-yolo: what ultralytics would train on, as COCO has it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import strategies  # noqa: F401  (registers the hypothesis profile)
from click.testing import CliRunner
from hypothesis import given
from PIL import Image, ImageOps
from written_sets import boxes_of, draw, pixel_sets, run, write

from chipper.cli.main import main
from chipper.coco.reading import read_coco
from chipper.errors import AnnotationError, OptionError, spelled
from chipper.formats.assembly import write_coco
from chipper.formats.chips import export_coco, export_yolo
from chipper.formats.yolo import import_yolo, label_file
from chipper.images.decoded import open_source
from chipper.parallel.workers import Workers
from chipper.storage.yaml_files import as_yaml_text

YAML = "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n"


def read(source: Path, split: str | None = None, out: Path | None = None, **options: Any):
    return run(
        import_yolo, source, out or (source if source.is_dir() else source.parent) / "coco.json", split, **options
    )


def problem(source: Path, is_one_line: Any, **options: Any) -> str:
    """The line of the one bad file, which is the same whether it is skipped or ends the run."""
    [line] = read(source, **options).problems
    with pytest.raises(AnnotationError) as caught:
        read(source, on_error="fail", **options)
    assert is_one_line(caught.value) == line
    return line


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """data.yaml with two training images, the second without a label file, and one to validate."""
    for name in ("train/a.jpg", "train/b.jpg", "val/c.jpg"):
        draw(tmp_path / "images" / name)
    write(tmp_path / "labels/train/a.txt", "0 0.5 0.5 0.25 0.5\n")
    write(tmp_path / "labels/val/c.txt", "1 0.5 0.5 1 1\n")
    return write(tmp_path / "data.yaml", YAML)


def test_boxes_polygons_and_images_without_labels(two: Path) -> None:
    write(two.parent / "labels/train/a.txt", "0 0.5 0.5 0.25 0.5\n\n1.0 0.1 0.1 0.3 0.1 0.3 0.4\n")
    coco = read(two).coco
    assert coco["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert boxes_of(coco) == {
        "images/train/a.jpg": [("cat", (75, 25, 125, 75), 0), ("dog", (20, 10, 60, 40), 0)],
        "images/train/b.jpg": [],
    }
    assert [annotation.get("segmentation") for annotation in coco["annotations"]] == [
        None,
        [[20, 10, 60, 10, 60, 40]],
    ]
    assert [annotation["area"] for annotation in coco["annotations"]] == [2500, 600]
    assert list(boxes_of(read(two, "val").coco)) == ["images/val/c.jpg"]


@given(pixel_sets())
def test_boxes_written_as_yolo_come_back(tmp_path_factory: pytest.TempPathFactory, images: Any) -> None:
    folder = tmp_path_factory.mktemp("yolo")
    names = sorted({name for _, _, objects in images for name, _, _ in objects})
    for stem, (width, height), objects in images:
        draw(folder / "images" / f"{stem}.png", (width, height))
        lines = [
            f"{names.index(name)} {(x1 + x2) / 2 / width:.7f} {(y1 + y2) / 2 / height:.7f} "
            f"{(x2 - x1) / width:.7f} {(y2 - y1) / height:.7f}"
            for name, (x1, y1, x2, y2), _ in objects
        ]
        write(folder / "labels" / f"{stem}.txt", "\n".join(lines))
    imported = read(folder, classes=tuple(names))
    found = boxes_of(imported.coco)
    assert imported.clipped == 0
    assert set(found) == {f"{stem}.png" for stem, _, _ in images}
    for stem, _, objects in images:
        for (name, box, _), (wanted, exact, _) in zip(found[f"{stem}.png"], objects, strict=True):
            assert name == wanted
            np.testing.assert_allclose(box, exact, atol=1e-4)
    write_coco(imported, folder / "coco.json")
    assert len(read_coco(folder / "coco.json").skipped) == 0


def test_what_export_yolo_wrote_comes_back(drawn: Any, tmp_path: Path, build: Any, export: Any) -> None:
    """The same chips with the same boxes as in export-coco, but for what YOLO has no word for."""
    workdir = build(drawn.coco, tmp_path / "chips", image_dir=drawn.images)
    export(workdir)
    for way, name in ((export_yolo, "yolo"), (export_coco, "coco")):
        way(workdir, tmp_path / name, epoch=0, val_share=0.3, workers=Workers(1))
    compared = 0
    for split in ("train", "val"):
        imported = read(tmp_path / "yolo", split)
        assert imported.problems == []
        found = boxes_of(imported.coco)
        truth = read_coco(tmp_path / "coco" / "annotations" / f"instances_{split}.json")
        raw = json.loads((tmp_path / "coco" / "annotations" / f"instances_{split}.json").read_text())
        names = {category.id: category.name for category in truth.categories}
        files = {image["id"]: image["file_name"] for image in raw["images"]}
        wanted: dict[str, list[Any]] = {f"images/{split}/{name}": [] for name in files.values()}
        for label in raw["annotations"]:
            if not label["ignore"]:
                x, y, w, h = label["bbox"]
                box = (x, y, min(x + w, 512), min(y + h, 512))
                wanted[f"images/{split}/{files[label['image_id']]}"].append((names[label["category_id"]], box))
        assert set(found) == set(wanted)
        for name, boxes in wanted.items():
            assert [entry[0] for entry in found[name]] == [entry[0] for entry in boxes]
            for got, expected in zip(found[name], boxes, strict=True):
                np.testing.assert_allclose(got[1], expected[1], atol=1e-3)
                compared += 1
    assert compared > 20


@pytest.mark.parametrize("flag", [1, 2, 3, 4, 5, 6, 7, 8])
def test_the_size_is_that_of_the_image_as_it_is_shown(two: Path, build: Any, flag: int) -> None:
    """For every flag: what OpenCV shows is what is declared, and what export-shards renders."""
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:50, :100] = 255  # white at the stored top left
    exif = Image.Exif()
    exif[0x0112] = flag
    path = two.parent / "images/train/a.jpg"
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    imported = read(two)
    image = imported.coco["images"][0]
    turned = flag >= 5
    assert (image["width"], image["height"]) == ((100, 200) if turned else (200, 100))
    assert boxes_of(imported.coco)["images/train/a.jpg"] == [
        ("cat", (37.5, 50, 62.5, 150) if turned else (75, 25, 125, 75), 0)
    ]
    # where the size does not give the flag away, the user is told
    assert len(imported.notes) == (flag in (2, 3, 4))
    assert all("give exif apply" in spelled(note) for note in imported.notes)
    write_coco(imported, two.parent / "coco.json")
    workdir = build(two.parent / "coco.json", two.parent / "chips", scales="1", valid_ranges=":")
    shown = open_source(path, (image["width"], image["height"]), "auto" if not imported.notes else "apply").pixels
    with Image.open(path) as file:
        assert np.array_equal(np.asarray(shown), np.asarray(ImageOps.exif_transpose(file).convert("RGB")))
    assert workdir.dataset().counts["skipped"] == {}


@pytest.mark.parametrize(
    ("yaml", "names"),
    [
        ("train: images/train\nnames:\n  0: cat\n  1: dog\n", ["cat", "dog"]),
        ("train: images/train\nnames: {7: emu, 0: cat}\n", ["cat", "emu"]),
        ("train: images/train\nnc: 3\n", ["class_0", "class_1", "class_2"]),
        ("path: ../somewhere/else\ntrain: images/train\nnames: [cat]\n", ["cat"]),
        ("train: ../images/train\nnames: [cat]\n", ["cat"]),
        ("train: [images/train, images/val]\nnames: [cat, dog]\n", ["cat", "dog"]),
        ("train: lists/train.txt\nnames: [2020, yes]\n", ["2020", "yes"]),
    ],
)
def test_ways_to_write_data_yaml(two: Path, yaml: str, names: list[str]) -> None:
    write(two.parent / "lists/train.txt", "../images/train/b.jpg\n./../images/train/a.jpg\n../images/train/a.jpg\n")
    write(two, yaml)
    coco = read(two).coco
    assert [category["name"] for category in coco["categories"]] == names
    expected = ["images/train/a.jpg", "images/train/b.jpg", "images/val/c.jpg"]
    assert [Path(image["file_name"]).name for image in coco["images"]] == [
        Path(name).name for name in expected[: 3 if "[images" in yaml else 2]
    ]
    top = two.parent / "images" if "[images" in yaml else two.parent  # which chipper both looks in
    assert all((top / image["file_name"]).is_file() for image in coco["images"])


def test_a_path_of_its_own(two: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "elsewhere" / "set.yaml", f"path: {tmp_path}\ntrain: images/train\nnames: [cat, dog]\n")
    imported = read(other, out=tmp_path / "coco.json")
    assert [image["file_name"] for image in imported.coco["images"]] == ["images/train/a.jpg", "images/train/b.jpg"]
    away = read(other)  # the COCO file lies where chipper does not find the images
    assert not away.found_beside
    assert away.image_dir == tmp_path / "images" / "train"
    assert [image["file_name"] for image in away.coco["images"]] == ["a.jpg", "b.jpg"]


def test_folders_without_data_yaml(two: Path) -> None:
    folder = two.parent
    two.unlink()
    with pytest.raises(AnnotationError, match="classes"):
        read(folder)
    write(folder / "classes.txt", "cat\ndog\n")
    assert len(read(folder).coco["images"]) == 3
    assert len(read(folder, "val").coco["images"]) == 1
    assert [category["name"] for category in read(folder, classes=("x", "y")).coco["categories"]] == ["x", "y"]
    with pytest.raises(OptionError, match="split test"):
        read(folder, "test")


def test_labels_beside_the_images(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    write(tmp_path / "a.txt", "0 0.5 0.5 1 1\n")
    write(tmp_path / "classes.txt", "cat\n")
    assert boxes_of(read(tmp_path).coco) == {"a.jpg": [("cat", (0, 0, 200, 100), 0)]}


@pytest.mark.parametrize(
    "path", ["/d/images/train/a.jpg", "images/a.png", "/images/images/x.y.jpg", "/d/photos/a.jpg", "/d/a.images/b.jpg"]
)
def test_the_label_file_is_where_ultralytics_looks(path: str) -> None:
    # ultralytics.data.utils.img2label_paths, which works on absolute paths
    images, labels = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    absolute = path if path.startswith("/") else f"/{path}"
    wanted = labels.join(absolute.rsplit(images, 1)).rsplit(".", 1)[0] + ".txt"
    assert str(label_file(Path(path))) == (wanted if path.startswith("/") else wanted[1:])


def test_keypoints_are_kept(two: Path) -> None:
    write(two, YAML + "kpt_shape: [2, 3]\n")
    write(two.parent / "labels/train/a.txt", "0 0.5 0.5 0.25 0.5 0.5 0.5 2 0 0 0\n")
    [annotation] = read(two).coco["annotations"]
    assert annotation["keypoints"] == [100, 50, 2, 0, 0, 0]
    assert annotation["num_keypoints"] == 1
    assert annotation["bbox"] == [75, 25, 50, 50]
    write(two, YAML + "kpt_shape: [2, 2]\n")
    write(two.parent / "labels/train/a.txt", "0 0.5 0.5 0.25 0.5 0.5 0.5 -1 -1\n")
    assert read(two).coco["annotations"][0]["keypoints"] == [100, 50, 2, 0, 0, 0]


@pytest.mark.parametrize(
    ("values", "keypoints"),
    [
        ("0 0.5 0.5 0.5", [0, 50, 2, 100, 50, 2]),
        ("0.5 0 0 0", [100, 0, 2, 0, 0, 2]),
        ("-0.1 0.5 0.5 -1", [0, 0, 0, 0, 0, 0]),
    ],
)
def test_points_of_two_numbers_at_the_border_are_seen(two: Path, values: str, keypoints: list[float]) -> None:
    """As in ultralytics, a point without v is visible unless a coordinate is negative; 0 is on the border of the image."""
    write(two, YAML + "kpt_shape: [2, 2]\n")
    write(two.parent / "labels/train/a.txt", f"0 0.5 0.5 0.25 0.5 {values}\n")
    [annotation] = read(two).coco["annotations"]
    assert annotation["keypoints"] == keypoints
    assert annotation["num_keypoints"] == sum(v > 0 for v in keypoints[2::3])


def test_boxes_over_the_border_are_clipped_and_rounding_is_not_counted(two: Path) -> None:
    write(
        two.parent / "labels/train/a.txt", "0 0.1 0.5 0.4 0.5\n0 0.1250001 0.5 0.2500003 1.0000001\n0 0.5 0.5 0 0.5\n"
    )
    imported = read(two)
    assert [box for _, box, _ in boxes_of(imported.coco)["images/train/a.jpg"]] == [
        (0, 25, 60, 75),
        (0, 0, pytest.approx(50, abs=1e-4), 100),
    ]
    assert imported.clipped == 1
    assert imported.left_out["box without area"].first == [f"{two.parent}/labels/train/a.txt, line 3"]


def test_labels_without_an_image_are_counted(two: Path) -> None:
    write(two.parent / "labels/train/lost.txt", "0 0.5 0.5 1 1\n")
    write(two.parent / "labels/train/classes.txt", "cat\ndog\n")
    imported = read(two)
    assert imported.left_out["label file without an image"].first == [str(two.parent / "labels/train/lost.txt")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 0.5 0.5 0.5 0.5\n2 0.5 0.5 1 1\n", "line 2: class 2 has no name; there are 2, from 0"),
        ("0.5 0.5 0.5 1 1\n", "line 1: the class is 0.5, which is not a whole number"),
        ("cat 0.5 0.5 1 1\n", "line 1: 'cat' is not a usable number"),
        ("0 0.5 0.5 1\n", "line 1: 4 fields"),
        ("0 0.5 0.5 1 1 0.9\n", "line 1: 6 fields"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4\n", "line 1: 8 fields"),
        ("0 50 25 20 10\n", "line 1: 50 is not a fraction of the image side"),
        ("0 0.5 0.5 nan 1\n", "line 1: 'nan' is not a usable number"),
        (b"\n0 0.5 0.5 1 \xff\n", "line 2: it is not UTF-8 text"),
        (b"\x00" * 40, "line 1: "),
    ],
)
def test_a_bad_label_file_is_one_line_and_its_image_is_left_out(
    two: Path, is_one_line: Any, text: str | bytes, says: str
) -> None:
    write(two.parent / "labels/train/b.txt", text)
    line = problem(two, is_one_line)
    assert f"labels/train/b.txt, {says}" in line
    assert list(boxes_of(read(two).coco)) == ["images/train/a.jpg"]


def test_keypoints_of_another_shape_are_one_line(two: Path, is_one_line: Any) -> None:
    write(two, YAML + "kpt_shape: [2, 3]\n")
    write(two.parent / "labels/train/a.txt", "0 0.5 0.5 0.25 0.5 0.5 0.5 2 0 0 0\n")
    write(two.parent / "labels/train/b.txt", "0 0.5 0.5 0.25 0.5 0.5 0.5 2\n")
    assert "line 1: 8 fields, but kpt_shape needs 11" in problem(two, is_one_line)


def test_lost_and_damaged_images_are_one_line(two: Path, is_one_line: Any) -> None:
    write(two.parent / "images/train/b.jpg", b"\xff\xd8 no image")
    assert "images/train/b.jpg: the file is not an image" in problem(two, is_one_line)
    (two.parent / "images/train/b.jpg").unlink()
    write(two, "train: train.txt\nnames: [cat]\n")
    write(two.parent / "train.txt", "images/train/a.jpg\n\nimages/train/b.jpg\n")
    assert "train.txt, line 3: the image" in problem(two, is_one_line)


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij")
)


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("names: [cat]\ntrain: [\n", "is not YAML (line 3: "),
        ("- 1\n", "is not a data.yaml"),
        ("train: images/train\n", "has no names"),
        ("train: images/train\nnames: cat\n", "has no names"),
        ("train: images/train\nnames: {a: cat}\n", "an entry that is not class number: name"),
        ("train: images/train\nnames: [[cat]]\n", "an entry that is not class number: name"),
        (LAUGHS + "train: images/train\nnames: *j\n", "too many values"),
        ("train: 3\nnames: [cat]\n", "train holds a int"),
        ("train: images/nowhere\nnames: [cat]\n", "'images/nowhere' does not exist; looked for"),
        ("train: images/train\nnames: [cat]\nkpt_shape: 17\n", "kpt_shape is not like [17, 3]"),
        ("train: !!python/object/apply:os.mkdir [ran]\nnames: [cat]\n", "not YAML"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("train: empty\nnames: [cat]\n", "has no images"),
    ],
)
def test_a_bad_data_yaml_is_one_line(two: Path, is_one_line: Any, yaml: str, says: str) -> None:
    (two.parent / "empty").mkdir()
    write(two, yaml)
    with pytest.raises(AnnotationError) as caught:
        read(two)
    assert says in is_one_line(caught.value)
    assert "data.yaml" in str(caught.value)


def test_splits_that_are_not_there_are_named(two: Path, is_one_line: Any) -> None:
    with pytest.raises(OptionError) as caught:
        read(two, "test")
    assert "it has train, val" in is_one_line(caught.value)
    with pytest.raises(AnnotationError, match="does not exist"):
        read(two.parent / "other.yaml")
    write(two.parent / "more.yaml", YAML)
    two.rename(two.parent / "coco8.yaml")
    with pytest.raises(AnnotationError, match=r"coco8.yaml, more.yaml; give one"):
        read(two.parent)


def test_the_command_and_what_follows(two: Path, hashes: Callable[[Path], dict[str, str]]) -> None:
    out, chips = two.parent / "coco.json", two.parent / "chips"
    done = CliRunner().invoke(main, ["import-yolo", str(two), "--out", str(out), "--dry-run"])
    assert done.exit_code == 0, done.output
    assert not out.exists()
    dry = done.stdout
    done = CliRunner().invoke(main, ["import-yolo", str(two), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert [line for line in dry.splitlines() if line.startswith(("images ", "objects", "categories"))] == [
        line for line in done.stdout.splitlines() if line.startswith(("images ", "objects", "categories"))
    ]
    for words in (["build-positives", str(out), "--jobs", "1"], ["export-shards", "--jobs", "1"]):
        done = CliRunner().invoke(main, [*words, "--workdir", str(chips)])
        assert done.exit_code == 0, done.output
    write(two.parent / "labels/train/b.txt", "0 1 2")
    done = CliRunner().invoke(main, ["import-yolo", str(two), "--out", str(out), "--overwrite"])
    assert done.exit_code == 3
    assert "b.txt, line 1" in done.stdout.replace("\n", "").replace(" " * 15, "")


@pytest.mark.parametrize(
    "name", ["no", "yes", "on", "1e3", "0x1F", "null", "~", "2024-01-01", "12:30:45", ".5", "true"]
)
@pytest.mark.parametrize("form", ["[{}, other]", "{{0: {}, 1: other}}", "{{1: other, 0: {}}}"])
def test_names_are_text_as_they_are_written(two: Path, name: str, form: str) -> None:
    """YAML 1.1 reads them as truth values, numbers, dates and nothing; as class names they are words."""
    write(two, YAML.replace("[cat, dog]", form.format(name)))
    assert [category["name"] for category in read(two).coco["categories"]] == [name, "other"]


@pytest.mark.parametrize(
    "name",
    [
        "🚤 boat",
        "𠮷野家",
        "naïve: yes",
        "- dash",
        "a\u2028b",
        "no",
        "# x",
        '"quoted"',
        "back\\slash",
        "'",
        " x ",
        "é" * 300,
    ],
)
def test_names_survive_data_yaml(name: str) -> None:
    import yaml

    text = f"names:\n  0: {as_yaml_text(name)}\n"
    assert yaml.safe_load(text) == {"names": {0: name}}
    assert text.count("\n") == 2
