"""Whole images through a detector, scale by scale, and the merge of what the scales found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from chipper.detection.focus import Window, focus_regions, focus_windows
from chipper.detection.model import Detector
from chipper.detection.picture import Picture, mirrored, opened
from chipper.detection.specs import PROPOSALS
from chipper.errors import OptionError
from chipper.kernels.soft_nms import SNIPER_MERGE, SoftNmsOptions, soft_nms

ValidRange = tuple[float, float]  # sqrt(w * h) in source px, [low, high)


@dataclass(frozen=True)
class ImageDetections:
    """What was found in one image, in source px."""

    boxes: npt.NDArray[np.float32]  # (n, 4) x1 y1 x2 y2
    scores: npt.NDArray[np.float32]  # (n,)
    labels: npt.NDArray[np.int64]  # (n,) 1..C
    scale_index: npt.NDArray[np.int64]  # (n,) the scale that found it
    masks: npt.NDArray[np.float32] | None = None  # (n, 28, 28) probabilities over the box, from a model with masks
    pixels: int = 0  # that the network has looked at, of all scales


@dataclass(frozen=True)
class ImageProposals:
    """Proposals of one image, in source px."""

    boxes: npt.NDArray[np.float32]  # (n, 4) x1 y1 x2 y2
    scores: npt.NDArray[np.float32]  # (n,) objectness
    scale_index: npt.NDArray[np.int64]  # (n,) the scale that proposed it


TILE = 2048  # px of a canvas that are looked at at once, on each side


@dataclass(frozen=True)
class _Canvas:
    """One scale of an image, or one tile of it."""

    index: int
    tensor: torch.Tensor  # (1, 3, h, w) uint8
    offset: npt.NDArray[np.float32]  # (4,) x y x y of the tile in its canvas, canvas px
    to_source: npt.NDArray[np.float32]  # (4,) factors of x1 y1 x2 y2
    valid_range: ValidRange
    inner: tuple[bool, bool, bool, bool]  # whether the left, top, right, bottom edge is not that of the canvas

    def source_boxes(self, found: torch.Tensor) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp]]:
        """Boxes (n, 4) in source px, and which of them count: of the right size, and not cut by an edge of a tile."""
        boxes = found.cpu().numpy()
        height, width = self.tensor.shape[2:]
        cut = np.zeros(len(boxes), dtype=bool)
        for k, edge in enumerate((boxes[:, 0], boxes[:, 1], width - boxes[:, 2], height - boxes[:, 3])):
            cut |= self.inner[k] & (edge < 1)
        boxes = (boxes + self.offset) * self.to_source
        return boxes, np.flatnonzero(_in_range(boxes, self.valid_range) & ~cut)


def detect_image(
    model: Detector,
    image: Picture,
    scales: Sequence[float],
    valid_ranges: Sequence[ValidRange],
    device: torch.device | str = "cpu",
    score_floor: float = 0.001,
    proposals: int = PROPOSALS,
    tile: int = TILE,
    focus: float | None = None,
) -> ImageDetections:
    """Detections of image (H, W, 3) RGB at every scale factor, in source px.

    Each scale keeps those whose sqrt(w * h) in source px is in its range; ``proposals`` a scale are
    classified. Not merged: `merge_detections` does that. The model must be on ``device``; it is put in eval mode.

    With ``focus``, a probability, every scale after the first is looked at only around cells that the focus branch of the
    scale before gives that much (AutoFocus); scales must run from coarse to fine then, and the model have the branch.

    A canvas over ``tile`` px is looked at tile by tile, each with its ``proposals``. Tiles overlap by the largest box that
    the scale is for (but by half a tile at most), so that every such box is whole in one; boxes cut by a tile are dropped.
    """
    if focus is not None and model.focus_head is None:
        raise OptionError("the model has no focus branch; train with --focus, or leave out --focus here")
    views = _Views(model, image, scales, valid_ranges, device, tile)
    parts: list[ImageDetections] = []
    windows = [views.whole(0)]
    for index in range(len(scales)):
        regions: list[Window] = []
        for canvas in views.of(index, windows):
            with _precision(device):
                (found,) = model.detect(canvas.tensor, score_floor, proposals)
            boxes, kept = canvas.source_boxes(found.boxes)
            parts.append(
                ImageDetections(
                    boxes=boxes[kept],
                    scores=found.scores.cpu().numpy()[kept],
                    labels=found.labels.cpu().numpy()[kept],
                    scale_index=np.full(kept.size, index, np.int64),
                    masks=None if found.masks is None else found.masks.cpu().numpy()[kept],
                    pixels=canvas.tensor.shape[2] * canvas.tensor.shape[3],
                )
            )
            if focus is not None:
                assert found.focus is not None
                x, y = (int(v) for v in canvas.offset[:2])
                near = focus_regions(found.focus.cpu().numpy(), model.focus_stride, focus)
                regions += [(left + x, top + y, right + x, bottom + y) for left, top, right, bottom in near]
        if index + 1 < len(scales):
            windows = [views.whole(index + 1)]
            if focus is not None:
                factor = scales[index + 1] / scales[index]
                windows = focus_windows(regions, factor, views.size(index + 1), model.chip_size)
    return _joined(parts)


def _joined(parts: list[ImageDetections]) -> ImageDetections:
    names = ("boxes", "scores", "labels", "scale_index", "masks")
    arrays: dict[str, Any] = {name: [getattr(part, name) for part in parts] for name in names}
    joined: dict[str, Any] = {k: None if v[0] is None else np.concatenate(v) for k, v in arrays.items()}
    return ImageDetections(**joined, pixels=sum(part.pixels for part in parts))


def propose_image(
    model: Detector,
    image: Picture,
    scales: Sequence[float],
    valid_ranges: Sequence[ValidRange] | None = None,
    device: torch.device | str = "cpu",
    limit: int = PROPOSALS,
    tile: int = TILE,
) -> ImageProposals:
    """The RPN's best ``limit`` proposals of image (H, W, 3) RGB at every scale, in source px.

    SNIPER keeps them all, whatever their size (``valid_ranges`` None): mining picks by scale and range itself. Of a canvas
    in tiles, see `detect_image`, the best ``limit`` of all tiles are kept.
    """
    ranges = [(0.0, float("inf"))] * len(scales) if valid_ranges is None else valid_ranges
    parts: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], int]] = []
    views = _Views(model, image, scales, ranges, device, tile)
    for canvas in (canvas for index in range(len(scales)) for canvas in views.of(index, [views.whole(index)])):
        with _precision(device):
            (found,) = model.propose(canvas.tensor, limit)
        boxes, kept = canvas.source_boxes(found.boxes)
        parts.append((boxes[kept], found.scores.cpu().numpy()[kept], canvas.index))
    scores = np.concatenate([part[1] for part in parts])
    scale_index = np.concatenate([np.full(len(part[0]), part[2], np.int64) for part in parts])
    order = np.lexsort((-scores, scale_index))
    rank = np.arange(order.size) - np.searchsorted(scale_index[order], scale_index[order])
    best = np.sort(order[rank < limit])
    return ImageProposals(np.concatenate([part[0] for part in parts])[best], scores[best], scale_index[best])


def detect_flipped_too(
    model: Detector,
    image: Picture,
    scales: Sequence[float],
    valid_ranges: Sequence[ValidRange],
    device: torch.device | str = "cpu",
    score_floor: float = 0.001,
    focus: float | None = None,
) -> ImageDetections:
    """What `detect_image` finds in the image and in its mirror image, the latter mirrored back."""
    detect = partial(detect_image, device=device, score_floor=score_floor, focus=focus)
    straight = detect(model, image, scales, valid_ranges)
    other = detect(model, mirrored(image), scales, valid_ranges)
    boxes = other.boxes.copy()
    boxes[:, [0, 2]] = opened(image).width - boxes[:, [2, 0]]
    masks = None if other.masks is None else other.masks[:, :, ::-1]
    return _joined([straight, replace(other, boxes=boxes, masks=masks)])


def merge_detections(found: ImageDetections, options: SoftNmsOptions = SNIPER_MERGE) -> ImageDetections:
    """One image's detections of all scales after Gaussian Soft-NMS, best first."""
    index, scores = soft_nms(found.boxes, found.scores, found.labels, options)
    masks = None if found.masks is None else found.masks[index]
    return ImageDetections(
        found.boxes[index], scores, found.labels[index], found.scale_index[index], masks, found.pixels
    )


