"""chipper.coco.reading: the same content as pycocotools reads, bad records listed, bad files refused in one line."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from chipper.coco.reading import Coco, read_coco, read_images
from chipper.errors import AnnotationError

IMAGE = {"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}
ANNOTATION = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 30, 40], "area": 600, "iscrowd": 0}
CATEGORY = {"id": 3, "name": "thing"}
NAN, INFINITY = math.nan, math.inf


def annotation(**changes: Any) -> dict[str, Any]:
    record = {**ANNOTATION, "id": 2, **changes}
    return {name: value for name, value in record.items() if value is not ...}


def image(**changes: Any) -> dict[str, Any]:
    record = {**IMAGE, "id": 2, "file_name": "b.jpg", **changes}
    return {name: value for name, value in record.items() if value is not ...}


def written(folder: Path, **changes: Any) -> Path:
    content = {"images": [IMAGE], "annotations": [ANNOTATION], "categories": [CATEGORY], **changes}
    path = folder / "coco.json"
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))
    return path


def skips(coco: Coco) -> list[tuple[str, str]]:
    return list(zip(coco.skipped.record, coco.skipped.reason, strict=True))


# --- what a good file comes to ---


def reference(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def check_against_pycocotools(path: Path) -> None:
    theirs, ours = reference(path), read_coco(path)
    assert ours.images.image_id.tolist() == [entry["id"] for entry in theirs.dataset["images"]]
    assert ours.images.file_name.tolist() == [entry["file_name"] for entry in theirs.dataset["images"]]
    assert ours.images.width.tolist() == [entry["width"] for entry in theirs.dataset["images"]]
    assert [c.id for c in ours.categories] == theirs.getCatIds()
    first: dict[int, dict[str, Any]] = {}  # TACO has two ids twice, which get the numbers after the largest
    largest = max(entry["id"] for entry in theirs.dataset["annotations"])
    for entry in theirs.dataset["annotations"]:
        first[entry["id"] if entry["id"] not in first else (largest := largest + 1)] = entry
    assert set(ours.annotations.annotation_id.tolist()) == set(first)
    assert len(ours.annotations) + len(ours.skipped) == len(theirs.dataset["annotations"])
    for k, annotation_id in enumerate(ours.annotations.annotation_id.tolist()):
        entry = first[annotation_id]
        record = theirs.imgs[entry["image_id"]]
        x, y, w, h = entry["bbox"]
        limits = np.array([record["width"], record["height"]] * 2, float)
        box = np.clip([x, y, x + w, y + h], 0, limits)
        assert np.abs(ours.annotations.box[k] - box).max() <= 2**-12  # float32
        assert ours.annotations.image_id[k] == entry["image_id"]
        assert ours.annotations.category_id[k] == entry["category_id"]
        assert bool(ours.annotations.iscrowd[k]) == bool(entry["iscrowd"])
        assert ours.annotations.area[k] == pytest.approx(entry["area"])


def test_same_as_pycocotools_on_coco128(coco128: Path) -> None:
    check_against_pycocotools(coco128 / "instances.json")
    assert not len(read_coco(coco128 / "instances.json").skipped)


def test_same_as_pycocotools_on_taco(shared: Path) -> None:
    path = shared / "data" / "taco" / "annotations.json"
    check_against_pycocotools(path)
    coco = read_coco(path)
    assert not len(coco.skipped)
    assert coco.findings == ("annotations whose id was used before have a new one (2; the first: id 309)",)


def test_same_as_pycocotools_on_drawn(drawn: Any) -> None:
    check_against_pycocotools(drawn.coco)


def test_annotations_stand_image_by_image(drawn: Any) -> None:
    coco = read_coco(drawn.coco)
    place = {int(i): k for k, i in enumerate(coco.images.image_id)}
    rows = [place[int(i)] for i in coco.annotations.image_id]
    assert rows == sorted(rows)


def test_masks_are_read_only_when_asked_for(drawn: Any) -> None:
    assert all(value is None for value in read_coco(drawn.coco).annotations.segmentation)
    kept = read_coco(drawn.coco, masks=True).annotations
    by_id = {entry["id"]: entry for entry in drawn.content["annotations"]}
    for k, annotation_id in enumerate(kept.annotation_id.tolist()):
        assert json.loads(kept.segmentation[k]) == by_id[annotation_id]["segmentation"]


def test_keypoints_are_always_kept(drawn: Any) -> None:
    kept = read_coco(drawn.coco).annotations
    by_id = {entry["id"]: entry for entry in drawn.content["annotations"]}
    for k, annotation_id in enumerate(kept.annotation_id.tolist()):
        found = None if kept.keypoints[k] is None else json.loads(kept.keypoints[k])
        assert found == by_id[annotation_id].get("keypoints")


def test_area_is_that_of_the_box_where_the_file_has_none_of_use(tmp_path: Path) -> None:
    records = [annotation(id=k, area=area) for k, area in enumerate((..., None, NAN, -1.0, 5.5), start=10)]
    coco = read_coco(written(tmp_path, annotations=records))
    assert coco.annotations.area.tolist() == [1200, 1200, 1200, 1200, 5.5]


def test_boxes_are_clipped_to_the_image(tmp_path: Path) -> None:
    coco = read_coco(written(tmp_path, annotations=[annotation(bbox=[-5, -6, 200, 20])]))
    assert coco.annotations.box.tolist() == [[0, 0, 100, 14]]


def test_positions_count_unusable_images(tmp_path: Path) -> None:
    coco = read_coco(written(tmp_path, images=[image(id=9, width=0), IMAGE, 7, image()]))
    assert coco.images.position.tolist() == [1, 3]
    assert coco.image_records == 4


def test_file_with_byte_order_mark(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_coco(path).annotations) == 1


def test_hash_and_size_speak_of_the_bytes(tmp_path: Path) -> None:
    path = written(tmp_path)
    first = read_coco(path)
    assert first.bytes == path.stat().st_size
    path.write_bytes(path.read_bytes() + b" ")
    assert read_coco(path).hash != first.hash


# --- ids ---


@pytest.mark.parametrize("value", [2.0, "2", 2**53 + 1, 2**62 + 1, -4, 2**63 - 1, -(2**63)])
def test_whole_numbers_are_ids(tmp_path: Path, value: Any) -> None:
    whole = int(value)
    coco = read_coco(written(tmp_path, images=[IMAGE, image(id=value)], annotations=[ANNOTATION, annotation(id=value)]))
    assert coco.images.image_id.tolist() == [1, whole]
    assert coco.annotations.annotation_id.tolist() == [1, whole]
    assert not len(coco.skipped)


@pytest.mark.parametrize("value", [2**53 + 1, 2**62 + 1])
def test_large_ids_stay_exact_beside_floats_and_bad_records(tmp_path: Path, value: int) -> None:
    records = [annotation(id=value, image_id=value), annotation(id=7.0, image_id=1.0), annotation(bbox=[NAN] * 4)]
    coco = read_coco(written(tmp_path, images=[image(id=value), IMAGE], annotations=records))
    assert coco.annotations.annotation_id.tolist() == [value, 7]
    assert coco.annotations.image_id.tolist() == [value, 1]


def test_missing_annotation_ids_are_given(tmp_path: Path) -> None:
    records = [annotation(id=...), annotation(id=41), annotation(id=None), annotation(id=5)]
    coco = read_coco(written(tmp_path, annotations=records))
    ids = coco.annotations.annotation_id.tolist()
    assert ids == [42, 41, 43, 5]
    assert not len(coco.skipped)


def test_missing_annotation_id_beside_the_largest_id(tmp_path: Path) -> None:
    coco = read_coco(written(tmp_path, annotations=[annotation(id=2**63 - 1), annotation(id=...)]))
    assert len(set(coco.annotations.annotation_id.tolist())) == 2


# --- bad records: listed with the reason, the others used ---

BAD_ANNOTATIONS = {
    "NaN in the box": (annotation(bbox=[NAN, 1, 2, 3]), "box not finite"),
    "infinite width": (annotation(bbox=[1, 1, INFINITY, 3]), "box not finite"),
    "box that overflows": (annotation(bbox=[1e308, 1, 1e308, 3]), "box not finite"),
    "negative width": (annotation(bbox=[10, 10, -5, 5]), "box without area"),
    "zero height": (annotation(bbox=[10, 10, 5, 0]), "box without area"),
    "right of the image": (annotation(bbox=[100, 0, 5, 5]), "box outside the image"),
    "above the image": (annotation(bbox=[0, -9, 5, 9]), "box outside the image"),
    "unknown image": (annotation(image_id=77), "unknown image"),
    "unknown category": (annotation(category_id=4), "unknown category"),
    "the same again": (annotation(id=1), "the same record twice"),
    "no image id": (annotation(image_id=...), "no usable image id"),
    "image id 1.5": (annotation(image_id=1.5), "no usable image id"),
    "no category": (annotation(category_id=...), "unknown category"),
    "no box": (annotation(bbox=...), "no box"),
    "null box": (annotation(bbox=None), "no box"),
    "box of three": (annotation(bbox=[1, 2, 3]), "malformed record"),
    "box of five": (annotation(bbox=[1, 2, 3, 4, 5]), "malformed record"),
    "box of nulls": (annotation(bbox=[None] * 4), "malformed record"),
    "box as text": (annotation(bbox="1,2,3,4"), "malformed record"),
    "box as object": (annotation(bbox={"x": 1}), "malformed record"),
    "id beyond 64 bits": (annotation(id=2**64), "malformed record"),
    "id as list": (annotation(id=[2]), "malformed record"),
    "true as id": (annotation(id=True), "malformed record"),
    "image id as word": (annotation(image_id="abc"), "no usable image id"),
    "crowd as word": (annotation(iscrowd="maybe"), "malformed record"),
    "a list": ([1, 2, 3], "malformed record"),
    "a number": (17, "malformed record"),
    "null": (None, "malformed record"),
    "a text": ("annotation", "malformed record"),
}


@pytest.mark.parametrize(("record", "reason"), BAD_ANNOTATIONS.values(), ids=BAD_ANNOTATIONS)
def test_bad_annotation_is_listed_and_the_others_used(tmp_path: Path, record: Any, reason: str) -> None:
    last = annotation(id=3, category_id=3)
    coco = read_coco(written(tmp_path, annotations=[ANNOTATION, record, last]))
    assert skips(coco) == [("annotation", reason)]
    assert coco.annotations.annotation_id.tolist() == [1, 3]
    assert coco.annotation_records == 3
    assert coco.skipped.detail[0]


def test_all_bad_annotations_at_once(tmp_path: Path) -> None:
    records = [ANNOTATION, *(record for record, _ in BAD_ANNOTATIONS.values()), annotation(id=3)]
    coco = read_coco(written(tmp_path, annotations=records))
    assert coco.annotations.annotation_id.tolist() == [1, 3]
    assert len(coco.skipped) + len(coco.annotations) == coco.annotation_records == len(records)


BAD_IMAGES = {
    "no id": (image(id=...), "no usable id"),
    "id NaN": (image(id=NAN), "no usable id"),
    "id 1.5": (image(id=1.5), "no usable id"),
    "no name": (image(file_name=...), "bad file name"),
    "empty name": (image(file_name=""), "bad file name"),
    "name is a number": (image(file_name=12), "malformed record"),
    "name is the folder": (image(file_name="."), "bad file name"),
    "name is the folder, longer": (image(file_name="././"), "bad file name"),
    "absolute name": (image(file_name="/etc/passwd"), "bad file name"),
    "name that climbs": (image(file_name="../b.jpg"), "bad file name"),
    "name that climbs later": (image(file_name="a/../../b.jpg"), "bad file name"),
    "name with NUL": (image(file_name="a\0b.jpg"), "bad file name"),
    "name with half a surrogate pair": (image(file_name="\ud800.jpg"), "bad file name"),
    "no width": (image(width=...), "no usable size"),
    "null height": (image(height=None), "no usable size"),
    "zero width": (image(width=0), "no usable size"),
    "negative height": (image(height=-4), "no usable size"),
    "broken width": (image(width=10.5), "no usable size"),
    "infinite width": (image(width=INFINITY), "no usable size"),
    "huge width": (image(width=2**24 + 1), "no usable size"),
    "size as word": (image(width="wide"), "malformed record"),
    "a list": ([], "malformed record"),
    "null": (None, "malformed record"),
}


def test_one_id_for_two_images_says_nothing(tmp_path: Path) -> None:
    """Neither image is used, nor what is said of them: a box may be of the one or of the other."""
    images = [IMAGE, image(id=1), image(id=3, file_name="c.jpg"), image(id=3, file_name="c.jpg")]
    coco = read_coco(written(tmp_path, images=images, annotations=[ANNOTATION, annotation(image_id=3)]))
    assert skips(coco) == [
        ("image", "one id for several images"),
        ("image", "one id for several images"),
        ("image", "the same record twice"),
        ("annotation", "image skipped"),
    ]
    assert coco.images.file_name.tolist() == ["c.jpg"]
    assert coco.annotations.annotation_id.tolist() == [2]


def test_two_records_of_one_file_are_one_image(tmp_path: Path) -> None:
    """Otherwise each would teach the other's objects as background."""
    images = [IMAGE, image(id=7, file_name="a.jpg"), image(id=8), image(id=9, width=99)]
    records = [ANNOTATION, annotation(image_id=7), annotation(id=3, image_id=8)]
    coco = read_coco(written(tmp_path, images=images, annotations=records[:2]))
    assert coco.images.image_id.tolist() == [1]
    assert coco.annotations.image_id.tolist() == [1, 1]
    assert coco.findings == ("records of a file that has one already are taken as one image (1; the first: a.jpg)",)
    assert skips(coco)[1:] == [("image", "one file with several sizes")] * 2
    with pytest.raises(AnnotationError, match="one file with several sizes"):
        read_coco(written(tmp_path, images=images[2:], annotations=[annotation(image_id=8)]))


