"""chipper export-coco, export-yolo."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from chipper.cli.console import ConsoleMonitor, human_seconds, print_summary
from chipper.cli.options import Place, jobs_option, shards_option, workdir_option
from chipper.workdir import Workdir
from chipper.workers import Workers

_OPTIONS = (
    click.option("--out", type=Place(path_type=Path), required=True, help="Folder to make; it must not exist yet."),
    click.option(
        "--epoch", type=int, default=0, show_default=True, help="Whose chips: the positives and the negatives drawn."
    ),
    click.option("--all-chips", is_flag=True, help="All chips in place of one epoch's."),
    click.option(
        "--val-share",
        type=float,
        default=0.1,
        show_default=True,
        help="Share of the source images whose chips go to val.",
    ),
    shards_option,
    workdir_option,
    jobs_option,
)


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command("export-coco")
@_options
def export_coco(**options: Any) -> None:
    """Write chips as a plain COCO data set, for any trainer that reads one.

    Needs the shards of export-shards, which it copies from.

    \b
    Example: chipper export-coco --out coco-chips
    """
    from chipper.chip_sets import export_coco as export

    _run(export, **options)


@click.command("export-yolo")
@_options
def export_yolo(**options: Any) -> None:
    """Write chips as a YOLO folder with data.yaml.

    Needs the shards of export-shards, which it copies from.

    \b
    Example: chipper export-yolo --out yolo-chips
    """
    from chipper.chip_sets import export_yolo as export

    _run(export, **options)


def _run(
    export: Callable[..., Any], out: Path, epoch: int, all_chips: bool, val_share: float, workdir: Workdir, jobs: int
) -> None:
    started = time.perf_counter()
    copied = export(workdir, out, None if all_chips else epoch, val_share, Workers(jobs), ConsoleMonitor())
    rows = [(split, f"{chips:,} chips with {copied.labels[split]:,} labels") for split, chips in copied.chips.items()]
    if copied.left_out:
        rows.append(("left out", f"{copied.left_out:,} labels of crowds and of objects under 10 px"))
    rows.append(("time", human_seconds(time.perf_counter() - started)))
    print_summary(f"Chips in {out}", rows)
