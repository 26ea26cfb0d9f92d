"""chipper build-positives, mine-negatives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from chipper.cli.command import command
from chipper.cli.console import ConsoleMonitor, print_summary
from chipper.cli.options import (
    Place,
    coco_argument,
    dry_run_option,
    field_option,
    image_dir_option,
    positive_options,
    workdir_option,
    workers_options,
)
from chipper.manifest.summary import negative_rows, positive_rows
from chipper.manifest.workdir import Workdir
from chipper.mining.options import NegativeOptions, PositiveOptions
from chipper.parallel.workers import Workers


@command("build-positives")
@coco_argument
@positive_options
@field_option(
    PositiveOptions,
    "variants",
    help="Number of positive sets, V, which differ in random tie-breaks; epoch e uses set e mod V.",
)
@field_option(PositiveOptions, "epochs", help="Number of epoch lists to write.")
@field_option(PositiveOptions, "seed", help="Seed of all random choices.")
@field_option(PositiveOptions, "masks", help="Keep segmentations, clipped to each chip.")
@click.option(
    "--overwrite", is_flag=True, help="Replace a workdir that was made from another file or with other options."
)
@image_dir_option
@workdir_option
@workers_options
@dry_run_option
def build_positives(
    coco: Path,
    workdir: Workdir,
    image_dir: Path | None,
    workers: Workers,
    overwrite: bool,
    dry_run: bool,
    **options: Any,
) -> None:
    """Choose the positive chips of COCO.

    Reads only annotations; images are not needed yet.

    \b
    Example: chipper build-positives coco.json --scales 512,1.667,3
    """
    from chipper.manifest.build_positives import build_positives as build

    chosen = PositiveOptions.parse(**options)
    dataset = build(
        coco,
        workdir,
        chosen,
        image_dir=image_dir,
        overwrite=overwrite,
        workers=workers,
        monitor=ConsoleMonitor(),
        dry_run=dry_run,
    )
    title = f"Positive chips in {workdir.path}" + (" (dry run: nothing written)" if dry_run else "")
    print_summary(title, positive_rows(dataset), {"workdir": str(workdir.path), "id": dataset.id, **dataset.counts})


@command("mine-negatives")
@click.option(
    "--proposals",
    type=Place(path_type=Path),
    required=True,
    help="SNIPER's pickle, a pickled dict by image id, COCO results .json, or chipper's .parquet.",
)
@field_option(NegativeOptions, "max_proposals", help="Number of best proposals to use per image, after NMS.")
@field_option(NegativeOptions, "nms", help="IoU above which the proposal with the lower score is dropped.")
@click.option(
    "--min-proposals",
    type=(int, int),
    default=(NegativeOptions.min_proposals_finest, NegativeOptions.min_proposals),
    show_default=True,
    metavar="FINEST OTHER",
    help="Minimum number of proposals in a negative chip, at the finest scale and at the others.",
)
@field_option(
    NegativeOptions, "per_image", "--negatives-per-image", help="Maximum number of negative chips per image and epoch."
)
@workdir_option
@workers_options
@dry_run_option
def mine_negatives(
    proposals: Path, workdir: Workdir, workers: Workers, min_proposals: tuple[int, int], dry_run: bool, **options: Any
) -> None:
    """Choose negative chips: windows with many proposals that no positive chip covers.

    \b
    Example: chipper mine-negatives --proposals rpn.pkl
    """
    from chipper.manifest.mine_negatives import mine_negatives

    negative = NegativeOptions(min_proposals_finest=min_proposals[0], min_proposals=min_proposals[1], **options)
    dataset = mine_negatives(workdir, proposals, negative, workers=workers, monitor=ConsoleMonitor(), dry_run=dry_run)
    assert dataset.negatives is not None
    negatives = dataset.negatives
    title = f"Negative chips in {workdir.path}" + (" (dry run: nothing written)" if dry_run else "")
    data = {"workdir": str(workdir.path), "id": negatives.id, "images": dataset.counts["images"], **negatives.counts}
    print_summary(title, negative_rows(dataset), data)
