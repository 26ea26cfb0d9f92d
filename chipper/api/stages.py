"""The stages from a COCO file to shards, as functions for a notebook or a script.

Options and defaults are those of the commands with the same name. Progress is logged, not shown; pass ``monitor`` to receive
it. Warnings are always logged.
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

POSITIVE_OPTIONS = PositiveOptions.parse().as_text() | {
    "valid_ranges": None
}  # None: the ranges of SNIPER, for three scales
NEGATIVE_OPTIONS = defaults_of(NegativeOptions)
PIXEL_OPTIONS = defaults_of(PixelOptions)
RENDER_OPTIONS = defaults_of(RenderOptions, "pixels")
EXPORT_OPTIONS = {f.name: f.default for f in fields(ExportOptions) if f.name != "render"}


def read_coco(path: PathLike, *, masks: bool = False) -> Coco:
    """Read a COCO file into columns; ``skipped`` lists unusable records with the reason.

    Raises:
        AnnotationError: the file cannot be read, is not COCO, or has no usable records.
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
        workdir: folder to create, or a workdir that already has the same chips.
        image_dir: folder or URL of the images; by default chipper searches beside the COCO file.
        overwrite: replace a workdir that was made from another file or with other options.
        jobs: number of workers; -1 uses all cores.
        monitor: gets the progress.
        options: scales like ``"512,1.667,3"``, valid_ranges like ``"120:,32:150,:80"`` (sqrt(w * h) in source px),
            chip_size in px, and the other options of ``chipper build-positives``.

    Raises:
        OptionError: an option is invalid.
        AnnotationError: the COCO file cannot be used.
        WorkdirError: the workdir contains other chips.
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
    """Choose negative chips: windows with many proposals that no positive chip covers (SNIPER, section 3.2).

    Args:
        proposals: SNIPER's pickle, a pickled dict by image id, COCO results .json, or chipper's .parquet.
        workdir: a finished workdir.
        jobs: number of workers; -1 uses all cores.
        monitor: gets the progress.
        options: those of ``chipper mine-negatives``.

    Raises:
        OptionError: an option is invalid.
        WorkdirError: the folder is not a finished workdir.
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
    """Render the chips of a workdir into WebDataset shards; complete shards are kept.

    Args:
        workdir: a finished workdir.
        image_dir: folder or URL of the images; by default chipper searches beside the COCO file.
        shards: folder or URL of the shards; by default inside the workdir.
        jobs: number of worker processes; -1 uses all cores.
        monitor: gets the progress.
        options: those of ``chipper export-shards``: quality, bands, stretch, chips_per_shard, ...

    Returns:
        The result of the export. Images that could not be rendered are in its ``faults``, and a warning is logged.

    Raises:
        OptionError: an option is invalid.
        WorkdirError, ImageDirectoryError, ImageError, StorageError: as in `chipper.shards.export.export_shards`.
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
    repair: bool = False,
    shards: PathLike | None = None,
    jobs: int = -1,
    monitor: Monitor = LOGGED,
) -> Checked:
    """Check that every shard exists, is complete and was not changed; ``deep`` also decodes every sample.

    With ``repair`` the receipts of damaged shards are removed, so that `export_shards` renders these shards again.

    Returns:
        The result of the check; ``faults`` has one line per fault, ``unreachable`` one per remote shard that cannot be read
        now, and each is logged as a warning.

    Raises:
        ShardError: there is no finished export.
        UnreachableError: the shards are remote, and cannot be read now.
    """
    folder = workdir_at(workdir, shards).shards
    checked = verify_shards(folder, deep=deep, repair=repair, workers=Workers(jobs), monitor=monitor)
    for fault in (*checked.faults, *checked.unreachable):
        monitor.warn(fault)
    return checked


def open_workdir(workdir: PathLike = WORKDIR, *, shards: PathLike | None = None) -> Workdir:
    """Open a finished workdir.

    Raises:
        WorkdirError: the folder is not a finished workdir, or cannot be used.
    """
    found = workdir_at(workdir, shards)
    found.dataset()
    return found
