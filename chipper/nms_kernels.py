"""Loops of non-maximum suppression."""

from __future__ import annotations

import numpy as np

from chipper.accelerate import kernel

_BLOCK = 32  # kept boxes looked at between two questions whether to go on; the loop over them has no branch, so it is vectorised


@kernel
def suppress(offsets, box, threshold, most):
    """(n,) which boxes greedy NMS keeps, image by image.

    Boxes (n, 4) x1 y1 x2 y2 stand best first in each image's rows offsets[i]:offsets[i + 1]. A box is dropped when its
    IoU with a kept one is over ``threshold``, or when ``most`` boxes of the image are kept already.
    """
    kept = np.zeros(box.shape[0], np.bool_)
    longest = 0
    for i in range(offsets.size - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    room = min(most, longest)
    left, top, right, bottom, area = np.empty(room), np.empty(room), np.empty(room), np.empty(room), np.empty(room)
    for i in range(offsets.size - 1):
        n = 0
        for b in range(offsets[i], offsets[i + 1]):
            if n == most:
                break
            x1, y1, x2, y2 = box[b, 0], box[b, 1], box[b, 2], box[b, 3]
            own = (x2 - x1) * (y2 - y1)
            over = 0
            for start in range(0, n, _BLOCK):
                for k in range(start, min(start + _BLOCK, n)):
                    w = max(min(x2, right[k]) - max(x1, left[k]), 0.0)
                    h = max(min(y2, bottom[k]) - max(y1, top[k]), 0.0)
                    over += w * h > threshold * (own + area[k] - w * h)
                if over > 0:
                    break
            if over == 0:
                kept[b] = True
                left[n], top[n], right[n], bottom[n], area[n] = x1, y1, x2, y2, own
                n += 1
    return kept
