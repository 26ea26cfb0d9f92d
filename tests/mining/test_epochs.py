"""Epochs: every positive once, few negatives an image, an order that depends on nothing but the chips themselves."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chipper.columns import CHIPS_PER_IMAGE, FIRST_NEGATIVE
from chipper.mining.epochs import chosen_chips, in_training_order


def epoch_chips(ids, variant, variants, epoch, most, seed):
    return in_training_order(chosen_chips(ids, variant, variants, epoch, most, seed), epoch, seed)


@st.composite
def chip_sets(draw):
    """(chip ids in any order, their variants, number of variants)."""
    variants = draw(st.integers(1, 3))
    ids = []
    for image in range(draw(st.integers(0, 6))):
        for first in (0, FIRST_NEGATIVE):
            ids += [image * CHIPS_PER_IMAGE + first + k for k in range(draw(st.integers(0, 6)))]
    ids = draw(st.permutations(ids))
    return np.array(ids, np.int64), np.array([k % variants for k in ids], np.int64), variants


def is_negative(ids):
    return ids % CHIPS_PER_IMAGE >= FIRST_NEGATIVE


@given(chip_sets(), st.integers(0, 8), st.integers(0, 4), st.integers(0, 3))
def test_an_epoch_holds_its_variant_s_positives_once_and_at_most_so_many_negatives_an_image(chips, epoch, most, seed):
    ids, variant, variants = chips
    got = epoch_chips(ids, variant, variants, epoch, most, seed)
    mine = ids[variant == epoch % variants]
    assert len(set(got.tolist())) == got.size
    assert sorted(got[~is_negative(got)].tolist()) == sorted(mine[~is_negative(mine)].tolist())
    negatives = got[is_negative(got)]
    assert set(negatives.tolist()) <= set(mine.tolist())
    for image in set((mine // CHIPS_PER_IMAGE).tolist()):
        there = (mine[is_negative(mine)] // CHIPS_PER_IMAGE == image).sum()
        assert (negatives // CHIPS_PER_IMAGE == image).sum() == min(there, most)


@given(chip_sets(), st.integers(0, 3))
def test_the_order_of_the_input_does_not_matter(chips, epoch):
    ids, variant, variants = chips
    order = np.random.default_rng(0).permutation(ids.size)
    got = epoch_chips(ids, variant, variants, epoch, 2, 0)
    assert got.tolist() == epoch_chips(ids[order], variant[order], variants, epoch, 2, 0).tolist()


@given(chip_sets(), st.integers(0, 3))
def test_the_place_of_two_chips_does_not_depend_on_the_others(chips, epoch):
    ids, _, _ = chips
    ids = ids[~is_negative(ids)]
    one = np.zeros(ids.size, np.int64)
    whole = epoch_chips(ids, one, 1, epoch, 2, 0).tolist()
    half = epoch_chips(ids[::2], one[::2], 1, epoch, 2, 0).tolist()
    assert [chip for chip in whole if chip in set(half)] == half


@given(chip_sets(), st.integers(0, 3), st.sampled_from([1, 2, 4, 16]))
def test_an_epoch_may_be_chosen_image_by_image_and_ordered_range_by_range(chips, epoch, ranges):
    ids, variant, variants = chips
    image = ids // CHIPS_PER_IMAGE
    chosen = [chosen_chips(ids[image == i], variant[image == i], variants, epoch, 2, 0) for i in np.unique(image)]
    chosen = np.concatenate([*chosen, np.zeros(0, np.int64)])
    pieces = [in_training_order(chosen, epoch, 0, k, ranges) for k in range(ranges)]
    assert np.concatenate(pieces).tolist() == epoch_chips(ids, variant, variants, epoch, 2, 0).tolist()


def test_epochs_and_seeds_differ():
    ids = np.arange(200) * CHIPS_PER_IMAGE
    ids = np.concatenate([ids, *(ids + FIRST_NEGATIVE + k for k in range(5))])
    variant = np.zeros(ids.size, np.int64)
    lists = [epoch_chips(ids, variant, 1, epoch, 2, seed).tolist() for epoch in range(3) for seed in range(3)]
    assert len({tuple(some) for some in lists}) == 9
    assert len({tuple(sorted(some)) for some in lists}) == 9  # other negatives, too
    assert lists[0] == epoch_chips(ids, variant, 1, 0, 2, 0).tolist()


def test_draws_are_even():
    """Over many epochs each of an image's five negatives is drawn about two times in five."""
    ids = np.concatenate([np.arange(50) * CHIPS_PER_IMAGE + FIRST_NEGATIVE + k for k in range(5)])
    variant = np.zeros(ids.size, np.int64)
    drawn = np.concatenate([epoch_chips(ids, variant, 1, epoch, 2, 0) for epoch in range(200)])
    counts = np.bincount(drawn % CHIPS_PER_IMAGE - FIRST_NEGATIVE)
    assert np.abs(counts / (50 * 200) - 0.4).max() < 0.02
