"""Greedy cover of boxes by candidate windows (SNIPER, section 3.1).

At each step the window that holds most uncovered boxes whole is taken; ties go to a random one of them, drawn from the
image's own seed, so the result depends on nothing but the inputs. The count of every window is exact at every step.
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
    """Picked windows of many images, image by image in the order of picking."""

    image: Ints  # (m,) number of the image in the call
    x: Ints  # (m,) canvas px
    y: Ints  # (m,) canvas px
    count: Ints  # (m,) boxes that the window was the first to cover
    window_of_box: Ints  # (n,) row in these columns of the window that first covered the box, or -1


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
        boxes: (n, 4) x1 y1 x2 y2 in canvas px, inside the canvas; NaN rows are left out.
        canvas_width: (images,) px.
        canvas_height: (images,) px.
        seeds: (images,) where each image's random choices start.
        chip_size: K, px.
        stride: distance of the candidate windows, px.
        minimum: stop when no window holds at least so many uncovered boxes.
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
