"""chipper import-voc, import-yolo, import-visdrone, import-dota."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from chipper.cli.command import SKIPPED_ITEMS, command
from chipper.cli.console import ConsoleMonitor, print_summary
from chipper.cli.options import Place, dry_run_option, field_option
from chipper.formats.files import ImportOptions

_NAMED = 5  # files that could not be used
_NAMES = 12  # categories

_folder = Place(path_type=Path, file_okay=False)
_out_option = click.option(
    "--out",
    type=Place(path_type=Path, dir_okay=False),
    default="coco.json",
    show_default=True,
    help="COCO file to write.",
)
_annotations_option = click.option(
    "--annotations", type=_folder, help="Folder of the annotation files, if it is not the usual one of the format."
)
_images_option = click.option(
    "--images", type=_folder, help="Folder of the images, if it is not the usual one of the format."
)
_classes_option = click.option(
    "--classes",
    type=Place(path_type=Path, dir_okay=False),
    help="Text file with the names of the categories, one per line, in the order of their ids.",
)
_difficult_option = field_option(
    ImportOptions,
    "difficult",
    help="Objects marked difficult: with ignore they count neither as objects nor as background (iscrowd 1).",
)
_on_error_option = field_option(
    ImportOptions,
    "on_error",
    help="What to do with an annotation file or image that cannot be used.",
)


_overwrite_option = click.option("--overwrite", is_flag=True, help="Replace --out if it already exists.")


def _with(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@command("import-voc")
@click.argument("folder", type=Place(path_type=Path))
@click.option(
    "--split", help="Name of a list in ImageSets/Main, like trainval; by default all annotation files are read."
)
@click.option(
    "--coordinates",
    type=click.Choice(["voc", "continuous"]),
    default="voc",
    show_default=True,
    help="voc: pixels counted from 1, ends inclusive; continuous: xmin and xmax are used unchanged.",
)
@_with(_out_option, _annotations_option, _images_option, _classes_option, _difficult_option)
@_with(_on_error_option, _overwrite_option, dry_run_option)
@click.pass_context
def import_voc(
    context: click.Context, /, folder: Path, split: str | None, coordinates: str, out: Path, **options: Any
) -> None:
    """Write the PASCAL VOC data set in FOLDER as a COCO file.

    FOLDER contains Annotations, JPEGImages and, for --split, ImageSets/Main.

    \b
    Example: chipper import-voc VOC2012 --split trainval --out VOC2012/coco.json
    """
    from chipper.formats.voc import import_voc as read

    _run(context, partial(read, folder, out, split, coordinates), out, **options)


@command("import-yolo")
@click.argument("source", metavar="DATA", type=Place(path_type=Path))
@click.option("--split", help="Split of data.yaml: train, val or test; by default train.")
@_with(_out_option, _classes_option, _on_error_option, _overwrite_option, dry_run_option)
@click.pass_context
def import_yolo(context: click.Context, /, source: Path, split: str | None, out: Path, **options: Any) -> None:
    """Write a YOLO data set as a COCO file.

    DATA is a data.yaml, a folder with a data.yaml, or a folder of images and labels. The latter needs classes.txt or
    --classes.

    \b
    Example: chipper import-yolo data.yaml --split train --out yolo.json
    """
    from chipper.formats.yolo import import_yolo as read

    _run(context, partial(read, source, out, split), out, **options)


@command("import-visdrone")
@click.argument("folder", type=Place(path_type=Path))
@click.option(
    "--ignored",
    "difficult",
    type=click.Choice(["ignore", "drop"]),
    default="ignore",
    show_default=True,
    help='Ignored regions and category "others": with ignore they become crowds of every category (iscrowd 1).',
)
@_with(_out_option, _annotations_option, _images_option, _on_error_option, _overwrite_option, dry_run_option)
@click.pass_context
def import_visdrone(context: click.Context, /, folder: Path, out: Path, **options: Any) -> None:
    """Write the VisDrone-DET data set in FOLDER as a COCO file.

    FOLDER contains annotations and images, like VisDrone2019-DET-train.

    \b
    Example: chipper import-visdrone VisDrone2019-DET-train --out drones.json
    """
    from chipper.formats.visdrone import import_visdrone as read

    _run(context, partial(read, folder, out), out, **options)


@command("import-dota")
@click.argument("folder", type=Place(path_type=Path))
@_with(_out_option, _annotations_option, _images_option, _classes_option, _difficult_option)
@_with(_on_error_option, _overwrite_option, dry_run_option)
@click.pass_context
def import_dota(context: click.Context, /, folder: Path, out: Path, **options: Any) -> None:
    """Write the DOTA data set in FOLDER as a COCO file.

    FOLDER contains labelTxt and images. The boxes enclose the polygons; the polygons are kept as segmentations.

    \b
    Example: chipper import-dota DOTA/train --out aerial.json
    """
    from chipper.formats.dota import import_dota as read

    _run(context, partial(read, folder, out), out, **options)


def _run(
    context: click.Context,
    read: Callable[..., Any],
    out: Path,
    dry_run: bool,
    overwrite: bool,
    classes: Path | None = None,
    **options: Any,
) -> None:
    from chipper.formats.assembly import require_new, write_coco
    from chipper.formats.files import read_classes

    monitor = ConsoleMonitor()
    require_new(out, overwrite)
    imported = read(ImportOptions(classes=read_classes(classes) if classes else None, **options), monitor)
    if not dry_run:
        write_coco(imported, out)
    for note in imported.notes:
        monitor.warn(note)
    data = {
        "out": str(out),
        "images": len(imported.coco["images"]),
        "objects": imported.objects,
        "crowds": imported.ignored,
        "categories": [category["name"] for category in imported.coco["categories"]],
        "image_dir": str(imported.image_dir),
        "clipped": imported.clipped,
        "left_out": {reason: left.count for reason, left in imported.left_out.items()},
        "files_not_used": imported.problems,
    }
    title = f"COCO file {out}" + (" (dry run: nothing written)" if dry_run else "")
    print_summary(title, _rows(imported), data)
    if imported.problems:
        context.exit(SKIPPED_ITEMS)


def _rows(imported: Any) -> list[tuple[str, str]]:
    coco = imported.coco
    names = [category["name"] for category in coco["categories"]]
    more = ", ..." if len(names) > _NAMES else ""
    beside = "" if imported.found_beside else " (pass this as --image-dir to the next commands)"
    rows = [
        ("images", f"{len(coco['images']):,} ({imported.without_objects:,} without objects)"),
        ("objects", f"{imported.objects:,} and {imported.ignored:,} crowd records"),
        ("categories", f"{len(names):,}: {', '.join(names[:_NAMES])}{more}"),
        ("images from", f"{imported.image_dir}{beside}"),
    ]
    if imported.clipped:
        rows.append(("clipped", f"{imported.clipped:,} boxes at the border of their image"))
    for reason, left in imported.left_out.items():
        rows.append(("left out", f"{left.count:,} x {reason}: {'; '.join(left.first)}"))
    if imported.problems:
        rows.append(("files not used", f"{len(imported.problems):,}"))
        rows += [("", problem) for problem in imported.problems[:_NAMED]]
    return rows
