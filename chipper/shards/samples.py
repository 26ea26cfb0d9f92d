"""Samples: for each chip a shard holds a JPEG and a JSON record with the chip's labels as COCO annotations."""

from __future__ import annotations

import io
import math
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from PIL import Image

from chipper.coco.masks import Window, clip_keypoints, clip_segmentation
from chipper.columns import Annotations, Chips, Images, Labels
from chipper.images.header import open_image
from chipper.mining.options import PositiveOptions

_DECIMALS = 5
T = TypeVar("T")


KEY = r"^-?\d{1,20}_\d{1,20}_\d{1,20}_\d{1,20}$"
"""What `sample_key` gives, as a regular expression."""


def sample_key(image_id: int, scale_index: int, x: int, y: int) -> str:
    """The sample's name; it has no dots, because WebDataset readers split names at the first dot."""
    return f"{image_id:012d}_{scale_index}_{x:05d}_{y:05d}"


class SampleError(Exception):
    """A sample in a shard is not valid, although its checksum may be correct."""


_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Label(msgspec.Struct):
    """The required fields of an annotation in a record."""

    id: _Int64
    category_id: _Int64
    bbox: tuple[float, float, float, float]  # x y w h in chip px
    valid: bool
    ignore: bool
    segmentation: Any = None


class RecordedChip(msgspec.Struct):
    """The required fields of the chip in a record."""

    chip_id: _Int64
    kind: str
    scale_index: _Int64
    scale: float
    x: _Int64  # canvas px
    y: _Int64
    content: tuple[float, float]  # width and height in chip px; the rest is padding
    valid_range: tuple[float, float | None]  # chip px


class Record(msgspec.Struct):
    """The required fields of a record."""

    image_id: _Int64
    file_name: str
    width: int
    height: int
    annotations: list[Label]
    chip: RecordedChip

    @property
    def key(self) -> str:
        """The key of the sample."""
        return sample_key(self.image_id, self.chip.scale_index, self.chip.x, self.chip.y)


def parse_record(record: bytes, key: str | None = None) -> Record:
    """The required fields of a sample's JSON record.

    Raises:
        SampleError: they are missing or invalid, or are those of another sample than ``key``.
    """
    found = _decode(record, Record)
    if key not in (None, found.key):
        raise SampleError(f"its record is that of {found.key}")
    return found


def read_record(record: bytes, key: str) -> dict[str, Any]:
    """All fields of the JSON record of the sample ``key``. Raises SampleError if it is not valid."""
    parse_record(record, key)
    return _decode(record, dict[str, Any])  # other fields are only decoded here


def _decode(record: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(record, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SampleError(str(error)) from None


def read_jpeg(jpeg: bytes, side: int) -> Image.Image:
    """A sample's picture, RGB. Raises SampleError if it is not a picture of ``side`` x ``side`` px."""
    try:
        with open_image(io.BytesIO(jpeg), ("JPEG",)) as image:
            if image.size != (side, side):
                raise SampleError(f"it is {image.size[0]}x{image.size[1]} px")
            image.load()
            return image if image.mode == "RGB" else image.convert("RGB")  # convert would copy
    except SampleError:
        raise
    except Exception as error:  # PIL's readers raise many kinds of errors for a damaged file
        raise SampleError(f"its picture cannot be decoded: {error}") from None


def decoded(text: bytes) -> Any:
    """The value of the JSON ``text``, or None if it is not valid JSON; None is not accepted as a mask or keypoints."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class SampleWriter:
    """Writes the JSON records of the chips of one part of a workdir."""

    def __init__(
        self, images: Images, annotations: Annotations, chips: Chips, labels: Labels, options: PositiveOptions
    ) -> None:
        self._images, self._annotations, self._labels, self._options = images, annotations, labels, options
        self._image_row = {int(image_id): k for k, image_id in enumerate(images.image_id)}
        self._annotation_row = {int(a): k for k, a in enumerate(annotations.annotation_id)}
        self._first = np.searchsorted(labels.chip_id, chips.chip_id, side="left")
        self._last = np.searchsorted(labels.chip_id, chips.chip_id, side="right")
        self._chips = chips

    def record(self, k: int) -> bytes:
        """The JSON record of the chip in row ``k``."""
        chips, size = self._chips, self._options.chip_size
        image = self._image_row[int(chips.image_id[k])]
        scale = float(chips.scale[k])
        valid_range = self._options.valid_ranges[int(chips.scale_index[k])]
        window = (
            scale,
            float(chips.x[k]),
            float(chips.y[k]),
            float(chips.content_width[k]),
            float(chips.content_height[k]),
        )
        return msgspec.json.encode(
            {
                "image_id": int(chips.image_id[k]),
                "file_name": self._images.file_name[image],
                "width": size,
                "height": size,
                "annotations": [self._annotation(row, window, image) for row in range(self._first[k], self._last[k])],
                "chip": {
                    "chip_id": int(chips.chip_id[k]),
                    "kind": chips.kind[k],
                    "variant": int(chips.variant[k]),
                    "scale_index": int(chips.scale_index[k]),
                    "scale": scale,
                    "x": int(chips.x[k]),
                    "y": int(chips.y[k]),
                    "content": [int(chips.content_width[k]), int(chips.content_height[k])],
                    "source_box": [round(v, _DECIMALS) for v in chips.source_box[k].tolist()],
                    "valid_range": [
                        round(valid_range.low * scale, _DECIMALS),
                        None if math.isinf(valid_range.high) else round(valid_range.high * scale, _DECIMALS),
                    ],
                },
            }
        )

    def _annotation(self, row: int, window: Window, image: int) -> dict[str, Any]:
        labels, annotations = self._labels, self._annotations
        whole = self._annotation_row[int(labels.annotation_id[row])]
        x1, y1, x2, y2 = (round(v, _DECIMALS) for v in labels.box[row].tolist())
        visibility = float(labels.visibility[row])
        out: dict[str, Any] = {
            "id": int(labels.annotation_id[row]),
            "image_id": int(annotations.image_id[whole]),
            "category_id": int(labels.category_id[row]),
            "bbox": [x1, y1, round(x2 - x1, _DECIMALS), round(y2 - y1, _DECIMALS)],
            "area": round(float(annotations.area[whole]) * window[0] ** 2 * visibility, 2),
            "iscrowd": int(annotations.iscrowd[whole]),
            "valid": bool(labels.valid[row]),
            "ignore": bool(labels.ignore[row]),
            "visibility": round(visibility, _DECIMALS),
        }
        if annotations.segmentation[whole] is not None:
            size = int(self._images.width[image]), int(self._images.height[image])
            segmentation, area = clip_segmentation(decoded(annotations.segmentation[whole]), window, size)
            out["segmentation"] = segmentation
            if area is not None:
                out["area"] = round(area, 2)
        if annotations.keypoints[whole] is not None:
            out["keypoints"], out["num_keypoints"] = clip_keypoints(decoded(annotations.keypoints[whole]), window)
        return out
