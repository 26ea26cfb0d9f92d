"""The figures of a report, gathered from a workdir part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chipper.errors import ShardError, WorkdirError, first_line
from chipper.manifest.dataset import REBUILD, Dataset
from chipper.manifest.tables import Manifest
from chipper.manifest.workdir import Workdir
from chipper.mining.options import PositiveOptions
from chipper.parallel.progress import Monitor
from chipper.report.runs import Run, read_runs
from chipper.report.shards import SampleChip, Shards, read_shards, sample_chips
from chipper.report.tally import Tally, tally_part
from chipper.schemas import SKIPPED, SchemaMismatch
from chipper.storage.locations import readable

POSITIVES_SHOWN, NEGATIVES_SHOWN = 24, 8
EXAMPLES = 3  # records of each reason


@dataclass
class Dropped:
    """Records that were dropped for one reason."""

    count: int = 0
    examples: list[str] = field(default_factory=list)  # the first `EXAMPLES`, in words


@dataclass(frozen=True)
class Report:
    """The figures of a workdir, ready to draw."""

    dataset: Dataset
    options: PositiveOptions
    tally: Tally
    dropped: dict[tuple[str, str], Dropped]  # by record and reason, most frequent first
    epochs: tuple[int, ...]  # chips in each
    shards: Shards | None
    shards_problem: str | None
    samples: list[SampleChip]
    runs: list[Run]
    other_runs: list[str]  # names of those that are not shown


def collect(workdir: Workdir, monitor: Monitor) -> Report:
    """Read a workdir at any stage of the workflow; only one part of its tables is in memory at a time.

    Raises:
        WorkdirError: build-positives has not finished, or its tables do not belong together.
    """
    manifest = workdir.open()
    dataset, options = manifest.dataset, manifest.options
    with monitor.progress("reading the workdir (images)", dataset.counts["images"]) as advance:
        tally = reduce(add, _tallies(manifest, advance))
    shards, problem, samples = None, None, list[SampleChip]()
    try:
        shards = read_shards(workdir, dataset)
        if shards is not None and not shards.stale:
            samples = sample_chips(workdir, dataset, POSITIVES_SHOWN, NEGATIVES_SHOWN)
    except ShardError as error:
        problem = str(error)
    runs, other_runs = read_runs(workdir.runs)
    return Report(
        dataset=dataset,
        options=options,
        tally=tally,
        dropped=_dropped(workdir.path / "skipped.parquet", dataset.id),
        epochs=tuple(manifest.epoch_size(epoch) for epoch in range(options.epochs)),
        shards=shards,
        shards_problem=problem,
        samples=samples,
        runs=runs,
        other_runs=other_runs,
    )


def _tallies(manifest: Manifest, advance: Callable[[int], None]) -> Iterator[Tally]:
    category_ids = np.array([category.id for category in manifest.dataset.categories], dtype=np.int64)
    for part in manifest.parts:
        images = manifest.images(part)
        yield tally_part(
            images,
            manifest.boxes(part),
            {kind: manifest.chips(part, kind) for kind in manifest.kinds},
            {kind: manifest.labels(part, kind) for kind in manifest.kinds},
            manifest.options,
            category_ids,
        )
        advance(len(images))


def _dropped(path: Path, belongs_to: str) -> dict[tuple[str, str], Dropped]:
    """Count skipped.parquet by reason, some rows at a time: it may have as many rows as there are annotations."""
    found: dict[tuple[str, str], Dropped] = {}
    try:
        with pq.ParquetFile(readable(path)) as file:
            SKIPPED.check(file.schema_arrow, belongs_to)
            for batch in file.iter_batches(batch_size=1 << 16):
                _count(batch, found)
    except FileNotFoundError:
        raise WorkdirError(f"{path} is missing; {REBUILD}") from None
    except (SchemaMismatch, OSError, pa.ArrowException) as error:
        raise WorkdirError(f"{path} cannot be used ({first_line(error)}); {REBUILD}") from None
    return dict(sorted(found.items(), key=lambda item: (-item[1].count, item[0])))


def _count(batch: pa.RecordBatch, found: dict[tuple[str, str], Dropped]) -> None:
    columns = [batch[name].to_pylist() for name in ("record", "reason", "image_id", "annotation_id", "detail")]
    for record, reason, image_id, annotation_id, detail in zip(*columns, strict=True):
        dropped = found.setdefault((record, reason), Dropped())
        dropped.count += 1
        if len(dropped.examples) < EXAMPLES:
            names = [f"image {image_id}"] if image_id is not None else []
            names += [f"annotation {annotation_id}"] if annotation_id is not None else []
            dropped.examples.append(": ".join([", ".join(names), detail]) if names else detail)
