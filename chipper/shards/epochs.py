"""Layout ``epochs``: a copy of each epoch's chips in the epoch's order, for trainers that read tars from start to end.

Samples are copied from the pool, not rendered again. Each epoch has its own folder, ``epoch-000/`` next to the pool's shards,
with the same files as every folder of shards, so it can be read in the same way.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import count, takewhile
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from chipper.manifest.dataset import DATASET
from chipper.manifest.workdir import Workdir
from chipper.parallel.progress import SILENT, Monitor
from chipper.parallel.workers import Workers
from chipper.shards.claim import require_ours
from chipper.shards.export import write_train_index
from chipper.shards.options import ExportOptions
from chipper.shards.pool import Pool
from chipper.shards.writing import (
    Receipt,
    Sample,
    is_shard_file,
    open_shard,
    plan_hash,
    read_receipts,
    require_written,
    shard_name,
)
from chipper.storage.files import remove, write_json
from chipper.storage.locations import answered, has_listing, is_there, reconnect, sizes_in
from chipper.storage.lock import locked

KIND = "epoch"


def epoch_folder(shards: Path, epoch: int) -> Path:
    """The folder of an epoch's shards."""
    return shards / f"epoch-{epoch:03d}"


def epoch_folders(shards: Path) -> list[Path]:
    """The folders of all epochs with shards, and of missing epochs before the last one.

    Where nothing can be listed, these end before the first that is missing.
    """
    if not has_listing(shards):
        return list(takewhile(lambda folder: is_there(folder / DATASET), (epoch_folder(shards, k) for k in count())))
    found = answered(shards, lambda: list(shards.glob(f"{KIND}-*")))
    there = {path for path in found if re.fullmatch(rf"{KIND}-\d{{3,}}", path.name)}
    return sorted(there | {epoch_folder(shards, epoch) for epoch in range(len(there))})


def export_epochs(
    workdir: Workdir,
    chips_per_shard: int = ExportOptions.chips_per_shard,
    *,
    workers: Workers = Workers(),  # noqa: B008, it is frozen
    monitor: Monitor = SILENT,
) -> list[Receipt]:
    """Copy the pool's samples into shards of each epoch, in its order; shards that are already complete are not changed.

    Raises:
        ShardError: the pool is not complete.
        WorkdirError: another export is running, or the shards in that place are not this workdir's.
        StorageError: a shard cannot be written.
    """
    manifest = workdir.open()
    require_ours(workdir, overwrite=False)
    with locked(workdir.path, "export-shards", workdir.shards):
        pool = Pool(workdir.shards)
        done: dict[tuple[int, str], Receipt] = {}
        written: dict[int, list[Receipt]] = {}
        names: dict[int, list[str]] = {}
        tasks = []
        for epoch in range(manifest.options.epochs):
            rows = pool.rows(manifest.epoch(epoch))
            rows = rows[rows >= 0]  # chips of images that could not be rendered
            folder = epoch_folder(workdir.shards, epoch)
            cuts = [rows[start : start + chips_per_shard] for start in range(0, rows.size, chips_per_shard)]
            names[epoch] = [shard_name(f"{KIND}-{epoch:03d}", number, len(cuts)) for number in range(len(cuts))]
            receipts = read_receipts(folder, names[epoch])
            for name, some in zip(names[epoch], cuts, strict=True):
                content = plan_hash(pool.chip_id[some], pool.checksums(some))
                receipt = receipts.get(name)
                if receipt is not None and receipt.plan_hash == content:
                    done[epoch, name] = receipt
                else:
                    tasks.append((workdir.shards, pool.set.id, epoch, name, some, content))
        with monitor.progress("copying chips into epochs", sum(task[4].size for task in tasks)) as advance:
            for epoch, receipt in workers.sharing([workdir.shards]).processes(_copy_shard, tasks):
                done[epoch, receipt.name] = receipt
                written.setdefault(epoch, []).append(receipt)
                advance(receipt.samples)
        for epoch, some_written in written.items():
            require_written(epoch_folder(workdir.shards, epoch), some_written)
        for epoch, wanted in names.items():
            folder, whole = epoch_folder(workdir.shards, epoch), [done[epoch, name] for name in wanted]
            size = sum(receipt.bytes for receipt in whole)
            samples = sum(receipt.samples for receipt in whole)
            write_train_index(manifest, folder, whole)
            write_json(folder / DATASET, msgspec.structs.replace(pool.set, samples=samples, bytes=size, shards=wanted))
            for name in sizes_in(folder):
                if is_shard_file(folder / name) and name.partition(".")[0] not in wanted:
                    remove(folder / name)
    return [done[epoch, name] for epoch, wanted in names.items() for name in wanted]


@lru_cache(maxsize=1)
def _pool(shards: Path, belongs_to: str) -> Pool:
    return Pool(reconnect(shards))


def _copy_shard(
    shards: Path, belongs_to: str, epoch: int, name: str, rows: npt.NDArray[np.int64], content: str
) -> tuple[int, Receipt]:
    """Write one shard of an epoch; runs in a worker process."""
    pool = _pool(shards, belongs_to)
    with open_shard(epoch_folder(reconnect(shards), epoch), name, KIND, content, rows.size) as shard:
        for row in rows.tolist():
            jpeg, record = pool.read(row)
            shard.add(Sample(pool.key(row), int(pool.chip_id[row]), jpeg, record))
    assert shard.receipt is not None
    return epoch, shard.receipt
