"""The lock of a folder: only one process writes to it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from chipper.errors import WorkdirError, option
from chipper.storage.files import open_in_place, remove, sweep, translate_os_errors
from chipper.storage.locations import is_inside, is_local

LOCK = ".lock"
HELD = ".lock-held"
"""Where a file system has no locks, this file is there while its maker writes."""
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL)


@contextlib.contextmanager
def locked(workdir: Path, command: str, shards: Path | None = None) -> Iterator[None]:
    """Lock the workdir, and a local folder ``shards`` outside it, while ``command`` writes to them.

    The operating system releases the locks when the process ends. Temporary files of killed writers are removed before and after.

    Raises:
        WorkdirError: another process holds a lock; the message names that process.
        StorageError: a folder cannot be written.
    """
    folders = {"workdir": workdir}
    if shards is not None and is_local(shards) and not is_inside(shards, workdir):
        folders["shards"] = shards
    with contextlib.ExitStack() as stack:
        for name, folder in folders.items():
            stack.enter_context(_locked(folder, f"chipper {command} (process {os.getpid()})", option(name)))
        try:
            _sweep_all(workdir, shards)
            yield
        finally:
            _sweep_all(workdir, shards)


@contextlib.contextmanager
def _locked(folder: Path, me: str, place: str) -> Iterator[None]:
    """Hold the lock of one folder, which was given by the option ``place``."""
    path = folder / LOCK
    with translate_os_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = open_in_place(path)
    with file, contextlib.ExitStack() as stack:
        holder = file.read().decode(errors="replace").strip()
        if holder and not holder.startswith("chipper "):
            raise WorkdirError(f"{path} was not written by chipper; move or rename it, or give another {place}")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkdirError(
                f"{folder} is in use by {holder or 'another process'}; wait for it to end, or give another {place}"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            stack.enter_context(_held(folder / HELD, me, place))
        with translate_os_errors(path):
            file.truncate(0)
            file.seek(0)
            file.write(f"{me}\n".encode())
        yield


@contextlib.contextmanager
def _held(path: Path, me: str, place: str) -> Iterator[None]:
    """Hold a lock by making a file that must not be there yet."""
    with translate_os_errors(path):
        try:
            open(path, "xb").close()
        except FileExistsError:
            with open_in_place(path) as other:
                holder = other.read().decode(errors="replace").strip() or "another process"
            raise WorkdirError(
                f"{path.parent} is in use by {holder}; wait for it to end, or give another {place}; this file system has no "
                f"locks, so if that process was killed, remove {path}"
            ) from None
    try:
        with translate_os_errors(path), open_in_place(path) as file:
            file.write(f"{me} on {platform.node()}\n".encode())
        yield
    finally:
        remove(path)


@contextlib.contextmanager
def folder_locked(folder: Path, place: str) -> Iterator[None]:
    """Lock a folder that is being filled, which was given by the option ``place``; there is no file in it for the lock.

    Where a file system has no locks, nothing is locked.

    Raises:
        WorkdirError: another process fills it.
        OSError: it is a symbolic link, or not a folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        taken = False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = not os.path.samestat(os.fstat(descriptor), os.stat(folder))  # its filler has renamed it meanwhile
        except (BlockingIOError, FileNotFoundError):
            taken = True
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        if taken:
            raise WorkdirError(
                f"{folder} is being filled by another process; wait for it to end, or give another {place}"
            )
        yield
    finally:
        os.close(descriptor)


def _sweep_all(workdir: Path, shards: Path | None) -> None:
    sweep(workdir)
    if shards is not None and is_local(shards):
        sweep(shards)
