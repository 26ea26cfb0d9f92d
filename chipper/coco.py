"""Reading COCO annotation files.

The file is decoded into typed records that hold only what is needed. A file with a malformed record is decoded once more,
record by record, so that the bad ones can be listed and the others used.
"""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from chipper.coco_check import checked_annotations, checked_images, skipped_columns
from chipper.columns import Annotations, Columns, Floats, Images, Skipped
from chipper.errors import AnnotationError
from chipper.files import fingerprint, read_bytes

CURE = "give a COCO instances file"
_PARTS = ("images", "annotations", "categories")
_KEPT_AS_TEXT = ("segmentation", "keypoints")
_NOT_COCO = f"is JSON but not COCO: it is no object with the lists images, annotations, categories; {CURE}"
_Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Id = _Whole | float | None
_Box = tuple[float, float, float, float]


class ImageRecord(msgspec.Struct, gc=False):
    """One entry of "images"."""

    id: _Id = None
    file_name: str | None = None
    width: float | None = None
    height: float | None = None


class AnnotationRecord(msgspec.Struct, gc=False):
    """One entry of "annotations", without its masks."""

    id: _Id = None
    image_id: _Id = None
    category_id: _Id = None
    bbox: _Box | None = None
    area: float | None = None
    iscrowd: bool | int | None = None
    keypoints: msgspec.Raw = msgspec.Raw()  # JSON text; empty where there are none


class MaskedAnnotationRecord(AnnotationRecord, gc=False):
    """One entry of "annotations" with its masks."""

    segmentation: msgspec.Raw = msgspec.Raw()


class Category(msgspec.Struct, omit_defaults=True):
    """One entry of "categories"."""

    id: _Whole
    name: str
    supercategory: str | None = None


class _Malformed(msgspec.Struct, gc=False):
    """A record that is not what COCO says, and in which way."""

    problem: str
    id: Any = None
    image_id: Any = None


class _Raw(msgspec.Struct):
    images: list[msgspec.Raw] | None = None
    annotations: list[msgspec.Raw] | None = None
    categories: list[msgspec.Raw] | None = None


@dataclass(frozen=True)
class Coco:
    """The usable part of a COCO file, and what was left out."""

    images: Images
    annotations: Annotations
    categories: tuple[Category, ...]
    skipped: Skipped
    image_records: int  # in the file, usable or not
    annotation_records: int
    bytes: int
    hash: str


@dataclass(frozen=True)
class GroundTruth:
    """What detections are held against: of a COCO file the part that `read_coco` uses."""

    images: Images
    annotations: Annotations
    boxes: Floats  # (annotations, 4) x y w h in source px, not clipped
    categories: list[Category]  # of those that share an id, the first counts
    image_records: int  # in the file, usable or not


def read_images(path: Path) -> Images:
    """The usable images of a COCO file, which needs no annotations.

    Raises:
        AnnotationError: the file cannot be read, is not COCO, or names no usable image.
    """
    content = _decode(path, read_bytes(path, AnnotationError, "annotation file", CURE), AnnotationRecord)
    skips: list[tuple[Any, ...]] = []
    images = checked_images(_usable(content["images"] or [], "image", skips), skips)
    if not len(images):
        raise AnnotationError(f"{path} names no usable image; {CURE}")
    return images


def read_coco(path: Path, masks: bool = False) -> Coco:
    """Read the COCO instances file ``path``; segmentations only when ``masks``.

    Images and annotations that cannot be used are listed in ``skipped`` with the reason: records that are not COCO,
    ids that are unknown or there twice, boxes that are not finite, have no area or lie outside their image, images
    without a size. Boxes are clipped to their image.

    Raises:
        AnnotationError: the file cannot be read, is not JSON, is not COCO, or nothing in it can be used.
    """
    with collector_paused():
        return _read(path, masks)


def read_ground_truth(path: Path, masks: bool = False) -> GroundTruth:
    """Read a COCO file to evaluate against; segmentations only when ``masks``.

    Its images and annotations are those of `read_coco`, but there may be no annotation and no category.

    Raises:
        AnnotationError: the file cannot be read, is not COCO, or has no usable image.
    """
    with collector_paused():
        record = MaskedAnnotationRecord if masks else AnnotationRecord
        content = _decode(path, read_bytes(path, AnnotationError, "annotation file", CURE), record)
        _require(path, content, filled=("images",))
        categories = _well_formed(path, content["categories"])
        images, annotations, boxes, _ = _checked(path, content, categories)
        return GroundTruth(images, annotations, boxes, categories, len(content["images"]))


def _read(path: Path, masks: bool) -> Coco:
    data = read_bytes(path, AnnotationError, "annotation file", CURE)
    hash_, size = fingerprint(data), len(data)
    record = MaskedAnnotationRecord if masks else AnnotationRecord
    content = _decode(path, data, record)
    del data
    _require(path, content, filled=_PARTS)
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
    """Raise AnnotationError unless all lists are there, and those of ``filled`` not empty."""
    for part in _PARTS:
        if content[part] is None or (part in filled and not content[part]):
            found = "no" if content[part] is None else "an empty"
            raise AnnotationError(f'{path} has {found} "{part}" list; {CURE}')