@pytest.mark.parametrize("ids", [[0, 0, 0, 0], [1, 2, 1, 2], [5, 5, 5, 6], [9, None, 9, "9"]])
def test_ids_of_annotations_that_are_not_unique_are_replaced(tmp_path: Path, ids: list[Any]) -> None:
    records = [annotation(id=number, bbox=[k, k, 20, 20]) for k, number in enumerate(ids)]
    coco = read_coco(written(tmp_path, annotations=[*records, records[0]]))
    assert len(set(coco.annotations.annotation_id.tolist())) == 4
    assert coco.annotations.box[:, 0].tolist() == [0, 1, 2, 3]
    assert skips(coco) == [("annotation", "the same record twice")]
    assert "have a new one" in coco.findings[0]


@pytest.mark.parametrize(
    ("ids", "numbers"),
    [
        (["0007", "12", "1e3", "1000"], [1, 2, 3, 4]),
        (["a-1", "b", "c", "7"], [1, 2, 3, 4]),
        (["7", "12", "3", "1000"], [7, 12, 3, 1000]),
        ([7, "x", 8, "8.0"], [7, 9, 8, 10]),
        (["7", 12, "3", 1000], [7, 12, 3, 1000]),
    ],
)
def test_ids_that_are_text_stay_different(tmp_path: Path, ids: list[Any], numbers: list[int]) -> None:
    images = [image(id=value, file_name=f"{k}.jpg") for k, value in enumerate(ids)]
    records = [annotation(id=k, image_id=value, bbox=[k, 0, 20, 20]) for k, value in enumerate(ids)]
    path = written(tmp_path, images=images, annotations=records)
    coco = read_coco(path)
    assert coco.images.image_id.tolist() == numbers
    assert coco.annotations.image_id.tolist() == numbers
    assert coco.annotations.box[:, 0].tolist() == [0, 1, 2, 3]
    assert read_images(path).image_id.tolist() == numbers
    assert bool(coco.findings) == (ids[0] != "7")


