"""The same number of positive chips as the published code makes from the same 128 COCO images, and every box is in one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from chipper.coco.reading import read_coco
from chipper.grouping import Groups
from chipper.mining.assignment import assign
from chipper.mining.cover import cover
from chipper.mining.options import PositiveOptions
from chipper.mining.positives import mine_positives
from chipper.mining.pyramid import Pyramid
from chipper.seeds import hashed

SEEDS = 20


@pytest.fixture(scope="module")
def coco(shared: Path):
    return read_coco(shared / "data" / "coco128" / "instances.json")


@pytest.fixture(scope="module")
def published(shared: Path):
    return json.loads((shared / "reference" / "sniper_counts_coco128.json").read_text())["positives"]


def own_scale_counts(coco, stride: int) -> np.ndarray:
    """Chips of each scale, mean over seeds, without those that rule 2 adds for boxes moved to a coarser scale."""
    options = PositiveOptions.parse(stride=str(stride))
    pyramid = Pyramid.of(options.scales, coco.images.width, coco.images.height)
    of_images = Groups.of(coco.images.image_id, coco.annotations.image_id)
    offsets, image = of_images.offsets, of_images.row
    assignment = assign(coco.images, coco.annotations, pyramid, options, 0)
    counts = np.zeros((SEEDS, 3))
    for s in range(3):
        boxes = pyramid.boxes(s, image, coco.annotations.box)
        boxes[~(assignment.in_range & assignment.holdable)[s]] = np.nan
        for seed in range(SEEDS):
            seeds = hashed(seed, 0, coco.images.image_id, s)
            counts[seed, s] = cover(offsets, boxes, pyramid.width[s], pyramid.height[s], seeds, 512, stride).x.size
    return counts.mean(axis=0)


@pytest.mark.parametrize("stride", [32, 56, 57, 58, 59])
def test_counts_are_within_one_percent_of_the_published_code(coco, published, stride: int) -> None:
    if str(stride) not in published:
        pytest.skip(f"the reference has no counts at stride {stride}")
    expected = np.array(published[str(stride)]["by_scale"])[::-1]  # listed finest first
    got = own_scale_counts(coco, stride)
    print(f"stride {stride}: chipper {got}, published {expected}, ratio {got / expected}")
    assert np.abs(got / expected - 1).max() <= 0.01


def test_every_box_that_is_no_crowd_is_covered(coco) -> None:
    options = PositiveOptions.parse()
    mined = mine_positives(coco.images, coco.annotations, options)
    boxes = ~coco.annotations.iscrowd
    held = np.zeros(len(coco.annotations), bool)
    for k, (image_id, box) in enumerate(zip(coco.annotations.image_id, coco.annotations.box, strict=True)):
        chips = mined.chips[mined.chips.image_id == image_id]
        mine = chips.source_box
        rounding = (0.5 / chips.scale + 1e-6)[:, None]  # a canvas may end half a px before its image does
        inside = (mine[:, :2] <= box[:2] + 1e-6).all(axis=1) & (box[2:] <= mine[:, 2:] + rounding).all(axis=1)
        held[k] = inside.any()
    print(f"{held[boxes].sum()} of {boxes.sum()} boxes are whole in a chip; {len(mined.chips)} chips")
    assert held[boxes].all()
    assert boxes.sum() == 929
