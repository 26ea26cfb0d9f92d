"""Loops of non-maximum suppression."""

from __future__ import annotations

import numpy as np

from chipper.accelerate import kernel


@kernel
def suppress(offsets, box, threshold, most):
    """(n,) which boxes greedy NMS keeps, image by image.

    Boxes (n, 4) x1 y1 x2 y2 stand best first in each image's rows offsets[i]:offsets[i + 1]. A box is dropped when its
    IoU with a kept one is over ``threshold``, or when ``most`` boxes of the image are kept already.
    """
    kept = np.zeros(box.shape[0], np.bool_)
    rows = np.empty(most, np.int64)
    for i in range(offsets.size - 1):
        n = 0
        for b in range(offsets[i], offsets[i + 1]):
            if n == most:
                break
            area = (box[b, 2] - box[b, 0]) * (box[b, 3] - box[b, 1])
            keep = True
            for k in range(n):
                o = rows[k]
                w = min(box[b, 2], box[o, 2]) - max(box[b, 0], box[o, 0])
                h = min(box[b, 3], box[o, 3]) - max(box[b, 1], box[o, 1])
                if w > 0 and h > 0:
                    other = (box[o, 2] - box[o, 0]) * (box[o, 3] - box[o, 1])
                    if w * h > threshold * (area + other - w * h):
                        keep = False
                        break
            if keep:
                kept[b] = True
                rows[n] = b
                n += 1
    return kept
