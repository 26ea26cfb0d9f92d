"""What may be replaced: a file at a name that the user chose gives way only to a newer one of its kind."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from chipper.errors import OptionError, option
from chipper.storage.locations import is_local, open_file, read_range, size_of

_HEAD = 4096


def head(path: Path) -> bytes:
    """The first 4 KiB of a file. Errors as in `chipper.storage.locations.answered`."""
    if not is_local(path):
        return read_range(path, 0, _HEAD) if size_of(path) else b""
    with open_file(path) as file:
        return file.read(_HEAD)


def require_replaceable(path: Path, what: str, is_one: Callable[[Path], bool], asked_by: str = "out") -> None:
    """Check that there is no file at ``path``, an empty one, or one of which ``is_one(path)`` says that it is ``what``.

    Raises:
        OptionError: there is another file; the message names the option ``asked_by``.
        UnreachableError: it is remote, and cannot be read now.
    """
    try:
        known = not head(path) or is_one(path)
    except OSError as error:  # a name that cannot be written is named when it is written
        known = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
    if not known:
        raise OptionError(
            f"{option(asked_by)}: {path} is there, and is not {what} that chipper wrote; move or rename it, or give another name"
        )
