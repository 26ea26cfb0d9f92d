"""The scales that each box is assigned to, including boxes that no chip of their own scales can contain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chipper.columns import Annotations, Images
from chipper.grouping import Groups
from chipper.mining import candidates
from chipper.mining.options import PositiveOptions
from chipper.mining.pyramid import Pyramid

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Assignment:
    """S scales, n annotations; crowds belong to no scale."""

    in_range: Bools  # (S, n) sqrt(w * h) is in the scale's valid range
    holdable: Bools  # (S, n) at least one candidate window of the scale contains the complete box
    moved: Bools  # (S, n) moved to this scale, because no chip of the box's own scales can contain it

    @property
    def targets(self) -> Bools:
        """(S, n) boxes that the scale's chips must cover."""
        return (self.in_range & self.holdable) | self.moved

    @property
    def of_scale(self) -> Bools:
        """(S, n) boxes that belong to this scale: in its valid range, or moved to it."""
        return self.in_range | self.moved

    @property
    def without_range(self) -> Bools:
        """(n,) boxes that are in no valid range, and crowds."""
        return np.asarray(~self.in_range.any(axis=0))

    @property
    def uncoverable(self) -> Bools:
        """(n,) boxes that are in a valid range, but no chip of their own scales or of a coarser scale can contain them."""
        return np.asarray(self.in_range.any(axis=0) & ~self.targets.any(axis=0))


def assign(
    images: Images, annotations: Annotations, pyramid: Pyramid, options: PositiveOptions, variant: int
) -> Assignment:
    """Assign every annotation to scales (design, rule 2).

    A box belongs to each scale whose valid range includes it. If no chip of these scales can contain it, it moves to the
    nearest coarser scale with a chip that can. The published code silently drops such boxes, up to 1 % on COCO.
    """
    image = Groups.of(images.image_id, annotations.image_id).row
    box = annotations.box
    size = np.sqrt((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]))
    in_range = np.stack([r.holds(size) & ~annotations.iscrowd for r in options.valid_ranges])
    holdable = np.empty_like(in_range)
    for s in range(len(options.scales)):
        on_canvas = pyramid.boxes(s, image, box)
        # the canvas is rounded to whole px, so a thin box at the edge can be outside it; no chip shows such a box
        holdable[s] = (on_canvas[:, 2:] > on_canvas[:, :2]).all(axis=1)
        for low, high, canvas in ((0, 2, pyramid.width), (1, 3, pyramid.height)):
            first, last = candidates.windows_holding(
                on_canvas[:, low], on_canvas[:, high], canvas[s, image], options.chip_size, options.step(variant)
            )
            holdable[s] &= first <= last

    moved = np.zeros_like(in_range)
    homeless = np.flatnonzero(in_range.any(axis=0) & ~(in_range & holdable).any(axis=0))
    if homeless.size:
        factor = pyramid.factor[:, image[homeless]]  # (S, h)
        own = np.where(in_range[:, homeless], factor, np.inf).min(axis=0)
        coarser = np.where(holdable[:, homeless] & (factor < own), factor, -np.inf)
        nearest = coarser.argmax(axis=0)
        found = np.isfinite(coarser.max(axis=0))
        moved[nearest[found], homeless[found]] = True
    return Assignment(in_range, holdable, moved)
