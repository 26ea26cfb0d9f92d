"""Samples: what a shard holds for each chip, a JPEG and a JSON record of its labels as COCO writes annotations."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from chipper.columns import Annotations, Chips, Images, Labels
from chipper.masks import Window, clip_keypoints, clip_segmentation
from chipper.options import PositiveOptions

_DECIMALS = 5


def sample_key(image_id: int, scale_index: int, x: int, y: int) -> str:
    """The sample's name: no dots, so that WebDataset readers split it right."""
    return f"{image_id:012d}_{scale_index}_{x:05d}_{y:05d}"


UNREADABLE = (KeyError, TypeError, ValueError, IndexError, OSError, RecursionError, msgspec.DecodeError)
"""What decoding a sample raises that is not one; a checksum to fit does not make it one."""


class _Label(msgspec.Struct):
    """What must stand in a record's annotation."""

    id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    valid: bool
    ignore: bool


class _Record(msgspec.Struct):
    """What must stand in a record."""

    image_id: int
    file_name: str
    width: int
    height: int
    annotations: list[_Label]
    chip: dict[str, Any]


def read_record(record: bytes) -> dict[str, Any]:
    """A sample's JSON record. Raises one of `UNREADABLE` where it is none."""
    msgspec.json.decode(record, type=_Record)
    found: dict[str, Any] = msgspec.json.decode(record)
    return found


def decoded(text: bytes) -> Any:
    """What the JSON ``text`` holds; None, which is neither mask nor keypoints, where it is none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class SampleWriter:
    """Makes the JSON records of the chips of one part of a workdir."""

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
