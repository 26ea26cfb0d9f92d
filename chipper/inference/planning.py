"""What the commands that detect and propose look at: which images, at which scales, by which run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from chipper.checks import among
from chipper.coco.reading import read_images
from chipper.columns import Images
from chipper.images.finding import find_image_dir
from chipper.images.options import PixelOptions
from chipper.inference.scales import InferenceScales
from chipper.manifest.workdir import Workdir
from chipper.mining.scales import ValidRange, parse_scales
from chipper.runs import find_run, read_config
from chipper.shards.shard_set import exported_pixels
from chipper.storage.replacing import head, require_replaceable

METHODS = ("rpn", "selective-search")
"""Where proposals come from: a proposal network, or a search that needs no training."""


_RESULTS = re.compile(rb'\s*\[\s*(\]|{\s*"image_id": ?\d+,\s*"category_id")')


def require_results_place(out: Path) -> None:
    """Raise OptionError if there is a file at ``out`` that is not a COCO results file."""
    require_replaceable(out, "a results file", lambda path: _RESULTS.match(head(path)) is not None)


@dataclass(frozen=True)
class InferencePlan:
    """Images and how they are looked at."""

    run_dir: Path | None  # of the network; None where none looks
    images: Images
    image_dir: Path
    pyramid: InferenceScales
    pixels: PixelOptions  # the given ones, and for those left open the ones of training


def plan_prediction(
    workdir: Workdir,
    coco: Path,
    *,
    run: str | None = None,
    scales: str | None = None,
    valid_ranges: str | None = None,
    single_scale: bool = False,
    image_dir: Path | None = None,
    pixels: PixelOptions = PixelOptions(),  # noqa: B008, it is frozen
) -> InferencePlan:
    """What a detector looks at.

    Args:
        workdir: it holds the runs.
        coco: the file that lists the images.
        run: name of the run; None takes the newest that detects.
        scales: coarse to fine; None takes those of training.
        valid_ranges: one for each scale; None widens those of training.
        single_scale: the middle scale alone, for objects of every size.
        image_dir: folder or URL of the images; None looks around the file.
        pixels: bands and stretch; what they leave open is as in training.

    Raises:
        OptionError: an option makes no sense.
        CheckpointError: there is no such run.
        AnnotationError: the COCO file cannot be read.
        ImageDirectoryError: no folder holds the images.
    """
    run_dir = find_run(workdir, run, detects=True)
    images = read_images(coco)
    folder = find_image_dir(coco, [str(name) for name in images.file_name], image_dir)
    pyramid = InferenceScales.of(run_dir, scales, valid_ranges)
    trained = read_config(run_dir).pixel_options
    return InferencePlan(run_dir, images, folder, pyramid.single() if single_scale else pyramid, pixels.over(trained))


def plan_proposals(
    workdir: Workdir,
    *,
    method: str = METHODS[0],
    run: str | None = None,
    scales: str | None = None,
    image_dir: Path | None = None,
    pixels: PixelOptions = PixelOptions(),  # noqa: B008, it is frozen
) -> InferencePlan:
    """What proposals are made from: the images of the workdir.

    A search looks at each image once; it has as many scales as the chips, whose bands and stretch it takes. The other
    arguments and errors are those of `plan_prediction`.

    Raises:
        OptionError: ``method`` is not one of `METHODS`.
        WorkdirError: no finished workdir lies there.
    """
    among("method", method, METHODS)
    run_dir = find_run(workdir, run) if method == "rpn" else None
    manifest = workdir.open()
    images, folder = manifest.all_images(), manifest.image_dir(image_dir)
    if run_dir is not None:
        trained = read_config(run_dir).pixel_options
        return InferencePlan(run_dir, images, folder, InferenceScales.of(run_dir, scales), pixels.over(trained))
    chosen = manifest.dataset.positive_options.scales if scales is None else parse_scales(scales)
    pyramid = InferenceScales(chosen, (ValidRange(),) * len(chosen))
    return InferencePlan(None, images, folder, pyramid, pixels.over(exported_pixels(workdir.shards)))
