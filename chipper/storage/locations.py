"""Places of images and shards: folders of this machine, or URLs that fsspec knows, like ``s3://bucket/folder``.

A URL becomes a ``upath.UPath``, which has a Path's methods, so both go the same way; what differs stands here. Local files are
read and written as they are. An object store makes an object visible when its upload is through, so a shard is written
to a temporary file here and uploaded whole.
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
"""They have no folders, and making one may make a bucket, which nobody asked for."""


def location(text: str) -> Path:
    """The folder or URL ``text``.

    Raises:
        OptionError: no file system of that protocol is known.
        DependencyError: the package of the protocol is not installed.
    """
    if "://" not in text:
        return Path(text)
    if text.startswith(":"):
        raise OptionError(
            f"{text} is no location: it names no protocol; give a folder, or a URL like s3://bucket/folder"
        )
    from upath import UPath  # imports fsspec, which local files do not need

    try:
        # other processes write there too, so a listing is never remembered
        place = UPath(text, use_listings_cache=False)
        if place.protocol in ("file", "local"):
            return Path(place.path)
        place.fs  # noqa: B018, imports the package of the protocol
    except ImportError as error:
        raise DependencyError(f"{text} needs a package that is not installed: {error}") from None
    except ValueError as error:
        raise OptionError(f"{text} is no location: {error}; give a folder, or a URL like s3://bucket/folder") from None
    return cast(Path, place)


def regular_file(place: Path) -> Path:
    """The location, unless it is a pipe, a socket or a device of this machine, which would be waited for or read for ever.

    Raises:
        OSError: it is one of these, or not there.
    """
    if is_local(place):
        kind = place.stat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")
    return place


def is_local(place: Path) -> bool:
    """Whether a location lies in this machine's file system."""
    return isinstance(place, Path)


def reconnect(place: Path) -> Path:
    """A location to use in this process; connections do not survive a fork."""
    return place if is_local(place) else location(str(place))


def readable(place: Path) -> Path | IO[bytes]:
    """What libraries that read files take: the path itself, or an open file."""
    return regular_file(place) if is_local(place) else place.open("rb")


def path_or_bytes(place: Path) -> Path | IO[bytes]:
    """The path itself, or the content in memory."""
    return regular_file(place) if is_local(place) else io.BytesIO(place.read_bytes())


def read_range(place: Path, start: int, end: int) -> bytes:
    """Bytes start:end of a file that is not local."""
    remote = cast(Any, place)
    return bytes(remote.fs.cat_file(remote.path, start=start, end=end))


@contextlib.contextmanager
def uploaded(place: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file for writing that is uploaded to ``place`` when the block ends well.

    Raises:
        StorageError: the upload failed, or another size has arrived.
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
        except Exception as error:  # each file system has its own kinds
            raise StorageError(
                f"cannot write {place}: {str(error).splitlines()[0]}; mend that and run again"
            ) from error
        if arrived != size:
            raise StorageError(
                f"cannot write {place}: {arrived} of {size} bytes have arrived; run the same command again"
            )
