"""Loops over pairs of windows and boxes of the same image."""

from __future__ import annotations

import numpy as np

from chipper.kernels.accelerate import kernel


@kernel
def touching(window_offsets, window, box_offsets, box):
    """Pairs (window row, box row) of the same image that overlap, in the order of the windows.

    ``window`` (m, 4) and ``box`` (n, 4) are x1 y1 x2 y2 on the same canvas; image i has the rows offsets[i]:offsets[i+1].
    """
    found = 0
    for fill in range(2):
        if fill == 0:
            windows, boxes = np.empty(0, np.int64), np.empty(0, np.int64)
        else:
            windows, boxes = np.empty(found, np.int64), np.empty(found, np.int64)
        k = 0
        for i in range(window_offsets.size - 1):
            for w in range(window_offsets[i], window_offsets[i + 1]):
                for b in range(box_offsets[i], box_offsets[i + 1]):
                    if min(window[w, 2], box[b, 2]) > max(window[w, 0], box[b, 0]) and min(
                        window[w, 3], box[b, 3]
                    ) > max(window[w, 1], box[b, 1]):
                        if fill == 1:
                            windows[k], boxes[k] = w, b
                        k += 1
        found = k
    return windows, boxes


@kernel
def held(window_offsets, window, box_offsets, box):
    """(n,) which boxes are completely inside a window of their image; arguments as in `touching`."""
    inside = np.zeros(box.shape[0], np.bool_)
    for i in range(window_offsets.size - 1):
        for b in range(box_offsets[i], box_offsets[i + 1]):
            for w in range(window_offsets[i], window_offsets[i + 1]):
                if (
                    window[w, 0] <= box[b, 0]
                    and window[w, 1] <= box[b, 1]
                    and box[b, 2] <= window[w, 2]
                    and box[b, 3] <= window[w, 3]
                ):
                    inside[b] = True
                    break
    return inside
