"""Windows anywhere: every box that a window can hold is held, by as few windows as there can be, at places that vary."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from naive import SplitMix64, holds
from scipy.optimize import Bounds, LinearConstraint, milp
from strategies import datasets  # noqa: F401, its module sets how hypothesis runs

from chipper.cli.main import main
from chipper.coco.reading import read_coco
from chipper.columns import Annotations, Chips
from chipper.errors import WorkdirError
from chipper.kernels.fewest import MOST_BOXES, bits, maximal_windows, search
from chipper.mining.options import PositiveOptions
from chipper.mining.positives import mine_positives
from chipper.mining.pyramid import Pyramid
from chipper.mining.slide import NODES, cover_anywhere

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


def optimum(windows: list[frozenset[int]]) -> int:
    """As `fewest`, by integer programming, for more boxes than can be tried."""
    if not windows:
        return 0
    boxes = sorted(frozenset().union(*windows))
    held = np.array([[box in some for some in windows] for box in boxes], dtype=float)
    ones = np.ones(len(windows))
    found = milp(ones, constraints=LinearConstraint(held, lb=1), integrality=ones, bounds=Bounds(0, 1))
    assert found.success
    return round(found.fun)


def edge_windows(chip: int, image: Image) -> list[tuple[int, int]]:
    """Windows at the left edge of one box and the top edge of another, row by row."""
    axes = []
    for axis in range(2):
        room = max(image[axis] - chip, 0)
        places = {(min(math.floor(box[axis]), room), box[axis + 2]) for box in image[2]}
        axes.append(sorted({place for place, end in places if end <= place + chip}))
    return [(x, y) for y in axes[1] for x in axes[0]]


def greedy(chip: int, image: Image) -> list[frozenset[int]]:
    """The boxes that each pick of the greedy cover by `edge_windows` is the first to hold."""
    inside = [
        frozenset(k for k, box in enumerate(image[2]) if holds(window, chip, box))
        for window in edge_windows(chip, image)
    ]
    picks, draw = [], SplitMix64(image[3])
    while any(inside):
        most = max(map(len, inside))
        ties = [some for some in inside if len(some) == most]
        taken = ties[draw.below(len(ties))]
        picks.append(taken)
        inside = [some - taken for some in inside]
    return picks


def groups(found: Any, number: int, image_start: int) -> list[frozenset[int]]:
    """The boxes of each window of image ``number``, in the order of the windows."""
    rows = np.flatnonzero(found.image == number)
    return [frozenset((np.flatnonzero(found.window_of_box == row) - image_start).tolist()) for row in rows]


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


@settings(deadline=None, max_examples=150)
@given(images_of(most=3))
@example((8, [(30, 30, [], 0), (5, 5, [(0, 0, 5, 5)], 1), (30, 30, [(0, 0, 9, 9)], 2)]))  # none, all, one too long
@example((8, []))
def test_without_search_it_is_the_greedy_cover_by_windows_at_box_edges_and_search_takes_no_more(problem: Any) -> None:
    chip, images = problem
    plain, searched = run(chip, images, 0), run(chip, images)
    start = 0
    for number, image in enumerate(images):
        picks = greedy(chip, image)
        assert groups(plain, number, start) == picks
        assert (searched.image == number).sum() <= len(picks)
        start += len(image[2])


@pytest.mark.parametrize("seed", range(12))
def test_up_to_64_boxes_take_as_few_windows_as_integer_programming_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes, side = int(rng.integers(20, MOST_BOXES + 1)), int(rng.integers(40, 61))
    low = rng.uniform(0, side - 6, (boxes, 2))
    box = np.concatenate([low, low + rng.uniform(0.5, 6, (boxes, 2))], axis=1)
    image = (side, side, [tuple(b) for b in box.tolist()], seed)
    found = run(12, [image], 10**6)
    assert found.x.size == optimum(windows_of(12, image))


def test_groups_of_boxes_in_one_large_image_take_as_few_windows_as_each_alone() -> None:
    """More than 64 boxes in all, so that neighbouring windows are searched together, and no others."""
    rng = np.random.default_rng(3)
    alone, together = [], []
    for k in range(12):
        low = rng.uniform(0, 34, (12, 2))
        box = np.concatenate([low, low + rng.uniform(0.5, 6, (12, 2))], axis=1)
        alone.append((40, 40, box.tolist(), k))
        together += (box + 100 * k).tolist()
    everything = (1200, 1200, together, 0)
    best = sum(optimum(windows_of(12, image)) for image in alone)
    assert run(12, [everything], 10**5).x.size == best < len(greedy(12, everything))


@settings(deadline=None, max_examples=60)
@given(images_of())
def test_an_image_is_covered_as_if_it_were_alone_and_the_same_again(problem: Any) -> None:
    chip, images = problem
    together = run(chip, images)
    start = 0
    for number, image in enumerate(images):
        alone, mine = run(chip, [image]), together.image == number
        assert alone.x.tolist() == together.x[mine].tolist()
        assert alone.y.tolist() == together.y[mine].tolist()
        assert groups(alone, 0, 0) == groups(together, number, start)
        start += len(image[2])


@pytest.mark.parametrize("boxes", [MOST_BOXES - 1, MOST_BOXES, MOST_BOXES + 1, 300])
@pytest.mark.parametrize("nodes", [0, 2000])
def test_many_boxes(boxes: int, nodes: int) -> None:
    rng = np.random.default_rng(boxes)
    low = rng.uniform(0, 180, (boxes, 2))
    box = np.concatenate([low, low + rng.uniform(1, 20, (boxes, 2))], axis=1)
    image = (200, 200, [tuple(b) for b in box], 1)
    found = run(40, [image], nodes)
    own, corner = found.window_of_box, np.stack([found.x, found.y], axis=1)
    assert (own >= 0).all()
    assert np.bincount(own).tolist() == found.count.tolist()
    assert (corner >= 0).all()
    assert (corner <= 200 - 40).all()
    assert (corner[own] <= box[:, :2]).all()
    assert (corner[own] + 40 >= box[:, 2:]).all()
    picks = len(greedy(40, image))
    if nodes:
        assert found.x.size < picks  # neighbours are searched where there are too many boxes for one search
    else:
        assert found.x.size == picks


def test_copies_of_a_box_take_one_window() -> None:
    assert run(8, [(30, 30, [(5, 5, 9, 9)] * 200, 0)]).count.tolist() == [200]


@pytest.mark.parametrize(("copies", "most"), [(1, 2), (10, 2), (11, 3), (200, 3)])  # 60 boxes, and 66: too many
def test_a_greedy_pick_that_wastes_a_window_is_taken_back_while_up_to_64_boxes_are_concerned(
    copies: int, most: int
) -> None:
    """Four boxes in a row, of which a window holds two; the two in the middle go first, as there are more of them."""
    left, *middle, right = [(x, 0.0, x + 2.0, 2.0) for x in (0, 4, 8, 12)]
    boxes = middle * 2 * copies + [left, right] * copies
    for seed in range(20):
        assert len(greedy(7, (20, 5, boxes, seed))) == 3
        found = run(7, [(20, 5, boxes, seed)])
        assert found.x.size <= most
        assert (found.window_of_box >= 0).all()


def test_boxes_at_the_edges_of_very_long_canvases() -> None:
    """A canvas may be 2^20 px long."""
    side = 2**20
    corners = [(0.0, 0.0, 3.0, 3.0), (side - 3.5, 0.0, side, 3.0), (0.0, side - 3.5, 3.0, side)]
    images = [(side, side, [*corners, (side - 512.0, side - 512.0, side, side)], seed) for seed in range(3)]
    found = run(512, images)
    assert found.count.tolist() == [1] * 12
    for row, box in enumerate(images[0][2] * 3):
        window = found.window_of_box[row]
        assert holds((found.x[window], found.y[window]), 512, box)
    assert found.x.max() == found.y.max() == side - 512


@pytest.mark.parametrize("side", [2**21, 2**24, 2**29])
def test_boxes_of_several_of_the_longest_canvases_keep_apart(side: int) -> None:
    """2**24 px is the longest image, and a scale is a factor under 32."""
    boxes = [(0.0, 0.0, 9.0, 9.0), (side - 10.0, 0.0, side - 1.0, 9.0), (side / 2 + 3, 0.0, side / 2 + 12, 9.0)]
    images = [(side, 16, boxes, 7)] * 3
    found = run(16, images)
    np.testing.assert_array_equal(found.image, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    for number, box in enumerate(boxes * 3):
        window = found.window_of_box[number]
        assert found.image[window] == number // 3
        assert found.x[window] <= box[0]
        assert found.x[window] + 16 >= box[2]


def test_a_window_slides_over_all_places_from_where_it_holds_its_boxes() -> None:
    """A 3 px box in the middle of a wide canvas: a window of 8 px can stand at 6 places on each axis."""
    images = [(40, 40, [(20.0, 20.0, 23.0, 23.0)], seed) for seed in range(3600)]
    found = run(8, images)
    cells = np.bincount((found.x - 15) * 6 + found.y - 15, minlength=36)
    assert cells.size == 36
    assert np.abs(cells / 100 - 1).max() < 0.5


@settings(deadline=None, max_examples=15)
@given(images_of(most=1, boxes=3))
def test_over_many_seeds_a_window_stands_at_every_place_from_where_it_holds_its_boxes(problem: Any) -> None:
    chip, images = problem
    for width, height, boxes, _ in images:
        found = run(chip, [(width, height, boxes, seed) for seed in range(4000)])
        picks = groups(found, 0, 0)
        if not picks or any(groups(found, i, i * len(boxes)) != picks for i in range(0, 4000, 400)):
            continue  # ties between sets of boxes: other seeds take other windows
        for number, held in enumerate(picks):
            first = np.flatnonzero(np.diff(found.image, prepend=-1)) + number
            seen = set(zip(found.x[first].tolist(), found.y[first].tolist()))
            places = {
                (x, y)
                for x in range(max(width - chip, 0) + 1)
                for y in range(max(height - chip, 0) + 1)
                if all(holds((x, y), chip, boxes[k]) for k in held)
            }
            assert seen <= places
            if len(places) <= 300:
                assert seen == places


def test_windows_of_one_image_slide_apart() -> None:
    """Two lone boxes with the same room: neither both axes nor both windows move alike."""
    boxes = [(10.0, 10.0, 11.0, 11.0), (50.0, 50.0, 51.0, 51.0)]
    found = run(8, [(70, 70, boxes, seed) for seed in range(2000)])
    moved = np.stack([found.x, found.y], axis=1)[found.window_of_box].reshape(2000, 4) - [3, 3, 43, 43]
    assert moved.min() == 0
    assert moved.max() == 7
    apart = np.corrcoef(moved.T) - np.eye(4)
    assert np.abs(apart).max() < 0.12


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


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 2**8 - 1), min_size=1, max_size=8), st.integers(1, 9))
def test_search_finds_a_cover_of_fewer_sets_where_there_is_one(words: list[int], limit: int) -> None:
    everything = 0
    for word in words:
        everything |= word
    present = [b for b in range(8) if everything >> b & 1]
    sets = [frozenset(place for place, b in enumerate(present) if word >> b & 1) for word in words]
    held = np.array([sum(1 << b for b in some) for some in sets], dtype=np.uint64)
    chosen = np.full(MOST_BOXES, -1, np.int64)
    found = search(held, len(present), limit, 10**6, chosen)
    assert found == min(fewest(sets), limit)
    if found < limit:
        rows = chosen[:found].tolist()
        assert len(set(rows)) == found
        assert frozenset().union(*(sets[k] for k in rows)) == frozenset(range(len(present)))


def test_search_over_64_boxes_and_without_nodes() -> None:
    halves = np.array([2**32 - 1, (2**32 - 1) << 32, 2**63 | 1], dtype=np.uint64)
    chosen = np.full(MOST_BOXES, -1, np.int64)
    assert search(halves, 64, 3, 0, chosen) == 3
    assert chosen.tolist() == [-1] * MOST_BOXES
    assert search(halves, 64, 3, 100, chosen) == 2
    assert sorted(chosen[:2].tolist()) == [0, 1]


def whole_in_a_chip(chips: Chips, annotations: Annotations) -> list[bool]:
    """Of each annotation that is no crowd, whether some chip shows all of it."""
    held = []
    for image_id, box, crowd in zip(annotations.image_id, annotations.box, annotations.iscrowd, strict=True):
        mine = chips[chips.image_id == image_id]
        rounding = (0.5 / mine.scale + 1e-6)[:, None]  # a canvas may end half a px before its image does
        inside = (mine.source_box[:, :2] <= box[:2] + 1e-6).all(axis=1)
        if not crowd:
            held.append(bool((inside & (box[2:] <= mine.source_box[:, 2:] + rounding).all(axis=1)).any()))
    return held


def test_build_positives_slides(
    drawn: Any, tmp_path: Path, build: Callable[..., Any], hashes: Callable[[Path], dict[str, str]]
) -> None:
    one = build(drawn.coco, tmp_path / "one", 1, placement="slide", variants=3)
    two = build(drawn.coco, tmp_path / "two", 2, placement="slide", variants=3)
    assert hashes(one.path) == hashes(two.path)
    manifest = one.open()
    assert manifest.dataset.options["placement"] == "slide"
    chips = manifest.all_chips("positive")
    annotations = read_coco(drawn.coco).annotations
    sets = [chips[chips.variant == v] for v in range(3)]
    for some in sets:
        held = whole_in_a_chip(some, annotations)
        assert all(held)
        assert len(held) == manifest.dataset.counts["boxes_covered"] == 42
    numbers = [len(some) for some in sets]
    assert len(set(numbers)) == 1
    assert len({tuple(np.stack([some.x, some.y], axis=1).ravel()) for some in sets}) == 3
    grid = build(drawn.coco, tmp_path / "grid")
    assert grid.dataset().options["placement"] == "grid"
    assert numbers[0] <= len(grid.open().all_chips("positive"))


def test_another_seed_slides_windows_elsewhere(drawn: Any) -> None:
    coco = read_coco(drawn.coco)

    def places(seed: int) -> list[tuple[int, int]]:
        options = PositiveOptions.parse(placement="slide", seed=seed)
        chips = mine_positives(coco.images, coco.annotations, options).chips
        return list(zip(chips.x.tolist(), chips.y.tolist()))

    assert places(1) == places(1)
    assert places(1) != places(2)


def test_coco128_takes_as_few_windows_as_the_optimum_and_holds_every_box(coco128: Path) -> None:
    coco = read_coco(coco128 / "instances.json")
    slide, grid = (
        [mine_positives(coco.images, coco.annotations, PositiveOptions.parse(placement=way, seed=s)) for s in range(3)]
        for way in ("slide", "grid")
    )
    assert sum(len(mined.chips) for mined in slide) < 0.98 * sum(len(mined.chips) for mined in grid)
    for mined in slide:
        held = whole_in_a_chip(mined.chips, coco.annotations)
        assert all(held)
        assert len(held) == 929

    options = PositiveOptions.parse(placement="slide")
    pyramid = Pyramid.of(options.scales, coco.images.width, coco.images.height)
    image = np.searchsorted(np.sort(coco.images.image_id), coco.annotations.image_id)
    image = np.argsort(coco.images.image_id)[image]
    best = 0
    for s, targets in enumerate(slide[0].assignments[0].targets):
        boxes = pyramid.boxes(s, image, coco.annotations.box)
        for i in range(len(coco.images)):
            mine = boxes[targets & (image == i)].tolist()
            canvas = int(pyramid.width[s, i]), int(pyramid.height[s, i]), mine, 0
            best += optimum(held_at_edges(canvas))
    assert [len(mined.chips) for mined in slide] == [best] * 3


def held_at_edges(image: Image) -> list[frozenset[int]]:
    """The sets of boxes that `edge_windows` of 512 px hold; no other window holds more."""
    held = {
        frozenset(k for k, box in enumerate(image[2]) if holds(window, 512, box)) for window in edge_windows(512, image)
    }
    return [some for some in held if some]


def test_a_workdir_remembers_its_placement(drawn: Any, tmp_path: Path, is_one_line: Any, build: Any) -> None:
    words = ["build-positives", str(drawn.coco), "--workdir", str(tmp_path / "chips"), "--jobs", "1"]
    assert CliRunner().invoke(main, [*words, "--placement", "slide"]).exit_code == 0
    stored = json.loads((tmp_path / "chips" / "dataset.json").read_text())
    assert stored["options"]["placement"] == "slide"
    with pytest.raises(WorkdirError) as caught:
        build(drawn.coco, tmp_path / "chips")
    assert "placement slide" in is_one_line(caught.value)


@pytest.mark.parametrize("command", ["build-positives", "plan"])
def test_another_placement_is_refused(command: str, drawn: Any) -> None:
    assert CliRunner().invoke(main, [command, str(drawn.coco), "--placement", "diagonal"]).exit_code == 2
