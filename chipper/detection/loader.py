"""Chips from shards to batches, in the order of the epoch lists.

The order is that of the epoch's list for any number of workers and processes: batch b of an epoch takes the list's chips
b * B to (b + 1) * B, and process r of w the r-th of w equal shares of it. The last batch is filled up from the start of the
list, so every process sees the same number of full batches.

A sample whose bytes are not those that were written is logged, and the next whole one of the list stands in for it, so that
batches stay full and equal. One damaged sample in a long run is no reason to end it; more than `MOST_DAMAGED` in a process are.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from chipper.detection.batch import Batch
from chipper.epoch_shards import epoch_folder
from chipper.errors import OptionError, ShardError, TrainingError
from chipper.masks import mask_in_box
from chipper.options import between
from chipper.pool import RERUN, Pool
from chipper.samples import SampleError, parse_record, read_jpeg
from chipper.workdir import Workdir

if TYPE_CHECKING:
    from chipper.detection.streaming import EpochStream

log = logging.getLogger(__name__)

MOST_DAMAGED = 10
MOST_WORKERS = 1024


@dataclass(frozen=True)
class Chip:
    """One decoded sample; boxes (g, 4) x1 y1 x2 y2 in chip px."""

    image: npt.NDArray[np.uint8]  # (K, K, 3) RGB
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]  # (g,) 1..C
    valid: npt.NDArray[np.bool_]
    ignore: npt.NDArray[np.bool_]
    content: tuple[float, float]
    valid_range: tuple[float, float]
    chip_id: int
    masks: npt.NDArray[np.uint8] | None = None  # (g, m, m), see `Batch`


MOST_PX = 1e6  # from a chip's corner; no box that was written is near it
MASK_SIDE = 56  # m: twice what the mask head predicts
Decoder = Callable[[bytes, bytes], "Chip"]


class ChipDataset(Dataset["Chip | ShardError"]):
    """The chips of one list, decoded on demand; too many damaged ones come out as a ShardError.

    (As a value: what a DataLoader's process raises reaches the main one as an exception with a traceback for a message.)
    """

    def __init__(self, pool: Pool, rows: npt.NDArray[np.int64], decode: Decoder) -> None:
        self._pool, self._rows, self._decode = pool, rows, decode
        self._damages = Damages(rows.size)

    def __len__(self) -> int:
        return self._rows.size

    def __getitem__(self, position: int) -> Chip | ShardError:
        try:
            return self._chip(position)
        except ShardError as error:
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


class Damages:
    """The damaged samples that one process has met, each logged once."""

    def __init__(self, chips: int) -> None:
        self._met: set[int] = set()
        self._most = min(MOST_DAMAGED, chips - 1)

    def note(self, number: int, error: ShardError) -> None:
        """Log the sample of that number; ``error`` is raised when there are too many."""
        if number not in self._met:
            log.warning("%s; the next chip of the epoch stands in for it", error)
            self._met.add(number)
        if len(self._met) > self._most:
            raise error


def decode_chip(jpeg: bytes, record: bytes, label_of: dict[int, int], side: int, masks: bool = False) -> Chip:
    """Decode one sample of a shard; ``label_of`` gives the label of each category id, ``side`` is the chip's in px.

    Raises:
        SampleError: it is no sample, or none of these categories.
    """
    sample = parse_record(record)
    annotations, (low, high) = sample.annotations, sample.chip.valid_range
    xywh = np.array([a.bbox for a in annotations], dtype=np.float64).reshape(-1, 4)
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    if not (np.abs(boxes) <= MOST_PX).all():
        raise SampleError("a box lies far outside the chip")
    boxes = boxes.astype(np.float32)
    try:
        labels = np.array([label_of[a.category_id] for a in annotations], dtype=np.int64)
    except KeyError as error:
        raise SampleError(f"there is no category {error}") from None
    drawn = [_mask(a.segmentation, box, side) for a, box in zip(annotations, boxes, strict=True) if masks]
    return Chip(
        image=np.asarray(read_jpeg(jpeg, side)),
        boxes=boxes,
        labels=labels,
        valid=np.array([a.valid for a in annotations], dtype=np.bool_),
        ignore=np.array([a.ignore for a in annotations], dtype=np.bool_),
        content=sample.chip.content,
        valid_range=(low, math.inf if high is None else high),
        chip_id=sample.chip.chip_id,
        masks=np.array(drawn, np.uint8).reshape(-1, MASK_SIDE, MASK_SIDE) if masks else None,
    )


def _mask(segmentation: Any, box: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.uint8]:
    try:
        if isinstance(segmentation, dict) and max(segmentation["size"]) > side:
            raise ValueError("it is larger than the chip")
        return mask_in_box(segmentation, box, MASK_SIDE)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SampleError(f"a mask is none: {error}") from None


def collate(chips: list[Chip]) -> Batch:
    """Chips as a batch; boxes are padded to the largest number in it."""
    most = max(len(chip.boxes) for chip in chips)

    def padded(name: str, dtype: torch.dtype, *tail: int) -> torch.Tensor:
        out = torch.zeros((len(chips), most, *tail), dtype=dtype)
        for k, chip in enumerate(chips):
            values = torch.from_numpy(getattr(chip, name))
            out[k, : len(values)] = values
        return out

    return Batch(
        images=torch.from_numpy(np.stack([chip.image for chip in chips])).permute(0, 3, 1, 2),
        boxes=padded("boxes", torch.float32, 4),
        labels=padded("labels", torch.int64),
        valid=padded("valid", torch.bool),
        ignore=padded("ignore", torch.bool),
        content=torch.tensor([chip.content for chip in chips], dtype=torch.float32),
        valid_range=torch.tensor([chip.valid_range for chip in chips], dtype=torch.float32),
        chip_ids=torch.tensor([chip.chip_id for chip in chips], dtype=torch.int64),
        masks=None if chips[0].masks is None else padded("masks", torch.uint8, MASK_SIDE, MASK_SIDE),
    )


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are made; ``rank`` and ``world`` are this process and their number."""

    batch_size: int = 16  # chips in each process
    workers: int = 0  # processes that decode beside this one
    rank: int = 0
    world: int = 1
    pin: bool = False
    stream: bool = False  # read the epochs' own shards (layout ``epochs``), not the pool by offset
    masks: bool = False  # the objects' masks, too

    def __post_init__(self) -> None:
        between("--workers", self.workers, 0, MOST_WORKERS)


class ChipLoader:
    """Makes the batches of each epoch of a workdir from its shards.

    Raises:
        ShardError: the shards are not whole, or are not those of the workdir's epochs.
    """

    def __init__(self, workdir: Workdir, shards: Path, options: LoaderOptions) -> None:
        self._options = options
        self._workdir, self._dataset = workdir, workdir.dataset()
        self.pool = Pool(shards)
        if self.pool.set.id != self._dataset.epochs_id:
            raise ShardError(f"the shards in {shards} are not those of the epochs in {workdir.path}; {RERUN}")
        self.category_ids = [category.id for category in self._dataset.categories]
        label_of = {category: k + 1 for k, category in enumerate(self.category_ids)}
        self._decode = partial(decode_chip, label_of=label_of, side=self.pool.set.chip_size, masks=options.masks)
        if options.masks and not self._dataset.positive_options.masks:
            raise OptionError(
                "the chips have no masks to train on; run `chipper build-positives` with --masks, and export"
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
        from chipper.detection.streaming import EpochStream

        folder = epoch_folder(self.pool.folder, epoch)
        cure = "run `chipper export-shards --layout epochs`"
        try:
            pool = Pool(folder)
        except ShardError as error:
            raise ShardError(f"{error}; for --stream, {cure}") from None
        stream = EpochStream(pool, batches, self._decode)
        if not np.array_equal(stream.chip_id, self.pool.chip_id[self._rows(epoch)]):
            raise ShardError(f"the shards in {folder} are not those of epoch {epoch}; {cure}")
        return stream

    def _rows(self, epoch: int) -> npt.NDArray[np.int64]:
        """Rows of the pool in the order of the epoch; chips that were lost with their image are left out."""
        if epoch not in self._epochs:
            ids = self._workdir.epoch(self._dataset, epoch)
            rows = self.pool.rows(ids)
            lost = int((rows < 0).sum())
            if lost > self.pool.set.lost_chips:
                raise ShardError(f"the shards lack {lost} chips of epoch {epoch}; {RERUN}")
            if lost == ids.size:
                raise TrainingError(f"epoch {epoch} of {self._workdir.path} has no chips to train on")
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
        """The batches. Raises ShardError at too many damaged samples."""
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
            if isinstance(batch, ShardError):
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
            f"a process that decodes chips was lost ({str(error).splitlines()[0]}); it may need more memory or a larger "
            "/dev/shm: lower --workers or --batch-size, then --resume"
        ) from None


def _collate_or_error(chips: list[Chip | ShardError]) -> Batch | ShardError:
    """A batch, or the error that stands in the place of one of its chips."""
    whole = [chip for chip in chips if isinstance(chip, Chip)]
    return collate(whole) if len(whole) == len(chips) else next(c for c in chips if isinstance(c, ShardError))


def rank_batches(chips: int, start: int, batch_size: int, rank: int, world: int) -> Iterator[list[int]]:
    """Positions in the epoch's list of each of one process's batches."""
    whole = batch_size * world
    for first in range(start, chips, whole):
        mine = range(first + rank * batch_size, first + (rank + 1) * batch_size)
        yield [position % chips for position in mine]
