"""Read the chips of a workdir from its shards, one after the other."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from chipper.api.places import WORKDIR, PathLike, workdir_at
from chipper.errors import OptionError, ShardError, option
from chipper.html import jpeg, tag
from chipper.manifest.workdir import Workdir
from chipper.pictures.drawing import draw_sample
from chipper.shards.pool import Pool
from chipper.shards.samples import Record, SampleError, parse_record, read_jpeg
from chipper.shards.writing import RERUN

SHOWN = 384  # px of a chip in a notebook


@dataclass(frozen=True)
class ChipSample:
    """One chip with its labels; a notebook shows it with its boxes."""

    image: Image.Image  # K x K px, RGB
    boxes: npt.NDArray[np.float32]  # (n, 4) x1 y1 x2 y2 in chip px
    category_ids: npt.NDArray[np.int64]  # (n,)
    valid: npt.NDArray[np.bool_]  # (n,) of a size that this scale trains on (SNIPER, section 3.3)
    ignore: npt.NDArray[np.bool_]  # (n,) neither object nor background
    record: Record = field(repr=False)  # origin of the chip, and its labels with ids and masks

    @property
    def chip_id(self) -> int:
        """The id of the chip in the tables of the workdir."""
        return self.record.chip.chip_id

    def _repr_html_(self) -> str:
        drawn, buffer = draw_sample(self.image, self.record, SHOWN), io.BytesIO()
        drawn.save(buffer, "JPEG", quality=90)
        chip = self.record.chip
        words = f"{self.record.file_name}: {chip.kind} chip at scale {chip.scale:.4g}, {len(self.boxes)} labels"
        return tag("figure", jpeg(buffer.getvalue(), words, drawn.size), tag("figcaption", words))


def iterate_chips(
    workdir: PathLike | Workdir = WORKDIR, *, epoch: int | None = 0, shards: PathLike | None = None
) -> Iterator[ChipSample]:
    """The chips of an epoch in training order, or with ``epoch=None`` every distinct chip once.

    Chips of images that could not be rendered are not in the shards and are left out, as in training.

    Raises:
        OptionError: the epoch does not exist.
        WorkdirError, ShardError: the workdir or its shards are incomplete, or a sample is damaged.
    """
    found = workdir_at(workdir, shards)
    manifest, pool = found.open(), Pool(found.shards)
    if pool.set.id != manifest.dataset.epochs_id:
        raise ShardError(f"the shards in {found.shards} do not belong to the epochs in {found.path}; {RERUN}")
    if epoch is not None and not 0 <= epoch < manifest.options.epochs:
        raise OptionError(f"{option('epoch')} is {epoch}; it goes from 0 to {manifest.options.epochs - 1}")
    rows = pool.distinct() if epoch is None else pool.rows(manifest.epoch(epoch))
    return _read(pool, rows[rows >= 0].tolist())


def _read(pool: Pool, rows: list[int]) -> Iterator[ChipSample]:
    for row in rows:
        try:
            yield _sample(*pool.read(row), pool.set.chip_size)
        except SampleError:
            raise pool.damaged(row) from None


def _sample(picture: bytes, text: bytes, side: int) -> ChipSample:
    record = parse_record(text)
    labels = record.annotations
    xywh = np.array([label.bbox for label in labels], np.float32).reshape(-1, 4)
    return ChipSample(
        image=read_jpeg(picture, side),
        boxes=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
        category_ids=np.array([label.category_id for label in labels], np.int64),
        valid=np.array([label.valid for label in labels], np.bool_),
        ignore=np.array([label.ignore for label in labels], np.bool_),
        record=record,
    )
