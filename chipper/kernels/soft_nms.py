"""Gaussian Soft-NMS, which SNIPER uses to merge scales (Bodla et al., ICCV 2017).

The score of a detection that overlaps a better one of its class is reduced; the detection is not dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chipper.errors import OptionError
from chipper.kernels.accelerate import kernel


@dataclass(frozen=True)
class SoftNmsOptions:
    """SNIPER's settings: sigma 0.55, no scores under 0.001, at most 200 detections per image."""

    sigma: float = 0.55
    score_floor: float = 0.001
    limit: int = 200

    def __post_init__(self) -> None:
        if not self.sigma > 0 or not 0 <= self.score_floor <= 1 or self.limit < 1:
            raise OptionError(f"Soft-NMS needs sigma over 0, a floor in 0..1 and a limit of 1 or more, not {self}")


SNIPER_MERGE = SoftNmsOptions()


@kernel
def decay_scores(boxes, scores, sigma, floor, picked, picked_scores):
    """Pick the best box and multiply the scores of the others by exp(-IoU^2 / sigma); repeat until none is over ``floor``.

    boxes (n, 4) x1 y1 x2 y2; scores (n,) are overwritten. Fills ``picked`` with indices, best first, and ``picked_scores``
    with the scores at which they were picked; returns their number.
    """
    n = scores.size
    left = np.arange(n)  # indices; the first ``alive`` are the boxes that are not picked yet
    alive, count = n, 0
    area = np.empty(n, np.float64)
    for i in range(n):
        area[i] = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
    while alive > 0:
        at = 0
        for k in range(1, alive):
            i, j = left[k], left[at]
            # ties are broken by index, because picking changes the order of ``left``
            if scores[i] > scores[j] or (scores[i] == scores[j] and i < j):
                at = k
        best = left[at]
        if not scores[best] > floor:
            break
        picked[count], picked_scores[count] = best, scores[best]
        count += 1
        alive -= 1
        left[at] = left[alive]
        for k in range(alive):
            i = left[k]
            width = min(boxes[i, 2], boxes[best, 2]) - max(boxes[i, 0], boxes[best, 0])
            height = min(boxes[i, 3], boxes[best, 3]) - max(boxes[i, 1], boxes[best, 1])
            if width > 0 and height > 0:
                shared = width * height
                iou = shared / (area[i] + area[best] - shared)
                scores[i] *= np.exp(-iou * iou / sigma)
    return count


def soft_nms(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    options: SoftNmsOptions = SNIPER_MERGE,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Merge one image's detections, class by class.

    boxes (n, 4) x1 y1 x2 y2, scores (n,), labels (n,). Returns the indices (m,) of the kept detections, best first, and their
    new scores (m,), m <= ``options.limit``.
    """
    kept: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    kept_scores: list[npt.NDArray[np.float64]] = [np.empty(0, np.float64)]
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        picked, picked_scores = np.empty(rows.size, np.int64), np.empty(rows.size, np.float64)
        left = scores[rows].astype(np.float64)
        count = decay_scores(
            boxes[rows].astype(np.float64), left, options.sigma, options.score_floor, picked, picked_scores
        )
        kept.append(rows[picked[:count]])
        kept_scores.append(picked_scores[:count])
    index, score = np.concatenate(kept), np.concatenate(kept_scores)
    order = np.lexsort((index, -score))[: options.limit]
    return index[order], score[order].astype(np.float32)