def test_category_ids_that_are_text(tmp_path: Path) -> None:
    categories = [{"id": "cat", "name": "cat"}, {"id": "dog", "name": "dog", "supercategory": 0}]
    records = [annotation(category_id=name) for name in ("dog", "cat")]
    coco = read_coco(
        written(tmp_path, annotations=[{**r, "id": k} for k, r in enumerate(records)], categories=categories)
    )
    assert [(category.id, category.name) for category in coco.categories] == [(1, "cat"), (2, "dog")]
    assert coco.annotations.category_id.tolist() == [2, 1]


@pytest.mark.parametrize("shift", [1, -1])
def test_shifted_category_ids_are_refused(tmp_path: Path, shift: int) -> None:
    categories = [{"id": k, "name": f"class {k}"} for k in (1, 2, 3)]
    records = [annotation(id=k, category_id=k + shift) for k in (1, 2, 3)]
    with pytest.raises(AnnotationError, match=r"category ids \d to \d, but the categories are 1 to 3"):
        read_coco(written(tmp_path, annotations=records, categories=categories))
    categories.append({"id": 4 if shift > 0 else 0, "name": "more"})
    assert len(read_coco(written(tmp_path, annotations=records, categories=categories)).annotations) == 3


@pytest.mark.parametrize("flag", [1, True, "1"])
def test_what_is_to_be_ignored_is_no_object(tmp_path: Path, flag: Any) -> None:
    coco = read_coco(written(tmp_path, annotations=[ANNOTATION, annotation(ignore=flag), annotation(id=3, ignore=0)]))
    assert coco.annotations.iscrowd.tolist() == [False, True, False]


