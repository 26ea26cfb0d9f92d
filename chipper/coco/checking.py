"""Check COCO records: the usable ones become columns, the others become a list of skipped records."""

from __future__ import annotations

import re
import unicodedata
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from chipper.coco.meaning import Finding, require_known_categories, require_px
from chipper.coco.records import AnnotationRecord, ImageRecord
from chipper.columns import Annotations, Bools, Floats, Images, Ints, Objects, Skipped
from chipper.grouping import places_of

LARGEST_SIDE = 2**24
"""Source px; above it, boxes in float32 would be wrong by more than a px."""

_BLOCK = 4096


SAME_RECORD, SAME_FILE = "the same record twice", "another record of the same file"
"""Reasons that lose nothing."""


class Skip(NamedTuple):
    """A record that is not used: one row of the skipped table."""

    record: str  # "image" or "annotation"
    image_id: int | None  # None if the record has no usable one
    annotation_id: int | None
    reason: str
    detail: str


class CheckedImages(NamedTuple):
    """The usable images, in the order of the file."""

    images: Images
    skips: list[Skip]
    merged: dict[int, int]  # ids of further records of a file, and the id of its first
    findings: list[Finding]


def checked_images(records: list[ImageRecord], places: Ints) -> CheckedImages:
    """Check the images of ``records``; ``places`` (n,) are their positions in the file.

    An id that stands for different files says nothing, so none of them is used. Several records of one file are one image,
    unless they contradict each other.
    """
    ids, has_id = _ids([record.id for record in records])
    names = [record.file_name or "" for record in records]
    width, height = _sizes([record.width for record in records]), _sizes([record.height for record in records])
    reason_of = _first_reason(
        ids.size,
        {
            "no usable id": ~has_id,
            "bad file name": ~np.array(
                [bool(_PLAIN_NAME(name)) or usable_name(name) for name in names], dtype=np.bool_
            ),
            "no usable size": (width == 0) | (height == 0),
        },
    )
    merged, findings = _one_each(ids, names, width, height, reason_of)
    skips = []
    for k in np.flatnonzero(reason_of != ""):
        position, record = places[k], records[k]
        detail = {
            "no usable id": f"image number {position}: id {record.id}",
            "bad file name": f"{record.file_name!r} is not a file name, is absolute or leaves the image directory",
            "no usable size": f"width {record.width}, height {record.height}",
        }.get(reason_of[k], f"image number {position}: id {ids[k]}, {record.file_name!r}")
        skips.append(Skip("image", whole_number(record.id), None, reason_of[k], detail))

    good = np.flatnonzero(reason_of == "")
    file_name = np.empty(good.size, dtype=object)
    file_name[:] = [names[k] for k in good]
    return CheckedImages(Images(ids[good], places[good], file_name, width[good], height[good]), skips, merged, findings)


def _one_each(
    ids: Ints, names: list[str], width: Ints, height: Ints, reason_of: Objects
) -> tuple[dict[int, int], list[Finding]]:
    """Fill ``reason_of`` where an id or a file has several records; returns the merged ids, and what was found."""
    usable = np.flatnonzero(reason_of == "")
    if np.unique(ids[usable]).size == usable.size == len({names[k] for k in usable}):
        return {}, []
    merged: dict[int, int] = {}
    of_id: dict[int, list[int]] = {}
    for k in usable.tolist():
        of_id.setdefault(int(ids[k]), []).append(k)
    for group in of_id.values():
        alike = len({(names[k], width[k], height[k]) for k in group}) == 1
        reason_of[group[1:] if alike else group if len(group) > 1 else []] = (
            SAME_RECORD if alike else "one id for several images"
        )
    of_name: dict[str, list[int]] = {}
    for k in np.flatnonzero(reason_of == "").tolist():
        of_name.setdefault(names[k], []).append(k)
    example = ""
    for name, group in of_name.items():
        if len(group) == 1:
            continue
        if len({(width[k], height[k]) for k in group}) > 1:
            reason_of[group] = "one file with several sizes"
            continue
        merged |= {int(ids[k]): int(ids[group[0]]) for k in group[1:]}
        reason_of[group[1:]] = SAME_FILE
        example = example or name
    what = "records of a file that has one already are taken as one image"
    return merged, [Finding(what, len(merged), example)] if merged else []


def _first_reason(count: int, reasons: dict[str, Bools]) -> Objects:
    """For each of ``count`` records the first of ``reasons`` that applies, or ""."""
    reason_of = np.zeros(count, dtype=object)
    reason_of[:] = ""
    bad = np.zeros(count, np.bool_)
    for reason, holds in reasons.items():
        reason_of[holds & ~bad] = reason
        bad |= holds
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


class CheckedAnnotations(NamedTuple):
    """The usable annotations, grouped by image in the order of the images."""

    annotations: Annotations
    boxes: Floats  # (n, 4) x y w h in source px, before clipping
    skips: list[Skip]
    findings: list[Finding]


