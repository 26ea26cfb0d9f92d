"""chipper preview."""

from __future__ import annotations

from pathlib import Path

import click

from chipper.cli.command import command
from chipper.cli.console import ConsoleMonitor, print_summary
from chipper.cli.options import image_dir_option, pixel_options, workdir_option
from chipper.options import PixelOptions
from chipper.workdir import Workdir


@command()
@click.argument("image_ids", nargs=-1, type=int)
@click.option(
    "--count", type=click.IntRange(min=1), default=12, show_default=True, help="Images to draw when no ids are given."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Folder of the pictures.  [default: WORKDIR/preview]",
)
@pixel_options
@image_dir_option
@workdir_option
def preview(
    workdir: Workdir,
    image_ids: tuple[int, ...],
    count: int,
    out: Path | None,
    image_dir: Path | None,
    pixels: PixelOptions,
) -> None:
    """Draw the chips on their images: one colour a scale, negatives orange.

    Beside each image stand its chips with their labels: valid green, invalid red, ignored grey.

    \b
    Example: chipper preview --count 12
    """
    from chipper.preview import preview as draw

    folder = out or workdir.path / "preview"
    written = draw(workdir, image_ids, count, folder, image_dir, ConsoleMonitor(), pixels)
    rows = [("pictures", f"{len(written):,}")]
    print_summary(f"Pictures in {folder}", rows, {"pictures": [str(path) for path in written]})
