"""VisDrone-DET: one line per object, ``left,top,width,height,score,category,truncation,occlusion`` in px from 0.

Category 0 is an ignored region, 11 is "others", and score 0 excludes a box from evaluation. These are neither objects nor
background, so they become crowds. Boxes of categories 1 to 10 are crowds of their own category. The others are crowds of
every category, because COCO's evaluation matches crowds by category.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

from chipper.errors import AnnotationError
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
from chipper.formats.items import EVERY_CATEGORY, AnnotatedImage, Item
from chipper.parallel.progress import Monitor

CATEGORIES = (
    *("pedestrian", "people", "bicycle", "car", "van"),
    *("truck", "tricycle", "awning-tricycle", "bus", "motor"),
)
"""The official names; ids count from 1."""
_FIELDS = 8
_IGNORED_REGION, _OTHERS = 0, 11


def import_visdrone(folder: Path, out: Path, options: ImportOptions, monitor: Monitor) -> Imported:
    """Read a folder with annotations/ and images/.

    Args:
        folder: the data set, like VisDrone2019-DET-train.
        out: the COCO file that will be written.
        options: see `ImportOptions`; ``difficult`` applies to ignored regions and others.
        monitor: gets the progress.

    Raises:
        AnnotationError: a folder is missing, no file is usable, or one file is unusable and ``on_error`` is ``fail``.
        OptionError: an option is invalid.
    """
    place = existing_folder(options.annotations, folder, ("annotations",), "annotations")
    index = ImageIndex(existing_folder(options.images, folder, ("images",), "images"))
    names = files_below(place, [".txt"])
    if not names:
        raise AnnotationError(f"{place} has no .txt file; give the folder that holds annotations and images")
    found, problems = read_each(
        _read, [(place / name, stem_of(name), index) for name in names], options.on_error, monitor
    )
    keys: dict[Hashable, str] = dict(enumerate(CATEGORIES, 1))
    left_out = without_annotations(index, found, names)
    return assemble(found, keys, out, options, problems, left_out)


def _read(path: Path, stem: str, index: ImageIndex) -> AnnotatedImage:
    items = [_item(text, path, line) for line, text in read_lines(path)]
    image = index.image_of(path, stem)
    return AnnotatedImage(image, path, *header_of(image).shown, items)


def _item(text: str, path: Path, line: int) -> Item:
    words = [word.strip() for word in text.split(",")]
    if len(words) == _FIELDS + 1 and not words[-1]:  # some of the official lines end with a comma
        words.pop()
    if len(words) != _FIELDS:
        raise at_line(path, line, f"{len(words)} fields, but VisDrone-DET has {_FIELDS}; fix that line")
    x, y, w, h = to_numbers(words[:4], path, line)
    score, category = to_whole(words[4], "score", path, line), to_whole(words[5], "category", path, line)
    if not _IGNORED_REGION <= category <= _OTHERS:
        raise at_line(path, line, f"category {category} is not one of VisDrone's 0 to 11; fix that line")
    region = category in (_IGNORED_REGION, _OTHERS)
    box = (x, y, x + w, y + h)
    return Item(EVERY_CATEGORY if region else category, box, line, difficult=region or score == 0)
