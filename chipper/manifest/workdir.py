"""The workdir: where every table lies, and dataset.json, which says what belongs together.

dataset.json          source, options, categories, counts; written last, so a workdir without it is not finished
images/ annotations/ chips/ labels/      Parquet, in parts of `PART_IMAGES` consecutive images
skipped.parquet       records of the COCO file that were not used
epochs/epoch-000.parquet
shards/  runs/
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from chipper.coco.checking import usable_name
from chipper.columns import (
    NEGATIVE,
    POSITIVE,
    Annotations,
    Chips,
    Columns,
    Images,
    Ints,
    Labels,
    concatenate,
)
from chipper.errors import ChipperError, OptionError, WorkdirError, option
from chipper.images.finding import find_image_dir
from chipper.manifest.checking import (
    fault_of_annotations,
    fault_of_chips,
    fault_of_images,
    fault_of_labels,
    fault_of_references,
)
from chipper.manifest.dataset import DATASET, REBUILD, REMINE, Dataset, check_contents
from chipper.schemas import ANNOTATIONS, CHIPS, EPOCH, IMAGES, LABELS, SchemaMismatch, Table
from chipper.schemas.table import check_version
from chipper.storage.files import (
    read_struct,
    read_table,
    translate_os_errors,
    write_json,
    write_table,
)
from chipper.storage.locations import is_local, location

T = TypeVar("T", bound=Columns)


class Workdir:
    """The files of one workdir; reading checks that a table is whole, of this version, and belongs to dataset.json."""

    def __init__(self, path: Path, shards: Path | None = None) -> None:
        self.path = path
        self.shards = shards or path / "shards"
        """Where the shards lie: a folder, or a URL."""

    @property
    def runs(self) -> Path:
        """Folder of the training runs."""
        return self.path / "runs"

    def run_dir(self, name: str, asked_by: str = "name") -> Path:
        """The folder of the training run ``name``, which the option ``asked_by`` gave.

        Raises:
            OptionError: it is not a plain name.
        """
        if not usable_name(name) or "/" in name or "\\" in name:
            raise OptionError(
                f"{option(asked_by)}: {name!r} is not a plain name for a folder in {self.runs}; give one like detector-2"
            )
        return self.runs / name

    def exists(self) -> bool:
        """Whether a finished build-positives lies here."""
        return (self.path / DATASET).exists()

    def dataset(self) -> Dataset:
        """Read dataset.json.

        Raises:
            WorkdirError: it is missing, unreadable, or of an unknown version.
        """
        path = self.path / DATASET
        try:
            dataset = read_struct(path, Dataset)
            check_version(dataset.format_version)
            check_contents(dataset)
        except FileNotFoundError:
            raise WorkdirError(
                f"{path} does not exist: no finished workdir lies there; run `chipper build-positives coco.json` first, "
                f"or give another {option('workdir')}"
            ) from None
        except (ValueError, SchemaMismatch, OSError) as error:
            raise WorkdirError(f"{path} cannot be used ({error}); {REBUILD}") from None
        return dataset

    def commit(self, dataset: Dataset) -> None:
        """Write dataset.json: from here on the workdir is what it says."""
        write_json(self.path / DATASET, dataset)

    def clear(self) -> None:
        """Remove the tables that chipper wrote, dataset.json first, and nothing else: folders of these names may be others'.

        Shards stay. Those of the same chips are used again, and the next export removes the others.
        """
        written = [DATASET, f"shards/{DATASET}", "skipped.parquet", "epochs/epoch-[0-9]*.parquet"]
        for folder in (IMAGES.name, ANNOTATIONS.name, CHIPS.name, LABELS.name):
            written += [f"{folder}/{kind}-[0-9][0-9][0-9][0-9][0-9].parquet" for kind in ("part", POSITIVE, NEGATIVE)]
        with translate_os_errors(self.path):
            for pattern in written:
                for path in self.path.glob(pattern):
                    path.unlink()
        for folder in {str(Path(pattern).parent) for pattern in written} - {"."}:
            with contextlib.suppress(OSError):  # missing, or not empty
                (self.path / folder).rmdir()

    def image_dir(self, dataset: Dataset, given: Path | None) -> Path:
        """The folder of the images: ``given``, the one recorded, or one of the usual places beside the COCO file.

        Raises:
            ImageDirectoryError: none of them holds the images.
        """
        names = [str(name) for part in range(dataset.parts) for name in self.images(dataset, part).file_name]
        recorded = None
        if dataset.image_dir and given is None:
            recorded = self._recorded(dataset.image_dir)
        found = find_image_dir(self.path / dataset.source.path, names, given or recorded)
        return found.resolve() if is_local(found) else found

    def _recorded(self, image_dir: str) -> Path:
        """The image directory that dataset.json names, a URL or seen from the workdir."""
        try:
            return location(image_dir) if "://" in image_dir else self.path / image_dir
        except ChipperError as error:
            raise WorkdirError(
                f"{self.path / DATASET}: the image_dir {error}, or another one with {option('image_dir')}"
            ) from None

    # --- tables in parts ---

    def write_part(self, table: Table, part: int, columns: Columns, belongs_to: str, kind: str = "part") -> None:
        """Write one part of the images, annotations, chips or labels table."""
        write_table(self._part(table, kind, part), columns.to_arrow(table, belongs_to))

    def images(self, dataset: Dataset, part: int) -> Images:
        """Images of one part."""
        images = self._read(Images, IMAGES, "part", part, dataset.id)
        return self._checked(images, fault_of_images(images), IMAGES, "part", part)

    def image_places(self, dataset: Dataset, part: int) -> tuple[Ints, Ints]:
        """Ids of the images of one part, and their places in the COCO file."""
        table = self._table(IMAGES, "part", part, dataset.id, ["image_id", "position"])
        return table["image_id"].to_numpy(), table["position"].to_numpy()

    def annotations(self, dataset: Dataset, part: int) -> Annotations:
        """Annotations of one part."""
        annotations = self._read(Annotations, ANNOTATIONS, "part", part, dataset.id)
        return self._checked(annotations, fault_of_annotations(annotations), ANNOTATIONS, "part", part)

    def boxes(self, dataset: Dataset, part: int) -> Annotations:
        """Annotations of one part without masks and keypoints, which can be most of it."""
        outlines = [column.name for column in ANNOTATIONS.columns if column.nullable]
        wanted = [column.name for column in ANNOTATIONS.columns if not column.nullable]
        table = self._table(ANNOTATIONS, "part", part, dataset.id, wanted)
        for name in outlines:
            table = table.append_column(name, pa.nulls(len(table), pa.binary()))
        return Annotations.from_arrow(table)

    def chips(self, dataset: Dataset, part: int, kind: str) -> Chips:
        """Chips of one kind and part."""
        chips = self._read(Chips, CHIPS, kind, part, self._id(dataset, kind))
        return self._checked(chips, fault_of_chips(chips, dataset.positive_options), CHIPS, kind, part)

    def chip_ids(self, dataset: Dataset, part: int, kind: str) -> tuple[Ints, Ints]:
        """Ids and variants of the chips of one kind and part."""
        table = self._table(CHIPS, kind, part, self._id(dataset, kind), ["chip_id", "variant"])
        return table["chip_id"].to_numpy(), table["variant"].to_numpy()

    def labels(self, dataset: Dataset, part: int, kind: str) -> Labels:
        """Labels of one kind and part."""
        labels = self._read(Labels, LABELS, kind, part, self._id(dataset, kind))
        return self._checked(labels, fault_of_labels(labels), LABELS, kind, part)

    def check_references(
        self,
        dataset: Dataset,
        part: int,
        kind: str,
        images: Images,
        annotations: Annotations,
        chips: Chips,
        labels: Labels | None = None,
    ) -> None:
        """Raise WorkdirError where the tables of one part do not belong together, row by row."""
        categories = np.array([category.id for category in dataset.categories], np.int64)
        self._checked(chips, fault_of_references(images, annotations, chips, labels, categories), CHIPS, kind, part)

    def label_categories(self, dataset: Dataset, part: int, kind: str) -> Ints:
        """Category ids among the labels of one kind and part."""
        table = self._table(LABELS, kind, part, self._id(dataset, kind), ["category_id"])
        return np.unique(table["category_id"].to_numpy())

    def kinds(self, dataset: Dataset) -> tuple[str, ...]:
        """The kinds of chips that there are."""
        return (POSITIVE, NEGATIVE) if dataset.negatives else (POSITIVE,)

    def all_images(self, dataset: Dataset) -> Images:
        """Images of all parts."""
        return concatenate([self.images(dataset, part) for part in range(dataset.parts)])

    def all_chips(self, dataset: Dataset, kind: str) -> Chips:
        """Chips of one kind, all parts."""
        return concatenate([self.chips(dataset, part, kind) for part in range(dataset.parts)])

    def epoch_path(self, epoch: int) -> Path:
        """The file of one epoch."""
        return self.path / "epochs" / f"epoch-{epoch:03d}.parquet"

    def epoch(self, dataset: Dataset, epoch: int) -> Any:
        """Chip ids of one epoch, in order."""
        return self._epoch(dataset, epoch, ["chip_id"])["chip_id"].to_numpy()

    def epoch_size(self, dataset: Dataset, epoch: int) -> int:
        """How many chips an epoch lists; its list is not read."""
        return int(self._epoch(dataset, epoch, []).num_rows)

    def _epoch(self, dataset: Dataset, epoch: int, columns: list[str]) -> pa.Table:
        # a run of mine-negatives that was stopped may have left its epochs beside an older dataset.json
        cure = REMINE if dataset.negatives else f"{REMINE}, or {REBUILD.removeprefix('run ')}"
        return read_table(self.epoch_path(epoch), EPOCH, dataset.epochs_id, cure, columns)

    def _id(self, dataset: Dataset, kind: str) -> str:
        if kind == POSITIVE:
            return dataset.id
        assert dataset.negatives is not None
        return dataset.negatives.id

    def _part(self, table: Table, kind: str, part: int) -> Path:
        return self.path / table.name / f"{kind}-{part:05d}.parquet"

    def _checked(self, columns: T, fault: str, table: Table, kind: str, part: int) -> T:
        """``columns``, unless there is a fault in them."""
        if fault:
            path, cure = self._part(table, kind, part), REMINE if kind == NEGATIVE else REBUILD
            raise WorkdirError(f"{path}, or a table it belongs to, has been altered: it holds {fault}; {cure}")
        return columns

    def _read(self, columns: type[T], table: Table, kind: str, part: int, belongs_to: str) -> T:
        return columns.from_arrow(self._table(table, kind, part, belongs_to))

    def _table(self, table: Table, kind: str, part: int, belongs_to: str, columns: list[str] | None = None) -> pa.Table:
        cure = REMINE if kind == NEGATIVE else REBUILD
        return read_table(self._part(table, kind, part), table, belongs_to, cure, columns)
