from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import canvas_sides, intervals

from chipper.mining import candidates


@st.composite
def axes(draw):
    """(canvas, chip_size, stride)."""
    chip_size = draw(st.integers(1, 60))
    return draw(canvas_sides(chip_size, most=6)), chip_size, draw(st.integers(1, chip_size))


def starts(canvas, chip_size, stride):
    number = candidates.count(canvas, chip_size, stride)
    return candidates.positions(np.arange(number), canvas, chip_size, stride).tolist()


@given(axes())
def test_windows_are_those_of_the_grid_and_the_one_flush_with_the_end_each_once(axis):
    assert starts(*axis) == naive.window_starts(*axis)


@given(axes())
def test_every_pixel_is_in_some_window_and_no_window_leaves_the_canvas(axis):
    canvas, chip_size, _ = axis
    seen = {px for start in starts(*axis) for px in range(start, min(start + chip_size, canvas))}
    assert seen == set(range(canvas))
    assert all(start + chip_size <= max(canvas, chip_size) for start in starts(*axis))


@pytest.mark.parametrize(
    ("canvas", "expected"),
    [(1, [0]), (511, [0]), (512, [0]), (513, [0, 1]), (544, [0, 32]), (545, [0, 32, 33]), (600, [0, 32, 64, 88])],
)
def test_windows_worked_out_by_hand_for_512_every_32(canvas, expected):
    assert starts(canvas, 512, 32) == expected


@given(axes().flatmap(lambda axis: st.tuples(st.just(axis), intervals(axis[0]))))
def test_covering_names_exactly_the_windows_that_hold_an_interval(case):
    (canvas, chip_size, stride), (low, high) = case
    first, last = candidates.windows_holding([low], [high], [canvas], chip_size, stride)
    expected = [
        k
        for k, start in enumerate(naive.window_starts(canvas, chip_size, stride))
        if start <= low and high <= start + chip_size
    ]
    assert list(range(int(first[0]), int(last[0]) + 1)) == expected


@pytest.mark.parametrize("stride", [32, 56, 57, 58, 59])
def test_a_box_as_large_as_a_chip_is_held_only_where_a_window_starts_with_it(stride):
    canvas = 2000
    flush = naive.window_starts(canvas, 512, stride)
    low = np.arange(canvas - 512 + 1)
    first, last = candidates.windows_holding(low, low + 512, np.full(low.size, canvas), 512, stride)
    assert low[first <= last].tolist() == flush
