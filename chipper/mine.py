"""mine-negatives: from a workdir with positive chips and a proposal file to negative chips and new epochs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chipper.assignment import assign
from chipper.build import count_by_scale, write_epochs
from chipper.columns import NEGATIVE, POSITIVE, Ints, concatenate
from chipper.files import fingerprint
from chipper.labels import label_chips
from chipper.lock import locked
from chipper.negatives import best_proposals, mine_negatives
from chipper.options import NegativeOptions
from chipper.progress import Monitor
from chipper.proposals import ProposalFile, open_proposals
from chipper.pyramid import Pyramid
from chipper.schemas import CHIPS, LABELS
from chipper.workdir import Dataset, Negatives, Workdir
from chipper.workers import Workers


@dataclass(frozen=True)
class _Receipt:
    """What is left to know of a part once its tables are written."""

    images: int
    proposals: int
    chips: dict[str, int]  # negatives of each scale
    chip_id: Ints  # positives and negatives
    variant: Ints


def mine_workdir(
    workdir: Workdir, proposals_path: Path, negative: NegativeOptions, workers: Workers, monitor: Monitor
) -> Dataset:
    """Mine negative chips from proposals into ``workdir`` and write its epochs again, now with negatives.

    Raises:
        WorkdirError: there is no finished workdir, or its tables do not belong together.
        ProposalError: the proposal file cannot be read or is for other images.
        StorageError: the workdir cannot be written.
    """
    workdir.dataset()  # there must be one before anything is locked or made
    with locked(workdir.path, "mine-negatives"):
        dataset = workdir.dataset()
        options = dataset.positive_options
        monitor.note(f"reading {proposals_path}")
        ids = np.concatenate([workdir.images(dataset, part).image_id for part in range(dataset.parts)])
        file = open_proposals(proposals_path, ids, dataset.source.image_records)
        identity = fingerprint(dataset.id.encode(), file.hash.encode(), msgspec.json.encode(vars(negative)))
        tasks = [(workdir, dataset, file, part, negative, identity) for part in range(dataset.parts)]
        receipts = []
        with monitor.progress("mining negative chips (images)", dataset.counts["images"]) as advance:
            for receipt in workers.threads(_mine_part, tasks):
                receipts.append(receipt)
                advance(receipt.images)
        chip_id = np.concatenate([receipt.chip_id for receipt in receipts])
        variant = np.concatenate([receipt.variant for receipt in receipts])
        write_epochs(workdir, identity, chip_id, variant, options, negative.per_image, workers)
        totals: dict[str, Any] = {
            "proposals": sum(receipt.proposals for receipt in receipts),
            "negative_chips": {str(s): sum(receipt.chips[str(s)] for receipt in receipts) for s in options.scales},
        }
        dataset = msgspec.structs.replace(
            dataset, negatives=Negatives(identity, proposals_path.name, file.hash, dict(vars(negative)), totals)
        )
        workdir.commit(dataset)
    return dataset


def _mine_part(
    workdir: Workdir, dataset: Dataset, file: ProposalFile, part: int, negative: NegativeOptions, identity: str
) -> _Receipt:
    """Mine the negatives of one part and write its tables."""
    options = dataset.positive_options
    images, annotations = workdir.images(dataset, part), workdir.annotations(dataset, part)
    positives = workdir.chips(dataset, part, POSITIVE)
    proposals = best_proposals(file.of(images), images, negative)
    negatives = mine_negatives(images, proposals, positives, options, negative)

    # a negative chip's labels are weighed against what the positive chips beside it show
    pyramid = Pyramid.of(options.scales, images.width, images.height)
    assignments = tuple(assign(images, annotations, pyramid, options, v) for v in range(options.variants))
    both = concatenate([positives, negatives])
    labels = label_chips(both[np.argsort(both.chip_id)], images, annotations, options, assignments)
    labels = labels[np.isin(labels.chip_id, negatives.chip_id)]
    workdir.write_part(CHIPS, part, negatives, identity, NEGATIVE)
    workdir.write_part(LABELS, part, labels, identity, NEGATIVE)
    return _Receipt(len(images), len(proposals), count_by_scale(negatives, options), both.chip_id, both.variant)
