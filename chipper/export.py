"""export-shards: the chips of a workdir as WebDataset shards.

Work is shared out shard by shard; a worker reads the tables of the shard's part itself, decodes each image once, and sends
back the shard's receipt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from chipper.coco import Category
from chipper.errors import ImageError
from chipper.files import sweep, write_json, write_table
from chipper.images import image_path, open_source
from chipper.locations import fresh, is_local
from chipper.lock import locked
from chipper.options import ExportOptions
from chipper.progress import Monitor
from chipper.render import encode_jpeg, render_chip
from chipper.samples import SampleWriter, sample_key
from chipper.schemas import FORMAT_VERSION, IMAGE_ERRORS
from chipper.shard_plan import PartTables, ShardPlan, plan_shards, read_part
from chipper.shards import (
    ImageFault,
    Receipt,
    Sample,
    index_path,
    is_shard_file,
    read_receipt,
    receipt_path,
    tar_path,
    write_shard,
)
from chipper.workdir import DATASET, Dataset, Workdir
from chipper.workers import Workers

IN_A_ROW = 100  # images of one shard that may fail one after the other: the folder is wrong, or the disk is gone


class ShardSet(msgspec.Struct):
    """shards/dataset.json: written last, when every shard of the plan is whole."""

    format_version: str
    id: str  # what the workdir's epochs belong to
    chip_size: int
    categories: list[Category]
    render: dict[str, str | int]
    samples: int
    bytes: int
    lost_chips: int
    shards: list[str]


@dataclass(frozen=True)
class Exported:
    """What export-shards did."""

    receipts: list[Receipt]
    rendered: int  # shards that this run wrote
    image_dir: Path

    @property
    def faults(self) -> list[tuple[str, ImageFault]]:
        """Shard and image of every image that could not be rendered."""
        return [(receipt.name, fault) for receipt in self.receipts for fault in receipt.faults]


def export_shards(
    workdir: Workdir, options: ExportOptions, image_dir: Path | None, workers: Workers, monitor: Monitor
) -> Exported:
    """Render all chips of ``workdir`` into shards; shards that are whole already are left alone.

    Raises:
        WorkdirError: the workdir is not finished, its tables do not belong together, or another export is running.
        ImageDirectoryError: the images cannot be found.
        ImageError: with ``on_error="fail"``, the first image that cannot be rendered; otherwise, when too many cannot.
        StorageError: a shard cannot be written.
    """
    dataset = workdir.dataset()
    with locked(workdir.path, "export-shards"):
        if is_local(workdir.shards):
            sweep(workdir.shards)
        images = workdir.image_dir(dataset, image_dir)
        monitor.note(f"images are in {images}")
        plans = plan_shards(workdir, dataset, options.chips_per_shard, options.render)
        done = _finished(workdir.shards, plans, options)
        missing = [plan for plan in plans if plan.name not in done]
        if missing:
            (workdir.shards / DATASET).unlink(missing_ok=True)
        limit = max(options.max_errors, options.max_error_share * dataset.counts["images"])
        faults = [fault for receipt in done.values() for fault in receipt.faults]
        for receipt in _render(workdir, dataset, images, missing, options, workers, monitor):
            done[receipt.name] = receipt
            faults += receipt.faults
            if len(faults) > limit:
                break
        if len(faults) > limit:
            raise _too_many(faults, images)
        exported = Exported([done[plan.name] for plan in plans], len(missing), images)
        if exported.faults and not any(receipt.samples for receipt in exported.receipts):
            for receipt in exported.receipts:
                receipt_path(workdir.shards, receipt.name).unlink()  # nothing of it is worth keeping
            raise _too_many([fault for _, fault in exported.faults], images)
        _commit(workdir, dataset, exported, options)
    return exported


def _render(
    workdir: Workdir,
    dataset: Dataset,
    images: Path,
    plans: list[ShardPlan],
    options: ExportOptions,
    workers: Workers,
    monitor: Monitor,
) -> Iterator[Receipt]:
    """Receipts of the shards as they are finished."""
    chips = {plan.name: plan.chips for plan in plans}
    with monitor.progress("rendering chips", sum(chips.values())) as advance:
        for receipt in workers.processes(
            render_shard, [(workdir.path, workdir.shards, dataset.epochs_id, images, plan, options) for plan in plans]
        ):
            advance(chips[receipt.name])
            yield receipt


def render_shard(
    workdir: Path, shards: Path, belongs_to: str, image_dir: Path, plan: ShardPlan, options: ExportOptions
) -> Receipt:
    """Render one shard and commit it to ``shards``; runs in a worker process."""
    tables = read_part(workdir, belongs_to, plan.part, plan.kind)
    faults: list[ImageFault] = []
    samples = _samples(tables, plan, fresh(image_dir), options, faults)
    return write_shard(fresh(shards), plan.name, plan.kind, samples, plan.hash, faults, plan.chips)


def _samples(
    tables: PartTables, plan: ShardPlan, image_dir: Path, options: ExportOptions, faults: list[ImageFault]
) -> Iterator[Sample]:
    """The samples of a shard, image by image; images that cannot be used are added to ``faults``."""
    chips = tables.chips[tables.rows(plan)]
    writer = SampleWriter(tables.images, tables.annotations, chips, tables.labels, tables.options)
    bounds = np.flatnonzero(np.r_[True, chips.image_id[1:] != chips.image_id[:-1], True])
    in_a_row = 0
    for first, last in pairwise(bounds):
        image = tables.images[np.flatnonzero(tables.images.image_id == chips.image_id[first])]
        file_name, declared = str(image.file_name[0]), (int(image.width[0]), int(image.height[0]))
        try:
            source = open_source(
                image_path(image_dir, file_name), declared, options.render.exif, float(chips.scale[first:last].max())
            )
        except ImageError as error:
            if options.on_error == "fail":
                raise ImageError(
                    f"{image_dir / file_name}: {error}; mend the image, or leave out --on-error fail"
                ) from None
            faults.append(ImageFault(int(image.image_id[0]), file_name, str(error), int(last - first)))
            in_a_row += 1
            if in_a_row == IN_A_ROW:
                raise _too_many(faults, image_dir) from None
            continue
        in_a_row = 0
        for k in range(first, last):
            content = int(chips.content_width[k]), int(chips.content_height[k])
            x, y = int(chips.x[k]), int(chips.y[k])
            chip = render_chip(source, float(chips.scale[k]), x, y, content, tables.options.chip_size)
            key = sample_key(int(chips.image_id[k]), int(chips.scale_index[k]), x, y)
            yield Sample(key, int(chips.chip_id[k]), encode_jpeg(chip, options.render), writer.record(k))


def _finished(folder: Path, plans: list[ShardPlan], options: ExportOptions) -> dict[str, Receipt]:
    """Receipts of the shards that are whole and hold what is planned."""
    done = {}
    for plan in plans:
        receipt = read_receipt(folder, plan.name)
        again = options.retry_errors or options.on_error == "fail"
        if receipt is not None and receipt.plan_hash == plan.hash and not (receipt.faults and again):
            done[plan.name] = receipt
    return done


def _commit(workdir: Workdir, dataset: Dataset, exported: Exported, options: ExportOptions) -> None:
    """Write the list of errors, declare the set complete, and remove shards of other plans."""
    folder = workdir.shards
    names = [receipt.name for receipt in exported.receipts]
    rows = [(f.image_id, f.file_name, f.error, f.chips, name) for name, f in exported.faults]
    schema = IMAGE_ERRORS.arrow_schema(dataset.epochs_id)
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
    write_table(folder / "errors.parquet", pa.Table.from_arrays(arrays, schema=schema))
    write_json(
        folder / DATASET,
        ShardSet(
            format_version=FORMAT_VERSION,
            id=dataset.epochs_id,
            chip_size=dataset.positive_options.chip_size,
            categories=dataset.categories,
            render=dict(vars(options.render)),
            samples=sum(receipt.samples for receipt in exported.receipts),
            bytes=sum(receipt.bytes for receipt in exported.receipts),
            lost_chips=sum(fault.chips for _, fault in exported.faults),
            shards=names,
        ),
    )
    write_train_index(workdir, dataset, folder, exported.receipts)
    wanted = {path(folder, name) for name in names for path in (tar_path, index_path, receipt_path)}
    for path in folder.iterdir():
        if is_shard_file(path) and path not in wanted:
            path.unlink()


def write_train_index(workdir: Workdir, dataset: Dataset, folder: Path, receipts: list[Receipt]) -> None:
    """train-index.json, version 1, by which RF-DETR reads a folder of shards (``rfdetr.datasets.webdataset.index``)."""
    kinds = [(part, kind) for part in range(dataset.parts) for kind in workdir.kinds(dataset)]
    used = set().union(*(workdir.label_categories(dataset, *place).tolist() for place in kinds))
    whole = [receipt for receipt in receipts if receipt.samples]
    write_json(
        folder / "train-index.json",
        {
            "version": 1,
            "split": "train",
            "shards": [tar_path(folder, receipt.name).name for receipt in whole],
            "num_samples": sum(receipt.samples for receipt in whole),
            "categories": dataset.categories,
            "annotated_category_ids": sorted(used),
            "category_ids": "remap",
            "samples_per_shard": [receipt.samples for receipt in whole],
        },
    )


def _too_many(faults: list[ImageFault], images: Path) -> ImageError:
    last = faults[-1]
    return ImageError(
        f"{len(faults)} images could not be rendered, too many to go on; the last: {images / last.file_name}: {last.error}; "
        "check --image-dir, or raise --max-errors; give --retry-errors once the images are mended"
    )
