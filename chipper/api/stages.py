"""The stages from a COCO file to shards, as functions for a notebook or a script.

Options are those of the commands of the same name, with their defaults. Progress is logged and not shown; give
``monitor`` to hear of it. Warnings are always logged.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from chipper.api.places import WORKDIR, PathLike, place, place_or_none, workdir_at
from chipper.api.signatures import defaults_of, takes
from chipper.coco.reading import Coco
from chipper.coco.reading import read_coco as read_coco_file
from chipper.images.options import PixelOptions
from chipper.manifest.build_positives import build_positives as build
from chipper.manifest.mine_negatives import mine_negatives as mine
from chipper.manifest.workdir import Workdir
from chipper.mining.options import NegativeOptions, PositiveOptions
from chipper.parallel.progress import LOGGED, Monitor
from chipper.parallel.workers import Workers
from chipper.shards.export import Exported
from chipper.shards.export import export_shards as export
from chipper.shards.options import ExportOptions, RenderOptions
from chipper.shards.verify import Checked, verify_shards

POSITIVE_OPTIONS = PositiveOptions.parse().as_text() | {"valid_ranges": None}  # None: those of SNIPER, for three scales
NEGATIVE_OPTIONS = defaults_of(NegativeOptions)
PIXEL_OPTIONS = defaults_of(PixelOptions)
RENDER_OPTIONS = defaults_of(RenderOptions, "pixels")
EXPORT_OPTIONS = {f.name: f.default for f in fields(ExportOptions) if f.name != "render"}


def read_coco(path: PathLike, *, masks: bool = False) -> Coco:
    """Read a COCO file into columns; what cannot be used is listed in ``skipped`` with the reason.

    Raises:
        AnnotationError: the file cannot be read, is not COCO, or nothing in it can be used.
    """
    return read_coco_file(place(path), masks)


@takes(POSITIVE_OPTIONS)
def build_positives(
    coco: PathLike,
    workdir: PathLike | Workdir = WORKDIR,
    *,
    image_dir: PathLike | None = None,
    overwrite: bool = False,
    jobs: int = -1,
    monitor: Monitor = LOGGED,
    **options: Any,
) -> Workdir:
    """Choose the positive chips of a COCO file (SNIPER, section 3.1) and write them into a workdir.

    Args:
        coco: the COCO file.
        workdir: folder to make, or that holds the same chips already.
        image_dir: folder or URL of the images; by default looked for beside the COCO file.
        overwrite: replace a workdir made from another file or with other options.
        jobs: workers; -1 takes all cores.
        monitor: hears of progress.
        options: scales like ``"512,1.667,3"``, valid_ranges like ``"120:,32:150,:80"`` (sqrt(w * h) in source px),
            chip_size in px, and the others of ``chipper build-positives``.

    Raises:
        OptionError: an option makes no sense.
        AnnotationError: the COCO file cannot be used.
        WorkdirError: the workdir holds other chips.
    """
    found = workdir_at(workdir)
    chosen = PositiveOptions.parse(**options)
    directory = place_or_none(image_dir)
    build(place(coco), found, chosen, image_dir=directory, overwrite=overwrite, workers=Workers(jobs), monitor=monitor)
    return found


@takes(NEGATIVE_OPTIONS)
def mine_negatives(
    proposals: PathLike,
    workdir: PathLike | Workdir = WORKDIR,
    *,
    jobs: int = -1,
    monitor: Monitor = LOGGED,
    **options: Any,
) -> Workdir:
    """Choose negative chips where proposals crowd and no positive chip looks (SNIPER, section 3.2).

    Args:
        proposals: SNIPER's pickle, a pickled dict by image id, COCO results .json, or chipper's .parquet.
        workdir: a finished one.
        jobs: workers; -1 takes all cores.
        monitor: hears of progress.
        options: those of ``chipper mine-negatives``.

    Raises:
        OptionError: an option makes no sense.
        WorkdirError: no finished workdir lies there.
        ProposalError: the proposals cannot be read, or are for other images.
    """
    found = workdir_at(workdir)
    mine(found, place(proposals), NegativeOptions(**options), workers=Workers(jobs), monitor=monitor)
    return found


@takes(RENDER_OPTIONS | PIXEL_OPTIONS | EXPORT_OPTIONS)
def export_shards(
    workdir: PathLike | Workdir = WORKDIR,
    *,
    image_dir: PathLike | None = None,
    shards: PathLike | None = None,
    jobs: int = -1,
    monitor: Monitor = LOGGED,
    **options: Any,
) -> Exported:
    """Render the chips of a workdir into WebDataset shards; shards that are complete already are left alone.

    Args:
        workdir: a finished one.
        image_dir: folder or URL of the images; by default looked for beside the COCO file.
        shards: folder or URL of the shards; by default inside the workdir.
        jobs: worker processes; -1 takes all cores.
        monitor: hears of progress.
        options: those of ``chipper export-shards``: quality, bands, stretch, chips_per_shard, ...

    Returns:
        What was done; images that could not be rendered are its ``faults``, and a warning is logged.

    Raises:
        OptionError: an option makes no sense.
        WorkdirError, ImageDirectoryError, ImageError, StorageError: as `chipper.shards.export.export_shards`.
    """
    pixels = PixelOptions(**{name: value for name, value in options.items() if name in PIXEL_OPTIONS})
    render = RenderOptions(pixels=pixels, **{name: value for name, value in options.items() if name in RENDER_OPTIONS})
    chosen = ExportOptions(render, **{name: value for name, value in options.items() if name in EXPORT_OPTIONS})
    found, directory = workdir_at(workdir, shards), place_or_none(image_dir)
    exported = export(found, chosen, image_dir=directory, workers=Workers(jobs), monitor=monitor)
    for line in exported.lost:
        monitor.warn(line)
    return exported


def verify(
    workdir: PathLike | Workdir = WORKDIR,
    *,
    deep: bool = False,
    shards: PathLike | None = None,
    jobs: int = -1,
    monitor: Monitor = LOGGED,
) -> Checked:
    """Check that every shard is there, complete and unaltered; ``deep`` decodes every sample too.

    Returns:
        What was checked; ``faults`` has one line for each fault, and a warning is logged for each.

    Raises:
        ShardError: no finished export lies there.
    """
    checked = verify_shards(workdir_at(workdir, shards).shards, deep=deep, workers=Workers(jobs), monitor=monitor)
    for fault in checked.faults:
        monitor.warn(fault)
    return checked


def open_workdir(workdir: PathLike = WORKDIR, *, shards: PathLike | None = None) -> Workdir:
    """A finished workdir.

    Raises:
        WorkdirError: none lies there, or it cannot be used.
    """
    found = workdir_at(workdir, shards)
    found.dataset()
    return found
