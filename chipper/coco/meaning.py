"""What the records of a COCO file mean where tools differ from the format.

A record is used as its author meant it. Where two meanings are possible, none is taken: the file is refused, or the images that
are concerned are left out. Everything that is changed here is told as a `Finding`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from chipper.coco.records import AnnotationRecord, Category, ImageRecord
from chipper.errors import AnnotationError, printable

_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}").fullmatch
_DRIVE = re.compile(r"[A-Za-z]:[\\/]").match
_ROUNDING = 1e-3
_SIDE = 32  # px; nobody annotates objects of a px in images of this size and more
_SHARE = 1.0 + 1e-6
"""Boxes that all end before this are shares of the image; no tool draws boxes within one px."""


class Finding(NamedTuple):
    """Something that was not as the format says, and what was done about it."""

    what: str
    number: int
    example: str

    def __str__(self) -> str:
        return printable(f"{self.what} ({self.number:,}; the first: {self.example})")


def numbered_ids(
    images: Sequence[ImageRecord], annotations: Sequence[AnnotationRecord], categories: Sequence[Category]
) -> list[Finding]:
    """Give numbers to ids that are text, in place: their own if all of a kind are whole numbers, else those after the largest
    number in the order of the file. "0007" and "7", or "1e3" and "1000", are different names.
    """
    findings = []
    for kind, owners, users, field in (
        ("image", images, annotations, "image_id"),
        ("category", categories, annotations, "category_id"),
        ("annotation", annotations, (), ""),
    ):
        texts = [owner.id for owner in owners if isinstance(owner.id, str)]
        of_users = [value for user in users if isinstance(value := getattr(user, field), str)]
        if not texts and not of_users:
            continue
        whole = all(map(_WHOLE, texts))
        number = {str(owner.id): owner.id for owner in owners if isinstance(owner.id, int)}
        asked = (value for user in users if isinstance(value := getattr(user, field), int))
        free = max(max(number.values(), default=0), max(asked, default=0)) + 1  # a number that no record means
        for text in texts if whole else dict.fromkeys(texts):
            number.setdefault(text, int(text) if whole else free)
            free += number[text] == free
        for owner in owners:
            if isinstance(owner.id, str):
                owner.id = number[owner.id]
        for user in users:
            if isinstance(value := getattr(user, field), str):
                setattr(user, field, number.get(value))
        if not whole:
            what = f"{kind} ids are text; they are numbered in the order of the file"
            findings.append(Finding(what, len(set(texts)), f"{texts[0]!r} is {number[texts[0]]}"))
    return findings


def named_images(images: Sequence[ImageRecord]) -> list[Finding]:
    """Name images whose name stands elsewhere (LVIS: the end of coco_url) or is a path of Windows, in place."""
    by_url = [image for image in images if image.file_name is None and image.coco_url]
    for image in by_url:
        image.file_name = str(image.coco_url).rpartition("/")[2] or None
    findings = []
    if by_url:
        findings.append(
            Finding("images without file_name are named by coco_url", len(by_url), f"{by_url[0].file_name}")
        )
    windows = [image for image in images if image.file_name and ("\\" in image.file_name or _DRIVE(image.file_name))]
    if not windows:
        return findings
    bases = Counter(_base(image.file_name) for image in images if image.file_name)
    for image in windows:
        before = str(image.file_name)
        path = before.replace("\\", "/")
        leads_out = path.startswith("/") or ".." in path.split("/") or _DRIVE(path) is not None
        if not leads_out:
            image.file_name = path
        elif bases[_base(path)] == 1:
            image.file_name = _base(path)
    changed = [image for image in windows if "\\" not in str(image.file_name)]
    if changed:
        findings.append(
            Finding("paths of Windows are read as /, and by their last part where they lead elsewhere", len(changed),
                    str(changed[0].file_name))
        )  # fmt: skip
    return findings


def _base(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def boxes_of_shapes(annotations: Sequence[AnnotationRecord]) -> list[Finding]:
    """Give annotations without a box the box round their polygons, in place."""
    found = []
    for record in annotations:
        if record.bbox is None and (extent := _extent(bytes(record.segmentation))) is not None:
            record.bbox = extent
            found.append(record)
    if not found:
        return []
    example = f"annotation {found[0].id}: {list(found[0].bbox or ())}"
    return [Finding("annotations without a box have one round their polygons", len(found), example)]


def _extent(segmentation: bytes) -> tuple[float, float, float, float] | None:
    """The box x y w h round polygons, or None if there are none."""
    try:
        values = np.array(list(_numbers(msgspec.json.decode(segmentation))), np.float64)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, TypeError):
        return None
    if values.size < 6 or values.size % 2 or not np.isfinite(values).all():
        return None
    (x1, y1), (x2, y2) = values.reshape(-1, 2).min(axis=0), values.reshape(-1, 2).max(axis=0)
    return float(x1), float(y1), float(x2 - x1), float(y2 - y1)


def _numbers(value: Any) -> Iterable[float]:
    if isinstance(value, list):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
    else:
        raise TypeError(type(value))


def turned_boxes(annotations: Sequence[AnnotationRecord]) -> list[Finding]:
    """Turn boxes with a rotation attribute (CVAT: degrees, clockwise, about the middle), in place: the box becomes the envelope,
    and the outline the segmentation.
    """
    turned = []
    for record in annotations:
        if b'"rotation"' not in bytes(record.attributes) or record.bbox is None:
            continue
        try:
            angle = msgspec.json.decode(record.attributes, type=_Attributes).rotation
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if not angle or not math.isfinite(angle) or angle % 360 == 0:
            continue
        if (_extent(bytes(record.segmentation)) or record.bbox) != record.bbox:
            continue  # it has an outline of its own
        x, y, w, h = record.bbox
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        corners = [(-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, h / 2), (-w / 2, h / 2)]
        points = [(x + w / 2 + u * cos - v * sin, y + h / 2 + u * sin + v * cos) for u, v in corners]
        flat = [value for point in points for value in point]
        xs, ys = flat[::2], flat[1::2]
        record.bbox = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
        record.segmentation = msgspec.Raw(msgspec.json.encode([flat]))
        turned.append(record)
    if not turned:
        return []
    what = "boxes with a rotation attribute are turned: the box is the envelope, the outline the segmentation"
    return [Finding(what, len(turned), f"annotation {turned[0].id}")]


class _Attributes(msgspec.Struct):
    rotation: float | None = None


def require_px(path: Any, box: np.ndarray, sides: np.ndarray) -> None:
    """Refuse a file all of whose boxes x y w h (n, 4) are shares of the image; ``sides`` (n, 2) are those of the images, px.

    Raises:
        AnnotationError: they are.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        ends = box[:, :2] + box[:, 2:]
    known = np.isfinite(ends).all(axis=1)
    fractions = np.abs(box[known] - box[known].round()) > _ROUNDING
    within = (ends[known] <= _SHARE).all() and (box[known, :2] >= 0).all() and fractions.any()
    if known.any() and within and (sides[known] >= _SIDE).all():
        raise AnnotationError(
            f"{path}: all {int(known.sum()):,} boxes lie within 0..1, as shares of the image would; multiply them by the width "
            "and height of their images"
        )


def require_known_categories(path: Any, used: np.ndarray, categories: Sequence[int]) -> None:
    """Refuse a file whose category ids are shifted by one against those that its annotations use.

    Raises:
        AnnotationError: they are; each annotation would get the class of its neighbour.
    """
    there = set(categories)
    for shift in (1, -1):
        moved = {category + shift for category in there}
        if not set(used.tolist()) <= there and set(used.tolist()) <= moved:
            raise AnnotationError(
                f"{path}: annotations use the category ids {_span(used.tolist())}, but the categories are {_span(there)}: they "
                f"look shifted by one, so each object would get its neighbour's class; correct the ids"
            )


def _span(ids: Iterable[int]) -> str:
    some = sorted(set(ids))
    if len(some) == 1:
        return f"{some[0]}"
    if len(some) == some[-1] - some[0] + 1:
        return f"{some[0]} to {some[-1]}"
    return ", ".join(map(str, some[:8])) + (", ..." if len(some) > 8 else "")
