from __future__ import annotations

import naive
import numpy as np
import pytest
import strategies as _profile  # noqa: F401  (loads the hypothesis profile)
from hypothesis import given
from hypothesis import strategies as st

from chipper.seeds import hashed, mix

int64s = st.integers(-(2**63), 2**63 - 1)


def test_the_hash_is_splitmix64():
    """The first three outputs of SplitMix64 with state 1234567, as its authors' C code prints them."""
    states = np.array([(1234567 + k * naive.GAMMA) % 2**64 for k in (1, 2, 3)], dtype=np.uint64)
    assert mix(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(st.lists(int64s, min_size=1, max_size=5))
def test_every_integer_coordinate_counts_as_in_the_oracle(coordinates):
    assert int(hashed(*coordinates)) == naive.hashed(*coordinates)


@given(int64s, st.lists(int64s, max_size=6), int64s)
def test_arrays_hash_element_by_element(before, values, after):
    array = hashed(before, np.array(values, dtype=np.int64), after)
    assert np.broadcast_to(array, (len(values),)).tolist() == [naive.hashed(before, v, after) for v in values]


def test_the_order_of_coordinates_counts():
    assert hashed(0, 1) != hashed(1, 0)


@pytest.mark.parametrize("coordinates", [(5,), (0, 5), (5, 0)])
def test_neighbouring_coordinates_give_unrelated_numbers(coordinates):
    values = hashed(*coordinates, np.arange(20_000))
    assert np.unique(values).size == values.size
    for bound in (2, 7, 100):
        share = np.bincount((values % np.uint64(bound)).astype(np.int64), minlength=bound) / values.size
        assert np.abs(share - 1 / bound).max() < 4.5 * (1 / bound / values.size) ** 0.5
