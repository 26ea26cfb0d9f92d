"""Whole annotation files gone wrong, and extremes: an error in one line, or every record used or listed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import datasets  # noqa: F401, its module sets how hypothesis runs

from chipper.build import build_positives
from chipper.errors import ChipperError
from chipper.options import PositiveOptions
from chipper.progress import Monitor
from chipper.workdir import Workdir
from chipper.workers import Workers

NOT_COVERED = ("in no valid range", "no chip can hold it")
numbers = st.sampled_from([0, 1, -1, 2.5, 1e300, 2**53 + 1, 2**63, -(2**70), "7", "", None, True, [], {}, float("nan")])
ids = st.sampled_from([1, 2, 3, 4, 5]) | numbers
names = st.sampled_from(
    ["a.jpg", "b/ü 漢.png", "", "..", "../up.jpg", "/etc/passwd", "C:\\x.jpg", "new\nline.jpg", "\ud800.jpg", None, 7]
)
boxes = (
    st.tuples(*[st.floats(-50, 700)] * 4).map(list)
    | st.lists(numbers, max_size=5)
    | st.sampled_from([None, "box", [0, 0, 10, 10], [0, 0, 0, 0], [600, 400, 1e9, 1e9], [[0, 0], [1, 1]]])
)
masks = st.sampled_from(
    [None, [], [[1, 2, 3]], [[0, 0, 9, 0, 9, 9]], {"size": [480, 640], "counts": "x"}, {"size": 3}, "mask", [[None]]]
)
images = st.fixed_dictionaries(
    {}, optional={"id": ids, "file_name": names, "width": numbers | st.just(640), "height": numbers | st.just(480)}
)
annotations = st.fixed_dictionaries(
    {},
    optional={
        "id": ids,
        "image_id": ids,
        "category_id": ids,
        "bbox": boxes,
        "area": numbers,
        "iscrowd": numbers,
        "segmentation": masks,
        "keypoints": st.lists(numbers, max_size=6) | numbers,
    },
)
anything = st.recursive(numbers, lambda inner: st.lists(inner, max_size=3), max_leaves=4)


def good_image(k: int) -> dict[str, Any]:
    return {"id": 1000 + k, "file_name": f"{k}.jpg", "width": 640, "height": 480}


def good_annotation(k: int, box: tuple[float, ...] = (10.0, 20.0, 60.0, 50.0)) -> dict[str, Any]:
    return {"id": 5000 + k, "image_id": 1000 + k % 3, "category_id": 1, "bbox": list(box), "iscrowd": 0}


def build(path: Path, folder: Path, **options: Any) -> Any:
    workdir = Workdir(folder)
    return workdir, build_positives(path, workdir, PositiveOptions.parse(**options), None, True, Workers(1), Monitor())


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content))
    return path


def chips_of(workdir: Workdir) -> list[Any]:
    """What was chosen, without the places of the images in the file."""
    chips = workdir.all_chips(workdir.dataset(), "positive")
    columns = (chips.image_id, chips.scale_index, chips.x, chips.y)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


@settings(max_examples=150)
@given(
    st.lists(images | anything, max_size=5),
    st.lists(annotations | anything, max_size=12),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_every_record_is_used_or_listed_and_good_ones_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, bad_images: list[Any], bad: list[Any], keep_masks: bool, order: Any
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    good = {
        "images": [good_image(k) for k in range(3)],
        "annotations": [good_annotation(k, (30.0 * k, 20.0, 60.0, 40.0)) for k in range(7)],
        "categories": [{"id": 1, "name": "thing"}],
    }
    mixed = {
        "images": [*good["images"], *bad_images],
        "annotations": [*good["annotations"], *bad],
        "categories": good["categories"],
    }
    order.shuffle(mixed["annotations"])
    workdir, dataset = build(write(folder / "mixed.json", mixed), folder / "mixed", masks=keep_masks)
    skipped = pq.read_table(workdir.path / "skipped.parquet").to_pylist()
    left_out = [row for row in skipped if row["reason"] not in NOT_COVERED]
    assert all(row["reason"] and row["detail"] for row in skipped)
    counts = dataset.counts
    assert counts["images"] + sum(row["record"] == "image" for row in left_out) == len(mixed["images"])
    used = counts["boxes"] + counts["crowds"]
    assert used + sum(row["record"] == "annotation" for row in left_out) == len(mixed["annotations"])
    assert sum(counts["skipped"].values()) == len(left_out)
    assert counts["boxes_covered"] + len(skipped) - len(left_out) == counts["boxes"]

    alone, _ = build(write(folder / "good.json", good), folder / "good", masks=keep_masks)
    assert [chip for chip in chips_of(workdir) if chip[0] in range(1000, 1003)] == chips_of(alone)


@settings(max_examples=120)
@given(st.data())
def test_a_damaged_file_is_refused_in_one_line_or_used(
    tmp_path_factory: pytest.TempPathFactory, is_one_line: Callable[..., str], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    content = {
        "images": [good_image(k) for k in range(3)],
        "annotations": [good_annotation(k) for k in range(4)],
        "categories": [{"id": 1, "name": "thing"}],
    }
    text = bytearray(json.dumps(content).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(text)))
    path = folder / "coco.json"
    path.write_bytes(bytes(text[:cut]))
    try:
        workdir, dataset = build(path, folder / "chips")
    except ChipperError as error:
        assert "coco.json" in is_one_line(error)
        assert not Workdir(folder / "chips").exists()
    else:
        assert dataset.counts["images"] >= 1
        assert chips_of(workdir)


def one_image(tmp_path: Path, width: int, height: int, boxes: list[Any], **options: Any) -> tuple[Workdir, Any]:
    image = {"id": 1, "file_name": "a.jpg", "width": width, "height": height}
    records = [{"id": k + 1, "image_id": 1, "category_id": 1, "bbox": list(box)} for k, box in enumerate(boxes)]
    content = {"images": [image], "annotations": records, "categories": [{"id": 1, "name": "thing"}]}
    return build(write(tmp_path / "coco.json", content), tmp_path / "chips", **options)


@pytest.mark.parametrize("placement", ["grid", "slide"])
def test_ten_thousand_boxes_in_one_image(tmp_path: Path, placement: str) -> None:
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(0, 3900, (10_000, 2)), rng.uniform(4, 90, (10_000, 2))], axis=1)
    workdir, dataset = one_image(tmp_path, 4000, 4000, boxes.tolist(), placement=placement)
    assert dataset.counts["boxes_covered"] == dataset.counts["boxes"] == 10_000
    labels = workdir.labels(dataset, 0, "positive")
    assert np.unique(labels.annotation_id[labels.valid | labels.ignore]).size == 10_000


def test_an_image_of_one_px(tmp_path: Path) -> None:
    workdir, dataset = one_image(tmp_path, 1, 1, [[0, 0, 1, 1]])
    assert dataset.counts["boxes_covered"] == 1
    assert chips_of(workdir) == [(1, 2, 0, 0)]


def test_an_image_of_thirty_thousand_px(tmp_path: Path) -> None:
    boxes = [[0, 0, 40, 40], [29_960, 29_960, 40, 40], [10_000, 20_000, 5, 9], [100, 100, 29_000, 29_000]]
    workdir, dataset = one_image(tmp_path, 30_000, 30_000, boxes)
    assert dataset.counts["boxes_covered"] == 4
    corner = [chip for chip in chips_of(workdir) if chip[1] == 2 and chip[2] == chip[3] == 90_000 - 512]
    assert len(corner) == 1


def test_boxes_larger_than_a_chip_at_every_scale_are_listed(tmp_path: Path) -> None:
    workdir, dataset = one_image(
        tmp_path, 3000, 3000, [[0, 0, 2000, 2000], [5, 5, 50, 50]], scales="1,2", valid_ranges="40:,:80"
    )
    assert dataset.counts["boxes_no_chip_can_hold"] == 1
    assert dataset.counts["boxes_covered"] == 1
    (row,) = pq.read_table(workdir.path / "skipped.parquet").to_pylist()
    assert (row["image_id"], row["annotation_id"], row["reason"]) == (1, 1, "no chip can hold it")


def test_ids_beyond_2_to_the_53_names_there_twice_and_any_letters(tmp_path: Path) -> None:
    large = 2**63 - 1
    images = [
        {"id": large - k, "file_name": name, "width": 640, "height": 480}
        for k, name in enumerate(["twice.jpg", "twice.jpg", "ünï/漢字 🛰.jpg"])
    ]
    records = [{"id": large - k, "image_id": large - k, "category_id": large, "bbox": [1, 1, 50, 50]} for k in range(3)]
    content = {"images": images, "annotations": records, "categories": [{"id": large, "name": "物"}]}
    workdir, dataset = build(write(tmp_path / "coco.json", content), tmp_path / "chips")
    assert workdir.images(dataset, 0).image_id.tolist() == [large, large - 1, large - 2]
    assert workdir.images(dataset, 0).file_name.tolist() == ["twice.jpg", "twice.jpg", "ünï/漢字 🛰.jpg"]
    assert set(workdir.labels(dataset, 0, "positive").annotation_id.tolist()) == {large, large - 1, large - 2}
    assert dataset.categories[0].id == large
