"""chipper.report.tally: counts of parts add up, and are those of the chips themselves."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from hypothesis import assume, given
from strategies import datasets

from chipper.columns import NEGATIVE, POSITIVE, Annotations, Chips, Images, Labels
from chipper.manifest.workdir import Workdir
from chipper.mining.labels import label_chips
from chipper.mining.options import PositiveOptions
from chipper.mining.positives import mine_positives
from chipper.report.formatting import median_of, share
from chipper.report.tally import CLASSES, SIZE_EDGES, Tally, tally_part

CATEGORIES = np.array([4, 0, 2, 1, 3, 17])


def tally(images: Images, annotations: Annotations, options: PositiveOptions) -> tuple[Tally, Chips, Labels]:
    mined = mine_positives(images, annotations, options)
    labels = label_chips(mined.chips, images, annotations, options, mined.assignments)
    found = tally_part(images, annotations, {POSITIVE: mined.chips}, {POSITIVE: labels}, options, CATEGORIES)
    return found, mined.chips, labels


def same(one: Any, other: Any, name: str) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key], f"{name} {key}")
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other, err_msg=name)
    elif hasattr(one, "jpeg_bytes"):  # a Plan
        for f in fields(one):
            np.testing.assert_allclose(getattr(one, f.name), getattr(other, f.name), err_msg=f.name)
    else:
        assert one == other, name


@given(datasets())
def test_tallies_of_images_add_up(problem: Any) -> None:
    images, annotations, options = problem
    assume(len(images) > 1)
    halves = []
    for rows in (slice(0, 1), slice(1, None)):
        some = images[rows]
        halves.append(tally(some, annotations[np.isin(annotations.image_id, some.image_id)], options)[0])
    whole, added = tally(images, annotations, options)[0], halves[0] + halves[1]
    for f in fields(whole):
        same(getattr(added, f.name), getattr(whole, f.name), f.name)


@given(datasets())
def test_counts_are_those_of_the_chips_themselves(problem: Any) -> None:
    images, annotations, options = problem
    assume(len(images) > 0)
    found, chips, labels = tally(images, annotations, options)
    chips = chips[chips.variant == 0]
    labels = labels[np.isin(labels.chip_id, chips.chip_id)]
    boxes = ~annotations.iscrowd
    # what mining promises to cover is covered, found by looking at the windows
    np.testing.assert_array_equal(found.covered_at, found.plan.covered_at)
    assert found.sizes.sum() == boxes.sum()
    assert found.sizes[0].sum() == found.fates[:, 1].sum() == found.plan.covered
    assert found.fates[:, 0].sum() == boxes.sum()
    assert (found.fates[:, 0] == found.fates[:, 1] + found.fates[:, 3] + found.fates[:, 4]).all()
    assert found.moved_to.sum() == found.fates[:, 2].sum() == found.plan.moved
    assert found.labels.sum() == len(labels)
    assert found.labels[..., 0].sum() == labels.valid.sum()
    assert found.labels[..., 1].sum() == labels.ignore.sum()
    for k, category in enumerate(CATEGORIES.tolist()):
        expected = [
            (annotations.category_id[boxes] == category).sum(),
            (labels.category_id == category).sum(),
            (labels.category_id[labels.valid] == category).sum(),
        ]
        assert found.categories[k].tolist() == expected
    for s in range(len(options.scales)):
        of_image = [int(((chips.image_id == i) & (chips.scale_index == s)).sum()) for i in images.image_id]
        assert found.images_with[POSITIVE, s].tolist() == np.bincount(of_image).tolist()
    most = [int((chips.image_id == image_id).sum()) for _, image_id, _ in found.busiest]
    assert most == [sum(of_scale) for _, _, of_scale in found.busiest]
    assert most == sorted(most, reverse=True)


def test_a_workdir_by_hand(whole: Workdir) -> None:
    manifest = whole.open()
    chips = {kind: manifest.chips(0, kind) for kind in (POSITIVE, NEGATIVE)}
    labels = {kind: manifest.labels(0, kind) for kind in (POSITIVE, NEGATIVE)}
    boxes = manifest.boxes(0)
    found = tally_part(manifest.images(0), boxes, chips, labels, manifest.options, np.array([7, 3]))
    negatives = chips[NEGATIVE]
    for s in range(3):
        expected = np.bincount(negatives.proposals[negatives.scale_index == s])
        assert found.holding[s].tolist() == expected.tolist()
    assert sum(
        int(found.images_with[NEGATIVE, s] @ np.arange(found.images_with[NEGATIVE, s].size)) for s in range(3)
    ) == (len(negatives))
    assert found.labels[1].sum() == len(labels[NEGATIVE])
    assert found.categories[:, 0].tolist() == [
        int((boxes.category_id == 7).sum()),
        int((boxes.category_id == 3).sum()) - 1,
    ]
    assert found.plan.chips.tolist() == list(manifest.dataset.counts["positive_chips"].values())


def test_sizes_fall_into_their_bins() -> None:
    assert SIZE_EDGES[np.searchsorted(SIZE_EDGES, 32)] == 32
    assert [high for _, _, high in CLASSES[:-1]] == [low for _, low, _ in CLASSES[1:]] == [32, 96]


def test_medians_and_shares() -> None:
    assert median_of(np.bincount([1, 1, 4])) == 1
    assert median_of(np.bincount([0, 3, 4, 9])) == 3.5
    assert median_of(np.zeros(3, int)) == median_of(np.zeros(0, int)) == 0
    shares = [share(0, 5), share(5, 5), share(99_999, 100_000), share(1, 100_000), share(1, 3), share(0, 0)]
    assert shares == ["0 %", "100 %", "> 99.9 %", "< 0.1 %", "33.3 %", "–"]  # noqa: RUF001
