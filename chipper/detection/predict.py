"""Detections and proposals for the images of a COCO file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from chipper.checks import between
from chipper.coco.masks import paste_mask
from chipper.columns import Images, Proposals
from chipper.detection.checkpoint import load_detector
from chipper.detection.devices import pick_device
from chipper.detection.inference import (
    ImageDetections,
    ImageProposals,
    detect_flipped_too,
    detect_image,
    merge_detections,
    propose_image,
)
from chipper.detection.picture import Picture
from chipper.errors import CheckpointError, DeviceError, ImageError, OptionError
from chipper.images.decoded import DecodedImage, open_source
from chipper.images.finding import image_path
from chipper.images.options import PixelOptions
from chipper.mining.scales import Scale, ValidRange, parse_scales, parse_valid_ranges
from chipper.parallel.progress import Monitor
from chipper.runs import read_config

T = TypeVar("T")

PUBLISHED_RANGES = {
    ValidRange(120): ValidRange(75),
    ValidRange(32, 150): ValidRange(32, 180),
    ValidRange(0, 80): ValidRange(0, 90),
}
"""The published code's valid ranges at training and at inference: wider there, so that an object near a bound is found by
both neighbours."""


@dataclass(frozen=True)
class InferenceScales:
    """What inference looks at: whole images at each scale, and the sizes that each scale's detections may have."""

    scales: tuple[Scale, ...]
    valid_ranges: tuple[ValidRange, ...]

    @classmethod
    def of(cls, run_dir: Path, scales: str | None, valid_ranges: str | None) -> InferenceScales:
        """The given one, else the training run's scales with its ranges widened as the published code widens its own."""
        trained = read_config(run_dir).pyramid
        chosen = trained.scales if scales is None else parse_scales(scales)
        if valid_ranges is not None:
            return cls(chosen, parse_valid_ranges(valid_ranges, chosen))
        if len(chosen) != len(trained.scales):
            raise OptionError(
                f"--scales names {len(chosen)} scales, the run has {len(trained.scales)}; give --valid-ranges too"
            )
        return cls.trained_on(chosen, trained.valid_ranges)

    @classmethod
    def trained_on(cls, scales: tuple[Scale, ...], valid_ranges: tuple[ValidRange, ...]) -> InferenceScales:
        """These scales, with the ranges of training widened as the published code widens its own."""
        return cls(scales, tuple(map(_widened, valid_ranges)))

    def single(self) -> InferenceScales:
        """Its middle scale alone, for objects of every size: what a detector without a pyramid does."""
        return InferenceScales((self.scales[len(self.scales) // 2],), (ValidRange(),))


def _widened(trained: ValidRange) -> ValidRange:
    """The range at inference for one of training; for a range that the published code has not, by its own proportions."""
    if trained in PUBLISHED_RANGES:
        return PUBLISHED_RANGES[trained]
    low = trained.low * (75 / 120) if np.isinf(trained.high) else trained.low
    return ValidRange(low, trained.high * (180 / 150))


def predict(
    run_dir: Path,
    images: Images,
    image_dir: Path,
    pyramid: InferenceScales,
    device: str,
    score_floor: float,
    monitor: Monitor,
    flip: bool = False,
    focus: float | None = None,
    pixels: PixelOptions = PixelOptions(),  # noqa: B008, it is frozen
) -> list[dict[str, Any]]:
    """COCO results of every image: bbox xywh in source px, at most 200 an image after Soft-NMS over all scales.

    With ``flip`` the mirror image is looked at as well; with ``focus`` finer scales only where it is worth it, see
    `detect_image`; how many pixels that were goes to ``monitor``. A model with masks adds them, as compressed RLE.
    What ``pixels`` leave open is as the run was trained.
    """
    between("--score-floor", score_floor, 0, 1)
    if focus is not None:
        between("--focus", focus, 0, 1)
    detect = detect_flipped_too if flip else detect_image
    where = pick_device(device)
    with monitor.stage(f"loading the model of {run_dir}"):
        model, checkpoint = load_detector(run_dir, where)
    if checkpoint.rpn_only:
        raise CheckpointError(f"{run_dir} trained the RPN alone; train the whole detector, or give another --run")
    category_ids = checkpoint.identity.class_ids
    ranges = [(r.low, r.high) for r in pyramid.valid_ranges]
    pixels = pixels.over(PixelOptions.from_text(read_config(run_dir).pixels))
    results: list[dict[str, Any]] = []
    looked_at, pyramid_pixels = 0, 0.0
    with monitor.progress("detecting (images)", len(images)) as advance:

        def look(picture: Picture, factors: list[float]) -> ImageDetections:
            return merge_detections(detect(model, picture, factors, ranges, where, score_floor, focus=focus))

        for image_id, size, factors, found in _looked_at(images, image_dir, pixels, pyramid, look, monitor):
            looked_at += found.pixels
            pyramid_pixels += sum(size[0] * size[1] * factor**2 for factor in factors) * (2 if flip else 1)
            for k, (box, score, label) in enumerate(
                zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
            ):
                xywh = [round(v, 3) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])]
                results.append(
                    {
                        "image_id": image_id,
                        "category_id": category_ids[label - 1],
                        "bbox": xywh,
                        "score": round(score, 5),
                    }
                )
                if found.masks is not None:
                    results[-1]["segmentation"] = paste_mask(found.masks[k], found.boxes[k], size)
            advance(1)
    if focus is not None and pyramid_pixels:
        monitor.note(
            f"looked at {looked_at / pyramid_pixels:.1%} of the pyramid's {pyramid_pixels / 1e6:,.0f} million pixels"
        )
    return results


def propose(
    run_dir: Path,
    images: Images,
    image_dir: Path,
    pyramid: InferenceScales,
    device: str,
    limit: int,
    monitor: Monitor,
    pixels: PixelOptions = PixelOptions(),  # noqa: B008, it is frozen
) -> Proposals:
    """The RPN's best ``limit`` proposals of every image at every scale (SNIPER, section 3.2), in source px.

    What ``pixels`` leave open is as the run was trained.
    """
    where = pick_device(device)
    with monitor.stage(f"loading the model of {run_dir}"):
        model, _ = load_detector(run_dir, where)
    pixels = pixels.over(PixelOptions.from_text(read_config(run_dir).pixels))
    ids, boxes, scores = [np.zeros(0, np.int64)], [np.zeros((0, 4))], [np.zeros(0)]

    def look(picture: Picture, factors: list[float]) -> ImageProposals:
        return propose_image(model, picture, factors, None, where, limit)

    with monitor.progress("proposing (images)", len(images)) as advance:
        for image_id, _, _, found in _looked_at(images, image_dir, pixels, pyramid, look, monitor):
            best = np.argsort(-found.scores, kind="stable")
            ids.append(np.full(best.size, image_id))
            boxes.append(found.boxes[best].astype(np.float64))
            scores.append(found.scores[best].astype(np.float64))
            advance(1)
    return Proposals(np.concatenate(ids), np.concatenate(boxes), np.concatenate(scores))


def _looked_at(
    images: Images,
    image_dir: Path,
    pixels: PixelOptions,
    pyramid: InferenceScales,
    look: Callable[[Picture, list[float]], T],
    monitor: Monitor,
) -> Iterator[tuple[int, tuple[int, int], list[float], T]]:
    """Id, (width, height) and scale factors of every image that can be read, and what ``look`` finds in it; the others are
    warned of.
    """
    bad = 0
    for k in range(len(images)):
        name, size = str(images.file_name[k]), (int(images.width[k]), int(images.height[k]))
        factors = [float(scale.factors(*size)) for scale in pyramid.scales]
        try:
            with open_source(image_path(image_dir, name), size, pixels=pixels) as source:
                picture = np.asarray(source.pixels) if isinstance(source, DecodedImage) else source
                found = _in_memory(look, picture, factors, f"{image_dir / name}")
        except ImageError as error:
            bad += 1
            monitor.skip(f"{image_dir / name}: {error}; left out")
            if bad == len(images):
                raise ImageError(f"none of the {bad} images can be decoded; check --image-dir") from None
            continue
        yield int(images.image_id[k]), size, factors, found


def _in_memory(look: Callable[[Picture, list[float]], T], picture: Picture, factors: list[float], name: str) -> T:
    """What ``look`` finds. Raises DeviceError where the device has too little memory for it."""
    try:
        return look(picture, factors)
    except torch.OutOfMemoryError:
        raise DeviceError(
            f"{name}: the device has too little memory for it; give coarser --scales, --single-scale, or --device cpu"
        ) from None
