"""One writer a workdir."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from chipper.errors import WorkdirError
from chipper.files import storage_errors, sweep


@contextlib.contextmanager
def locked(workdir: Path, command: str) -> Iterator[None]:
    """Hold the workdir while ``command`` writes to it; the system lets go of it when the process ends, however it ends.

    What killed writers have left is swept up.

    Raises:
        WorkdirError: another process holds it; the message names that process.
    """
    path = workdir / ".lock"
    with storage_errors(path):
        workdir.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115, closed below whatever happens
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise WorkdirError(
                f"{workdir} is in use by {holder}; wait for it to end, or give another --workdir"
            ) from None
        file.truncate(0)
        file.write(f"chipper {command} (process {os.getpid()})\n")
        file.flush()
        sweep(workdir)
        try:
            yield
        finally:
            sweep(workdir)
