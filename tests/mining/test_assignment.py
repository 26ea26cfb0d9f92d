from __future__ import annotations

import math

import naive
import numpy as np
import pytest
from hypothesis import given
from strategies import annotations_of, datasets, images_of

from chipper.mining.assignment import assign
from chipper.mining.options import PositiveOptions
from chipper.mining.pyramid import Pyramid


def run(images, annotations, options, variant=0):
    return assign(images, annotations, Pyramid.of(options.scales, images.width, images.height), options, variant)


def by_hand(sizes, boxes, scales, valid_ranges, crowds=()):
    """Assignment of boxes (one list per image) with chips of 512 px every 32 px."""
    images = images_of(sizes)
    return run(images, annotations_of(images, boxes, crowds), PositiveOptions.parse(scales, valid_ranges))


def oracle(image_size, box, crowd, options, variant):
    """Per scale: (in range, holdable, moved)."""
    width, height = image_size
    size = math.sqrt(naive.area(box))
    factors, in_range, holdable = [], [], []
    for scale, valid_range in zip(options.scales, options.valid_ranges, strict=True):
        factor = float(scale.factors(width, height))
        canvas = naive.canvas_size(width, factor), naive.canvas_size(height, factor)
        windows = naive.all_windows(*canvas, options.chip_size, options.stride(variant))
        on_canvas = naive.on_canvas(box, factor, width, height)
        factors.append(factor)
        in_range.append(not crowd and valid_range.low <= size < valid_range.high)
        holdable.append(any(naive.holds(window, options.chip_size, on_canvas) for window in windows))
    moved = [False] * len(factors)
    own = [s for s in range(len(factors)) if in_range[s]]
    if own and not any(holdable[s] for s in own):
        coarser = [s for s in range(len(factors)) if holdable[s] and factors[s] < min(factors[o] for o in own)]
        if coarser:
            moved[max(coarser, key=lambda s: factors[s])] = True
    return in_range, holdable, moved


@given(datasets(most_images=2, most_boxes=6))
def test_boxes_are_assigned_as_the_oracle_does_one_by_one(dataset):
    images, annotations, options = dataset
    size_of = dict(zip(images.image_id.tolist(), zip(images.width.tolist(), images.height.tolist(), strict=True)))
    for variant in range(options.variants):
        found = run(images, annotations, options, variant)
        for k, image in enumerate(annotations.image_id.tolist()):
            box, crowd = annotations.box[k].tolist(), annotations.iscrowd[k]
            expected = oracle(size_of[image], box, crowd, options, variant)
            got = found.in_range[:, k].tolist(), found.holdable[:, k].tolist(), found.moved[:, k].tolist()
            assert got == expected


@given(datasets())
def test_every_box_is_a_target_of_some_scale_or_counted_as_having_no_range_or_no_chip(dataset):
    images, annotations, options = dataset
    found = run(images, annotations, options)
    target = found.targets.any(axis=0)
    assert (target.astype(int) + found.without_range + found.uncoverable == 1).all()
    assert not target[annotations.iscrowd].any()
    assert (found.targets <= found.holdable).all()


@given(datasets())
def test_a_box_moves_only_where_no_scale_of_its_own_holds_it_and_then_to_one_scale_only(dataset):
    images, annotations, options = dataset
    found = run(images, annotations, options)
    homeless = found.in_range.any(axis=0) & ~(found.in_range & found.holdable).any(axis=0)
    assert (found.moved.sum(axis=0) <= homeless).all()
    assert not (found.moved & found.in_range).any()


def test_the_valid_range_is_of_the_geometric_mean_of_the_sides_in_source_px():
    boxes = [
        (0, 0, 80, 80),
        (0, 0, 79, 80),
        (0, 0, 16, 64),
        (0, 0, 150, 150),
        (0, 0, 90, 160),
    ]  # 80, 79.5, 32, 150, 120
    found = by_hand([(640, 480)], [boxes], "512,1.667,3", None)
    assert found.in_range.tolist() == [
        [False, False, False, True, True],
        [True, True, True, False, True],
        [False, True, True, False, False],
    ]


