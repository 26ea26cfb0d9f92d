"""chipper.inference.views: canvases, tiles, and the boxes that count."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from chipper.inference.views import tiles


@given(st.integers(1, 9000), st.integers(64, 2048), st.floats(1, 5000))
def test_tiles_cover_an_axis_and_hold_every_box_that_a_scale_is_for(length, tile, largest):
    found = tiles(length, tile, largest)
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert all(end - start == min(length, tile) for start, end in found)
    held = min(int(largest), tile // 2, length)
    for (_, end), (start, _) in itertools.pairwise(found):
        assert end - start >= held - 1
    assert len(found) <= 1 + 2 * length / tile + 1