def test_shares_of_the_image_are_refused(tmp_path: Path) -> None:
    shares = [annotation(id=k, bbox=[0.25, 0.5, 0.2, 0.3]) for k in (1, 2)]
    with pytest.raises(AnnotationError, match=r"all 2 boxes lie within 0\.\.1"):
        read_coco(written(tmp_path, annotations=shares))
    assert len(read_coco(written(tmp_path, annotations=[*shares, annotation(id=3)])).annotations) == 3
    assert len(read_coco(written(tmp_path, annotations=[annotation(bbox=[0, 0, 1, 1])])).annotations) == 1


@pytest.mark.parametrize("bbox", [..., None, []])
@pytest.mark.parametrize(
    "segmentation", [[[5, 6, 25, 6, 25, 46]], [5, 6, 25, 6, 25, 46], [[[5, 6], [25, 6], [25, 46]]]]
)
def test_without_a_box_there_is_one_round_the_polygons(tmp_path: Path, bbox: Any, segmentation: Any) -> None:
    coco = read_coco(written(tmp_path, annotations=[annotation(bbox=bbox, segmentation=segmentation)]))
    assert coco.annotations.box.tolist() == [[5, 6, 25, 46]]
    assert "have one round their polygons" in coco.findings[0]


def test_a_rotation_turns_the_box_about_its_middle(tmp_path: Path) -> None:
    """40 x 20 px about (50, 40), turned by 90 degrees: 20 x 40 px."""
    record = annotation(bbox=[30, 30, 40, 20], segmentation=[], attributes={"rotation": 90.0})
    coco = read_coco(written(tmp_path, annotations=[record]), masks=True)
    np.testing.assert_allclose(coco.annotations.box, [[40, 20, 60, 60]], atol=1e-5)
    outline = np.array(json.loads(coco.annotations.segmentation[0])).reshape(-1, 2)
    np.testing.assert_allclose(outline, [[60, 20], [60, 60], [40, 60], [40, 20]], atol=1e-5)
    plain = annotation(bbox=[30, 30, 40, 20], attributes={"rotation": 0, "occluded": True})
    assert read_coco(written(tmp_path, annotations=[plain])).annotations.box.tolist() == [[30, 30, 70, 50]]


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("images\\b.jpg", "images/b.jpg"),
        ("..\\..\\server\\b.jpg", "b.jpg"),
        ("D:\\photos\\b.jpg", "b.jpg"),
        ("D:/photos/b.jpg", "b.jpg"),
        ("\\\\server\\share\\b.jpg", "b.jpg"),
    ],
)
def test_paths_of_windows(tmp_path: Path, name: str, read: str) -> None:
    coco = read_coco(written(tmp_path, images=[IMAGE, image(file_name=name)]))
    assert coco.images.file_name.tolist() == ["a.jpg", read]
    assert "paths of Windows" in coco.findings[0]
    if read == "b.jpg":  # the last part is not enough where two images have it
        coco = read_coco(written(tmp_path, images=[IMAGE, image(file_name=name), image(id=3, file_name="deep/b.jpg")]))
        assert ("image", "bad file name") in skips(coco)


