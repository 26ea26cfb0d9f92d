"""chipper preview."""

from __future__ import annotations

from pathlib import Path

import click

from chipper.cli.command import command
from chipper.cli.console import ConsoleMonitor, print_summary
from chipper.cli.options import Place, dry_run_option, image_dir_option, pixel_options, shards_option, workdir_option
from chipper.images.options import PixelOptions
from chipper.manifest.workdir import Workdir


@command()
@click.argument("image_ids", nargs=-1, type=int)
@click.option(
    "--count",
    type=int,
    default=None,
    help="Number of images to draw if no ids are given, evenly spread.  [default: 12, or 20 with --sheet]",
)
@click.option("--sheet", is_flag=True, help="Draw contact sheets with 20 images each.")
@click.option(
    "--scale", default=None, metavar="SCALE", help="Show only this scale, written as in --scales, like 1.667."
)
@click.option(
    "--proposals",
    type=Place(dir_okay=False, path_type=Path),
    default=None,
    help="Proposals to draw with the negative chips; by default those used for mining, if they are found.",
)
@click.option(
    "--out",
    type=Place(file_okay=False, path_type=Path),
    default=None,
    help="Folder of the pictures.  [default: WORKDIR/preview]",
)
@pixel_options
@image_dir_option
@shards_option
@workdir_option
@dry_run_option
def preview(
    workdir: Workdir,
    image_ids: tuple[int, ...],
    count: int | None,
    sheet: bool,
    scale: str | None,
    proposals: Path | None,
    out: Path | None,
    image_dir: Path | None,
    pixels: PixelOptions,
    dry_run: bool,
) -> None:
    """Draw the chips on their images: one colour per scale, negative chips orange.

    Each image is followed by its chips with their labels: valid green, invalid red and dashed, ignored grey and dotted.

    \b
    Example: chipper preview --count 12
             chipper preview --sheet --count 60
    """
    from chipper.pictures.preview import PreviewOptions, planned
    from chipper.pictures.preview import preview as draw

    folder = out or workdir.path / "preview"
    options = PreviewOptions(image_ids, count, scale, sheet, proposals, pixels)
    if dry_run:
        paths = planned(workdir, options, folder)
        rows = [("pictures", f"{len(paths):,}"), ("first", str(paths[0]) if paths else "none")]
        title = f"Pictures in {folder} (dry run: nothing written)"
        print_summary(title, rows, {"pictures": [str(path) for path in paths]})
        return
    written = draw(workdir, options, folder, image_dir=image_dir, monitor=ConsoleMonitor())
    rows = [("pictures", f"{len(written):,}")]
    print_summary(f"Pictures in {folder}", rows, {"pictures": [str(path) for path in written]})
