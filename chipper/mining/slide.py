"""Cover of boxes by windows that may stand anywhere: fewer than on a grid (`--placement slide`).

A window can be moved right and down until its left and top edges meet boxes that it holds, and loses none of them. So windows
at the left edge of one box and the top edge of another are all that need looking at, and the counting of the grid's cover
serves for them. The greedy choice is then improved by search, and each window slides to a random one of the places from
where it still holds the boxes that it was taken for, so that objects do not always lie at an edge.
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
"""Of the search for fewer windows in one image and scale; docs/benchmarks.md shows what more would bring."""

TOGETHER = 8
"""Neighbouring windows that are looked at at once in an image of many boxes."""

_ROW = 1 << 21  # more than any canvas is long
_X, _Y = 1, 2  # two unrelated random choices for the same window

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
    """Cover the boxes of many images by windows at whole px; arguments and result as in `chipper.mining.cover.cover`."""
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
    """First and last place, in canvas px, of a window that holds [low, high]; first > last where there is none."""
    room = np.maximum(canvas - chip_size, 0)
    least = np.maximum(np.ceil(high - chip_size), 0).astype(np.int64)
    most = np.minimum(np.floor(low).astype(np.int64), room)
    return least, np.where(least > room, least - 1, most)


def _anchored(image: Ints, least: Ints, most: Ints, images: int) -> tuple[Ints, Ints]:
    """The first and the last of the places to look at of its image, on one axis, that hold each box."""
    usable = least <= most
    places = np.unique(image[usable] * _ROW + most[usable])
    start = np.searchsorted(places, np.arange(images) * _ROW)[image]
    first = np.searchsorted(places, image * _ROW + least) - start
    last = np.searchsorted(places, image * _ROW + most, side="right") - 1 - start
    return first, np.where(usable, last, first - 1)


def _slid(window: Ints, least: Ints, most: Ints, random: npt.NDArray[np.uint64]) -> Ints:
    """A random place for each window from where it holds its boxes: those rows of ``least`` and ``most``."""
    low, high = np.zeros(random.size, np.int64), np.full(random.size, _ROW)
    np.maximum.at(low, window, least)
    np.minimum.at(high, window, most)
    return low + (random % (high - low + 1).astype(np.uint64)).astype(np.int64)
