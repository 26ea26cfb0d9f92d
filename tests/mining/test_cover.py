from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import cover_problems

from chipper.mining.cover import cover

NOWHERE = (np.nan,) * 4


def run(chip_size, stride, minimum, images):
    """`cover` on [(width, height, boxes or None, seed), ...]."""
    boxes = [NOWHERE if box is None else box for image in images for box in image[2]]
    return cover(
        offsets=np.concatenate(([0], np.cumsum([len(image[2]) for image in images]))).astype(np.int64),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        canvas_width=np.array([image[0] for image in images], dtype=np.int64),
        canvas_height=np.array([image[1] for image in images], dtype=np.int64),
        seeds=np.array([image[3] for image in images], dtype=np.uint64),
        chip_size=chip_size,
        stride=stride,
        minimum=minimum,
    )


def by_image(windows, images):
    """Per image: picks [(x, y, count)] in order, and per box the number of its pick in the image."""
    start = 0
    for i, image in enumerate(images):
        rows = np.flatnonzero(windows.image == i)
        first = rows[0] if rows.size else 0
        picks = list(zip(windows.x[rows].tolist(), windows.y[rows].tolist(), windows.count[rows].tolist(), strict=True))
        mine = windows.window_of_box[start : start + len(image[2])]
        start += len(image[2])
        yield picks, np.where(mine < 0, -1, mine - first).tolist()


@settings(max_examples=300)
@given(cover_problems())
@example((4, 1, 1, [(16, 16, [(0, 0, 1, 1)] * 5, 0)]))  # copies
@example((4, 3, 1, [(5, 4, [(1, 0, 5, 4), (0, 0, 4, 4)], 3)]))  # a canvas just over the chip
@example((8, 8, 1, [(3, 2, [(0, 0, 3, 2)], 9)]))  # a canvas smaller than the chip
@example((8, 5, 2, [(30, 9, [(0, 0, 8, 8), (22, 1, 30, 9), (23, 2, 24, 3)], 2**64 - 1)]))
def test_cover_is_the_greedy_cover_over_all_candidates_listed_one_by_one(problem):
    chip_size, stride, minimum, images = problem
    for (picks, pick_of), image in zip(by_image(run(*problem), images), images, strict=True):
        width, height, boxes, seed = image
        assert (picks, pick_of) == naive.cover(boxes, width, height, seed, chip_size, stride, minimum)


@given(cover_problems())
def test_every_box_that_some_candidate_holds_is_inside_its_window_and_no_other_has_one(problem):
    chip_size, stride, _, images = problem
    windows = run(chip_size, stride, 1, images)
    row = 0
    for width, height, boxes, _ in images:
        for box in boxes:
            window = windows.window_of_box[row]
            holdable = box is not None and any(
                naive.holds(candidate, chip_size, box)
                for candidate in naive.all_windows(width, height, chip_size, stride)
            )
            assert (window >= 0) == holdable
            if holdable:
                assert naive.holds((windows.x[window], windows.y[window]), chip_size, box)
            row += 1


@given(cover_problems())
def test_there_are_never_more_windows_than_boxes_and_counts_add_up_to_the_boxes_covered(problem):
    _, _, minimum, images = problem
    windows = run(*problem)
    for i, image in enumerate(images):
        counts = windows.count[windows.image == i]
        assert counts.size <= len(image[2])
        assert (counts >= minimum).all()
        assert counts.tolist() == sorted(counts.tolist(), reverse=True)
    first_covered = np.bincount(windows.window_of_box[windows.window_of_box >= 0], minlength=windows.count.size)
    assert first_covered.tolist() == windows.count.tolist()


@given(cover_problems())
def test_an_image_is_covered_as_if_it_were_alone(problem):
    chip_size, stride, minimum, images = problem
    together = list(by_image(run(*problem), images))
    alone = [next(by_image(run(chip_size, stride, minimum, [image]), [image])) for image in images]
    assert together == alone


@given(cover_problems(), st.integers(0, 2**32))
def test_the_order_of_the_boxes_does_not_change_the_windows(problem, shuffle):
    chip_size, stride, minimum, images = problem
    rng = np.random.default_rng(shuffle)
    mixed = [(w, h, [boxes[k] for k in rng.permutation(len(boxes))], seed) for w, h, boxes, seed in images]
    before = [picks for picks, _ in by_image(run(*problem), images)]
    assert [picks for picks, _ in by_image(run(chip_size, stride, minimum, mixed), mixed)] == before


def test_a_minimum_stops_before_windows_that_hold_fewer():
    crowd, pair, single = [(1, 1, 2, 2)] * 3, [(50, 1, 51, 2)] * 2, [(1, 50, 2, 51)]
    image = (60, 60, crowd + pair + single, 0)
    for minimum, counts in ((1, [3, 2, 1]), (2, [3, 2]), (3, [3]), (4, [])):
        assert run(10, 5, minimum, [image]).count.tolist() == counts


def test_each_tied_window_is_as_likely_as_the_others():
    """One box in the middle: 5 x 5 windows tie at first."""
    images = [(12, 12, [(4, 4, 8, 8)], seed) for seed in range(5000)]
    windows = run(8, 1, 1, images)
    cells = np.bincount(windows.y * 5 + windows.x, minlength=25)
    assert cells.size == 25
    assert np.abs(cells / 200 - 1).max() < 0.3


def test_boxes_at_every_edge_of_a_large_canvas_are_covered():
    w, h = 40_001, 30_011
    boxes = [(0, 0, 1, 1), (w - 1, 0, w, 1), (0, h - 1, 1, h), (w - 1, h - 1, w, h), (w - 512, h - 512, w, h)]
    windows = run(512, 32, 1, [(w, h, boxes, 1)])
    assert (windows.window_of_box >= 0).all()
    assert windows.x.max() == w - 512
    assert windows.y.max() == h - 512
    assert sorted(windows.count.tolist()) == [1, 1, 1, 2]


def test_thousands_of_boxes_in_one_image_are_covered():
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 3950, (5000, 2)).astype(np.float64)
    boxes = np.hstack([corner, corner + rng.integers(1, 50, (5000, 2))])
    windows = run(512, 32, 1, [(4000, 4000, boxes.tolist(), 5)])
    assert (windows.window_of_box >= 0).all()
    assert windows.count.sum() == 5000
    own = windows.window_of_box
    assert (boxes[:, 0] >= windows.x[own]).all()
    assert (boxes[:, 2] <= windows.x[own] + 512).all()


@pytest.mark.parametrize("images", [[], [(5, 5, [], 0)], [(5, 5, [None], 0)], [(9, 9, [(0, 0, 9, 9)], 0)]])
def test_no_box_to_cover_gives_no_window(images):
    windows = run(4, 2, 1, images)
    assert windows.x.size == 0
    assert (windows.window_of_box == -1).all()


@pytest.mark.parametrize("seed", range(6))
def test_many_boxes_on_a_large_grid_are_covered_as_the_oracle_does(seed):
    """More runs of candidates than the engine keeps in one block."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 380, (90, 2))
    boxes = np.concatenate([low, low + rng.uniform(2, 20, (90, 2))], axis=1)
    found = cover(np.array([0, 90]), boxes, np.array([400]), np.array([400]), np.array([seed], np.uint64), 40, 4)
    picks, pick_of = naive.cover(boxes.tolist(), 400, 400, seed, 40, 4)
    assert list(zip(found.x.tolist(), found.y.tolist(), found.count.tolist(), strict=True)) == picks
    assert found.window_of_box.tolist() == pick_of
