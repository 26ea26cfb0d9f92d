"""Positive chips: windows that cover the boxes of each scale (SNIPER, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chipper.columns import CHIPS_PER_IMAGE, POSITIVE, Annotations, Chips, Images, concatenate
from chipper.grouping import Groups
from chipper.mining.assignment import Assignment, assign
from chipper.mining.cover import Windows, cover
from chipper.mining.options import PositiveOptions
from chipper.mining.pyramid import Pyramid
from chipper.mining.slide import cover_anywhere
from chipper.seeds import hashed


@dataclass(frozen=True)
class Positives:
    """The positive chips of some images in all variants, and the assignment of boxes in each variant."""

    chips: Chips
    assignments: tuple[Assignment, ...]


def mine_positives(images: Images, annotations: Annotations, options: PositiveOptions) -> Positives:
    """Choose the positive chips of every variant; chips are sorted by image, variant, scale and order of picking."""
    pyramid = Pyramid.of(options.scales, images.width, images.height)
    of_images = Groups.of(images.image_id, annotations.image_id)
    image = of_images.row
    pieces, assignments = [], []
    for variant in range(options.variants):
        assignment = assign(images, annotations, pyramid, options, variant)
        assignments.append(assignment)
        for s in range(len(options.scales)):
            rows = np.flatnonzero(assignment.targets[s])
            canvases = pyramid.width[s], pyramid.height[s]
            boxes = of_images.within(rows).offsets, pyramid.boxes(s, image[rows], annotations.box[rows])
            seeds = hashed(options.seed, variant, images.image_id, s)
            if options.placement == "slide":
                windows = cover_anywhere(*boxes, *canvases, seeds, options.chip_size)
            else:
                windows = cover(*boxes, *canvases, seeds, options.chip_size, options.stride(variant))
            pieces.append(chips_at(windows, images, pyramid, s, POSITIVE, variant, options.chip_size))
    return Positives(number_chips(concatenate(pieces), first=0), tuple(assignments))


def chips_at(
    windows: Windows, images: Images, pyramid: Pyramid, scale_index: int, kind: str, variant: int, chip_size: int
) -> Chips:
    """The windows of one scale as chips, not yet numbered: ``chip_id`` is the first id of the image."""
    i, n = windows.image, windows.image.size
    factor = pyramid.factor[scale_index, i]
    width = np.minimum(pyramid.width[scale_index, i] - windows.x, chip_size)
    height = np.minimum(pyramid.height[scale_index, i] - windows.y, chip_size)
    corners = np.stack([windows.x, windows.y, windows.x + width, windows.y + height], axis=1)
    # a canvas that is rounded up to whole px can be up to half a px larger than the image
    source = np.minimum(corners / factor[:, None], np.stack([images.width[i], images.height[i]] * 2, axis=1))
    kinds = np.empty(n, dtype=object)
    kinds[:] = kind
    return Chips(
        chip_id=images.position[i] * CHIPS_PER_IMAGE,
        image_id=images.image_id[i],
        kind=kinds,
        variant=np.full(n, variant),
        scale_index=np.full(n, scale_index),
        scale=factor,
        x=windows.x,
        y=windows.y,
        content_width=width,
        content_height=height,
        source_box=source,
        proposals=np.zeros(n, np.int64) if kind == POSITIVE else windows.count,
    )


def number_chips(chips: Chips, first: int) -> Chips:
    """Sort chips by image, variant and scale, keeping the order of picking, and number them from ``first`` in each image.

    The id contains only the image and the chip's number in it, so it does not depend on how work was distributed.
    """
    order = np.lexsort((chips.scale_index, chips.variant, chips.chip_id))
    chips = chips[order]
    return Chips(**{**vars(chips), "chip_id": chips.chip_id + first + Groups.runs(chips.chip_id).rank})
