"""Loops of non-maximum suppression.

The IoU of two boxes is at most the smaller area divided by the larger area. So boxes are sorted into classes of area, each
wider than the factor 1 / threshold, and a box is only compared with the kept boxes of its own class and the two next to it.
"""

from __future__ import annotations

import math

import numpy as np

from chipper.kernels.accelerate import kernel

_CLASSES = 256
_LOOSE = 1 + 1e-9  # makes classes wider than necessary, by more than rounding errors


@kernel
def any_over(left, top, right, bottom, area, start, end, x1, y1, x2, y2, own, threshold):
    """Whether one of the boxes start:end has an IoU over ``threshold`` with x1 y1 x2 y2; without branches, for vectorisation."""
    over = 0
    for k in range(start, end):
        w = max(min(x2, right[k]) - max(x1, left[k]), 0.0)
        h = max(min(y2, bottom[k]) - max(y1, top[k]), 0.0)
        over += w * h > threshold * (own + area[k] - w * h)
    return over > 0


@kernel
def suppress(offsets, box, threshold, most):
    """(n,) which boxes greedy NMS keeps, image by image.

    Boxes (n, 4) x1 y1 x2 y2 are sorted best first in each image's rows offsets[i]:offsets[i + 1], and must have an area. A
    box is dropped if its IoU with a kept box is over ``threshold``, or if ``most`` boxes of the image are already kept.
    """
    kept = np.zeros(box.shape[0], np.bool_)
    longest = 0
    for i in range(offsets.size - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    left, top, right, bottom = np.empty(longest), np.empty(longest), np.empty(longest), np.empty(longest)
    area, own_class = np.empty(longest), np.empty(longest, np.int64)
    start_of, end_of = np.empty(_CLASSES + 3, np.int64), np.empty(_CLASSES + 2, np.int64)
    width = -math.log(threshold) * _LOOSE if threshold < 1 else 0.0
    for i in range(offsets.size - 1):
        first, n = offsets[i], 0
        start_of[:] = 0
        for k in range(offsets[i + 1] - first):
            b = first + k
            place = 0.0
            if width > 0:
                place = math.floor(math.log((box[b, 2] - box[b, 0]) * (box[b, 3] - box[b, 1])) / width)
            own_class[k] = 1 + np.int64(min(max(place, -_CLASSES // 2), _CLASSES // 2 - 1)) + _CLASSES // 2
            start_of[own_class[k] + 1] += 1
        for c in range(_CLASSES + 1):
            start_of[c + 1] += start_of[c]
            end_of[c] = start_of[c]
        end_of[_CLASSES + 1] = start_of[_CLASSES + 1]
        for k in range(offsets[i + 1] - first):
            if n == most:
                break
            b, c = first + k, own_class[k]
            x1, y1, x2, y2 = box[b, 0], box[b, 1], box[b, 2], box[b, 3]
            own = (x2 - x1) * (y2 - y1)
            over = False
            for near in range(c - 1, c + 2):
                over = over or any_over(
                    left, top, right, bottom, area, start_of[near], end_of[near], x1, y1, x2, y2, own, threshold
                )
            if not over:
                kept[b] = True
                new = end_of[c]
                left[new], top[new], right[new], bottom[new], area[new] = x1, y1, x2, y2, own
                end_of[c] += 1
                n += 1
    return kept