def test_half_a_character_in_a_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="half a character"):
        read_coco(written(tmp_path, categories=[{"id": 3, "name": "a\ud83d"}]))


@pytest.mark.parametrize(("record", "reason"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_bad_image_is_listed_and_the_others_used(tmp_path: Path, record: Any, reason: str) -> None:
    coco = read_coco(written(tmp_path, images=[IMAGE, record, image(id=3)]))
    assert skips(coco) == [("image", reason)]
    assert coco.images.image_id.tolist() == [1, 3]
    assert len(coco.annotations) == 1


@pytest.mark.parametrize(
    "name", ["a b.jpg", "\u3000\u7530.jpg", "e\u0301t\u00e9\u00a0.jpg", "a/b.c/d", "no-ending", "-x.jpg", "~a.jpg"]
)
def test_unusual_names_are_names(tmp_path: Path, name: str) -> None:
    coco = read_coco(written(tmp_path, images=[image(id=1, file_name=name)]))
    assert coco.images.file_name.tolist() == [name]


def test_annotations_of_a_skipped_image_say_so(tmp_path: Path) -> None:
    coco = read_coco(
        written(tmp_path, images=[IMAGE, image(width=0)], annotations=[ANNOTATION, annotation(image_id=2)])
    )
    assert skips(coco) == [("image", "no usable size"), ("annotation", "image skipped")]


def test_an_unusable_record_takes_no_id_from_a_good_one(tmp_path: Path) -> None:
    """As with images: only records that are used can be there twice."""
    coco = read_coco(written(tmp_path, annotations=[annotation(image_id=77), annotation()]))
    assert skips(coco) == [("annotation", "unknown image")]
    assert coco.annotations.annotation_id.tolist() == [2]


def test_skips_name_their_record(tmp_path: Path) -> None:
    records = [ANNOTATION, annotation(id=12, bbox=[0, 0, 0, 1]), annotation(id=13, image_id="x")]
    coco = read_coco(written(tmp_path, annotations=records))
    named = dict(zip(coco.skipped.annotation_id.tolist(), coco.skipped.image_id.tolist(), strict=True))
    assert named == {12: 1, 13: None}


@pytest.mark.parametrize("masks", [False, True])
def test_one_bad_record_costs_no_other_its_masks_or_keypoints(tmp_path: Path, masks: bool) -> None:
    rle = {"size": [80, 100], "counts": [10, 20, 7970]}
    good = [
        annotation(id=1, keypoints=[5, 5, 2], segmentation=[[1, 2, 31, 2, 31, 42]]),
        annotation(id=2, segmentation=rle, iscrowd=1),
        annotation(id=3, keypoints=None, segmentation=None),
    ]
    coco = read_coco(written(tmp_path, annotations=[*good, annotation(id=4, bbox=[NAN] * 4)]), masks)
    assert skips(coco) == [("annotation", "box not finite")]
    assert coco.annotations.annotation_id.tolist() == [1, 2, 3]
    assert json.loads(coco.annotations.keypoints[0]) == [5, 5, 2]
    assert coco.annotations.keypoints[2] is None
    if masks:
        assert [None if s is None else json.loads(s) for s in coco.annotations.segmentation] == [
            [[1, 2, 31, 2, 31, 42]],
            rle,
            None,
        ]


BAD_PARTS = {
    "keypoints are a text": {"keypoints": "abc"},
    "keypoints not in threes": {"keypoints": [1, 2]},
    "keypoints are texts": {"keypoints": ["a", "b", "c"]},
    "keypoints nested": {"keypoints": [[1, 2, 2], [3, 4, 2]]},
    "keypoints NaN": {"keypoints": [NAN, 1, 2]},
    "polygon of texts": {"segmentation": [["a"] * 6]},
    "polygon with NaN": {"segmentation": [[0, 0, 9, 0, NAN, 9]]},
    "polygon of nulls": {"segmentation": [[None] * 6]},
    "RLE without size": {"segmentation": {"counts": [10, 20]}},
    "RLE of another image": {"segmentation": {"size": [8, 10], "counts": [10, 70]}},
    "RLE that is too long": {"segmentation": {"size": [80, 100], "counts": [10, 20, 9000]}},
    "RLE with negative runs": {"segmentation": {"size": [80, 100], "counts": [-10, 8010]}},
    "RLE of no string": {"segmentation": {"size": [80, 100], "counts": {"a": 1}}},
    "RLE of rubbish": {"segmentation": {"size": [80, 100], "counts": "~~~~~~~~~~~~"}},
    "segmentation is a text": {"segmentation": "polygon"},
}


@pytest.mark.parametrize("part", BAD_PARTS.values(), ids=BAD_PARTS)
def test_bad_mask_or_keypoints_stop_no_command(
    tmp_path: Path, part: dict[str, Any], build: Callable[..., Any], export: Callable[..., Any]
) -> None:
    """Such a record may be skipped, or lose its mask; the run goes on and the others come through."""
    from PIL import Image

    (tmp_path / "images").mkdir()
    Image.new("RGB", (100, 80)).save(tmp_path / "images" / "a.jpg")
    coco = written(tmp_path, annotations=[ANNOTATION, annotation(**part)])
    workdir = build(coco, tmp_path / "chips", masks=True, scales="1", valid_ranges=":")
    exported = export(workdir)
    assert sum(receipt.samples for receipt in exported.receipts) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "bbox", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*IMAGE]), JSON, max_size=4) | JSON,
    st.dictionaries(st.sampled_from([*ANNOTATION, "segmentation", "keypoints"]), JSON, max_size=8) | JSON,
)
def test_any_record_is_used_or_listed(tmp_path_factory: pytest.TempPathFactory, bad_image: Any, bad: Any) -> None:
    path = written(tmp_path_factory.getbasetemp(), images=[IMAGE, bad_image], annotations=[ANNOTATION, bad])
    coco = read_coco(path, masks=True)
    assert coco.images.image_id[0] == 1
    assert coco.annotations.annotation_id[0] == 1
    assert len(coco.images) + skips_of(coco, "image") == 2
    assert len(coco.annotations) + skips_of(coco, "annotation") == 2


