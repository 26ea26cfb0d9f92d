from __future__ import annotations

import numpy as np
import pytest

from chipper.errors import OptionError
from chipper.kernels.soft_nms import SoftNmsOptions, soft_nms


def slow_soft_nms(boxes, scores, labels, options):
    """The definition, in Python's own numbers: a list of (index, score), best first."""

    def iou(a, b):
        width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
        height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        shared = width * height
        union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
        return shared / union if union > 0 else 0.0

    out = []
    for label in sorted(set(labels.tolist())):
        left = {i: float(scores[i]) for i in range(len(scores)) if labels[i] == label}
        while left:
            best = max(left, key=lambda i: (left[i], -i))
            score = left.pop(best)
            if score <= options.score_floor:
                break
            out.append((best, score))
            for i in left:
                overlap = iou(boxes[i].tolist(), boxes[best].tolist())
                left[i] *= float(np.exp(-overlap * overlap / options.sigma))
    return sorted(out, key=lambda pair: (-pair[1], pair[0]))[: options.limit]


def random_detections(seed, n):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (n, 2))
    boxes = np.hstack((corner, corner + rng.uniform(0, 40, (n, 2)))).astype(np.float32)
    return boxes, rng.uniform(0, 1, n).round(2).astype(np.float32), rng.integers(1, 4, n)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("options", [SoftNmsOptions(), SoftNmsOptions(sigma=0.1, score_floor=0.2, limit=7)])
def test_it_does_what_its_definition_says(seed, options):
    boxes, scores, labels = random_detections(seed, 60)
    index, kept = soft_nms(boxes, scores, labels, options)
    expected = slow_soft_nms(boxes, scores, labels, options)
    assert index.tolist() == [i for i, _ in expected]
    np.testing.assert_allclose(kept, [score for _, score in expected], rtol=1e-5)


def test_a_copy_decays_by_the_gaussian_and_another_class_does_not():
    boxes = np.array([[0, 0, 10, 10]] * 3, np.float32)
    index, scores = soft_nms(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([1, 1, 2]))
    assert index.tolist() == [0, 2, 1]
    np.testing.assert_allclose(scores, [0.9, 0.7, 0.8 * np.exp(-1 / 0.55)], rtol=1e-6)


def test_nothing_in_nothing_out_and_the_caller_keeps_his_scores():
    empty = np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64)
    assert [part.size for part in soft_nms(*empty)] == [0, 0]
    boxes, scores, labels = random_detections(0, 20)
    before = scores.copy()
    soft_nms(boxes, scores, labels)
    assert np.array_equal(scores, before)


@pytest.mark.parametrize("options", [{"sigma": 0}, {"score_floor": 2}, {"limit": 0}])
def test_senseless_options_are_refused(options):
    with pytest.raises(OptionError, match="Soft-NMS needs"):
        SoftNmsOptions(**options)
