"""Cover boxes with windows at any position; this needs fewer windows than a grid (`--placement slide`).

A window can be moved right and down until its left and top edges touch boxes that it contains, and it still contains all of
them. So it is enough to consider windows that start at the left edge of one box and the top edge of another, and the greedy
cover of the grid works for them. A search then tries to reduce the number of windows. Last, each window is moved to a random
position at which it still contains the boxes that it covers, so that objects are not always at an edge.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chipper.grouping import Groups
from chipper.kernels.cover import greedy_cover
from chipper.kernels.fewest import take_fewest
from chipper.mining.cover import Windows
from chipper.seeds import hashed

NODES = 2000
"""Limit of the search for fewer windows in one image and scale; docs/benchmarks.md shows the effect of higher limits."""

TOGETHER = 8
"""Number of neighbouring windows that are searched together, in images with many boxes."""

_ROW = 1 << 40  # larger than any canvas side; times the images of a part, it fits into 64 bits
_X, _Y = 1, 2  # two independent random choices for the same window

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def cover_anywhere(
    offsets: Ints,
    boxes: Floats,
    canvas_width: Ints,
    canvas_height: Ints,
    seeds: npt.NDArray[np.uint64],
    chip_size: int,
    nodes: int = NODES,
) -> Windows:
    """Cover the boxes of many images with windows at whole px; arguments and result as in `chipper.mining.cover.cover`."""
    image = Groups(offsets).row
    least_x, most_x = _span(boxes[:, 0], boxes[:, 2], canvas_width[image], chip_size)
    least_y, most_y = _span(boxes[:, 1], boxes[:, 3], canvas_height[image], chip_size)
    first_x, last_x = _anchored(image, least_x, most_x, offsets.size - 1)
    first_y, last_y = _anchored(image, least_y, most_y, offsets.size - 1)

    n = boxes.shape[0]
    pick_of, pick_x, pick_y, pick_count = (np.empty(n, np.int64) for _ in range(4))
    picks = greedy_cover(offsets, first_x, last_x, first_y, last_y, seeds, 1, pick_of, pick_x, pick_y, pick_count)
    take_fewest(offsets, first_x, last_x, first_y, last_y, nodes, TOGETHER, picks, pick_of, pick_x, pick_y, pick_count)

    picked = Groups.of_counts(picks)
    picked_image, number = picked.row, picked.rank
    window_of_box = np.where(pick_of < 0, -1, picked.offsets[image] + pick_of)
    held = window_of_box >= 0
    return Windows(
        image=picked_image,
        x=_slid(
            window_of_box[held], least_x[held], most_x[held], hashed(seeds.view(np.int64)[picked_image], number, _X)
        ),
        y=_slid(
            window_of_box[held], least_y[held], most_y[held], hashed(seeds.view(np.int64)[picked_image], number, _Y)
        ),
        count=pick_count[offsets[picked_image] + number],
        window_of_box=window_of_box,
    )


def _span(low: Floats, high: Floats, canvas: Ints, chip_size: int) -> tuple[Ints, Ints]:
    """First and last position, in canvas px, of a window that contains [low, high]; first > last if no window does."""
    room = np.maximum(canvas - chip_size, 0)
    least = np.maximum(np.ceil(high - chip_size), 0).astype(np.int64)
    most = np.minimum(np.floor(low).astype(np.int64), room)
    return least, np.where(least > room, least - 1, most)


def _anchored(image: Ints, least: Ints, most: Ints, images: int) -> tuple[Ints, Ints]:
    """For each box, on one axis: the first and last of its image's considered positions at which a window contains it."""
    usable = least <= most
    places = np.unique(image[usable] * _ROW + most[usable])
    start = np.searchsorted(places, np.arange(images) * _ROW)[image]
    first = np.searchsorted(places, image * _ROW + least) - start
    last = np.searchsorted(places, image * _ROW + most, side="right") - 1 - start
    return first, np.where(usable, last, first - 1)


def _slid(window: Ints, least: Ints, most: Ints, random: npt.NDArray[np.uint64]) -> Ints:
    """A random position for each window at which it contains all its boxes.

    ``window`` (n,) is each box's window, ``least`` and ``most`` (n,) are the first and last position that contain the box.
    """
    low, high = np.zeros(random.size, np.int64), np.full(random.size, _ROW)
    np.maximum.at(low, window, least)
    np.minimum.at(high, window, most)
    return low + (random % (high - low + 1).astype(np.uint64)).astype(np.int64)
