"""What scales found in an image becomes one: each thing keeps what belongs to it."""

from __future__ import annotations

import numpy as np

from chipper.inference.merging import ImageDetections, ImageProposals, best_proposals, merge_detections


def test_masks_labels_and_scales_stay_with_their_boxes() -> None:
    """Three boxes apart, best last: the order is turned, and all that belongs to a box with it."""
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [90, 0, 99, 9]], np.float32)
    masks = np.stack([np.full((28, 28), value, np.float32) for value in (0.1, 0.2, 0.3)])
    found = ImageDetections(
        boxes, np.array([0.3, 0.5, 0.9], np.float32), np.array([1, 2, 1]), np.array([0, 1, 2]), masks
    )
    merged = merge_detections(found)
    assert merged.boxes.tolist() == boxes[[2, 1, 0]].tolist()
    assert merged.labels.tolist() == [1, 2, 1]
    assert merged.scale_index.tolist() == [2, 1, 0]
    assert merged.masks is not None
    np.testing.assert_allclose(merged.masks[:, 0, 0], [0.3, 0.2, 0.1])


def test_a_mirrored_mask_and_box() -> None:
    masks = np.zeros((1, 28, 28), np.float32)
    masks[0, 3, 5] = 1
    found = ImageDetections(
        np.array([[10, 20, 30, 60]], np.float32),
        np.ones(1, np.float32),
        np.ones(1, np.int64),
        np.zeros(1, np.int64),
        masks,
    )
    turned = found.mirrored(100)
    assert turned.boxes.tolist() == [[70, 20, 90, 60]]
    assert turned.masks is not None
    assert turned.masks[0, 3, 22] == 1


def test_the_best_proposals_of_each_scale_are_kept() -> None:
    scores = np.array([0.1, 0.9, 0.5, 0.3, 0.8, 0.7], np.float32)
    scale = np.array([0, 0, 0, 1, 1, 1])
    boxes = np.arange(24, dtype=np.float32).reshape(6, 4)
    first, second = (ImageProposals(boxes[k], scores[k], scale[k]) for k in (slice(0, 4), slice(4, 6)))
    best = best_proposals([first, second], 2)
    assert best.scores.tolist() == scores[[1, 2, 4, 5]].tolist()
    assert best.boxes.tolist() == boxes[[1, 2, 4, 5]].tolist()
    assert best.scale_index.tolist() == [0, 0, 1, 1]