class _Views:
    """The image at each scale, round(size * scale), as the chips it was trained on were resized; cut into windows and tiles."""

    def __init__(
        self,
        model: Detector,
        image: Picture,
        scales: Sequence[float],
        valid_ranges: Sequence[ValidRange],
        device: torch.device | str,
        tile: int,
    ) -> None:
        self._picture = opened(image)
        if not scales or len(scales) != len(valid_ranges):
            raise OptionError(
                f"{len(scales)} scales and {len(valid_ranges)} valid ranges: give one range to each scale"
            )
        model.eval()
        self._scales, self._ranges, self._device, self._tile = scales, valid_ranges, device, tile

    def size(self, index: int) -> tuple[int, int]:
        """Width and height of a scale's canvas."""
        width, height = self._picture.width, self._picture.height
        return max(1, round(width * self._scales[index])), max(1, round(height * self._scales[index]))

    def whole(self, index: int) -> Window:
        """A window that is all of a scale's canvas."""
        return (0, 0, *self.size(index))

    def of(self, index: int, windows: list[Window]) -> Iterator[_Canvas]:
        """The tiles of some windows of a scale's canvas."""
        size, valid_range = self.size(index), self._ranges[index]
        across, down = self._picture.width / size[0], self._picture.height / size[1]  # source px per canvas px
        largest = valid_range[1] * self._scales[index]
        for window in windows:
            for top, bottom in tiles(window[3] - window[1], self._tile, largest):
                for left, right in tiles(window[2] - window[0], self._tile, largest):
                    x1, y1, x2, y2 = left + window[0], top + window[1], right + window[0], bottom + window[1]
                    pixels = self._pixels((x1 * across, y1 * down, x2 * across, y2 * down), (x2 - x1, y2 - y1))
                    offset, back = np.array([x1, y1] * 2, np.float32), np.array([across, down] * 2, np.float32)
                    inner = x1 > 0, y1 > 0, x2 < size[0], y2 < size[1]
                    yield _Canvas(index, pixels, offset, back, valid_range, inner)

    def _pixels(self, box: tuple[float, float, float, float], size: tuple[int, int]) -> torch.Tensor:
        return torch.from_numpy(np.array(self._picture.cut(box, size))).to(self._device).permute(2, 0, 1)[None]


def tiles(length: int, tile: int, largest: float) -> list[tuple[int, int]]:
    """Begin and end of each tile along an axis of ``length`` px: even, and overlapping by ``largest`` px or half a tile."""
    if length <= tile:
        return [(0, length)]
    overlap = min(math.ceil(largest), tile // 2) if math.isfinite(largest) else tile // 2
    number = math.ceil((length - overlap) / (tile - overlap))
    starts = np.linspace(0, length - tile, number).round().astype(int).tolist()
    return [(start, start + tile) for start in starts]


def _in_range(boxes: npt.NDArray[np.float32], valid_range: ValidRange) -> npt.NDArray[np.bool_]:
    side = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    return np.asarray((side >= valid_range[0]) & (side < valid_range[1]))


def _precision(device: torch.device | str) -> torch.autocast:
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda")
