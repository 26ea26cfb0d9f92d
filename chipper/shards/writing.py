"""Write one shard: a tar of samples, its index, and a receipt that says that the shard is complete.

They are committed in the order tar, index, receipt (``.done.json``); each is written under a temporary name, synced and
renamed. A shard is complete if its receipt exists and has the hash of the current plan.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chipper.errors import ShardError, StorageError, WorkdirError
from chipper.schemas import FORMAT_VERSION, SHARD_INDEX
from chipper.shards.samples import KEY
from chipper.storage.files import (
    atomic,
    read_struct,
    read_table,
    remove,
    struct_of,
    table_bytes,
    write_bytes,
    write_json,
)
from chipper.storage.locations import content, contents_of, has_listing, is_there, size_of, sizes_in

RERUN = "run `chipper export-shards` again"
_BLOCK = tarfile.BLOCKSIZE
_Row = tuple[str, int, int, int, int, int, int]  # a row of the index
ERRORS = "errors.parquet"
"""Next to the shards: the images that could not be rendered."""
TRAIN_INDEX = "train-index.json"
_SHARD_FILE = re.compile(
    r"(positives|negatives|epoch-\d{3,})(-v\d+)?-\d{5,}-of-\d{5,}\.(tar|index\.parquet|done\.json)"
)


@dataclass(frozen=True)
class Sample:
    """One chip as it is written into a shard."""

    key: str
    chip_id: int
    jpeg: bytes
    record: bytes


class ImageFault(msgspec.Struct):
    """An image that could not be rendered."""

    image_id: int
    file_name: str
    error: str
    chips: int


class Receipt(msgspec.Struct):
    """``.done.json``: the content of the shard, and the hash of its plan."""

    format_version: str
    name: str
    kind: str
    samples: int
    bytes: int
    sha256: str
    plan_hash: str
    faults: list[ImageFault]
    index_sha256: str = ""  # of the index; shards of version 0.2.0 and before do not have it


def shard_name(kind: str, number: int, total: int) -> str:
    """``positives-00007-of-00128``; the first number counts from 0."""
    return f"{kind}-{number:05d}-of-{total:05d}"


def is_shard_file(path: Path) -> bool:
    """Whether a file has the name of a shard's tar, index or receipt; chipper never changes other files."""
    return _SHARD_FILE.fullmatch(path.name) is not None


def tar_path(folder: Path, name: str) -> Path:
    """The shard's tar."""
    return folder / f"{name}.tar"


def index_path(folder: Path, name: str) -> Path:
    """The shard's index."""
    return folder / f"{name}.index.parquet"


def receipt_path(folder: Path, name: str) -> Path:
    """The shard's receipt."""
    return folder / f"{name}.done.json"


def read_receipt(folder: Path, name: str) -> Receipt | None:
    """The shard's receipt, or None if the shard is not complete.

    A shard is not complete if its receipt is missing or is the receipt of another shard, its tar has another size, or its
    index is missing.
    """
    try:
        receipt = read_struct(receipt_path(folder, name), Receipt)
        whole = size_of(tar_path(folder, name)) == receipt.bytes and is_there(index_path(folder, name))
    except (OSError, ValueError):
        return None
    return receipt if whole and receipt.name == name else None


def read_receipts(folder: Path, names: Sequence[str]) -> dict[str, Receipt]:
    """The receipts of those shards that are complete, as `read_receipt` reads them, with one listing of the folder if it has one.

    Raises:
        UnreachableError: a remote file may be there, but cannot be read now.
    """
    if not has_listing(folder):
        return {name: receipt for name in names if (receipt := read_receipt(folder, name)) is not None}
    sizes = sizes_in(folder)
    there = [name for name in names if {f"{name}.done.json", f"{name}.index.parquet"} <= sizes.keys()]
    found = {}
    for name, data in zip(there, contents_of(folder, [f"{name}.done.json" for name in there]), strict=True):
        with suppress(ValueError):
            receipt = struct_of(data or b"", Receipt)
            if receipt.name == name and receipt.bytes == sizes.get(f"{name}.tar"):
                found[name] = receipt
    return found


def require_written(folder: Path, receipts: Sequence[Receipt]) -> None:
    """Look for shards that workers, perhaps on other machines, say they have written.

    Raises:
        StorageError: a shard is missing, or another one is in its place.
        UnreachableError: the folder is remote, and cannot be read now.
    """
    there = read_receipts(folder, [receipt.name for receipt in receipts])
    lost = [receipt.name for receipt in receipts if there.get(receipt.name) != receipt]
    if lost:
        raise StorageError(
            f"{len(lost)} of {len(receipts)} shards, the first {lost[0]}, were written, but are not in {folder}; "
            f"check that disk, and run the same command again"
        )


def read_index(folder: Path, receipt: Receipt, data: bytes | None = None) -> pa.Table:
    """A shard's index; ``data`` are its bytes if they were read already.

    Raises:
        ShardError: it is not the index that was written with the shard, its offsets are outside the tar, or its keys are not
            keys of samples. (A key becomes a file name in exports, so it must not lead to another folder.)
        UnreachableError: it is remote, and cannot be read now.
    """
    path = index_path(folder, receipt.name)
    cure = f"delete the shard and {RERUN}"
    try:
        data = content(path) if data is None else data
        index = read_table(path, SHARD_INDEX, receipt.plan_hash, cure, data=data)
    except WorkdirError as error:
        raise ShardError(str(error)) from None
    except OSError as error:
        raise ShardError(f"{path} cannot be read ({error.strerror}); {cure}") from None
    if receipt.index_sha256 not in ("", hashlib.sha256(data).hexdigest()):
        raise ShardError(f"{path} has changed since it was written; {cure}")
    if not _inside(index, receipt.bytes):
        raise ShardError(f"{path} has offsets outside the shard; {cure}")
    if pc.all(pc.match_substring_regex(index["key"], KEY)).as_py() is False:  # None of an empty index
        raise ShardError(f"{path} has a key that is not that of a sample; {cure}")
    return index


