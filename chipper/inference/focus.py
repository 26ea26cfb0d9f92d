"""Coarse to fine: where finer scales are worth looking at (AutoFocus, Najibi et al., ICCV 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from chipper.inference.views import Window

DILATION = 3  # cells (AutoFocus, section 4)


def focus_regions(probability: npt.NDArray[np.float32], stride: int, threshold: float) -> list[Window]:
    """Enclosing boxes, in px of the canvas given, of the connected cells over ``threshold``, dilated.

    ``probability`` (rows, columns) is that of a small object in each cell of ``stride`` px.
    """
    seen = ndimage.binary_dilation(probability >= threshold, np.ones((DILATION, DILATION), bool))
    parts = ndimage.find_objects(ndimage.label(seen, np.ones((3, 3), bool))[0])
    return [(x.start * stride, y.start * stride, x.stop * stride, y.stop * stride) for y, x in parts]


def focus_windows(regions: Sequence[Window], factor: float, size: tuple[int, int], least: int) -> list[Window]:
    """Windows on the next canvas, of ``size`` (width, height): ``factor`` times the regions, ``least`` px or more on each side.

    Windows that overlap are merged into the box around them (AutoFocus, section 3.2).
    """
    windows = []
    for region in regions:
        sides = []
        for axis in range(2):
            low, high = math.floor(region[axis] * factor), math.ceil(region[axis + 2] * factor)
            length = min(max(high - low, least), size[axis])
            start = min(max((low + high - length) // 2, 0), size[axis] - length)
            sides.append((start, start + length))
        windows.append((sides[0][0], sides[1][0], sides[0][1], sides[1][1]))
    merged: list[Window] = []
    while windows:
        window = windows.pop()
        for other in merged:
            if all(window[axis] < other[axis + 2] and other[axis] < window[axis + 2] for axis in range(2)):
                merged.remove(other)
                left, top = min(window[0], other[0]), min(window[1], other[1])
                windows.append((left, top, max(window[2], other[2]), max(window[3], other[3])))
                break
        else:
            merged.append(window)
    return sorted(merged)
