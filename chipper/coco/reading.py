"""Read COCO annotation files.

The file is decoded into typed records with only the needed fields. A file with a malformed record is decoded again, record
by record, so that the bad records can be listed and the others used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chipper.coco.checking import Skip, checked_annotations, checked_images, skipped_columns, whole_number
from chipper.coco.decoding import CURE, LISTS, collector_paused, decode_lists
from chipper.coco.meaning import Finding, boxes_of_shapes, named_images, numbered_ids, turned_boxes
from chipper.coco.records import Category, MalformedRecord
from chipper.columns import Annotations, Columns, Floats, Images, Ints, Skipped
from chipper.errors import AnnotationError
from chipper.storage.files import fingerprint, read_bytes
from chipper.storage.locations import is_utf8


@dataclass(frozen=True)
class Coco:
    """The usable part of a COCO file, and the skipped records."""

    images: Images
    annotations: Annotations
    categories: tuple[Category, ...]
    skipped: Skipped
    image_records: int  # in the file, usable or not
    annotation_records: int
    bytes: int
    hash: str
    findings: tuple[str, ...] = ()  # one line each: what was not as the format says, and what was done about it


@dataclass(frozen=True)
class _Entries:
    """A list of the file: the well-formed records, their positions in the list, and the malformed records."""

    records: list[Any]
    places: Ints  # (records,)
    malformed: list[Skip]


@dataclass(frozen=True)
class GroundTruth:
    """The ground truth for an evaluation: the part of a COCO file that `read_coco` uses."""

    images: Images
    annotations: Annotations
    boxes: Floats  # (annotations, 4) x y w h in source px, not clipped
    categories: list[Category]  # if several share an id, the first is used
    image_records: int  # in the file, usable or not


def read_images(path: Path) -> Images:
    """The usable images of a COCO file; the file does not need annotations.

    Raises:
        AnnotationError: the file cannot be read, is not COCO, or has no usable image.
    """
    with collector_paused():
        content = decode_lists(path, read_bytes(path, AnnotationError, "annotation file", CURE))
        found, annotations, categories = (_split(part, content[part] or []) for part in LISTS)
        numbered_ids(found.records, annotations.records, categories.records)
        named_images(found.records)
        images = checked_images(found.records, found.places).images
    if not len(images):
        raise AnnotationError(f"{path} has no usable image; {CURE}")
    return images


def read_coco(path: Path, masks: bool = False) -> Coco:
    """Read the COCO instances file ``path``; segmentations are kept only if ``masks`` is true.

    Records are used as their author meant them (`chipper.coco.meaning`); what was understood in another way than it is written
    is listed in ``findings``. Images and annotations that cannot be used are listed in ``skipped`` with the reason: malformed
    records, unknown or contradictory ids, boxes that are outside their image, images without a size. Boxes are clipped to their
    image.

    Raises:
        AnnotationError: the file cannot be read, is not JSON, is not COCO, has two possible meanings, or nothing in it can be
            used.
    """
    with collector_paused():
        return _read(path, masks)


def read_ground_truth(path: Path, masks: bool = False) -> GroundTruth:
    """Read a COCO file as the ground truth of an evaluation; segmentations are kept only if ``masks`` is true.

    Images and annotations are the same as in `read_coco`, but the lists of annotations and categories may be empty.

    Raises:
        AnnotationError: the file cannot be read, is not COCO, or has no usable image.
    """
    with collector_paused():
        content = decode_lists(path, read_bytes(path, AnnotationError, "annotation file", CURE))
        _require(path, content, filled=("images",))
        found = _checked(path, content, masks)
        return GroundTruth(found.images, found.annotations, found.boxes, found.categories, len(content["images"]))


def _read(path: Path, masks: bool) -> Coco:
    data = read_bytes(path, AnnotationError, "annotation file", CURE)
    hash_, size = fingerprint(data), len(data)
    content = decode_lists(path, data)
    del data
    _require(path, content, filled=LISTS)
    found = _checked(path, content, masks)
    _require_unique(path, found.categories)
    _require_used(path, "annotation", found.annotations, content, found.skips)
    return Coco(
        found.images,
        found.annotations,
        tuple({category.id: category for category in found.categories}.values()),
        skipped_columns(found.skips),
        len(content["images"]),
        len(content["annotations"]),
        size,
        hash_,
        tuple(map(str, found.findings)),
    )


def _require(path: Path, content: dict[str, Any], filled: tuple[str, ...]) -> None:
    """Raise AnnotationError if a list is missing, or if a list in ``filled`` is empty."""
    for part in LISTS:
        if content[part] is None or (part in filled and not content[part]):
            found = "no" if content[part] is None else "an empty"
            raise AnnotationError(f'{path} has {found} "{part}" list; {CURE}')


@dataclass(frozen=True)
class _Checked:
    images: Images
    annotations: Annotations
    boxes: Floats  # (annotations, 4) x y w h before clipping
    categories: list[Category]
    skips: list[Skip]
    findings: list[Finding]


def _checked(path: Path, content: dict[str, Any], masks: bool) -> _Checked:
    """The usable part of a file, and what was left out of it.

    Raises:
        AnnotationError: no image is usable, or the file has two possible meanings.
    """
    of_images, of_annotations, of_categories = (_split(part, content[part]) for part in LISTS)
    records = of_images.records, of_annotations.records, of_categories.records
    findings = [
        *numbered_ids(*records),
        *named_images(records[0]),
        *boxes_of_shapes(records[1]),
        *turned_boxes(records[1]),
    ]
    categories = _well_formed(path, content["categories"])
    images = checked_images(of_images.records, of_images.places)
    known = [record.id for record in of_images.records]
    annotations = checked_annotations(of_annotations.records, images, known, [c.id for c in categories], path, masks)
    findings += [*images.findings, *annotations.findings]
    skips = [*of_images.malformed, *images.skips, *of_annotations.malformed, *annotations.skips]
    _require_used(path, "image", images.images, content, skips)
    return _Checked(images.images, annotations.annotations, annotations.boxes, categories, skips, findings)


def _require_used(path: Path, what: str, usable: Columns, content: dict[str, Any], skips: list[Skip]) -> None:
    """Raise AnnotationError if no record is usable."""
    if not len(usable):
        first = next(skip for skip in skips if skip.record == what)
        raise AnnotationError(
            f"{path}: none of the {len(content[f'{what}s'])} {what}s can be used; the first: "
            f"{first.reason} ({first.detail}); correct those records"
        )


def _split(part: str, entries: list[Any]) -> _Entries:
    """The entries of a list of the file; ``part`` is its name."""
    what = part.removesuffix("s")
    bad = [k for k, entry in enumerate(entries) if type(entry) is MalformedRecord]
    malformed = []
    for k in bad:
        entry = entries[k]
        image, annotation = (entry.id, None) if what == "image" else (entry.image_id, entry.id)
        detail = f"{what} number {k}: {entry.problem}"
        malformed.append(Skip(what, whole_number(image), whole_number(annotation), "malformed record", detail))
    places = np.delete(np.arange(len(entries)), bad)
    return _Entries([entries[k] for k in places] if bad else entries, places, malformed)


def _well_formed(path: Path, entries: list[Any]) -> list[Category]:
    categories = []
    for entry in entries:
        if isinstance(entry, MalformedRecord):
            raise AnnotationError(
                f"{path}: a category is malformed ({entry.problem}); give each an integer id and a name"
            )
        if not isinstance(entry.id, int):
            raise AnnotationError(
                f"{path}: the category {entry.name!r} has no usable id ({entry.id!r}); give each its own"
            )
        if not is_utf8(entry.name):
            raise AnnotationError(
                f"{path}: the category {entry.name!r} holds half a character (a lone surrogate); correct it"
            )
        parent = entry.supercategory
        categories.append(
            Category(entry.id, entry.name, parent if isinstance(parent, str) and is_utf8(parent) else None)
        )
    return categories


def _require_unique(path: Path, categories: list[Category]) -> None:
    seen: dict[int, Category] = {}
    for entry in categories:
        if seen.setdefault(entry.id, entry).name != entry.name:
            raise AnnotationError(
                f"{path}: category id {entry.id} has the names {seen[entry.id].name!r} and {entry.name!r}; give each its own id"
            )
