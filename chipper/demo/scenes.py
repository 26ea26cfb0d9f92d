"""One image of the demo: a cluttered background with shapes on it.

Rules that keep the labels fair:
- Contrast: a background's luma stays within `BACKGROUND_LUMA`. A shape gets a luma at least `CONTRAST` away from 96 %
  of the pixels in its box and `MARGIN` px around it at the time of drawing; otherwise it is placed elsewhere. Grain with
  a standard deviation of at most `GRAIN` is added last.
- Occlusion: shapes are drawn from large to small. A shape that would leave less than `VISIBLE` of another one is
  placed elsewhere; a shape without a place is neither drawn nor labelled. Boxes and polygons describe the complete shape.
- Look-alikes: distractors are at least `DISTRACTOR_MIN` px, so that the difference is visible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from chipper.demo.shapes import (
    CATEGORIES,
    CROWD_PITCH,
    SHAPES,
    Points,
    Shape,
    ShapeRequest,
    build_outline,
    polar,
    rasterise,
)

Colours = NDArray[np.float32]  # (..., 3) RGB, 0..255

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
BACKGROUND_LUMA = (75.0, 180.0)
CONTRAST = 50.0
MARGIN = 3
GRAIN = 6.0
VISIBLE = 0.85
DISTRACTOR_MIN = 12.0
PLACEMENT_TRIES = 40


@dataclass(frozen=True)
class Scene:
    """Ranges (inclusive) for the content of one kind of image; sizes are sqrt(w*h) in px, drawn log-uniformly."""

    objects: tuple[int, int]
    sizes: tuple[float, float] = (6.0, 180.0)
    distractors: tuple[int, int] = (4, 9)
    large: int = 0
    bars: int = 0
    crowds: int = 0
    clustered: bool = False


SCENES = {
    "mixed": Scene(objects=(5, 16)),
    "crowded": Scene(objects=(64, 120), sizes=(6.0, 28.0), clustered=True),
    "large": Scene(objects=(2, 6), sizes=(6.0, 80.0), large=1),
    "elongated": Scene(objects=(3, 6), sizes=(6.0, 60.0), bars=3),
    "empty": Scene(objects=(0, 0), distractors=(8, 16)),
    "crowd": Scene(objects=(3, 8), sizes=(8.0, 120.0), crowds=1),
}
LARGE = (200.0, 400.0)
BAR_SIZE, BAR_STRETCH = (45.0, 95.0), (10.0, 32.0)  # 140 to 540 px long; a chip at x3 spans 170 px, at x1.667 307 px
CROWD_MEMBERS = (25, 60)


def draw_scene(size: tuple[int, int], seed: list[int], kind: str) -> tuple[NDArray[np.uint8], list[Shape]]:
    """Pixels (height, width, 3) and the shapes on them, distractors included, in drawing order.

    ``size`` is (width, height) in px, ``kind`` one of `SCENES`.
    """
    rng = np.random.default_rng(seed)
    width, height = size
    scene = SCENES[kind]
    canvas = draw_background(rng, width, height)
    owner = np.zeros((height, width), np.int32)  # 1 + index of the topmost shape at each pixel, 0 for background
    shapes: list[Shape] = []
    centres = rng.uniform(0.2, 0.8, (3, 2)) * size if scene.clustered else None
    for wish in sorted(wishes(rng, scene, 0.83 * min(width, height)), key=lambda wish: -wish.size):
        unplaced = rasterise(rng, wish, build_outline(rng, wish, (width - 4, height - 4)))
        for attempt in range(PLACEMENT_TRIES):
            near = centres if attempt < PLACEMENT_TRIES // 2 else None
            shape = moved(unplaced, *choose_corner(rng, unplaced.mask.shape, (height, width), near))
            if hides_too_much(owner, shapes, shape):
                continue
            colour = contrasting_colour(rng, canvas, shape)
            if colour is None:
                continue
            coverage = shape.mask[..., None].astype(np.float32) / 255  # (h, w, 1)
            canvas[shape.window] += coverage * (colour - canvas[shape.window])
            shapes.append(shape)
            owner[shape.window][shape.footprint] = len(shapes)
            break
    grain = rng.standard_normal((height, width, 1), np.float32) * rng.uniform(1.0, GRAIN)
    return (canvas + grain).round().clip(0, 255).astype(np.uint8), shapes


def wishes(rng: Generator, scene: Scene, limit: float) -> list[ShapeRequest]:
    """The shapes to draw in one image of a scene; no size exceeds `limit` px."""

    def size_in(low: float, high: float) -> float:
        return math.exp(rng.uniform(math.log(low), math.log(min(high, limit))))

    def count_in(low: int, high: int) -> int:
        return int(rng.integers(low, high, endpoint=True))

    classes, distractors = list(CATEGORIES), [name for name in SHAPES if name not in CATEGORIES]
    found = [ShapeRequest(str(rng.choice(classes)), size_in(*scene.sizes)) for _ in range(count_in(*scene.objects))]
    found += [ShapeRequest(str(rng.choice(classes)), size_in(*LARGE)) for _ in range(scene.large)]
    found += [
        ShapeRequest("rectangle", size_in(*BAR_SIZE), stretch=rng.uniform(*BAR_STRETCH)) for _ in range(scene.bars)
    ]
    for _ in range(scene.crowds):
        members = count_in(*CROWD_MEMBERS)
        found.append(ShapeRequest(str(rng.choice(classes)), CROWD_PITCH * math.sqrt(members), members=members))
    upper = max(scene.sizes[1], 2 * DISTRACTOR_MIN)
    for _ in range(count_in(*scene.distractors)):
        found.append(ShapeRequest(str(rng.choice(distractors)), size_in(DISTRACTOR_MIN, upper)))
    return found


def choose_corner(
    rng: Generator, mask: tuple[int, ...], image: tuple[int, int], centres: Points | None
) -> tuple[int, int]:
    """(left, top) of a mask (h, w) inside an image (h, w): anywhere, or around one of the `centres` (n, 2)."""
    room = np.array([image[1] - mask[1], image[0] - mask[0]])
    if centres is None:
        left, top = rng.integers(0, room, endpoint=True)
    else:
        wanted = rng.normal(centres[rng.integers(len(centres))], 0.12 * min(image))
        left, top = wanted.round().astype(int).clip(0, room)
    return int(left), int(top)


def moved(shape: Shape, left: int, top: int) -> Shape:
    """The shape, moved from the origin so that the corner of its mask is at (left, top)."""
    offset = np.array([left, top])
    return replace(shape, outline=[ring + offset for ring in shape.outline], left=left, top=top)


def hides_too_much(owner: NDArray[np.int32], shapes: list[Shape], shape: Shape) -> bool:
    """Whether `shape` would leave less than VISIBLE of one of the `shapes` drawn so far, or cover part of a crowd."""
    taken = owner[shape.window][shape.footprint]  # (n,)
    for number in np.unique(taken[taken > 0]):
        below = shapes[number - 1]
        left = (owner[below.window] == number).sum() - (taken == number).sum()
        if below.iscrowd or left < VISIBLE * below.footprint.sum():
            return True
    return False


def contrasting_colour(rng: Generator, canvas: Colours, shape: Shape) -> Colours | None:
    """A random RGB colour (3,) 0..255 that obeys the contrast rule at the place of the shape, or None if no colour does."""
    rows, columns = (slice(max(side.start - MARGIN, 0), side.stop + MARGIN) for side in shape.window)
    around = canvas[rows, columns]
    step = 1 + min(around.shape[:2]) // 64  # a sample of the surroundings is enough for a large shape
    low, high = np.quantile(around[::step, ::step] @ LUMA, (0.02, 0.98))
    sides = [side for side in ((5.0, low - CONTRAST), (high + CONTRAST, 250.0)) if side[0] <= side[1]]
    if not sides:
        return None
    target = rng.uniform(*sides[rng.integers(len(sides))])
    colour = 255 * rng.permutation([0.0, rng.random(), 1.0])  # full saturation, any hue
    luma = float(colour @ LUMA)
    # Mixed with black or white, a colour keeps its hue and reaches any luma.
    if target < luma:
        return np.asarray(colour * (target / luma), np.float32)
    return np.asarray(255 - (255 - colour) * ((255 - target) / (255 - luma)), np.float32)


def draw_background(rng: Generator, width: int, height: int) -> Colours:
    """A background (height, width, 3) of low contrast: gradient, blobs, texture, blurred patches and lines, stripes."""
    canvas = np.full((height, width, 3), rng.uniform(100, 155) + rng.normal(0, 18, 3), np.float32)
    for cells, strength in ((2, 28.0), (7, 14.0), (int(rng.integers(20, 120)), rng.uniform(2.0, 14.0))):
        tint = 0.5 * rng.normal(0, strength, (cells, cells, 3))  # weaker than the shading, which keeps colours natural
        grid = (128 + rng.normal(0, strength, (cells, cells, 1)) + tint).clip(0, 255)
        layer = Image.fromarray(grid.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        canvas += np.asarray(layer, np.float32) - 128
    image = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(10, 60))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        shade = canvas[int(y), int(x)] + rng.normal(0, 20)
        colour = tuple(int(v) for v in shade.clip(0, 255))
        if rng.random() < 0.5:
            angles = np.sort(rng.uniform(0, 2 * math.pi, 7))
            patch = polar(rng.uniform(0.3, 1.0, 7) * rng.uniform(5, 70), angles) + np.array([x, y])
            draw.polygon([tuple(point) for point in patch], fill=colour)
        else:
            reach = polar(rng.uniform(20, 300), rng.uniform(0, 2 * math.pi, 1))[0]
            draw.line([(x, y), (x + reach[0], y + reach[1])], fill=colour, width=int(rng.integers(1, 4)))
    canvas = np.asarray(image.filter(ImageFilter.BoxBlur(rng.uniform(0.3, 1.5))), np.float32)
    across, down = rng.normal(0, 0.25, 2)
    phase = across * np.arange(width, dtype=np.float32) + down * np.arange(height, dtype=np.float32)[:, None]
    canvas = canvas + np.sin(phase)[..., None] * rng.uniform(0, 8)
    luma = canvas @ LUMA
    return np.asarray(canvas + (luma.clip(*BACKGROUND_LUMA) - luma)[..., None], np.float32)
