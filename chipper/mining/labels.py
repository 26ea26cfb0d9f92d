"""Labels: the annotations that are visible in each chip (design, rule 4)."""

from __future__ import annotations

import numpy as np

from chipper.columns import Annotations, Chips, Images, Labels, concatenate
from chipper.grouping import Groups
from chipper.kernels.overlap import touching
from chipper.mining.assignment import Assignment
from chipper.mining.options import PositiveOptions
from chipper.mining.pyramid import Pyramid

SMALLEST_SIDE = 10
"""Chip px. A smaller label is ignored; the published code drops it, so the object silently becomes background."""

WHOLE = 1 - 1e-6
"""From this share on, a view counts as complete, or as good as the best view; the rest is rounding."""


def label_chips(
    chips: Chips,
    images: Images,
    annotations: Annotations,
    options: PositiveOptions,
    assignments: tuple[Assignment, ...],
) -> Labels:
    """Labels of ``chips``, which must be sorted by id; the labels are in the order of the chips.

    Every annotation that overlaps a chip's content becomes a label of the chip, clipped to the content. A label is *valid*
    if the annotation belongs to the chip's scale and either is completely visible in this chip, or no other chip in
    ``chips`` of the same image, variant and scale shows more of it. A label is *ignored* if it is a crowd, or if a side is
    shorter than `SMALLEST_SIDE` in the chip.
    """
    pyramid = Pyramid.of(options.scales, images.width, images.height)
    of_images = Groups.of(images.image_id, annotations.image_id)
    image_of_box = of_images.row
    pieces = []
    for variant in range(options.variants):
        for s in range(len(options.scales)):
            some = chips[(chips.variant == variant) & (chips.scale_index == s)]
            boxes = pyramid.boxes(s, image_of_box, annotations.box)
            pieces.append(
                _label_scale(some, images, annotations, boxes, of_images.offsets, assignments[variant].of_scale[s])
            )
    labels = concatenate(pieces)
    return labels[np.argsort(labels.chip_id, kind="stable")]


def _label_scale(
    chips: Chips,
    images: Images,
    annotations: Annotations,
    boxes: np.ndarray,
    offsets: np.ndarray,
    of_scale: np.ndarray,
) -> Labels:
    """Labels of chips of one scale and variant; ``boxes`` (n, 4) are the annotations' boxes in canvas px of that scale."""
    origin = np.stack([chips.x, chips.y], axis=1).astype(np.float64)
    content = np.stack([chips.content_width, chips.content_height], axis=1).astype(np.float64)
    windows = np.concatenate([origin, origin + content], axis=1)
    chip, box = touching(Groups.of(images.image_id, chips.image_id).offsets, windows, offsets, boxes)

    whole = boxes[box]
    in_chip = np.clip(whole - np.tile(origin[chip], 2), 0, np.tile(content[chip], 2))
    sides = in_chip[:, 2:] - in_chip[:, :2]
    visibility = np.minimum(sides.prod(axis=1) / (whole[:, 2:] - whole[:, :2]).prod(axis=1), 1.0)
    best = np.zeros(len(annotations))
    np.maximum.at(best, box, visibility)
    ignore = annotations.iscrowd[box] | (sides < SMALLEST_SIDE).any(axis=1)
    seen_best = visibility >= WHOLE * best[box]
    return Labels(
        chip_id=chips.chip_id[chip],
        annotation_id=annotations.annotation_id[box],
        category_id=annotations.category_id[box],
        box=in_chip,
        valid=of_scale[box] & seen_best & ~ignore,
        ignore=ignore,
        visibility=visibility,
    )
