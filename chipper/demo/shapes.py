"""The shapes of the demo's images: labelled classes, and distractors that resemble them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.floating[Any]]
Points = NDArray[np.float64]  # (n, 2) x, y
Outline = list[Points]  # filled rings have a positive shoelace area, holes a negative one

CATEGORIES = {"disc": 1, "triangle": 2, "rectangle": 4, "star": 7, "ring": 9}  # ids with gaps, as in COCO
CROWD_MEMBER_SIZE, CROWD_PITCH = (5.0, 9.0), 12.0  # px


@dataclass(frozen=True)
class Shape:
    """A shape as drawn. `outline` in image px; `mask` is its coverage (h, w) 0..255 with its corner at (left, top).

    `category_id` is None for a distractor. A crowd is one shape with at least one ring per member.
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
        """The rows and columns of the image that `mask` covers."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def footprint(self) -> NDArray[np.bool_]:
        """The pixels (h, w) of `mask` that others should not hide; for a crowd all pixels, also those between members."""
        return np.ones_like(self.mask, bool) if self.iscrowd else self.mask >= 128


@dataclass(frozen=True)
class ShapeRequest:
    """A shape to draw: sqrt(w*h) = `size` px; a bar if `stretch` > 1, a crowd if `members` > 1."""

    name: str
    size: float
    stretch: float = 1.0
    members: int = 1


def build_outline(rng: Generator, wish: ShapeRequest, room: tuple[float, float]) -> Outline:
    """The outline of a request at the origin. Its box has sqrt(w*h) = `wish.size` px, or less to fit into `room` (w, h) px."""
    if wish.members > 1:
        return build_crowd(rng, wish)
    rings = SHAPES[wish.name](rng)
    angle = rng.uniform(0, 2 * math.pi)
    if wish.stretch > 1.0:
        rings = [box_corners(wish.stretch, 1.0)]
        angle = rng.integers(2) * math.pi / 2 + rng.normal(0, 0.01)  # with more tilt, its box would not be elongated
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    rings = [ring @ turn for ring in rings]
    low = rings[0].min(axis=0)
    extent = rings[0].max(axis=0) - low
    scale = min(wish.size / math.sqrt(extent[0] * extent[1]), *(np.array(room) / extent))
    return [(ring - low) * scale for ring in rings]


def build_crowd(rng: Generator, wish: ShapeRequest) -> Outline:
    """Members of one class on a jittered grid around a centre: too many and too small to label each of them."""
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


def rasterise(rng: Generator, wish: ShapeRequest, outline: Outline) -> Shape:
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
    """Points (48, 2) of a circle, or of an arc of `turn` radians including both ends."""
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
