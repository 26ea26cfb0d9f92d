"""The lock of a workdir: only one process writes to it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from chipper.errors import WorkdirError, option
from chipper.storage.files import sweep, translate_os_errors
from chipper.storage.locations import is_local


@contextlib.contextmanager
def locked(workdir: Path, command: str, *elsewhere: Path) -> Iterator[None]:
    """Lock the workdir while ``command`` writes to it; the operating system releases the lock when the process ends.

    Temporary files of killed writers are removed before and after, in the workdir and in the folders ``elsewhere``.

    Raises:
        WorkdirError: another process holds the lock; the message names that process.
    """
    path = workdir / ".lock"
    with translate_os_errors(path):
        workdir.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115, always closed below
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise WorkdirError(
                f"{workdir} is in use by {holder}; wait for it to end, or give another {option('workdir')}"
            ) from None
        file.truncate(0)
        file.write(f"chipper {command} (process {os.getpid()})\n")
        file.flush()
        folders = [workdir, *(folder for folder in elsewhere if is_local(folder))]
        _sweep_all(folders)
        try:
            yield
        finally:
            _sweep_all(folders)


def _sweep_all(folders: list[Path]) -> None:
    for folder in folders:
        sweep(folder)
