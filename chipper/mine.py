"""mine-negatives: from a workdir with positive chips and a proposal file to negative chips and new epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chipper.assignment import assign
from chipper.build import count_by_scale, write_epochs
from chipper.columns import NEGATIVE, POSITIVE, Chips, Labels, concatenate
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
        chips, counts, used = [], [], 0
        with monitor.progress("mining negative chips (images)", dataset.counts["images"]) as advance:
            tasks = [(workdir, dataset, file, part, negative) for part in range(dataset.parts)]
            for part, (positives, negatives, labels, proposals) in enumerate(workers.threads(_mine_part, tasks)):
                workdir.write_part(CHIPS, part, negatives, identity, NEGATIVE)
                workdir.write_part(LABELS, part, labels, identity, NEGATIVE)
                chips += [(c.chip_id, c.variant) for c in (positives, negatives)]
                counts.append(count_by_scale(negatives, options))
                used += proposals
                advance(len(workdir.images(dataset, part)))
        chip_id, variant = (np.concatenate(column) for column in zip(*chips, strict=True))
        write_epochs(workdir, identity, chip_id, variant, options, negative.per_image)
        totals: dict[str, Any] = {
            "proposals": used,
            "negative_chips": {scale: sum(count[scale] for count in counts) for scale in counts[0]},
        }
        dataset = msgspec.structs.replace(
            dataset, negatives=Negatives(identity, proposals_path.name, file.hash, dict(vars(negative)), totals)
        )
        workdir.commit(dataset)
    return dataset


def _mine_part(
    workdir: Workdir, dataset: Dataset, file: ProposalFile, part: int, negative: NegativeOptions
) -> tuple[Chips, Chips, Labels, int]:
    """Positive chips, negative chips and their labels, and the number of proposals that counted, of one part."""
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
    return positives, negatives, labels[np.isin(labels.chip_id, negatives.chip_id)], len(proposals)
