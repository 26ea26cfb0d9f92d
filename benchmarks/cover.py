"""The cover engine against a straightforward compiled greedy that looks at every box and every candidate."""

from __future__ import annotations

import numba
import numpy as np

from benchmarks.timing import COCO128, best_of, row
from chipper.assignment import assign
from chipper.coco import read_coco
from chipper.columns import offsets_of
from chipper.cover import cover
from chipper.options import PositiveOptions
from chipper.pyramid import Pyramid


@numba.njit(nogil=True)
def straightforward(offsets, boxes, width, height, chip_size, stride):
    """Greedy cover by overlaps: a table of boxes by candidates, counted again after every pick; first tie wins."""
    picks = 0
    for i in range(offsets.size - 1):
        n = offsets[i + 1] - offsets[i]
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
        while True:
            best, most = -1, 0
            for k in range(rows * columns):
                count = 0
                for b in range(n):
                    count += inside[k, b] and left[b]
                if count > most:
                    best, most = k, count
            if most == 0:
                break
            picks += 1
            for b in range(n):
                if inside[best, b]:
                    left[b] = False
    return picks


def coco_like(images: int = 2000) -> list[tuple[np.ndarray, ...]]:
    """(offsets, boxes, width, height) of each scale: what is to be covered in images drawn from 128 real COCO images."""
    coco = read_coco(COCO128 / "instances.json")
    options = PositiveOptions.parse()
    bounds = offsets_of(coco.images.image_id, coco.annotations.image_id)
    pyramid = Pyramid.of(options.scales, coco.images.width, coco.images.height)
    targets = assign(coco.images, coco.annotations, pyramid, options, 0).targets
    draw = np.random.default_rng(0).integers(0, len(coco.images), images)
    rows = np.concatenate([np.arange(bounds[i], bounds[i + 1]) for i in draw])
    image = np.repeat(np.arange(images), np.diff(bounds)[draw])
    out = []
    for s in range(3):
        kept = np.flatnonzero(targets[s, rows])
        boxes = pyramid.boxes(s, draw[image[kept]], coco.annotations.box[rows[kept]])
        offsets = np.searchsorted(image[kept], np.arange(images + 1))
        out.append((offsets, boxes, pyramid.width[s, draw], pyramid.height[s, draw]))
    return out


def large(side: int = 12_000, boxes: int = 1000) -> tuple[np.ndarray, ...]:
    """One canvas with many small boxes."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, side - 200, (boxes, 2))
    box = np.concatenate([low, low + rng.uniform(10, 200, (boxes, 2))], axis=1)
    return np.array([0, boxes]), box, np.array([side]), np.array([side])


def main() -> None:
    print("| cover | chipper | compared with | faster |\n|---|---|---|---|")
    parts = coco_like()
    levels = sum(part[2].size for part in parts)

    def ours() -> None:
        for offsets, boxes, width, height in parts:
            cover(offsets, boxes, width, height, np.arange(width.size, dtype=np.uint64), 512, 32)

    def theirs() -> None:
        for part in parts:
            straightforward(*part, 512, 32)

    what = "straightforward"
    row("COCO image and scale, stride 32", best_of(ours) / levels * 1e6, best_of(theirs, 2) / levels * 1e6, "us", what)
    offsets, boxes, width, height = large()
    fast = best_of(lambda: cover(offsets, boxes, width, height, np.zeros(1, np.uint64), 512, 32))
    slow = best_of(lambda: straightforward(offsets, boxes, width, height, 512, 32), 1)
    row("12000 x 12000 canvas, 1000 boxes", fast * 1e3, slow * 1e3, "ms", what)


if __name__ == "__main__":
    main()
