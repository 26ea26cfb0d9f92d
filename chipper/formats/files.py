"""Files of all importers: find them, read them in threads, and report each problem in one line."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from chipper.checks import check_fields, one_of
from chipper.coco.decoding import collector_paused
from chipper.errors import AnnotationError, ImageError, OptionError, option, printable
from chipper.images.header import Header, own_limit, read_header
from chipper.parallel.progress import Monitor
from chipper.parallel.workers import Workers
from chipper.storage.files import read_bytes

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
_LARGEST = 2.0**31  # px; larger than any image, and areas stay finite
_AT_ONCE = 64  # files per task
T = TypeVar("T")


@dataclass(frozen=True)
class ImportOptions:
    """Import options of all formats.

    ``annotations`` and ``images`` are folders that replace the usual ones of the format. ``classes`` are the names of the
    categories, in the order of their ids. ``difficult`` says what to do with objects that the format excludes from
    evaluation: ``ignore`` makes them crowds, which count neither as objects nor as background.
    """

    annotations: Path | None = None
    images: Path | None = None
    classes: tuple[str, ...] | None = None
    difficult: str = one_of("ignore", "keep", "drop")
    on_error: str = one_of("skip", "fail")

    def __post_init__(self) -> None:
        check_fields(self)


def at_line(path: Path, line: int, what: str) -> AnnotationError:
    """The error for a line of an annotation file."""
    return AnnotationError(f"{path}, line {line}: {what}")


def shorten(text: str, most: int = 80) -> str:
    """``text`` as one printable line of at most ``most`` characters, in quotes."""
    return repr(text if len(text) <= most else f"{text[: most - 3]}...")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """(number from 1, text) of each non-blank line of a text file.

    Raises:
        AnnotationError: the file cannot be read, or is not UTF-8 text.
    """
    data = read_bytes(path, AnnotationError, "annotation file", "put it there, or leave its image out")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise at_line(path, line, "it is not UTF-8 text; save it as UTF-8") from None
    # not splitlines, which also splits at characters that a name may contain
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def to_numbers(words: Iterable[str], path: Path, line: int) -> list[float]:
    """Parse numbers. AnnotationError names a word that is not a number, or is larger than any image."""
    numbers = []
    for word in words:
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not abs(number) <= _LARGEST:  # no comparison holds for NaN
            raise at_line(path, line, f"{shorten(word, 40)} is not a usable number; fix that line")
        numbers.append(number)
    return numbers


def to_whole(word: str, what: str, path: Path, line: int) -> int:
    """Parse an integer, which some tools write as 2.0."""
    [number] = to_numbers([word], path, line)
    if number != int(number):
        raise at_line(path, line, f"the {what} is {word}, which is not a whole number; fix that line")
    return int(number)


def read_classes(path: Path) -> tuple[str, ...]:
    """Names of categories, one per line, in the order of their ids.

    Raises:
        AnnotationError: the file cannot be read, is empty, or names a category twice.
    """
    names = tuple(name for _, name in read_lines(path))
    if not names:
        raise AnnotationError(f"{path} is empty; give the name of a category on each line")
    for k, name in enumerate(names):
        if name in names[:k]:
            raise AnnotationError(f"{path} has {shorten(name)} twice; give each name once")
    return names


def existing_folder(given: Path | None, base: Path, usual: Sequence[str], name: str) -> Path:
    """``given``, the value of the option ``name``, or else the first of the ``usual`` folders that exists in ``base``.

    Raises:
        OptionError: ``given`` is not a folder.
        AnnotationError: ``base`` is not a folder, or has none of the usual folders.
    """
    if given is not None:
        if not given.is_dir():
            raise OptionError(f"{option(name)}: {given} is not a folder; give the one to look in")
        return given
    if not base.is_dir():
        what = "is a file" if base.exists() else "does not exist"
        raise AnnotationError(f"{base} {what}; give the folder of the data set")
    for folder in usual:
        if (base / folder).is_dir():
            return base / folder
    raise AnnotationError(f"{base} has no folder {' or '.join(usual)}; give the data set's folder, or {option(name)}")


def files_below(folder: Path, suffixes: Iterable[str]) -> list[str]:
    """Relative paths (with /) of the files below ``folder`` with one of the lower-case ``suffixes``, sorted, not hidden."""
    wanted, found = frozenset(suffixes), []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        base = os.path.relpath(place, folder)
        found += [
            name if base == "." else f"{base}/{name}".replace(os.sep, "/")
            for name in names
            if os.path.splitext(name)[1].lower() in wanted and not name.startswith(".")
        ]
    return sorted(found)


def stem_of(name: str) -> str:
    """A relative path without its suffix."""
    return os.path.splitext(name)[0]


class ImageIndex:
    """The images below a folder, by relative path without suffix, or by the last part of that path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._by_stem: dict[str, list[str]] = {}
        self._by_last: dict[str, list[str]] = {}
        for name in files_below(folder, IMAGE_SUFFIXES):
            stem = stem_of(name)
            self._by_stem.setdefault(stem, []).append(name)
            self._by_last.setdefault(stem.rpartition("/")[2], []).append(name)

    def find(self, stem: str, also: str = "") -> Path | None:
        """The image with this relative path without suffix, or with the same name in another folder.

        If there are several, the one with the file name of ``also``.

        Raises:
            AnnotationError: there are several, and ``also`` is not one of them.
        """
        names = self._by_stem.get(stem) or self._by_last.get(stem.rpartition("/")[2], [])
        if len(names) > 1:
            named = [name for name in names if name.rpartition("/")[2] == also.rpartition("/")[2]]
            if len(named) != 1:
                raise AnnotationError(f"{' and '.join(names)} both exist in {self.folder}; remove one")
            names = named
        return self.folder / names[0] if names else None

    def image_of(self, path: Path, stem: str) -> Path:
        """The image of the annotation file ``path``. AnnotationError if there is no image, or more than one."""
        try:
            image = self.find(stem)
        except AnnotationError as error:
            raise AnnotationError(f"{path}: which image? {error}") from None
        if image is None:
            raise AnnotationError(
                f"{path}: no image {shorten(stem)} in {self.folder}; put it there, or give {option('images')}"
            )
        return image

    def others(self, used: Iterable[Path], stems: Iterable[str]) -> list[Path]:
        """The images that are not in ``used`` and whose relative path without suffix is not in ``stems``."""
        annotated = set(stems)
        every = (self.folder / n for stem, names in self._by_stem.items() if stem not in annotated for n in names)
        return sorted(set(every).difference(used))


