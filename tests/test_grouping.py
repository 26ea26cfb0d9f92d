"""chipper.grouping: where each group's rows begin and end, and where keys stand, against lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chipper.grouping import Groups, places_of

COUNTS = st.lists(st.integers(0, 4), max_size=8)


@given(COUNTS)
def test_groups_of_keys_bound_each_key_s_rows(counts):
    keys = np.array([-7 * k for k in range(len(counts))], np.int64)
    groups = Groups.of(keys, np.repeat(keys, counts))
    assert groups.counts.tolist() == counts
    assert groups.offsets.dtype == np.int64
    assert np.array_equal(groups.offsets, Groups.of_counts(np.array(counts, np.int64)).offsets)


def test_a_row_must_have_a_key():
    with pytest.raises(ValueError, match="negative"):
        Groups.of(np.array([3, 5]), np.array([3, 4]))


@given(COUNTS, st.data())
def test_rows_of_groups(counts, data):
    groups = Groups.of_counts(np.array(counts, np.int64))
    rows = [(k, rank) for k, count in enumerate(counts) for rank in range(count)]
    assert len(groups) == len(counts)
    assert list(zip(groups.row.tolist(), groups.rank.tolist(), strict=True)) == rows
    for k in range(len(counts)):
        assert [row[0] for row in rows[groups.slice(k)]] == [k] * counts[k]
        end = data.draw(st.integers(k, len(counts)))
        assert rows[groups.slice(k, end)] == [row for row in rows if k <= row[0] < end]
    some = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    assert groups.within(some).row.tolist() == [rows[k][0] for k in some]
    assert len(groups.within(some)) == len(counts)


@given(st.lists(st.integers(0, 3), max_size=12))
def test_runs_are_ranges_of_equal_keys(values):
    keys = np.sort(np.array(values, np.int64))
    runs = Groups.runs(keys)
    assert runs.counts.tolist() == [values.count(key) for key in sorted(set(values))]
    assert runs.rank.tolist() == [rank for key in sorted(set(values)) for rank in range(values.count(key))]


@given(st.lists(st.integers(-9, 9), max_size=8, unique=True), st.lists(st.integers(-9, 9), max_size=8))
def test_places_are_where_the_keys_stand(keys, wanted):
    places = places_of(np.array(keys, np.int64), np.array(wanted, np.int64))
    assert places.tolist() == [keys.index(key) if key in keys else -1 for key in wanted]
