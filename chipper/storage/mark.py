""".workdir.json: says that chipper wrote a folder, and which workdir it belongs to.

A workdir has one, and a place of shards outside it has a copy. Without it, files at the names that chipper writes are
somebody else's.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from chipper import __version__
from chipper.errors import StorageError
from chipper.storage.files import read_struct, write_json

MARK = ".workdir.json"


class Mark(msgspec.Struct, frozen=True):
    """.workdir.json."""

    written_by: str  # chipper and its version
    id: str  # of the workdir, by chance

    @classmethod
    def new(cls) -> Mark:
        """The mark of a new workdir."""
        return cls(f"chipper {__version__}", secrets.token_hex(16))


def read_mark(folder: Path) -> Mark | None:
    """The mark of a folder, or None if it has none.

    Raises:
        StorageError: the file was written by somebody else.
        UnreachableError: it is remote, and cannot be read now.
    """
    path = folder / MARK
    try:
        mark = read_struct(path, Mark)
        if not mark.written_by.startswith("chipper "):
            raise ValueError(mark.written_by)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        raise StorageError(
            f"{path} was not written by chipper, or is damaged; move or rename it, or give another folder"
        ) from None
    return mark


def write_mark(folder: Path, mark: Mark) -> None:
    """Write the mark of a folder. Raises StorageError if it cannot be written."""
    write_json(folder / MARK, mark)
