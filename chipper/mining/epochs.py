"""Epochs: which chips are seen in which order (design, rules 3 and 6).

Draws and places hash (seed, epoch, chip id), so they depend on no other chip: chips can be chosen part by part, and put in
order one range of hashes after the other.
"""

from __future__ import annotations

import numpy as np

from chipper.columns import CHIPS_PER_IMAGE, FIRST_NEGATIVE, Ints
from chipper.grouping import Groups
from chipper.seeds import hashed

_DRAW, _SHUFFLE = 1, 2  # two unrelated random choices of the same epoch


def chosen_chips(chip_id: Ints, variant: Ints, variants: int, epoch: int, per_image: int, seed: int) -> Ints:
    """Which chips of some images an epoch shows, as ids in no special order.

    The positives of variant ``epoch`` mod ``variants``, and of its negatives at most ``per_image`` an image, drawn anew
    each epoch.
    """
    ids = chip_id[variant == epoch % variants]
    negative = ids % CHIPS_PER_IMAGE >= FIRST_NEGATIVE
    negatives = ids[negative]
    image = negatives // CHIPS_PER_IMAGE
    drawn = np.lexsort((hashed(seed, epoch, _DRAW, negatives), image))
    negatives = negatives[drawn][Groups.runs(image[drawn]).rank < per_image]
    return np.concatenate([ids[~negative], negatives])


def in_training_order(chosen: Ints, epoch: int, seed: int, first: int = 0, ranges: int = 1) -> Ints:
    """Those of the chips ``chosen`` that stand in range ``first`` of ``ranges`` (a power of 2), in training order.

    The order of an epoch is that of its ranges, one after the other.
    """
    place = hashed(seed, epoch, _SHUFFLE, chosen)  # different ids have different hashes, so there are no ties
    if ranges > 1:
        here = place >> np.uint64(64 - (ranges.bit_length() - 1)) == first
        chosen, place = chosen[here], place[here]
    return chosen[np.argsort(place)]
