"""chipper export-shards, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from chipper.cli.command import SKIPPED_ITEMS, command
from chipper.cli.console import ConsoleMonitor, human_bytes, print_summary
from chipper.cli.options import (
    dry_run_option,
    field_option,
    image_dir_option,
    jobs_option,
    pixel_options,
    shards_option,
    workdir_option,
    workers_options,
)
from chipper.images.options import PixelOptions
from chipper.manifest.workdir import Workdir
from chipper.parallel.workers import Workers
from chipper.shards.options import ExportOptions, RenderOptions


@command("export-shards")
@field_option(RenderOptions, "quality", help="JPEG quality.")
@field_option(RenderOptions, "subsampling", help="JPEG chroma.")
@field_option(
    RenderOptions,
    "exif",
    help="EXIF orientation flag: auto applies it if the image then has the size in the annotations.",
)
@pixel_options
@field_option(ExportOptions, "chips_per_shard", help="Approximate number of chips in a shard.")
@click.option(
    "--layout",
    type=click.Choice(["pool", "epochs"]),
    default="pool",
    show_default=True,
    help="epochs: also write a folder of shards for each epoch, in training order, to stream from start to end.",
)
@field_option(ExportOptions, "on_error", help="What to do with an image that cannot be rendered.")
@field_option(
    ExportOptions, "max_errors", help="Stop when this many images, and at least a tenth of all, cannot be rendered."
)
@field_option(ExportOptions, "retry_errors", help="Render shards with failed images again.")
@field_option(ExportOptions, "overwrite", help="Render every shard again, for example after images were replaced.")
@image_dir_option
@shards_option
@workdir_option
@workers_options
@dry_run_option
@click.pass_context
def export_shards(
    context: click.Context,
    /,
    workdir: Workdir,
    image_dir: Path | None,
    workers: Workers,
    quality: int,
    subsampling: str,
    exif: str,
    pixels: PixelOptions,
    layout: str,
    dry_run: bool,
    **export: Any,
) -> None:
    """Render the chips into WebDataset shards.

    Complete shards are kept, so a stopped run continues where it stopped.

    \b
    Example: chipper export-shards
    """
    from chipper.shards.epochs import export_epochs
    from chipper.shards.export import export_shards as export_all

    options = ExportOptions(RenderOptions(quality, subsampling, exif, pixels), **export)
    if dry_run:
        _print_plan(workdir, options, image_dir)
        return
    exported = export_all(workdir, options, image_dir=image_dir, workers=workers, monitor=ConsoleMonitor())
    copied = (
        export_epochs(workdir, options.chips_per_shard, workers=workers, monitor=ConsoleMonitor())
        if layout == "epochs"
        else []
    )
    rows = exported.rows
    if copied:
        more = sum(receipt.bytes for receipt in copied)
        rows.append(("epochs", f"{sum(receipt.samples for receipt in copied):,} chips, {human_bytes(more)} more"))
    faults = exported.faults
    data = {
        "shards": len(exported.receipts),
        "rendered": exported.rendered,
        "chips": exported.chips,
        "bytes": exported.bytes,
        "epoch_shards": len(copied),
        "lost": [
            {"image_id": f.image_id, "file_name": f.file_name, "error": f.error, "chips": f.chips, "shard": shard}
            for shard, f in faults
        ],
    }
    print_summary(f"Shards in {workdir.shards}", rows, {"folder": str(workdir.shards), **data})
    if faults:
        context.exit(SKIPPED_ITEMS)


def _print_plan(workdir: Workdir, options: ExportOptions, image_dir: Path | None) -> None:
    from chipper.shards.export import plan_shard_export

    plan = plan_shard_export(workdir, options, image_dir=image_dir, monitor=ConsoleMonitor())
    missing = plan.missing
    chips = {"to render": sum(shard.chips for shard in missing), "in all": sum(shard.chips for shard in plan.shards)}
    rows = [
        ("images from", str(plan.image_dir)),
        ("shards", f"{len(plan.shards):,} ({len(missing):,} to render, {len(plan.done):,} complete already)"),
        ("chips", f"{chips['in all']:,} ({chips['to render']:,} to render)"),
    ]
    data = {"folder": str(workdir.shards), "shards": len(plan.shards), "to_render": len(missing), "chips": chips}
    print_summary(f"Shards in {workdir.shards} (dry run: nothing written)", rows, data)


@command()
@click.option("--deep", is_flag=True, help="Also check the checksum of every sample and decode it.")
@click.option(
    "--repair",
    is_flag=True,
    help="Remove the receipts of damaged shards, so that export-shards renders these shards again.",
)
@shards_option
@workdir_option
@jobs_option
def verify(workdir: Workdir, deep: bool, repair: bool, jobs: int) -> None:
    """Check that every shard exists, is complete and was not changed.

    Exit code 1: a shard is damaged. Exit code 75: a remote one cannot be read now, and none that can be read is damaged.

    \b
    Example: chipper verify --deep
    """
    from chipper.errors import ShardError, UnreachableError, printable
    from chipper.shards.verify import verify_shards

    checked = verify_shards(workdir.shards, deep=deep, repair=repair, workers=Workers(jobs), monitor=ConsoleMonitor())
    for fault in (*checked.faults, *checked.unreachable):
        click.echo(printable(fault), err=True)
    data = {"shards": checked.shards, "samples": checked.samples, "bytes": checked.bytes, "faults": checked.faults}
    print_summary(f"Verified {workdir.shards}", checked.rows, {**data, "unreachable": checked.unreachable})
    if checked.faults:
        raise ShardError(f"{len(checked.faults)} faults in {workdir.shards}; run {checked.cure} to repair those shards")
    if checked.unreachable:
        raise UnreachableError(
            f"{len(checked.unreachable)} of {checked.shards} shards in {workdir.shards} cannot be read now; "
            "check the network and the credentials, and run the same command again"
        )
