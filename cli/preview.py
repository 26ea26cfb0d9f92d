"""chipper preview."""

from __future__ import annotations

from pathlib import Path

import click

from chipper.cli.console import ConsoleMonitor, print_summary
from chipper.cli.options import Place, image_dir_option, workdir_option
from chipper.workdir import Workdir


@click.command()
@click.argument("image_ids", nargs=-1, type=int)
@click.option(
    "--count", type=click.IntRange(min=1), default=12, show_default=True, help="Images to draw when no ids are given."
)
@click.option(
    "--out",
    type=Place(file_okay=False, path_type=Path),
    default=None,
    help="Folder of the pictures.  [default: WORKDIR/preview]",
)
@image_dir_option
@workdir_option
def preview(workdir: Workdir, image_ids: tuple[int, ...], count: int, out: Path | None, image_dir: Path | None) -> None:
    """Draw the chips on their images: one colour a scale, negatives orange.

    Beside each image stand its chips with their labels: valid green, invalid red, ignored grey.

    \b
    Example: chipper preview --count 12
    """
    from chipper.preview import preview as draw

    folder = out or workdir.path / "preview"
    written = draw(workdir, image_ids, count, folder, image_dir, ConsoleMonitor())
    print_summary(f"Pictures in {folder}", [("pictures", f"{len(written):,}")])
