"""Strategies for hypothesis: sizes, boxes, complete data sets. Sizes are small, so that the oracles can list everything.

Examples are the same in every run; HYPOTHESIS_PROFILE=search looks at many new ones.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from chipper.columns import Annotations, Chips, Images, Proposals
from chipper.mining.options import PositiveOptions

_common = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("chipper", derandomize=True, max_examples=60, **_common)
settings.register_profile("search", max_examples=1500, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "chipper"))

chip_sizes = st.integers(1, 40)


@st.composite
def canvas_sides(draw, chip_size, most=4):
    """Canvases below, at and just over the chip size, and up to ``most`` chips long."""
    near = st.sampled_from([max(chip_size + d, 1) for d in (-1, 0, 1, 2)])
    return draw(near | st.integers(1, most * chip_size))


@st.composite
def intervals(draw, end, grid=8):
    """Low < high in [0, end], at multiples of 1/grid; often at an edge, often on whole px."""
    steps = end * grid
    place = st.integers(0, steps) | st.integers(0, end).map(lambda v: v * grid) | st.sampled_from([0, steps])
    low, high = sorted((draw(place), draw(place)))
    if low == high:
        low, high = (low, low + 1) if high < steps else (low - 1, high)
    return low / grid, high / grid


@st.composite
def short_intervals(draw, end, longest, grid=8):
    """As `intervals`, of at most ``longest`` px."""
    length = draw(st.integers(1, max(1, min(end, longest) * grid)))
    low = draw(st.integers(0, end * grid - length))
    return low / grid, (low + length) / grid


@st.composite
def boxes_in(draw, width, height, longest=None):
    """One box x1 y1 x2 y2 inside width x height."""
    longest = longest or max(width, height)
    x = draw(intervals(width) | short_intervals(width, longest))
    y = draw(intervals(height) | short_intervals(height, longest))
    return (x[0], y[0], x[1], y[1])


@st.composite
def box_lists(draw, width, height, most=12, longest=None):
    """Boxes of one image, often with copies among them."""
    boxes = draw(st.lists(boxes_in(width, height, longest), max_size=most))
    if boxes:
        boxes += draw(st.lists(st.sampled_from(boxes), max_size=3))
    return boxes


@st.composite
def cover_problems(draw):
    """(chip_size, stride, minimum, [(width, height, boxes or None, seed), ...])."""
    chip_size = draw(chip_sizes)
    stride = draw(st.integers(1, chip_size))
    minimum = draw(st.sampled_from([1, 1, 1, 2, 3]))
    images = []
    for _ in range(draw(st.integers(0, 3))):
        width, height = draw(canvas_sides(chip_size)), draw(canvas_sides(chip_size))
        boxes = draw(box_lists(width, height, longest=chip_size + 2))
        boxes = [None if draw(st.integers(0, 9)) == 0 else box for box in boxes]
        images.append((width, height, boxes, draw(st.integers(0, 2**64 - 1))))
    return chip_size, stride, minimum, images


@st.composite
def positive_options(draw):
    """Options with a small chip size, so that small images have many windows."""
    scales, ranges = draw(
        st.sampled_from(
            [
                ("48,1.667,3", "30:,12:45,:25"),
                ("0.5,1,2", "20:,8:40,:16"),
                ("1", ":"),
                ("32:64,2.5", "25:,:40"),
                ("0.37,1.13,1.9,3.1", "40:,20:60,10:30,2:15"),
            ]
        )
    )
    chip_size = draw(st.sampled_from([16, 33, 48]))
    low = draw(st.sampled_from([4, 7, chip_size // 2, chip_size]))
    high = min(low + draw(st.integers(0, 3)), chip_size)
    return replace(
        PositiveOptions.parse(scales, ranges, stride=f"{low}-{high}"),
        chip_size=chip_size,
        variants=draw(st.integers(1, 2)),
        seed=draw(st.integers(0, 5)),
    )


def images_of(sizes, ids=None, positions=None):
    """Images of (width, height)."""
    n = len(sizes)
    sides = np.array(sizes, dtype=np.int64).reshape(n, 2)
    return Images(
        image_id=np.arange(1, n + 1) * 7 if ids is None else np.array(ids, dtype=np.int64),
        position=np.arange(n) if positions is None else np.array(positions, dtype=np.int64),
        file_name=np.array([f"{k}.jpg" for k in range(n)], dtype=object),
        width=sides[:, 0],
        height=sides[:, 1],
    )


def annotations_of(images, boxes_of_image, crowds=()):
    """Annotations numbered from 1, as the reader returns them: boxes rounded to float32, crowds by annotation id."""
    count = [len(boxes) for boxes in boxes_of_image]
    n = sum(count)
    flat = [box for boxes in boxes_of_image for box in boxes]
    box = np.array(flat, dtype=np.float32).astype(np.float64).reshape(n, 4)
    ids = np.arange(1, n + 1)
    nothing = np.empty(n, dtype=object)
    return Annotations(
        annotation_id=ids,
        image_id=np.repeat(images.image_id, count),
        category_id=ids % 5,
        box=box,
        area=(box[:, 2:] - box[:, :2]).prod(axis=1),
        iscrowd=np.isin(ids, list(crowds)),
        segmentation=nothing,
        keypoints=nothing.copy(),
    )


@st.composite
def datasets(draw, most_images=3, most_boxes=10):
    """(images, annotations, options); image ids in no order, images without annotations among them, some crowds."""
    options = draw(positive_options())
    n = draw(st.integers(0, most_images))
    sides = st.integers(1, 110) | st.sampled_from([15, 16, 17, 32, 33, 34, 48, 49, 96])
    sizes = [(draw(sides), draw(sides)) for _ in range(n)]
    ids = draw(st.lists(st.integers(-(2**40), 2**62), min_size=n, max_size=n, unique=True))
    positions = sorted(draw(st.lists(st.integers(0, 10**6), min_size=n, max_size=n, unique=True)))
    images = images_of(sizes, ids, positions)
    boxes = [draw(box_lists(w, h, most_boxes, longest=60)) for w, h in sizes]
    total = sum(map(len, boxes))
    crowds = draw(st.sets(st.integers(1, total), max_size=3)) if total else set()
    return images, annotations_of(images, boxes, crowds), options


@st.composite
def proposal_sets(draw, images, most=40):
    """Proposals for ``images``: clustered, some beyond the image, some without area; scores with ties."""
    per_image = []
    for width, height in zip(images.width.tolist(), images.height.tolist(), strict=True):
        rows = []
        for box in draw(st.lists(boxes_in(width, height, longest=30), max_size=6)):
            rng = np.random.default_rng(draw(st.integers(0, 2**32)))
            moved = np.array(box) + rng.integers(-16, 17, (draw(st.integers(1, most // 4)), 4)) / 8
            rows.append(moved)
        per_image.append(np.concatenate(rows) if rows else np.zeros((0, 4)))
    count = [len(rows) for rows in per_image]
    box = np.concatenate([*per_image, np.zeros((0, 4))])
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return Proposals(np.repeat(images.image_id, count), box, rng.integers(0, 12, sum(count)) / 12)


def one_image(images, columns, i):
    """The rows of ``columns`` of image number ``i``."""
    return columns[columns.image_id == images.image_id[i]]


def chips_of(rows, scale=1.0, chip_size=512, image_id=1, position=0):
    """Positive chips of one image with the given (x, y, content width, content height, scale_index)."""
    grid = np.array(rows, dtype=np.int64).reshape(-1, 5)
    n = len(grid)
    kind = np.empty(n, dtype=object)
    kind[:] = "positive"
    corners = np.concatenate([grid[:, :2], grid[:, :2] + grid[:, 2:4]], axis=1)
    return Chips(
        chip_id=position * 2**24 + np.arange(n),
        image_id=np.full(n, image_id),
        kind=kind,
        variant=np.zeros(n, np.int64),
        scale_index=grid[:, 4],
        scale=np.full(n, scale),
        x=grid[:, 0],
        y=grid[:, 1],
        content_width=grid[:, 2],
        content_height=grid[:, 3],
        source_box=corners / scale,
        proposals=np.zeros(n, np.int64),
    )
