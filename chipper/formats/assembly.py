"""Turn what an importer has read into a COCO file."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from chipper import __version__
from chipper.coco.checking import LARGEST_SIDE, usable_name
from chipper.coco.decoding import collector_paused
from chipper.errors import AnnotationError, ImageDirectoryError, OptionError, option, printable
from chipper.formats.files import ImageIndex, ImportOptions, stem_of
from chipper.formats.items import DECIMALS, EVERY_CATEGORY, AnnotatedImage, Item, clipped, polygon_area
from chipper.images.finding import find_image_dir
from chipper.storage.files import atomic
from chipper.storage.replacing import head, require_replaceable

_MOVED = 0.05  # px; an edge counts as clipped if it was further outside than this, less is rounding
_DESCRIPTION = "imported by chipper"
_NAMED = 3  # examples shown for each reason


@dataclass
class LeftOut:
    """How many records were left out for one reason, and where the first ones are."""

    count: int = 0
    first: list[str] = field(default_factory=list)


@dataclass
class Imported:
    """A COCO data set, and what was left out of it."""

    coco: dict[str, Any]
    image_dir: Path  # the file names are relative to it
    found_beside: bool  # whether build-positives finds it without --image-dir
    objects: int
    ignored: int  # annotations with iscrowd 1
    without_objects: int  # images
    clipped: int  # boxes that crossed the border of their image
    left_out: dict[str, LeftOut]  # by reason
    problems: list[str]  # a line for each file that could not be used
    notes: list[str]  # what the user should know


def assemble(
    images: Sequence[AnnotatedImage],
    names: Mapping[Hashable, str],
    out: Path,
    options: ImportOptions,
    problems: Sequence[str],
    left_out: Mapping[str, LeftOut] | None = None,
    notes: Sequence[str] = (),
) -> Imported:
    """COCO records of ``images``, sorted by path; ids count from 1.

    Boxes are clipped to their image. An object is left out if its box has no area (also after rounding to float32) or is
    outside the image, if its category is not in ``names``, or if it is difficult and the options drop those.

    Args:
        images: what was read.
        names: the category names by the key that items use, in the order of the ids.
        out: the COCO file that will be written; if possible, file names are chosen so that images are found from there.
        options: see `ImportOptions`.
        problems: what went wrong so far, a line for each file.
        left_out: what else was left out so far.
        notes: what the user should know.

    Raises:
        AnnotationError: no image has an object, or two annotation files are for the same image and ``on_error`` is
            fail.
    """
    made = Imported({}, Path(), True, 0, 0, 0, 0, dict(left_out or {}), list(problems), list(notes))
    usable = list(_usable(sorted(images, key=lambda found: found.image.as_posix()), options, made))
    if usable:
        file_names, made.image_dir, made.found_beside = _names_from(out, [found.image for found in usable])
        bad = next((name for name in file_names if not usable_name(name)), None)
        if bad is not None:
            raise AnnotationError(
                f"{bad!r} is not a valid file name in COCO; rename its folders, or write {option('out')} there"
            )
    records: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    ids = {name: number for number, name in enumerate(names, 1)}
    with collector_paused():
        for number, found in enumerate(usable, 1):
            size = {"width": found.width, "height": found.height}
            records.append({"id": number, "file_name": file_names[number - 1], **size})
            before = made.objects
            for item in found.items:
                annotations += _annotations(item, found, number, ids, len(annotations), options, made)
            made.without_objects += made.objects == before
    if not made.objects:
        raise AnnotationError(_nothing(len(images), made))
    made.coco = {
        "info": {"description": f"{_DESCRIPTION} {__version__}"},
        "images": records,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(names.values(), 1)],
    }
    return made


def require_new(out: Path, overwrite: bool) -> None:
    """Check that a COCO file may be written to ``out``.

    Raises:
        OptionError: there is a file, and not ``overwrite``; or it is not an imported COCO file.
    """
    if not overwrite and out.exists():
        raise OptionError(
            f"{option('out')}: {out} already exists; give {option('overwrite')} to replace it, or another {option('out')}"
        )
    require_replaceable(out, "a COCO file", lambda path: _DESCRIPTION.encode() in head(path))


def write_coco(imported: Imported, out: Path) -> None:
    """Write the COCO file, one line per record. Raises StorageError when it cannot be written."""
    with atomic(out) as file:
        file.write(b'{"info": ' + msgspec.json.encode(imported.coco["info"]))
        for part in ("images", "annotations", "categories"):
            file.write(f',\n"{part}": ['.encode())
            for k, record in enumerate(imported.coco[part]):
                file.write((b",\n" if k else b"\n") + msgspec.json.encode(record))
            file.write(b"\n]")
        file.write(b"}\n")


def leave_out(left_out: dict[str, LeftOut], reason: str, where: str) -> None:
    """Count one record, and keep its place if it is among the first."""
    entry = left_out.setdefault(reason, LeftOut())
    entry.count += 1
    if len(entry.first) < _NAMED:
        entry.first.append(printable(where))


def without_annotations(index: ImageIndex, found: Iterable[AnnotatedImage], files: Iterable[str]) -> dict[str, LeftOut]:
    """The images without an annotation file, as left out; ``files`` are the existing annotation files."""
    left_out: dict[str, LeftOut] = {}
    for image in index.others((entry.image for entry in found), map(stem_of, files)):
        leave_out(left_out, "image without annotation file", str(image))
    return left_out


def _nothing(images: int, made: Imported) -> str:
    """Why no object was found, in one line."""
    if made.problems:
        return f"no annotation can be used; {len(made.problems)} files are bad, the first: {made.problems[0]}"
    for reason, entry in made.left_out.items():
        what = f"{entry.count} x {reason} (the first: {entry.first[0]})"
        return f"no object is left in {images} images: {what}; fix that, or check the options"
    return f"none of the {images} images has an object; chips need at least one"


def _usable(images: Sequence[AnnotatedImage], options: ImportOptions, made: Imported) -> Iterator[AnnotatedImage]:
    """The images with a valid name and size, once each; the others become problems."""
    seen: dict[Path, Path] = {}
    for found in images:
        first = seen.setdefault(found.image, found.source)
        problem = ""
        if first != found.source:
            problem = f"{found.source}: its image {found.image} also belongs to {first}; remove one of the two"
        elif not usable_name(found.image.name):
            problem = f"{str(found.image)!r} is not a valid file name in COCO; rename the image"
        elif not 0 < min(found.width, found.height) <= max(found.width, found.height) <= LARGEST_SIDE:
            problem = f"{found.source}: {found.width}x{found.height} px is not a valid image size; fix it"
        if not problem:
            yield found
        elif options.on_error == "fail":
            raise AnnotationError(printable(problem))
        else:
            made.problems.append(printable(problem))


def _names_from(out: Path, images: list[Path]) -> tuple[list[str], Path, bool]:
    """File names, the folder they are relative to, and whether chipper finds that folder from ``out``."""
    paths = [os.path.abspath(image) for image in images]
    root = Path(os.path.commonpath([os.path.dirname(path) for path in paths]))
    base = Path(os.path.abspath(out)).parent
    names = [Path(path).relative_to(root).as_posix() for path in paths]
    try:
        if os.path.abspath(find_image_dir(base / out.name, names, None)) == str(root):
            return names, root, True
    except ImageDirectoryError:
        pass
    if root.is_relative_to(base):
        return [Path(path).relative_to(base).as_posix() for path in paths], base, True
    return names, root, False


def _annotations(
    item: Item,
    found: AnnotatedImage,
    image_id: int,
    ids: Mapping[Hashable, int],
    count: int,
    options: ImportOptions,
    made: Imported,
) -> list[dict[str, Any]]:
    """The COCO records of one item: one, none if it is left out, or one for each category."""
    box = clipped(item.box, found.width, found.height)
    if item.category is not EVERY_CATEGORY and item.category not in ids:
        reason = f"category not asked for: {item.category}"
    elif item.difficult and options.difficult == "drop":
        reason = "difficult"
    elif isinstance(box, str):
        reason = box
    else:
        return _records(item, box, image_id, ids, count, options, made)
    leave_out(made.left_out, reason, f"{found.source}, line {item.line}")
    return []


def _records(
    item: Item,
    box: list[float],
    image_id: int,
    ids: Mapping[Hashable, int],
    count: int,
    options: ImportOptions,
    made: Imported,
) -> list[dict[str, Any]]:
    x, y, w, h = box
    x1, y1, x2, y2 = item.box
    made.clipped += max(x - x1, y - y1, x2 - x - w, y2 - y - h) > _MOVED
    crowd = item.difficult and options.difficult == "ignore"
    record: dict[str, Any] = {"image_id": image_id, "bbox": box, "area": round(w * h, DECIMALS), "iscrowd": int(crowd)}
    if item.difficult:
        record["difficult"] = 1
    if item.polygon is not None:
        record["segmentation"] = [[round(value, DECIMALS) for value in item.polygon]]
        record["area"] = round(polygon_area(item.polygon), DECIMALS)
    if item.keypoints is not None:
        record["keypoints"] = [round(value, DECIMALS) for value in item.keypoints]
        record["num_keypoints"] = sum(flag > 0 for flag in item.keypoints[2::3])
    categories = list(ids.values()) if item.category is EVERY_CATEGORY else [ids[item.category]]
    made.objects += not crowd
    made.ignored += len(categories) if crowd else 0
    return [{"id": count + k, "category_id": category, **record} for k, category in enumerate(categories, 1)]
