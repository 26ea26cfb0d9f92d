"""Columns in memory: one frozen dataclass of equally long arrays per table of chipper.schemas."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from chipper.schemas import Table

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Objects = npt.NDArray[np.object_]
POSITIVE, NEGATIVE = "positive", "negative"
CHIPS_PER_IMAGE = 1 << 24
FIRST_NEGATIVE = 1 << 23


@dataclass(frozen=True)
class Columns:
    """Equally long arrays; rows are addressed by number, slice, mask or index array."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self: C, rows: Any) -> C:
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def to_arrow(self, table: Table, belongs_to: str) -> pa.Table:
        """The rows as ``table``; boxes become four columns; columns that these rows do not have become null."""
        schema = table.arrow_schema(belongs_to)
        arrays = []
        for column in schema:
            values = self._values(column.name)
            if values is None:
                arrays.append(pa.nulls(len(self), column.type))
            elif values.dtype == object:
                arrays.append(pa.array(values, type=column.type))
            else:
                arrays.append(pa.array(values).cast(column.type, safe=False))
        return pa.Table.from_arrays(arrays, schema=schema)

    def _values(self, name: str) -> npt.NDArray[Any] | None:
        prefix, side = name[:-2], name[-2:]
        if side in _SIDES:  # x1 .. y2 are from box, source_x1 .. source_y2 from source_box
            return np.ascontiguousarray(getattr(self, prefix + "box")[:, _SIDES.index(side)])
        values: npt.NDArray[Any] | None = getattr(self, name, None)
        return values

    @classmethod
    def from_arrow(cls: type[C], table: pa.Table) -> C:
        """The columns of ``table``, with integers as int64 and boxes as (n, 4) float64."""
        values = {}
        for f in fields(cls):
            if f.name in ("box", "source_box"):
                prefix = f.name[: -len("box")]
                sides = [table[prefix + side].to_numpy() for side in _SIDES]
                values[f.name] = np.stack(sides, axis=1).astype(np.float64).reshape(-1, 4)
            else:
                values[f.name] = _to_numpy(table[f.name])
        return cls(**values)


C = TypeVar("C", bound=Columns)
_SIDES = ("x1", "y1", "x2", "y2")


def _to_numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    if pa.types.is_integer(column.type) and not column.null_count:
        return np.asarray(column.to_numpy(), dtype=np.int64)
    if pa.types.is_floating(column.type):
        return np.asarray(column.to_numpy(), dtype=np.float64)
    if pa.types.is_boolean(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.bool_)
    out = np.empty(len(column), dtype=object)
    out[:] = column.to_pylist()
    return out


def concatenate(pieces: list[C]) -> C:
    """The rows of all pieces, in order; there must be at least one piece."""
    first = pieces[0]
    return type(first)(**{f.name: np.concatenate([getattr(p, f.name) for p in pieces]) for f in fields(first)})


@dataclass(frozen=True)
class Images(Columns):
    """The images table."""

    image_id: Ints
    position: Ints
    file_name: Objects
    width: Ints  # source px
    height: Ints  # source px


@dataclass(frozen=True)
class Annotations(Columns):
    """The annotations table, grouped by image, in the order of the images."""

    annotation_id: Ints
    image_id: Ints
    category_id: Ints
    box: Floats  # (n, 4) source px, clipped to the image
    area: Floats  # source px^2
    iscrowd: Bools
    segmentation: Objects  # JSON bytes or None
    keypoints: Objects  # JSON bytes or None


@dataclass(frozen=True)
class Skipped(Columns):
    """The skipped table."""

    record: Objects
    image_id: Objects
    annotation_id: Objects
    reason: Objects
    detail: Objects


@dataclass(frozen=True)
class Chips(Columns):
    """The chips table."""

    chip_id: Ints
    image_id: Ints
    kind: Objects
    variant: Ints
    scale_index: Ints
    scale: Floats
    x: Ints  # canvas px
    y: Ints  # canvas px
    content_width: Ints  # chip px
    content_height: Ints  # chip px
    source_box: Floats  # (n, 4) source px
    proposals: Ints

    @property
    def image_position(self) -> Ints:
        """Position of each chip's image in the COCO file."""
        return self.chip_id // CHIPS_PER_IMAGE


@dataclass(frozen=True)
class Labels(Columns):
    """The labels table."""

    chip_id: Ints
    annotation_id: Ints
    category_id: Ints
    box: Floats  # (n, 4) chip px, clipped to the content
    valid: Bools
    ignore: Bools
    visibility: Floats


@dataclass(frozen=True)
class Proposals(Columns):
    """Proposals of many images, grouped by image, in the order of the images."""

    image_id: Ints
    box: Floats  # (n, 4) source px
    score: Floats
