"""Export chips for other trainers: as a plain COCO data set, or as a YOLO folder.

The chips of one epoch, or all chips, are copied from the shards; they are not rendered again. All chips of a source image go
to the same split, train or val, chosen by a hash of its file name. The folder appears only when it is complete.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
import numpy.typing as npt

from chipper.errors import OptionError, ShardError, StorageError, option
from chipper.manifest.dataset import Dataset
from chipper.manifest.tables import Manifest
from chipper.manifest.workdir import Workdir
from chipper.parallel.progress import SILENT, Monitor
from chipper.parallel.workers import Workers
from chipper.shards.pool import Pool
from chipper.shards.samples import SampleError, read_record
from chipper.shards.writing import RERUN
from chipper.storage.files import fingerprint, sync_directory, translate_os_errors
from chipper.storage.lock import folder_locked
from chipper.storage.yaml_files import as_yaml_text

_AT_ONCE = 256  # chips of one task
_DECIMALS = 7  # of a YOLO coordinate, a fraction of the chip side
VAL_SHARE = 0.1  # share of the source images whose chips go to val
SPLITS = ("train", "val")


@dataclass
class ExportCounts:
    """What was written, by split."""

    chips: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    labels: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    left_out: int = 0  # labels that the format cannot express


def export_coco(
    workdir: Workdir,
    out: Path,
    *,
    epoch: int | None = 0,
    val_share: float = VAL_SHARE,
    workers: Workers = Workers(),  # noqa: B008, it is frozen
    monitor: Monitor = SILENT,
) -> ExportCounts:
    """Write ``out``/images/{train,val}/ and ``out``/annotations/instances_{train,val}.json.

    Every label of a chip is kept, with crowds, masks and keypoints. In addition to the COCO fields it has ``valid``,
    ``ignore``, ``visibility`` and, as ``source_id``, the id of the source annotation. Ids count from 1 in each file.

    Args:
        workdir: the workdir whose shards are read.
        out: the folder to create; it must not exist yet.
        epoch: export the chips of this epoch, in its order; None exports all chips.
        val_share: share of the source images whose chips go to val.
        workers: the threads that copy.
        monitor: gets the progress.

    Raises:
        OptionError: ``out`` already exists, or an option is invalid.
        ShardError, WorkdirError: the shards are incomplete or do not belong to the workdir.
        StorageError: a file cannot be written.
    """
    with _new_folder(out) as folder, contextlib.ExitStack() as stack:
        manifest, copied = workdir.open(), ExportCounts()
        (folder / "annotations").mkdir()
        files = {
            split: stack.enter_context(_CocoFile(folder / "annotations", split, manifest.dataset)) for split in SPLITS
        }
        for split, key, sample in _copied(workdir, manifest, folder, epoch, val_share, workers, monitor):
            copied.chips[split] += 1
            copied.labels[split] += len(sample["annotations"])
            files[split].add(f"{key}.jpg", sample)
    return copied


def export_yolo(
    workdir: Workdir,
    out: Path,
    *,
    epoch: int | None = 0,
    val_share: float = VAL_SHARE,
    workers: Workers = Workers(),  # noqa: B008, it is frozen
    monitor: Monitor = SILENT,
) -> ExportCounts:
    """Write ``out``/images/{train,val}/, ``out``/labels/{train,val}/, data.yaml and classes.txt.

    A label line is ``class x y w h``: classes count from 0 in the order of the categories; the centre and the sides of
    the box are fractions of the chip side. YOLO cannot express crowds and objects that are too small, so labels with
    ``ignore`` are left out and counted. Arguments and errors as in `export_coco`.
    """
    with _new_folder(out) as folder:
        manifest, copied = workdir.open(), ExportCounts()
        number = {category.id: k for k, category in enumerate(manifest.dataset.categories)}
        for split in SPLITS:
            (folder / "labels" / split).mkdir(parents=True)
        for split, key, sample in _copied(workdir, manifest, folder, epoch, val_share, workers, monitor):
            kept = [label for label in sample["annotations"] if not label["ignore"]]
            lines = [_yolo_line(number[label["category_id"]], label["bbox"], sample["width"]) for label in kept]
            (folder / "labels" / split / f"{key}.txt").write_text("".join(lines))
            copied.chips[split] += 1
            copied.labels[split] += len(kept)
            copied.left_out += len(sample["annotations"]) - len(kept)
        names = [category.name for category in manifest.dataset.categories]
        (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        listed = "".join(f"  {k}: {as_yaml_text(name)}\n" for k, name in enumerate(names))
        val = "val" if copied.chips["val"] else "train"
        (folder / "data.yaml").write_text(f"train: images/train\nval: images/{val}\nnames:\n{listed}", encoding="utf-8")
    return copied


def _yolo_line(number: int, box: list[float], side: float) -> str:
    x, y, w, h = (value / side for value in box)
    right, bottom = min(x + w, 1.0), min(y + h, 1.0)
    values = ((x + right) / 2, (y + bottom) / 2, right - x, bottom - y)
    return " ".join([str(number), *(f"{value:.{_DECIMALS}f}" for value in values)]) + "\n"


def plan_chip_export(workdir: Workdir, out: Path, *, epoch: int | None = 0, val_share: float = VAL_SHARE) -> int:
    """The number of chips to export; errors as in `export_coco`."""
    _require_new(out)
    return _chosen(workdir, workdir.open(), epoch, val_share)[1].size


def _require_new(out: Path) -> None:
    with translate_os_errors(out):
        if out.exists():
            raise OptionError(f"{option('out')}: {out} already exists; give another folder, or remove it")


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder beside ``out``: renamed to ``out`` when the block succeeds, removed when it fails."""
    with translate_os_errors(out):
        _require_new(out)
        folder = out.with_name(f".{out.name}.partial")
        folder.mkdir(parents=True, exist_ok=True)
        with folder_locked(folder, option("out")):
            for left in folder.iterdir():  # by a killed run
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
            try:
                yield folder
                sync_directory(folder)
                os.rename(folder, out)
                sync_directory(out.parent)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise


