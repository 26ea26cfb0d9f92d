"""A drawn COCO data set for `chipper demo` and the tests: small objects among look-alikes, as SNIPER expects them.

Five classes of shapes, most of them small, lie on cluttered backgrounds among distractors that resemble them and carry
no label. Of every sixteen images two are crowded, two empty, two show a large object, one shows bars longer than a
fine-scale chip, one has a crowd region and eight are plain.

What makes the labels fair:
- Contrast: a background's luma stays within `BACKGROUND_LUMA`. A shape gets a luma at least `CONTRAST` away from 96 %
  of the pixels in its box and `MARGIN` px around it, as they are when it is drawn, or is placed elsewhere. Grain with a
  standard deviation of at most `GRAIN` comes last.
- Occlusion: shapes are drawn large to small, and one that would leave less than `VISIBLE` of another is placed
  elsewhere. One that finds no place is neither drawn nor labelled. Boxes and polygons describe the whole shape.
- Look-alikes: distractors are at least `DISTRACTOR_MIN` px, so that what tells them apart can be seen.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from chipper.errors import OptionError, StorageError

Floats = NDArray[np.floating[Any]]
Colours = NDArray[np.float32]  # (..., 3) RGB, 0..255
Points = NDArray[np.float64]  # (n, 2) x, y
Outline = list[Points]  # filled rings have a positive shoelace area, holes a negative one

CATEGORIES = {"disc": 1, "triangle": 2, "rectangle": 4, "star": 7, "ring": 9}  # ids with gaps, as COCO's have
SPLITS = ("train", "val")
IMAGE_ID_BASE = {"train": 0, "val": 1_000_000}  # ids differ between splits, so a mix-up shows

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
BACKGROUND_LUMA = (75.0, 180.0)
CONTRAST = 50.0
MARGIN = 3
GRAIN = 6.0
VISIBLE = 0.85
DISTRACTOR_MIN = 12.0
PLACEMENT_TRIES = 40


@dataclass(frozen=True)
class DemoOptions:
    """What to draw: number of images per split, (width, height) of each in px, and the seed."""

    train_images: int = 96
    val_images: int = 32
    size: tuple[int, int] = (640, 480)
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.train_images, self.val_images) < 0:
            raise OptionError(f"demo image counts are {self.train_images} and {self.val_images}; give 0 or more")
        if min(self.size) < 256:
            width, height = self.size
            raise OptionError(f"demo size is {width}x{height} px; crowded images need 256 px or more on each side")
        if self.seed < 0:
            raise OptionError(f"demo seed is {self.seed}; give 0 or more")


@dataclass(frozen=True)
class Shape:
    """A shape as drawn. `outline` in image px; `mask` is its coverage (h, w) 0..255 with its corner at (left, top).

    `category_id` is None for a distractor. A crowd is one shape with a ring or more per member.
    """

    name: str
    category_id: int | None
    outline: Outline
    mask: NDArray[np.uint8]
    left: int
    top: int
    iscrowd: bool = False

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the image that `mask` lies on."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def footprint(self) -> NDArray[np.bool_]:
        """The pixels (h, w) of `mask` that others should not hide: a crowd's are all, those between members too."""
        return np.ones_like(self.mask, bool) if self.iscrowd else self.mask >= 128


@dataclass(frozen=True)
class Wish:
    """A shape that an image shall hold: sqrt(w*h) = `size` px; a bar if `stretch` > 1, a crowd if `members` > 1."""

    name: str
    size: float
    stretch: float = 1.0
    members: int = 1


@dataclass(frozen=True)
class Scene:
    """Ranges, both ends included, of what images of a kind hold; sizes are sqrt(w*h) in px, drawn log-uniformly."""

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
CROWD_MEMBERS, CROWD_MEMBER_SIZE, CROWD_PITCH = (25, 60), (5.0, 9.0), 12.0
# The first eight images show every kind, so that a small demo does too.
FIRST_EIGHT = ("mixed", "crowded", "large", "elongated", "mixed", "empty", "crowd", "mixed")
CYCLE = (*FIRST_EIGHT, "mixed", "crowded", "large", "mixed", "mixed", "empty", "mixed", "mixed")


