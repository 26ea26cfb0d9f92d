"""Atomic file writes: a file is written under a temporary name in the same folder, synced and renamed."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from chipper.errors import ChipperError, StorageError, WorkdirError, first_line
from chipper.schemas import SchemaMismatch, Table
from chipper.storage.locations import content, is_local, open_file, readable, regular_file, uploaded

S = TypeVar("S", bound=msgspec.Struct)
_CURES = {
    errno.ENOSPC: "no space is left on that disk; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EROFS: "that file system is read-only; choose another place",
    errno.EACCES: "permission is denied; choose another place or change its owner",
    errno.EPERM: "permission is denied; choose another place or change its owner",
    errno.ELOOP: "it is a symbolic link; remove it",
}


@contextlib.contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Convert an OSError while writing ``path`` to a StorageError with the cure."""
    try:
        yield
    except OSError as error:
        number = error.errno if error.errno is not None else _errno_in(str(error))
        raise StorageError(f"cannot write {path}: {_CURES.get(number or 0, error.strerror or str(error))}") from error


def _errno_in(message: str) -> int | None:
    # pyarrow raises OSError without errno, but with "[errno 28]" in the message
    for number in _CURES:
        if f"[errno {number}]" in message:
            return number
    return None


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file for writing. It becomes ``path`` if the block ends without an error; otherwise it is removed."""
    if not is_local(path):
        with translate_os_errors(Path(tempfile.gettempdir())), uploaded(path) as file:
            yield file
        return
    # a unique name, because the task of a lost worker can be started again while the worker still writes
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    with translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_directory(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def open_in_place(path: Path, mode: int = 0o666) -> io.FileIO:
    """Open a file that is not written as a whole, for reading and writing without a buffer; it is made if it is not there.

    Its name is known before, so a link or a pipe at that name would choose what chipper writes to.

    Raises:
        OSError: it is a symbolic link, a pipe or a device, or cannot be opened.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = io.FileIO(os.open(path, flags, mode), "r+")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file; remove it")
    return file


def write_all(file: io.RawIOBase | io.BytesIO, data: bytes) -> None:
    """Write to a file without a buffer; a disk that is nearly full takes a part, and then raises OSError."""
    while data:
        data = data[file.write(data) or 0 :]


def remove(path: Path) -> None:
    """Remove a file if it exists."""
    with translate_os_errors(path):
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove temporary files of killed writers in ``folder`` and its subfolders; no writer may be running."""
    for ending in ("parquet", "tar", "json", "pt"):
        for pattern in (f".*.{ending}*.partial", f"*/.*.{ending}*.partial"):
            for left in folder.glob(pattern):
                remove(left)


def sync_directory(directory: Path) -> None:
    """Sync ``directory``, so that renames in it survive a power failure, on file systems that can."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` (plain containers or msgspec structs) as indented JSON."""
    with atomic(path) as file:
        file.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


ROW_GROUP = 1 << 17
"""Rows of a Parquet row group: small enough that reading a range of images reads few other rows."""
_REPEATED = ("image_id", "category_id", "kind", "variant", "scale_index", "record", "reason")
"""Columns with few different values. For others, a dictionary would be built and discarded, which doubles the write time."""


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file with zstd compression and a fixed layout, so that equal tables give equal bytes."""
    write_tables(path, table.schema, [table])


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file."""
    with atomic(path) as file:
        file.write(data)


def write_tables(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write several tables one after the other to a Parquet file, so that they need not fit into memory together."""
    with atomic(path) as file:
        _write_parquet(file, schema, tables)


def table_bytes(table: pa.Table) -> bytes:
    """The bytes that `write_table` writes."""
    file = io.BytesIO()
    _write_parquet(file, table.schema, [table])
    return file.getvalue()


def _write_parquet(file: IO[bytes], schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    repeated = [name for name in schema.names if name in _REPEATED]
    options = {"compression": "zstd", "compression_level": 1, "use_dictionary": repeated, "write_page_checksum": True}
    with pq.ParquetWriter(file, schema, **options) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=ROW_GROUP)


def read_table(
    path: Path,
    table: Table,
    belongs_to: str | None,
    cure: str,
    columns: list[str] | None = None,
    data: bytes | None = None,
) -> pa.Table:
    """Read a Parquet file of ``table``: all columns, or those in ``columns``; ``data`` are its bytes if they were read already.

    Raises:
        WorkdirError: it is missing, unreadable, another table or made with other options; the message ends with ``cure``.
        UnreachableError: it is remote, and cannot be read now.
    """
    try:
        source = readable(path) if data is None else io.BytesIO(data)
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            table.check(file.schema_arrow, belongs_to)
            found = file.read(columns=columns)
        for column in table.columns:
            if not column.nullable and column.name in found.column_names and found[column.name].null_count:
                raise SchemaMismatch(f"has rows without {column.name}")
        return found
    except SchemaMismatch as error:
        raise WorkdirError(f"{path} {error}; {cure}") from error
    except FileNotFoundError as error:
        raise WorkdirError(f"{path} is missing; {cure}") from error
    except (OSError, ValueError, LookupError, TypeError, MemoryError, pa.ArrowException) as error:
        # for a damaged footer pyarrow raises many kinds of errors, some with the damaged bytes in their message
        what = first_line(error).encode("ascii", "backslashreplace").decode()
        raise WorkdirError(f"{path} is damaged ({what}); {cure}") from error


def read_bytes(path: Path, error: type[ChipperError], what: str, cure: str) -> bytes:
    """The file's bytes. Raises ``error`` with one line if it cannot be read."""
    try:
        return regular_file(path).read_bytes()
    except FileNotFoundError:
        raise error(f"{what} {path} does not exist; {cure}") from None
    except IsADirectoryError:
        raise error(f"{what} {path} is a folder; {cure}") from None
    except OSError as reason:
        raise error(f"{what} {path} cannot be read ({reason.strerror}); {cure}") from None


def read_struct(path: Path, type_: type[S]) -> S:
    """A JSON file as a msgspec struct.

    Raises:
        OSError: it cannot be read.
        UnreachableError: it is remote, and cannot be read now.
        ValueError: it is not JSON, or not of that type.
    """
    return struct_of(content(path), type_)


def struct_of(data: bytes, type_: type[S]) -> S:
    """JSON as a msgspec struct. Raises ValueError if it is not JSON, or not of that type."""
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def fingerprint(*pieces: bytes) -> str:
    """XXH3-128 of the pieces, each with its length, as 32 hex digits; it detects changes, but is not cryptographic."""
    digest = xxhash.xxh3_128()
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "little"))
        digest.update(piece)
    return digest.hexdigest()


def fingerprint_of(path: Path) -> str:
    """XXH3-128 of a file; the file need not fit into memory."""
    digest = xxhash.xxh3_128()
    with open_file(path) as file:
        while piece := file.read(1 << 24):
            digest.update(piece)
    return digest.hexdigest()
