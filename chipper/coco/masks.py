"""Masks and keypoints in chip px: moved, scaled and clipped to the chip's content."""

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
_FAR = 16  # times a grid's side; pycocotools traces an outline cell by cell, also far outside the grid


def clip_segmentation(segmentation: Any, window: Window, image_size: tuple[int, int]) -> tuple[Any, float | None]:
    """The part of a COCO segmentation inside the window, in chip px, and its area in chip px^2 (None where unknown).

    Polygons stay polygons (a concave one may become several); RLE masks, compressed or not, become compressed RLE masks of
    the content's size. ``image_size`` is (width, height) of the source image. Anything else becomes an empty mask, [].
    """
    try:
        if isinstance(segmentation, list):
            return _clip_polygons(segmentation, window)
        return _clip_rle(packed_rle(segmentation, image_size), window, image_size)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError):  # the JSON can contain anything
        return [], None


def packed_rle(rle: dict[str, Any], image_size: tuple[int, int]) -> dict[str, Any]:
    """A compressed RLE of the image's size; counts and size are checked here, because pycocotools does not check them."""
    size = [image_size[1], image_size[0]]
    counts = rle["counts"]
    if list(rle["size"]) != size:
        raise ValueError("the mask has another size than its image")
    if isinstance(counts, str):
        runs = unpacked_runs(counts)
        if min(runs, default=0) < 0 or sum(runs) != size[0] * size[1]:
            raise ValueError("the run lengths do not add up to the size of the image")
        return {"size": size, "counts": counts.encode("ascii")}
    if not all(type(n) is int and n >= 0 for n in counts) or sum(counts) != size[0] * size[1]:
        raise ValueError("the run lengths do not add up to the size of the image")
    packed: dict[str, Any] = coco_mask.frPyObjects({"size": size, "counts": counts}, *size)
    return packed


