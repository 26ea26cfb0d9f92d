from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from chipper.detection.inference import detect_flipped_too, detect_image, propose_image
from chipper.detection.model import Detections, RpnOutput, build_model
from chipper.errors import OptionError
from chipper.inference.merging import merge_detections
from chipper.kernels.soft_nms import SoftNmsOptions
from chipper.mining.scales import ValidRange

EVERYTHING = ValidRange()


@pytest.fixture(scope="module")
def tiny():
    return build_model("tiny", 2, 128, weights=None, seed=6)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)


class WholeImage:
    """Stands in for a detector: finds one box in every canvas, all of it, and one quarter as wide and high."""

    def __init__(self):
        self.sizes = []
        self.canvases = []

    def eval(self):
        return self

    def boxes(self, images):
        height, width = images.shape[2:]
        self.sizes.append((width, height))
        self.canvases.append(images)
        return torch.tensor([[0.0, 0.0, width, height], [0.0, 0.0, width / 4, height / 4]])

    def detect(self, images, score_floor, limit):
        return [Detections(self.boxes(images), torch.tensor([0.9, 0.8]), torch.tensor([1, 2]))]

    def propose(self, images, limit):
        return [RpnOutput(self.boxes(images)[:limit], torch.tensor([0.9, 0.8])[:limit])]


def test_boxes_come_back_in_source_px_from_every_scale(image):
    model = WholeImage()
    found = detect_image(model, image, [1.0, 0.333, 2.5], [EVERYTHING] * 3)
    assert model.sizes == [(130, 90), (43, 30), (325, 225)]
    whole = found.boxes[found.labels == 1]
    np.testing.assert_allclose(whole, [[0, 0, 130, 90]] * 3, rtol=1e-6)
    assert found.scale_index.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.boxes.dtype == np.float32


def test_each_scale_keeps_the_sizes_it_is_for(image):
    side = (130 * 90) ** 0.5
    found = detect_image(WholeImage(), image, [1.0, 2.0], [ValidRange(side / 2), ValidRange(0, side / 2)])
    assert list(zip(found.scale_index.tolist(), found.labels.tolist(), strict=True)) == [(0, 1), (1, 2)]
    none = detect_image(WholeImage(), image, [1.0], [ValidRange(1e6, 2e6)])
    assert none.boxes.shape == (0, 4)
    assert none.labels.dtype == np.int64
    assert merge_detections(none).boxes.shape == (0, 4)


def test_the_canvas_is_what_pil_resizes_bilinearly_and_the_image_itself_at_scale_one(image):
    model = WholeImage()
    detect_image(model, image, [1.0], [EVERYTHING])
    assert np.array_equal(model.canvases[0][0].permute(1, 2, 0).numpy(), image)
    grey = np.full((40, 60, 3), 77, np.uint8)
    detect_image(model, grey, [1.7], [EVERYTHING])
    assert model.canvases[1].dtype == torch.uint8
    assert (model.canvases[1] == 77).all()


def test_proposals_of_every_scale_are_kept_whatever_their_size_unless_asked(image):
    found = propose_image(WholeImage(), image, [1.0, 0.5])
    assert len(found.boxes) == 4
    assert len(propose_image(WholeImage(), image, [1.0, 0.5], limit=1).boxes) == 2
    assert len(propose_image(WholeImage(), image, [1.0, 0.5], [ValidRange(0, 50), ValidRange(50)]).boxes) == 2


def test_merging_keeps_classes_apart_and_falls_in_score(image):
    found = detect_image(WholeImage(), image, [1.0, 2.0], [EVERYTHING] * 2)
    merged = merge_detections(found)
    assert merged.labels.tolist()[:2] == [1, 2]
    assert (np.diff(merged.scores) <= 0).all()
    np.testing.assert_allclose(merged.scores[2:], np.array([0.9, 0.8]) * np.exp(-1 / 0.55), rtol=1e-5)
    assert len(merge_detections(found, SoftNmsOptions(limit=3)).boxes) == 3


