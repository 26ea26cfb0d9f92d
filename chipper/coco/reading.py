"""Read COCO annotation files.

The file is decoded into typed records with only the needed fields. A file with a malformed record is decoded again, record
by record, so that the bad records can be listed and the others used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chipper.coco.checking import Skip, checked_annotations, checked_images, skipped_columns, whole_number
from chipper.coco.decoding import CURE, LISTS, collector_paused, decode_lists
from chipper.coco.records import AnnotationRecord, Category, MalformedRecord, MaskedAnnotationRecord
from chipper.columns import Annotations, Columns, Floats, Images, Ints, Skipped
from chipper.errors import AnnotationError
from chipper.storage.files import fingerprint, read_bytes


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
    content = decode_lists(path, read_bytes(path, AnnotationError, "annotation file", CURE), AnnotationRecord)
    found = _split("image", content["images"] or [])
    images, _ = checked_images(found.records, found.places)
    if not len(images):
        raise AnnotationError(f"{path} has no usable image; {CURE}")
    return images


def read_coco(path: Path, masks: bool = False) -> Coco:
    """Read the COCO instances file ``path``; segmentations are read only if ``masks`` is true.

    Images and annotations that cannot be used are listed in ``skipped`` with the reason: malformed records, unknown or
    duplicate ids, boxes that are not finite, have no area or are outside their image, images without a size. Boxes are
    clipped to their image.

    Raises:
        AnnotationError: the file cannot be read, is not JSON, is not COCO, or nothing in it can be used.
    """
    with collector_paused():
        return _read(path, masks)


def read_ground_truth(path: Path, masks: bool = False) -> GroundTruth:
    """Read a COCO file as the ground truth of an evaluation; segmentations are read only if ``masks`` is true.

    Images and annotations are the same as in `read_coco`, but the lists of annotations and categories may be empty.

    Raises:
        AnnotationError: the file cannot be read, is not COCO, or has no usable image.
    """
    with collector_paused():
        record = MaskedAnnotationRecord if masks else AnnotationRecord
        content = decode_lists(path, read_bytes(path, AnnotationError, "annotation file", CURE), record)
        _require(path, content, filled=("images",))
        categories = _well_formed(path, content["categories"])
        images, annotations, boxes, _ = _checked(path, content, categories)
        return GroundTruth(images, annotations, boxes, categories, len(content["images"]))


def _read(path: Path, masks: bool) -> Coco:
    data = read_bytes(path, AnnotationError, "annotation file", CURE)
    hash_, size = fingerprint(data), len(data)
    record = MaskedAnnotationRecord if masks else AnnotationRecord
    content = decode_lists(path, data, record)
    del data
    _require(path, content, filled=LISTS)
    categories = _categories(path, content["categories"])
    images, annotations, _, skips = _checked(path, content, categories)
    _require_used(path, "annotation", annotations, content, skips)
    return Coco(
        images,
        annotations,
        categories,
        skipped_columns(skips),
        len(content["images"]),
        len(content["annotations"]),
        size,
        hash_,
    )


def _require(path: Path, content: dict[str, Any], filled: tuple[str, ...]) -> None:
    """Raise AnnotationError if a list is missing, or if a list in ``filled`` is empty."""
    for part in LISTS:
        if content[part] is None or (part in filled and not content[part]):
            found = "no" if content[part] is None else "an empty"
            raise AnnotationError(f'{path} has {found} "{part}" list; {CURE}')


def _checked(
    path: Path, content: dict[str, Any], categories: Iterable[Category]
) -> tuple[Images, Annotations, Floats, list[Skip]]:
    """The usable images and annotations, the annotations' boxes before clipping, and the skipped records.

    Raises:
        AnnotationError: no image is usable.
    """
    of_images, of_annotations = (_split(what, content[f"{what}s"]) for what in ("image", "annotation"))
    images, bad_images = checked_images(of_images.records, of_images.places)
    annotations, boxes, bad_annotations = checked_annotations(
        of_annotations.records, images, [record.id for record in of_images.records], [c.id for c in categories]
    )
    skips = [*of_images.malformed, *bad_images, *of_annotations.malformed, *bad_annotations]
    _require_used(path, "image", images, content, skips)
    return images, annotations, boxes, skips


def _require_used(path: Path, what: str, usable: Columns, content: dict[str, Any], skips: list[Skip]) -> None:
    """Raise AnnotationError if no record is usable."""
    if not len(usable):
        first = next(skip for skip in skips if skip.record == what)
        raise AnnotationError(
            f"{path}: none of the {len(content[f'{what}s'])} {what}s can be used; the first: "
            f"{first.reason} ({first.detail}); correct those records"
        )


def _split(what: str, entries: list[Any]) -> _Entries:
    """The entries of a list of the file; ``what`` is "image" or "annotation"."""
    bad = [k for k, entry in enumerate(entries) if type(entry) is MalformedRecord]
    malformed = []
    for k in bad:
        entry = entries[k]
        image, annotation = (entry.id, None) if what == "image" else (entry.image_id, entry.id)
        detail = f"{what} number {k}: {entry.problem}"
        malformed.append(Skip(what, whole_number(image), whole_number(annotation), "malformed record", detail))
    places = np.delete(np.arange(len(entries)), bad)
    return _Entries([entries[k] for k in places] if bad else entries, places, malformed)


def _well_formed(path: Path, entries: list[msgspec.Struct]) -> list[Category]:
    for entry in entries:
        if isinstance(entry, MalformedRecord):
            raise AnnotationError(
                f"{path}: a category is malformed ({entry.problem}); give each an integer id and a name"
            )
    return [entry for entry in entries if isinstance(entry, Category)]


def _categories(path: Path, entries: list[msgspec.Struct]) -> tuple[Category, ...]:
    seen: dict[int, Category] = {}
    for entry in _well_formed(path, entries):
        if seen.setdefault(entry.id, entry).name != entry.name:
            raise AnnotationError(
                f"{path}: category id {entry.id} has the names {seen[entry.id].name!r} and {entry.name!r}; give each its own id"
            )
    return tuple(seen.values())
