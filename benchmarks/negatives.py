"""mine-negatives for a COCO-sized data set, 900 proposals per image, and its two kernels compared with simple code."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numba
import numpy as np

from benchmarks.cover import straightforward
from benchmarks.generated import BUILD, COCO_IMAGES, MINE, measured, write_coco, write_proposals
from benchmarks.timing import best_of, row
from chipper.coco.reading import read_images
from chipper.columns import Images, Proposals
from chipper.grouping import Groups
from chipper.kernels.nms import suppress
from chipper.mining.cover import cover
from chipper.mining.negatives import best_proposals
from chipper.mining.options import NegativeOptions, PositiveOptions
from chipper.mining.pyramid import Pyramid
from chipper.proposals.files import open_proposals

SAMPLE = 500  # images for the comparison of kernels


@numba.njit(nogil=True)
def every_pair(offsets, box, threshold):
    """NMS by the IoU with every kept box of higher score."""
    kept = np.zeros(box.shape[0], np.bool_)
    for i in range(offsets.size - 1):
        for b in range(offsets[i], offsets[i + 1]):
            area = (box[b, 2] - box[b, 0]) * (box[b, 3] - box[b, 1])
            keep = True
            for o in range(offsets[i], b):
                if kept[o]:
                    w = max(min(box[b, 2], box[o, 2]) - max(box[b, 0], box[o, 0]), 0.0)
                    h = max(min(box[b, 3], box[o, 3]) - max(box[b, 1], box[o, 1]), 0.0)
                    other = (box[o, 2] - box[o, 0]) * (box[o, 3] - box[o, 1])
                    if w * h > threshold * (area + other - w * h):
                        keep = False
                        break
            kept[b] = keep
    return kept


def kernels(images: Images, proposals: Proposals) -> None:
    """Rows for the two kernels; their results must equal those of the simple code."""
    order = np.lexsort((-proposals.score, np.repeat(np.arange(len(images)), 900)))
    box, offsets = proposals.box[order], np.arange(len(images) + 1) * 900
    assert np.array_equal(suppress(offsets, box, 0.7, 900), every_pair(offsets, box, 0.7)), "other boxes"
    fast = best_of(lambda: suppress(offsets, box, 0.7, 900), 3) / len(images) * 1e6
    slow = best_of(lambda: every_pair(offsets, box, 0.7), 2) / len(images) * 1e6
    row("NMS of 900 proposals, one image", fast, slow, "us", "every pair")

    best = best_proposals(proposals, images, NegativeOptions())
    options = PositiveOptions.parse()
    pyramid = Pyramid.of(options.scales, images.width, images.height)
    of_images = Groups.of(images.image_id, best.image_id)
    seeds = np.arange(len(images), dtype=np.uint64)
    sides = best.box[:, 2:] - best.box[:, :2]
    small = np.flatnonzero((np.sqrt(sides.prod(axis=1)) < 80) & (sides.max(axis=1) < 170))
    finest = (
        of_images.within(small).offsets,
        pyramid.boxes(2, of_images.row[small], best.box[small]),
        pyramid.width[2],
        pyramid.height[2],
        seeds,
    )
    ours = cover(*finest, 512, 32)
    assert np.array_equal(np.stack([ours.image, ours.x, ours.y], axis=1), straightforward(*finest, 512, 32)), (
        "other windows"
    )
    fast = best_of(lambda: cover(*finest, 512, 32), 3) / len(images) * 1e6
    slow = best_of(lambda: straightforward(*finest, 512, 32), 1) / len(images) * 1e6
    row(f"cover of {small.size // len(images)} proposals at x3, one image", fast, slow, "us", "straightforward")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        coco, proposals, workdir = (Path(folder) / name for name in ("coco.json", "rpn.parquet", "chips"))
        write_coco(coco)
        images = read_images(coco)
        write_proposals(proposals, images)
        measured(BUILD, coco, workdir)
        seconds, peak = measured(MINE, workdir, proposals)
        file = open_proposals(proposals, images.image_id, images.position, len(images))
        some = images[:SAMPLE]
        sample = file.of(some)
    print(f"| mine-negatives, {COCO_IMAGES:,} images with 900 proposals each, all cores | |\n|---|---|")
    print(f"| seconds | {seconds:.1f} |\n| per image | {seconds / COCO_IMAGES * 1e3:.2f} ms |")
    print(f"| peak memory | {peak:.2f} GB |\n")
    print("| one thread | chipper | compared with | faster |\n|---|---|---|---|")
    kernels(some, sample)


if __name__ == "__main__":
    main()
