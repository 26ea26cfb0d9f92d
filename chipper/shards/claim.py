"""Whose a place of shards is: shards of another workdir, and files of others, are not replaced without a question."""

from __future__ import annotations

from pathlib import Path

from chipper.errors import ShardError, WorkdirError, option
from chipper.manifest.dataset import DATASET
from chipper.manifest.workdir import Workdir
from chipper.shards.shard_set import read_shard_set
from chipper.shards.writing import ERRORS, TRAIN_INDEX, is_shard_file
from chipper.storage.locations import has_listing, is_inside, is_there, sizes_in
from chipper.storage.mark import read_mark, write_mark


def require_ours(workdir: Workdir, overwrite: bool) -> None:
    """Check that shards of ``workdir`` may be written to its place for them.

    Raises:
        WorkdirError: it holds files that chipper did not write, or the shards of another workdir and not ``overwrite``.
        StorageError: it holds a .workdir.json that chipper did not write.
        UnreachableError: it is remote, and cannot be read now.
    """
    folder = workdir.shards
    if is_inside(folder, workdir.path):
        return
    mark = read_mark(folder)
    if mark is not None:
        ours = mark == workdir.mark()
    elif names := _known_names(folder):
        ours = _set_id(folder, names[0]) == workdir.dataset().epochs_id
    else:
        ours = True
    if not ours and not overwrite:
        raise WorkdirError(
            f"{folder} holds the shards of another workdir; give another {option('shards')}, or {option('overwrite')} "
            "to replace them"
        )


def _known_names(folder: Path) -> list[str]:
    """The files in a folder at names that an export writes."""
    if not has_listing(folder):
        return [name for name in (DATASET, TRAIN_INDEX) if is_there(folder / name)]
    return [name for name in sizes_in(folder) if name in (DATASET, ERRORS, TRAIN_INDEX) or is_shard_file(folder / name)]


def _set_id(folder: Path, name: str) -> str:
    """The id of the shards in a folder without a mark, as chipper 0.2.0 wrote it; ``name`` is a file in it."""
    try:
        return read_shard_set(folder).id
    except ShardError:
        raise WorkdirError(
            f"{folder / name} was not written by chipper; move or rename it, or give another {option('shards')}"
        ) from None


def claim(workdir: Workdir) -> None:
    """Mark the place of the shards as this workdir's; `require_ours` comes first."""
    if not is_inside(workdir.shards, workdir.path):
        write_mark(workdir.shards, workdir.claim())
