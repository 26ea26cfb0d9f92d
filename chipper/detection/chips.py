"""One sample as arrays, and several as a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from chipper.coco.masks import mask_in_box
from chipper.detection.batch import Batch
from chipper.shards.samples import SampleError, parse_record, read_jpeg


@dataclass(frozen=True)
class Chip:
    """One decoded sample; boxes (g, 4) x1 y1 x2 y2 in chip px."""

    image: npt.NDArray[np.uint8]  # (K, K, 3) RGB
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]  # (g,) 1..C
    valid: npt.NDArray[np.bool_]
    ignore: npt.NDArray[np.bool_]
    content: tuple[float, float]
    valid_range: tuple[float, float]
    chip_id: int
    masks: npt.NDArray[np.uint8] | None = None  # (g, m, m), see `Batch`


MOST_PX = 1e6  # from a chip's corner; no box that was written is near it
MASK_SIDE = 56  # m: twice what the mask head predicts
Decoder = Callable[[bytes, bytes], "Chip"]


def decode_chip(jpeg: bytes, record: bytes, label_of: dict[int, int], side: int, masks: bool = False) -> Chip:
    """Decode one sample of a shard; ``label_of`` gives the label of each category id, ``side`` is the chip's in px.

    Raises:
        SampleError: it is no sample, or none of these categories.
    """
    sample = parse_record(record)
    annotations, (low, high) = sample.annotations, sample.chip.valid_range
    xywh = np.array([a.bbox for a in annotations], dtype=np.float64).reshape(-1, 4)
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    if not (np.abs(boxes) <= MOST_PX).all():
        raise SampleError("a box lies far outside the chip")
    boxes = boxes.astype(np.float32)
    try:
        labels = np.array([label_of[a.category_id] for a in annotations], dtype=np.int64)
    except KeyError as error:
        raise SampleError(f"there is no category {error}") from None
    drawn = [_mask(a.segmentation, box, side) for a, box in zip(annotations, boxes, strict=True) if masks]
    return Chip(
        image=np.asarray(read_jpeg(jpeg, side)),
        boxes=boxes,
        labels=labels,
        valid=np.array([a.valid for a in annotations], dtype=np.bool_),
        ignore=np.array([a.ignore for a in annotations], dtype=np.bool_),
        content=sample.chip.content,
        valid_range=(low, math.inf if high is None else high),
        chip_id=sample.chip.chip_id,
        masks=np.array(drawn, np.uint8).reshape(-1, MASK_SIDE, MASK_SIDE) if masks else None,
    )


def _mask(segmentation: Any, box: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.uint8]:
    try:
        if isinstance(segmentation, dict) and max(segmentation["size"]) > side:
            raise ValueError("it is larger than the chip")
        return mask_in_box(segmentation, box, MASK_SIDE)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SampleError(f"a mask cannot be used: {error}") from None


def collate(chips: list[Chip]) -> Batch:
    """Chips as a batch; boxes are padded to the largest number in it."""
    most = max(len(chip.boxes) for chip in chips)

    def padded(name: str, dtype: torch.dtype, *tail: int) -> torch.Tensor:
        out = torch.zeros((len(chips), most, *tail), dtype=dtype)
        for k, chip in enumerate(chips):
            values = torch.from_numpy(getattr(chip, name))
            out[k, : len(values)] = values
        return out

    return Batch(
        images=torch.from_numpy(np.stack([chip.image for chip in chips])).permute(0, 3, 1, 2),
        boxes=padded("boxes", torch.float32, 4),
        labels=padded("labels", torch.int64),
        valid=padded("valid", torch.bool),
        ignore=padded("ignore", torch.bool),
        content=torch.tensor([chip.content for chip in chips], dtype=torch.float32),
        valid_range=torch.tensor([chip.valid_range for chip in chips], dtype=torch.float32),
        chip_ids=torch.tensor([chip.chip_id for chip in chips], dtype=torch.int64),
        masks=None if chips[0].masks is None else padded("masks", torch.uint8, MASK_SIDE, MASK_SIDE),
    )
