from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import annotations_of, datasets, images_of, one_image

from chipper.columns import CHIPS_PER_IMAGE, FIRST_NEGATIVE
from chipper.mining.options import PositiveOptions
from chipper.mining.positives import mine_positives


def rows(chips):
    """Everything about the chips, row by row."""
    columns = [np.asarray(getattr(chips, name)).tolist() for name in vars(chips)]
    return list(zip(*columns, strict=True))


def factor_of(images, options, i, s):
    return float(options.scales[s].factors(int(images.width[i]), int(images.height[i])))


@given(datasets(most_images=2))
def test_the_chips_of_each_scale_are_the_greedy_cover_of_its_targets(dataset):
    images, annotations, options = dataset
    mined = mine_positives(images, annotations, options)
    got = {
        (image, variant, s): []
        for image in images.image_id.tolist()
        for variant in range(options.variants)
        for s in range(len(options.scales))
    }
    for k in range(len(mined.chips)):
        c = mined.chips
        got[int(c.image_id[k]), int(c.variant[k]), int(c.scale_index[k])].append((int(c.x[k]), int(c.y[k])))
    for (image, variant, s), picks in got.items():
        i = images.image_id.tolist().index(image)
        factor, size = factor_of(images, options, i, s), (int(images.width[i]), int(images.height[i]))
        mine = annotations.image_id == image
        targets = mined.assignments[variant].targets[s]
        boxes = [naive.on_canvas(box, factor, *size) for box in annotations.box[mine & targets].tolist()]
        expected, _ = naive.cover(
            boxes,
            *(naive.canvas_size(side, factor) for side in size),
            naive.hashed(options.seed, variant, image, s),
            options.chip_size,
            options.stride(variant),
        )
        assert picks == [(x, y) for x, y, _ in expected]


@given(datasets())
def test_every_box_with_a_range_is_held_by_a_chip_of_its_variant_unless_counted_uncoverable(dataset):
    images, annotations, options = dataset
    mined = mine_positives(images, annotations, options)
    for variant, assignment in enumerate(mined.assignments):
        chips = mined.chips[mined.chips.variant == variant]
        for k in range(len(annotations)):
            i = images.image_id.tolist().index(annotations.image_id[k])
            held_at = set()
            some = one_image(images, chips, i)
            for s, x, y in zip(some.scale_index.tolist(), some.x.tolist(), some.y.tolist(), strict=True):
                size = int(images.width[i]), int(images.height[i])
                box = naive.on_canvas(annotations.box[k].tolist(), factor_of(images, options, i, s), *size)
                if naive.holds((x, y), options.chip_size, box):
                    held_at.add(s)
            targets = set(np.flatnonzero(assignment.targets[:, k]).tolist())
            assert targets <= held_at
            if assignment.in_range[:, k].any():
                assert held_at or assignment.uncoverable[k]


@given(datasets())
def test_no_scale_has_more_chips_than_boxes_and_none_without_boxes(dataset):
    images, annotations, options = dataset
    mined = mine_positives(images, annotations, options)
    for variant, assignment in enumerate(mined.assignments):
        for s in range(len(options.scales)):
            for image in images.image_id:
                of_image = annotations.image_id == image
                c = mined.chips
                chips = ((c.image_id == image) & (c.variant == variant) & (c.scale_index == s)).sum()
                boxes = (assignment.targets[s] & of_image).sum()
                assert chips <= boxes
                assert (chips > 0) == (boxes > 0)


@given(datasets())
def test_a_chip_lies_on_its_canvas_and_its_content_is_what_of_it_is_image(dataset):
    images, annotations, options = dataset
    chips = mine_positives(images, annotations, options).chips
    for k in range(len(chips)):
        i = images.image_id.tolist().index(chips.image_id[k])
        size = int(images.width[i]), int(images.height[i])
        factor = factor_of(images, options, i, int(chips.scale_index[k]))
        assert chips.scale[k] == factor
        corner = int(chips.x[k]), int(chips.y[k])
        content = int(chips.content_width[k]), int(chips.content_height[k])
        for axis in range(2):
            canvas = naive.canvas_size(size[axis], factor)
            assert content[axis] == min(options.chip_size, canvas)
            assert 0 <= corner[axis] <= canvas - content[axis]
        box = chips.source_box[k].tolist()
        expected = [*corner, corner[0] + content[0], corner[1] + content[1]]
        assert box == pytest.approx([min(v / factor, size[n % 2]) for n, v in enumerate(expected)])
        assert 0 <= box[0] < box[2] <= size[0]
        assert 0 <= box[1] < box[3] <= size[1]


