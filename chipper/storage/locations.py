"""Locations of images and shards: local folders, or URLs that fsspec supports, like ``s3://bucket/folder``.

A URL becomes a ``upath.UPath``, which has the methods of a Path, so most code is the same for both; the differences are
in this module. Local files are read and written directly. An object store makes an object visible when its upload is
complete, so a shard is written to a local temporary file and uploaded as a whole.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from chipper.errors import DependencyError, OptionError, StorageError, UnreachableError, first_line

T = TypeVar("T")
_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci")
"""Protocols without folders. Creating a folder there could create a bucket by accident."""


PAUSES = (0.5, 2.0, 8.0)
"""Seconds before each further try of a server that is busy or does not answer; its client has tried some times by then."""
_AT_ONCE = 2048  # files that are asked for together


def location(text: str) -> Path:
    """The folder or URL ``text``.

    Raises:
        OptionError: fsspec has no file system for the protocol.
        DependencyError: the package of the protocol is not installed.
    """
    if "://" not in text:
        return Path(text)
    if text.startswith(":"):
        raise OptionError(
            f"{text} is not a location: it has no protocol; give a folder, or a URL like s3://bucket/folder"
        )
    from upath import UPath  # imports fsspec, which is not needed for local files

    try:
        # other processes write there too, so listings are not cached
        place = UPath(text, use_listings_cache=False)
        if place.protocol in ("file", "local"):
            return Path(place.path)
        place.fs  # noqa: B018, imports the package of the protocol
    except ImportError as error:
        raise DependencyError(f"{text} needs a package that is not installed: {error}") from None
    except ValueError as error:
        raise OptionError(
            f"{text} is not a location: {error}; give a folder, or a URL like s3://bucket/folder"
        ) from None
    return cast(Path, place)


def regular_file(place: Path) -> Path:
    """The location, if it is not a local pipe, socket or device; reading one of these could block or never end.

    Raises:
        OSError: it is one of these, or does not exist.
    """
    if is_local(place):
        kind = place.stat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")
    return place


def open_file(place: Path) -> IO[bytes]:
    """Open a file for reading; all files that chipper reads piece by piece are opened here.

    Raises:
        OSError: it is a local pipe, socket, device or folder, or cannot be opened.
        UnreachableError: it is remote, and cannot be read now.
    """
    if not is_local(place):
        return cast(IO[bytes], answered(place, lambda: place.open("rb")))
    descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer does not block
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return open(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(place))
    raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")


def is_local(place: Path) -> bool:
    """Whether a location is in the local file system."""
    return isinstance(place, Path)


def is_inside(place: Path, folder: Path) -> bool:
    """Whether a location is in a local folder, or is that folder."""
    return is_local(place) and Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder))


def reconnect(place: Path) -> Path:
    """The location with a new connection for this process; connections do not survive a fork."""
    return place if is_local(place) else location(str(place))


def answered(place: Path, ask: Callable[[], T]) -> T:
    """``ask()``, which reads something at ``place``. A server that cannot answer now is asked again, after each of `PAUSES`.

    Raises:
        OSError: a local file cannot be read; FileNotFoundError also for a remote one that is not there.
        UnreachableError: a remote one may be there, but cannot be read now.
    """
    if is_local(place):
        return ask()
    for pause in (*PAUSES, None):
        try:
            return ask()
        except Exception as error:  # each file system raises its own errors
            fault = fault_at(place, error)
            if pause is None or isinstance(error, PermissionError) or not isinstance(fault, UnreachableError):
                raise fault from None
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def fault_at(place: Path, error: Exception) -> Exception:
    """What an error of a remote file system means: FileNotFoundError, or UnreachableError for all but that."""
    # fsspec's HTTP file system raises FileNotFoundError for every answer that it does not like, from aiohttp's error
    cause = error.__cause__ if type(error.__cause__).__module__.startswith("aiohttp") else error
    status = getattr(cause, "status", None)
    if status in (404, 410) or (isinstance(error, FileNotFoundError) and cause is error):
        return FileNotFoundError(errno.ENOENT, "it does not exist", str(place))
    if isinstance(error, PermissionError) or status in (401, 403):
        return UnreachableError(
            f"{place} cannot be read: access is denied ({first_line(error)}); renew the credentials in the environment"
        )
    return UnreachableError(
        f"{place} cannot be read now ({first_line(error)}); nothing there was changed: run the same command again later"
    )


def content(place: Path) -> bytes:
    """The bytes of a file. Errors as in `answered`."""
    return answered(place, lambda: regular_file(place).read_bytes())


def size_of(place: Path) -> int:
    """The size of a file in bytes. Errors as in `answered`."""
    return answered(place, lambda: int(place.stat().st_size))


def is_there(place: Path) -> bool:
    """Whether there is such a file. Raises UnreachableError if a server cannot say."""
    try:
        size_of(place)
    except FileNotFoundError:
        return False
    except OSError:
        return place.exists()
    return True


def has_listing(folder: Path) -> bool:
    """Whether what is in a folder can be asked for; a web server need not tell, and does not tell sizes."""
    return is_local(folder) or cast(Any, folder).protocol not in ("http", "https")


def sizes_in(folder: Path) -> dict[str, int]:
    """Name and size of each file in a folder, by one listing; none if there is no such folder, or no listing.

    Raises:
        UnreachableError: it is remote, and cannot be read now.
    """
    if not has_listing(folder):
        return {}
    try:
        if is_local(folder):
            return {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
        remote = cast(Any, folder)
        found = answered(folder, lambda: remote.fs.ls(remote.path, detail=True))
        return {entry["name"].rpartition("/")[2]: int(entry["size"]) for entry in found if entry["type"] == "file"}
    except OSError:  # a local folder that cannot be listed cannot be written to either, which names the fault
        return {}


def contents_of(folder: Path, names: Sequence[str]) -> Iterator[bytes | None]:
    """The bytes of files in a folder, in order, None for one that cannot be read; remote ones are fetched many at a time.

    Raises:
        UnreachableError: a remote one may be there, but cannot be read now.
    """
    for start in range(0, len(names), _AT_ONCE):
        fetched = {} if is_local(folder) else _fetched(folder, names[start : start + _AT_ONCE])
        for name in names[start : start + _AT_ONCE]:
            try:
                yield fetched.get(name) or content(folder / name)  # what failed is asked for again, alone
            except OSError:
                yield None


def _fetched(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Those remote files that could be read at the first try."""
    paths = {cast(Any, folder / name).path: name for name in names}
    # one request each: `cat` asks first whether a path is a folder, and s3fs for the size of what is wanted without a range
    found = cast(Any, folder).fs.cat_ranges([*paths], 0, None, on_error="return")
    return {name: data for name, data in zip(paths.values(), found, strict=True) if isinstance(data, bytes)}


