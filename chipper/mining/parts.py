"""Parts: ranges of consecutive images that are mined one at a time, and the counts of their chips."""

from __future__ import annotations

import numpy as np

from chipper.columns import Annotations, Chips, Images
from chipper.grouping import Groups
from chipper.mining.options import PositiveOptions

PART_IMAGES = 10_000


def parts_of(images: Images, annotations: Annotations) -> list[tuple[Images, Annotations]]:
    """Ranges of `PART_IMAGES` consecutive images with their annotations; the number of workers does not change them."""
    of_images = Groups.of(images.image_id, annotations.image_id)
    starts = range(0, len(images), PART_IMAGES)
    ends = [min(start + PART_IMAGES, len(images)) for start in starts]
    return [
        (images[start:end], annotations[of_images.slice(start, end)]) for start, end in zip(starts, ends, strict=True)
    ]


def count_by_scale(chips: Chips, options: PositiveOptions) -> dict[str, int]:
    """Number of chips of each scale, by the scale's text."""
    counts = np.bincount(chips.scale_index, minlength=len(options.scales))
    return {str(scale): int(count) for scale, count in zip(options.scales, counts, strict=True)}
