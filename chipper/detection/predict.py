"""Detections and proposals for the images of a COCO file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from chipper import __version__
from chipper.checks import at_least, between
from chipper.coco.masks import paste_mask
from chipper.columns import Images, Proposals
from chipper.detection.checkpoint import find_checkpoint, load_detector
from chipper.detection.devices import pick_device
from chipper.detection.inference import detect_flipped_too, detect_image, propose_image
from chipper.detection.specs import PROPOSALS
from chipper.errors import CheckpointError, DeviceError, ImageError, option
from chipper.images.decoded import open_source
from chipper.images.finding import image_path
from chipper.images.options import PixelOptions
from chipper.inference.merging import ImageDetections, merge_detections
from chipper.inference.picture import Picture
from chipper.inference.planning import require_results_place
from chipper.inference.scales import SCORE_FLOOR, InferenceScales
from chipper.parallel.progress import SILENT, Monitor
from chipper.proposals.journal import ProposalJournal
from chipper.runs import read_config
from chipper.storage.files import fingerprint, fingerprint_of, write_json
from chipper.storage.journal import Journal, place_beside

T = TypeVar("T")


def predict(
    run_dir: Path,
    images: Images,
    image_dir: Path,
    pyramid: InferenceScales | None = None,
    *,
    device: str = "auto",
    score_floor: float = SCORE_FLOOR,
    flip: bool = False,
    focus: float | None = None,
    pixels: PixelOptions = PixelOptions(),  # noqa: B008, it is frozen
    out: Path | None = None,
    monitor: Monitor = SILENT,
) -> list[dict[str, Any]]:
    """COCO results of every image: bbox xywh in source px, at most 200 an image after Soft-NMS over all scales.

    A model with masks adds them, as compressed RLE. Images that cannot be decoded are warned of and left out.

    Args:
        run_dir: the training run's folder.
        images: the images.
        image_dir: folder or URL of the images.
        pyramid: by default the run's, widened.
        device: "cpu", "cuda", "cuda:1" or "auto".
        score_floor: the lowest score to keep.
        flip: the mirror image is looked at as well.
        focus: finer scales only where it is worth it, see `detect_image`; ``monitor`` is told how many pixels that were.
        pixels: what they leave open is as the run was trained.
        out: the COCO results file to write, if any. Until it is complete, ``out``.partial keeps what was found in each image, and
            the same call goes on from there after it was stopped. (Not so at a URL, where nothing can be appended.)
        monitor: hears of progress.

    Raises:
        OptionError: an option makes no sense, or there is a file at ``out`` that is not a results file.
        CheckpointError: the run cannot be used, or trained a proposal network alone.
        StorageError: ``out`` cannot be written; ``out``.partial is kept.
        ImageError: no image can be decoded.
        DeviceError: the device is not there, or has too little memory.
    """
    between("score_floor", score_floor, 0, 1)
    if focus is not None:
        between("focus", focus, 0, 1)
    if out is not None:
        require_results_place(out)
    where = pick_device(device)
    with monitor.stage(f"loading the model of {run_dir}"):
        model, checkpoint = load_detector(run_dir, where)
    if checkpoint.rpn_only:
        raise CheckpointError(
            f"{run_dir} trained the RPN alone; train the whole detector, or give another {option('run')}"
        )
    category_ids = checkpoint.identity.class_ids
    pyramid = pyramid or InferenceScales.of(run_dir)
    pixels = pixels.over(read_config(run_dir).pixel_options)
    detect = partial(
        detect_flipped_too if flip else detect_image, model, device=where, score_floor=score_floor, focus=focus
    )
    looked_at, pyramid_pixels = 0, 0.0

    def look(picture: Picture, factors: list[float]) -> ImageDetections:
        return merge_detections(detect(picture, factors, pyramid.valid_ranges))

    asked = [
        __version__,
        pyramid,
        score_floor,
        flip,
        focus,
        pixels,
        str(image_dir),
        *(c.tolist() for c in vars(images).values()),
    ]
    belongs_to = fingerprint(fingerprint_of(find_checkpoint(run_dir)).encode(), repr(asked).encode())
    with (
        Journal(place_beside(out), belongs_to) as journal,
        monitor.progress("detecting (images)", len(images)) as advance,
    ):
        if journal.found:
            monitor.note(f"going on after {len(journal.found):,} images, which {journal.path} holds")
            advance(len(journal.found))
        known = set(journal.found)
        for image_id, size, factors, found in _looked_at(images, image_dir, pixels, pyramid, look, monitor, known):
            looked_at += found.pixels
            pyramid_pixels += sum(size[0] * size[1] * factor**2 for factor in factors) * (2 if flip else 1)
            journal.add(image_id, list(_results(image_id, size, found, category_ids)))
            advance(1)
        results = [entry for image_id in images.image_id.tolist() for entry in journal.found.get(image_id, [])]
        if out is not None:
            write_json(out, results)
            journal.remove()
    if focus is not None and pyramid_pixels:
        monitor.note(
            f"looked at {looked_at / pyramid_pixels:.1%} of the pyramid's {pyramid_pixels / 1e6:,.0f} million pixels"
        )
    return results


def propose(
    run_dir: Path,
    images: Images,
    image_dir: Path,
    pyramid: InferenceScales | None = None,
    *,
    device: str = "auto",
    per_scale: int = PROPOSALS,
    pixels: PixelOptions = PixelOptions(),  # noqa: B008, it is frozen
    out: Path | None = None,
    save: Callable[[Proposals], None] = lambda found: None,
    monitor: Monitor = SILENT,
) -> Proposals:
    """The RPN's best ``per_scale`` proposals of every image at every scale (SNIPER, section 3.2), in source px.

    ``save`` writes them to ``out``, beside which they are kept until then. The other arguments and the errors are those of
    `predict`; a run of a proposal network alone will do.
    """
    at_least("per_scale", per_scale, 1)
    where = pick_device(device)
    with monitor.stage(f"loading the model of {run_dir}"):
        model, _ = load_detector(run_dir, where)
    pyramid = pyramid or InferenceScales.of(run_dir)
    pixels = pixels.over(read_config(run_dir).pixel_options)
    look = partial(propose_image, model, device=where, limit=per_scale)
    asked = [__version__, fingerprint_of(find_checkpoint(run_dir)), pyramid, per_scale, pixels, str(image_dir)]
    with (
        ProposalJournal(out, asked, images, monitor) as journal,
        monitor.progress("proposing (images)", len(images)) as advance,
    ):
        known = journal.known
        advance(len(known))
        for image_id, _, _, found in _looked_at(images, image_dir, pixels, pyramid, look, monitor, known):
            best = np.argsort(-found.scores, kind="stable")
            journal.add(image_id, np.concatenate([found.boxes[best], found.scores[best, None]], axis=1))
            advance(1)
        proposals = journal.proposals()
        save(proposals)
        if out is not None:
            journal.remove()
    return proposals


def _results(
    image_id: int, size: tuple[int, int], found: ImageDetections, category_ids: tuple[int, ...]
) -> Iterator[dict[str, Any]]:
    """One image's entries of a COCO results file."""
    columns = found.boxes.tolist(), found.scores.tolist(), found.labels.tolist()
    for k, ((x1, y1, x2, y2), score, label) in enumerate(zip(*columns, strict=True)):
        entry = {
            "image_id": image_id,
            "category_id": category_ids[label - 1],
            "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(score, 5),
        }
        if found.masks is not None:
            entry["segmentation"] = paste_mask(found.masks[k], found.boxes[k], size)
        yield entry


