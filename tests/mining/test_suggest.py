"""suggest: scales and ranges that cover every box, near the paper's on COCO, better than them where boxes are others."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import annotations_of, images_of

from chipper.coco.reading import read_coco
from chipper.errors import OptionError
from chipper.mining.assignment import assign
from chipper.mining.options import PositiveOptions
from chipper.mining.plan import plan_chips
from chipper.mining.pyramid import Pyramid
from chipper.mining.suggest import LARGEST_FACTOR, LARGEST_STEP, suggest


@st.composite
def sized(draw: st.DrawFn) -> Any:
    """Images up to 8000 px with boxes from 1 px to the whole image, of any shape."""
    images, boxes = [], []
    for _ in range(draw(st.integers(1, 4))):
        width, height = draw(st.integers(1, 8000)), draw(st.integers(1, 8000))
        images.append((width, height))
        mine = []
        for _ in range(draw(st.integers(0, 8))):
            w = min(math.exp(draw(st.floats(0, math.log(8000)))), width)
            h = min(math.exp(draw(st.floats(0, math.log(8000)))), height)
            x, y = draw(st.floats(0, 1)) * (width - w), draw(st.floats(0, 1)) * (height - h)
            mine.append((x, y, min(x + w, width), min(y + h, height)))
        boxes.append(mine)
    some = images_of(images, list(range(len(images))), list(range(len(images))))
    return some, annotations_of(some, boxes, set())


def parsed(images: Any, annotations: Any, chip_size: int = 512) -> PositiveOptions:
    found = suggest(images, annotations, chip_size)
    return PositiveOptions.parse(scales=found.scales, valid_ranges=found.valid_ranges, chip_size=chip_size)


@settings(max_examples=200)
@given(sized(), st.sampled_from([256, 512, 1024]))
def test_every_size_has_a_scale_and_every_box_a_chip(problem: Any, chip_size: int) -> None:
    images, annotations = problem
    if not len(annotations):
        with pytest.raises(OptionError):
            suggest(images, annotations, chip_size)
        return
    options = parsed(images, annotations, chip_size)
    ranges = options.valid_ranges
    assert ranges[0].high == math.inf
    assert ranges[-1].low == 0
    for coarse, fine in pairwise(ranges):
        assert fine.high >= coarse.low  # no gap
    pyramid = Pyramid.of(options.scales, images.width, images.height)
    assignment = assign(images, annotations, pyramid, options, 0)
    assert not assignment.without_range.any()
    # a sliver at the coarsest scale may lie beyond the last px of a canvas that is rounded down: nothing is there to see
    sides = (annotations.box[:, 2:] - annotations.box[:, :2]).min(axis=1)
    seen = sides * pyramid.factor[0][np.searchsorted(images.image_id, annotations.image_id)] >= 1
    assert not (assignment.uncoverable & seen).any()


@given(sized())
def test_factors_rise_and_stay_sensible(problem: Any) -> None:
    images, annotations = problem
    if not len(annotations):
        return
    options = parsed(images, annotations)
    factors = [scale.factor for scale in options.scales if scale.factor is not None]
    assert factors == sorted(set(factors))
    assert all(factor <= LARGEST_FACTOR * 1.01 or len(factors) == 1 for factor in factors)


def test_about_the_paper_s_scales_on_coco(coco128: Path) -> None:
    coco = read_coco(coco128 / "instances.json")
    options = parsed(coco.images, coco.annotations)
    assert str(options.scales[0]) == "512"
    factors = [0.8, *(float(scale.factor or 0) for scale in options.scales[1:])]
    assert len(factors) == 3
    assert 2 <= factors[-1] <= 3.2
    assert max(b / a for a, b in pairwise(factors)) <= LARGEST_STEP


def test_more_boxes_of_taco_are_large_enough_than_with_the_paper_s_scales(shared: Path) -> None:
    path = shared / "data" / "taco" / "annotations.json"
    if not path.is_file():
        pytest.skip(f"TACO is not there: {path}")
    coco = read_coco(path)
    paper, ours = (
        plan_chips(coco.images, coco.annotations, options).report(options, 2)
        for options in (PositiveOptions.parse(), parsed(coco.images, coco.annotations))
    )
    assert ours["boxes_covered"] == paper["boxes_covered"] == coco.annotations.iscrowd.size
    assert ours["share_of_boxes_large_enough"] > paper["share_of_boxes_large_enough"] + 0.03
    assert ours["chips"] < 1.5 * paper["chips"]


def test_reasons_are_lines_and_true(coco128: Path) -> None:
    coco = read_coco(coco128 / "instances.json")
    found = suggest(coco.images, coco.annotations)
    assert found == suggest(coco.images, coco.annotations)
    assert len(found.reasons) >= 4
    assert all(reason and "\n" not in reason for reason in found.reasons)
    box = coco.annotations.box[~coco.annotations.iscrowd]
    assert f"the longest side is {(box[:, 2:] - box[:, :2]).max():.0f} px" in found.reasons[0]
    for scale in found.scales.split(","):
        assert any(scale in reason.split(":")[0] for reason in found.reasons[1:])


def test_one_scale_is_enough_for_boxes_of_one_size() -> None:
    images = images_of([(640, 480)] * 3, [1, 2, 3], [0, 1, 2])
    annotations = annotations_of(images, [[(10.0, 10.0, 110.0, 110.0)]] * 3, set())
    found = suggest(images, annotations)
    assert found.scales.count(",") <= 1
    assert plan_chips(images, annotations, parsed(images, annotations)).covered == 3


def test_crowds_say_nothing(is_one_line: Any) -> None:
    images = images_of([(640, 480)], [1], [0])
    annotations = annotations_of(images, [[(10.0, 10.0, 110.0, 110.0)]], {1})
    with pytest.raises(OptionError) as caught:
        suggest(images, annotations)
    assert "suggest" in is_one_line(caught.value)
