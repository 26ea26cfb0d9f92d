"""Epochs: which chips are used in an epoch, and in which order (design, rules 3 and 6).

Random choices and the order are hashes of (seed, epoch, chip id). They do not depend on other chips, so chips can be chosen
part by part, and sorted one range of hashes at a time.
"""

from __future__ import annotations

import numpy as np

from chipper.columns import CHIPS_PER_IMAGE, FIRST_NEGATIVE, Ints
from chipper.grouping import Groups
from chipper.seeds import hashed

_DRAW, _SHUFFLE = 1, 2  # two independent random choices of the same epoch


def chosen_chips(chip_id: Ints, variant: Ints, variants: int, epoch: int, per_image: int, seed: int) -> Ints:
    """The chips of some images that an epoch uses, as ids in no special order.

    These are all positive chips of variant ``epoch`` mod ``variants``, and at most ``per_image`` of its negative chips of
    each image. Each epoch draws its negative chips again.
    """
    ids = chip_id[variant == epoch % variants]
    negative = ids % CHIPS_PER_IMAGE >= FIRST_NEGATIVE
    negatives = ids[negative]
    image = negatives // CHIPS_PER_IMAGE
    drawn = np.lexsort((hashed(seed, epoch, _DRAW, negatives), image))
    negatives = negatives[drawn][Groups.runs(image[drawn]).rank < per_image]
    return np.concatenate([ids[~negative], negatives])


def in_training_order(chosen: Ints, epoch: int, seed: int, first: int = 0, ranges: int = 1) -> Ints:
    """The chips of ``chosen`` whose hash is in range ``first`` of ``ranges`` (a power of 2), in training order.

    The epoch's order is range 0, then range 1, and so on.
    """
    place = hashed(seed, epoch, _SHUFFLE, chosen)  # different ids have different hashes, so no ties occur
    if ranges > 1:
        here = place >> np.uint64(64 - (ranges.bit_length() - 1)) == first
        chosen, place = chosen[here], place[here]
    return chosen[np.argsort(place)]
