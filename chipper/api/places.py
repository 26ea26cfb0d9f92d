"""Convert paths and URLs that users give."""

from __future__ import annotations

import os
from pathlib import Path

from chipper.manifest.workdir import Workdir
from chipper.storage.locations import is_local, location

PathLike = str | os.PathLike[str]
WORKDIR = "chips"  # as on the command line


def place(path: PathLike) -> Path:
    """A path, or a URL that fsspec supports."""
    found = location(str(path))
    return Path(found) if is_local(found) else found


def place_or_none(path: PathLike | None) -> Path | None:
    """`place`, or None if no path is given."""
    return None if path is None else place(path)


def workdir_at(workdir: PathLike | Workdir, shards: PathLike | None = None) -> Workdir:
    """The workdir at a path, or a given `Workdir`; ``shards`` is another place of its shards."""
    if isinstance(workdir, Workdir):
        return workdir if shards is None else Workdir(workdir.path, place(shards))
    return Workdir(Path(workdir), place_or_none(shards))
