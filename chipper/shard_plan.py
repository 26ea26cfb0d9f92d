"""Which chips go into which shard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chipper.columns import Annotations, Chips, Columns, Images, Ints, Labels
from chipper.options import PositiveOptions, RenderOptions
from chipper.shards import plan_hash, shard_name
from chipper.workdir import Dataset, Workdir


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be: the chips of one part, kind and variant with ids from ``first`` to ``last``."""

    name: str
    part: int
    kind: str
    variant: int
    first: int
    last: int
    chips: int
    hash: str


@dataclass(frozen=True)
class PartTables:
    """Everything that the chips of one kind and part are rendered from."""

    options: PositiveOptions
    images: Images
    annotations: Annotations
    chips: Chips
    labels: Labels

    def rows(self, plan: ShardPlan) -> Ints:
        """Rows of ``chips`` that belong to the plan."""
        chips = self.chips
        return np.flatnonzero(
            (chips.chip_id >= plan.first) & (chips.chip_id <= plan.last) & (chips.variant == plan.variant)
        )


@lru_cache(maxsize=2)
def read_part(workdir: Path, belongs_to: str, part: int, kind: str) -> PartTables:
    """The tables of one part; ``belongs_to`` (the id of the epochs) makes a rebuilt workdir another key of the cache."""
    place = Workdir(workdir)
    dataset = place.dataset()
    return PartTables(
        dataset.positive_options,
        place.images(dataset, part),
        place.annotations(dataset, part),
        place.chips(dataset, part, kind),
        place.labels(dataset, part, kind),
    )


def plan_shards(workdir: Workdir, dataset: Dataset, chips_per_shard: int, render: RenderOptions) -> list[ShardPlan]:
    """Share all chips out to shards of about ``chips_per_shard``, cutting between images and never across parts."""
    cuts: dict[str, list[ShardPlan]] = {}
    for kind in workdir.kinds(dataset):
        for part in range(dataset.parts):
            tables = read_part(workdir.path, dataset.epochs_id, part, kind)
            for variant in range(tables.options.variants):
                rows = np.flatnonzero(tables.chips.variant == variant)
                stem = f"{kind}s" if variant == 0 else f"{kind}s-v{variant}"
                for first, last in _cut(tables.chips.image_id[rows], chips_per_shard):
                    ids = tables.chips.chip_id[rows[first:last]]
                    hash_ = _content_hash(tables, rows[first:last], render)
                    plan = ShardPlan(stem, part, kind, variant, int(ids[0]), int(ids[-1]), ids.size, hash_)
                    cuts.setdefault(stem, []).append(plan)
    return [
        ShardPlan(**{**vars(plan), "name": shard_name(stem, number, len(plans))})
        for stem, plans in cuts.items()
        for number, plan in enumerate(plans)
    ]


def _cut(image_of_chip: Ints, most: int) -> Iterator[tuple[int, int]]:
    """Row ranges of whole images with at least ``most`` chips each, but for the last."""
    first = 0
    for start in np.flatnonzero(image_of_chip[1:] != image_of_chip[:-1]) + 1:
        if start - first >= most:
            yield first, int(start)
            first = int(start)
    if image_of_chip.size:
        yield first, image_of_chip.size


def _content_hash(tables: PartTables, rows: Ints, render: RenderOptions) -> str:
    """Hash of all that goes into a shard's samples: its own chips and the rendering options, nothing else."""
    chips = tables.chips[rows]
    ids = np.unique(chips.image_id)
    labels = tables.labels[np.isin(tables.labels.chip_id, chips.chip_id)]
    images = tables.images[np.isin(tables.images.image_id, ids)]
    annotations = tables.annotations[np.isin(tables.annotations.image_id, ids)]
    ranges = [str(r) for r in tables.options.valid_ranges]
    settings = msgspec.json.encode([vars(render), tables.options.chip_size, ranges])
    return plan_hash(settings, *_arrays(chips), *_arrays(labels), *_arrays(images), *_arrays(annotations))


def _arrays(columns: Columns) -> list[Any]:
    return [getattr(columns, f.name) for f in fields(columns)]
