"""Batches from the layout ``epochs``: an epoch's tars read by webdataset from start to end.

The order, the batches and the rule for damaged samples are those of `chipper.detection.loader`. Every process reads the tars
that hold its batches and decodes only its own chips; with many of them the pool, read by offset, moves fewer bytes.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from torch.utils.data import IterableDataset, get_worker_info

from chipper.detection.batch import Batch
from chipper.detection.chips import Chip, Decoder, collate
from chipper.detection.damages import DamagedSamples
from chipper.errors import ChipperError, ShardError, UnreachableError
from chipper.shards.pool import Pool
from chipper.shards.samples import SampleError
from chipper.shards.writing import tar_path
from chipper.storage.locations import answered, open_file, reconnect

_RERUN = "run `chipper export-shards --layout epochs` again"
_Sample = tuple[int, bytes, bytes]  # place in its tar, JPEG, record


class EpochStream(IterableDataset["Batch | ChipperError"]):
    """The given batches of one epoch, of which each worker of a DataLoader makes every n-th.

    ``batches`` are positions in the epoch's list, as `rank_batches` gives them.
    """

    def __init__(self, pool: Pool, batches: list[list[int]], decode: Decoder) -> None:
        self._folder, self._names, self._batches, self._decode = pool.folder, pool.set.shards, batches, decode
        rows, shard = pool.in_file_order()
        self.chip_id, self._crc = pool.chip_id[rows], pool.checksums(rows)
        self._first: npt.NDArray[np.int64] = np.searchsorted(shard, np.arange(len(self._names)))

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch | ChipperError]:
        worker = get_worker_info()
        own = self._batches if worker is None else self._batches[worker.id :: worker.num_workers]
        reader, damages = _Reader(self), DamagedSamples(self.chip_id.size)
        for batch in own:
            try:
                yield collate([self._chip(reader, position, damages) for position in batch])
            except (ShardError, UnreachableError) as error:  # as a value, see `ChipDataset`
                yield error
                return

    def _chip(self, reader: _Reader, position: int, damages: DamagedSamples) -> Chip:
        while True:
            try:
                return self._decode(*reader(position % self.chip_id.size))
            except ShardError as error:
                damages.note(position % self.chip_id.size, error)
            except SampleError:
                damages.note(position % self.chip_id.size, self.damaged(position % self.chip_id.size))
            position += 1

    def damaged(self, position: int) -> ShardError:
        """What to say of a sample that is not as it was written."""
        path, chip = self.path(self.place(position)[0]), self.chip_id[position]
        return ShardError(f"{path}: the sample of chip {chip} is damaged; delete the shard and {_RERUN}")

    def place(self, position: int) -> tuple[int, int]:
        """The tar of a position in the epoch's list, and its place in it."""
        tar = int(np.searchsorted(self._first, position, side="right")) - 1
        return tar, position - int(self._first[tar])

    def path(self, tar: int) -> Path:
        """Where a tar lies."""
        return tar_path(self._folder, self._names[tar])

    def samples(self, tar: int) -> Iterator[_Sample]:
        """The samples of a tar that are as they were written; a tar that is cut ends early. Raises UnreachableError."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from webdataset.tariterators import group_by_keys, tar_file_expander

        first, path = int(self._first[tar]), self.path(tar)
        own = self._crc[first : int(self._first[tar + 1]) if tar + 1 < self._first.size else None].tolist()
        try:
            with open_file(reconnect(path)) as file:
                found = group_by_keys(tar_file_expander([{"url": str(path), "stream": _Answered(path, file)}]))
                for k, (crc, sample) in enumerate(zip(own, found, strict=False)):
                    jpeg, record = sample.get("jpg", b""), sample.get("json", b"")
                    if zlib.crc32(record, zlib.crc32(jpeg)) == crc:
                        yield k, jpeg, record
        except UnreachableError:
            raise
        except Exception:  # whatever a damaged tar brings about: its samples are missed, and named, one by one
            return


class _Answered:
    """A file for tarfile to stream from; what a busy server refuses is asked for again."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file

    def read(self, size: int) -> bytes:
        """The next bytes. Raises UnreachableError."""
        return answered(self._path, lambda: self._file.read(size))


class _Reader:
    """Samples at ascending positions; a lower one starts its tar again."""

    def __init__(self, stream: EpochStream) -> None:
        self._stream, self._tar, self._asked = stream, -1, -1
        self._samples: Iterator[_Sample] = iter(())
        self._next: _Sample | None = None

    def __call__(self, position: int) -> tuple[bytes, bytes]:
        """The JPEG and the record; ShardError where they are damaged."""
        tar, place = self._stream.place(position)
        if tar != self._tar or place < self._asked:
            self._tar, self._samples = tar, self._stream.samples(tar)
            self._next = next(self._samples, None)
        self._asked = place
        while self._next is not None and self._next[0] < place:
            self._next = next(self._samples, None)
        if self._next is None or self._next[0] > place:
            raise self._stream.damaged(position)
        return self._next[1], self._next[2]
