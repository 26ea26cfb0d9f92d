"""chipper.inference.views: canvases, tiles, and the boxes that count."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from chipper.images.source import Box
from chipper.inference.picture import mirrored
from chipper.inference.views import Views, tiles
from chipper.mining.pyramid import Pyramid
from chipper.mining.scales import Scale, ValidRange


@pytest.mark.parametrize(("width", "scale", "canvas"), [(1500, "1.667", 2501), (900, "1.667", 1500), (7, "0.5", 4)])
def test_a_canvas_is_as_large_as_mining_has_it(width: int, scale: str, canvas: int) -> None:
    """Half a px is rounded up, also where Python's own ``round`` goes to the even number below."""
    pyramid = Pyramid.of((Scale.parse(scale),), np.array([width]), np.array([3]))
    views = Views(np.zeros((3, width, 3), np.uint8), pyramid.factor[:, 0].tolist(), [ValidRange()])
    assert views.size(0) == (canvas, int(pyramid.height[0, 0]))
    assert int(pyramid.width[0, 0]) == canvas
    assert views.whole(0) == (0, 0, *views.size(0))


class Strict:
    """An image of 640 x 480 px that gives no box beyond itself."""

    width, height = 640, 480

    def cut(self, box: Box, size: tuple[int, int]) -> Image.Image:
        assert min(box) >= 0
        assert box[2] <= self.width
        assert box[3] <= self.height
        return Image.new("RGB", size)


@pytest.mark.parametrize("long_side", [147, 281, 533, 549])
def test_no_view_reaches_beyond_the_image(long_side: int) -> None:
    """``n * (640 / n)`` is a trifle over 640 for these, and the mirror image then begins under 0."""
    for image in (Strict(), mirrored(Strict())):
        views = Views(image, [long_side / 640], [ValidRange()])
        assert [view.pixels.shape[1] for view in views.of(0, [views.whole(0)])] == [long_side]


def test_boxes_of_another_size_or_cut_by_an_inner_edge_do_not_count() -> None:
    views = Views(np.zeros((60, 100, 3), np.uint8), [2.0], [ValidRange(4, 20)], tile=120)
    first = next(views.of(0, [views.whole(0)]))
    assert (first.window, first.inner) == ((0, 0, 120, 120), (False, False, True, False))
    assert first.pixels.shape == (120, 120, 3)
    found = np.array([[0, 0, 20, 20], [0, 0, 4, 4], [60, 0, 120, 20], [50, 10, 90, 50]], np.float32)
    boxes, kept = first.source_boxes(found)
    np.testing.assert_allclose(boxes, found / 2)
    assert kept.tolist() == [0]  # too small, cut, and as large as the bound


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