def checked_annotations(
    records: list[AnnotationRecord],
    images: CheckedImages,
    known_images: list[Any],
    categories: list[int],
    path: Path,
    masks: bool,
) -> CheckedAnnotations:
    """Check the annotations of ``records``; ``masks`` keeps their segmentations.

    ``known_images`` are the ids of all images of the file, including skipped images. Annotations without an id, and those whose
    id was used before, get the numbers after the largest id.

    Raises:
        AnnotationError: all boxes are shares of their image, or the ids of categories are shifted.
    """
    n = len(records)
    # in blocks of records, so that their scattered fields are still in the CPU cache when the next field is read
    blocks = [_fields(records[k : k + _BLOCK]) for k in range(0, max(n, 1), _BLOCK)]
    annotation_id, has_id, image_id, has_image, category_id, has_category, corner, has_box, area, ignored = (
        np.concatenate(column) for column in zip(*blocks, strict=True)
    )
    require_known_categories(path, np.unique(category_id[has_category]), categories)
    if images.merged:
        image_id = np.array([images.merged.get(i, i) for i in image_id.tolist()], np.int64)
    there = images.images
    row = places_of(there.image_id, image_id)
    found = has_image & (row >= 0)
    limits = np.stack([there.width[row], there.height[row]] * 2, axis=1) if len(there) else np.zeros((n, 4))
    require_px(path, corner[found], limits[found, :2])
    box = corner.copy()
    with np.errstate(invalid="ignore", over="ignore"):
        flat = ~((corner[:, 2] > 0) & (corner[:, 3] > 0))
        box[:, 2:] += corner[:, :2]
        clipped = np.clip(box, 0, limits).astype(np.float32).astype(np.float64)
        outside = ~((clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1]))
    lost = ~found
    if lost.any():
        lost &= np.isin(image_id, _ids(known_images)[0])
    wrong_id = ~has_id & np.array([r.id is not None for r in records], dtype=np.bool_) if not has_id.all() else ~has_id
    reason_of = _first_reason(
        n,
        {
            "no usable image id": ~has_image,
            "image skipped": lost,
            "unknown image": ~found,
            "unknown category": ~has_category | ~np.isin(category_id, categories),
            "no box": ~has_box,
            "box not finite": ~np.isfinite(box).all(axis=1),
            "box without area": flat,
            "box outside the image": outside,
        },
    )
    usable = np.flatnonzero(reason_of == "")
    new_ids, same, findings = _own_ids(records, usable, annotation_id, has_id, wrong_id)
    reason_of[same] = SAME_RECORD
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
        annotation_id=new_ids[good],
        image_id=image_id[good],
        category_id=category_id[good],
        box=clipped[good],
        area=np.where(np.isfinite(area) & (area >= 0), area, of_box),
        iscrowd=ignored[good],
        segmentation=_texts(records, good, "segmentation") if masks else np.empty(good.size, dtype=object),
        keypoints=_texts(records, good, "keypoints"),
    )
    return CheckedAnnotations(annotations, corner[good], skips, findings)


def _own_ids(
    records: list[AnnotationRecord], usable: Ints, annotation_id: Ints, has_id: Bools, wrong_id: Bools
) -> tuple[Ints, Ints, list[Finding]]:
    """An id of its own for every annotation; the rows of ``usable`` that repeat another word for word; what was found."""
    ids = annotation_id.copy()
    named = usable[has_id[usable]]
    first = np.zeros(len(records), np.bool_)
    first[named[np.unique(ids[named], return_index=True)[1]]] = True
    again = named[~first[named]]
    same = np.zeros(0, np.int64)
    if again.size:
        repeated = set(ids[again].tolist())
        seen: set[tuple[Any, ...]] = set()
        twice = []
        for k in named.tolist():
            if int(ids[k]) in repeated:
                content = tuple(
                    bytes(v) if isinstance(v, msgspec.Raw) else v for v in msgspec.structs.astuple(records[k])
                )
                if content in seen:
                    twice.append(k)
                seen.add(content)
        same = np.array(twice, np.int64)
        again = np.setdiff1d(again, same)
    fresh = np.concatenate([again, usable[~has_id[usable]]])
    taken = ids[named]
    ids[fresh] = _unused(taken, fresh.size)
    findings = []
    if again.size:
        example = f"id {annotation_id[again[0]]}"
        findings.append(Finding("annotations whose id was used before have a new one", int(again.size), example))
    wrong = np.flatnonzero(wrong_id)
    if wrong.size:
        example = f"id {records[wrong[0]].id!r}"
        findings.append(Finding("annotations without a usable id have a new one", int(wrong.size), example))
    return ids, same, findings


def _fields(records: list[AnnotationRecord]) -> tuple[npt.NDArray[Any], ...]:
    """Ids and boxes, each with a mask of the usable or present ones, areas, and what is a crowd or to be ignored."""
    return (
        *_ids([r.id for r in records]),
        *_ids([r.image_id for r in records]),
        *_ids([r.category_id for r in records]),
        *_boxes([r.bbox for r in records]),
        _numbers([r.area for r in records]),
        np.array([bool(r.iscrowd or r.ignore) for r in records], dtype=np.bool_),
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
