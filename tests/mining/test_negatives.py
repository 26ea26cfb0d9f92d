"""Negative chips: NMS against its oracle, and windows only where proposals are that no positive chip holds."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import annotations_of, datasets, images_of, one_image, proposal_sets

from chipper.columns import CHIPS_PER_IMAGE, FIRST_NEGATIVE, Proposals
from chipper.mining.labels import label_chips
from chipper.mining.negatives import best_proposals, choose_negatives, chosen_for
from chipper.mining.options import NegativeOptions, PositiveOptions
from chipper.mining.positives import mine_positives


@st.composite
def problems(draw):
    """(images, annotations, options, proposals, negative options)."""
    images, annotations, options = draw(datasets(most_images=2))
    proposals = draw(proposal_sets(images))
    negative = NegativeOptions(
        max_proposals=draw(st.sampled_from([1, 5, 900])),
        nms=draw(st.sampled_from([0.3, 0.7, 1.0])),
        min_proposals_finest=draw(st.integers(1, 6)),
        min_proposals=draw(st.integers(1, 4)),
    )
    return images, annotations, options, proposals, negative


def as_rows(proposals):
    return [(*box, score) for box, score in zip(proposals.box.tolist(), proposals.score.tolist(), strict=True)]


@given(problems())
def test_best_proposals_are_those_of_the_oracle(problem):
    images, _, _, proposals, negative = problem
    got = best_proposals(proposals, images, negative)
    for i in range(len(images)):
        mine = one_image(images, proposals, i)
        width, height = float(images.width[i]), float(images.height[i])
        rows = []
        for (x1, y1, x2, y2), score in zip(mine.box.tolist(), mine.score.tolist(), strict=True):
            box = [min(max(x1, 0), width), min(max(y1, 0), height), min(max(x2, 0), width), min(max(y2, 0), height)]
            if box[2] > box[0] and box[3] > box[1]:
                rows.append((box, score))
        kept = naive.nms([box for box, _ in rows], [score for _, score in rows], negative.nms, negative.max_proposals)
        assert as_rows(one_image(images, got, i)) == [(*rows[k][0], rows[k][1]) for k in kept]


@given(problems())
def test_windows_are_the_greedy_cover_of_what_positives_leave(problem):
    images, annotations, options, proposals, negative = problem
    positives = mine_positives(images, annotations, options).chips
    best = best_proposals(proposals, images, negative)
    got = choose_negatives(images, best, positives, options, negative)
    count = 0
    for i, image in enumerate(images.image_id.tolist()):
        boxes = one_image(images, best, i).box.tolist()
        size = int(images.width[i]), int(images.height[i])
        for variant in range(options.variants):
            for s, (scale, valid) in enumerate(zip(options.scales, options.valid_ranges, strict=True)):
                factor = float(scale.factors(*size))
                mine = one_image(images, positives, i)
                mine = mine[(mine.variant == variant) & (mine.scale_index == s)]
                windows = list(zip(mine.x.tolist(), mine.y.tolist(), strict=True))
                left = []
                for box in boxes:
                    placed = naive.on_canvas(box, factor, *size)
                    side = np.sqrt((box[2] - box[0]) * (box[3] - box[1]))
                    fits = side >= valid.low if s == 0 else side < valid.high
                    held = any(naive.holds(window, options.chip_size, placed) for window in windows)
                    left.append(placed if fits and not held else None)
                least = negative.min_proposals_finest if s == len(options.scales) - 1 else negative.min_proposals
                picks, _ = naive.cover(
                    left,
                    *(naive.canvas_size(side, factor) for side in size),
                    naive.hashed(options.seed, variant, image, s + (1 << 20)),
                    options.chip_size,
                    options.stride(variant),
                    least,
                )
                some = one_image(images, got, i)
                some = some[(some.variant == variant) & (some.scale_index == s)]
                assert list(zip(some.x.tolist(), some.y.tolist(), some.proposals.tolist(), strict=True)) == picks
                assert (some.proposals >= least).all()
                count += len(picks)
    assert len(got) == count


@given(problems())
def test_proposals_that_negatives_were_chosen_for(problem):
    """Of one scale they are as many as its chips count, each whole in one of them."""
    images, annotations, options, proposals, negative = problem
    positives = mine_positives(images, annotations, options).chips
    best = best_proposals(proposals, images, negative)
    negatives = choose_negatives(images, best, positives, options, negative)
    positives, negatives = positives[positives.variant == 0], negatives[negatives.variant == 0]
    everywhere = np.zeros(len(best), bool)
    for s in range(len(options.scales)):
        some = negatives[negatives.scale_index == s]
        chosen = chosen_for(images, best, positives, some, options)
        assert chosen.sum() == some.proposals.sum()
        everywhere |= chosen
    np.testing.assert_array_equal(chosen_for(images, best, positives, negatives, options), everywhere)


@given(problems())
def test_an_image_s_negatives_do_not_depend_on_the_others(problem):
    images, annotations, options, proposals, negative = problem
    positives = mine_positives(images, annotations, options).chips
    together = choose_negatives(images, best_proposals(proposals, images, negative), positives, options, negative)
    for i in range(len(images)):
        alone = images[i : i + 1]
        mine = best_proposals(one_image(images, proposals, i), alone, negative)
        found = choose_negatives(alone, mine, one_image(images, positives, i), options, negative)
        expected = one_image(images, together, i)
        assert found.chip_id.tolist() == expected.chip_id.tolist()
        assert found.x.tolist() == expected.x.tolist()


@given(problems())
def test_ids_are_unique_and_after_all_positives_of_the_image(problem):
    images, annotations, options, proposals, negative = problem
    positives = mine_positives(images, annotations, options).chips
    got = choose_negatives(images, best_proposals(proposals, images, negative), positives, options, negative)
    assert len(set(got.chip_id.tolist())) == len(got)
    assert (got.chip_id % CHIPS_PER_IMAGE >= FIRST_NEGATIVE).all()
    assert got.image_position.tolist() == [
        int(images.position[images.image_id.tolist().index(image)]) for image in got.image_id.tolist()
    ]
    assert not set(got.chip_id.tolist()) & set(positives.chip_id.tolist())


def test_images_without_objects_are_mined():
    images = images_of([(300, 300)])
    options = PositiveOptions.parse("1", ":", chip_size=64)
    positives = mine_positives(images, annotations_of(images, [[]]), options).chips
    assert len(positives) == 0
    box = np.array([[100 + k, 100, 110 + k, 110] for k in range(12)], dtype=float)
    proposals = Proposals(np.full(12, images.image_id[0]), box, np.ones(12))
    negative = NegativeOptions(nms=1.0, min_proposals_finest=12)
    (got,) = [choose_negatives(images, best_proposals(proposals, images, negative), positives, options, negative)]
    assert got.proposals.tolist() == [12]
    assert got.kind.tolist() == ["negative"]


def test_variants_break_ties_differently():
    """Many windows hold all twelve proposals; each variant chooses by its own chance."""
    images = images_of([(2000, 2000)])
    options = PositiveOptions.parse("1", ":", chip_size=512, variants=8)
    positives = mine_positives(images, annotations_of(images, [[]]), options).chips
    box = np.array([[1000 + k, 1000, 1010 + k, 1010] for k in range(12)], dtype=float)
    proposals = Proposals(np.full(12, images.image_id[0]), box, np.ones(12))
    negative = NegativeOptions(nms=1.0, min_proposals_finest=12)
    got = choose_negatives(images, best_proposals(proposals, images, negative), positives, options, negative)
    assert got.variant.tolist() == list(range(8))
    assert len(set(zip(got.x.tolist(), got.y.tolist(), strict=True))) > 4


@pytest.mark.parametrize(
    ("size", "scales"), [(10, [1, 2]), (60, [1, 2]), (70, [1]), (80, [0, 1]), (90, [0, 1]), (100, [0]), (130, [0])]
)
def test_each_scale_takes_proposals_up_to_its_bound_and_the_coarsest_from_its_own(size, scales):
    """Ranges 80:, 20:100 and :70; at finer scales only the upper bound counts, which is not included, at the coarsest
    only the lower, which is."""
    images = images_of([(600, 600)])
    options = PositiveOptions.parse("1,1.5,2", "80:,20:100,:70")
    box = np.full((1, 4), 200.0) + [0, 0, size, size]
    proposals = Proposals(images.image_id[:1], box, np.ones(1))
    negative = NegativeOptions(min_proposals=1, min_proposals_finest=1)
    positives = mine_positives(images, annotations_of(images, [[]]), options).chips
    got = choose_negatives(images, best_proposals(proposals, images, negative), positives, options, negative)
    assert sorted(got.scale_index.tolist()) == scales


@pytest.mark.parametrize("bad", [[np.nan, 0, 9, 9], [0, 0, np.inf, np.nan], [9, 9, 0, 0], [700, 0, 800, 9]])
def test_boxes_of_no_use_are_left_out(bad):
    images = images_of([(600, 600)])
    box = np.array([bad, [0, 0, 9, 9]], dtype=float)
    got = best_proposals(Proposals(np.repeat(images.image_id, 2), box, np.ones(2)), images, NegativeOptions())
    assert got.box.tolist() == [[0, 0, 9, 9]]


def best_of(boxes, scores=None, **options):
    """What `best_proposals` leaves of the boxes of one 100 x 100 image, best first where no scores are given."""
    images = images_of([(100, 100)])
    score = np.linspace(1, 0.5, len(boxes)) if scores is None else np.array(scores, float)
    proposals = Proposals(np.repeat(images.image_id, len(boxes)), np.array(boxes, float).reshape(-1, 4), score)
    return [tuple(box) for box in best_proposals(proposals, images, NegativeOptions(**options)).box.tolist()]


def test_a_proposal_goes_when_a_better_one_overlaps_it_by_more_than_the_threshold():
    a, b, c = (0, 0, 10, 10), (0, 0, 10, 7), (50, 50, 60, 60)
    assert best_of([a, b, c]) == [a, b, c]  # 0.7 is not over 0.7
    assert best_of([a, b, c], nms=0.69) == [a, c]
    assert best_of([b, a, c], [0.1, 0.2, 0.3], nms=0.69) == [c, a]


def test_a_suppressed_proposal_suppresses_nothing():
    a, b, c = (0, 0, 10, 10), (2, 0, 12, 10), (4, 0, 14, 10)  # IoU 8/12 between neighbours, 6/14 between a and c
    assert best_of([a, b, c], nms=0.5) == [a, c]


def test_the_best_are_kept_and_equal_scores_keep_their_order():
    boxes = [(k * 10, 0, k * 10 + 5, 5) for k in range(8)]
    assert best_of(boxes, np.arange(8) / 8, max_proposals=3) == [boxes[7], boxes[6], boxes[5]]
    assert best_of(boxes, [0.5] * 8) == boxes


def test_proposals_are_clipped_before_they_are_compared():
    assert best_of([(-50, -50, 20, 20), (0, 0, 20, 20), (90, 90, 300, 300)]) == [(0, 0, 20, 20), (90, 90, 100, 100)]


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_proposals_whose_score_is_not_finite_are_left_out(score):
    assert best_of([(0, 0, 9, 9), (20, 20, 30, 30)], [score, 0.1]) == [(20, 20, 30, 30)]


def mined(size, objects, boxes, options=None, negative=None):
    """Positives and negatives of one image, and its tables."""
    images = images_of([size])
    annotations = annotations_of(images, [objects])
    proposals = Proposals(
        np.repeat(images.image_id, len(boxes)), np.array(boxes, float).reshape(-1, 4), np.linspace(1, 0.5, len(boxes))
    )
    options, negative = options or PositiveOptions.parse(), negative or NegativeOptions()
    positives = mine_positives(images, annotations, options)
    chips = choose_negatives(images, proposals, positives.chips, options, negative)
    return positives, chips, images, annotations, options


@pytest.mark.parametrize(("count", "scales"), [(0, []), (9, []), (10, [1]), (24, [1]), (25, [1, 2])])
def test_a_negative_takes_ten_proposals_and_25_at_the_finest_scale(count, scales):
    _, chips, *_ = mined((640, 480), [], [(5 * k, 10, 5 * k + 5, 15) for k in range(count)])
    assert chips.scale_index.tolist() == scales
    assert chips.proposals.tolist() == [count] * len(scales)


def test_proposals_that_a_positive_chip_holds_are_set_aside_at_its_scale_alone():
    """The object is for 1.667 only and lies in the corner, so its chip is (0, 0), which holds all the proposals."""
    boxes = [(3 * k, 50, 3 * k + 40, 90) for k in range(26)]
    positives, chips, *_ = mined((600, 300), [(0, 0, 100, 100)], boxes)
    assert positives.chips.scale_index.tolist() == [1]
    assert (positives.chips.x[0], positives.chips.y[0]) == (0, 0)
    assert chips.scale_index.tolist() == [2]
    assert chips.proposals.tolist() == [26]


def test_a_negative_keeps_the_labels_of_the_objects_that_it_happens_to_show():
    """The positive chip is at 0. Only the window at 64 holds both proposals; it shows 36 of the object's 100 px."""
    boxes = [(70, 10, 560, 30), (75, 40, 570, 60)]
    negative = NegativeOptions(min_proposals_finest=2)
    options = PositiveOptions.parse("1", ":")
    positives, chips, *tables = mined((1500, 512), [(0, 100, 100, 200)], boxes, options, negative)
    assert chips.x.tolist() == [64]
    labels = label_chips(chips, *tables, positives.assignments)
    assert labels.chip_id.tolist() == chips.chip_id.tolist()
    assert labels.box.tolist() == [[0, 100, 36, 200]]
    assert labels.visibility == pytest.approx(0.36)


def test_negatives_of_a_variant_avoid_the_positives_of_that_variant():
    objects = [(500 * k + 200, 100, 500 * k + 220, 120) for k in range(5)]
    boxes = [(30 * k, 50, 30 * k + 20, 70) for k in range(95)]
    options = PositiveOptions.parse("1", ":", variants=3)
    positives, chips, *_ = mined((3000, 300), objects, boxes, options, NegativeOptions(min_proposals_finest=1))
    for variant in range(3):
        corners = [(int(x), 0) for x in positives.chips.x[positives.chips.variant == variant]]
        left = sum(not any(naive.holds(corner, 512, box) for corner in corners) for box in boxes)
        assert chips.proposals[chips.variant == variant].sum() == left
    assert len({tuple(chips.x[chips.variant == v].tolist()) for v in range(3)}) > 1
