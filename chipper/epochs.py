"""Epochs: which chips are seen in which order (design, rules 3 and 6)."""

from __future__ import annotations

import numpy as np

from chipper.columns import CHIPS_PER_IMAGE, FIRST_NEGATIVE, Ints
from chipper.positives import rank_in_group
from chipper.seeds import hashed

_DRAW, _SHUFFLE = 1, 2  # two unrelated random choices of the same epoch


def epoch_chips(chip_id: Ints, variant: Ints, variants: int, epoch: int, per_image: int, seed: int) -> Ints:
    """Chip ids of one epoch in training order.

    The positives of variant ``epoch`` mod ``variants``, and of its negatives at most ``per_image`` an image, drawn anew
    each epoch, all shuffled. Draws and places hash (seed, epoch, chip id), so they do not depend on the other chips.
    """
    ids = np.sort(chip_id[variant == epoch % variants])
    negative = ids % CHIPS_PER_IMAGE >= FIRST_NEGATIVE
    negatives = ids[negative]
    image = negatives // CHIPS_PER_IMAGE
    drawn = np.lexsort((hashed(seed, epoch, _DRAW, negatives), image))
    negatives = negatives[drawn][rank_in_group(image[drawn]) < per_image]
    chosen = np.concatenate([ids[~negative], negatives])
    return chosen[np.argsort(hashed(seed, epoch, _SHUFFLE, chosen))]  # no ties: different ids have different hashes
