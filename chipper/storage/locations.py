"""Locations of images and shards: local folders, or URLs that fsspec supports, like ``s3://bucket/folder``.

A URL becomes a ``upath.UPath``, which has the methods of a Path, so most code is the same for both; the differences are
in this module. Local files are read and written directly. An object store makes an object visible when its upload is
complete, so a shard is written to a local temporary file and uploaded as a whole.
"""

from __future__ import annotations

import contextlib
import errno
import io
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from chipper.errors import DependencyError, OptionError, StorageError

_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci")
"""Protocols without folders. Creating a folder there could create a bucket by accident."""


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


def is_local(place: Path) -> bool:
    """Whether a location is in the local file system."""
    return isinstance(place, Path)


def reconnect(place: Path) -> Path:
    """The location with a new connection for this process; connections do not survive a fork."""
    return place if is_local(place) else location(str(place))


def readable(place: Path) -> Path | IO[bytes]:
    """The argument for libraries that read files: the path if it is local, else an open file."""
    return regular_file(place) if is_local(place) else place.open("rb")


def path_or_bytes(place: Path) -> Path | IO[bytes]:
    """The path if it is local, else the content in memory."""
    return regular_file(place) if is_local(place) else io.BytesIO(place.read_bytes())


def read_range(place: Path, start: int, end: int) -> bytes:
    """Bytes start:end of a file that is not local."""
    remote = cast(Any, place)
    return bytes(remote.fs.cat_file(remote.path, start=start, end=end))


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
            arrived = remote.fs.info(remote.path)["size"]
        except Exception as error:  # each file system raises its own errors
            raise StorageError(
                f"cannot write {place}: {str(error).splitlines()[0]}; correct that and run again"
            ) from error
        if arrived != size:
            raise StorageError(
                f"cannot write {place}: {arrived} of {size} bytes were uploaded; run the same command again"
            )
