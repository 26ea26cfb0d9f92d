"""chipper export-shards, verify."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import click

from chipper.cli.console import ConsoleMonitor, human_bytes, human_seconds, print_summary
from chipper.cli.options import (
    image_dir_option,
    jobs_option,
    pixel_options,
    shards_option,
    workdir_option,
    workers_options,
)
from chipper.options import ExportOptions, PixelOptions, RenderOptions
from chipper.workdir import Workdir
from chipper.workers import Workers

SKIPPED_ITEMS = 3


@click.command("export-shards")
@click.option("--quality", type=int, default=90, show_default=True, help="JPEG quality.")
@click.option(
    "--subsampling",
    type=click.Choice(["4:4:4", "4:2:2", "4:2:0"]),
    default="4:2:0",
    show_default=True,
    help="JPEG chroma.",
)
@click.option(
    "--exif",
    type=click.Choice(["auto", "apply", "ignore"]),
    default="auto",
    show_default=True,
    help="The EXIF orientation flag: auto applies it when that gives the size in the annotations.",
)
@pixel_options
@click.option("--chips-per-shard", type=int, default=1000, show_default=True, help="Chips in a shard, about.")
@click.option(
    "--layout",
    type=click.Choice(["pool", "epochs"]),
    default="pool",
    show_default=True,
    help="epochs: also a folder of shards for each epoch, in its order, for streaming from start to end.",
)
@click.option(
    "--on-error",
    type=click.Choice(["skip", "fail"]),
    default="skip",
    show_default=True,
    help="What to do with an image that cannot be rendered.",
)
@click.option(
    "--max-errors",
    type=int,
    default=100,
    show_default=True,
    help="Stop when so many images, and a tenth of all, cannot be rendered.",
)
@click.option("--retry-errors", is_flag=True, help="Render shards with failed images again.")
@image_dir_option
@shards_option
@workdir_option
@workers_options
@click.pass_context
def export_shards(
    context: click.Context,
    workdir: Workdir,
    image_dir: Path | None,
    workers: Workers,
    quality: int,
    subsampling: str,
    exif: str,
    pixels: PixelOptions,
    chips_per_shard: int,
    layout: str,
    on_error: str,
    max_errors: int,
    retry_errors: bool,
) -> None:
    """Render the chips into WebDataset shards.

    Shards that are whole already are left alone, so a stopped run goes on where it was.

    \b
    Example: chipper export-shards
    """
    from chipper.epoch_shards import export_epochs
    from chipper.export import export_shards as export

    started = time.perf_counter()
    render = RenderOptions(quality, subsampling, exif, pixels)
    options = ExportOptions(render, chips_per_shard, on_error, max_errors, retry_errors=retry_errors)
    exported = export(workdir, options, image_dir, workers, ConsoleMonitor())
    copied = export_epochs(workdir, chips_per_shard, workers, ConsoleMonitor()) if layout == "epochs" else []
    seconds = time.perf_counter() - started
    kinds: Counter[str] = Counter()
    for receipt in exported.receipts:
        kinds[receipt.kind] += receipt.samples
    size = sum(receipt.bytes for receipt in exported.receipts)
    samples = sum(kinds.values())
    rows = [
        ("images from", str(exported.image_dir)),
        (
            "shards",
            f"{len(exported.receipts):,} ({exported.rendered:,} rendered, "
            f"{len(exported.receipts) - exported.rendered:,} whole already)",
        ),
        *((f"{kind} chips", f"{number:,}") for kind, number in kinds.items()),
        ("bytes", f"{human_bytes(size)} ({human_bytes(size / max(samples, 1))} per chip)"),
    ]
    if copied:
        more = sum(receipt.bytes for receipt in copied)
        rows.append(("epochs", f"{sum(receipt.samples for receipt in copied):,} chips, {human_bytes(more)} more"))
    faults = exported.faults
    if faults:
        rows.append(
            (
                "images lost",
                f"{len({f.image_id for _, f in faults}):,} with {sum(f.chips for _, f in faults):,} chips "
                f"(listed in {workdir.shards / 'errors.parquet'})",
            )
        )
        rows += [("", f"{fault.file_name}: {fault.error}") for _, fault in faults[:5]]
    rows.append(("time", human_seconds(seconds)))
    print_summary(f"Shards in {workdir.shards}", rows)
    if faults:
        context.exit(SKIPPED_ITEMS)


@click.command()
@click.option("--deep", is_flag=True, help="Check every sample against its checksum and decode it.")
@shards_option
@workdir_option
@jobs_option
def verify(workdir: Workdir, deep: bool, jobs: int) -> None:
    """Check that every shard is there, whole and unaltered.

    \b
    Example: chipper verify --deep
    """
    from chipper.errors import ShardError
    from chipper.verify import verify_shards

    started = time.perf_counter()
    checked = verify_shards(workdir.shards, deep, Workers(jobs), ConsoleMonitor())
    for fault in checked.faults:
        click.echo(fault)
    print_summary(
        f"Verified {workdir.shards}",
        [
            ("shards", f"{checked.shards:,} ({len(checked.faults):,} with faults)"),
            ("samples", f"{checked.samples:,}"),
            ("bytes", human_bytes(checked.bytes)),
            ("time", human_seconds(time.perf_counter() - started)),
        ],
    )
    if checked.faults:
        raise ShardError(
            f"{len(checked.faults)} faults in {workdir.shards}; run `chipper export-shards` to repair those shards"
        )
