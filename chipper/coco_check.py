"""Which COCO records can be used: decoded records in, columns and a list of skips out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chipper.columns import Annotations, Images, Ints, Skipped

if TYPE_CHECKING:
    from chipper.coco import AnnotationRecord, ImageRecord

LARGEST_SIDE = 2**24
"""Source px; beyond it, float32 boxes would be off by more than a px."""

Skip = tuple[Any, Any, Any, str, str]  # record, image id, annotation id, reason, detail


def checked_images(records: list[tuple[int, ImageRecord]], skips: list[Skip]) -> Images:
    """The usable ones of ``records`` (place in the file, record), in their order; the others are added to ``skips``."""
    seen: set[int] = set()
    rows: list[tuple[int, int, str, int, int]] = []
    for position, record in records:
        image_id = whole_number(record.id)
        width, height = whole_number(record.width) or 0, whole_number(record.height) or 0
        if image_id is None:
            reason, detail = "no usable id", f"image number {position}: id {record.id}"
        elif image_id in seen:
            reason, detail = "duplicate id", f"image number {position}: id {image_id} is there already"
        elif not record.file_name or names_no_file(record.file_name) or leaves_directory(record.file_name):
            reason, detail = (
                "bad file name",
                f"{record.file_name!r} is no file name, absolute or leaves the image directory",
            )
        elif not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
            reason, detail = "no usable size", f"width {record.width}, height {record.height}"
        else:
            seen.add(image_id)
            rows.append((image_id, position, record.file_name, width, height))
            continue
        skips.append(("image", image_id, None, reason, detail))
    names = np.empty(len(rows), dtype=object)
    names[:] = [row[2] for row in rows]
    column = {k: np.array([row[k] for row in rows], dtype=np.int64) for k in (0, 1, 3, 4)}
    return Images(column[0], column[1], names, column[3], column[4])


def whole_number(value: float | None) -> int | None:
    """``value`` as an int where it is one (2.0 is), else None."""
    if value is None or value != value or value in (float("inf"), float("-inf")):
        return None
    number = int(value)
    return number if number == value and -(2**63) <= number < 2**63 else None


def leaves_directory(file_name: str) -> bool:
    """Whether joining ``file_name`` to a folder could end outside it."""
    parts = file_name.replace("\\", "/").split("/")
    return ".." in parts or not parts[0] or parts[0].endswith(":")


def names_no_file(file_name: str) -> bool:
    """Whether no file can have that name, or only one that would break a line of a log."""
    control = any(ord(letter) < 32 or 0xD800 <= ord(letter) <= 0xDFFF for letter in file_name)
    return control or all(part in ("", ".") for part in file_name.split("/"))


def checked_annotations(
    records: list[AnnotationRecord], images: Images, known_images: list[Any], categories: list[int], skips: list[Skip]
) -> Annotations:
    """The usable ones of ``records``, image by image in the order of ``images``; the others are added to ``skips``.

    ``known_images`` are the ids of all images of the file, those left out included. Annotations without an id get the
    numbers after the largest one.
    """
    n = len(records)
    annotation_id, has_id = _ids([r.id for r in records])
    image_id, has_image = _ids([r.image_id for r in records])
    category_id, has_category = _ids([r.category_id for r in records])
    no_box = (np.nan,) * 4
    corner = np.array([r.bbox or no_box for r in records], dtype=np.float64).reshape(n, 4)

    missing = np.flatnonzero(~has_id)
    annotation_id[missing] = _unused(annotation_id[has_id], missing.size)

    order = np.argsort(images.image_id, kind="stable")
    place = np.searchsorted(images.image_id, image_id, sorter=order).clip(max=len(images) - 1)
    row = order[place] if len(images) else np.zeros(n, np.int64)
    found = has_image & (images.image_id[row] == image_id) if len(images) else np.zeros(n, np.bool_)
    limits = np.stack([images.width[row], images.height[row]] * 2, axis=1) if len(images) else np.zeros((n, 4))

    box = corner.copy()
    with np.errstate(invalid="ignore", over="ignore"):
        box[:, 2:] += corner[:, :2]
        clipped = np.clip(box, 0, limits).astype(np.float32).astype(np.float64)
        without_area = ~(corner[:, 2:] > 0).all(axis=1)
        outside = ~(clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    known, _ = _ids(known_images)
    reasons = (
        ("no usable id", ~has_id & np.array([r.id is not None for r in records], dtype=np.bool_)),
        ("no usable image id", ~has_image),
        ("image skipped", ~found & np.isin(image_id, known)),
        ("unknown image", ~found),
        ("unknown category", ~has_category | ~np.isin(category_id, categories)),
        ("no box", np.array([r.bbox is None for r in records], dtype=np.bool_)),
        ("box not finite", ~np.isfinite(box).all(axis=1)),
        ("box without area", without_area),
        ("box outside the image", outside),
        ("duplicate id", np.zeros(n, np.bool_)),
    )
    reason_of = np.full(n, -1)
    for number, (_, bad) in enumerate(reasons):
        reason_of[(reason_of < 0) & bad] = number
    usable = np.flatnonzero(reason_of < 0)  # only records that are used can be there twice
    repeated = np.ones(usable.size, np.bool_)
    repeated[np.unique(annotation_id[usable], return_index=True)[1]] = False
    reason_of[usable[repeated]] = len(reasons) - 1
    for k in np.flatnonzero(reason_of >= 0):
        record, reason = records[k], reasons[reason_of[k]][0]
        detail = f"category {record.category_id}, bbox {list(record.bbox) if record.bbox else None}"
        skips.append(("annotation", whole_number(record.image_id), whole_number(record.id), reason, detail))

    good = np.flatnonzero(reason_of < 0)
    good = good[np.argsort(row[good], kind="stable")]
    area = np.array([np.nan if r.area is None else r.area for r in records], dtype=np.float64)[good]
    of_box = (clipped[good, 2:] - clipped[good, :2]).prod(axis=1)
    return Annotations(
        annotation_id=annotation_id[good],
        image_id=image_id[good],
        category_id=category_id[good],
        box=clipped[good],
        area=np.where(np.isfinite(area) & (area >= 0), area, of_box),
        iscrowd=np.array([bool(r.iscrowd) for r in records], dtype=np.bool_)[good],
        segmentation=_texts(records, good, "segmentation"),
        keypoints=_texts(records, good, "keypoints"),
    )


def _unused(taken: Ints, count: int) -> Ints:
    """Ids for annotations without one: the numbers after the largest, or the smallest free ones where none come after."""
    largest = int(taken.max(initial=0))
    if largest + count < 2**63:
        return np.arange(largest + 1, largest + 1 + count)
    return np.setdiff1d(np.arange(taken.size + count), taken)[:count]


def _ids(values: list[Any]) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Ids as int64 and which of them are usable; 0 stands for the others."""
    array = np.array(values) if values else np.zeros(0, np.int64)
    if array.dtype == np.int64:
        return array, np.ones(len(values), np.bool_)
    numbers = [whole_number(v) for v in values]
    usable = np.array([number is not None for number in numbers], dtype=np.bool_)
    return np.array([number or 0 for number in numbers], dtype=np.int64), usable


def _texts(records: list[AnnotationRecord], rows: Ints, field: str) -> npt.NDArray[np.object_]:
    """JSON text of a field that is kept as it is, or None."""
    out = np.empty(rows.size, dtype=object)
    if records and hasattr(records[0], field):
        for k, row in enumerate(rows):
            text = bytes(getattr(records[row], field))
            out[k] = text if text not in (b"", b"null") else None
    return out


def skipped_columns(skips: list[Skip]) -> Skipped:
    """The skips as columns, in the order they were found."""
    columns = []
    for k in range(5):
        column = np.empty(len(skips), dtype=object)
        column[:] = [skip[k] if k not in (1, 2) else whole_number_or_none(skip[k]) for skip in skips]
        columns.append(column)
    return Skipped(*columns)


def whole_number_or_none(value: Any) -> int | None:
    """`whole_number` of anything."""
    return whole_number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
