"""The cover engine against a straightforward compiled greedy that looks at every box and every candidate."""

from __future__ import annotations

import numba
import numpy as np

from benchmarks.timing import COCO128, best_of, row
from chipper.cover import cover
from chipper.pyramid import Pyramid
from chipper.scales import parse_scales, parse_valid_ranges


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
    """(offsets, boxes, width, height) of each scale for images drawn from 128 real COCO images, boxes in range alone."""
    from chipper.coco import read_coco
    from chipper.columns import offsets_of

    coco = read_coco(COCO128 / "instances.json")
    scales = parse_scales("512,1.667,3")
    ranges = parse_valid_ranges(None, scales)
    bounds = offsets_of(coco.images.image_id, coco.annotations.image_id)
    draw = np.random.default_rng(0).integers(0, len(coco.images), images)
    rows = np.concatenate([np.arange(bounds[i], bounds[i + 1]) for i in draw])
    image = np.repeat(np.arange(images), np.diff(bounds)[draw])
    pyramid = Pyramid.of(scales, coco.images.width[draw], coco.images.height[draw])
    box = coco.annotations.box[rows]
    size = np.sqrt((box[:, 2:] - box[:, :2]).prod(axis=1))
    out = []
    for s in range(3):
        kept = ranges[s].holds(size) & ~coco.annotations.iscrowd[rows]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(image[kept], minlength=images))])
        out.append((offsets, pyramid.boxes(s, image[kept], box[kept]), pyramid.width[s], pyramid.height[s]))
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
