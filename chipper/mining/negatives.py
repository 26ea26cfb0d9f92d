"""Negative chips: windows with proposals that no positive chip contains (SNIPER, section 3.2)."""

from __future__ import annotations

import numpy as np

from chipper.columns import (
    FIRST_NEGATIVE,
    NEGATIVE,
    Bools,
    Chips,
    Floats,
    Images,
    Ints,
    Proposals,
    concatenate,
)
from chipper.grouping import Groups
from chipper.kernels.nms import suppress
from chipper.kernels.overlap import held
from chipper.mining.cover import cover
from chipper.mining.options import NegativeOptions, PositiveOptions
from chipper.mining.positives import chips_at, number_chips
from chipper.mining.pyramid import Pyramid
from chipper.seeds import hashed

_NEGATIVE_TIES = 1 << 20  # added to the scale index, so that positives and negatives break ties differently


def best_proposals(proposals: Proposals, images: Images, options: NegativeOptions) -> Proposals:
    """The proposals to use: clipped to the image, best first, after NMS, at most ``max_proposals`` per image.

    Boxes that are not finite or have no area inside the image are left out.
    """
    of_images = Groups.of(images.image_id, proposals.image_id)
    image = of_images.row
    limits = np.stack([images.width[image], images.height[image]] * 2, axis=1)
    box = np.clip(proposals.box, 0, limits)
    usable = (
        np.isfinite(proposals.box).all(axis=1) & np.isfinite(proposals.score) & (box[:, 2:] > box[:, :2]).all(axis=1)
    )
    rows = np.flatnonzero(usable)
    bounds = of_images.within(rows).offsets
    rows = rows[np.lexsort((-proposals.score[rows], image[rows]))]  # lexsort is stable: equal scores keep their order
    box = box[rows]
    kept = suppress(bounds, box, options.nms, options.max_proposals)
    return Proposals(proposals.image_id[rows[kept]], box[kept], proposals.score[rows[kept]])


def choose_negatives(
    images: Images,
    proposals: Proposals,
    positives: Chips,
    options: PositiveOptions,
    negative: NegativeOptions,
) -> Chips:
    """Choose the negative chips of every variant, from `best_proposals` and the positive chips of the same images.

    For each scale, proposals that a positive chip contains completely are removed. For the coarsest scale, proposals below
    the valid range are removed too, and for the other scales proposals above it; the other bound is not applied, as in the
    published code. The rest are covered greedily, as long as the next window contains at least ``minimum`` proposals that
    are not covered yet.
    """
    pyramid = Pyramid.of(options.scales, images.width, images.height)
    of_images = Groups.of(images.image_id, proposals.image_id)
    pieces = []
    for variant in range(options.variants):
        chips = positives[positives.variant == variant]
        for s in range(len(options.scales)):
            rows, boxes = _free(images, proposals, pyramid, chips, options, s)
            found = cover(
                of_images.within(rows).offsets,
                boxes,
                pyramid.width[s],
                pyramid.height[s],
                hashed(options.seed, variant, images.image_id, s + _NEGATIVE_TIES),
                options.chip_size,
                options.stride(variant),
                minimum=negative.minimum(s, len(options.scales)),
            )
            pieces.append(chips_at(found, images, pyramid, s, NEGATIVE, variant, options.chip_size))
    return number_chips(concatenate(pieces), first=FIRST_NEGATIVE)


def chosen_for(
    images: Images, proposals: Proposals, positives: Chips, negatives: Chips, options: PositiveOptions
) -> Bools:
    """(n,) which proposals were covered by ``negatives``, the negative chips of one variant.

    The arguments are as in `choose_negatives`; ``positives`` are the positive chips of the same variant.
    """
    pyramid = Pyramid.of(options.scales, images.width, images.height)
    of_images = Groups.of(images.image_id, proposals.image_id)
    chosen = np.zeros(len(proposals), np.bool_)
    for s in range(len(options.scales)):
        rows, boxes = _free(images, proposals, pyramid, positives, options, s)
        bounds, windows = _windows(images, negatives, s, options.chip_size)
        chosen[rows] |= held(bounds, windows, of_images.within(rows).offsets, boxes)
    return chosen


def _free(
    images: Images, proposals: Proposals, pyramid: Pyramid, positives: Chips, options: PositiveOptions, s: int
) -> tuple[Ints, Floats]:
    """The proposals of a scale that no positive chip contains completely: their rows, and (n, 4) boxes in canvas px."""
    of_images = Groups.of(images.image_id, proposals.image_id)
    sides = proposals.box[:, 2:] - proposals.box[:, :2]
    size = np.sqrt(sides.prod(axis=1))
    valid_range = options.valid_ranges[s]
    rows = np.flatnonzero(size >= valid_range.low if s == 0 else size < valid_range.high)
    boxes = pyramid.boxes(s, of_images.row[rows], proposals.box[rows])
    bounds, windows = _windows(images, positives, s, options.chip_size)
    free = ~held(bounds, windows, of_images.within(rows).offsets, boxes)
    return rows[free], boxes[free]


def _windows(images: Images, chips: Chips, s: int, chip_size: int) -> tuple[Ints, Floats]:
    """The chips of a scale as windows: (images + 1,) row offsets of the images, and (n, 4) boxes in canvas px."""
    some = chips[chips.scale_index == s]
    corner = np.stack([some.x, some.y], axis=1).astype(np.float64)
    return Groups.of(images.image_id, some.image_id).offsets, np.concatenate([corner, corner + chip_size], axis=1)
