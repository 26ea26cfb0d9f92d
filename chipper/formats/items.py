"""What importers read: images with their items; and clipping of boxes to their image."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DECIMALS = 6  # of a px; as precise as the formats, without noise of binary fractions
EVERY_CATEGORY = None


@dataclass(frozen=True, slots=True)
class Item:
    """One annotated object or region of a file."""

    category: Hashable  # the key in the format; EVERY_CATEGORY for a region of all categories
    box: tuple[float, float, float, float]  # x1 y1 x2 y2 in px, continuous, x2 and y2 exclusive; not clipped
    line: int  # line number in its file
    difficult: bool = False  # or excluded from evaluation for another reason; see `ImportOptions`
    polygon: list[float] | None = None  # x y x y ... in px
    keypoints: list[float] | None = None  # x y v x y v ... in px, v as in COCO


@dataclass(frozen=True)
class AnnotatedImage:
    """One image and the content of its annotation file."""

    image: Path
    source: Path  # the annotation file
    width: int  # px
    height: int  # px
    items: list[Item]


def clipped(box: tuple[float, float, float, float], width: int, height: int) -> list[float] | str:
    """The part of a box inside the image as COCO's x y w h, or the reason why nothing is inside."""
    x1, y1, x2, y2 = box
    if not (x2 > x1 and y2 > y1):
        return "box without area"
    left, right = max(x1, 0.0), min(x2, float(width))
    top, bottom = max(y1, 0.0), min(y2, float(height))
    if not (right > left and bottom > top):
        return "box outside the image"
    x, y = round(left, DECIMALS), round(top, DECIMALS)
    w, h = round(right - left, DECIMALS), round(bottom - top, DECIMALS)
    # the reader of COCO files uses float32, whose steps are at most 1 px up to `LARGEST_SIDE`
    if min(w, h) <= 2 and not (np.float32(x + w) > np.float32(x) and np.float32(y + h) > np.float32(y)):
        return "box without area"
    return [x, y, w, h]


def polygon_area(polygon: Sequence[float]) -> float:
    """Area in px^2 of a polygon x y x y ..., by the shoelace formula."""
    x, y = np.array(polygon[::2]), np.array(polygon[1::2])
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
