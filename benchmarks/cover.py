"""The cover engine, compared with a simple compiled greedy algorithm that checks every box and candidate."""

from __future__ import annotations

import numba
import numpy as np

from benchmarks.timing import COCO128, best_of, row
from chipper.coco.reading import read_coco
from chipper.grouping import Groups
from chipper.kernels.cover import random_below
from chipper.mining.assignment import assign
from chipper.mining.cover import cover
from chipper.mining.options import PositiveOptions
from chipper.mining.pyramid import Pyramid
from chipper.seeds import GAMMA

_GAMMA = np.uint64(GAMMA)


@numba.njit(nogil=True)
def straightforward(offsets, boxes, width, height, seeds, chip_size, stride):
    """The same windows from a table of all candidates and boxes, counted again after every choice; (n, 3) image, x, y."""
    picked = np.empty((boxes.shape[0], 3), np.int64)
    picks = 0
    for i in range(offsets.size - 1):
        n = offsets[i + 1] - offsets[i]
        if n == 0:
            continue
        columns = max(-(-(width[i] - chip_size) // stride), 0) + 1
        rows = max(-(-(height[i] - chip_size) // stride), 0) + 1
        inside = np.zeros((rows * columns, n), np.bool_)
        for r in range(rows):
            for c in range(columns):
                x = min(c * stride, max(width[i] - chip_size, 0))
                y = min(r * stride, max(height[i] - chip_size, 0))
                for k in range(n):
                    b = offsets[i] + k
                    inside[r * columns + c, k] = (
                        boxes[b, 0] >= x
                        and boxes[b, 1] >= y
                        and boxes[b, 2] <= x + chip_size
                        and boxes[b, 3] <= y + chip_size
                    )
        left = np.ones(n, np.bool_)
        counts = np.empty(rows * columns, np.int64)
        state = seeds[i]
        while True:
            for k in range(rows * columns):
                counts[k] = 0
                for b in range(n):
                    counts[k] += inside[k, b] and left[b]
            most = counts.max()
            if most == 0:
                break
            tied = np.flatnonzero(counts == most)
            state += _GAMMA
            best = tied[random_below(state, tied.size)]
            picked[picks, 0] = i
            picked[picks, 1] = min((best % columns) * stride, max(width[i] - chip_size, 0))
            picked[picks, 2] = min((best // columns) * stride, max(height[i] - chip_size, 0))
            picks += 1
            for b in range(n):
                if inside[best, b]:
                    left[b] = False
    return picked[:picks]


def coco_like(images: int = 2000) -> list[tuple[np.ndarray, ...]]:
    """(offsets, boxes, width, height) of each scale: the boxes to cover in images drawn from 128 real COCO images."""
    coco = read_coco(COCO128 / "instances.json")
    options = PositiveOptions.parse()
    of_images = Groups.of(coco.images.image_id, coco.annotations.image_id)
    pyramid = Pyramid.of(options.scales, coco.images.width, coco.images.height)
    targets = assign(coco.images, coco.annotations, pyramid, options, 0).targets
    draw = np.random.default_rng(0).integers(0, len(coco.images), images)
    rows = np.concatenate([np.arange(len(coco.annotations))[of_images.slice(i)] for i in draw])
    drawn = Groups.of_counts(of_images.counts[draw])
    out = []
    for s in range(3):
        kept = np.flatnonzero(targets[s, rows])
        boxes = pyramid.boxes(s, draw[drawn.row[kept]], coco.annotations.box[rows[kept]])
        out.append((drawn.within(kept).offsets, boxes, pyramid.width[s, draw], pyramid.height[s, draw]))
    return out


def large(side: int = 12_000, boxes: int = 1000) -> tuple[np.ndarray, ...]:
    """One canvas with many small boxes."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, side - 200, (boxes, 2))
    box = np.concatenate([low, low + rng.uniform(10, 200, (boxes, 2))], axis=1)
    return np.array([0, boxes]), box, np.array([side]), np.array([side])


def compared(name: str, parts: list[tuple[np.ndarray, ...]], per: float, unit: str, repeats: int) -> None:
    """One row: the engine and the simple algorithm on the same canvases; both must give the same windows."""
    units = {"us": 1e6, "ms": 1e3}[unit] / per
    with_seeds = [(*part, np.arange(part[2].size, dtype=np.uint64)) for part in parts]
    for part in with_seeds:
        ours, theirs = cover(*part, 512, 32), straightforward(*part, 512, 32)
        assert np.array_equal(np.stack([ours.image, ours.x, ours.y], axis=1), theirs), "other windows"
    fast = best_of(lambda: [cover(*part, 512, 32) for part in with_seeds])
    slow = best_of(lambda: [straightforward(*part, 512, 32) for part in with_seeds], repeats)
    row(name, fast * units, slow * units, unit, "straightforward")


def main() -> None:
    print("| cover, one thread, stride 32 | chipper | compared with | faster |\n|---|---|---|---|")
    parts = coco_like()
    compared("COCO image and scale", parts, sum(part[2].size for part in parts), "us", 3)
    busy = [_with_boxes(part, 10) for part in coco_like(20_000)]
    compared("of these, those with 10 boxes or more to cover", busy, sum(part[2].size for part in busy), "us", 1)
    compared("4000 x 4000 image at x3, 1000 boxes", [large()], 1, "ms", 1)


def _with_boxes(part: tuple[np.ndarray, ...], least: int) -> tuple[np.ndarray, ...]:
    """The canvases with at least this many boxes."""
    offsets, boxes, width, height = part
    counts = np.diff(offsets)
    chosen = counts >= least
    rows = np.repeat(chosen, counts)
    return np.concatenate([[0], np.cumsum(counts[chosen])]), boxes[rows], width[chosen], height[chosen]


if __name__ == "__main__":
    main()
