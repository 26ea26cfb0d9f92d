"""Whole annotation files gone wrong, and extremes: an error in one line, or every record used or listed."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import datasets  # noqa: F401, its module sets how hypothesis runs

from chipper.errors import ChipperError
from chipper.manifest.build_positives import build_positives
from chipper.manifest.workdir import Workdir
from chipper.mining.options import PositiveOptions
from chipper.parallel.workers import Workers

NOT_COVERED = ("in no valid range", "no chip can hold it")
NAN, INFINITY, GONE = float("nan"), float("inf"), object()
CATEGORIES = [{"id": 1, "name": "thing"}, {"id": 2**53 + 1, "name": "物\n"}]
OPTIONS = (
    {},
    {"placement": "slide"},
    {"scales": "1,3", "valid_ranges": "100:,:60"},  # boxes of 60 to 100 px are in no range, long ones in no chip
)
RLE = {"size": [480, 640], "counts": [1000, 300, 640 * 480 - 1300]}

# --- records: good ones, such ones with some fields damaged, and no records at all ---

anything = st.recursive(
    st.sampled_from([0, -1, 2.5, 1e300, -(2**70), 2**64, "", "7", "x", None, True, {}, NAN, INFINITY, "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "bbox"]), inner, max_size=2),
    max_leaves=4,
)
odd_numbers = st.sampled_from(
    [0, -1, 1.5, 4.0, "4", 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**70, 1e300, 10**400, NAN, -INFINITY]
)
odd_sides = st.sampled_from([0, -4, 1, 2.0, 10.5, "640", 30_000, 2**24, 2**24 + 1, 2**31, INFINITY])
odd_names = st.sampled_from(
    ["b/ü 漢.png", "", ".", "..", "../up.jpg", "/etc/passwd", "C:\\x.jpg", "new\nline.jpg", "nul\0.jpg", "\ud800.jpg"]
)
places, lengths = st.floats(-20, 400) | st.integers(0, 400), st.floats(0.5, 600) | st.integers(1, 90)
boxes = st.tuples(places, places, lengths, lengths).map(list)
spans = st.floats(-900, 900) | st.sampled_from([0, 1e-9, 639.9999, 1e9, 1e308, -1e308])
odd_boxes = (
    st.tuples(spans, spans, spans, spans).map(list)
    | st.lists(odd_numbers, max_size=6)
    | st.sampled_from(["1,2,3,4", ["1", "2", "3", "4"], [[0, 0], [9, 9]], [None] * 4, {"x": 1}])
)
masks = st.sampled_from([RLE, {**RLE, "counts": "TPa2"}, [[10, 10, 60, 10, 60, 50]], [[9, 9, 20, 9, 20, 20]] * 9, []])
odd_masks = st.sampled_from(
    [{**RLE, "counts": [7, -7]}, {"size": 3}, {"counts": None}, [[1, 2, 3]], [[NAN] * 6], [[[1, 2]]], [None], "mask"]
)
odd_keypoints = st.lists(odd_numbers, max_size=7) | st.just([[1, 2, 2]])


def damaged(good: dict[str, Any], odd: dict[str, Any]) -> Any:
    """Records of ``good`` fields, up to two of them missing or replaced: by an odd value, or by anything."""
    fields = {name: odd[name] | anything | st.just(GONE) for name in good}
    some = st.lists(st.sampled_from(sorted(good)), max_size=2)
    mixed = some.flatmap(lambda bad: st.fixed_dictionaries({n: (fields if n in bad else good)[n] for n in good}))
    return mixed.map(lambda record: {name: value for name, value in record.items() if value is not GONE})


images_of_any_size = {
    "id": st.integers(1, 2),
    "file_name": st.sampled_from(["a.jpg", "b.jpg"]),
    "width": st.just(640) | st.integers(1, 2000),
    "height": st.just(480) | st.integers(1, 2000),
}
other_images = damaged(
    images_of_any_size, {"id": odd_numbers, "file_name": odd_names, "width": odd_sides, "height": odd_sides}
)
other_annotations = damaged(
    {
        "id": st.integers(1, 60),
        "image_id": st.integers(1, 2),
        "category_id": st.sampled_from([c["id"] for c in CATEGORIES]),
        "bbox": boxes,
        "area": st.floats(0, 1e6),
        "iscrowd": st.sampled_from([0, 0, 0, 1, False, True]),
        "segmentation": masks,
        "keypoints": st.just([10, 10, 2, 0, 0, 0]),
    },
    {
        "id": odd_numbers,
        "image_id": odd_numbers,
        "category_id": odd_numbers,
        "bbox": odd_boxes,
        "area": odd_numbers,
        "iscrowd": odd_numbers,
        "segmentation": odd_masks,
        "keypoints": odd_keypoints,
    },
)

# what makes a record unusable, so that it may carry the id of a good one
FATAL_IMAGES = ({"width": 0}, {"height": -4}, {"width": 2**31}, {"height": 1.5}, {"file_name": "../x"}, {"width": []})
FATAL_ANNOTATIONS = (
    *({"image_id": value} for value in (77, 1.5, None, "x", 2**64)),
    *({"category_id": value} for value in (99, None, NAN)),
    *({"bbox": value} for value in (None, [NAN] * 4, [9, 9, -5, 5], [9, 9, 5, 0], [640, 0, 9, 9], [1, 2, 3], "box")),
    {"iscrowd": "maybe"},
)


def good_image(k: int) -> dict[str, Any]:
    return {"id": 1000 + k, "file_name": f"{k}.jpg", "width": 640, "height": 480}


def good_annotation(k: int) -> dict[str, Any]:
    box = [20.0 + 30 * k, 20, 30 + 10 * k, 40]
    return {"id": 5000 + k, "image_id": 1000 + k % 3, "category_id": 1, "bbox": box, "iscrowd": 0}


GOOD_IMAGES = [good_image(k) for k in range(3)]
GOOD_ANNOTATIONS = [good_annotation(k) for k in range(7)]
unusable_images = st.builds(dict.__or__, st.sampled_from(GOOD_IMAGES), st.sampled_from(FATAL_IMAGES))
unusable_annotations = st.builds(dict.__or__, st.sampled_from(GOOD_ANNOTATIONS), st.sampled_from(FATAL_ANNOTATIONS))
image_lists = st.builds(
    list.__add__, st.lists(st.fixed_dictionaries(images_of_any_size), max_size=2), st.lists(other_images, max_size=2)
)
annotation_lists = st.lists(other_annotations, min_size=1, max_size=8)


def build(path: Path, folder: Path, **options: Any) -> Any:
    workdir = Workdir(folder)
    return workdir, build_positives(path, workdir, PositiveOptions.parse(**options), overwrite=True, workers=Workers(1))


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content))
    return path


def chips_of(workdir: Workdir) -> list[Any]:
    """What was chosen, without the places of the images in the file."""
    chips = workdir.open().all_chips("positive")
    columns = (chips.image_id, chips.scale_index, chips.x, chips.y)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def check_accounts(workdir: Workdir, images: int, annotations: int) -> None:
    """Every record is used or listed once, what is used is usable, and every object is covered or listed."""
    manifest = workdir.open()
    counts = manifest.dataset.counts
    skipped = pq.read_table(workdir.path / "skipped.parquet").to_pylist()
    left_out = [row for row in skipped if row["reason"] not in NOT_COVERED]
    assert all(row["reason"] and row["detail"] for row in skipped)
    assert counts["images"] + sum(row["record"] == "image" for row in left_out) == images
    used = counts["boxes"] + counts["crowds"]
    assert used + sum(row["record"] == "annotation" for row in left_out) == annotations
    assert sum(counts["skipped"].values()) == len(left_out)

    kept, shown = manifest.annotations(0), manifest.labels(0, "positive")
    sizes = {image["image_id"]: (image["width"], image["height"]) for image in rows(workdir, "images")}
    assert len(sizes) == counts["images"]
    assert np.unique(kept.annotation_id).size == len(kept) == used
    assert set(kept.category_id.tolist()) <= {category.id for category in manifest.dataset.categories}
    limits = np.array([sizes[image] for image in kept.image_id.tolist()]).reshape(-1, 2)
    assert ((kept.box[:, :2] >= 0) & (kept.box[:, :2] < kept.box[:, 2:]) & (kept.box[:, 2:] <= limits)).all()

    objects = set(kept.annotation_id[~kept.iscrowd].tolist())
    without_range, too_long = ({row["annotation_id"] for row in skipped if row["reason"] == why} for why in NOT_COVERED)
    covered = objects & set(shown.annotation_id[shown.valid | shown.ignore].tolist())
    assert covered | without_range | too_long == objects
    assert not without_range & set(shown.annotation_id[shown.valid].tolist())
    assert counts["boxes_covered"] == len(objects - without_range - too_long)


def rows(workdir: Workdir, table: str, kind: str = "part") -> list[dict[str, Any]]:
    return pq.read_table(workdir.path / table / f"{kind}-00000.parquet").to_pylist()


@pytest.fixture(scope="module")
def good_chips(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[Any]]:
    """good_chips(k): those of the good records alone, with the k-th options."""

    @functools.cache
    def run(k: int) -> list[Any]:
        folder = tmp_path_factory.mktemp("good")
        content = {"images": GOOD_IMAGES, "annotations": GOOD_ANNOTATIONS, "categories": CATEGORIES}
        return chips_of(build(write(folder / "coco.json", content), folder / "chips", **OPTIONS[k])[0])

    return run


@settings(max_examples=250)
@given(
    image_lists,
    annotation_lists,
    st.lists(unusable_images | anything, max_size=2),
    st.lists(unusable_annotations | anything, max_size=4),
    st.integers(0, len(OPTIONS) - 1),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_every_record_is_used_or_listed_and_good_ones_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    good_chips: Callable[[int], list[Any]],
    images: list[Any],
    annotations: list[Any],
    bad_images: list[Any],
    bad_annotations: list[Any],
    options: int,
    keep_masks: bool,
    order: Any,
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    images, annotations = GOOD_IMAGES + images + bad_images, GOOD_ANNOTATIONS + annotations + bad_annotations
    order.shuffle(images)
    order.shuffle(annotations)
    path = write(folder / "coco.json", {"images": images, "annotations": annotations, "categories": CATEGORIES})
    workdir, _ = build(path, folder / "chips", masks=keep_masks, **OPTIONS[options])
    check_accounts(workdir, len(images), len(annotations))
    assert [chip for chip in chips_of(workdir) if 1000 <= chip[0] < 1003] == good_chips(options)


@settings(max_examples=150)
@given(
    image_lists,
    annotation_lists,
    st.just(CATEGORIES) | st.lists(anything.filter(lambda v: "\\ud8" not in json.dumps(v)), max_size=2),
    st.booleans(),
)
def test_a_file_without_a_good_record_is_refused_in_one_line_or_used(
    tmp_path_factory: pytest.TempPathFactory,
    is_one_line: Callable[..., str],
    images: list[Any],
    annotations: list[Any],
    categories: list[Any],
    keep_masks: bool,
) -> None:
    folder = tmp_path_factory.mktemp("bad")
    path = write(folder / "coco.json", {"images": images, "annotations": annotations, "categories": categories})
    try:
        workdir, _ = build(path, folder / "chips", masks=keep_masks)
    except ChipperError as error:
        assert "coco.json" in is_one_line(error)
        assert not Workdir(folder / "chips").exists()
    else:
        check_accounts(workdir, len(images), len(annotations))


# --- files damaged as text ---

TEXT = json.dumps({"images": GOOD_IMAGES, "annotations": GOOD_ANNOTATIONS, "categories": CATEGORIES})
RECORDS = TEXT[: TEXT.index('"categories"')]
VALUES = [m.span(1) for m in re.finditer(r': ("[^"]*"|-?[\d.]+)', RECORDS)]
TOKENS = [m.span() for m in re.finditer(r'"[^"]*"|-?[\d.]+|[\[\]{}:,]', RECORDS)]
odd_values = st.sampled_from(
    ["NaN", "-Infinity", "1e400", "-0.0", "1E2", "null", "true", "{}", "[]", r'"\ud800"', r'"\u0000"', '"\n"']
    + ["9" * 5000, '1, "id": 1002', "[" * 2000 + "]" * 2000, '{"a":' * 2000 + "1" + "}" * 2000]
)
odd_tokens = st.sampled_from(["", " ", *'{}[],:"\\\0\x7f', "é", "/* */", "'a'", "[[]]", "1"])
damages = st.tuples(st.sampled_from(VALUES), odd_values) | st.tuples(st.sampled_from(TOKENS), odd_tokens)


@settings(max_examples=250)
@given(
    st.lists(damages, max_size=2, unique_by=lambda damage: damage[0]),
    st.sampled_from(["utf-8"] * 5 + ["utf-8-sig", "utf-16", "latin-1"]),
    st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), max_size=2),
    st.just(1) | st.just(1) | st.floats(0, 1),
)
def test_a_damaged_file_is_refused_in_one_line_or_used(
    tmp_path_factory: pytest.TempPathFactory,
    is_one_line: Callable[..., str],
    damage: list[tuple[tuple[int, int], str]],
    encoding: str,
    flips: list[tuple[int, int]],
    kept: float,
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    text = TEXT
    for (start, end), odd in sorted(damage, reverse=True):
        text = text[:start] + odd + text[end:]
    raw = bytearray(text.encode(encoding))
    for place, value in flips:
        raw[place % len(raw)] = value
    raw = raw[: round(kept * len(raw))]
    path = folder / "coco.json"
    path.write_bytes(raw)
    try:
        workdir, _ = build(path, folder / "chips")
    except ChipperError as error:
        assert "coco.json" in is_one_line(error)
        assert not Workdir(folder / "chips").exists()
    else:
        assert chips_of(workdir)
        # fields that are not read may hold what is no text
        text = raw.decode(json.detect_encoding(raw), "replace")
        content = json.loads(text, strict=False, parse_int=float)
        check_accounts(workdir, len(content["images"]), len(content["annotations"]))


# --- extremes ---


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
    labels = workdir.open().labels(0, "positive")
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


@pytest.mark.parametrize("placement", ["grid", "slide"])
def test_boxes_larger_than_a_chip_at_every_scale_are_listed(tmp_path: Path, placement: str) -> None:
    workdir, dataset = one_image(
        tmp_path,
        3000,
        3000,
        [[0, 0, 2000, 2000], [5, 5, 50, 50], [40, 40, 400, 513]],
        scales="1,2,3",
        valid_ranges="150:,60:200,:80",
        placement=placement,
    )
    counts = dataset.counts
    assert (counts["boxes_no_chip_can_hold"], counts["boxes_covered"]) == (2, 1)
    skipped = pq.read_table(workdir.path / "skipped.parquet").to_pylist()
    found = [(row["image_id"], row["annotation_id"], row["reason"]) for row in skipped]
    assert found == [(1, 1, "no chip can hold it"), (1, 3, "no chip can hold it")]


def test_ids_beyond_2_to_the_53_and_any_letters(tmp_path: Path) -> None:
    large = 2**63 - 1
    ids = [large, -(2**63), large - 1]
    names = ["a.jpg", "b.jpg", "ünï/漢字 🛰.jpg"]
    images = [{"id": i, "file_name": name, "width": 640, "height": 480} for i, name in zip(ids, names)]
    records = [{"id": i, "image_id": i, "category_id": large, "bbox": [1, 1, 50, 50]} for i in ids]
    bad = {"id": 2**62 + 1, "image_id": large - 1, "category_id": large, "bbox": [1, 1, 0, 0]}
    category = {"id": large, "name": "物"}
    content = {"images": images, "annotations": [*records, bad], "categories": [category]}
    workdir, dataset = build(write(tmp_path / "coco.json", content), tmp_path / "chips")
    assert [(row["image_id"], row["file_name"]) for row in rows(workdir, "images")] == list(zip(ids, names))
    for row in rows(workdir, "annotations"):
        assert row["annotation_id"] == row["image_id"]
        assert row["category_id"] == large
    assert [row["annotation_id"] for row in rows(workdir, "annotations")] == ids
    assert {row["annotation_id"] for row in rows(workdir, "labels", "positive")} == set(ids)
    assert {row["image_id"] for row in rows(workdir, "chips", "positive")} == set(ids)
    (row,) = pq.read_table(workdir.path / "skipped.parquet").to_pylist()
    assert (row["image_id"], row["annotation_id"]) == (large - 1, 2**62 + 1)
    assert (dataset.categories[0].id, dataset.categories[0].name) == (large, "物")
