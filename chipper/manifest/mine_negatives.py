"""mine-negatives: from a workdir with positive chips and a proposal file to negative chips and new epochs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chipper.columns import (
    CHIPS_PER_IMAGE,
    FIRST_NEGATIVE,
    NEGATIVE,
    POSITIVE,
    Annotations,
    Chips,
    Images,
    Labels,
    concatenate,
)
from chipper.grouping import Groups
from chipper.manifest.dataset import DATASET, Dataset, Negatives
from chipper.manifest.epoch_lists import write_epochs
from chipper.manifest.tables import Manifest, write_part
from chipper.manifest.workdir import Workdir
from chipper.mining.assignment import assign
from chipper.mining.labels import label_chips
from chipper.mining.negatives import best_proposals, choose_negatives
from chipper.mining.options import NegativeOptions, PositiveOptions
from chipper.mining.parts import count_by_scale
from chipper.mining.pyramid import Pyramid
from chipper.parallel.progress import SILENT, Monitor
from chipper.parallel.workers import Workers
from chipper.proposals.files import ProposalFile, open_proposals
from chipper.schemas import CHIPS, LABELS
from chipper.storage.files import fingerprint
from chipper.storage.lock import locked

_IMAGES_AT_ONCE = 250
"""Number of images whose proposals each worker has in memory at once."""


@dataclass(frozen=True)
class _PartCounts:
    """The counts of a part, which are kept after its tables are written."""

    images: int
    proposals: int
    chips: dict[str, int]  # negative chips of each scale


def mine_negatives(
    workdir: Workdir,
    proposals_path: Path,
    negative: NegativeOptions = NegativeOptions(),  # noqa: B008, it is frozen
    *,
    workers: Workers = Workers(),  # noqa: B008, it is frozen
    monitor: Monitor = SILENT,
    dry_run: bool = False,
) -> Dataset:
    """Mine negative chips from proposals into ``workdir``, and write its epochs again, now with negative chips.

    With ``dry_run`` everything is checked and mined, but nothing is written.

    Raises:
        WorkdirError: there is no finished workdir, or its tables do not belong together.
        ProposalError: the proposal file cannot be read or is for other images.
        StorageError: the workdir cannot be written.
    """
    workdir.dataset()  # fails before anything is locked or written if there is no finished workdir
    with contextlib.nullcontext() if dry_run else locked(workdir.path, "mine-negatives"):
        manifest = workdir.open()
        dataset, options = manifest.dataset, manifest.options
        with monitor.stage(f"reading {proposals_path}"):
            file = open_proposals(proposals_path, *manifest.image_places(), dataset.source.image_records)
        identity = fingerprint(dataset.id.encode(), file.hash.encode(), msgspec.json.encode(vars(negative)))
        workers = workers.sharing([] if dry_run else [workdir.path], [workdir.path / DATASET, proposals_path])
        tasks = [(manifest, file, part, negative, identity, dry_run) for part in manifest.parts]
        receipts: list[_PartCounts] = []
        with monitor.progress("mining negative chips (images)", dataset.counts["images"]) as advance:
            for receipt in workers.threads(_mine_part, tasks):
                monitor.detail(f"part {len(receipts)}: {receipt.images} images, chips by scale {receipt.chips}")
                receipts.append(receipt)
                advance(receipt.images)
        totals: dict[str, Any] = {
            "proposals": sum(receipt.proposals for receipt in receipts),
            "negative_chips": {str(s): sum(receipt.chips[str(s)] for receipt in receipts) for s in options.scales},
        }
        dataset = msgspec.structs.replace(
            dataset, negatives=Negatives(identity, proposals_path.name, file.hash, dict(vars(negative)), totals)
        )
        if not dry_run:
            manifest = Manifest(workdir.path, dataset)
            write_epochs(manifest, workers, monitor)
            manifest.require_written()
            workdir.commit(dataset)
    return dataset


def _mine_part(
    manifest: Manifest, file: ProposalFile, part: int, negative: NegativeOptions, identity: str, dry_run: bool
) -> _PartCounts:
    """Mine the negative chips of one part, a few images at a time, and write its tables unless this is a dry run."""
    options = manifest.options
    images, annotations = manifest.images(part), manifest.annotations(part)
    positives = manifest.chips(part, POSITIVE)
    manifest.check_references(part, POSITIVE, images, annotations, positives)
    boxes_of, chips_of = (Groups.of(images.image_id, some.image_id) for some in (annotations, positives))
    found, shown, used = [], [], 0
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        end = min(start + _IMAGES_AT_ONCE, len(images))
        of_range = annotations[boxes_of.slice(start, end)], positives[chips_of.slice(start, end)]
        chips, labels, proposals = _mine_images(images[start:end], *of_range, file, options, negative)
        found.append(chips)
        shown.append(labels)
        used += proposals
    negatives = concatenate(found)
    if not dry_run:
        write_part(manifest.folder, CHIPS, part, negatives, identity, NEGATIVE)
        write_part(manifest.folder, LABELS, part, concatenate(shown), identity, NEGATIVE)
    return _PartCounts(len(images), used, count_by_scale(negatives, options))


def _mine_images(
    images: Images,
    annotations: Annotations,
    positives: Chips,
    file: ProposalFile,
    options: PositiveOptions,
    negative: NegativeOptions,
) -> tuple[Chips, Labels, int]:
    """The negative chips of some images, their labels, and the number of proposals they were chosen from."""
    proposals = best_proposals(file.of(images), images, negative)
    negatives = choose_negatives(images, proposals, positives, options, negative)
    # whether a negative chip's label is valid depends on what the positive chips of the same image show
    pyramid = Pyramid.of(options.scales, images.width, images.height)
    assignments = tuple(assign(images, annotations, pyramid, options, v) for v in range(options.variants))
    both = concatenate([positives, negatives])
    labels = label_chips(both[np.argsort(both.chip_id)], images, annotations, options, assignments)
    return negatives, labels[labels.chip_id % CHIPS_PER_IMAGE >= FIRST_NEGATIVE], len(proposals)
