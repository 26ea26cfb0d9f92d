"""What all importers do with files: find them, read them in threads, and say in one line what is wrong with one."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from chipper.checks import check_fields, one_of
from chipper.coco.decoding import collector_paused
from chipper.errors import AnnotationError, ImageError, OptionError, option
from chipper.images.header import Header, own_limit, read_header
from chipper.parallel.progress import Monitor
from chipper.parallel.workers import Workers
from chipper.storage.files import read_bytes

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
_LARGEST = 2.0**31  # px; no image reaches so far, and areas stay finite
_AT_ONCE = 64  # files of one task
T = TypeVar("T")


@dataclass(frozen=True)
class ImportOptions:
    """How to import, whatever the format.

    ``annotations`` and ``images`` are the folders to take in place of the format's usual ones; ``classes`` the names of
    the categories, in the order of their ids; ``difficult`` what becomes of objects that the format tells to leave out
    of account: ``ignore`` makes them crowds, which chipper counts neither as object nor as background.
    """

    annotations: Path | None = None
    images: Path | None = None
    classes: tuple[str, ...] | None = None
    difficult: str = one_of("ignore", "keep", "drop")
    on_error: str = one_of("skip", "fail")

    def __post_init__(self) -> None:
        check_fields(self)


def at_line(path: Path, line: int, what: str) -> AnnotationError:
    """The error of a line of an annotation file."""
    return AnnotationError(f"{path}, line {line}: {what}")


def shorten(text: str, most: int = 80) -> str:
    """``text`` as one printable line of at most ``most`` characters, in quotes."""
    return repr(text if len(text) <= most else f"{text[: most - 3]}...")


def printable(text: str) -> str:
    """``text`` with line ends and other letters that a terminal cannot show written as escapes: paths may hold them."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """(number from 1, text) of each line of a text file that is not blank.

    Raises:
        AnnotationError: the file cannot be read, or is no UTF-8 text.
    """
    data = read_bytes(path, AnnotationError, "annotation file", "put it there, or leave its image out")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise at_line(path, line, "it is no UTF-8 text; save it as UTF-8") from None
    # not splitlines, which also splits at characters that may stand in a name
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def to_numbers(words: Iterable[str], path: Path, line: int) -> list[float]:
    """Numbers; AnnotationError names the word that is none, or beyond any image."""
    numbers = []
    for word in words:
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not abs(number) <= _LARGEST:  # no comparison holds for NaN
            raise at_line(path, line, f"{shorten(word, 40)} is no usable number; mend that line")
        numbers.append(number)
    return numbers


def to_whole(word: str, what: str, path: Path, line: int) -> int:
    """A whole number, which some tools write as 2.0."""
    [number] = to_numbers([word], path, line)
    if number != int(number):
        raise at_line(path, line, f"the {what} is {word}, which is no whole number; mend that line")
    return int(number)


def read_classes(path: Path) -> tuple[str, ...]:
    """Names of categories, one a line, in the order of their ids.

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
    """``given``, the option ``name``, or the first of the ``usual`` names in ``base`` that is a folder.

    Raises:
        OptionError: ``given`` is not a folder.
        AnnotationError: ``base`` is no folder, or has none of the usual ones.
    """
    if given is not None:
        if not given.is_dir():
            raise OptionError(f"{option(name)}: {given} is not a folder; give the one to look in")
        return given
    if not base.is_dir():
        what = "is a file" if base.exists() else "does not exist"
        raise AnnotationError(f"{base} {what}; give the folder of the data set")
    for name in usual:
        if (base / name).is_dir():
            return base / name
    raise AnnotationError(f"{base} has no folder {' or '.join(usual)}; give the data set's folder, or {option}")


def files_below(folder: Path, suffixes: Iterable[str]) -> list[str]:
    """Relative paths (with /) of the files below ``folder`` with one of the lower-case ``suffixes``, sorted; no hidden ones."""
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
    """The images below a folder, by relative path without suffix, or by the last part of that."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._by_stem: dict[str, list[str]] = {}
        self._by_last: dict[str, list[str]] = {}
        for name in files_below(folder, IMAGE_SUFFIXES):
            stem = stem_of(name)
            self._by_stem.setdefault(stem, []).append(name)
            self._by_last.setdefault(stem.rpartition("/")[2], []).append(name)

    def find(self, stem: str, also: str = "") -> Path | None:
        """The image of that relative path without suffix, or in another folder; of several, the one named as ``also``.

        Raises:
            AnnotationError: there are several, and ``also`` is none of them.
        """
        names = self._by_stem.get(stem) or self._by_last.get(stem.rpartition("/")[2], [])
        if len(names) > 1:
            named = [name for name in names if name.rpartition("/")[2] == also.rpartition("/")[2]]
            if len(named) != 1:
                raise AnnotationError(f"{' and '.join(names)} are both there in {self.folder}; remove one")
            names = named
        return self.folder / names[0] if names else None

    def image_of(self, path: Path, stem: str) -> Path:
        """The image of the annotation file ``path``; AnnotationError where there is none, or more than one."""
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
        """The images that are not among ``used`` and have none of those relative paths without suffix."""
        annotated = set(stems)
        every = (self.folder / n for stem, names in self._by_stem.items() if stem not in annotated for n in names)
        return sorted(set(every).difference(used))


def header_of(image: Path) -> Header:
    """The header of an image; AnnotationError where it cannot be read."""
    try:
        return read_header(image)
    except ImageError as error:
        raise AnnotationError(f"{image}: {error}; mend or remove it") from None


def read_each(
    read: Callable[..., T], tasks: Sequence[tuple[object, ...]], on_error: str, monitor: Monitor
) -> tuple[list[T], list[str]]:
    """``read(*task)`` for each task, and one line for each that failed; both in the order of the tasks.

    Files are opened by several threads, as small files are mostly waiting.

    Raises:
        AnnotationError: the first failure, where ``on_error`` is "fail".
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
