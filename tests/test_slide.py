"""Windows anywhere: every box that a window can hold is held, by as few windows as there can be, at places that vary."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import datasets  # noqa: F401, its module sets how hypothesis runs

from chipper.cli.main import main
from chipper.coco import read_coco
from chipper.fewest_kernels import MOST_BOXES, bits, maximal_windows
from chipper.options import PositiveOptions
from chipper.positives import mine_positives
from chipper.slide import NODES, cover_anywhere

Image = tuple[int, int, list[tuple[float, ...]], int]  # width, height, boxes, seed


@st.composite
def images_of(draw: st.DrawFn, most: int = 6, boxes: int = 12) -> tuple[int, list[Image]]:
    """(chip size, images); some boxes are longer than a chip, some canvases smaller."""
    chip = draw(st.integers(4, 16))
    images = []
    for _ in range(draw(st.integers(0, most))):
        width, height = draw(st.integers(1, 60)), draw(st.integers(1, 60))
        found = []
        for _ in range(draw(st.integers(0, boxes))):
            x, y = draw(st.floats(0, width - 0.5)), draw(st.floats(0, height - 0.5))
            w, h = draw(st.floats(0.25, chip + 2)), draw(st.floats(0.25, chip + 2))
            found.append((x, y, min(x + w, width), min(y + h, height)))
        images.append((width, height, found, draw(st.integers(0, 2**64 - 1))))
    return chip, images


def run(chip: int, images: list[Image], nodes: int = NODES) -> Any:
    return cover_anywhere(
        np.concatenate([[0], np.cumsum([len(image[2]) for image in images])]).astype(np.int64),
        np.array([box for image in images for box in image[2]], dtype=np.float64).reshape(-1, 4),
        np.array([image[0] for image in images], dtype=np.int64),
        np.array([image[1] for image in images], dtype=np.int64),
        np.array([image[3] for image in images], dtype=np.uint64),
        chip,
        nodes,
    )


def windows_of(chip: int, image: Image) -> list[frozenset[int]]:
    """The sets of boxes that windows at any whole px hold."""
    width, height, boxes, _ = image
    places = [(x, y) for x in range(max(width - chip, 0) + 1) for y in range(max(height - chip, 0) + 1)]
    held = {
        frozenset(
            k for k, (x1, y1, x2, y2) in enumerate(boxes) if x <= x1 and y <= y1 and x2 <= x + chip and y2 <= y + chip
        )
        for x, y in places
    }
    return [some for some in held if some]


def fewest(windows: list[frozenset[int]]) -> int:
    """The least number of windows that hold all that some window holds, by trying."""
    everything = frozenset().union(*windows)
    largest = [some for some in windows if not any(some < other for other in windows)]
    for number in range(len(everything) + 1):
        if any(frozenset().union(*chosen) == everything for chosen in combinations(largest, number)):
            return number
    raise AssertionError("no cover")


@settings(deadline=None, max_examples=150)
@given(images_of(), st.sampled_from([0, 1, 2000]))
def test_every_box_that_a_window_can_hold_is_held_inside_the_canvas(problem: Any, nodes: int) -> None:
    chip, images = problem
    found = run(chip, images, nodes)
    row = 0
    for number, image in enumerate(images):
        width, height, boxes, _ = image
        mine = found.image == number
        assert (found.x[mine] >= 0).all()
        assert (found.x[mine] <= max(width - chip, 0)).all()
        assert (found.y[mine] >= 0).all()
        assert (found.y[mine] <= max(height - chip, 0)).all()
        holdable = frozenset().union(*windows_of(chip, image))
        for k, (x1, y1, x2, y2) in enumerate(boxes):
            window = found.window_of_box[row]
            assert (window >= 0) == (k in holdable)
            if window >= 0:
                x, y = found.x[window], found.y[window]
                assert found.image[window] == number
                assert x <= x1
                assert y <= y1
                assert x2 <= x + chip
                assert y2 <= y + chip
            row += 1
    counts = np.bincount(found.window_of_box[found.window_of_box >= 0], minlength=found.count.size)
    assert counts.tolist() == found.count.tolist()
    assert (counts > 0).all()


@settings(deadline=None, max_examples=100)
@given(images_of(most=2, boxes=9))
def test_there_are_as_few_windows_as_there_can_be(problem: Any) -> None:
    chip, images = problem
    found = run(chip, images, 10**6)
    for number, image in enumerate(images):
        assert (found.image == number).sum() == fewest(windows_of(chip, image))


@settings(deadline=None, max_examples=60)
@given(images_of())
def test_an_image_is_covered_as_if_it_were_alone_and_the_same_again(problem: Any) -> None:
    chip, images = problem
    together = run(chip, images)
    for number, image in enumerate(images):
        alone, mine = run(chip, [image]), together.image == number
        assert alone.x.tolist() == together.x[mine].tolist()
        assert alone.y.tolist() == together.y[mine].tolist()


@pytest.mark.parametrize("boxes", [MOST_BOXES - 1, MOST_BOXES, MOST_BOXES + 1, 300])
@pytest.mark.parametrize("nodes", [0, 2000])
def test_many_boxes(boxes: int, nodes: int) -> None:
    rng = np.random.default_rng(boxes)
    low = rng.uniform(0, 180, (boxes, 2))
    box = np.concatenate([low, low + rng.uniform(1, 20, (boxes, 2))], axis=1)
    image = (200, 200, [tuple(b) for b in box], 1)
    found = run(40, [image], nodes)
    own = found.window_of_box
    assert (own >= 0).all()
    assert (np.stack([found.x, found.y], axis=1)[own] <= box[:, :2]).all()
    assert (np.stack([found.x, found.y], axis=1)[own] + 40 >= box[:, 2:]).all()
    greedy = run(40, [image], 0).x.size
    assert found.x.size <= greedy
    if nodes and boxes > 64:
        assert found.x.size < greedy  # neighbours are searched where there are too many boxes for one search


def test_copies_of_a_box_take_one_window() -> None:
    assert run(8, [(30, 30, [(5, 5, 9, 9)] * 200, 0)]).count.tolist() == [200]


def test_a_window_slides_over_all_places_from_where_it_holds_its_boxes() -> None:
    """A 3 px box in the middle of a wide canvas: a window of 8 px can stand at 6 places on each axis."""
    images = [(40, 40, [(20.0, 20.0, 23.0, 23.0)], seed) for seed in range(3600)]
    found = run(8, images)
    cells = np.bincount((found.x - 15) * 6 + found.y - 15, minlength=36)
    assert cells.size == 36
    assert np.abs(cells / 100 - 1).max() < 0.5


@given(st.integers(0, 2**64 - 1))
def test_bits_are_counted(word: int) -> None:
    assert bits(np.uint64(word)) == word.bit_count()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(*[st.integers(0, 6)] * 4), min_size=1, max_size=8))
def test_maximal_windows_are_those_whose_set_no_other_includes(spans: list[tuple[int, ...]]) -> None:
    x = np.array([sorted(span[:2]) for span in spans])
    y = np.array([sorted(span[2:]) for span in spans])
    held, at_x, at_y = maximal_windows(x[:, 0].copy(), x[:, 1].copy(), y[:, 0].copy(), y[:, 1].copy(), len(spans))
    sets = {
        frozenset(b for b in range(len(spans)) if x[b, 0] <= i <= x[b, 1] and y[b, 0] <= j <= y[b, 1])
        for i in range(7)
        for j in range(7)
    }
    maximal = {some for some in sets if some and not any(some < other for other in sets)}
    found = [frozenset(b for b in range(len(spans)) if int(word) >> b & 1) for word in held]
    assert len(found) == len(maximal)
    assert set(found) == maximal
    for word, i, j in zip(found, at_x, at_y, strict=True):
        assert word == frozenset(b for b in range(len(spans)) if x[b, 0] <= i <= x[b, 1] and y[b, 0] <= j <= y[b, 1])


def test_build_positives_slides(
    drawn: Any, tmp_path: Path, build: Callable[..., Any], hashes: Callable[[Path], dict[str, str]]
) -> None:
    one = build(drawn.coco, tmp_path / "one", 1, placement="slide", variants=3)
    two = build(drawn.coco, tmp_path / "two", 2, placement="slide", variants=3)
    assert hashes(one.path) == hashes(two.path)
    dataset = one.dataset()
    assert dataset.options["placement"] == "slide"
    chips = one.all_chips(dataset, "positive")
    numbers = [int((chips.variant == v).sum()) for v in range(3)]
    assert len(set(numbers)) == 1
    places = {tuple(np.stack([chips.x, chips.y], axis=1)[chips.variant == v].ravel()) for v in range(3)}
    assert len(places) == 3
    grid = build(drawn.coco, tmp_path / "grid")
    assert grid.dataset().options["placement"] == "grid"
    assert numbers[0] <= len(grid.all_chips(grid.dataset(), "positive"))


def test_coco128_takes_fewer_windows_and_holds_every_box(coco128: Path) -> None:
    coco = read_coco(coco128 / "instances.json")
    slide = mine_positives(coco.images, coco.annotations, PositiveOptions.parse(placement="slide"))
    grid = mine_positives(coco.images, coco.annotations, PositiveOptions.parse())
    assert len(slide.chips) < 0.98 * len(grid.chips)
    held = 0
    for image_id, box in zip(coco.annotations.image_id, coco.annotations.box, strict=True):
        chips = slide.chips[slide.chips.image_id == image_id]
        rounding = (0.5 / chips.scale + 1e-6)[:, None]  # a canvas may end half a px before its image does
        inside = (chips.source_box[:, :2] <= box[:2] + 1e-6).all(axis=1)
        held += (inside & (box[2:] <= chips.source_box[:, 2:] + rounding).all(axis=1)).any()
    assert held >= (~coco.annotations.iscrowd).sum() == 929


def test_another_placement_is_refused(drawn: Any) -> None:
    assert CliRunner().invoke(main, ["build-positives", str(drawn.coco), "--placement", "diagonal"]).exit_code == 2