def test_a_crowd_belongs_to_no_scale_and_is_not_counted_as_uncoverable():
    found = by_hand([(640, 480)], [[(0, 0, 100, 100), (0, 0, 100, 100)]], "512,1.667,3", None, crowds=[2])
    assert found.of_scale[:, 1].tolist() == [False] * 3
    assert found.without_range.tolist() == [False, True]
    assert found.uncoverable.tolist() == [False, False]


def test_a_long_thin_box_moves_to_the_nearest_coarser_scale_that_can_hold_it():
    """300 x 20, so 77.5: for 1.667 (500 px long) and for 3 (900 px).

    At x = 10 it covers 16.7..516.8 at 1.667: too far right for the window at 0, too far left for the one at 32.
    At x = 20 it covers 33.3..533.4: the window 32..544 holds it.
    """
    found = by_hand([(1000, 400)], [[(10, 5, 310, 25), (20, 5, 320, 25)]], "512,1.667,3", None)
    assert found.in_range.tolist() == [[False] * 2, [True] * 2, [True] * 2]
    assert found.holdable.tolist() == [[True, True], [False, True], [False, False]]
    assert found.moved.tolist() == [[True, False], [False, False], [False, False]]
    assert found.targets.tolist() == [[True, False], [False, True], [False, False]]
    assert found.of_scale.tolist() == [[True, False], [True, True], [True, True]]


def test_nearest_means_by_factor_not_by_place_in_the_list():
    """A 100 px image: 512 is a factor of 5.12, finer than 3. A box for 8 alone goes there before it goes to 3 or 1."""
    box = [(0, 0, 100, 5)]
    found = by_hand([(100, 100)], [box], "512,1,3,8", "200:,100:,50:,:50")
    assert found.holdable[:, 0].tolist() == [True, True, True, False]
    assert found.moved[:, 0].tolist() == [True, False, False, False]
    # at 1000 px the same scale is a factor of 0.512, the last resort
    found = by_hand([(1000, 1000)], [[(0, 0, 1000, 2)]], "512,1,3,8", "200:,100:,50:,:50")
    assert found.moved[:, 0].tolist() == [True, False, False, False]
    found = by_hand([(1000, 1000)], [[(0, 0, 160, 10)]], "512,1,3,8", "200:,100:,50:,:50")
    assert found.moved[:, 0].tolist() == [False, False, True, False]


def test_a_box_never_moves_to_a_finer_scale_and_what_nothing_holds_is_uncoverable():
    """For factor 3 and 700 px long: 1 does not hold it either, and there is nothing coarser."""
    found = by_hand([(1000, 1000)], [[(0, 0, 700, 4)]], "1,3", "100:,:100")
    assert not found.moved.any()
    assert found.uncoverable.tolist() == [True]
    assert not found.targets.any()


def test_a_box_of_two_ranges_that_one_of_them_holds_does_not_move():
    found = by_hand([(1000, 1000)], [[(0, 0, 200, 20)]], "512,1.667,3", None)  # 63: for 1.667 and 3, 600 px at 3
    assert found.targets[:, 0].tolist() == [False, True, False]
    assert not found.moved.any()


@pytest.mark.parametrize("variant", [0, 1, 2, 3])
def test_each_variant_is_judged_by_its_own_stride(variant):
    options = PositiveOptions.parse("1", ":", stride="56-59", variants=4, seed=1)
    stride = options.stride(variant)
    images = images_of([(3000, 600)])
    boxes = [(k, 0, k + 512, 512) for k in range(0, 500)]
    found = run(images, annotations_of(images, [boxes]), options, variant)
    assert np.flatnonzero(found.holdable[0]).tolist() == list(range(0, 500, stride))
