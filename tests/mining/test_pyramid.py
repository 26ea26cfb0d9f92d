from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from strategies import datasets

from chipper.mining.pyramid import Pyramid, canvas_size, to_canvas
from chipper.mining.scales import parse_scales


@pytest.mark.parametrize(
    ("size", "factor", "expected"),
    [(640, 0.8, 512), (5, 0.5, 3), (7, 0.5, 4), (1, 0.1, 1), (427, 1.667, 712), (640, 1.667, 1067), (333, 3, 999)],
)
def test_a_canvas_side_is_rounded_half_up_and_at_least_one_px(size, factor, expected):
    assert canvas_size(size, factor) == expected


def test_the_long_side_of_a_canvas_is_exactly_what_the_scale_asks_for():
    sides = np.arange(1, 5000)
    pyramid = Pyramid.of(parse_scales("512,480:800"), sides, np.ones_like(sides))
    assert (pyramid.width[0] == 512).all()
    assert (pyramid.width[1] <= 800).all()


def test_a_pyramid_has_one_row_per_scale_and_one_column_per_image():
    pyramid = Pyramid.of(parse_scales("512,1.667,3"), np.array([640, 100]), np.array([480, 200]))
    assert pyramid.factor.tolist() == [[0.8, 2.56], [1.667, 1.667], [3, 3]]
    assert pyramid.width.tolist() == [[512, 256], [1067, 167], [1920, 300]]
    assert pyramid.height.tolist() == [[384, 512], [800, 333], [1440, 600]]


@given(datasets())
def test_boxes_land_where_the_oracle_puts_them_inside_their_canvas(dataset):
    images, annotations, options = dataset
    pyramid = Pyramid.of(options.scales, images.width, images.height)
    place = {image: i for i, image in enumerate(images.image_id.tolist())}
    image = np.array([place[k] for k in annotations.image_id.tolist()], dtype=np.int64)
    for s in range(len(options.scales)):
        got = pyramid.boxes(s, image, annotations.box)
        for k, i in enumerate(image.tolist()):
            factor = float(pyramid.factor[s, i])
            size = int(images.width[i]), int(images.height[i])
            assert got[k].tolist() == naive.on_canvas(annotations.box[k].tolist(), factor, *size)
        assert (got[:, 2] <= pyramid.width[s, image]).all()
        assert (got[:, 3] <= pyramid.height[s, image]).all()


def test_one_similarity_serves_the_whole_canvas():
    """427 px * 1.667 = 711.8 becomes 712 px; coordinates are scaled by 1.667 all the same, not by 712 / 427."""
    assert to_canvas(100, 1.667, 712) == pytest.approx(166.7)
    assert to_canvas(427, 1.667, 712) == pytest.approx(711.809)


def test_what_lies_beyond_a_canvas_rounded_down_is_pulled_to_its_end():
    """401 px * 1.667 = 668.47 becomes 668 px."""
    assert canvas_size(401, 1.667) == 668
    assert to_canvas(401, 1.667, 668) == 668