def skips_of(coco: Coco, record: str) -> int:
    return coco.skipped.record.tolist().count(record)


# --- bad files: one line ---

DEEP = b"[" * 100_000 + b"]" * 100_000
BAD_FILES = {
    "empty": (b"", "not JSON"),
    "blank": (b" \n ", "not JSON"),
    "not JSON": (b"images: []", "not JSON"),
    "cut": (json.dumps({"images": [IMAGE], "annotations": [ANNOTATION]}).encode()[:-9], "not JSON"),
    "rubbish behind": (json.dumps({"images": []}).encode() + b"}", "not JSON"),
    "a list": (b"[]", "not COCO"),
    "a number": (b"12", "not COCO"),
    "null": (b"null", "not COCO"),
    "lists are objects": (b'{"images": {}, "annotations": {}, "categories": {}}', "not COCO"),
    "invalid UTF-8": (b'{"images": [{"id": 1, "file_name": "\xff.jpg"}]}', "not JSON"),
    "a JPEG": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "not JSON"),
    "deep in images": (b'{"images": ' + DEEP + b"}", "nested"),
    "deep elsewhere": (b'{"info": ' + DEEP + b', "images": []}', "nested"),
    "deep and cut": (b"[" * 100_000, "JSON"),
}


@pytest.mark.parametrize(("data", "what"), BAD_FILES.values(), ids=BAD_FILES)
@pytest.mark.parametrize("read", [read_coco, read_images])
def test_bad_file_is_refused_in_one_line(
    tmp_path: Path, data: bytes, what: str, read: Callable[[Path], Any], is_one_line: Callable[..., str]
) -> None:
    path = tmp_path / "coco.json"
    path.write_bytes(data)
    with pytest.raises(AnnotationError) as caught:
        read(path)
    message = is_one_line(caught.value)
    assert str(path) in message
    assert what in message
    assert "give a COCO instances file" in message
    assert len(message) < 400