def _looked_at(
    images: Images,
    image_dir: Path,
    pixels: PixelOptions,
    pyramid: InferenceScales,
    look: Callable[[Picture, list[float]], T],
    monitor: Monitor,
    known: Collection[int] = (),
) -> Iterator[tuple[int, tuple[int, int], list[float], T]]:
    """Id, (width, height) and scale factors of every image that can be read, and what ``look`` finds in it.

    The images of the ids ``known`` are not looked at. Those that cannot be read are left out with a warning.
    """
    bad = 0
    for k, image_id in enumerate(images.image_id.tolist()):
        if image_id in known:
            continue
        name, size = str(images.file_name[k]), (int(images.width[k]), int(images.height[k]))
        factors = pyramid.factors(size)
        try:
            with open_source(image_path(image_dir, name), size, pixels=pixels) as source:
                found = _in_memory(look, source, factors, f"{image_dir / name}")
        except ImageError as error:
            bad += 1
            monitor.skip(f"{image_dir / name}: {error}; left out")
            if bad == len(images):
                raise ImageError(f"none of the {bad} images can be decoded; check {option('image_dir')}") from None
            continue
        yield image_id, size, factors, found


def _in_memory(look: Callable[[Picture, list[float]], T], picture: Picture, factors: list[float], name: str) -> T:
    """What ``look`` finds. Raises DeviceError where the device has too little memory for it."""
    try:
        return look(picture, factors)
    except torch.OutOfMemoryError:
        raise DeviceError(
            f"{name}: the device has too little memory for it; give coarser {option('scales')}, "
            f"{option('single_scale')}, or {option('device')} cpu"
        ) from None
