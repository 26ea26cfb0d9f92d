"""DOTA: one line per object, ``x1 y1 x2 y2 x3 y3 x4 y4 category difficult`` in px from 0, continuous.

The first lines may be ``imagesource:`` and ``gsd:``. The box is the bounding box of the polygon, as in DOTA's task with
horizontal boxes; the polygon is kept as segmentation.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

from chipper.errors import AnnotationError, option
from chipper.formats.assembly import Imported, assemble, without_annotations
from chipper.formats.files import (
    ImageIndex,
    ImportOptions,
    at_line,
    existing_folder,
    files_below,
    header_of,
    read_each,
    read_lines,
    stem_of,
    to_numbers,
    to_whole,
)
from chipper.formats.items import AnnotatedImage, Item
from chipper.parallel.progress import Monitor

_V10 = (
    *("plane", "ship", "storage-tank", "baseball-diamond", "tennis-court"),
    *("basketball-court", "ground-track-field", "harbor", "bridge", "large-vehicle"),
    *("small-vehicle", "helicopter", "roundabout", "soccer-ball-field", "swimming-pool"),
)
_V15 = (*_V10, "container-crane")
_V20 = (*_V15, "airport", "helipad")
VERSIONS = (_V10, _V15, _V20)
"""The official names of versions 1.0, 1.5 and 2.0; each extends the previous one, so ids agree."""
_HEADERS = ("imagesource:", "gsd:")
_CORNERS = 8


def import_dota(folder: Path, out: Path, options: ImportOptions, monitor: Monitor) -> Imported:
    """Read a folder with labelTxt/ and images/.

    The categories are those of the first DOTA version that contains all names in the files. If no version does, they are
    the names in the files, sorted. ``options.classes`` overrides them.

    Args:
        folder: the data set, or one split of it.
        out: the COCO file that will be written.
        options: see `ImportOptions`.
        monitor: gets the progress.

    Raises:
        AnnotationError: a folder is missing, no file is usable, or one file is unusable and ``on_error`` is ``fail``.
        OptionError: an option is invalid.
    """
    usual = sorted(path.name for path in folder.glob("labelTxt*") if path.is_dir())  # like labelTxt-v1.5
    if options.annotations is None and len(usual) > 1 and "labelTxt" not in usual:
        raise AnnotationError(f"{folder} has {', '.join(usual)}; choose one with {option('annotations')}")
    place = existing_folder(options.annotations, folder, ["labelTxt", *usual], "annotations")
    index = ImageIndex(existing_folder(options.images, folder, ("images",), "images"))
    names = files_below(place, [".txt"])
    if not names:
        raise AnnotationError(f"{place} has no .txt file; give the folder that holds labelTxt and images")
    found, problems = read_each(
        _read, [(place / name, stem_of(name), index) for name in names], options.on_error, monitor
    )
    categories = options.classes or _categories({str(item.category) for image in found for item in image.items})
    keys: dict[Hashable, str] = {name: name for name in categories}
    left_out = without_annotations(index, found, names)
    return assemble(found, keys, out, options, problems, left_out)


def _categories(named: set[str]) -> tuple[str, ...]:
    return next((version for version in VERSIONS if named <= set(version)), tuple(sorted(named)))


def _read(path: Path, stem: str, index: ImageIndex) -> AnnotatedImage:
    items = [_item(text, path, line) for line, text in read_lines(path) if not text.startswith(_HEADERS)]
    image = index.image_of(path, stem)
    return AnnotatedImage(image, path, *header_of(image).shown, items)


def _item(text: str, path: Path, line: int) -> Item:
    words = text.split()
    if len(words) not in (_CORNERS + 1, _CORNERS + 2):
        raise at_line(
            path, line, f"{len(words)} fields, but DOTA has 8 coordinates, a category and difficult; fix that line"
        )
    corners = to_numbers(words[:_CORNERS], path, line)
    difficult = len(words) > _CORNERS + 1 and to_whole(words[-1], "difficult", path, line) != 0
    xs, ys = corners[::2], corners[1::2]
    box = (min(xs), min(ys), max(xs), max(ys))
    return Item(words[_CORNERS], box, line, difficult=difficult, polygon=corners)
