"""Read samples from shards in any order, by their offset in the tar."""

from __future__ import annotations

import bisect
import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from chipper.errors import ShardError
from chipper.schemas import SHARD_INDEX
from chipper.shards.samples import Record, SampleError, parse_record, read_jpeg
from chipper.shards.shard_set import read_shard_set
from chipper.shards.writing import RERUN, index_path, read_index, read_receipt, read_receipts, tar_path
from chipper.storage.locations import contents_of, is_local, open_file, read_range, reconnect

_INDICES = 64  # indices that a finder keeps in memory


class Pool:
    """The samples of a folder of shards, local or at a URL: of all shards, or only of those named in ``shards``.

    Opening checks that every shard is complete, so a missing shard is found before training starts, not after an hour.
    Safe to use after a fork: each process opens its own files.

    Raises:
        ShardError: the folder holds no finished export, or a shard is missing, truncated or damaged.
        UnreachableError: the folder is remote, and cannot be read now.
    """

    def __init__(self, folder: Path, shards: Sequence[str] | None = None) -> None:
        self.folder = folder
        self.set = read_shard_set(folder)
        self.names = self.set.shards if shards is None else list(shards)
        empty = SHARD_INDEX.arrow_schema("").append(pa.field("shard", pa.int64())).empty_table()
        indices = [empty]
        receipts = read_receipts(folder, self.names)
        for name in self.names:
            if name not in receipts:
                raise ShardError(f"shard {tar_path(folder, name)} is missing, truncated, or has no index; {RERUN}")
        written = contents_of(folder, [index_path(folder, name).name for name in self.names])
        for number, (name, data) in enumerate(zip(self.names, written, strict=True)):
            index = read_index(folder, receipts[name], data)
            index = index.append_column("shard", pa.array(np.full(len(index), number)))
            indices.append(index.replace_schema_metadata(empty.schema.metadata).cast(empty.schema))
        table = pa.concat_tables(indices).sort_by("chip_id")
        self.chip_id: npt.NDArray[np.int64] = table["chip_id"].to_numpy()
        self._shard = table["shard"].to_numpy()
        self._image = table["image_offset"].to_numpy(), table["image_size"].to_numpy()
        self._record = table["json_offset"].to_numpy(), table["json_size"].to_numpy()
        self._crc = table["crc32"].to_numpy()
        self._key = table["key"]
        self._files: dict[tuple[int, int], int] = {}
        self._local, self._here = is_local(folder), (os.getpid(), folder)

    def __len__(self) -> int:
        return self.chip_id.size

    def rows(self, chip_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Row of each chip, or -1 if it is not in the shards."""
        place = np.searchsorted(self.chip_id, chip_ids).clip(max=max(len(self) - 1, 0))
        return np.where(self.chip_id[place] == chip_ids, place, -1) if len(self) else np.full(chip_ids.shape, -1)

    def key(self, row: int) -> str:
        """The sample's key."""
        return str(self._key[row])

    def checksums(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        """CRC-32 of the samples, from the index."""
        found: npt.NDArray[np.uint32] = self._crc[rows]
        return found

    def in_file_order(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """All rows in the order of the shards' files, and the shard number of each row."""
        rows: npt.NDArray[np.int64] = np.lexsort((self._image[0], self._shard))
        return rows, self._shard[rows]

    def distinct(self) -> npt.NDArray[np.int64]:
        """One row for each different window; several variants may have chosen the same window."""
        return np.sort(np.unique(self._key.to_numpy().astype(str), return_index=True)[1])

    def read(self, row: int) -> tuple[bytes, bytes]:
        """The JPEG and the JSON record of one sample, in one read.

        Raises:
            ShardError: the bytes have changed since they were written.
            UnreachableError: they are remote, and cannot be read now.
        """
        start, end = int(self._image[0][row]), int(self._record[0][row] + self._record[1][row])
        data = self._bytes(int(self._shard[row]), start, end)
        jpeg = data[: int(self._image[1][row])]
        record = data[int(self._record[0][row]) - start :]
        if len(data) != end - start or zlib.crc32(record, zlib.crc32(jpeg)) != self._crc[row]:
            raise self.damaged(row)
        return jpeg, record

    def decoded(self, row: int) -> tuple[Image.Image, Record]:
        """The picture (RGB) and the record of one sample. Raises ShardError if the sample is damaged."""
        jpeg, record = self.read(row)
        try:
            return read_jpeg(jpeg, self.set.chip_size), parse_record(record)
        except SampleError:
            raise self.damaged(row) from None

    def damaged(self, row: int) -> ShardError:
        """The error for a sample that has changed since it was written."""
        name = tar_path(self.folder, self.names[int(self._shard[row])])
        return ShardError(f"{name}: the sample of chip {self.chip_id[row]} is damaged; delete the shard and {RERUN}")

    def _bytes(self, shard: int, start: int, end: int) -> bytes:
        if self._local:
            return os.pread(self._file(shard), end - start, start)
        if self._here[0] != os.getpid():  # connections do not survive a fork
            self._here = os.getpid(), reconnect(self.folder)
        path = tar_path(self._here[1], self.names[shard])
        try:
            return read_range(path, start, end)
        except FileNotFoundError:
            raise ShardError(f"shard {path} does not exist any more; {RERUN}") from None

    def _file(self, shard: int) -> int:
        key = os.getpid(), shard  # a forked child must not share a descriptor that another process may close
        if key not in self._files:
            path = tar_path(self.folder, self.names[shard])
            try:
                with open_file(path) as file:
                    self._files[key] = os.dup(file.fileno())
            except OSError as error:
                raise ShardError(f"shard {path} cannot be opened ({error.strerror}); {RERUN}") from None
        return self._files[key]


class ShardFinder:
    """Finds the shards that hold some chips without reading every index.

    This works because the shards of a kind and variant are in ascending order of chip ids.

    Raises:
        ShardError: the folder holds no finished export, or an index that is read is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.set = folder, read_shard_set(folder)
        self._stems: dict[str, list[str]] = {}
        for name in self.set.shards:
            self._stems.setdefault(name.rsplit("-", 3)[0], []).append(name)
        self._ids: dict[str, npt.NDArray[np.int64]] = {}

    def names(self, chip_ids: npt.NDArray[np.int64]) -> list[str]:
        """The names of the shards that hold any of the chips."""
        found = set()
        for names in self._stems.values():
            places = range(len(names))
            for chip_id in chip_ids.tolist():
                place = bisect.bisect_right(places, chip_id, key=lambda k: self._first(names, k)) - 1
                if place >= 0 and chip_id in self._chip_ids(names[place]):
                    found.add(names[place])
        return sorted(found)

    def _first(self, names: list[str], place: int) -> float:
        """The first chip id in this shard or a later one; a shard has no chips if none of its images could be rendered."""
        return next((int(ids[0]) for name in names[place:] if (ids := self._chip_ids(name)).size), math.inf)

    def _chip_ids(self, name: str) -> npt.NDArray[np.int64]:
        if name not in self._ids:
            if len(self._ids) >= _INDICES:
                self._ids.pop(next(iter(self._ids)))
            receipt = read_receipt(self.folder, name)
            if receipt is None:
                raise ShardError(f"shard {tar_path(self.folder, name)} is missing, truncated, or has no index; {RERUN}")
            self._ids[name] = np.sort(read_index(self.folder, receipt)["chip_id"].to_numpy())
        return self._ids[name]
