"""build-positives: from a COCO file to a workdir with positive chips, labels and epochs."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chipper import __version__
from chipper.coco.checking import SAME_FILE, SAME_RECORD, Skip, skipped_columns
from chipper.coco.reading import Coco, read_coco
from chipper.columns import POSITIVE, Annotations, Images, Skipped, concatenate
from chipper.errors import WorkdirError, option, without_secrets
from chipper.manifest.dataset import Dataset, SourceFile, dataset_id
from chipper.manifest.epoch_lists import write_epochs
from chipper.manifest.tables import Manifest, write_part
from chipper.manifest.workdir import Workdir
from chipper.mining.assignment import Assignment
from chipper.mining.labels import label_chips
from chipper.mining.options import PositiveOptions
from chipper.mining.parts import count_by_scale, parts_of
from chipper.mining.positives import mine_positives
from chipper.parallel.progress import SILENT, Monitor
from chipper.parallel.workers import Workers
from chipper.schemas import ANNOTATIONS, CHIPS, FORMAT_VERSION, IMAGES, LABELS, SKIPPED
from chipper.storage.files import write_table
from chipper.storage.locations import is_local, is_utf8
from chipper.storage.lock import locked


@dataclass(frozen=True)
class _PartCounts:
    """The counts of a part, which are kept after its tables are written."""

    images: int
    tally: dict[str, Any]
    uncovered: Skipped


def build_positives(
    coco_path: Path,
    workdir: Workdir,
    options: PositiveOptions,
    *,
    image_dir: Path | None = None,
    overwrite: bool = False,
    workers: Workers = Workers(),  # noqa: B008, it is frozen
    monitor: Monitor = SILENT,
    dry_run: bool = False,
) -> Dataset:
    """Mine the positive chips of a COCO file into ``workdir``. If it already holds the same chips, it is not changed.

    With ``dry_run`` everything is checked and mined, but nothing is written.

    Raises:
        AnnotationError: the COCO file cannot be used.
        WorkdirError: the workdir was made from another file or with other options, and ``overwrite`` is not given; or files in
            it were not written by chipper.
        StorageError: the workdir cannot be written.
    """
    with monitor.stage(f"reading {coco_path}"):
        coco = read_coco(coco_path, options.masks)
    for finding in coco.findings:
        monitor.warn(finding)
    for reason, left_out in _lost(coco.skipped).items():
        monitor.skip(f"{left_out}: {reason}; listed in skipped.parquet")
    identity = dataset_id(coco.hash, options)
    workdir.mark()
    source, images = _from(workdir.path, coco_path), None if image_dir is None else _from(workdir.path, image_dir)
    with contextlib.nullcontext() if dry_run else locked(workdir.path, "build-positives"):
        if workdir.exists() and not overwrite:
            found = workdir.dataset()
            if found.id == identity:
                monitor.note(f"{workdir.path} already holds these positive chips")
                if images is not None and not dry_run:
                    found.image_dir = images
                    workdir.commit(found)
                return found
            raise WorkdirError(
                f"{workdir.path} was made {_difference(found, coco, options)}; "
                f"give {option('overwrite')} to replace it, or another {option('workdir')}"
            )
        if not dry_run:
            workdir.claim()
            workdir.clear()
        parts = parts_of(coco.images, coco.annotations)
        place = None if dry_run else workdir
        workers = workers.sharing(written=[] if dry_run else [workdir.path])
        tasks = [(place, number, *part, options, identity) for number, part in enumerate(parts)]
        receipts: list[_PartCounts] = []
        with monitor.progress("mining positive chips (images)", len(coco.images)) as advance:
            for receipt in workers.threads(_mine_part, tasks):
                monitor.detail(
                    f"part {len(receipts)}: {receipt.images} images, chips by scale {receipt.tally['positive_chips']}"
                )
                receipts.append(receipt)
                advance(receipt.images)
        dataset = Dataset(
            format_version=FORMAT_VERSION,
            chipper_version=__version__,
            id=identity,
            source=SourceFile(source, coco.bytes, coco.hash, coco.image_records, coco.annotation_records),
            image_dir=images,
            options=options.as_text(),
            categories=list(coco.categories),
            parts=len(parts),
            counts=_sum([*(receipt.tally for receipt in receipts), {"skipped": _by_reason(coco.skipped)}]),
        )
        if not dry_run:
            skipped = concatenate([coco.skipped, *(receipt.uncovered for receipt in receipts)])
            write_table(workdir.path / "skipped.parquet", skipped.to_arrow(SKIPPED, identity))
            manifest = Manifest(workdir.path, dataset)
            write_epochs(manifest, workers, monitor)
            manifest.require_written()
            workdir.commit(dataset)
    return dataset


def _mine_part(
    workdir: Workdir | None,
    number: int,
    images: Images,
    annotations: Annotations,
    options: PositiveOptions,
    identity: str,
) -> _PartCounts:
    """Mine one part and write its tables; in a dry run ``workdir`` is None and nothing is written."""
    positives = mine_positives(images, annotations, options)
    chips, assignment = positives.chips, positives.assignments[0]
    labels = label_chips(chips, images, annotations, options, positives.assignments)
    if workdir is not None:
        write_part(workdir.path, IMAGES, number, images, identity)
        write_part(workdir.path, ANNOTATIONS, number, annotations, identity)
        write_part(workdir.path, CHIPS, number, chips, identity, POSITIVE)
        write_part(workdir.path, LABELS, number, labels, identity, POSITIVE)
    boxes = ~annotations.iscrowd
    tally = {
        "images": len(images),
        "images_without_objects": len(images) - np.unique(annotations.image_id[boxes]).size,
        "boxes": int(boxes.sum()),
        "crowds": int((~boxes).sum()),
        "boxes_covered": int(assignment.targets.any(axis=0).sum()),
        "boxes_moved_to_coarser_scale": int(assignment.moved.any(axis=0).sum()),
        "boxes_in_no_valid_range": int((assignment.without_range & boxes).sum()),
        "boxes_no_chip_can_hold": int(assignment.uncoverable.sum()),
        "positive_chips": count_by_scale(chips, options),
        "labels": len(labels),
        "valid_labels": int(labels.valid.sum()),
    }
    return _PartCounts(len(images), tally, _uncovered(annotations, assignment))


def _sum(tallies: list[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for tally in tallies:
        for name, value in tally.items():
            if isinstance(value, dict):
                total[name] = _sum([total.get(name, {}), value])
            else:
                total[name] = total.get(name, 0) + value
    return total


def _by_reason(skipped: Skipped) -> dict[str, int]:
    names = [f"{record}: {reason}" for record, reason in zip(skipped.record, skipped.reason, strict=True)]
    return {name: names.count(name) for name in sorted(set(names))}


def _lost(skipped: Skipped) -> dict[str, str]:
    """How many records were left out for each reason, in words; those that are there in another record are not lost."""
    counts: Counter[tuple[str, str]] = Counter(zip(skipped.record, skipped.reason, strict=True))
    return {
        reason: f"{number:,} {record}{'s' if number > 1 else ''} left out"
        for (record, reason), number in counts.items()
        if reason not in (SAME_RECORD, SAME_FILE)
    }


def _uncovered(annotations: Annotations, assignment: Assignment) -> Skipped:
    """The boxes that no chip covers, with the reason."""
    skips = []
    for reason, which in (
        ("in no valid range", assignment.without_range & ~annotations.iscrowd),
        ("no chip can hold it", assignment.uncoverable),
    ):
        for k in np.flatnonzero(which):
            ids = int(annotations.image_id[k]), int(annotations.annotation_id[k])
            box = [round(v, 2) for v in annotations.box[k].tolist()]
            skips.append(Skip("annotation", *ids, reason, f"box {box}"))
    return skipped_columns(skips)


def _difference(found: Dataset, coco: Coco, options: PositiveOptions) -> str:
    """How a workdir differs from the requested one."""
    wanted = options.as_text()
    other = [_as_option(name, value) for name, value in found.options.items() if wanted.get(name) != value]
    if found.source.hash != coco.hash:
        return f"from another annotation file ({found.source.path}, or an older version of it)"
    return " ".join(other) if other else "by a chipper with another file format"


def _as_option(name: str, value: Any) -> str:
    """An option of an earlier run as text for a message."""
    if isinstance(value, bool):
        return f"with {option(name)}" if value else f"without {option(name)}"
    return f"with {option(name)} {value}"


def _from(workdir: Path, path: Path) -> str:
    """``path`` relative to the workdir, so that both can be moved together; a URL without its secrets."""
    if not is_local(path):
        return without_secrets(str(path))
    relative = Path(os.path.relpath(path.resolve(), workdir.resolve())).as_posix()
    if not is_utf8(relative):
        raise WorkdirError(
            f"{relative} has a name that is not UTF-8, which dataset.json cannot hold; rename it, or give a link to it "
            "with another name"
        )
    return relative