BAD_CONTENTS = {
    "no images": ({"images": ...}, "images"),
    "empty images": ({"images": []}, "images"),
    "null images": ({"images": None}, "images"),
    "no annotations": ({"annotations": ...}, "annotations"),
    "empty annotations": ({"annotations": []}, "annotations"),
    "no categories": ({"categories": ...}, "categories"),
    "empty categories": ({"categories": []}, "categories"),
    "all images bad": ({"images": [image(width=0), 7]}, "none of the 2 images"),
    "all annotations bad": ({"annotations": [annotation(bbox=None), 7]}, "none of the 2 annotations"),
    "category id twice": ({"categories": [CATEGORY, {"id": 3, "name": "other"}]}, "'thing' and 'other'"),
    "category without name": ({"categories": [{"id": 3}]}, "name"),
    "category without id": ({"categories": [{"name": "x"}]}, "id"),
    "category is a text": ({"categories": ["thing"]}, "category"),
    "category id beyond 64 bits": ({"categories": [CATEGORY, {"id": 2**64, "name": "x"}]}, "id"),
}


@pytest.mark.parametrize(("changes", "what"), BAD_CONTENTS.values(), ids=BAD_CONTENTS)
def test_unusable_content_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], what: str, is_one_line: Callable[..., str]
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(AnnotationError) as caught:
        read_coco(path)
    message = is_one_line(caught.value)
    assert str(path) in message
    assert what in message
    assert "; " in message, "no cure"
    assert "give " in message.rpartition("; ")[2] or "correct " in message.rpartition("; ")[2], "no cure"


