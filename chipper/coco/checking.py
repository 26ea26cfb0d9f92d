"""Check COCO records: the usable ones become columns, the others become a list of skipped records."""

from __future__ import annotations

import re
import unicodedata
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chipper.coco.records import AnnotationRecord, ImageRecord
from chipper.columns import Annotations, Bools, Floats, Images, Ints, Objects, Skipped
from chipper.grouping import places_of

LARGEST_SIDE = 2**24
"""Source px; above it, boxes in float32 would be wrong by more than a px."""

_BLOCK = 4096


class Skip(NamedTuple):
    """A record that is not used: one row of the skipped table."""

    record: str  # "image" or "annotation"
    image_id: int | None  # None if the record has no usable one
    annotation_id: int | None
    reason: str
    detail: str


def checked_images(records: list[ImageRecord], places: Ints) -> tuple[Images, list[Skip]]:
    """The usable images of ``records``, in the same order, and the skipped ones; ``places`` (n,) are positions in the file."""
    ids, has_id = _ids([record.id for record in records])
    names = [record.file_name or "" for record in records]
    width, height = _sizes([record.width for record in records]), _sizes([record.height for record in records])
    reason_of = _first_reason(
        ids,
        {
            "no usable id": ~has_id,
            "bad file name": ~np.array(
                [bool(_PLAIN_NAME(name)) or usable_name(name) for name in names], dtype=np.bool_
            ),
            "no usable size": (width == 0) | (height == 0),
        },
    )
    skips = []
    for k in np.flatnonzero(reason_of != ""):
        position, record = places[k], records[k]
        detail = {
            "no usable id": f"image number {position}: id {record.id}",
            "bad file name": f"{record.file_name!r} is not a file name, is absolute or leaves the image directory",
            "no usable size": f"width {record.width}, height {record.height}",
            "duplicate id": f"image number {position}: id {ids[k]} was used before",
        }[reason_of[k]]
        skips.append(Skip("image", whole_number(record.id), None, reason_of[k], detail))

    good = np.flatnonzero(reason_of == "")
    file_name = np.empty(good.size, dtype=object)
    file_name[:] = [names[k] for k in good]
    return Images(ids[good], places[good], file_name, width[good], height[good]), skips


def _first_reason(ids: Ints, reasons: dict[str, Bools]) -> Objects:
    """For each record the first of ``reasons`` that applies, or "duplicate id" if an earlier usable record has its id, or ""."""
    reason_of = np.zeros(ids.size, dtype=object)
    reason_of[:] = ""
    bad = np.zeros(ids.size, np.bool_)
    for reason, holds in reasons.items():
        reason_of[holds & ~bad] = reason
        bad |= holds
    usable = np.flatnonzero(~bad)  # only usable records count as duplicates
    repeated = np.ones(usable.size, np.bool_)
    repeated[np.unique(ids[usable], return_index=True)[1]] = False
    reason_of[usable[repeated]] = "duplicate id"
    return reason_of


def whole_number(value: Any) -> int | None:
    """``value`` as an int if it is a whole number (2.0 is one), else None."""
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        return None
    if value != value or abs(value) == float("inf"):
        return None
    number = int(value)
    return number if number == value and -(2**63) <= number < 2**63 else None


_NO_LETTERS = ("Cc", "Cs", "Zl", "Zp")  # Unicode's control characters, surrogates, line and paragraph separators
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # change the direction of text
_PLAIN_NAME = re.compile(r"\w[\w. -]*").fullmatch  # one part, no leading dot: most names


def usable_name(file_name: str) -> bool:
    """Whether ``file_name`` can be a file below the image directory and can be printed on one line."""
    if any(letter in _TURNING or unicodedata.category(letter) in _NO_LETTERS for letter in file_name):
        return False
    parts = file_name.replace("\\", "/").split("/")
    leaves = ".." in parts or not parts[0] or parts[0].endswith(":")
    return not leaves and not all(part in ("", ".") for part in file_name.split("/"))


