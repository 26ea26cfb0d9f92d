"""Candidate windows: a grid at multiples of the stride, plus windows aligned with the right and bottom edges.

A window is K px long on both axes, so each axis is computed separately, in the same way. If the canvas is not longer than
K, there is one window, at 0. (SNIPER, section 3.1; the windows at the edges are from the published code.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def count(canvas: npt.ArrayLike, chip_size: int, stride: int) -> Ints:
    """Number of windows along an axis of ``canvas`` px."""
    room = np.maximum(np.asarray(canvas, dtype=np.int64) - chip_size, 0)
    return np.asarray(-(-room // stride) + 1)


def positions(index: npt.ArrayLike, canvas: npt.ArrayLike, chip_size: int, stride: int) -> Ints:
    """The start of window number ``index``, in canvas px."""
    room = np.maximum(np.asarray(canvas, dtype=np.int64) - chip_size, 0)
    return np.minimum(np.asarray(index, dtype=np.int64) * stride, room)


def windows_holding(
    low: npt.ArrayLike, high: npt.ArrayLike, canvas: npt.ArrayLike, chip_size: int, stride: int
) -> tuple[Ints, Ints]:
    """First and last window that contain all of [low, high] (canvas px); first > last if no window does."""
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    room = np.maximum(np.asarray(canvas, dtype=np.int64) - chip_size, 0)
    number = -(-room // stride) + 1
    first = np.maximum(np.ceil((high - chip_size) / stride), 0).astype(np.int64)
    last = np.where(low >= room, number - 1, np.floor(low / stride).astype(np.int64))
    # a box that ends beyond the last window fits nowhere; ceil gives that result too, except for rounding errors
    return np.where(high > room + chip_size, number, first), last