def test_same_category_twice_is_one(tmp_path: Path) -> None:
    assert len(read_coco(written(tmp_path, categories=[CATEGORY, CATEGORY])).categories) == 1


def test_missing_file(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    with pytest.raises(AnnotationError, match=r"coco\.json does not exist; give a COCO") as caught:
        read_coco(tmp_path / "coco.json")
    is_one_line(caught.value)


def test_folder_for_a_file(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    with pytest.raises(AnnotationError, match="is a folder; give a COCO") as caught:
        read_coco(tmp_path)
    is_one_line(caught.value)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_one_line: Callable[..., str]) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "coco.json").write_text("{}")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(AnnotationError, match=r"cannot be read \(Permission denied\)") as caught:
        read_coco(tmp_path / "coco.json")
    is_one_line(caught.value)


def test_number_of_absurd_length(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    path = tmp_path / "coco.json"
    good = json.dumps({"annotations": [ANNOTATION], "categories": [CATEGORY]})[1:]
    record = b'{"id": ' + b"9" * 5000 + b', "file_name": "b.jpg", "width": 3, "height": 3}'
    path.write_bytes(b'{"images": [' + json.dumps(IMAGE).encode() + b", " + record + b"], " + good.encode())
    coco = read_coco(path)
    assert skips(coco) == [("image", "malformed record")]


def test_images_of_a_file_without_annotations(tmp_path: Path) -> None:
    path = written(tmp_path, annotations=..., categories=..., images=[IMAGE, image(id=None)])
    assert read_images(path).image_id.tolist() == [1]


def test_no_usable_image(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="has no usable image; give a COCO"):
        read_images(written(tmp_path, images=[]))