def draw_demo(folder: Path, options: DemoOptions) -> None:
    """Write `folder`/{train,val}/images/*.jpg and `folder`/{train,val}/coco.json, the latter last.

    The bytes depend on nothing but the options and the builds of numpy and Pillow. Raises StorageError when `folder`
    cannot be written.
    """
    try:
        draw_split(folder / "train", "train", options.train_images, options)
        draw_split(folder / "val", "val", options.val_images, options)
    except OSError as error:
        raise StorageError(f"cannot write the demo data to {folder}: {error}; choose another folder") from error


def draw_split(folder: Path, split: str, count: int, options: DemoOptions) -> None:
    """Write the `count` images and the coco.json of one split into its folder."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        pixels, shapes = draw_image(options, split, index)
        height, width = pixels.shape[:2]
        image_id, name = IMAGE_ID_BASE[split] + index + 1, f"{split}_{index:05d}.jpg"
        Image.fromarray(pixels).save(folder / "images" / name, quality=92)
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for shape in shapes:
            if shape.category_id is not None:
                fields = annotate(shape, options.size)
                annotations.append({"id": len(annotations) + 1, "image_id": image_id, **fields})
    coco = {
        "info": {"description": "chipper demo: drawn shapes", "version": "1", "split": split, "seed": options.seed},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "supercategory": "shape"} for name, number in CATEGORIES.items()],
    }
    unfinished = folder / "coco.json.tmp"
    unfinished.write_text(json.dumps(coco))
    os.replace(unfinished, folder / "coco.json")


def annotate(shape: Shape, size: tuple[int, int]) -> dict[str, Any]:
    """The shape's COCO fields but for the ids of annotation and image; `size` is (width, height) of the image in px.

    Box and area are those of the polygon, holes subtracted; a crowd's are those of its members' pixels, written as RLE.
    """
    common = {"category_id": shape.category_id, "iscrowd": int(shape.iscrowd)}
    if shape.iscrowd:
        full = np.zeros(size[::-1], bool)  # (height, width)
        full[shape.window] = shape.mask >= 128
        pixels = np.argwhere(full)[:, ::-1]  # (n, 2) x, y
        low, high = pixels.min(axis=0), pixels.max(axis=0) + 1
        rle = {"counts": run_lengths(full), "size": [size[1], size[0]]}
        return common | {"bbox": box_of(low, high), "area": float(len(pixels)), "segmentation": rle}
    polygon = shape.outline[0]
    if len(shape.outline) > 1:  # COCO polygons know no holes: the path enters one and returns along a slit of no width
        polygon = np.concatenate([np.vstack([ring, ring[:1]]) for ring in shape.outline])
    polygon = polygon.round(2)  # (n, 2)
    bbox = box_of(polygon.min(axis=0), polygon.max(axis=0))
    area = round(sum(shoelace(ring) for ring in shape.outline), 2)
    return common | {"bbox": bbox, "area": area, "segmentation": [polygon.ravel().tolist()]}


def box_of(low: NDArray[Any], high: NDArray[Any]) -> list[float]:
    """COCO's box x, y, w, h of two corners (2,) in px, to 0.01 px."""
    return [round(float(value), 2) for value in (*low, *(high - low))]


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed RLE of a mask (h, w): run lengths down the columns, that of zeros first."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate([[0] if flat[0] else [], [0], changes, [flat.size]]).astype(int)
    return [int(run) for run in np.diff(edges)]


def draw_image(options: DemoOptions, split: str, index: int) -> tuple[NDArray[np.uint8], list[Shape]]:
    """Pixels (height, width, 3) and the shapes on them, distractors included, in drawing order.

    Seeded by (seed, split, index) alone, so images can be drawn in any order and by any number of workers.
    """
    rng = np.random.default_rng([options.seed, SPLITS.index(split), index])
    width, height = options.size
    scene = SCENES[CYCLE[index % len(CYCLE)]]
    canvas = draw_background(rng, width, height)
    owner = np.zeros((height, width), np.int32)  # 1 + index of the topmost shape at each pixel, 0 for background
    shapes: list[Shape] = []
    centres = rng.uniform(0.2, 0.8, (3, 2)) * options.size if scene.clustered else None
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