def _checked(
    path: Path, content: dict[str, Any], categories: Iterable[Category]
) -> tuple[Images, Annotations, Floats, list[tuple[Any, ...]]]:
    """The usable images and annotations, the boxes of these before clipping, and what was left out.

    Raises:
        AnnotationError: no image can be used.
    """
    skips: list[tuple[Any, ...]] = []
    images = checked_images(_usable(content["images"], "image", skips), skips)
    known = [entry.id for entry in content["images"] if isinstance(entry, ImageRecord)]
    annotations, boxes = checked_annotations(
        _usable(content["annotations"], "annotation", skips), images, known, [c.id for c in categories], skips
    )
    _require_used(path, "image", images, content, skips)
    return images, annotations, boxes, skips


def _require_used(
    path: Path, what: str, usable: Columns, content: dict[str, Any], skips: list[tuple[Any, ...]]
) -> None:
    """Raise AnnotationError where no record is usable."""
    if not len(usable):
        first = next(s for s in skips if s[0] == what)
        raise AnnotationError(
            f"{path}: none of the {len(content[f'{what}s'])} {what}s can be used; the first: "
            f"{first[3]} ({first[4]}); mend those records"
        )


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Millions of records are made and none is part of a cycle: looking for cycles among them takes time for nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _decode(path: Path, data: bytes, record: type[AnnotationRecord]) -> dict[str, Any]:
    """The three lists of the file; entries that do not fit their record type come as `_Malformed`."""
    strict = msgspec.defstruct(
        "File",
        [
            ("images", list[ImageRecord] | None, None),
            ("annotations", list[record] | None, None),  # type: ignore[valid-type]
            ("categories", list[Category] | None, None),
        ],
    )
    try:
        return msgspec.structs.asdict(msgspec.json.decode(data, type=strict))
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path} is not JSON ({error}); {CURE}") from None
    except (msgspec.DecodeError, RecursionError):  # ValidationError among them
        pass
    try:
        lists = msgspec.structs.asdict(msgspec.json.decode(data, type=_Raw))
    except msgspec.ValidationError:
        raise AnnotationError(f"{path} {_NOT_COCO}") from None
    except (msgspec.DecodeError, RecursionError):
        lists = _plain_json(path, data)  # Python writes NaN and Infinity, which are not JSON
    types: dict[str, type[msgspec.Struct]] = {"images": ImageRecord, "annotations": record, "categories": Category}
    return {
        part: None if entries is None else [_convert(entry, types[part]) for entry in entries]
        for part, entries in lists.items()
    }


def _plain_json(path: Path, data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except RecursionError:
        raise AnnotationError(f"{path} is nested too deeply to be COCO; {CURE}") from None
    except ValueError as error:
        raise AnnotationError(f"{path} is not JSON ({error}); {CURE}") from None
    lists = {part: content.get(part) for part in _PARTS} if isinstance(content, dict) else {}
    if not lists or not all(entries is None or isinstance(entries, list) for entries in lists.values()):
        raise AnnotationError(f"{path} {_NOT_COCO}")
    return lists


def _convert(entry: Any, type_: type[msgspec.Struct]) -> msgspec.Struct:
    """One entry as ``type_``, numbers in quotes allowed, or as `_Malformed`."""
    try:
        if isinstance(entry, msgspec.Raw):
            return msgspec.json.decode(entry, type=type_, strict=False)
        if not isinstance(entry, dict):
            return msgspec.convert(entry, type=type_)
        texts = {part: entry[part] for part in _KEPT_AS_TEXT if entry.get(part) is not None and hasattr(type_, part)}
        converted = msgspec.convert(
            {k: v for k, v in entry.items() if k not in _KEPT_AS_TEXT}, type=type_, strict=False
        )
        for part, value in texts.items():
            setattr(converted, part, msgspec.Raw(json.dumps(value, allow_nan=False).encode()))
        return converted
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
        fields = _fields(entry)
        return _Malformed(str(error).split(" - at ")[0], fields.get("id"), fields.get("image_id"))


def _fields(entry: Any) -> dict[str, Any]:
    """What can be read of a malformed record."""
    try:
        plain = json.loads(bytes(entry)) if isinstance(entry, msgspec.Raw) else entry
    except (ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}


def _usable(entries: list[msgspec.Struct], what: str, skips: list[tuple[Any, ...]]) -> list[Any]:
    good = entries
    if any(type(entry) is _Malformed for entry in entries):
        good = [entry for entry in entries if not isinstance(entry, _Malformed)]
        for place, entry in enumerate(entries):
            if isinstance(entry, _Malformed):
                image, annotation = (entry.id, None) if what == "image" else (entry.image_id, entry.id)
                skips.append((what, image, annotation, "malformed record", f"{what} number {place}: {entry.problem}"))
    if what == "image":  # proposals address images by their place in the file
        return [(place, entry) for place, entry in enumerate(entries) if not isinstance(entry, _Malformed)]
    return good


def _well_formed(path: Path, entries: list[msgspec.Struct]) -> list[Category]:
    for entry in entries:
        if isinstance(entry, _Malformed):
            raise AnnotationError(
                f"{path}: a category is malformed ({entry.problem}); give each an integer id and a name"
            )
    return [entry for entry in entries if isinstance(entry, Category)]


def _categories(path: Path, entries: list[msgspec.Struct]) -> tuple[Category, ...]:
    seen: dict[int, Category] = {}
    for entry in _well_formed(path, entries):
        if seen.setdefault(entry.id, entry).name != entry.name:
            raise AnnotationError(
                f"{path}: category id {entry.id} stands for {seen[entry.id].name!r} and for {entry.name!r}; give each its own"
            )
    return tuple(seen.values())
