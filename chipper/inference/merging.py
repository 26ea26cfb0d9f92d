"""What was found in one image, and the merge of what its scales found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from chipper.kernels.soft_nms import SNIPER_MERGE, SoftNmsOptions, soft_nms


@dataclass(frozen=True)
class ImageDetections:
    """What was found in one image, in source px."""

    boxes: npt.NDArray[np.float32]  # (n, 4) x1 y1 x2 y2
    scores: npt.NDArray[np.float32]  # (n,)
    labels: npt.NDArray[np.int64]  # (n,) 1..C
    scale_index: npt.NDArray[np.int64]  # (n,) the scale that found it
    masks: npt.NDArray[np.float32] | None = None  # (n, 28, 28) probabilities over the box, from a model with masks
    pixels: int = 0  # that the network has looked at, of all scales

    def mirrored(self, width: float) -> ImageDetections:
        """The same in the mirror image of an image of ``width`` source px."""
        boxes = self.boxes.copy()
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        return replace(self, boxes=boxes, masks=None if self.masks is None else self.masks[:, :, ::-1])


@dataclass(frozen=True)
class ImageProposals:
    """Proposals of one image, in source px."""

    boxes: npt.NDArray[np.float32]  # (n, 4) x1 y1 x2 y2
    scores: npt.NDArray[np.float32]  # (n,) objectness
    scale_index: npt.NDArray[np.int64]  # (n,) the scale that proposed it


def join_detections(parts: Sequence[ImageDetections]) -> ImageDetections:
    """One or more sets of detections of one image as one; either all have masks, or none."""
    names = ("boxes", "scores", "labels", "scale_index", "masks")
    arrays: dict[str, Any] = {name: [getattr(part, name) for part in parts] for name in names}
    joined: dict[str, Any] = {k: None if v[0] is None else np.concatenate(v) for k, v in arrays.items()}
    return ImageDetections(**joined, pixels=sum(part.pixels for part in parts))


def best_proposals(parts: Sequence[ImageProposals], limit: int) -> ImageProposals:
    """One or more sets of proposals of one image as one, with the best ``limit`` of each scale."""
    scores = np.concatenate([part.scores for part in parts])
    scale_index = np.concatenate([part.scale_index for part in parts])
    order = np.lexsort((-scores, scale_index))
    rank = np.arange(order.size) - np.searchsorted(scale_index[order], scale_index[order])
    best = np.sort(order[rank < limit])
    return ImageProposals(np.concatenate([part.boxes for part in parts])[best], scores[best], scale_index[best])


def merge_detections(found: ImageDetections, options: SoftNmsOptions = SNIPER_MERGE) -> ImageDetections:
    """One image's detections of all scales after Gaussian Soft-NMS, best first."""
    index, scores = soft_nms(found.boxes, found.scores, found.labels, options)
    masks = None if found.masks is None else found.masks[index]
    return ImageDetections(
        found.boxes[index], scores, found.labels[index], found.scale_index[index], masks, found.pixels
    )