def wishes(rng: Generator, scene: Scene, limit: float) -> list[Wish]:
    """What to draw in one image of a scene; no size exceeds `limit` px."""

    def size_in(low: float, high: float) -> float:
        return math.exp(rng.uniform(math.log(low), math.log(min(high, limit))))

    def count_in(low: int, high: int) -> int:
        return int(rng.integers(low, high, endpoint=True))

    classes, distractors = list(CATEGORIES), [name for name in SHAPES if name not in CATEGORIES]
    found = [Wish(str(rng.choice(classes)), size_in(*scene.sizes)) for _ in range(count_in(*scene.objects))]
    found += [Wish(str(rng.choice(classes)), size_in(*LARGE)) for _ in range(scene.large)]
    found += [Wish("rectangle", size_in(*BAR_SIZE), stretch=rng.uniform(*BAR_STRETCH)) for _ in range(scene.bars)]
    for _ in range(scene.crowds):
        members = count_in(*CROWD_MEMBERS)
        found.append(Wish(str(rng.choice(classes)), CROWD_PITCH * math.sqrt(members), members=members))
    upper = max(scene.sizes[1], 2 * DISTRACTOR_MIN)
    for _ in range(count_in(*scene.distractors)):
        found.append(Wish(str(rng.choice(distractors)), size_in(DISTRACTOR_MIN, upper)))
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
    """The shape, which lies at the origin, with its mask's corner at (left, top)."""
    offset = np.array([left, top])
    return replace(shape, outline=[ring + offset for ring in shape.outline], left=left, top=top)


def hides_too_much(owner: NDArray[np.int32], shapes: list[Shape], shape: Shape) -> bool:
    """Whether `shape` would leave less than VISIBLE of one of the `shapes` drawn so far, or lie on a crowd."""
    taken = owner[shape.window][shape.footprint]  # (n,)
    for number in np.unique(taken[taken > 0]):
        below = shapes[number - 1]
        left = (owner[below.window] == number).sum() - (taken == number).sum()
        if below.iscrowd or left < VISIBLE * below.footprint.sum():
            return True
    return False


def contrasting_colour(rng: Generator, canvas: Colours, shape: Shape) -> Colours | None:
    """A random RGB colour (3,) 0..255 that obeys the contrast rule where the shape lies, or None if there is none."""
    rows, columns = (slice(max(side.start - MARGIN, 0), side.stop + MARGIN) for side in shape.window)
    around = canvas[rows, columns]
    step = 1 + min(around.shape[:2]) // 64  # a sample tells enough of a large shape's surroundings
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


def build_outline(rng: Generator, wish: Wish, room: tuple[float, float]) -> Outline:
    """The wished shape at the origin, its box of sqrt(w*h) = `wish.size` px, or less to fit into `room` (w, h) px."""
    if wish.members > 1:
        return build_crowd(rng, wish)
    rings = SHAPES[wish.name](rng)
    angle = rng.uniform(0, 2 * math.pi)
    if wish.stretch > 1.0:
        rings = [box_corners(wish.stretch, 1.0)]
        angle = rng.integers(2) * math.pi / 2 + rng.normal(0, 0.01)  # tilted further, its box would not be elongated
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    rings = [ring @ turn for ring in rings]
    low = rings[0].min(axis=0)
    extent = rings[0].max(axis=0) - low
    scale = min(wish.size / math.sqrt(extent[0] * extent[1]), *(np.array(room) / extent))
    return [(ring - low) * scale for ring in rings]


def build_crowd(rng: Generator, wish: Wish) -> Outline:
    """Members of one class on a jittered grid around a centre: too small and too many to label one by one."""
    reach = math.isqrt(wish.members) + 2
    steps = np.arange(-reach, reach + 1.0)
    cells = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    distance = np.hypot(*(cells + rng.normal(0, 0.4, cells.shape)).T)
    rings: Outline = []
    for cell in cells[np.argsort(distance)[: wish.members]]:
        member = replace(wish, size=rng.uniform(*CROWD_MEMBER_SIZE), members=1)
        corner = cell * CROWD_PITCH + rng.uniform(0, 2, 2)
        rings += [ring + corner for ring in build_outline(rng, member, (CROWD_PITCH - 3, CROWD_PITCH - 3))]
    low = np.min([ring.min(axis=0) for ring in rings], axis=0)
    return [ring - low for ring in rings]


