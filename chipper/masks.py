"""Masks and keypoints as a chip shows them: moved, scaled and clipped to the chip's content."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from PIL import Image
from pycocotools import mask as coco_mask

Window = tuple[float, float, float, float, float]
"""scale (canvas px per source px), x, y (canvas px), content width, content height (chip px)."""

_DECIMALS = 3  # chip px; COCO itself writes two


def clip_segmentation(segmentation: Any, window: Window, image_size: tuple[int, int]) -> tuple[Any, float | None]:
    """The part of a COCO segmentation inside the window, in chip px, and its area in chip px^2 (None where unknown).

    Polygons stay polygons (a concave one may fall apart); RLE masks, compressed or not, become compressed RLE masks of
    the content's size. ``image_size`` is (width, height) of the source image. What is neither comes out as no mask, [].
    """
    try:
        if isinstance(segmentation, list):
            return _clip_polygons(segmentation, window)
        return _clip_rle(_packed(segmentation, image_size), window, image_size)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError):  # whatever the JSON holds
        return [], None


def _packed(rle: dict[str, Any], image_size: tuple[int, int]) -> dict[str, Any]:
    """An RLE of the image's size, compressed; pycocotools trusts counts and sizes, so they are checked before."""
    size = [image_size[1], image_size[0]]
    counts = rle["counts"]
    if list(rle["size"]) != size:
        raise ValueError("a mask of another size than its image")
    if isinstance(counts, str):
        return {"size": size, "counts": counts.encode("ascii")}
    if not all(type(n) is int and n >= 0 for n in counts) or sum(counts) != size[0] * size[1]:
        raise ValueError("run lengths that do not add up to the image")
    packed: dict[str, Any] = coco_mask.frPyObjects({"size": size, "counts": counts}, *size)
    return packed


def _clip_polygons(polygons: list[Any], window: Window) -> tuple[list[list[float]], float | None]:
    scale, x, y, width, height = window
    pieces, usable = [], False
    for flat in polygons:
        if not isinstance(flat, list) or len(flat) < 6 or len(flat) % 2:
            continue  # fewer than three points, as some tools write for specks
        points = np.asarray(flat, dtype=np.float64).reshape(-1, 2) * scale - (x, y)
        if not np.isfinite(points).all():
            continue
        usable = True
        shape = shapely.Polygon(points)
        if not shape.is_valid:
            shape = shapely.make_valid(shape)  # even-odd, as pycocotools fills outlines that cross themselves
        cut = shapely.intersection(shape, shapely.box(0, 0, width, height))
        pieces += [piece for piece in shapely.get_parts(cut) if piece.geom_type == "Polygon" and piece.area > 0]
    if not usable:
        return [], None
    outlines = [np.round(_outline(piece), _DECIMALS).ravel().tolist() for piece in pieces]
    return outlines, float(shapely.union_all(pieces).area) if pieces else 0.0


def _outline(piece: shapely.Polygon) -> npt.NDArray[np.float64]:
    """(n, 2) one path around a polygon and its holes: COCO knows no holes, so slits of no width lead to them and back."""
    rings = [np.asarray(ring.coords) for ring in (piece.exterior, *piece.interiors)]
    if len(rings) == 1:
        return rings[0][:-1]
    path = [rings[0]]
    for hole in rings[1:]:
        path += [hole, rings[0][:1]]
    return np.concatenate(path)


def _clip_rle(packed: dict[str, Any], window: Window, image_size: tuple[int, int]) -> tuple[dict[str, Any], float]:
    scale, x, y, width, height = window
    mask = Image.fromarray(coco_mask.decode(packed) * np.uint8(255))
    box = (x / scale, y / scale, min((x + width) / scale, image_size[0]), min((y + height) / scale, image_size[1]))
    cut = mask.resize((int(width), int(height)), Image.Resampling.BILINEAR, box=box)
    encoded = coco_mask.encode(np.asfortranarray(np.asarray(cut) >= 128).astype(np.uint8, order="F"))
    return {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")}, float(coco_mask.area(encoded))


def clip_keypoints(keypoints: Any, window: Window) -> tuple[list[float], int]:
    """COCO keypoints x y v in chip px and how many are labelled; those outside become 0 0 0, as COCO writes
    unlabelled ones, and what is no list of keypoints becomes none.
    """
    scale, x, y, width, height = window
    try:
        points = np.asarray(keypoints, dtype=np.float64).reshape(-1, 3)
    except (ValueError, TypeError):  # no triples of numbers
        return [], 0
    moved = np.round(points[:, :2] * scale - (x, y), _DECIMALS)
    inside = (points[:, 2] > 0) & (moved >= 0).all(axis=1) & (moved[:, 0] < width) & (moved[:, 1] < height)
    out = np.where(inside[:, None], np.column_stack([moved, points[:, 2]]), 0.0)
    return out.ravel().tolist(), int(inside.sum())
