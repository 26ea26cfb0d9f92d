"""export-shards: the chips of a workdir as WebDataset shards.

Work is distributed stripe by stripe (`chipper.shards.planning`). A worker reads the tables of the stripe's part, decodes
each image once, and returns the receipts of the stripe's shards.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from chipper.html import two_columns
from chipper.manifest.dataset import DATASET
from chipper.manifest.tables import Manifest
from chipper.manifest.workdir import Workdir
from chipper.parallel.progress import SILENT, Monitor
from chipper.parallel.workers import Workers
from chipper.quantities import human_bytes
from chipper.schemas import FORMAT_VERSION, IMAGE_ERRORS, LABELS
from chipper.shards.claim import claim, require_ours
from chipper.shards.options import ExportOptions
from chipper.shards.planning import ShardPlan, plan_shards
from chipper.shards.shard_set import ShardSet
from chipper.shards.stripes import number_of_images, render_stripe, too_many
from chipper.shards.writing import (
    ERRORS,
    TRAIN_INDEX,
    ImageFault,
    Receipt,
    index_path,
    is_shard_file,
    read_receipts,
    receipt_path,
    require_written,
    tar_path,
)
from chipper.storage.files import remove, write_json, write_table
from chipper.storage.locations import sizes_in
from chipper.storage.lock import locked

_NAMED = 5  # how many of these images a summary names
STRIPES_A_WORKER = 4  # fewer would leave workers idle at the end


@dataclass(frozen=True)
class Exported:
    """The result of export-shards."""

    folder: Path  # of the shards
    receipts: list[Receipt]
    rendered: int  # shards that this run wrote
    image_dir: Path

    @property
    def faults(self) -> list[tuple[str, ImageFault]]:
        """Shard name and fault of every image that could not be rendered."""
        return [(receipt.name, fault) for receipt in self.receipts for fault in receipt.faults]

    @property
    def lost(self) -> list[str]:
        """One line for each image that could not be rendered, also if its chips are in several shards."""
        return list(
            dict.fromkeys(f"{fault.file_name}: {fault.error}; its chips are left out" for _, fault in self.faults)
        )

    @property
    def chips(self) -> dict[str, int]:
        """Number of chips in the shards by kind."""
        kinds: Counter[str] = Counter()
        for receipt in self.receipts:
            kinds[receipt.kind] += receipt.samples
        return dict(kinds)

    @property
    def bytes(self) -> int:
        """Size of all shards."""
        return sum(receipt.bytes for receipt in self.receipts)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """A summary for people, as rows (name, text)."""
        whole = len(self.receipts) - self.rendered
        unread = "" if self.rendered else " (not read: every shard is complete; overwrite renders them again)"
        rows = [
            ("images from", f"{self.image_dir}{unread}"),
            ("shards", f"{len(self.receipts):,} ({self.rendered:,} rendered, {whole:,} complete already)"),
            *((f"{kind} chips", f"{number:,}") for kind, number in self.chips.items()),
            (
                "bytes",
                f"{human_bytes(self.bytes)} ({human_bytes(self.bytes / max(sum(self.chips.values()), 1))} per chip)",
            ),
        ]
        if faults := [fault for _, fault in self.faults]:
            chips, listed = sum(fault.chips for fault in faults), self.folder / ERRORS
            rows.append(("images lost", f"{number_of_images(faults):,} with {chips:,} chips (listed in {listed})"))
            rows += [("", f"{fault.file_name}: {fault.error}") for fault in faults[:_NAMED]]
        return rows

    def _repr_html_(self) -> str:
        return two_columns(self.rows, f"Shards in {self.folder}")


@dataclass(frozen=True)
class ExportPlan:
    """The shards that export-shards has to write."""

    image_dir: Path
    shards: list[ShardPlan]
    done: dict[str, Receipt]  # receipts of the shards that are already complete and match the plan

    @property
    def missing(self) -> list[ShardPlan]:
        """The shards to render."""
        return [plan for plan in self.shards if plan.name not in self.done]


def plan_shard_export(
    workdir: Workdir, options: ExportOptions, *, image_dir: Path | None = None, monitor: Monitor = SILENT
) -> ExportPlan:
    """Find the images and the shards that are already complete. Raises the same errors as `export_shards`."""
    manifest = workdir.open()
    require_ours(workdir, options.overwrite)
    images = manifest.image_dir(image_dir)
    monitor.note(f"images are in {images}")
    with monitor.stage("planning shards"):
        plans = plan_shards(manifest, options.chips_per_shard, options.render)
        return ExportPlan(images, plans, _finished(workdir.shards, plans, options))


def export_shards(
    workdir: Workdir,
    options: ExportOptions = ExportOptions(),  # noqa: B008, it is frozen
    *,
    image_dir: Path | None = None,
    workers: Workers = Workers(),  # noqa: B008, it is frozen
    monitor: Monitor = SILENT,
) -> Exported:
    """Render all chips of ``workdir`` into shards; shards that are already complete are not changed.

    Raises:
        WorkdirError: the workdir is not finished, its tables do not belong together, another export is running, or the shards
            in that place are not this workdir's.
        ImageDirectoryError: the images cannot be found.
        ImageError: an image cannot be rendered and ``on_error="fail"`` is given, or too many images cannot be rendered.
        StorageError: a shard cannot be written.
        UnreachableError: the shards are remote, and cannot be read now.
    """
    manifest = workdir.open()
    with locked(workdir.path, "export-shards", workdir.shards):
        plan = plan_shard_export(workdir, options, image_dir=image_dir, monitor=monitor)
        claim(workdir)
        images, done, missing = plan.image_dir, dict(plan.done), plan.missing
        if missing:
            remove(workdir.shards / DATASET)
        workers = workers.sharing([workdir.shards], [workdir.path / DATASET, images])
        limit = max(options.max_errors, options.max_error_share * manifest.dataset.counts["images"])
        faults = [fault for receipt in done.values() for fault in receipt.faults]
        rendered = _render(workdir, manifest.dataset.epochs_id, images, missing, options, workers, monitor)
        with contextlib.closing(rendered) as receipts:
            for receipt in receipts:
                monitor.detail(
                    f"{receipt.name}: {receipt.samples} chips, {receipt.bytes} bytes, {len(receipt.faults)} images lost"
                )
                done[receipt.name] = receipt
                faults += receipt.faults
                if number_of_images(faults) > limit:
                    break
        if number_of_images(faults) > limit:
            raise too_many(faults, images)
        exported = Exported(workdir.shards, [done[shard.name] for shard in plan.shards], len(missing), images)
        if exported.faults and not any(receipt.samples for receipt in exported.receipts):
            for receipt in exported.receipts:
                remove(
                    receipt_path(workdir.shards, receipt.name)
                )  # the shard has no samples, so it must be rendered again
            raise too_many([fault for _, fault in exported.faults], images)
        require_written(workdir.shards, [receipt for receipt in exported.receipts if receipt.name not in plan.done])
        _commit(manifest, workdir.shards, exported, options)
    return exported


def _render(
    workdir: Workdir,
    belongs_to: str,
    images: Path,
    plans: list[ShardPlan],
    options: ExportOptions,
    workers: Workers,
    monitor: Monitor,
) -> Generator[Receipt, None, None]:
    """Receipts of the shards, in the order in which they are finished."""
    with monitor.progress("rendering chips", sum(plan.chips for plan in plans)) as advance:
        tasks = [
            (workdir.path, workdir.shards, belongs_to, images, some, options)
            for some in _shared_out(plans, workers.count)
        ]
        # closing it ends the worker processes before an interrupt is handled
        with contextlib.closing(workers.processes(render_stripe, tasks)) as results:
            for receipts in results:
                for receipt in receipts:
                    advance(receipt.samples + sum(fault.chips for fault in receipt.faults))
                    yield receipt


def _shared_out(plans: list[ShardPlan], workers: int) -> list[list[ShardPlan]]:
    """Split the plans into tasks: one per stripe, or one per shard if so few stripes would leave workers idle.

    This changes how often an image is decoded, but not the bytes of the shards.
    """
    stripes: dict[tuple[int, int], list[ShardPlan]] = {}
    for plan in plans:
        stripes.setdefault((plan.part, plan.stripe), []).append(plan)
    if workers == 1 or len(stripes) >= STRIPES_A_WORKER * workers:
        return list(stripes.values())
    return [[plan] for plan in plans]


def _finished(folder: Path, plans: list[ShardPlan], options: ExportOptions) -> dict[str, Receipt]:
    """Receipts of the shards that are already complete and match the plan."""
    receipts = {} if options.overwrite else read_receipts(folder, [plan.name for plan in plans])
    again = options.retry_errors or options.on_error == "fail"
    hashes = {plan.name: plan.hash for plan in plans}
    return {
        name: receipt
        for name, receipt in receipts.items()
        if receipt.plan_hash == hashes[name] and not (receipt.faults and again)
    }


def _commit(manifest: Manifest, folder: Path, exported: Exported, options: ExportOptions) -> None:
    """Write the list of errors, declare the set complete, and remove shards of other plans."""
    dataset = manifest.dataset
    names = [receipt.name for receipt in exported.receipts]
    rows = [(f.image_id, f.file_name, f.error, f.chips, name) for name, f in exported.faults]
    schema = IMAGE_ERRORS.arrow_schema(dataset.epochs_id)
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
    write_table(folder / ERRORS, pa.Table.from_arrays(arrays, schema=schema))
    write_json(
        folder / DATASET,
        ShardSet(
            format_version=FORMAT_VERSION,
            id=dataset.epochs_id,
            chip_size=dataset.positive_options.chip_size,
            categories=dataset.categories,
            render=options.render.as_text(),
            samples=sum(receipt.samples for receipt in exported.receipts),
            bytes=sum(receipt.bytes for receipt in exported.receipts),
            lost_chips=sum(fault.chips for _, fault in exported.faults),
            shards=names,
        ),
    )
    write_train_index(manifest, folder, exported.receipts)
    wanted = {path(folder, name) for name in names for path in (tar_path, index_path, receipt_path)}
    for name in sizes_in(folder):
        if is_shard_file(folder / name) and folder / name not in wanted:
            remove(folder / name)


def write_train_index(manifest: Manifest, folder: Path, receipts: list[Receipt]) -> None:
    """Write train-index.json, version 1; RF-DETR needs it to read a folder of shards (``rfdetr.datasets.webdataset.index``)."""
    of_parts = [
        manifest.columns(LABELS, part, ["category_id"], kind)[0] for part in manifest.parts for kind in manifest.kinds
    ]
    used = set().union(*(np.unique(ids).tolist() for ids in of_parts))
    whole = [receipt for receipt in receipts if receipt.samples]
    write_json(
        folder / TRAIN_INDEX,
        {
            "version": 1,
            "split": "train",
            "shards": [tar_path(folder, receipt.name).name for receipt in whole],
            "num_samples": sum(receipt.samples for receipt in whole),
            "categories": manifest.dataset.categories,
            "annotated_category_ids": sorted(used),
            "category_ids": "remap",
            "samples_per_shard": [receipt.samples for receipt in whole],
        },
    )
