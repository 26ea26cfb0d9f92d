"""Greedy cover of boxes by candidate windows (SNIPER, section 3.1).

Each step picks the window that contains the most uncovered boxes. Ties are broken at random with the image's own seed, so
the result depends only on the inputs. The count of every window is exact at every step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chipper.grouping import Groups
from chipper.kernels.cover import greedy_cover
from chipper.mining import candidates

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """Picked windows of many images, grouped by image, in the order of picking."""

    image: Ints  # (m,) index of the image in the call
    x: Ints  # (m,) canvas px
    y: Ints  # (m,) canvas px
    count: Ints  # (m,) number of boxes that this window was the first to cover
    window_of_box: Ints  # (n,) for each box the row of the window that covered it first, or -1


def cover(
    offsets: Ints,
    boxes: Floats,
    canvas_width: Ints,
    canvas_height: Ints,
    seeds: npt.NDArray[np.uint64],
    chip_size: int,
    stride: int,
    minimum: int = 1,
) -> Windows:
    """Cover the boxes of many images.

    Args:
        offsets: (images + 1,) image i has the boxes offsets[i]:offsets[i + 1].
        boxes: (n, 4) x1 y1 x2 y2 in canvas px, inside the canvas; rows of NaN are ignored.
        canvas_width: (images,) px.
        canvas_height: (images,) px.
        seeds: (images,) the seed of each image's random choices.
        chip_size: K, px.
        stride: distance of the candidate windows, px.
        minimum: stop when no window contains at least this many uncovered boxes.
    """
    image = Groups(offsets).row
    with np.errstate(invalid="ignore"):
        left_out = np.isnan(boxes[:, 0])
        first_x, last_x = candidates.windows_holding(boxes[:, 0], boxes[:, 2], canvas_width[image], chip_size, stride)
        first_y, last_y = candidates.windows_holding(boxes[:, 1], boxes[:, 3], canvas_height[image], chip_size, stride)
    last_x = np.where(left_out, -1, last_x)
    first_x = np.where(left_out, 0, first_x)

    pick_of = np.empty(boxes.shape[0], np.int64)
    pick_x, pick_y, pick_count = (np.empty(boxes.shape[0], np.int64) for _ in range(3))
    picks = greedy_cover(offsets, first_x, last_x, first_y, last_y, seeds, minimum, pick_of, pick_x, pick_y, pick_count)

    picked = Groups.of_counts(picks)
    picked_image = picked.row
    rows = offsets[picked_image] + picked.rank
    return Windows(
        image=picked_image,
        x=candidates.positions(pick_x[rows], canvas_width[picked_image], chip_size, stride),
        y=candidates.positions(pick_y[rows], canvas_height[picked_image], chip_size, stride),
        count=pick_count[rows],
        window_of_box=np.where(pick_of < 0, -1, picked.offsets[image] + pick_of),
    )
