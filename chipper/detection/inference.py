"""Whole images through a detector, scale by scale."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from chipper.detection.model import Detector
from chipper.detection.specs import PROPOSALS
from chipper.errors import OptionError, option
from chipper.inference.focus import focus_regions, focus_windows
from chipper.inference.merging import ImageDetections, ImageProposals, best_proposals, join_detections
from chipper.inference.picture import Picture, mirrored, opened
from chipper.inference.scales import SCORE_FLOOR
from chipper.inference.views import TILE, View, Views, Window
from chipper.mining.scales import ValidRange


def detect_image(
    model: Detector,
    image: Picture,
    scales: Sequence[float],
    valid_ranges: Sequence[ValidRange],
    *,
    device: torch.device | str = "cpu",
    score_floor: float = SCORE_FLOOR,
    proposals: int = PROPOSALS,
    tile: int = TILE,
    focus: float | None = None,
) -> ImageDetections:
    """Detections of image (H, W, 3) RGB at every scale factor, in source px.

    Each scale keeps those whose sqrt(w * h) in source px is in its range; ``proposals`` a scale are
    classified. Not merged: `merge_detections` does that. The model must be on ``device``; it is put in eval mode.

    With ``focus``, a probability, every scale after the first is looked at only around cells that the focus branch of the
    scale before gives that much (AutoFocus); scales must run from coarse to fine then, and the model have the branch.

    A canvas over ``tile`` px is looked at tile by tile, each with its ``proposals``, see `Views`; boxes cut by a tile are
    dropped.

    Raises:
        OptionError: ``focus`` without the branch, or scales, ranges or image of the wrong kind.
    """
    if focus is not None and model.focus_head is None:
        raise OptionError(
            f"the model has no focus branch; train with {option('focus')}, or leave out {option('focus')} here"
        )
    views = Views(image, scales, valid_ranges, tile)
    model.eval()
    parts: list[ImageDetections] = []
    windows = [views.whole(0)]
    for index in range(len(scales)):
        regions: list[Window] = []
        for view in views.of(index, windows):
            with _precision(device):
                (found,) = model.detect(_tensor(view, device), score_floor, proposals)
            boxes, kept = view.source_boxes(found.boxes.cpu().numpy())
            parts.append(
                ImageDetections(
                    boxes=boxes[kept],
                    scores=found.scores.cpu().numpy()[kept],
                    labels=found.labels.cpu().numpy()[kept],
                    scale_index=np.full(kept.size, index, np.int64),
                    masks=None if found.masks is None else found.masks.cpu().numpy()[kept],
                    pixels=view.pixels.shape[0] * view.pixels.shape[1],
                )
            )
            if focus is not None:
                assert found.focus is not None
                x, y = view.window[:2]
                near = focus_regions(found.focus.cpu().numpy(), model.focus_stride, focus)
                regions += [(left + x, top + y, right + x, bottom + y) for left, top, right, bottom in near]
        if index + 1 < len(scales):
            windows = [views.whole(index + 1)]
            if focus is not None:
                factor = scales[index + 1] / scales[index]
                windows = focus_windows(regions, factor, views.size(index + 1), model.chip_size)
    return join_detections(parts)


def detect_flipped_too(
    model: Detector,
    image: Picture,
    scales: Sequence[float],
    valid_ranges: Sequence[ValidRange],
    *,
    device: torch.device | str = "cpu",
    score_floor: float = SCORE_FLOOR,
    focus: float | None = None,
) -> ImageDetections:
    """What `detect_image` finds in the image and in its mirror image, the latter mirrored back."""
    detect = partial(detect_image, device=device, score_floor=score_floor, focus=focus)
    straight = detect(model, image, scales, valid_ranges)
    other = detect(model, mirrored(image), scales, valid_ranges)
    return join_detections([straight, other.mirrored(opened(image).width)])


def propose_image(
    model: Detector,
    image: Picture,
    scales: Sequence[float],
    valid_ranges: Sequence[ValidRange] | None = None,
    *,
    device: torch.device | str = "cpu",
    limit: int = PROPOSALS,
    tile: int = TILE,
) -> ImageProposals:
    """The RPN's best ``limit`` proposals of image (H, W, 3) RGB at every scale, in source px.

    SNIPER keeps them all, whatever their size (``valid_ranges`` None): mining picks by scale and range itself. Of a canvas
    in tiles, see `detect_image`, the best ``limit`` of all tiles are kept.

    Raises:
        OptionError: scales, ranges or image are of the wrong kind.
    """
    ranges = [ValidRange()] * len(scales) if valid_ranges is None else valid_ranges
    views = Views(image, scales, ranges, tile)
    model.eval()
    parts: list[ImageProposals] = []
    for view in (view for index in range(len(scales)) for view in views.of(index, [views.whole(index)])):
        with _precision(device):
            (found,) = model.propose(_tensor(view, device), limit)
        boxes, kept = view.source_boxes(found.boxes.cpu().numpy())
        scale_index = np.full(kept.size, view.scale_index, np.int64)
        parts.append(ImageProposals(boxes[kept], found.scores.cpu().numpy()[kept], scale_index))
    return best_proposals(parts, limit)


def _tensor(view: View, device: torch.device | str) -> torch.Tensor:
    """(1, 3, h, w) uint8 on the device."""
    return torch.from_numpy(view.pixels).to(device).permute(2, 0, 1)[None]


def _precision(device: torch.device | str) -> torch.autocast:
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda")
