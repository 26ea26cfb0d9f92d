"""The records of a COCO file, with only the fields that chipper reads."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

_Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Id = _Whole | float | str | None  # text becomes a number in `chipper.coco.meaning`
_Box = tuple[float, float, float, float]


class ImageRecord(msgspec.Struct, gc=False):
    """One entry of "images"."""

    id: _Id = None
    file_name: str | None = None
    width: float | None = None
    height: float | None = None
    coco_url: str | None = None
    not_exhaustive_category_ids: list[int] | None = None  # LVIS: not all objects of these classes are annotated


class AnnotationRecord(msgspec.Struct, gc=False):
    """One entry of "annotations"."""

    id: _Id = None
    image_id: _Id = None
    category_id: _Id = None
    bbox: _Box | None = None
    area: float | None = None
    iscrowd: bool | int | None = None
    ignore: bool | int | None = None  # neither an object nor background
    keypoints: msgspec.Raw = msgspec.Raw()  # JSON text; empty if missing
    segmentation: msgspec.Raw = msgspec.Raw()
    attributes: msgspec.Raw = msgspec.Raw()
    file_name: str | None = None  # of its image


class Category(msgspec.Struct, omit_defaults=True):
    """A category."""

    id: _Whole
    name: str
    supercategory: str | None = None


class CategoryRecord(msgspec.Struct, gc=False):
    """One entry of "categories" as tools write it."""

    id: _Whole | str
    name: str
    supercategory: Any = None  # false and 0 occur


class MalformedRecord(msgspec.Struct, gc=False):
    """A record that does not follow the COCO format, and what is wrong with it."""

    problem: str
    id: Any = None
    image_id: Any = None
