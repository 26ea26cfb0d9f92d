"""Whether another machine sees the same files under the same names.

A worker that has another disk there would read other images, or write where nobody looks, and report success. So this
process leaves a note in each folder that will be written to. Before its first task a worker, also one that joins late, looks
for the notes and leaves an answer beside each, which this process looks for.
"""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from chipper.errors import UnreachableError
from chipper.storage.files import fingerprint, remove, write_bytes
from chipper.storage.locations import content, is_local, is_there, open_file, sizes_in

NOTE = ".view-"
"""How the names of notes and answers begin."""
_SAMPLE = 16  # files of a folder that are compared
_EDGE = 1 << 16  # bytes at both ends of a file that are compared
_SECONDS = 60.0
"""How long an answer may take to appear; NFS shows a new file to other machines when its cache of the folder ends."""
_answers: dict[str, str] = {}  # of this process, by the view's token


@dataclass(frozen=True)
class _Seen:
    """What this process sees at a path that is read only."""

    path: Path
    sizes: tuple[tuple[str, int], ...]  # of some files in a folder
    edges: str  # hash of both ends of a file

    @classmethod
    def at(cls, path: Path) -> _Seen:
        if path.is_dir():
            with os.scandir(path) as entries:
                files = itertools.islice((entry for entry in entries if entry.is_file()), _SAMPLE)
                return cls(path, tuple((entry.name, entry.stat().st_size) for entry in files), "")
        return cls(path, (), _edges(path))

    def is_same_here(self) -> bool:
        """Whether the process that asks sees the same."""
        try:
            if self.edges:
                return _edges(self.path) == self.edges
            return self.path.is_dir() and all((self.path / name).stat().st_size == size for name, size in self.sizes)
        except OSError:
            return False


def _edges(path: Path) -> str:
    with open_file(path) as file:
        head = file.read(_EDGE)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _EDGE, 0))
        return fingerprint(head, file.read(_EDGE), str(size).encode())


@dataclass(frozen=True)
class View:
    """The folders that workers write to, and the files and folders that they read; only local ones of these are compared.

    As a context manager, in the process that distributes the work, it leaves the notes, and removes them with the answers.
    """

    written: tuple[Path, ...]
    seen: tuple[_Seen, ...]
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    @classmethod
    def of(cls, written: Iterable[Path], read: Iterable[Path]) -> View:
        """What this process sees. Raises OSError if a file that is read is missing."""
        return cls(tuple(written), tuple(_Seen.at(path) for path in read if is_local(path)))

    def __enter__(self) -> View:
        for folder in self.written:
            self._sweep(folder)  # what a run that was killed has left
            write_bytes(folder / self._note, b"")
        return self

    def __exit__(self, *_: object) -> None:
        for folder in self.written:
            self._sweep(folder)

    @property
    def _note(self) -> str:
        return f"{NOTE}{self.token}"

    def _sweep(self, folder: Path) -> None:
        for name in sizes_in(folder):
            if name.startswith((NOTE, f".{NOTE}")):
                remove(folder / name)

    def other_here(self) -> Path | None:
        """In a worker: the first path where it sees something else; None if it sees the same, and has left its answers."""
        if self.token not in _answers:
            for folder in self.written:
                try:
                    content(folder / self._note)
                except (OSError, UnreachableError):
                    return folder
            for seen in self.seen:
                if not seen.is_same_here():
                    return seen.path
            answer = f"{self._note}-{socket.gethostname()}-{os.getpid()}"
            for folder in self.written:
                write_bytes(folder / answer, b"")
            _answers[self.token] = answer
        return None

    def answer(self) -> str:
        """In a worker: the name of its answers."""
        return _answers[self.token]

    def without(self, answer: str) -> Path | None:
        """In the process that distributes the work: the first folder where a worker's answer does not appear, or None."""
        for folder in self.written:
            end = time.monotonic() + _SECONDS
            while not is_there(folder / answer):
                if time.monotonic() > end:
                    return folder
                time.sleep(0.2)
        return None
