"""YOLO as ultralytics reads it: one text file per image, one line per object, coordinates as fractions of the image sides.

class cx cy w h                  a box by its centre
class x1 y1 x2 y2 x3 y3 ...      a polygon; its bounding box is used; oriented boxes have four corners
class cx cy w h x y [v] ...      a box with keypoints, if data.yaml has kpt_shape

Coordinates refer to the image as shown: its EXIF orientation flag is applied, as OpenCV does.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chipper.errors import option
from chipper.formats.assembly import Imported, LeftOut, assemble, leave_out
from chipper.formats.files import (
    ImportOptions,
    at_line,
    files_below,
    header_of,
    read_each,
    read_lines,
    to_numbers,
    to_whole,
)
from chipper.formats.items import AnnotatedImage, Item
from chipper.formats.yolo_layout import YoloSet, find_yolo_set
from chipper.parallel.progress import Monitor

_SLACK = 0.01  # fraction of a side by which a coordinate may be outside, as in ultralytics
_BOX, _SMALLEST_POLYGON = 4, 6  # numbers


@dataclass(frozen=True)
class _Read:
    content: AnnotatedImage
    hidden_turn: bool  # the image has an orientation flag that does not change its size


def import_yolo(source: Path, out: Path, split: str | None, options: ImportOptions, monitor: Monitor) -> Imported:
    """Read a data.yaml, or a folder with images and labels.

    Category ids are the class numbers plus 1. An image without a label file has no objects.

    Args:
        source: data.yaml, a folder with one, or a folder with images/ and labels/ (or all in one).
        out: the COCO file that will be written.
        split: train, val or test of data.yaml (train by default), or a folder of that name below the images.
        options: see `ImportOptions`.
        monitor: gets the progress.

    Raises:
        AnnotationError: data.yaml or a folder cannot be read, no image is usable, or one image is unusable and
            ``on_error`` is ``fail``.
        OptionError: an option is invalid.
    """
    data = find_yolo_set(source, split, options)
    tasks = [(image, label_file(image)) for image in data.images]
    read, problems = read_each(partial(_read, data), tasks, options.on_error, monitor)
    hidden = sum(found.hidden_turn for found in read)
    notes = []
    if hidden:
        notes.append(
            f"{hidden:,} images have an EXIF orientation flag that does not change their size: "
            f"give {option('exif')} apply to export-shards"
        )
    keys: dict[Hashable, str] = {number: name for number, name in data.names.items()}  # noqa: C416, a wider type
    found = [entry.content for entry in read]
    left_out = _orphans(data.folders, {labels for _, labels in tasks})
    return assemble(found, keys, out, options, [*data.problems, *problems], left_out, notes)


def label_file(image: Path) -> Path:
    """The label file of an image: ``labels`` replaces the last ``images`` in its path, with suffix .txt, as in ultralytics."""
    parts = list(image.parts)
    for k in range(len(parts) - 2, -1, -1):
        if parts[k] == "images":
            parts[k] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _orphans(folders: list[Path], used: set[Path]) -> dict[str, LeftOut]:
    """Label files without an image. Not checked if labels are beside the images: other text files may be there too."""
    left_out: dict[str, LeftOut] = {}
    for folder in folders:
        labels = label_file(folder / "any.jpg").parent
        for name in files_below(labels, [".txt"]) if labels != folder else []:
            if labels / name not in used and name != "classes.txt":
                leave_out(left_out, "label file without an image", str(labels / name))
    return left_out


def _read(data: YoloSet, image: Path, labels: Path) -> _Read:
    header = header_of(image)
    size = header.shown
    items = (
        [_item(text, labels, line, size, data) for line, text in read_lines(labels)] if os.path.lexists(labels) else []
    )
    turned = header.orientation != 1 and size == (header.width, header.height)
    return _Read(AnnotatedImage(image, labels, *size, items), turned)


def _item(text: str, path: Path, line: int, size: tuple[int, int], data: YoloSet) -> Item:
    words = text.split()
    number = to_whole(words[0], "class", path, line)
    if number not in data.names:
        raise at_line(path, line, f"class {number} has no name; there are {len(data.names)}, from {min(data.names)}")
    values = to_numbers(words[1:], path, line)
    keypoints = None
    if data.keypoints is not None:
        count, each = data.keypoints
        if len(values) != _BOX + count * each:
            raise at_line(path, line, f"{len(words)} fields, but kpt_shape needs {1 + _BOX + count * each}; fix it")
        keypoints, values = _keypoints(values[_BOX:], each, size), values[:_BOX]
    outside = next((value for value in values if not -_SLACK <= value <= 1 + _SLACK), None)
    if outside is not None:
        raise at_line(path, line, f"{outside:g} is not a fraction of the image side; give numbers from 0 to 1")
    if len(values) == _BOX:
        cx, cy, w, h = (value * side for value, side in zip(values, size * 2, strict=True))
        return Item(number, (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), line, keypoints=keypoints)
    if len(values) < _SMALLEST_POLYGON or len(values) % 2:
        raise at_line(path, line, f"{len(words)} fields, but a box has 5 and a polygon 7, 9, 11, ...; fix that line")
    xs, ys = [x * size[0] for x in values[::2]], [y * size[1] for y in values[1::2]]
    polygon = [value for point in zip(xs, ys, strict=True) for value in point]
    return Item(number, (min(xs), min(ys), max(xs), max(ys)), line, polygon=polygon)


def _keypoints(values: list[float], each: int, size: tuple[int, int]) -> list[float]:
    """X y v in px. Without v in the file, a point is visible unless a coordinate is negative, as in ultralytics."""
    points: list[float] = []
    for k in range(0, len(values), each):
        x, y = values[k], values[k + 1]
        seen = values[k + 2] if each > 2 else (2 if min(x, y) >= 0 else 0)
        points += [x * size[0], y * size[1], seen] if seen > 0 else [0, 0, 0]
    return points
