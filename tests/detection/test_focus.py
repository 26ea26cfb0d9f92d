"""AutoFocus: the cells that are taught, and finer scales looked at nowhere else than at its windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chipper.detection.batch import Batch
from chipper.detection.focus import focus_labels, focus_loss
from chipper.detection.inference import detect_image
from chipper.detection.model import Detections, build_model
from chipper.errors import OptionError
from chipper.mining.scales import ValidRange

EVERYTHING = ValidRange()


def chip(boxes, ignore=None, content=(512.0, 512.0)):
    rows = len(boxes)
    return Batch(
        images=torch.zeros(1, 3, 512, 512, dtype=torch.uint8),
        boxes=torch.tensor([boxes], dtype=torch.float32).reshape(1, rows, 4),
        labels=torch.ones(1, rows, dtype=torch.int64),
        valid=torch.ones(1, rows, dtype=torch.bool),
        ignore=torch.tensor([ignore or [False] * rows], dtype=torch.bool),
        content=torch.tensor([content]),
        valid_range=torch.tensor([[0.0, float("inf")]]),
        chip_ids=torch.zeros(1, dtype=torch.int64),
    )


@pytest.mark.parametrize(
    ("side", "label"), [(4.9, -1), (5.0, 1), (63.9, 1), (64.0, -1), (89.9, -1), (90.0, 0), (300.0, 0)]
)
def test_cells_are_taught_by_the_published_sizes(side, label):
    labels = focus_labels(chip([[100.0, 64.0, 100.0 + side, 64.0 + side]]), 16, 32, 32)
    assert labels.shape == (1, 32, 32)
    assert labels[0, 4, 6] == label  # the cell of px 96 to 112 and 64 to 80
    assert labels[0, 4, 5] == 0
    assert labels[0, 3, 6] == 0
    assert labels[0, 4, 6 + int((side + 3.9) // 16)] == label
    assert labels[0, 4, 6 + int((side + 3.9) // 16) + 1] == 0


def test_a_small_object_wins_a_crowd_and_padding_are_left_out():
    small, middle, crowd = [100.0, 100, 120, 120], [90.0, 90, 170, 170], [300.0, 300, 340, 340]
    labels = focus_labels(chip([small, middle, crowd], [False, False, True], content=(400.0, 352.0)), 16, 32, 32)[0]
    assert labels[6, 6] == labels[7, 7] == 1
    assert labels[6, 8] == labels[10, 10] == -1
    assert labels[19, 19] == -1
    assert labels[21, 24] == 0
    assert (labels[22:] == -1).all()
    assert (labels[:, 25:] == -1).all()


def test_the_loss_is_over_the_cells_that_are_taught():
    labels = torch.tensor([[[1, 0, -1, -1]]])
    logits = torch.tensor([[[2.0, -2.0, 50.0, -50.0]]])
    expected = torch.nn.functional.softplus(torch.tensor(-2.0))
    assert float(focus_loss(logits, labels, torch.tensor(2.0))) == pytest.approx(float(expected))


class Bright:
    """Stands in for a detector: a bright px is an object of 4 px and needs a closer look."""

    focus_head, focus_stride, chip_size = True, 8, 64

    def __init__(self):
        self.sizes = []

    def eval(self):
        return self

    def detect(self, images, score_floor, limit):
        height, width = images.shape[2:]
        self.sizes.append((width, height))
        rows, columns = (images[0, 0] > 200).nonzero(as_tuple=True)
        boxes = torch.stack((columns - 1, rows - 1, columns + 2, rows + 2), dim=1).float()
        cells = torch.zeros(-(-height // 8), -(-width // 8))
        cells[rows // 8, columns // 8] = 1.0
        return [Detections(boxes, torch.ones(len(boxes)), torch.ones(len(boxes)).long(), None, cells)]


def test_finer_scales_are_looked_at_where_the_coarser_says_so():
    image = np.zeros((400, 600, 3), np.uint8)
    image[96:112, 192:208] = 255
    whole, focused = Bright(), Bright()
    everywhere = detect_image(whole, image, [0.25, 0.5, 1.0], [EVERYTHING] * 3)
    near = detect_image(focused, image, [0.25, 0.5, 1.0], [EVERYTHING] * 3, focus=0.5)
    assert whole.sizes == [(150, 100), (300, 200), (600, 400)]
    assert focused.sizes[0] == (150, 100)
    assert all(width <= 128 and height <= 128 for width, height in focused.sizes[1:])
    assert everywhere.pixels == 150 * 100 + 300 * 200 + 600 * 400
    assert near.pixels == sum(width * height for width, height in focused.sizes) < everywhere.pixels / 4
    for name in ("boxes", "scale_index"):
        np.testing.assert_array_equal(getattr(near, name), getattr(everywhere, name))


def test_where_nothing_is_seen_nothing_finer_is_looked_at():
    model = Bright()
    found = detect_image(model, np.zeros((400, 600, 3), np.uint8), [0.25, 1.0], [EVERYTHING] * 2, focus=0.5)
    assert model.sizes == [(150, 100)]
    assert len(found.boxes) == 0


@pytest.mark.parametrize("name", ["tiny", "resnet50_fpn"])
def test_a_model_with_focus_trains_and_detects(name, draw_batch):
    model = build_model(name, 2, 64, weights=None, focus=True).train()
    batch = draw_batch(seed=2, chips=2, size=64)
    losses = model(batch)
    assert losses["focus"].item() > 0
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert "focus" not in model(batch, rpn_only=True)
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    found = detect_image(model, image, [0.5, 1.0], [EVERYTHING] * 2, focus=0.0)
    assert found.pixels == 65 * 45 + 130 * 90
    assert detect_image(model, image, [0.5, 1.0], [EVERYTHING] * 2, focus=1.0).pixels == 65 * 45


def test_a_model_without_focus_is_refused():
    model = build_model("tiny", 2, 64, weights=None)
    image = np.zeros((90, 130, 3), np.uint8)
    with pytest.raises(OptionError, match="train with focus"):
        detect_image(model, image, [1.0], [EVERYTHING], focus=0.5)
