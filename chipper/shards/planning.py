"""Plan which chips go into which shard."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chipper.columns import POSITIVE, Annotations, Chips, Columns, Images, Ints, Labels
from chipper.manifest.tables import Manifest
from chipper.manifest.workdir import Workdir
from chipper.mining.options import PositiveOptions
from chipper.shards.options import RenderOptions
from chipper.shards.writing import plan_hash, shard_name


@dataclass(frozen=True)
class ShardPlan:
    """A planned shard: the chips of one part, kind and variant with ids from ``first`` to ``last``.

    Shards of one stripe (of the part) show the same images.
    """

    name: str
    part: int
    stripe: int
    kind: str
    variant: int
    first: int
    last: int
    chips: int
    hash: str


@dataclass(frozen=True)
class PartTables:
    """The tables that are needed to render the chips of one kind and part."""

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
    """The tables of one part; ``belongs_to`` (the id of the epochs) is part of the cache key, in case a workdir is rebuilt."""
    manifest = Workdir(workdir).open()
    images, annotations = manifest.images(part), manifest.annotations(part)
    chips, labels = manifest.chips(part, kind), manifest.labels(part, kind)
    manifest.check_references(part, kind, images, annotations, chips, labels)
    return PartTables(manifest.options, images, annotations, chips, labels)


def plan_shards(manifest: Manifest, chips_per_shard: int, render: RenderOptions) -> list[ShardPlan]:
    """Split all chips into shards of about ``chips_per_shard``. The chips of an image are never split; parts are not mixed.

    The positive chips of the first variant define the stripes (ranges of images); the other chips are split within each
    stripe. So shards of positive chips do not change when negative chips are mined, and a worker can render all shards of a
    stripe while decoding each image once.
    """
    found: dict[tuple[str, int], list[ShardPlan]] = {}
    kinds, variants = manifest.kinds, manifest.options.variants
    for part in manifest.parts:
        stripes = np.array([0])
        for kind in kinds:
            tables = read_part(manifest.folder, manifest.dataset.epochs_id, part, kind)
            position, chip_id = tables.chips.image_position, tables.chips.chip_id
            for variant in range(variants):
                rows = np.flatnonzero(tables.chips.variant == variant)
                if kind == POSITIVE and variant == 0:
                    stripes = _starts(position[rows], chips_per_shard)
                for stripe, inside in enumerate(_split(rows, position, stripes)):
                    for mine in _split(inside, position, _starts(position[inside], chips_per_shard)):
                        if mine.size:
                            first, last = int(chip_id[mine[0]]), int(chip_id[mine[-1]])
                            hash_ = _content_hash(tables, mine, render)
                            plan = ShardPlan("", part, stripe, kind, variant, first, last, mine.size, hash_)
                            found.setdefault((kind, variant), []).append(plan)
    named = []
    for kind in kinds:
        for variant in range(variants):
            plans = found.get((kind, variant), [])
            stem = f"{kind}s" if variant == 0 else f"{kind}s-v{variant}"
            named += [replace(plan, name=shard_name(stem, k, len(plans))) for k, plan in enumerate(plans)]
    return named


def _starts(position: Ints, most: int) -> Ints:
    """Image positions at which shards begin, so that each has about the same number of chips and not many more than ``most``.

    ``position`` is the position of each chip's image, ascending; the chips of an image are never split.
    """
    if not position.size:
        return np.array([0])
    number = -(-position.size // most)
    return np.unique(position[np.arange(number) * position.size // number])


def _split(rows: Ints, position: Ints, starts: Ints) -> list[Ints]:
    """``rows`` split before each image position in ``starts``, except the first."""
    return np.split(rows, np.searchsorted(position[rows], starts[1:]))


def _content_hash(tables: PartTables, rows: Ints, render: RenderOptions) -> str:
    """Hash of everything that defines a shard's samples: its chips and the rendering options."""
    chips = tables.chips[rows]
    ids = np.unique(chips.image_id)
    labels = tables.labels[np.isin(tables.labels.chip_id, chips.chip_id)]
    images = tables.images[np.isin(tables.images.image_id, ids)]
    annotations = tables.annotations[np.isin(tables.annotations.image_id, ids)]
    ranges = [str(r) for r in tables.options.valid_ranges]
    settings = msgspec.json.encode([render.as_text(), tables.options.chip_size, ranges])
    return plan_hash(settings, *_arrays(chips), *_arrays(labels), *_arrays(images), *_arrays(annotations))


def _arrays(columns: Columns) -> list[Any]:
    return [getattr(columns, f.name) for f in fields(columns)]
