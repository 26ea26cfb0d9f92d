"""Labels: all that a chip shows of its image's annotations, against an oracle that looks at every pair."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from strategies import annotations_of, chips_of, datasets, images_of

from chipper.mining.assignment import assign
from chipper.mining.labels import label_chips
from chipper.mining.options import PositiveOptions
from chipper.mining.positives import mine_positives
from chipper.mining.pyramid import Pyramid


def by_pair(labels):
    """{(chip id, annotation id): (box, valid, ignore, visibility)}."""
    rows = zip(
        labels.chip_id.tolist(),
        labels.annotation_id.tolist(),
        labels.box.tolist(),
        labels.valid.tolist(),
        labels.ignore.tolist(),
        labels.visibility.tolist(),
        strict=True,
    )
    return {(chip, annotation): rest for chip, annotation, *rest in rows}


@given(datasets(most_images=2))
def test_labels_are_those_of_the_oracle(dataset):
    images, annotations, options = dataset
    mined = mine_positives(images, annotations, options)
    got = by_pair(label_chips(mined.chips, images, annotations, options, mined.assignments))
    expected = {}
    for i, image in enumerate(images.image_id.tolist()):
        mine = np.flatnonzero(annotations.image_id == image)
        for variant, assignment in enumerate(mined.assignments):
            for s, scale in enumerate(options.scales):
                c = mined.chips
                rows = np.flatnonzero((c.image_id == image) & (c.variant == variant) & (c.scale_index == s))
                size = int(images.width[i]), int(images.height[i])
                factor = float(scale.factors(*size))
                found = naive.labels(
                    [tuple(int(v[k]) for v in (c.x, c.y, c.content_width, c.content_height)) for k in rows],
                    [naive.on_canvas(box, factor, *size) for box in annotations.box[mine].tolist()],
                    assignment.of_scale[s][mine].tolist(),
                    annotations.iscrowd[mine].tolist(),
                )
                for (chip, box), label in found.items():
                    expected[int(c.chip_id[rows[chip]]), int(annotations.annotation_id[mine[box]])] = label
    assert got.keys() == expected.keys()
    for pair, (box, valid, ignore, visibility) in expected.items():
        assert got[pair][0] == pytest.approx(box, abs=1e-9)
        assert got[pair][1:3] == [valid, ignore]
        assert got[pair][3] == pytest.approx(visibility, abs=1e-9)


@given(datasets())
def test_chip_px_lead_back_to_source_px(dataset):
    """Within 1e-3 source px, in the float32 of the table, where the chip does not cut the box."""
    images, annotations, options = dataset
    mined = mine_positives(images, annotations, options)
    labels = label_chips(mined.chips, images, annotations, options, mined.assignments)
    chip = np.searchsorted(mined.chips.chip_id, labels.chip_id)
    c = mined.chips[chip]
    assert np.array_equal(c.chip_id, labels.chip_id)
    whole = annotations.box[labels.annotation_id - 1]
    back = (labels.box.astype(np.float32) + np.stack([c.x, c.y, c.x, c.y], axis=1)) / c.scale[:, None]
    expected = np.clip(whole, np.tile(c.source_box[:, :2], 2), np.tile(c.source_box[:, 2:], 2))
    # float32 holds a chip px to 2^-19 under 48 px; where the canvas ends before the image does, the image ends there too
    end = np.stack([c.x + c.content_width, c.y + c.content_height] * 2, axis=1) / c.scale[:, None]
    assert np.abs(back - np.minimum(expected, end)).max(initial=0) <= 1e-3


@given(datasets())
def test_labels_lie_inside_the_content_and_have_area(dataset):
    images, annotations, options = dataset
    mined = mine_positives(images, annotations, options)
    labels = label_chips(mined.chips, images, annotations, options, mined.assignments)
    c = mined.chips[np.searchsorted(mined.chips.chip_id, labels.chip_id)]
    content = np.stack([c.content_width, c.content_height] * 2, axis=1)
    assert ((labels.box >= 0) & (labels.box <= content)).all()
    assert (labels.box[:, 2:] > labels.box[:, :2]).all()
    assert ((labels.visibility > 0) & (labels.visibility <= 1)).all()
    assert not (labels.valid & labels.ignore).any()
    assert (np.diff(labels.chip_id) >= 0).all()


@given(datasets())
def test_every_covered_box_is_valid_somewhere_unless_it_is_too_small_to_see(dataset):
    images, annotations, options = dataset
    mined = mine_positives(images, annotations, options)
    labels = label_chips(mined.chips, images, annotations, options, mined.assignments)
    for variant, assignment in enumerate(mined.assignments):
        of_variant = np.isin(labels.chip_id, mined.chips.chip_id[mined.chips.variant == variant])
        for k in np.flatnonzero(assignment.targets.any(axis=0)):
            mine = of_variant & (labels.annotation_id == annotations.annotation_id[k])
            assert labels.valid[mine].any() or labels.ignore[mine].any()


def labelled(boxes, chips, crowds=(), ranges=":"):
    """Labels of hand-placed chips on one 1000 x 1000 image at scale 1."""
    images = images_of([(1000, 1000)], ids=[1])
    annotations = annotations_of(images, [boxes], crowds)
    options = PositiveOptions.parse("1", ranges)
    pyramid = Pyramid.of(options.scales, images.width, images.height)
    assignments = (assign(images, annotations, pyramid, options, 0),)
    return by_pair(label_chips(chips_of(chips), images, annotations, options, assignments))


WHOLE, HALF = (0, 0, 512, 512, 0), (60, 0, 512, 512, 0)


def test_a_box_cut_by_one_chip_and_whole_in_another_is_valid_in_the_other_alone():
    got = labelled([(40, 100, 80, 140)], [WHOLE, HALF])
    assert got[0, 1] == [[40, 100, 80, 140], True, False, 1.0]
    assert got[1, 1] == [[0, 100, 20, 140], False, False, 0.5]


def test_a_box_that_no_chip_shows_whole_is_valid_where_most_of_it_is_seen():
    got = labelled([(40, 100, 80, 140)], [(50, 0, 512, 512, 0), HALF])
    assert got[0, 1] == [[0, 100, 30, 140], True, False, 0.75]
    assert got[1, 1] == [[0, 100, 20, 140], False, False, 0.5]


def test_equal_views_are_both_valid():
    got = labelled([(40, 100, 80, 140)], [HALF, (60, 10, 512, 512, 0)])
    assert got[0, 1][1] is True
    assert got[1, 1][1] is True


def test_a_box_of_another_scale_is_kept_and_not_valid():
    got = labelled([(40, 100, 80, 140)], [WHOLE], ranges="100:")
    assert got == {(0, 1): [[40, 100, 80, 140], False, False, 1.0]}


def test_a_crowd_is_ignored_and_kept():
    got = labelled([(40, 100, 80, 140)], [WHOLE], crowds=[1])
    assert got == {(0, 1): [[40, 100, 80, 140], False, True, 1.0]}


@pytest.mark.parametrize(("width", "ignored"), [(9.5, True), (10, False)])
def test_a_label_under_ten_px_on_a_side_is_ignored(width, ignored):
    got = labelled([(40, 100, 40 + width, 140)], [WHOLE])
    assert got[0, 1][1:3] == [not ignored, ignored]


def test_a_box_that_only_touches_the_chip_is_not_in_it():
    assert labelled([(512, 100, 600, 140)], [WHOLE]) == {}


def test_padding_shows_nothing():
    got = labelled([(300, 100, 500, 140)], [(0, 0, 400, 512, 0)])
    assert got == {(0, 1): [[300, 100, 400, 140], True, False, 0.5]}


def test_there_is_no_limit_to_the_labels_of_a_chip():
    boxes = [(x, y, x + 12, y + 12) for x in range(0, 500, 14) for y in range(0, 500, 14)]
    assert len(labelled(boxes, [WHOLE])) == len(boxes) > 1000


def test_the_best_view_is_judged_among_the_chips_of_one_scale_alone():
    """The chip at the finer scale shows half of the box and no other there shows more; the coarser one shows it whole."""
    images = images_of([(1024, 512)], ids=[1])
    annotations = annotations_of(images, [[(412, 0, 612, 100)]])
    options = PositiveOptions.parse("0.5,1", ":,:")
    assignment = assign(images, annotations, Pyramid.of(options.scales, images.width, images.height), options, 0)
    chips = chips_of([(0, 0, 512, 256, 0), (0, 0, 512, 512, 1)])
    got = by_pair(label_chips(chips, images, annotations, options, (assignment,)))
    assert got == {
        (0, 1): [[206, 0, 306, 50], True, False, 1.0],
        (1, 1): [[412, 0, 512, 100], True, False, 0.5],
    }


def test_the_ten_px_are_of_the_chip_not_of_the_source():
    images = images_of([(100, 100)], ids=[1])
    annotations = annotations_of(images, [[(0, 0, 4, 4), (0, 0, 3, 4)]])
    options = PositiveOptions.parse("3", ":")
    assignment = assign(images, annotations, Pyramid.of(options.scales, images.width, images.height), options, 0)
    got = by_pair(label_chips(chips_of([(0, 0, 300, 300, 0)], 3.0), images, annotations, options, (assignment,)))
    assert got[0, 1] == [[0, 0, 12, 12], True, False, 1.0]
    assert got[0, 2] == [[0, 0, 9, 12], False, True, 1.0]


@given(datasets(most_images=4))
def test_splitting_the_images_into_ranges_changes_no_label(dataset):
    images, annotations, options = dataset

    def label(some):
        mine = annotations[np.isin(annotations.image_id, some.image_id)]
        mined = mine_positives(some, mine, options)
        return by_pair(label_chips(mined.chips, some, mine, options, mined.assignments))

    together = list(label(images).items())
    for cut in range(len(images) + 1):
        assert [*label(images[:cut]).items(), *label(images[cut:]).items()] == together


def test_a_moved_box_is_valid_in_the_chip_that_was_made_for_it():
    """300 x 20 px at x 10: for 1.667 and 3, and only 512 holds it (test_assignment)."""
    images = images_of([(1000, 400)])
    annotations = annotations_of(images, [[(10, 5, 310, 25)]])
    options = PositiveOptions.parse()
    mined = mine_positives(images, annotations, options)
    assert mined.chips.scale_index.tolist() == [0]
    labels = label_chips(mined.chips, images, annotations, options, mined.assignments)
    assert labels.valid.tolist() == [True]
    assert labels.visibility.tolist() == [1]
    assert labels.box == pytest.approx(np.array([[5.12, 2.56, 158.72, 12.8]]))


def test_labels_of_a_drawing_worked_out_by_hand():
    """The drawing of test_positives. Chips are (0, 0), either (64, 64) or (64, 112), and (192, 112), each 128 px."""
    images = images_of([(320, 240)])
    boxes = [
        (8, 8, 40, 40),  # A
        (72, 16, 120, 80),  # B
        (208, 160, 304, 232),  # C
        (96, 120, 128, 160),  # D
        (136, 120, 184, 160),  # E
        (0, 0, 320, 240),  # F, a crowd
        (16, 16, 160, 48),  # G, which no window holds
    ]
    annotations = annotations_of(images, [boxes], crowds=[6])
    crowd = [[0, 0, 128, 128], False, True, pytest.approx(128 * 128 / (320 * 240))]
    expected = {
        (0, 0): {
            "A": [[8, 8, 40, 40], True, False, 1],
            "B": [[72, 16, 120, 80], True, False, 1],
            "D": [[96, 120, 128, 128], False, True, pytest.approx(0.2)],  # 8 px of it: too low
            "F": crowd,
            "G": [[16, 16, 128, 48], True, False, pytest.approx(112 / 144)],  # seen better nowhere
        },
        (64, 64): {
            "B": [[8, 0, 56, 16], False, False, 0.25],  # seen whole in the first chip
            "D": [[32, 56, 64, 96], True, False, 1],
            "E": [[72, 56, 120, 96], True, False, 1],
            "F": crowd,
        },
        (64, 112): {"D": [[32, 8, 64, 48], True, False, 1], "E": [[72, 8, 120, 48], True, False, 1], "F": crowd},
        (192, 112): {"C": [[16, 48, 112, 120], True, False, 1], "F": crowd},
    }
    seen = set()
    for seed in range(12):
        options = PositiveOptions.parse("1", ":", chip_size=128, stride="64", seed=seed)
        mined = mine_positives(images, annotations, options)
        labels = by_pair(label_chips(mined.chips, images, annotations, options, mined.assignments))
        for k, corner in enumerate(zip(mined.chips.x.tolist(), mined.chips.y.tolist(), strict=True)):
            here = {"ABCDEFG"[box - 1]: label for (chip, box), label in labels.items() if chip == k}
            assert here == expected[corner]
            seen.add(corner)
    assert seen == set(expected)