def checked_annotations(
    records: list[AnnotationRecord], images: Images, known_images: list[Any], categories: list[int]
) -> tuple[Annotations, Floats, list[Skip]]:
    """The usable annotations of ``records``, grouped by image in the order of ``images``; their boxes before clipping, (n, 4)
    x y w h in source px; and the skipped records.

    ``known_images`` are the ids of all images of the file, including skipped images. Annotations without an id get the
    numbers after the largest id.
    """
    n = len(records)
    # in blocks of records, so that their scattered fields are still in the CPU cache when the next field is read
    blocks = [_fields(records[k : k + _BLOCK]) for k in range(0, max(n, 1), _BLOCK)]
    annotation_id, has_id, image_id, has_image, category_id, has_category, corner, has_box, area, iscrowd = (
        np.concatenate(column) for column in zip(*blocks, strict=True)
    )
    missing = np.flatnonzero(~has_id)
    annotation_id[missing] = _unused(annotation_id[has_id], missing.size)

    row = places_of(images.image_id, image_id)
    found = has_image & (row >= 0)
    limits = np.stack([images.width[row], images.height[row]] * 2, axis=1) if len(images) else np.zeros((n, 4))

    box = corner.copy()
    with np.errstate(invalid="ignore", over="ignore"):
        box[:, 2:] += corner[:, :2]
        clipped = np.clip(box, 0, limits).astype(np.float32).astype(np.float64)
        without_area = ~((corner[:, 2] > 0) & (corner[:, 3] > 0))
        outside = ~((clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1]))
    lost = ~found
    if lost.any():
        lost &= np.isin(image_id, _ids(known_images)[0])
    reason_of = _first_reason(
        annotation_id,
        {
            "no usable id": ~has_id & np.array([r.id is not None for r in records], dtype=np.bool_)
            if missing.size
            else ~has_id,
            "no usable image id": ~has_image,
            "image skipped": lost,
            "unknown image": ~found,
            "unknown category": ~has_category | ~np.isin(category_id, categories),
            "no box": ~has_box,
            "box not finite": ~np.isfinite(box).all(axis=1),
            "box without area": without_area,
            "box outside the image": outside,
        },
    )
    skips = []
    for k in np.flatnonzero(reason_of != ""):
        record = records[k]
        detail = f"category {record.category_id}, bbox {list(record.bbox) if record.bbox else None}"
        ids = whole_number(record.image_id), whole_number(record.id)
        skips.append(Skip("annotation", *ids, reason_of[k], detail))

    good = np.flatnonzero(reason_of == "")
    good = good[np.argsort(row[good], kind="stable")]
    area = area[good]
    of_box = (clipped[good, 2] - clipped[good, 0]) * (clipped[good, 3] - clipped[good, 1])
    annotations = Annotations(
        annotation_id=annotation_id[good],
        image_id=image_id[good],
        category_id=category_id[good],
        box=clipped[good],
        area=np.where(np.isfinite(area) & (area >= 0), area, of_box),
        iscrowd=iscrowd[good],
        segmentation=_texts(records, good, "segmentation"),
        keypoints=_texts(records, good, "keypoints"),
    )
    return annotations, corner[good], skips


def _fields(records: list[AnnotationRecord]) -> tuple[npt.NDArray[Any], ...]:
    """Ids (each with a mask of the usable ones), boxes (with a mask of the present ones), areas and crowd flags."""
    return (
        *_ids([r.id for r in records]),
        *_ids([r.image_id for r in records]),
        *_ids([r.category_id for r in records]),
        *_boxes([r.bbox for r in records]),
        _numbers([r.area for r in records]),
        np.array([bool(r.iscrowd) for r in records], dtype=np.bool_),
    )


def _unused(taken: Ints, count: int) -> Ints:
    """Ids for annotations without one: the numbers after the largest id, or the smallest free ones if those overflow."""
    largest = int(taken.max(initial=0))
    if largest + count < 2**63:
        return np.arange(largest + 1, largest + 1 + count)
    return np.setdiff1d(np.arange(taken.size + count), taken)[:count]


def _ids(values: list[Any]) -> tuple[Ints, Bools]:
    """Ids as int64, and which of them are usable; the others are 0."""
    array = np.array(values) if values else np.zeros(0, np.int64)
    if array.dtype == np.int64:
        return array, np.ones(len(values), np.bool_)
    numbers = [whole_number(v) for v in values]
    usable = np.array([number is not None for number in numbers], dtype=np.bool_)
    return np.array([number or 0 for number in numbers], dtype=np.int64), usable


def _sizes(values: list[float | None]) -> Ints:
    """Image sides in px; unusable ones are 0."""
    sides = _numbers(values)
    usable = (sides > 0) & (sides <= LARGEST_SIDE) & (np.floor(sides) == sides)  # every comparison with NaN is false
    return np.where(usable, sides, 0).astype(np.int64)


def _boxes(values: list[tuple[float, ...] | None]) -> tuple[npt.NDArray[np.float64], Bools]:
    """(n, 4) boxes, and which of them are present; missing ones are NaN."""
    there = np.ones(len(values), np.bool_)
    if None in values:
        there = np.array([value is not None for value in values], dtype=np.bool_)
        values = [(np.nan,) * 4 if value is None else value for value in values]
    flat = np.fromiter(chain.from_iterable(values), np.float64, count=4 * len(values))  # type: ignore[arg-type]
    return flat.reshape(-1, 4), there


def _numbers(values: list[float | None]) -> npt.NDArray[np.float64]:
    """Numbers as float64; missing ones are NaN."""
    return np.array(values, dtype=np.float64)


def _texts(records: list[AnnotationRecord], rows: Ints, field: str) -> Objects:
    """The JSON text of a field that is stored unchanged, or None."""
    out = np.empty(rows.size, dtype=object)
    if not records or not hasattr(records[0], field):
        return out
    raw = list(map(attrgetter(field), records))
    if any(raw):
        for k, row in enumerate(rows):
            text = bytes(raw[row])
            out[k] = text if text not in (b"", b"null") else None
    return out


def skipped_columns(skips: list[Skip]) -> Skipped:
    """The skipped records as columns, in the order they were found."""
    rows = np.empty((len(skips), len(Skip._fields)), dtype=object)
    rows[:] = skips if skips else rows
    return Skipped(*rows.T)
