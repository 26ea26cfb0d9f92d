"""Whole images through a detector, scale by scale, and the merge of what the scales found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from chipper.detection.model import PROPOSALS, Detector
from chipper.errors import OptionError
from chipper.soft_nms import SNIPER_MERGE, SoftNmsOptions, soft_nms

ValidRange = tuple[float, float]  # sqrt(w * h) in source px, [low, high)


@dataclass(frozen=True)
class ImageDetections:
    """What was found in one image, in source px."""

    boxes: npt.NDArray[np.float32]  # (n, 4) x1 y1 x2 y2
    scores: npt.NDArray[np.float32]  # (n,)
    labels: npt.NDArray[np.int64]  # (n,) 1..C
    scale_index: npt.NDArray[np.int64]  # (n,) the scale that found it


@dataclass(frozen=True)
class ImageProposals:
    """Proposals of one image, in source px."""

    boxes: npt.NDArray[np.float32]  # (n, 4) x1 y1 x2 y2
    scores: npt.NDArray[np.float32]  # (n,) objectness
    scale_index: npt.NDArray[np.int64]  # (n,) the scale that proposed it


@dataclass(frozen=True)
class _Canvas:
    index: int
    tensor: torch.Tensor  # (1, 3, h, w) uint8
    to_source: npt.NDArray[np.float32]  # (4,) factors of x1 y1 x2 y2
    valid_range: ValidRange


def detect_image(
    model: Detector,
    image: npt.NDArray[np.uint8],
    scales: Sequence[float],
    valid_ranges: Sequence[ValidRange],
    device: torch.device | str = "cpu",
    score_floor: float = 0.001,
    proposals: int = PROPOSALS,
) -> ImageDetections:
    """Detections of image (H, W, 3) RGB at every scale factor, in source px.

    Each scale keeps those whose sqrt(w * h) in source px is in its range; ``proposals`` a scale are
    classified. Not merged: `merge_detections` does that. The model must be on ``device``; it is put in eval mode.
    """
    parts: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64], int]] = []
    for canvas in _canvases(model, image, scales, valid_ranges, device):
        with _precision(device):
            (found,) = model.detect(canvas.tensor, score_floor, proposals)
        boxes = found.boxes.cpu().numpy() * canvas.to_source
        kept = _in_range(boxes, canvas.valid_range)
        parts.append((boxes[kept], found.scores.cpu().numpy()[kept], found.labels.cpu().numpy()[kept], canvas.index))
    return ImageDetections(
        boxes=np.concatenate([part[0] for part in parts]),
        scores=np.concatenate([part[1] for part in parts]),
        labels=np.concatenate([part[2] for part in parts]),
        scale_index=np.concatenate([np.full(len(part[0]), part[3], np.int64) for part in parts]),
    )


def propose_image(
    model: Detector,
    image: npt.NDArray[np.uint8],
    scales: Sequence[float],
    valid_ranges: Sequence[ValidRange] | None = None,
    device: torch.device | str = "cpu",
    limit: int = PROPOSALS,
) -> ImageProposals:
    """The RPN's best ``limit`` proposals of image (H, W, 3) RGB at every scale, in source px.

    SNIPER keeps them all, whatever their size (``valid_ranges`` None): mining picks by scale and range itself.
    """
    ranges = [(0.0, float("inf"))] * len(scales) if valid_ranges is None else valid_ranges
    parts: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], int]] = []
    for canvas in _canvases(model, image, scales, ranges, device):
        with _precision(device):
            (found,) = model.propose(canvas.tensor, limit)
        boxes = found.boxes.cpu().numpy() * canvas.to_source
        kept = _in_range(boxes, canvas.valid_range)
        parts.append((boxes[kept], found.scores.cpu().numpy()[kept], canvas.index))
    return ImageProposals(
        boxes=np.concatenate([part[0] for part in parts]),
        scores=np.concatenate([part[1] for part in parts]),
        scale_index=np.concatenate([np.full(len(part[0]), part[2], np.int64) for part in parts]),
    )


def merge_detections(found: ImageDetections, options: SoftNmsOptions = SNIPER_MERGE) -> ImageDetections:
    """One image's detections of all scales after Gaussian Soft-NMS, best first."""
    index, scores = soft_nms(found.boxes, found.scores, found.labels, options)
    return ImageDetections(found.boxes[index], scores, found.labels[index], found.scale_index[index])


def _canvases(
    model: Detector,
    image: npt.NDArray[np.uint8],
    scales: Sequence[float],
    valid_ranges: Sequence[ValidRange],
    device: torch.device | str,
) -> Iterator[_Canvas]:
    """The image at each scale, round(size * scale), as the chips it was trained on were resized."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise OptionError(f"an image must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
    if not scales or len(scales) != len(valid_ranges):
        raise OptionError(f"{len(scales)} scales and {len(valid_ranges)} valid ranges: give one range to each scale")
    model.eval()
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    for index, (scale, valid_range) in enumerate(zip(scales, valid_ranges, strict=True)):
        size = max(1, round(width * scale)), max(1, round(height * scale))
        canvas = picture if size == picture.size else picture.resize(size, Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(canvas)).to(device).permute(2, 0, 1)[None]
        back = width / size[0], height / size[1]
        yield _Canvas(index, pixels, np.array(back * 2, np.float32), valid_range)


def _in_range(boxes: npt.NDArray[np.float32], valid_range: ValidRange) -> npt.NDArray[np.bool_]:
    side = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    return np.asarray((side >= valid_range[0]) & (side < valid_range[1]))


def _precision(device: torch.device | str) -> torch.autocast:
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda")
