"""Every label rule on a case small enough to check by hand, and the 60 chips of the published code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from chipper.detection import targets
from chipper.detection.anchors import AnchorGrid, AnchorOptions

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "sniper_rpn_labels.json"
CHIP = 100


def label_anchors(anchors, boxes=(), valid=None, ignore=None, content=(CHIP, CHIP), padding=0):
    """rpn_labels of one chip, with ``padding`` empty rows behind its boxes."""
    rows = len(boxes) + padding
    table = torch.zeros(1, rows, 4)
    real = torch.zeros(1, rows, dtype=torch.bool)
    flags = {"valid": torch.zeros_like(real), "ignore": torch.zeros_like(real)}
    for i, box in enumerate(boxes):
        table[0, i] = torch.tensor(box, dtype=torch.float32)
        real[0, i] = True
        flags["valid"][0, i] = True if valid is None else valid[i]
        flags["ignore"][0, i] = False if ignore is None else ignore[i]
    labels, matched = targets.rpn_labels(
        torch.tensor(anchors, dtype=torch.float32), table, real, flags["valid"], flags["ignore"],
        torch.tensor([content], dtype=torch.float32), CHIP,
    )  # fmt: skip
    return labels[0].tolist(), matched[0].tolist()


BOX = (20, 20, 40, 40)
HALF = (20, 20, 40, 30)  # IoU 0.5 with BOX
BETWEEN = (20, 20, 40, 29)  # 0.45
FAR = (70, 70, 90, 90)


def test_an_anchor_is_positive_from_iou_one_half_negative_under_four_tenths_ignored_between():
    labels, matched = label_anchors([BOX, HALF, BETWEEN, (20, 20, 40, 27.9), FAR], [BOX])
    assert labels == [1, 1, -1, 0, 0]
    assert matched[:2] == [0, 0]


def test_the_best_anchors_of_a_valid_box_are_positive_however_small_their_iou_and_all_that_tie():
    labels, _ = label_anchors([(20, 20, 40, 25), (20, 35, 40, 40), (20, 20, 40, 24)], [BOX])
    assert labels == [1, 1, 0]


def test_a_box_no_anchor_touches_makes_nothing_positive():
    assert label_anchors([FAR, (0, 0, 5, 5)], [BOX])[0] == [0, 0]


def test_an_anchor_matches_the_valid_box_it_fits_best():
    labels, matched = label_anchors([BOX, FAR], [FAR, (20, 20, 40, 42), BOX])
    assert labels == [1, 1]
    assert matched == [2, 0]


def test_an_anchor_on_an_invalid_box_is_ignored_even_if_a_valid_box_made_it_positive():
    third = (20, 20, 40, 26.2)  # IoU 0.31 with BOX
    assert label_anchors([BOX, third, (20, 20, 40, 25.9), FAR], [BOX], valid=[False])[0] == [-1, -1, 0, 0]
    assert label_anchors([BOX], [BOX, BOX], valid=[True, False])[0] == [-1]


def test_an_anchor_on_or_in_an_ignore_box_is_never_a_negative():
    crowd = (0, 0, 60, 60)
    assert label_anchors([(5, 5, 10, 10), (55, 5, 64, 10), (57, 5, 65, 10)], [crowd], ignore=[True])[0] == [-1, -1, 0]
    assert label_anchors([BOX], [crowd, BOX], ignore=[True, False])[0] == [1]


def test_an_anchor_may_stick_out_32_px():
    anchors = [(-32, -32, 50, 50), (-32.5, 0, 50, 50), (50, 50, 132.5, 132.5), (50, 50, 133, 100), (50, 50, 100, 133)]
    assert label_anchors(anchors)[0] == [0, -1, 0, -1, -1]


def test_a_best_anchor_outside_the_chip_gives_way_to_the_best_inside():
    edge = (0, 40, 10, 60)
    labels, _ = label_anchors([(-33, 40, 10, 60), (-20, 40, 10, 60)], [edge])
    assert labels == [-1, 1]


def test_an_anchor_centred_on_padding_is_not_a_negative_but_may_be_positive():
    anchors = [(0, 0, 40, 40), (50, 0, 90, 40), (0, 50, 40, 90), (40, 0, 80, 40)]
    assert label_anchors(anchors, content=(60, 60))[0] == [0, -1, -1, -1]
    assert label_anchors([(40, 0, 80, 40)], [(40, 0, 60, 40)], content=(60, 60))[0] == [1]


def test_padding_rows_are_no_boxes_and_no_boxes_are_no_trouble():
    assert label_anchors([BOX, FAR], [BOX], padding=3)[0] == [1, 0]
    assert label_anchors([BOX, (0, 0, 0, 0)])[0] == [0, 0]
    assert label_anchors([(0, 0, 10, 10)], padding=2)[0] == [0]


def test_a_box_without_area_teaches_nothing():
    assert label_anchors([BOX, FAR], [(20, 20, 20, 40)])[0] == [0, 0]


def test_slicing_over_boxes_changes_nothing(monkeypatch):
    generator = torch.Generator().manual_seed(3)
    corner = torch.rand(2, 40, 2, generator=generator) * 200
    boxes = torch.cat((corner, corner + 10 + torch.rand(2, 40, 2, generator=generator) * 60), dim=2)
    flags = torch.rand(3, 2, 40, generator=generator) > 0.3
    anchors = AnchorGrid(AnchorOptions(stride=16, sizes=(16, 32, 64)))(16, 16)
    arguments = (anchors, boxes, flags[0], flags[1], ~flags[2], torch.full((2, 2), 256.0), 256)
    whole = targets.rpn_labels(*arguments)
    monkeypatch.setattr(targets, "PAIRS_AT_ONCE", 3 * 2 * len(anchors))
    sliced = targets.rpn_labels(*arguments)
    assert torch.equal(whole[0], sliced[0])
    assert torch.equal(whole[1][whole[0] == 1], sliced[1][whole[0] == 1])


def reference():
    if not REFERENCE.exists():
        pytest.skip(f"{REFERENCE} is not beside this checkout")
    return json.loads(REFERENCE.read_text())


def test_the_published_code_gives_the_same_label_to_every_anchor_of_60_chips():
    published = reference()
    anchors = AnchorGrid(AnchorOptions(stride=published["stride"]))(32, 32)
    for case in published["cases"]:
        boxes, valid = torch.tensor([case["boxes"]]), torch.tensor([case["valid"]])
        labels, _ = targets.rpn_labels(
            anchors, boxes, torch.ones_like(valid), valid, torch.zeros_like(valid), torch.tensor([[512.0, 512.0]]), 512
        )
        assert (labels[0] == 1).nonzero().flatten().tolist() == sorted(case["positive_anchors"])
        assert (labels == 0).sum() == case["negatives"]
        assert (labels == -1).sum() == case["ignored"]


def test_256_anchors_are_sampled_half_of_them_positive_and_the_same_with_the_same_seed():
    labels = torch.full((4, 5000), -1)
    labels[:, 1000:] = 0
    labels[0, :400] = 1
    labels[1, :10] = 1
    labels[3] = -1
    chips = torch.tensor([7, 1 << 24, (1 << 40) + 3, 0])
    chosen = targets.sample_anchors(labels, targets.noise_of(chips, 5000, 1))
    assert [int((chosen & (labels == 1))[i].sum()) for i in range(4)] == [128, 10, 0, 0]
    assert [int((chosen & (labels == 0))[i].sum()) for i in range(4)] == [128, 246, 256, 0]
    assert not (chosen & (labels == -1)).any()
    assert torch.equal(chosen, targets.sample_anchors(labels, targets.noise_of(chips, 5000, 1)))
    assert not torch.equal(chosen, targets.sample_anchors(labels, targets.noise_of(chips, 5000, 2)))
    order = torch.tensor([2, 0])  # a chip's draw is its own, whatever stands beside it
    assert torch.equal(chosen[order], targets.sample_anchors(labels[order], targets.noise_of(chips[order], 5000, 1)))


def test_sampling_takes_every_anchor_equally_often():
    labels = torch.zeros(400, 1000, dtype=torch.int64)
    noise = targets.noise_of(torch.arange(400) * 3 + (1 << 24), 1000, 0)
    often = targets.sample_anchors(labels, noise).float().mean(dim=0)
    assert abs(float(often.mean()) - 0.256) < 1e-6
    assert float(often.std()) < 0.03


@pytest.mark.parametrize("seed", [0, 1, 2**62])
def test_noise_is_even_and_knows_neither_neighbours_nor_the_chip_beside_it(seed):
    noise = targets.noise_of(torch.tensor([0, 1, 2, 1 << 24, (1 << 24) + 1, 3 << 40]), 20000, seed)
    assert noise.dtype == torch.float32
    assert 0 <= float(noise.min()) < float(noise.max()) < 1
    assert torch.allclose(torch.histc(noise, 10, 0, 1), torch.full((10,), 12000.0), rtol=0.04)
    apart = torch.corrcoef(torch.cat((noise, noise.roll(1, dims=1))))
    assert float((apart - torch.eye(12)).abs().max()) < 0.03


def label_proposals(proposals, boxes=(), classes=(), ignore=None, content=(CHIP, CHIP), valid_range=(0, float("inf"))):
    rows = len(boxes)
    labels, matched = targets.roi_labels(
        torch.tensor([proposals], dtype=torch.float32),
        torch.ones(1, len(proposals), dtype=torch.bool),
        torch.tensor([boxes], dtype=torch.float32).reshape(1, rows, 4),
        torch.tensor([classes], dtype=torch.int64).reshape(1, rows),
        torch.tensor([ignore or [False] * rows], dtype=torch.bool).reshape(1, rows),
        torch.tensor([content], dtype=torch.float32),
        torch.tensor([valid_range], dtype=torch.float32),
    )
    return labels[0].tolist(), matched[0].tolist()


def test_a_proposal_takes_the_class_of_the_box_it_fits_over_one_half():
    labels, matched = label_proposals([BOX, HALF, (20, 20, 40, 30.5), FAR], [FAR, BOX], [7, 3])
    assert labels == [3, 0, 3, 7]
    assert (matched[0], matched[2], matched[3]) == (1, 1, 0)


def test_a_proposal_outside_the_valid_range_of_its_chip_is_ignored_whatever_it_fits():
    proposals = [BOX, (0, 0, 19.9, 19.9), (0, 0, 40, 40), (60, 60, 99, 99)]
    assert label_proposals(proposals, [BOX], [2], valid_range=(20, 40))[0] == [2, -1, -1, 0]


def test_an_unmatched_proposal_in_a_crowd_is_ignored_a_matched_one_is_not():
    crowd = (0, 0, 60, 60)
    proposals = [(5, 5, 15, 15), BOX, (52, 0, 67, 15), (54, 0, 69, 15)]
    assert label_proposals(proposals, [crowd, BOX], [1, 4], ignore=[True, False])[0] == [-1, 4, -1, 0]
    assert label_proposals([crowd], [crowd], [1], ignore=[True])[0] == [-1]


def test_a_proposal_mostly_on_padding_is_ignored():
    assert label_proposals([(0, 0, 40, 40), (35, 0, 75, 40), (45, 0, 85, 40)], content=(60, 60))[0] == [0, 0, -1]


def test_rois_of_a_chip_without_boxes_are_background_and_absent_ones_ignored():
    assert label_proposals([BOX, FAR])[0] == [0, 0]
    assert label_proposals([BOX, (5, 5, 5, 9)], [(0, 0, 0, 0)], [0])[0] == [0, -1]
    absent, _ = targets.roi_labels(
        torch.zeros(1, 2, 4), torch.zeros(1, 2, dtype=torch.bool), torch.zeros(1, 0, 4),
        torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 0, dtype=torch.bool),
        torch.tensor([[100.0, 100.0]]), torch.tensor([[0.0, 50.0]]),
    )  # fmt: skip
    assert absent.tolist() == [[-1, -1]]
