"""chipper.demo.data: the drawn data set is reproducible, its labels are right and it holds every kind of image."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO

from chipper.demo.data import CYCLE, SPLITS, DemoOptions, annotate, draw_demo, draw_image, run_lengths
from chipper.demo.scenes import BACKGROUND_LUMA, CONTRAST, GRAIN, LUMA, SCENES, VISIBLE, draw_background
from chipper.demo.shapes import CATEGORIES, SHAPES
from chipper.errors import OptionError, StorageError

OPTIONS = DemoOptions(train_images=32, val_images=16)
ONE_CYCLE = range(len(CYCLE))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    draw_demo(folder, OPTIONS)
    return folder


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Any, Any]]:
    return [draw_image(OPTIONS, "train", index) for index in ONE_CYCLE]


def read(folder: Path, split: str = "train") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / split / "coco.json").read_text())
    return content


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sizes(annotations: list[dict[str, Any]]) -> NDArray[np.float64]:
    return np.array([np.sqrt(a["bbox"][2] * a["bbox"][3]) for a in annotations if not a["iscrowd"]])


def test_same_options_give_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    options = DemoOptions(train_images=3, val_images=1)
    draw_demo(tmp_path / "a", options)
    draw_demo(tmp_path / "b", options)
    draw_demo(tmp_path / "b", options)  # over existing files
    draw_demo(tmp_path / "c", DemoOptions(train_images=3, val_images=1, seed=1))
    first, second, third = (files(tmp_path / name) for name in "abc")
    assert first == second
    assert first.keys() == third.keys()
    assert all(first[name] != third[name] for name in first)


def test_an_image_depends_on_its_own_place_only(demo: Path, drawn: list[tuple[Any, Any]], tmp_path: Path) -> None:
    for index in reversed(range(4)):
        assert np.array_equal(draw_image(OPTIONS, "train", index)[0], drawn[index][0])
    draw_demo(tmp_path, DemoOptions(train_images=3, val_images=0))
    few = files(tmp_path / "train" / "images")
    assert few == {name: content for name, content in files(demo / "train" / "images").items() if name in few}


def test_files_are_named_as_the_annotations_say(demo: Path) -> None:
    for split, count in zip(SPLITS, (32, 16), strict=True):
        coco = read(demo, split)
        assert len(coco["images"]) == count
        assert {i["file_name"] for i in coco["images"]} == set(files(demo / split / "images"))
        assert [a["id"] for a in coco["annotations"]] == list(range(1, len(coco["annotations"]) + 1))
        assert {c["name"]: c["id"] for c in coco["categories"]} == CATEGORIES
        for image in coco["images"]:
            with Image.open(demo / split / "images" / image["file_name"]) as opened:
                assert (opened.mode, opened.size) == ("RGB", (image["width"], image["height"])) == ("RGB", (640, 480))


def test_train_and_val_differ(demo: Path) -> None:
    train, val = read(demo, "train"), read(demo, "val")
    assert not {i["id"] for i in train["images"]} & {i["id"] for i in val["images"]}
    assert not set(files(demo / "train" / "images").values()) & set(files(demo / "val" / "images").values())
    assert not {str(a["bbox"]) for a in train["annotations"]} & {str(a["bbox"]) for a in val["annotations"]}


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_lie_inside_the_image_and_tight_around_the_polygon(demo: Path, split: str) -> None:
    for annotation in read(demo, split)["annotations"]:
        x, y, w, h = annotation["bbox"]
        assert 0 <= x < x + w <= 640
        assert 0 <= y < y + h <= 480
        if not annotation["iscrowd"]:
            points = np.array(annotation["segmentation"]).reshape(-1, 2)
            assert np.allclose([*points.min(axis=0), *points.max(axis=0)], [x, y, x + w, y + h], atol=0.011)


def test_boxes_are_tight_around_what_is_drawn(drawn: list[tuple[Any, Any]]) -> None:
    # The drawn edge lies somewhere in the outermost pixel that has any coverage; half a pixel of tolerance on top.
    for _, shapes in drawn:
        for shape in (shape for shape in shapes if shape.category_id is not None):
            x, y, w, h = annotate(shape, OPTIONS.size)["bbox"]
            covered = shape.mask >= 128 if shape.iscrowd else shape.mask > 0
            for low, high, start, axis in ((x, x + w, shape.left, 0), (y, y + h, shape.top, 1)):
                found = np.flatnonzero(covered.any(axis=axis)) + start
                assert low - 1.5 < found[0] <= low + 0.5, shape.name
                assert high - 0.5 <= found[-1] + 1 < high + 1.5, shape.name


def test_masks_cover_the_annotated_area(drawn: list[tuple[Any, Any]]) -> None:
    for _, shapes in drawn:
        for shape in (shape for shape in shapes if shape.category_id is not None and not shape.iscrowd):
            fields = annotate(shape, OPTIONS.size)
            rim = 2 * sum(fields["bbox"][2:])  # drawing may shift an edge by a fraction of a pixel
            assert abs(shape.mask.sum() / 255 - fields["area"]) < 0.5 * rim


def test_nothing_is_drawn_without_a_label_but_distractors(demo: Path, drawn: list[tuple[Any, Any]]) -> None:
    coco = read(demo)
    for index, (pixels, shapes) in enumerate(drawn):
        rng = np.random.default_rng([OPTIONS.seed, 0, index])
        background = draw_background(rng, *OPTIONS.size) @ LUMA
        assert background.min() > BACKGROUND_LUMA[0] - 1
        assert background.max() < BACKGROUND_LUMA[1] + 1
        foreign = np.abs(pixels @ LUMA - background) > 7 * GRAIN
        for shape in shapes:
            foreign[shape.window] = False
        assert not foreign.any()

        labelled = [a for a in coco["annotations"] if a["image_id"] == coco["images"][index]["id"]]
        expected = [(CATEGORIES[s.name], s.iscrowd) for s in shapes if s.name in CATEGORIES]
        assert [(a["category_id"], bool(a["iscrowd"])) for a in labelled] == expected
        assert all(s.category_id is None for s in shapes if s.name not in CATEGORIES)


def test_every_distractor_is_used(drawn: list[tuple[Any, Any]]) -> None:
    assert {shape.name for _, shapes in drawn for shape in shapes} == set(SHAPES)


def test_shapes_hide_little_of_each_other(drawn: list[tuple[Any, Any]]) -> None:
    for pixels, shapes in drawn:
        top = np.zeros(pixels.shape[:2], int)
        for number, shape in enumerate(shapes, 1):
            top[shape.window][shape.footprint] = number
        for number, shape in enumerate(shapes, 1):
            assert (top == number).sum() >= VISIBLE * shape.footprint.sum()
            assert not shape.iscrowd or (top == number).sum() == shape.mask.size


def test_shapes_stand_out_from_the_background(drawn: list[tuple[Any, Any]]) -> None:
    checked = 0
    for index, (pixels, shapes) in enumerate(drawn):
        background = draw_background(np.random.default_rng([OPTIONS.seed, 0, index]), *OPTIONS.size) @ LUMA
        count = np.zeros(pixels.shape[:2], int)
        for shape in shapes:
            count[shape.window] += 1
        for shape in shapes:
            if count[shape.window].max() == 1:  # shapes on shapes contrast with those instead
                core = shape.mask == 255
                inside = np.median((pixels @ LUMA)[shape.window][core])
                assert abs(inside - np.median(background[shape.window])) > CONTRAST - GRAIN
                checked += 1
    assert checked > 100


def test_every_kind_of_image_occurs(demo: Path) -> None:
    assert set(CYCLE[:8]) == set(SCENES)
    for split in SPLITS:
        coco = read(demo, split)
        cycles = len(coco["images"]) // len(CYCLE)
        counts = Counter(a["image_id"] for a in coco["annotations"])
        per_image = [counts[image["id"]] for image in coco["images"]]
        assert per_image.count(0) == 2 * cycles
        assert sum(60 <= count <= 120 for count in per_image) == 2 * cycles
        assert sum(a["iscrowd"] for a in coco["annotations"]) == cycles
        longest = [max(a["bbox"][2:]) / min(a["bbox"][2:]) for a in coco["annotations"]]
        assert sum(ratio > 7 for ratio in longest) >= cycles
        assert {a["category_id"] for a in coco["annotations"]} == set(CATEGORIES.values())


def test_sizes_span_what_sniper_is_for(demo: Path) -> None:
    found = sizes(read(demo)["annotations"])
    assert found.min() > 5.99
    assert found.min() < 7
    assert 300 < found.max() <= 400
    assert (found < 32).mean() > 0.5
    assert ((found >= 32) & (found < 96)).sum() > 40
    assert (found >= 96).sum() > 20


# pycocotools 2.0.11 lacks numpy 2's copy keyword.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("split", SPLITS)
def test_pycocotools_reads_it(demo: Path, split: str) -> None:
    coco = COCO(str(demo / split / "coco.json"))
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(annotation)
        assert mask.shape == (480, 640)
        if annotation["iscrowd"]:
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            x, y, w, h = annotation["bbox"]
            assert mask.sum() == annotation["area"]
            assert [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] == [x, y, x + w, y + h]
        else:  # the slit into a ring's hole must not fill or empty anything
            assert abs(int(mask.sum()) - annotation["area"]) < 2 + sum(annotation["bbox"][2:])


def test_run_lengths_begin_with_zeros() -> None:
    assert run_lengths(np.array([[0, 1], [0, 1], [1, 0]], bool)) == [2, 3, 1]
    assert run_lengths(np.array([[1, 0], [1, 0]], bool)) == [0, 2, 2]
    assert run_lengths(np.zeros((2, 2), bool)) == [4]


def test_small_images_hold_crowded_scenes_too(tmp_path: Path) -> None:
    draw_demo(tmp_path, DemoOptions(train_images=8, val_images=0, size=(256, 300)))
    coco = read(tmp_path)
    counts = Counter(a["image_id"] for a in coco["annotations"])
    assert counts[coco["images"][CYCLE.index("crowded")]["id"]] >= 60
    assert all(a["bbox"][0] + a["bbox"][2] <= 256 and a["bbox"][1] + a["bbox"][3] <= 300 for a in coco["annotations"])
    assert read(tmp_path, "val")["images"] == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"train_images": -1}, "-1 and 32; give 0 or more"),
        ({"val_images": -2}, "96 and -2; give 0 or more"),
        ({"size": (640, 100)}, "640x100 px"),
        ({"seed": -5}, "seed is -5"),
    ],
)
def test_senseless_options_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        DemoOptions(**fields)


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StorageError, match=r"taken.*choose another folder"):
        draw_demo(tmp_path / "taken", DemoOptions(train_images=1, val_images=0))
