"""The records of a COCO file, with only the fields that chipper reads."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

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
    keypoints: msgspec.Raw = msgspec.Raw()  # JSON text; empty if missing


class MaskedAnnotationRecord(AnnotationRecord, gc=False):
    """One entry of "annotations" with its masks."""

    segmentation: msgspec.Raw = msgspec.Raw()


class Category(msgspec.Struct, omit_defaults=True):
    """One entry of "categories"."""

    id: _Whole
    name: str
    supercategory: str | None = None


class MalformedRecord(msgspec.Struct, gc=False):
    """A record that does not follow the COCO format, and what is wrong with it."""

    problem: str
    id: Any = None
    image_id: Any = None