def header_of(image: Path) -> Header:
    """The header of an image. AnnotationError if it cannot be read."""
    try:
        return read_header(image)
    except ImageError as error:
        raise AnnotationError(f"{image}: {error}; fix or remove it") from None


def read_each(
    read: Callable[..., T], tasks: Sequence[tuple[object, ...]], on_error: str, monitor: Monitor
) -> tuple[list[T], list[str]]:
    """``read(*task)`` for each task, and one line for each that failed; both in the order of the tasks.

    Several threads open the files, because small files mostly wait for the disk.

    Raises:
        AnnotationError: the first failure, if ``on_error`` is "fail".
    """
    found: list[T] = []
    problems: list[str] = []

    def some(first: int) -> list[T | AnnotationError]:
        return [_attempt(read, task) for task in tasks[first : first + _AT_ONCE]]

    with own_limit(), collector_paused(), monitor.progress("reading annotations", len(tasks)) as advance:
        for results in Workers().threads(some, [(first,) for first in range(0, len(tasks), _AT_ONCE)]):
            for result in results:
                if not isinstance(result, AnnotationError):
                    found.append(result)
                elif on_error == "fail":
                    raise result
                else:
                    problems.append(str(result))
            advance(len(results))
    return found, problems


def _attempt(read: Callable[..., T], task: tuple[object, ...]) -> T | AnnotationError:
    try:
        return read(*task)
    except AnnotationError as error:
        return AnnotationError(printable(str(error)))
