from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from chipper.detection.anchors import AnchorGrid, AnchorOptions, base_anchors, sizes_for_chip
from chipper.errors import OptionError

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "sniper_rpn_labels.json"


def test_the_base_anchors_at_stride_16_are_the_published_ones_with_their_rounding():
    base = base_anchors(AnchorOptions())
    assert base.shape == (21, 4)
    assert base[0].tolist() == [-15, -4, 31, 20]
    assert base[2].tolist() == [-72.5, -34, 88.5, 50]
    assert base[7].tolist() == [-8, -8, 24, 24]
    assert base[20].tolist() == [-124, -256, 140, 272]


def test_the_base_anchors_equal_those_of_the_published_code():
    if not REFERENCE.exists():
        pytest.skip(f"{REFERENCE} is not beside this checkout")
    assert base_anchors(AnchorOptions()).tolist() == json.loads(REFERENCE.read_text())["base_anchors"]


def test_half_the_chip_at_half_the_stride_has_half_the_sizes_and_its_own_rounding():
    """At stride 8 a cell's boxes are 11 x 6 (11.3 x 5.5, half to even), 8 x 8 and 6 x 12 (5.7 x 12), times 2, 4, ... 24."""
    half = AnchorOptions(stride=8, sizes=sizes_for_chip(256, scaled=True))
    assert half.sizes == (16, 32, 56, 80, 104, 128, 192)
    times = (2, 4, 7, 10, 13, 16, 24)
    wanted = [
        [4 - width * n / 2, 4 - height * n / 2, 4 + width * n / 2, 4 + height * n / 2]
        for width, height in ((11, 6), (8, 8), (6, 12))
        for n in times
    ]
    assert base_anchors(half).tolist() == wanted


def test_large_chips_get_larger_anchors_and_keep_the_small_ones():
    assert sizes_for_chip(512, scaled=False) == sizes_for_chip(256, scaled=False)
    assert sizes_for_chip(1024, scaled=False)[-2:] == (384, 576)
    assert max(sizes_for_chip(2048, scaled=False)) <= 1536


def test_the_grid_runs_over_columns_then_rows():
    grid = AnchorGrid(AnchorOptions())
    anchors = grid(3, 5)
    assert anchors.shape == (3 * 5 * 21, 4)
    row, column, k = 2, 3, 8
    shift = torch.tensor([16 * column, 16 * row] * 2)
    assert torch.equal(anchors[(row * 5 + column) * 21 + k], grid.base[k] + shift)
    assert not grid.state_dict()


@pytest.mark.parametrize("options", [{"stride": 0}, {"sizes": ()}, {"sizes": (-1.0,)}, {"ratios": (0.0,)}])
def test_senseless_anchors_are_refused(options):
    with pytest.raises(OptionError, match="positive sizes"):
        AnchorOptions(**options)
