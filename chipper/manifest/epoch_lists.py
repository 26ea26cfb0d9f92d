"""Write the list of chips of every epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from chipper.manifest.dataset import Dataset
from chipper.manifest.tables import Manifest
from chipper.mining.epochs import chosen_chips, in_training_order
from chipper.parallel.progress import Monitor
from chipper.parallel.workers import Workers
from chipper.schemas import CHIPS, EPOCH
from chipper.storage.files import write_tables

_EPOCH_ROWS = 1 << 25
"""Chips of an epoch that are sorted at once; they need about a gigabyte."""


def write_epochs(manifest: Manifest, workers: Workers, monitor: Monitor) -> None:
    """Write the list of every epoch: with negative chips if they were mined, else positives only (the short RPN schedule)."""
    epochs = manifest.options.epochs
    with monitor.progress("writing epochs", epochs) as advance:
        for _ in workers.threads(_write_epoch, [(manifest, epoch) for epoch in range(epochs)]):
            advance(1)


def _write_epoch(manifest: Manifest, epoch: int) -> None:
    """Write one epoch's list, one range of positions at a time, so that memory does not grow with the number of chips."""
    dataset, options = manifest.dataset, manifest.options
    per_image = dataset.negatives.options["per_image"] if dataset.negatives else 0
    schema = EPOCH.arrow_schema(dataset.epochs_id)
    ranges = 1 << (_epoch_size(dataset, per_image) // _EPOCH_ROWS).bit_length()

    def tables() -> Iterator[pa.Table]:
        start = 0
        for first in range(ranges):
            pieces = []
            for part in manifest.parts:
                both = [manifest.columns(CHIPS, part, ["chip_id", "variant"], kind) for kind in manifest.kinds]
                chip_id, variant = (np.concatenate(column) for column in zip(*both, strict=True))
                chosen = chosen_chips(chip_id, variant, options.variants, epoch, per_image, options.seed)
                pieces.append(in_training_order(chosen, epoch, options.seed, first, ranges))
            ids = in_training_order(np.concatenate(pieces), epoch, options.seed)
            yield pa.Table.from_arrays([np.arange(start, start + ids.size), ids], schema=schema)
            start += ids.size

    write_tables(manifest.epoch_path(epoch), schema, tables())


def _epoch_size(dataset: Dataset, per_image: int) -> int:
    """The approximate number of chips of an epoch."""
    positives = sum(dataset.counts["positive_chips"].values()) // dataset.positive_options.variants
    return int(positives + per_image * dataset.counts["images"])