def test_a_real_model_runs_on_an_image_of_odd_size_at_three_scales(tiny, image):
    found = merge_detections(
        detect_image(tiny, image[:77, :101], [0.5, 1.0, 3.0], [ValidRange(20), ValidRange(5, 90), ValidRange(0, 40)])
    )
    assert 0 < len(found.boxes) <= 200
    assert found.boxes[:, 2].max() <= 101.01
    assert found.boxes[:, 3].max() <= 77.01
    assert found.boxes.min() >= 0
    proposals = propose_image(tiny, image[:77, :101], [0.5, 1.0, 3.0])
    assert len(proposals.boxes) > 0
    assert (np.bincount(proposals.scale_index) <= 300).all()


def test_the_model_is_left_untouched(tiny, image):
    before = {key: value.clone() for key, value in tiny.state_dict().items()}
    tiny.train()
    detect_image(tiny, image, [1.0], [EVERYTHING])
    assert all(torch.equal(before[key], value) for key, value in tiny.state_dict().items())


@pytest.mark.parametrize(
    ("image", "scales", "ranges", "message"),
    [
        (np.zeros((5, 5), np.uint8), [1.0], [EVERYTHING], "an image must be"),
        (np.zeros((5, 5, 3), np.float32), [1.0], [EVERYTHING], "an image must be"),
        (np.zeros((5, 5, 3), np.uint8), [], [], "0 scales and 0 valid ranges"),
        (np.zeros((5, 5, 3), np.uint8), [1.0, 2.0], [EVERYTHING], "2 scales and 1 valid ranges"),
    ],
)
def test_what_does_not_fit_together_is_refused(tiny, image, scales, ranges, message):
    with pytest.raises(OptionError, match=message):
        detect_image(tiny, image, scales, ranges)


# --- large canvases ---


class Blobs:
    """Stands in for a detector: finds the bounding box of every bright rectangle, as far as its tile shows it."""

    def eval(self):
        return self

    def detect(self, images, score_floor, limit):
        labels, count = ndimage.label(images[0, 0].numpy() > 128)
        found = ndimage.find_objects(labels)
        boxes = [[columns.start, rows.start, columns.stop, rows.stop] for rows, columns in found]
        return [
            Detections(torch.tensor(boxes).reshape(-1, 4).float(), torch.ones(count) * 0.5, torch.ones(count).long())
        ]

    def propose(self, images, limit):
        (found,) = self.detect(images, 0, 0)
        return [RpnOutput(found.boxes[:limit], found.scores[:limit])]


@pytest.mark.parametrize("scale", [1.0, 2.0, 0.5])
def test_an_image_in_tiles_shows_the_same_boxes_as_whole(scale):
    rng = np.random.default_rng(4)
    image = np.zeros((700, 900, 3), np.uint8)
    for row in range(10):
        for column in range(12):
            y, x = 70 * row + rng.integers(5, 20), 75 * column + rng.integers(5, 20)
            image[y : y + rng.integers(12, 44), x : x + rng.integers(12, 44)] = 255
    whole = detect_image(Blobs(), image, [scale], [ValidRange(0, 60)], tile=10**6)
    tiled = detect_image(Blobs(), image, [scale], [ValidRange(0, 60)], tile=256)
    assert len(whole.boxes) == 120
    wanted, found = ({tuple(box) for box in some.boxes.round(3).tolist()} for some in (whole, tiled))
    if scale == 1.0:
        assert found == wanted
    close = np.abs(tiled.boxes[:, None] - whole.boxes[None]).max(axis=2) <= 1 / scale + 1e-3
    assert close.any(axis=0).all()
    assert close.any(axis=1).all()
    few = propose_image(Blobs(), image, [scale, 1.0], None, limit=30, tile=256)
    assert np.bincount(few.scale_index).tolist() == [30, 30]


def test_the_mirror_image_is_mirrored_back(image):
    found = detect_flipped_too(WholeImage(), image, [1.0], [EVERYTHING])
    quarter = found.boxes[found.labels == 2]
    np.testing.assert_allclose(quarter, [[0, 0, 32.5, 22.5], [97.5, 0, 130, 22.5]])