@given(datasets())
def test_chip_ids_are_unique_ascending_and_name_the_image_by_its_place_in_the_file(dataset):
    images, annotations, options = dataset
    chips = mine_positives(images, annotations, options).chips
    assert (np.diff(chips.chip_id) > 0).all()
    place = dict(zip(images.image_id.tolist(), images.position.tolist(), strict=True))
    assert (chips.chip_id // 2**24).tolist() == [place[image] for image in chips.image_id.tolist()]
    assert chips.image_position.tolist() == (chips.chip_id // CHIPS_PER_IMAGE).tolist()
    for image in images.image_id:
        mine = chips[chips.image_id == image]
        numbers = (mine.chip_id % 2**24).tolist()
        assert numbers == list(range(len(numbers)))
        assert len(numbers) < FIRST_NEGATIVE
        order = list(zip(mine.variant.tolist(), mine.scale_index.tolist(), strict=True))
        assert order == sorted(order)


@given(datasets(most_images=4))
def test_splitting_the_images_into_ranges_changes_nothing(dataset):
    images, annotations, options = dataset
    together = rows(mine_positives(images, annotations, options).chips)
    for cut in range(len(images) + 1):
        apart = []
        for part in (images[:cut], images[cut:]):
            some = annotations[np.isin(annotations.image_id, part.image_id)]
            apart += rows(mine_positives(part, some, options).chips)
        assert apart == together


@given(datasets(most_images=4), st.integers(0, 2**32))
def test_the_chips_of_an_image_do_not_depend_on_the_other_images_or_their_order(dataset, shuffle):
    images, annotations, options = dataset
    together = rows(mine_positives(images, annotations, options).chips)
    order = np.random.default_rng(shuffle).permutation(len(images))
    rank = np.empty(len(images), np.int64)
    rank[order] = np.arange(len(images))
    image = np.searchsorted(np.sort(images.image_id), annotations.image_id)
    image = np.argsort(images.image_id)[image] if len(images) else image
    mixed = annotations[np.argsort(rank[image], kind="stable")] if len(images) else annotations
    assert sorted(rows(mine_positives(images[order], mixed, options).chips)) == together


@given(datasets())
def test_the_same_inputs_give_the_same_chips(dataset):
    first, second = (mine_positives(*dataset).chips for _ in range(2))
    assert rows(first) == rows(second)


def test_another_seed_or_variant_draws_other_ties_but_covers_the_same_boxes():
    images = images_of([(2000, 2000)])
    boxes = [(700 * k + 200, 300 * k + 100, 700 * k + 230, 300 * k + 140) for k in range(3)]
    annotations = annotations_of(images, [boxes])

    def windows(seed, variant):
        options = PositiveOptions.parse("1", ":", variants=4, seed=seed)
        chips = mine_positives(images, annotations, options).chips
        chips = chips[chips.variant == variant]
        assert len(chips) == 3
        return tuple(zip(chips.x.tolist(), chips.y.tolist(), strict=True))

    assert len({windows(seed, variant) for seed in range(5) for variant in range(4)}) == 20


def test_variants_of_a_range_of_strides_use_different_strides_within_it():
    options = PositiveOptions.parse(stride="56-59", variants=40, seed=3)
    strides = [options.stride(variant) for variant in range(40)]
    assert set(strides) == {56, 57, 58, 59}
    assert strides == [options.stride(variant) for variant in range(40)]


def test_no_images_and_images_without_objects_have_no_chips():
    options = PositiveOptions.parse()
    for sizes in ([], [(640, 480)], [(640, 480), (1, 1)]):
        images = images_of(sizes)
        mined = mine_positives(images, annotations_of(images, [[] for _ in sizes]), options)
        assert len(mined.chips) == 0
        assert mined.assignments[0].targets.shape == (3, 0)


@pytest.mark.parametrize("seed", range(6))
def test_a_drawing_worked_out_by_hand(seed):
    """320 x 240 px at scale 1, chips of 128 px every 64: windows at x 0 64 128 192 and y 0 64 112.

    A 8..40 x 8..40       only the window (0, 0)
    B 72..120 x 16..80    (0, 0) and (64, 0)
    C 208..304 x 160..232 only the bottom right one, (192, 112)
    D 96..128 x 120..160  (0, 64) (64, 64) (0, 112) (64, 112)
    E 136..184 x 120..160 (64, 64) (128, 64) (64, 112) (128, 112)
    F the whole image, a crowd
    G 16..160 x 16..48    144 px wide: no window

    (0, 0), (64, 64) and (64, 112) hold two boxes each. Whichever goes first, (0, 0) is taken, and one of the other two;
    C's window comes last.
    """
    a, b, c = (8, 8, 40, 40), (72, 16, 120, 80), (208, 160, 304, 232)
    d, e, f, g = (96, 120, 128, 160), (136, 120, 184, 160), (0, 0, 320, 240), (16, 16, 160, 48)
    images = images_of([(320, 240)], ids=[77], positions=[5])
    annotations = annotations_of(images, [[a, b, c, d, e, f, g]], crowds=[6])
    options = PositiveOptions.parse("1", ":", chip_size=128, stride="64", seed=seed)
    mined = mine_positives(images, annotations, options)
    picks = list(zip(mined.chips.x.tolist(), mined.chips.y.tolist(), strict=True))
    assert picks[2] == (192, 112)
    assert set(picks[:2]) in ({(0, 0), (64, 64)}, {(0, 0), (64, 112)})
    assert mined.chips.chip_id.tolist() == [5 * 2**24, 5 * 2**24 + 1, 5 * 2**24 + 2]
    assert mined.chips.content_width.tolist() == [128] * 3
    assert mined.chips.source_box[2].tolist() == [192, 112, 320, 240]
    assert mined.assignments[0].uncoverable.tolist() == [False] * 6 + [True]
    assert mined.assignments[0].without_range.tolist() == [False] * 5 + [True, False]


def test_ties_of_the_drawing_go_both_ways():
    images = images_of([(320, 240)])
    annotations = annotations_of(images, [[(96, 120, 128, 160), (136, 120, 184, 160)]])
    seen = set()
    for seed in range(20):
        chips = mine_positives(
            images, annotations, PositiveOptions.parse("1", ":", chip_size=128, stride="64", seed=seed)
        ).chips
        seen |= set(zip(chips.x.tolist(), chips.y.tolist(), strict=True))
    assert seen == {(64, 64), (64, 112)}
