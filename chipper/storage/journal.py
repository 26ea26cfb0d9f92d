"""A journal: what a long run has found so far, one line of JSON for each image, so that a run that was stopped can go on."""

from __future__ import annotations

import io
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from chipper.errors import StorageError
from chipper.storage.files import open_in_place, remove, translate_os_errors, write_all
from chipper.storage.locations import content, is_local

_START = b'{"belongs_to":"'


def place_beside(out: Path | None) -> Path | None:
    """The place of the journal of a file that is made; None at a URL, where nothing can be appended."""
    return out.with_name(f"{out.name}.partial") if out is not None and is_local(out) else None


class Journal:
    """What a run has found so far in each image.

    The file's first line says which run it is of. A journal of another run is replaced, any other file is refused. A line that
    a killed run did not finish is cut off, with everything after it.

    Args:
        path: the journal; it is made if it does not exist, and stays until `remove`. Without one, nothing is written.
        belongs_to: a hash of everything that the findings depend on.

    Raises:
        StorageError: there is a file that is not a journal, or it cannot be written; what was found so far is kept.
    """

    def __init__(self, path: Path | None, belongs_to: str) -> None:
        self.path = path
        self.found: dict[int, list[dict[str, Any]]] = {}
        """By image id."""
        self._belongs_to = belongs_to
        self._file: io.FileIO | io.BytesIO = io.BytesIO()

    def __enter__(self) -> Self:
        if self.path is not None:
            with translate_os_errors(self.path):
                good = self._read(self.path)
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = open_in_place(self.path)
                self._file.truncate(good)
                self._file.seek(good)
                if not good:
                    write_all(self._file, self._first)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self.path is not None and not self.found:  # nothing to go on with
            self.path.unlink(missing_ok=True)

    def add(self, image_id: int, found: list[dict[str, Any]]) -> None:
        """What was found in one more image."""
        self.found[image_id] = found
        if self.path is not None:
            with translate_os_errors(self.path):
                write_all(self._file, msgspec.json.encode([image_id, found]) + b"\n")

    def remove(self) -> None:
        """Remove the file, after its content was written elsewhere."""
        if self.path is not None:
            remove(self.path)

    @property
    def _first(self) -> bytes:
        return _START + self._belongs_to.encode() + b'"}\n'

    def _read(self, path: Path) -> int:
        """Read what an earlier run found. Returns the bytes of the file that are good: 0 if it is of another run."""
        try:
            lines = content(path).splitlines(keepends=True)
        except FileNotFoundError:
            return 0
        if lines[:1] != [self._first]:
            start = b"".join(lines)[: len(_START)]
            if not _START.startswith(start):
                raise StorageError(f"{path} is there, and not written by chipper; move or rename it")
            return 0
        good = len(lines[0])
        for line in lines[1:]:
            try:
                image_id, found = msgspec.json.decode(line, type=tuple[int, list[dict[str, Any]]])
            except (msgspec.DecodeError, UnicodeDecodeError):
                break
            if not line.endswith(b"\n"):
                break
            self.found[image_id] = found
            good += len(line)
        return good
