"""Chips from shards to batches, in the order of the epoch lists.

The order is that of the epoch's list for any number of workers and processes: batch b of an epoch takes the list's chips
b * B to (b + 1) * B, and process r of w the r-th of w equal shares of it. The last batch is filled up from the start of the
list, so every process sees the same number of full batches.

A sample whose bytes are not those that were written is logged, and the next whole one of the list stands in for it, so that
batches stay full and equal. One damaged sample in a long run is no reason to end it; more than `MOST_DAMAGED` in a process
are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader, Dataset

from chipper.detection.batch import Batch
from chipper.detection.chips import Chip, Decoder, collate, decode_chip
from chipper.detection.damages import DamagedSamples
from chipper.detection.streaming import EpochStream
from chipper.errors import ChipperError, OptionError, ShardError, TrainingError, UnreachableError, first_line, option
from chipper.manifest.workdir import Workdir
from chipper.shards.epochs import epoch_folder
from chipper.shards.pool import Pool
from chipper.shards.samples import SampleError
from chipper.shards.writing import RERUN


class ChipDataset(Dataset["Chip | ChipperError"]):
    """The chips of one list, decoded on demand; too many damaged ones come out as a ShardError, a server that does not answer
    as an UnreachableError.

    (As a value: what a DataLoader's process raises reaches the main one as an exception with a traceback for a message.)
    """

    def __init__(self, pool: Pool, rows: npt.NDArray[np.int64], decode: Decoder) -> None:
        self._pool, self._rows, self._decode = pool, rows, decode
        self._damages = DamagedSamples(rows.size)

    def __len__(self) -> int:
        return self._rows.size

    def __getitem__(self, position: int) -> Chip | ChipperError:
        try:
            return self._chip(position)
        except (ShardError, UnreachableError) as error:
            return error

    def _chip(self, position: int) -> Chip:
        while True:
            row = int(self._rows[position % len(self)])
            try:
                return self._decode(*self._pool.read(row))
            except ShardError as error:
                self._damages.note(row, error)
            except SampleError:
                self._damages.note(row, self._pool.damaged(row))
            position += 1


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are made; ``rank`` and ``world`` are this process and their number."""

    batch_size: int  # chips in each process
    workers: int = 0  # processes that decode beside this one
    rank: int = 0
    world: int = 1
    pin: bool = False
    stream: bool = False  # read the epochs' own shards (layout ``epochs``), not the pool by offset
    masks: bool = False  # the objects' masks, too


class ChipLoader:
    """Makes the batches of each epoch of a workdir from its shards.

    Raises:
        ShardError: the shards are not whole, or are not those of the workdir's epochs.
    """

    def __init__(self, workdir: Workdir, options: LoaderOptions) -> None:
        self._options = options
        self._manifest = workdir.open()
        self._dataset = self._manifest.dataset
        self.pool = Pool(workdir.shards)
        if self.pool.set.id != self._dataset.epochs_id:
            raise ShardError(f"the shards in {workdir.shards} do not belong to the epochs in {workdir.path}; {RERUN}")
        self.category_ids = [category.id for category in self._dataset.categories]
        label_of = {category: k + 1 for k, category in enumerate(self.category_ids)}
        self._decode = partial(decode_chip, label_of=label_of, side=self.pool.set.chip_size, masks=options.masks)
        if options.masks and not self._dataset.positive_options.masks:
            raise OptionError(
                f"the chips have no masks to train on; run `chipper build-positives` with {option('masks')}, and export"
            )
        self._epochs: dict[int, npt.NDArray[np.int64]] = {}

        if options.stream:
            for epoch in range(self._dataset.positive_options.epochs):
                self._stream(epoch, [])  # so that what is missing is named before training starts, not after an hour

    def __call__(self, epoch: int, start_position: int = 0) -> Batches:
        """The batches of ``epoch`` from ``start_position`` on, in chips that all processes together have used."""
        own, options = epoch % self._dataset.positive_options.epochs, self._options
        rows = self._rows(own)
        batches = list(rank_batches(rows.size, start_position, options.batch_size, options.rank, options.world))
        if options.stream:
            return Batches(self._stream(own, batches), None, len(batches), options)
        return Batches(ChipDataset(self.pool, rows, self._decode), batches, len(batches), options)

    def _stream(self, epoch: int, batches: list[list[int]]) -> EpochStream:
        """The epoch's own shards; ShardError where they are not whole or of another list."""
        folder = epoch_folder(self.pool.folder, epoch)
        cure = "run `chipper export-shards --layout epochs`"
        try:
            pool = Pool(folder)
        except ShardError as error:
            raise ShardError(f"{error}; for {option('stream')}, {cure}") from None
        stream = EpochStream(pool, batches, self._decode)
        if not np.array_equal(stream.chip_id, self.pool.chip_id[self._rows(epoch)]):
            raise ShardError(f"the shards in {folder} are not those of epoch {epoch}; {cure}")
        return stream

    def _rows(self, epoch: int) -> npt.NDArray[np.int64]:
        """Rows of the pool in the order of the epoch; chips that were lost with their image are left out."""
        if epoch not in self._epochs:
            ids = self._manifest.epoch(epoch)
            rows = self.pool.rows(ids)
            lost = int((rows < 0).sum())
            if lost > self.pool.set.lost_chips:
                raise ShardError(f"the shards lack {lost} chips of epoch {epoch}; {RERUN}")
            if lost == ids.size:
                raise TrainingError(f"epoch {epoch} of {self._manifest.folder} has no chips to train on")
            self._epochs = {epoch: rows[rows >= 0]}
        return self._epochs[epoch]


class Batches:
    """One epoch's batches for one process: of a dataset of chips, or of one that makes them itself."""

    def __init__(
        self, dataset: Dataset[Any], positions: list[list[int]] | None, number: int, options: LoaderOptions
    ) -> None:
        self._dataset, self._positions, self._number, self._options = dataset, positions, number, options

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[Batch]:
        """The batches. Raises ShardError at too many damaged samples, UnreachableError if a server does not answer."""
        options = self._options
        chosen = {"batch_size": None} if self._positions is None else {"batch_sampler": self._positions}
        loader: DataLoader[Any] = DataLoader(
            self._dataset,
            **chosen,
            num_workers=options.workers,
            collate_fn=None if self._positions is None else _collate_or_error,
            pin_memory=options.pin,
            prefetch_factor=4 if options.workers else None,
        )
        for batch in loader:
            if isinstance(batch, ChipperError):
                raise batch
            yield batch


@contextmanager
def lost_processes_named() -> Iterator[None]:
    """Raise TrainingError where torch finds, at whatever moment, that a process of a DataLoader was killed."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            f"a process that decodes chips was lost ({first_line(error)}); it may need more memory or a larger "
            f"/dev/shm: lower {option('workers')} or {option('batch_size')}, then {option('resume')}"
        ) from None


def _collate_or_error(chips: list[Chip | ChipperError]) -> Batch | ChipperError:
    """A batch, or the error that stands in the place of one of its chips."""
    whole = [chip for chip in chips if isinstance(chip, Chip)]
    return collate(whole) if len(whole) == len(chips) else next(c for c in chips if isinstance(c, ChipperError))


def rank_batches(chips: int, start: int, batch_size: int, rank: int, world: int) -> Iterator[list[int]]:
    """Positions in the epoch's list of each of one process's batches."""
    whole = batch_size * world
    for first in range(start, chips, whole):
        mine = range(first + rank * batch_size, first + (rank + 1) * batch_size)
        yield [position % chips for position in mine]
