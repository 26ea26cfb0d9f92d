"""chipper export-coco, export-yolo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from chipper.cli.command import command
from chipper.cli.console import ConsoleMonitor, print_summary
from chipper.cli.options import Place, dry_run_option, jobs_option, shards_option, workdir_option
from chipper.manifest.workdir import Workdir
from chipper.parallel.workers import Workers

_OPTIONS = (
    click.option("--out", type=Place(path_type=Path), required=True, help="Folder to create; it must not exist yet."),
    click.option(
        "--epoch",
        type=int,
        default=0,
        show_default=True,
        help="Export the chips of this epoch: its positives and its drawn negatives.",
    ),
    click.option("--all-chips", is_flag=True, help="Export all chips instead of those of one epoch."),
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
    dry_run_option,
)


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@command("export-coco")
@_options
def export_coco(**options: Any) -> None:
    """Write chips as a plain COCO data set, for any trainer that reads COCO.

    Copies the chips from the shards, so run export-shards first.

    \b
    Example: chipper export-coco --out coco-chips
    """
    from chipper.formats.chips import export_coco as export

    _run(export, **options)


@command("export-yolo")
@_options
def export_yolo(**options: Any) -> None:
    """Write chips as a YOLO folder with data.yaml.

    Copies the chips from the shards, so run export-shards first.

    \b
    Example: chipper export-yolo --out yolo-chips
    """
    from chipper.formats.chips import export_yolo as export

    _run(export, **options)


def _run(
    export: Callable[..., Any],
    out: Path,
    epoch: int,
    all_chips: bool,
    val_share: float,
    workdir: Workdir,
    jobs: int,
    dry_run: bool,
) -> None:
    workers, chosen = Workers(jobs), None if all_chips else epoch
    if dry_run:
        from chipper.formats.chips import plan_chip_export

        chips = plan_chip_export(workdir, out, epoch=chosen, val_share=val_share)
        print_summary(f"Chips in {out} (dry run: nothing written)", [("chips", f"{chips:,}")], {"chips": chips})
        return
    copied = export(workdir, out, epoch=chosen, val_share=val_share, workers=workers, monitor=ConsoleMonitor())
    rows = [(split, f"{chips:,} chips with {copied.labels[split]:,} labels") for split, chips in copied.chips.items()]
    if copied.left_out:
        rows.append(("left out", f"{copied.left_out:,} labels of crowds and of objects smaller than 10 px"))
    print_summary(f"Chips in {out}", rows, {"folder": str(out), **vars(copied)})