def rasterise(rng: Generator, wish: Wish, outline: Outline) -> Shape:
    """The shape with an anti-aliased mask at a random sub-pixel position next to the image's origin."""
    outline = [ring + offset for offset in [rng.uniform(0, 1, 2)] for ring in outline]
    width, height = (int(v) for v in np.ceil(np.max([ring.max(axis=0) for ring in outline], axis=0)))
    fine = 8 if wish.size < 48 else 4 if wish.size < 160 else 2
    mask = Image.new("L", (width * fine, height * fine))
    draw = ImageDraw.Draw(mask)
    for ring in outline:  # Pillow's integer coordinates are pixel centres, ours pixel corners
        draw.polygon([tuple(point) for point in ring * fine - 0.5], fill=255 if shoelace(ring) > 0 else 0)
    return Shape(
        name=wish.name,
        category_id=CATEGORIES.get(wish.name),
        outline=outline,
        mask=np.asarray(mask.reduce(fine)),
        left=0,
        top=0,
        iscrowd=wish.members > 1,
    )


def shoelace(ring: Points) -> float:
    """Area of a ring (n, 2) in px^2, positive when x turns towards y."""
    x, y = ring.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def polar(radii: Floats | float, angles: Floats) -> Points:
    """Points (n, 2) at radii and angles (n,) around the origin."""
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=-1)


def arc(turn: float = 2 * math.pi, radius: float = 1.0) -> Points:
    """A circle's points (48, 2), or those of an arc of `turn` radians with both ends."""
    return polar(radius, np.linspace(0, turn, 48, endpoint=turn < 2 * math.pi))


def box_corners(half_width: float, half_height: float) -> Points:
    """Corners (4, 2) of a rectangle around the origin."""
    return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (half_width, half_height)


def triangle_corners(rng: Generator) -> Points:
    """Corners (3, 2) of a triangle that is regular to within 11 degrees."""
    return polar(1.0, np.arange(3) * (2 * math.pi / 3) + rng.uniform(-0.2, 0.2, 3))


def draw_ring(rng: Generator) -> Outline:
    """A circle with a round hole."""
    return [arc(), arc(radius=rng.uniform(0.5, 0.65))[::-1]]


def draw_open_arc(rng: Generator) -> Outline:
    """Like a ring, with a gap."""
    turn, inner = rng.uniform(1.15, 1.55) * math.pi, rng.uniform(0.5, 0.65)
    return [np.concatenate([arc(turn), arc(turn, inner)[::-1]])]


def draw_cross(rng: Generator) -> Outline:
    """Like a star, with four arms."""
    w = rng.uniform(0.2, 0.35)
    quarter = np.array([(1, -w), (1, w), (w, w)])  # (3, 2), turned three times
    turns = [np.array([(c, s), (-s, c)]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return [np.concatenate([quarter @ turn for turn in turns])]


def draw_ell(rng: Generator) -> Outline:
    """Like a rectangle, with one corner missing."""
    w, length = rng.uniform(0.3, 0.45), rng.uniform(0.8, 1.4)
    return [np.array([(0, 0), (1, 0), (1, w), (w, w), (w, length), (0, length)])]


def draw_hollow_triangle(rng: Generator) -> Outline:
    """Like a triangle, but only its outline."""
    corners = triangle_corners(rng)
    centre = corners.mean(axis=0)
    return [corners, (centre + (corners - centre) * rng.uniform(0.45, 0.6))[::-1]]


SHAPES: dict[str, Callable[[Generator], Outline]] = {
    "disc": lambda rng: [arc() * (rng.uniform(1.0, 1.2), 1.0)],
    "triangle": lambda rng: [triangle_corners(rng)],
    "rectangle": lambda rng: [box_corners(rng.uniform(1.0, 1.8), 1.0)],
    "star": lambda rng: [polar(np.tile(np.array([1.0, 0.42]), 5), np.arange(10) * (math.pi / 5))],
    "ring": draw_ring,
    # Distractors: every name that CATEGORIES lacks.
    "ellipse": lambda rng: [arc() * (rng.uniform(2.2, 3.5), 1.0)],
    "half disc": lambda rng: [arc(turn=math.pi)],
    "open arc": draw_open_arc,
    "cross": draw_cross,
    "ell": draw_ell,
    "hollow triangle": draw_hollow_triangle,
}