def unpacked_runs(counts: str) -> list[int]:
    """The run lengths of a compressed RLE. Raises ValueError if the text is not one.

    Each number is written in digits of 5 bits, lowest first. A digit is a character from "0" on, and 32 is added to every
    digit except the last. From the fourth number on, the difference to the number two places before is written (pycocotools'
    rleFrString). pycocotools reads past the end if the last digit is missing, and needs hours for negative lengths.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in counts:
        digit = ord(letter) - 48
        if not 0 <= digit < 64 or shift > 35:
            raise ValueError("the compressed mask has invalid characters or too long numbers")
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            if digit & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("the compressed mask is truncated")
    return runs


def _clip_polygons(polygons: list[Any], window: Window) -> tuple[list[list[float]], float | None]:
    scale, x, y, width, height = window
    pieces, usable = [], False
    for flat in polygons:
        if not isinstance(flat, list) or len(flat) < 6 or len(flat) % 2:
            continue  # fewer than three points; some tools write these for tiny objects
        points = np.asarray(flat, dtype=np.float64).reshape(-1, 2) * scale - (x, y)
        if not np.isfinite(points).all():
            continue
        usable = True
        shape = shapely.Polygon(points)
        if not shape.is_valid:
            shape = shapely.make_valid(shape)  # even-odd, which is how pycocotools fills outlines that cross themselves
        cut = shapely.intersection(shape, shapely.box(0, 0, width, height))
        pieces += [piece for piece in shapely.get_parts(cut) if piece.geom_type == "Polygon" and piece.area > 0]
    if not usable:
        return [], None
    outlines = [np.round(_outline(piece), _DECIMALS).ravel().tolist() for piece in pieces]
    return outlines, float(shapely.union_all(pieces).area) if pieces else 0.0


def _outline(piece: shapely.Polygon) -> npt.NDArray[np.float64]:
    """(n, 2) one path around a polygon and its holes. COCO has no holes, so lines of zero width connect them."""
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


def mask_in_box(segmentation: Any, box: npt.ArrayLike, side: int) -> npt.NDArray[np.uint8]:
    """The part of a chip's segmentation (from `clip_segmentation`) in a box, as a grid (side, side) of 0 and 1.

    The box (4,) is x1 y1 x2 y2 in chip px; row 0 of the grid is its top. A missing mask, or one outside the box, gives all 0.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: ``segmentation`` is not valid.
    """
    x1, y1, x2, y2 = np.asarray(box, dtype=np.float64).tolist()
    nothing = np.zeros((side, side), np.uint8)
    if not segmentation or not x2 > x1 or not y2 > y1:
        return nothing
    if isinstance(segmentation, list):
        factor = np.array([side / (x2 - x1), side / (y2 - y1)])
        polygons = [((np.reshape(flat, (-1, 2)) - (x1, y1)) * factor).ravel().tolist() for flat in segmentation]
        if max(np.abs(flat).max(initial=0) for flat in polygons) > _FAR * side:  # a thin part of a large object
            polygons, _ = _clip_polygons(polygons, (1.0, 0.0, 0.0, side, side))
        if not polygons:
            return nothing
        return np.asarray(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, side, side))), np.uint8)
    height, width = segmentation["size"]
    whole = coco_mask.decode(packed_rle(segmentation, (width, height)))
    inside = (max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        return nothing
    cut = Image.fromarray(whole * np.uint8(255)).resize((side, side), Image.Resampling.BILINEAR, box=inside)
    return np.asarray(np.asarray(cut) >= 128, np.uint8)


def paste_mask(mask: npt.NDArray[np.float32], box: npt.ArrayLike, image_size: tuple[int, int]) -> dict[str, Any]:
    """A compressed RLE of the image's size (width, height), from the mask probabilities (m, m) in a box.

    The box (4,) is x1 y1 x2 y2 in image px; a px belongs to the mask if the probability at its centre is at least 0.5
    (Mask R-CNN, He et al., ICCV 2017, section 3.1).
    """
    x1, y1, x2, y2 = np.asarray(box, dtype=np.float64).tolist()
    width, height = image_size
    left, top = max(int(np.floor(x1)), 0), max(int(np.floor(y1)), 0)
    right, bottom = min(int(np.ceil(x2)), width), min(int(np.ceil(y2)), height)
    whole = np.zeros((height, width), np.uint8, order="F")
    if right > left and bottom > top and x2 > x1 and y2 > y1:
        rows, columns = mask.shape
        # the position in the grid of each px of the window; px outside the box are 0
        u = (np.arange(left, right) + 0.5 - x1) / (x2 - x1) * columns - 0.5
        v = (np.arange(top, bottom) + 0.5 - y1) / (y2 - y1) * rows - 0.5
        across, down = _weights(u, columns), _weights(v, rows)
        whole[top:bottom, left:right] = down @ mask @ across.T >= 0.5
    encoded = coco_mask.encode(whole)
    return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}


def _weights(places: npt.NDArray[np.float64], cells: int) -> npt.NDArray[np.float64]:
    """(n, cells) weights of linear interpolation at positions in cells; positions outside the grid have weight 0."""
    distance = np.abs(places.clip(0, cells - 1)[:, None] - np.arange(cells))
    weights = np.clip(1 - distance, 0, None)
    weights[(places < -0.5) | (places > cells - 0.5)] = 0
    return np.asarray(weights)


def clip_keypoints(keypoints: Any, window: Window) -> tuple[list[float], int]:
    """COCO keypoints x y v in chip px, and the number of labelled ones.

    Keypoints outside the window become 0 0 0, which is how COCO writes unlabelled ones. An invalid list becomes empty.
    """
    scale, x, y, width, height = window
    try:
        points = np.asarray(keypoints, dtype=np.float64).reshape(-1, 3)
    except (ValueError, TypeError):  # not triples of numbers
        return [], 0
    moved = np.round(points[:, :2] * scale - (x, y), _DECIMALS)
    inside = (points[:, 2] > 0) & (moved >= 0).all(axis=1) & (moved[:, 0] < width) & (moved[:, 1] < height)
    out = np.where(inside[:, None], np.column_stack([moved, points[:, 2]]), 0.0)
    return out.ravel().tolist(), int(inside.sum())
