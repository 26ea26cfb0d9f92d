"""Drawn chips, small enough to train on in a test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from chipper.detection.batch import Batch


def draw_chip(rng: np.random.Generator, size: int, count: int) -> tuple[np.ndarray, list[tuple[float, ...]], list[int]]:
    """Squares (class 1) and discs (class 2), apart from one another, on noisy grey: pixels, boxes, labels."""
    ground = rng.normal(110, 12, (size, size, 3)).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(ground)
    draw = ImageDraw.Draw(picture)
    boxes: list[tuple[float, ...]] = []
    labels: list[int] = []
    while len(boxes) < count:
        side = int(rng.integers(size // 8, size // 3))
        x, y = (int(v) for v in rng.integers(0, size - side, 2))
        if any(x < b[2] + 4 and b[0] < x + side + 4 and y < b[3] + 4 and b[1] < y + side + 4 for b in boxes):
            continue
        label = int(rng.integers(1, 3))
        colour = tuple(int(v) for v in rng.choice([0, 40, 220, 255], 3))
        (draw.rectangle if label == 1 else draw.ellipse)((x, y, x + side - 1, y + side - 1), fill=colour)
        boxes.append((x, y, x + side, y + side))
        labels.append(label)
    return np.asarray(picture), boxes, labels


def _draw_batch(seed: int, chips: int = 2, size: int = 128, most: int = 3, first_id: int = 0) -> Batch:
    """``chips`` drawn chips with 0 to ``most`` objects each."""
    rng = np.random.default_rng(seed)
    drawn = [draw_chip(rng, size, int(rng.integers(0, most + 1))) for _ in range(chips)]
    boxes = torch.zeros(chips, max(len(labels) for *_, labels in drawn), 4)
    labels = torch.zeros(boxes.shape[:2], dtype=torch.int64)
    for i, (_, chip_boxes, chip_labels) in enumerate(drawn):
        boxes[i, : len(chip_boxes)] = torch.tensor(chip_boxes).reshape(-1, 4)
        labels[i, : len(chip_labels)] = torch.tensor(chip_labels)
    return Batch(
        images=torch.from_numpy(np.stack([pixels for pixels, *_ in drawn])).permute(0, 3, 1, 2).contiguous(),
        boxes=boxes,
        labels=labels,
        valid=labels > 0,
        ignore=torch.zeros_like(labels, dtype=torch.bool),
        content=torch.full((chips, 2), float(size)),
        valid_range=torch.tensor([[0.0, float("inf")]]).repeat(chips, 1),
        chip_ids=torch.arange(first_id, first_id + chips),
    )


def _without_boxes(batch: Batch) -> Batch:
    """The same chips with nothing on them, G = 0."""
    empty = {name: getattr(batch, name)[:, :0] for name in ("boxes", "labels", "valid", "ignore")}
    return dataclasses.replace(batch, **empty)


@pytest.fixture
def batch() -> Batch:
    return _draw_batch(seed=1, chips=2)


# Fixtures that give functions: test modules import nothing from here, whichever way pytest imports them.
@pytest.fixture(scope="session")
def draw_batch() -> Callable[..., Batch]:
    return _draw_batch


@pytest.fixture(scope="session")
def without_boxes() -> Callable[[Batch], Batch]:
    return _without_boxes