def readable(place: Path) -> Path | IO[bytes]:
    """The argument for libraries that read files: the path if it is local and UTF-8, else the content in memory."""
    return regular_file(place) if is_local(place) and is_utf8(str(place)) else io.BytesIO(content(place))


def is_utf8(text: str) -> bool:
    """Whether a name can be written as UTF-8. Other bytes in file names are surrogates in Python."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_range(place: Path, start: int, end: int) -> bytes:
    """Bytes start:end of a file that is not local. Errors as in `answered`."""
    remote = cast(Any, place)
    return answered(place, lambda: bytes(remote.fs.cat_file(remote.path, start=start, end=end)))


@contextlib.contextmanager
def uploaded(place: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file for writing. It is uploaded to ``place`` if the block ends without an error.

    Raises:
        StorageError: the upload failed, or the uploaded object has another size.
    """
    with tempfile.NamedTemporaryFile(prefix="chipper-") as file:
        yield cast(IO[bytes], file)
        file.flush()
        size = file.tell()
        remote = cast(Any, place)
        try:
            if remote.protocol not in _OBJECT_STORES:
                remote.fs.makedirs(remote.parent.path, exist_ok=True)
            remote.fs.put_file(file.name, remote.path)
            arrived = answered(place, lambda: remote.fs.info(remote.path)["size"])
        except Exception as error:  # each file system raises its own errors
            raise StorageError(f"cannot write {place}: {first_line(error)}; correct that and run again") from error
        if arrived != size:
            raise StorageError(
                f"cannot write {place}: {arrived} of {size} bytes were uploaded; run the same command again"
            )
