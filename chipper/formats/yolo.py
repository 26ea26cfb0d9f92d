"""YOLO as ultralytics reads it: a text file an image, a line an object, all as shares of the image's sides.

class cx cy w h                  a box by its centre
class x1 y1 x2 y2 x3 y3 ...      a polygon, whose box is the one around it; four corners are the oriented boxes
class cx cy w h x y [v] ...      a box with keypoints, where data.yaml has kpt_shape

The image that counts is the one that is shown: its EXIF orientation flag is applied, as OpenCV does when it reads.
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

_SLACK = 0.01  # of a side by which a coordinate may lie outside, as ultralytics allows
_BOX, _SMALLEST_POLYGON = 4, 6  # numbers


@dataclass(frozen=True)
class _Read:
    content: AnnotatedImage
    hidden_turn: bool  # an orientation flag that the size does not give away


def import_yolo(source: Path, out: Path, split: str | None, options: ImportOptions, monitor: Monitor) -> Imported:
    """Read a data.yaml, or a folder with images and labels.

    Category ids are the class numbers plus 1. An image without a label file is one without objects.

    Args:
        source: data.yaml, a folder with one, or a folder with images/ and labels/ (or all in one).
        out: where the COCO file will lie.
        split: train, val or test of data.yaml (train by default), or that folder of the images.
        options: see `ImportOptions`.
        monitor: hears of progress.

    Raises:
        AnnotationError: data.yaml or a folder cannot be read, no image can be used, or one cannot and ``--on-error`` is
            fail.
        OptionError: an option makes no sense.
    """
    data = find_yolo_set(source, split, options)
    tasks = [(image, label_file(image)) for image in data.images]
    read, problems = read_each(partial(_read, data), tasks, options.on_error, monitor)
    hidden = sum(found.hidden_turn for found in read)
    notes = []
    if hidden:
        notes.append(
            f"{hidden:,} images have an EXIF orientation flag that their size does not give away: "
            f"give {option('exif')} apply to export-shards"
        )
    keys: dict[Hashable, str] = {number: name for number, name in data.names.items()}  # noqa: C416, a wider type
    found = [entry.content for entry in read]
    left_out = _orphans(data.folders, {labels for _, labels in tasks})
    return assemble(found, keys, out, options, [*data.problems, *problems], left_out, notes)


def label_file(image: Path) -> Path:
    """Its label file: ``labels`` in place of the last ``images`` in its path, and .txt; ultralytics' rule."""
    parts = list(image.parts)
    for k in range(len(parts) - 2, -1, -1):
        if parts[k] == "images":
            parts[k] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _orphans(folders: list[Path], used: set[Path]) -> dict[str, LeftOut]:
    """Label files of no image; where labels lie among the images, other text files may as well."""
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
            raise at_line(path, line, f"{len(words)} fields, but kpt_shape asks for {1 + _BOX + count * each}; mend it")
        keypoints, values = _keypoints(values[_BOX:], each, size), values[:_BOX]
    outside = next((value for value in values if not -_SLACK <= value <= 1 + _SLACK), None)
    if outside is not None:
        raise at_line(path, line, f"{outside:g} is no share of the image's side; give numbers from 0 to 1")
    if len(values) == _BOX:
        cx, cy, w, h = (value * side for value, side in zip(values, size * 2, strict=True))
        return Item(number, (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), line, keypoints=keypoints)
    if len(values) < _SMALLEST_POLYGON or len(values) % 2:
        raise at_line(path, line, f"{len(words)} fields, but a box has 5 and a polygon 7, 9, 11, ...; mend that line")
    xs, ys = [x * size[0] for x in values[::2]], [y * size[1] for y in values[1::2]]
    polygon = [value for point in zip(xs, ys, strict=True) for value in point]
    return Item(number, (min(xs), min(ys), max(xs), max(ys)), line, polygon=polygon)


def _keypoints(values: list[float], each: int, size: tuple[int, int]) -> list[float]:
    """X y v in px; without v in the file a point is visible unless it lies at a negative place, ultralytics' rule."""
    points: list[float] = []
    for k in range(0, len(values), each):
        x, y = values[k], values[k + 1]
        seen = values[k + 2] if each > 2 else (2 if min(x, y) >= 0 else 0)
        points += [x * size[0], y * size[1], seen] if seen > 0 else [0, 0, 0]
    return points
