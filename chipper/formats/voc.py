"""PASCAL VOC: one XML file per image.

The top left pixel is (1, 1) and ends are inclusive (VOC2012 development kit, 3.2), so a box that covers a whole image is
1 1 width height. In continuous coordinates this is x1 = xmin - 1, x2 = xmax, as in Detectron2.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from chipper.checks import among
from chipper.errors import AnnotationError, OptionError, option
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
    shorten,
    stem_of,
    to_numbers,
)
from chipper.formats.items import AnnotatedImage, Item
from chipper.parallel.progress import Monitor
from chipper.storage.files import read_bytes

COORDINATES = ("voc", "continuous")
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_TRUE, _FALSE = ("1", "true"), ("0", "false", "unspecified", "")
_OF_A_CLASS = re.compile(r"\s+(-1|0|1)$")  # in the list of a class: absent, difficult, present


@dataclass(frozen=True)
class _Parsed:
    """One XML file; ``content`` is None unless its image is in the split."""

    names: tuple[str, ...]  # categories, including those of ignored objects
    content: AnnotatedImage | None
    from_zero: int = 0  # boxes that begin at pixel 0, which does not exist in VOC


def import_voc(
    folder: Path, out: Path, split: str | None, coordinates: str, options: ImportOptions, monitor: Monitor
) -> Imported:
    """Read a folder with Annotations/, JPEGImages/ and, for ``split``, ImageSets/Main/.

    The image of a file is the one with the same name, or else the one in its <filename>. Categories come from the files of
    all splits, so that ids agree between splits, and are sorted by name. ``options.classes`` overrides them.

    Args:
        folder: the data set.
        out: the COCO file that will be written.
        split: name of a list in ImageSets/Main without .txt; None reads all XML files.
        coordinates: "voc", or "continuous" to use xmin and xmax unchanged.
        options: see `ImportOptions`.
        monitor: gets the progress.

    Raises:
        AnnotationError: a folder is missing, no file is usable, or one file is unusable and ``on_error`` is ``fail``.
        OptionError: the list is missing, or an option is invalid.
    """
    among("coordinates", coordinates, COORDINATES)
    place = existing_folder(options.annotations, folder, ("Annotations", "annotations", "."), "annotations")
    names = files_below(place, [".xml"])
    if not names:
        raise AnnotationError(f"{place} has no .xml file; give the folder that holds Annotations")
    index = ImageIndex(existing_folder(options.images, folder, ("JPEGImages", "images", "."), "images"))
    wanted, problems = _wanted(folder, split, names)
    if problems and options.on_error == "fail":
        raise AnnotationError(problems[0])
    continuous = coordinates == "continuous"
    # files of other splits are read only for their categories
    tasks = [
        (place, name, index if name in wanted else None, continuous)
        for name in names
        if name in wanted or options.classes is None
    ]
    parsed, bad = read_each(_read, tasks, options.on_error, monitor)
    found = [file.content for file in parsed if file.content is not None]
    categories = options.classes or tuple(sorted({name for file in parsed for name in file.names}))
    keys: dict[Hashable, str] = {name: name for name in categories}
    left_out = without_annotations(index, found, names) if split is None else {}
    from_zero = sum(file.from_zero for file in parsed)
    notes = []
    if from_zero and not continuous:
        notes.append(
            f"{from_zero:,} boxes begin at pixel 0, which does not exist in VOC: if these files count from 0, "
            f"give {option('coordinates')} continuous"
        )
    return assemble(found, keys, out, options, problems + bad, left_out, notes)


def _wanted(folder: Path, split: str | None, names: list[str]) -> tuple[frozenset[str], list[str]]:
    """The XML files of the split, and one line for each listed name without a file."""
    if split is None:
        return frozenset(names), []
    lists = folder / "ImageSets" / "Main"
    path = lists / f"{split}.txt"
    if not path.is_file():
        there = sorted(file.stem for file in lists.glob("*.txt"))
        known = f"there are {', '.join(there[:8])}" if there else f"there are none: leave {option('split')} out"
        raise OptionError(f"{option('split')} {split}: {path} does not exist; {known}")
    by_stem = {stem_of(name): name for name in names}
    wanted, problems = set(), []
    for line, text in read_lines(path):
        name = by_stem.get(text) or by_stem.get(_OF_A_CLASS.sub("", text))
        if name is None:
            problems.append(f"{path}, line {line}: {shorten(text)} has no .xml file; remove that line")
        else:
            wanted.add(name)
    return frozenset(wanted), problems


def _read(place: Path, name: str, index: ImageIndex | None, continuous: bool) -> _Parsed:
    path = place / name
    try:
        root, lines = _tree(path)
        names = tuple(_text(entry, "name") for entry in root.findall("object"))
    except AnnotationError:
        if index is None:
            return _Parsed((), None)  # not in the split, so its errors are ignored
        raise
    if index is None:
        return _Parsed(tuple(filter(None, names)), None)
    items = [_item(entry, path, lines[entry], continuous) for entry in root.findall("object")]
    image = _image_of(path, stem_of(name), _text(root, "filename").replace("\\", "/"), index)
    width, height = _size(path, root, lines, image)
    from_zero = sum(min(item.box[:2]) == -1 for item in items)
    return _Parsed(names, AnnotatedImage(image, path, width, height, items), from_zero)


def _tree(path: Path) -> tuple[Element, dict[Element, int]]:
    """The root and the line of each element. A document type is refused: it could define endless entities."""
    builder, lines = TreeBuilder(), {}
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(tag: str, attributes: dict[str, str]) -> None:
        lines[builder.start(tag, attributes)] = parser.CurrentLineNumber

    def refuse(*_: object) -> None:
        raise at_line(path, parser.CurrentLineNumber, "VOC files have no document type; remove it")

    parser.StartElementHandler, parser.EndElementHandler = start, builder.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, refuse
    data = read_bytes(path, AnnotationError, "annotation file", "put it there, or leave its image out")
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise at_line(path, error.lineno, f"not XML ({expat.ErrorString(error.code)}); fix or remove it") from None
    except (ValueError, LookupError) as error:  # an encoding that expat does not know
        raise at_line(path, 1, f"not XML ({error}); save it as UTF-8") from None
    finally:  # break the reference cycle with the parser, which would keep the tree until garbage collection
        parser.StartElementHandler = parser.EndElementHandler = None
        parser.CharacterDataHandler = parser.StartDoctypeDeclHandler = None
    root = builder.close()
    if root.tag != "annotation":
        raise at_line(path, lines[root], f"<{root.tag[:40]}> is not VOC's <annotation>; remove the file")
    return root, lines


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _item(entry: Element, path: Path, line: int, continuous: bool) -> Item:
    """Read one <object>. Its parts also have boxes, but they are not separate objects."""
    name, difficult, bounds = _text(entry, "name"), _text(entry, "difficult").lower(), entry.find("bndbox")
    if not name:
        raise at_line(path, line, "an object without a name; fix it")
    if difficult not in (*_TRUE, *_FALSE):
        raise at_line(path, line, f"difficult is {shorten(difficult, 40)}; it must be 0 or 1")
    if bounds is None:
        raise at_line(path, line, f"the object {shorten(name)} has no <bndbox>; fix it")
    texts = [_text(bounds, side) for side in _SIDES]
    for side, text in zip(_SIDES, texts, strict=True):
        if not text:
            raise at_line(path, line, f"the box of {shorten(name)} has no {side}; fix it")
    x1, y1, x2, y2 = to_numbers(texts, path, line)
    first = 0.0 if continuous else 1.0
    return Item(name, (x1 - first, y1 - first, x2, y2), line, difficult=difficult in _TRUE)


def _image_of(path: Path, stem: str, named: str, index: ImageIndex) -> Path:
    """The image with the name of the XML file; else the one in <filename>, in the same folder or at the top."""
    beside = stem.rpartition("/")[0]
    stems = (stem, f"{beside}/{stem_of(named)}" if beside else stem_of(named), stem_of(named))
    for wanted in dict.fromkeys(stems):
        try:
            image = index.find(wanted, named)
        except AnnotationError as error:
            raise AnnotationError(f"{path}: which image? {error}") from None
        if image is not None:
            return image
    also = f" nor {shorten(named)}" if named and stem_of(named) != stem else ""
    raise AnnotationError(
        f"{path}: no image {shorten(stem)}{also} in {index.folder}; put it there, or give {option('images')}"
    )


def _size(path: Path, root: Element, lines: dict[Element, int], image: Path) -> tuple[int, int]:
    """Width and height in px that the boxes refer to: those in the file, which must fit the image, or the image's as shown."""
    header, size = header_of(image), root.find("size")
    texts = [_text(size, side) if size is not None else "" for side in ("width", "height")]
    if size is None or not all(texts):
        return header.shown
    width, height = to_numbers(texts, path, lines[size])
    if width == 0 or height == 0:
        return header.shown
    if (width, height) in ((header.width, header.height), header.shown):
        return int(width), int(height)
    raise at_line(
        path,
        lines[size],
        f"the size is {width:g}x{height:g} px, but {image.name} is {header.width}x{header.height} px; fix one of them",
    )
