"""Decode a COCO file into typed records. If one is malformed, each is decoded separately, so that the others can be used."""

from __future__ import annotations

import contextlib
import gc
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from chipper.coco.records import AnnotationRecord, CategoryRecord, ImageRecord, MalformedRecord
from chipper.errors import AnnotationError

CURE = "give a COCO instances file"
LISTS = ("images", "annotations", "categories")
_KEPT_AS_TEXT = ("segmentation", "keypoints", "attributes")
_NO_BOX = re.compile(rb'"bbox"\s*:\s*\[\s*\]')  # as good as none
_NOT_COCO = f"is JSON but not COCO: it is not an object with the lists images, annotations, categories; {CURE}"


class _File(msgspec.Struct):
    images: list[ImageRecord] | None = None
    annotations: list[AnnotationRecord] | None = None
    categories: list[CategoryRecord] | None = None


class _Raw(msgspec.Struct):
    images: list[msgspec.Raw] | None = None
    annotations: list[msgspec.Raw] | None = None
    categories: list[msgspec.Raw] | None = None


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pause Python's garbage collector: millions of records are created, and none is part of a reference cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def decode_lists(path: Path, data: bytes) -> dict[str, Any]:
    """The three lists of the file; entries that do not fit their record type become `MalformedRecord`."""
    try:
        return msgspec.structs.asdict(msgspec.json.decode(data, type=_File))
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path} is not JSON ({error}); {CURE}") from None
    except (msgspec.DecodeError, RecursionError):  # DecodeError includes ValidationError
        pass
    try:
        lists = msgspec.structs.asdict(msgspec.json.decode(data, type=_Raw))
    except msgspec.ValidationError:
        raise AnnotationError(f"{path} {_NOT_COCO}") from None
    except (msgspec.DecodeError, RecursionError):
        lists = _plain_json(path, data)  # Python's json module accepts NaN and Infinity, which are not valid JSON
    types: dict[str, type[msgspec.Struct]] = {
        "images": ImageRecord,
        "annotations": AnnotationRecord,
        "categories": CategoryRecord,
    }
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
    lists = {part: content.get(part) for part in LISTS} if isinstance(content, dict) else {}
    if not lists or not all(entries is None or isinstance(entries, list) for entries in lists.values()):
        raise AnnotationError(f"{path} {_NOT_COCO}")
    return lists


def _convert(entry: Any, type_: type[msgspec.Struct]) -> msgspec.Struct:
    """One entry as ``type_`` (numbers in quotes are accepted), or as `MalformedRecord`."""
    try:
        if isinstance(entry, msgspec.Raw):
            return msgspec.json.decode(_NO_BOX.sub(b'"bbox":null', bytes(entry)), type=type_, strict=False)
        if not isinstance(entry, dict):
            return msgspec.convert(entry, type=type_)
        entry = {**entry, "bbox": entry.get("bbox") or None} if "bbox" in entry else entry
        texts = {part: entry[part] for part in _KEPT_AS_TEXT if entry.get(part) is not None and hasattr(type_, part)}
        converted = msgspec.convert(
            {k: v for k, v in entry.items() if k not in _KEPT_AS_TEXT}, type=type_, strict=False
        )
        for part, value in texts.items():
            with contextlib.suppress(ValueError):  # NaN in a shape costs the shape, not the object
                setattr(converted, part, msgspec.Raw(json.dumps(value, allow_nan=False).encode()))
        return converted
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
        fields = _fields(entry)
        return MalformedRecord(str(error).split(" - at ")[0], fields.get("id"), fields.get("image_id"))


def _fields(entry: Any) -> dict[str, Any]:
    """The fields of a malformed record that can be read."""
    try:
        plain = json.loads(bytes(entry)) if isinstance(entry, msgspec.Raw) else entry
    except (ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}
