"""Find the images and class names of a YOLO data set: from data.yaml, or from a folder without one."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chipper.errors import AnnotationError, OptionError, option
from chipper.formats.files import IMAGE_SUFFIXES, ImportOptions, files_below, read_classes, read_lines, shorten
from chipper.storage.files import read_bytes
from chipper.storage.yaml_files import YamlError, read_yaml

_NAMES = ("classes.txt", "labels/classes.txt", "obj.names")
_MOST_CLASSES = 100_000  # that are named by number
_CURE = "give a data.yaml, or a folder with images and labels"


@dataclass
class YoloSet:
    """The images of one split, sorted, and what their labels mean."""

    images: list[Path]
    names: dict[int, str]  # class number to name, by number
    keypoints: tuple[int, int] | None = None  # number of keypoints, and 2 or 3 values for each
    problems: list[str] = field(default_factory=list)  # one line for each listed image that does not exist
    folders: list[Path] = field(default_factory=list)  # folders whose images are all in `images`


def find_yolo_set(source: Path, split: str | None, options: ImportOptions) -> YoloSet:
    """Find the split of a data.yaml, or of a folder.

    Raises:
        AnnotationError: there is no image, data.yaml is invalid, or an image is missing and ``on_error`` is ``fail``.
        OptionError: the split does not exist.
    """
    if source.is_dir():
        configs = [path for suffix in ("yaml", "yml") for path in sorted(source.glob(f"*.{suffix}"))]
        usual = [path for path in configs if path.stem in ("data", "dataset")]
        if len(configs) > 1 and len(usual) != 1:
            raise AnnotationError(f"{source} has {', '.join(path.name for path in configs)}; give one of them")
        if configs:
            source = (usual or configs)[0]
    data = _of_folder(source, split, options) if source.is_dir() else _of_yaml(source, split or "train", options)
    if options.classes:
        data.names = dict(enumerate(options.classes))
    if not data.images and not data.problems:
        raise AnnotationError(f"{source} has no images; {_CURE}")
    if data.problems and options.on_error == "fail":
        raise AnnotationError(data.problems[0])
    data.images = sorted(dict.fromkeys(data.images))
    return data


def _of_folder(folder: Path, split: str | None, options: ImportOptions) -> YoloSet:
    top = folder / "images" if (folder / "images").is_dir() else folder
    if split is not None:
        places = [place for place in (top / split, folder / split / "images", folder / split) if place.is_dir()]
        if not places:
            raise OptionError(
                f"{option('split')} {split}: {folder} has neither images/{split} nor {split}; leave it out for all images"
            )
        top = places[0]
    data = YoloSet(_images_below(top), {}, folders=[top])
    if not options.classes:
        files = [folder / name for name in _NAMES if (folder / name).is_file()]
        if not files:
            raise AnnotationError(
                f"{folder} has neither data.yaml nor classes.txt; give the names with {option('classes')}"
            )
        data.names = dict(enumerate(read_classes(files[0])))
    return data


def _of_yaml(path: Path, split: str, options: ImportOptions) -> YoloSet:
    text = read_bytes(path, AnnotationError, "data set file", _CURE)
    try:
        content = read_yaml(text)
    except YamlError as error:
        raise AnnotationError(f"{path} is not YAML ({error}); {_CURE}") from None
    if not isinstance(content, dict):
        raise AnnotationError(f"{path} is not a data.yaml with names and train; {_CURE}")
    if "validation" in content:
        content.setdefault("val", content["validation"])
    entries = content.get(split)
    if entries is None:
        known = [name for name in ("train", "val", "test") if content.get(name) is not None]
        raise OptionError(
            f"{option('split')} {split}: {path} has no {split!r}; it has {', '.join(known) or 'no split at all'}"
        )
    written = read_yaml(text, as_text=True).get("names")  # YAML 1.1 would read the name no as false, and 1e3 as 1000
    data = YoloSet([], {} if options.classes else _names(path, content, written), _keypoint_shape(path, content))
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, str):
            raise AnnotationError(
                f"{path}: {split} holds a {type(entry).__name__}; give a folder, a .txt list, or a list of them"
            )
        place = _place(path, content.get("path"), entry)
        if place.is_dir():
            data.images += _images_below(place)
            data.folders.append(place)
        else:
            _listed(place, data)
    return data


def _place(path: Path, root: Any, entry: str) -> Path:
    """The place of an entry: below ``path:``, below the folder of the yaml, or there without the ../ that some tools write."""
    base = path.parent
    roots = [base / root] if isinstance(root, str) else []
    places = [folder / entry for folder in (*roots, base)]
    if entry.startswith("../"):
        places.append(base / entry[3:])
    for place in places:
        if place.exists():
            return Path(os.path.normpath(place))
    looked = " and ".join(dict.fromkeys(str(place) for place in places))
    raise AnnotationError(f"{path}: {shorten(entry)} does not exist; looked for {looked}; fix its path")


def _images_below(folder: Path) -> list[Path]:
    return [folder / name for name in files_below(folder, IMAGE_SUFFIXES)]


def _listed(path: Path, data: YoloSet) -> None:
    """Add the images of a .txt list; its lines are relative to its folder."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        data.images.append(path)
        return
    for line, text in read_lines(path):
        image = Path(os.path.normpath(path.parent / text.replace("\\", "/")))
        if image.is_file():
            data.images.append(image)
        else:
            data.problems.append(f"{path}, line {line}: the image {shorten(str(image))} does not exist; fix that line")


def _names(path: Path, content: dict[Any, Any], written: Any) -> dict[int, str]:
    names = content.get("names")
    if names is None and isinstance(content.get("nc"), int):
        if content["nc"] > _MOST_CLASSES:
            raise AnnotationError(
                f"{path}: nc is {content['nc']:,}, and there are no names; give the {_MOST_CLASSES:,} or fewer"
            )
        names = [f"class_{k}" for k in range(content["nc"])]  # as in ultralytics
    numbered = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(numbered, dict) or not numbered:
        raise AnnotationError(f"{path} has no names; give a list of them, or class number: name")
    for number, name in numbered.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 0 or isinstance(name, (list, dict)):
            raise AnnotationError(f"{path}: names has an entry that is not class number: name; fix it")
    texts = written if isinstance(written, list) else list(written.values()) if isinstance(written, dict) else []
    if len(texts) != len(numbered):  # numbers of which YAML takes two for one, or names from an alias
        texts = list(numbered.values())
    found = dict(zip(numbered, map(str, texts), strict=True))
    return {number: found[number] for number in sorted(found)}


def _keypoint_shape(path: Path, content: dict[Any, Any]) -> tuple[int, int] | None:
    shape = content.get("kpt_shape")
    if shape is None:
        return None
    if (
        isinstance(shape, list)
        and len(shape) == 2
        and isinstance(shape[0], int)
        and shape[0] > 0
        and shape[1] in (2, 3)
    ):
        return shape[0], shape[1]
    raise AnnotationError(f"{path}: kpt_shape is not like [17, 3]; fix it")
