"""chipper.inference.focus: the windows that follow from the cells of a focus branch."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chipper.inference.focus import focus_regions, focus_windows


def test_regions_are_enclosing_boxes_of_connected_dilated_cells():
    probability = np.zeros((20, 30), np.float32)
    probability[3, 4], probability[4, 5], probability[15, 25] = 0.5, 0.9, 0.6
    probability[10, 10] = 0.49
    assert focus_regions(probability, 16, 0.5) == [(48, 32, 112, 96), (384, 224, 432, 272)]
    assert focus_regions(probability, 16, 0.95) == []


REGIONS = st.lists(
    st.tuples(st.integers(0, 90), st.integers(0, 90), st.integers(1, 60), st.integers(1, 60)).map(
        lambda v: (v[0], v[1], min(v[0] + v[2], 100), min(v[1] + v[3], 100))
    ),
    max_size=8,
)


@given(REGIONS, st.floats(1.0, 4.0), st.integers(1, 300))
def test_windows_hold_their_regions_are_large_enough_and_apart(regions, factor, least):
    size = round(100 * factor), round(100 * factor)
    windows = focus_windows(regions, factor, size, least)
    for left, top, right, bottom in windows:
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
        assert right - left >= min(least, size[0])
        assert bottom - top >= min(least, size[1])
    for one, other in itertools.combinations(windows, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    for region in regions:
        assert any(
            all(window[axis] <= region[axis] * factor + 1 for axis in range(2))
            and all(window[axis + 2] >= min(region[axis + 2] * factor, size[axis]) - 1 for axis in range(2))
            for window in windows
        )
