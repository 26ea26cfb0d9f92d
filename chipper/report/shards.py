"""The shards of a workdir for the report: how many, how large, what is missing, and some of their chips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from chipper.columns import CHIPS_PER_IMAGE, FIRST_NEGATIVE, NEGATIVE, POSITIVE, Ints
from chipper.errors import ShardError, WorkdirError
from chipper.manifest.dataset import DATASET, Dataset
from chipper.manifest.workdir import Workdir
from chipper.schemas import IMAGE_ERRORS
from chipper.seeds import hashed
from chipper.shards.pool import Pool
from chipper.shards.samples import Record
from chipper.shards.shard_set import read_shard_set
from chipper.shards.writing import read_receipts
from chipper.storage.files import read_table
from chipper.storage.locations import is_there

LOOKED_INTO = 16  # shards of each kind from which sample chips are taken
_PICK = 77  # a seed used only for this choice
NAMED = 10  # lost images and missing shards to name


@dataclass(frozen=True)
class Shards:
    """The export; sizes are those of the complete shards."""

    render: dict[str, str | int]
    expected: int
    missing: tuple[str, ...]  # names of the first ones
    missing_count: int
    bytes: Ints  # (complete shards,)
    samples: Ints  # (complete shards,)
    kinds: dict[str, int]  # complete shards by kind
    lost_chips: int
    lost_images: int
    lost: tuple[tuple[str, str, int], ...]  # file name, what was wrong, chips; the first images
    stale: bool  # the shards contain other chips than the workdir


@dataclass(frozen=True)
class SampleChip:
    """A chip from the shards."""

    picture: Image.Image
    record: Record


def read_shards(workdir: Workdir, dataset: Dataset) -> Shards | None:
    """The figures of the export, or None if no export has finished.

    Raises:
        ShardError: shards/dataset.json exists but cannot be used.
    """
    if not is_there(workdir.shards / DATASET):
        return None
    found = read_shard_set(workdir.shards)
    receipts = read_receipts(workdir.shards, found.shards)
    size, samples, kinds, missing, faults = [], [], dict[str, int](), [], []
    for name in found.shards:
        receipt = receipts.get(name)
        if receipt is None:
            missing.append(name)
            continue
        size.append(receipt.bytes)
        samples.append(receipt.samples)
        kinds[receipt.kind] = kinds.get(receipt.kind, 0) + 1
        faults += receipt.faults
    return Shards(
        render=found.render,
        expected=len(found.shards),
        missing=tuple(missing[:NAMED]),
        missing_count=len(missing),
        bytes=np.array(size, dtype=np.int64),
        samples=np.array(samples, dtype=np.int64),
        kinds=kinds,
        lost_chips=found.lost_chips,
        lost_images=len({fault.image_id for fault in faults}),
        lost=tuple(_lost_images(workdir.shards, found.id)),
        stale=found.id != dataset.epochs_id,
    )


def _lost_images(folder: Path, belongs_to: str) -> Iterator[tuple[str, str, int]]:
    """The first rows of errors.parquet, with the chips of each image added up; nothing if the file is missing."""
    try:
        table = read_table(folder / "errors.parquet", IMAGE_ERRORS, belongs_to, "run `chipper export-shards` again")
    except WorkdirError:
        return
    chips: dict[str, tuple[str, int]] = {}
    for row in table.select(["file_name", "error", "chips"]).to_pylist():
        before = chips.get(row["file_name"], ("", 0))[1]
        chips[row["file_name"]] = row["error"], before + row["chips"]
    for name in list(chips)[:NAMED]:
        yield name, *chips[name]


def sample_chips(workdir: Workdir, dataset: Dataset, positives: int, negatives: int) -> list[SampleChip]:
    """Some chips from the shards, positives first, coarse to fine; the same workdir always gives the same chips.

    Each scale gives the same number of chips, if it has enough. Only some evenly spread shards of each kind are read, so
    that the time does not grow with the number of shards.

    Raises:
        ShardError: a sample is damaged.
    """
    try:
        names = list(read_receipts(workdir.shards, read_shard_set(workdir.shards).shards))
        chosen = [
            name for kind in (POSITIVE, NEGATIVE) for name in _some([n for n in names if n.startswith(f"{kind}s-0")])
        ]
        pool = Pool(workdir.shards, chosen)
    except ShardError:
        return []
    out = []
    for kind, number in ((POSITIVE, positives), (NEGATIVE, negatives)):
        rows = _of_kind(pool, kind)
        scale = np.array([int(pool.key(int(row)).split("_")[1]) for row in rows], dtype=np.int64)
        order = np.argsort(hashed(dataset.positive_options.seed, _PICK, pool.chip_id[rows]), kind="stable")
        out += [SampleChip(*pool.decoded(int(row))) for row in rows[_evenly(scale, order, number)]]
    return out


def _some(names: list[str]) -> list[str]:
    """At most `LOOKED_INTO` of the names, evenly spread."""
    if not names:
        return []
    places = np.unique(np.linspace(0, len(names) - 1, LOOKED_INTO).round().astype(int))
    return [names[k] for k in places]


def _of_kind(pool: Pool, kind: str) -> Ints:
    negative = pool.chip_id % CHIPS_PER_IMAGE >= FIRST_NEGATIVE
    return np.flatnonzero(negative if kind == NEGATIVE else ~negative)


def _evenly(group: Ints, order: Ints, number: int) -> Ints:
    """Choose ``number`` places in ``group`` (or all, if there are fewer), in turn from each group, ranked by ``order``.

    The result is sorted by group.
    """
    turn = np.empty(group.size, dtype=np.int64)
    for value in np.unique(group):
        mine = order[group[order] == value]
        turn[mine] = np.arange(mine.size)
    rank = np.empty(group.size, dtype=np.int64)
    rank[order] = np.arange(group.size)
    chosen = np.lexsort((group, turn))[:number]
    return chosen[np.lexsort((rank[chosen], group[chosen]))]