def _chosen(
    workdir: Workdir, manifest: Manifest, epoch: int | None, val_share: float
) -> tuple[Pool, npt.NDArray[np.int64]]:
    """The pool, and its rows of the chips to export."""
    if not 0 <= val_share < 1:
        raise OptionError(f"{option('val_share')} is {val_share:g}; it must be at least 0 and less than 1")
    pool = Pool(workdir.shards)
    if pool.set.id != manifest.dataset.epochs_id:
        raise ShardError(f"the shards in {workdir.shards} do not belong to the epochs in {workdir.path}; {RERUN}")
    if epoch is None:
        rows = pool.distinct()
    else:
        epochs = manifest.options.epochs
        if not 0 <= epoch < epochs:
            raise OptionError(f"{option('epoch')} is {epoch}; in {workdir.path} it goes from 0 to {epochs - 1}")
        rows = pool.rows(manifest.epoch(epoch))
        rows = rows[rows >= 0]  # chips of images that could not be rendered
    if not rows.size:
        raise ShardError(f"{workdir.shards} holds no chips to export; {RERUN}")
    return pool, rows


def _copied(
    workdir: Workdir,
    manifest: Manifest,
    folder: Path,
    epoch: int | None,
    val_share: float,
    workers: Workers,
    monitor: Monitor,
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Copy the JPEGs to ``folder``/images and yield the split, key and record of each chip, in order."""
    pool, rows = _chosen(workdir, manifest, epoch, val_share)
    for split in SPLITS:
        (folder / "images" / split).mkdir(parents=True)
    seed = str(manifest.options.seed).encode()

    def split_of(file_name: str) -> str:
        return "val" if int(fingerprint(seed, file_name.encode())[:8], 16) < val_share * 2**32 else "train"

    categories = {category.id for category in manifest.dataset.categories}
    tasks = [
        (pool, rows[start : start + _AT_ONCE], folder, split_of, categories) for start in range(0, rows.size, _AT_ONCE)
    ]
    with monitor.progress("copying chips", rows.size) as advance:
        for some in workers.threads(_copy, tasks):
            yield from some
            advance(len(some))


def _copy(
    pool: Pool, rows: npt.NDArray[np.int64], folder: Path, split_of: Callable[[str], str], categories: set[int]
) -> list[tuple[str, str, dict[str, Any]]]:
    found = []
    for row in rows:
        jpeg, record = pool.read(int(row))
        try:
            sample = read_record(record, pool.key(int(row)))
        except SampleError:
            raise pool.damaged(int(row)) from None
        if any(label["category_id"] not in categories for label in sample["annotations"]):
            raise pool.damaged(int(row))
        key, split = pool.key(int(row)), split_of(sample["file_name"])
        path = folder / "images" / split / f"{key}.jpg"
        try:
            path.write_bytes(jpeg)
        except OSError as error:
            raise StorageError(
                f"cannot write {path}: {error.strerror}; free some space, or give another {option('out')}"
            ) from error
        found.append((split, key, sample))
    return found


class _CocoFile:
    """A COCO file written image by image; annotations go to a separate file first and are appended at the end."""

    def __init__(self, folder: Path, split: str, dataset: Dataset) -> None:
        self._path, self._waiting = folder / f"instances_{split}.json", folder / f".{split}.annotations"
        self._dataset, self._images, self._labels = dataset, 0, 0
        self._file: IO[bytes]
        self._later: IO[bytes]

    def __enter__(self) -> _CocoFile:
        self._file, self._later = open(self._path, "wb"), open(self._waiting, "w+b")
        about = {"description": f"chips cut by chipper {self._dataset.chipper_version}", "id": self._dataset.epochs_id}
        self._file.write(b'{"info": ' + msgspec.json.encode(about) + b', "images": [')
        return self

    def add(self, file_name: str, sample: dict[str, Any]) -> None:
        """One chip with its labels."""
        self._images += 1
        image = {"id": self._images, "file_name": file_name, "width": sample["width"], "height": sample["height"]}
        source = {"source_id": sample["image_id"], "source_file_name": sample["file_name"], "chip": sample["chip"]}
        self._file.write((b"," if self._images > 1 else b"") + b"\n" + msgspec.json.encode({**image, **source}))
        for label in sample["annotations"]:
            self._labels += 1
            new = {**label, "id": self._labels, "image_id": self._images, "source_id": label["id"]}
            self._later.write((b"," if self._labels > 1 else b"") + b"\n" + msgspec.json.encode(new))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file, self._later:
            if kind is None:
                self._file.write(b'\n], "annotations": [')
                self._later.seek(0)
                shutil.copyfileobj(self._later, self._file)
                categories = msgspec.json.encode(self._dataset.categories)
                self._file.write(b'\n], "categories": ' + categories + b"}\n")
                self._file.flush()
                os.fsync(self._file.fileno())
        self._waiting.unlink()