def _inside(index: pa.Table, size: int) -> bool:
    """Whether every sample is inside a tar of ``size`` bytes, with its JPEG before its record."""
    image, image_size, record, record_size = (
        index[name].to_numpy() for name in ("image_offset", "image_size", "json_offset", "json_size")
    )
    ordered = (image >= 0) & (image_size >= 0) & (record_size >= 0) & (record <= size) & (record_size <= size - record)
    return bool((ordered & (image <= record) & (image_size <= record - image)).all())


@dataclass(frozen=True)
class Mark:
    """A position in a shard that is being written; the shard can be rewound to it."""

    samples: int
    size: int
    hash: Any


class ShardWriter:
    """A shard that is being written, see `open_shard`."""

    def __init__(self, file: IO[bytes]) -> None:
        self.faults: list[ImageFault] = []  # images of its plan that could not be rendered
        self.receipt: Receipt | None = None  # set when the shard is complete
        self._file, self._rows = _Hashed(file), list[_Row]()

    def add(self, sample: Sample) -> None:
        """Write one sample, with the same bytes as webdataset's TarWriter.

        A test compares the two. TarWriter is not used, because importing webdataset imports torch if it is installed; this
        costs seconds and hundreds of MB in every rendering process.
        """
        starts = []
        for extension, data in (("jpg", sample.jpeg), ("json", sample.record)):
            member = tarfile.TarInfo(f"{sample.key}.{extension}")
            member.size, member.mode = len(data), 0o444
            header = member.tobuf(tarfile.USTAR_FORMAT)
            starts.append(self._file.size + len(header))
            self._file.write(b"".join((header, data, bytes(-len(data) % _BLOCK))))
        crc = zlib.crc32(sample.record, zlib.crc32(sample.jpeg))
        self._rows.append((sample.key, sample.chip_id, starts[0], len(sample.jpeg), starts[1], len(sample.record), crc))

    def mark(self) -> Mark:
        """The current position in the shard."""
        return Mark(len(self._rows), self._file.size, self._file.sha256.copy())

    def rewind(self, mark: Mark) -> None:
        """Remove the samples that were added after ``mark``."""
        del self._rows[mark.samples :]
        self._file.rewind(mark.size, mark.hash)

    def _end(self, name: str, expected: int) -> None:
        lost = sum(fault.chips for fault in self.faults)
        samples = len(self._rows)
        if samples + lost != expected or len({row[0] for row in self._rows}) != samples:
            raise ShardError(
                f"shard {name} has {samples} samples and {lost} lost chips, but its plan has {expected} chips"
            )
        end = 2 * _BLOCK
        self._file.write(bytes(end + -(self._file.size + end) % tarfile.RECORDSIZE))

    def _commit(self, folder: Path, name: str, kind: str, plan_hash: str) -> None:
        columns = list(zip(*self._rows, strict=True)) if self._rows else [()] * len(SHARD_INDEX.columns)
        schema = SHARD_INDEX.arrow_schema(plan_hash)
        arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
        index = table_bytes(pa.Table.from_arrays(arrays, schema=schema))
        write_bytes(index_path(folder, name), index)
        size, sha256 = self._file.size, self._file.sha256.hexdigest()
        receipt = Receipt(
            FORMAT_VERSION,
            name,
            kind,
            len(self._rows),
            size,
            sha256,
            plan_hash,
            self.faults,
            hashlib.sha256(index).hexdigest(),
        )
        write_json(receipt_path(folder, name), receipt)
        self.receipt = receipt


@contextmanager
def open_shard(folder: Path, name: str, kind: str, plan_hash: str, expected: int) -> Iterator[ShardWriter]:
    """Open one shard for writing. It is committed when the block ends without an error; otherwise no file is left.

    ``expected`` is the number of chips in the plan: samples and the chips of faults must add up to it.

    Raises:
        ShardError: samples are missing or duplicate; nothing is committed.
        StorageError: the shard cannot be written.
    """
    remove(receipt_path(folder, name))  # from here on an old shard counts as incomplete
    with atomic(tar_path(folder, name)) as file:
        shard = ShardWriter(file)
        yield shard
        shard._end(name, expected)
    shard._commit(folder, name, kind, plan_hash)


class _Hashed:
    """A file that counts and hashes what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.sha256, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self.sha256.update(data)
        self.size += len(data)
        self._file.write(data)

    def rewind(self, size: int, sha256: Any) -> None:
        """Cut the file to ``size``, at which its hash was ``sha256``."""
        self._file.seek(size)
        self._file.truncate()
        self.size, self.sha256 = size, sha256


def plan_hash(*columns: np.ndarray | bytes) -> str:
    """SHA-256 of columns, each with its length; object columns are hashed as text."""
    digest = hashlib.sha256()
    for column in columns:
        if isinstance(column, bytes):
            data = column
        elif column.dtype == object:
            data = msgspec.json.encode(column.tolist())
        else:
            data = np.ascontiguousarray(column).tobytes()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()
