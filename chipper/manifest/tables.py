"""The tables of a finished workdir: Parquet, in parts of `PART_IMAGES` consecutive images, and a list for every epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from chipper.columns import NEGATIVE, POSITIVE, Annotations, Chips, Columns, Images, Ints, Labels, concatenate
from chipper.errors import ImageDirectoryError, StorageError, WorkdirError, option
from chipper.images.finding import find_image_dir
from chipper.manifest.checking import (
    fault_of_annotations,
    fault_of_chips,
    fault_of_images,
    fault_of_labels,
    fault_of_references,
)
from chipper.manifest.dataset import REBUILD, REMINE, Dataset
from chipper.mining.options import PositiveOptions
from chipper.schemas import ANNOTATIONS, CHIPS, EPOCH, IMAGES, LABELS, Table
from chipper.storage.files import read_table, write_table
from chipper.storage.locations import is_local

T = TypeVar("T", bound=Columns)
WHOLE = "part"
"""The kind of the tables that are not split into positive and negative."""


def write_part(folder: Path, table: Table, part: int, columns: Columns, belongs_to: str, kind: str = WHOLE) -> None:
    """Write one part of the images, annotations, chips or labels table of the workdir ``folder``."""
    write_table(_part_path(folder, table, part, kind), columns.to_arrow(table, belongs_to))


def _part_path(folder: Path, table: Table, part: int, kind: str) -> Path:
    return folder / table.name / f"{kind}-{part:05d}.parquet"


@dataclass(frozen=True)
class Manifest:
    """The tables that dataset.json describes. Each method reads only the table and the part that it needs.

    Reading checks that the table is complete and of this version, belongs to dataset.json and has valid rows.

    Raises:
        WorkdirError: raised by every method if a table that it reads is missing or cannot be used.
    """

    folder: Path
    dataset: Dataset

    @property
    def options(self) -> PositiveOptions:
        """The options of build-positives."""
        return self.dataset.positive_options

    @property
    def parts(self) -> range:
        """The numbers of the parts."""
        return range(self.dataset.parts)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of chips in this workdir."""
        return (POSITIVE, NEGATIVE) if self.dataset.negatives else (POSITIVE,)

    def images(self, part: int) -> Images:
        """Images of one part."""
        return self._checked(Images, IMAGES, part, WHOLE, fault_of_images)

    def annotations(self, part: int) -> Annotations:
        """Annotations of one part."""
        return self._checked(Annotations, ANNOTATIONS, part, WHOLE, fault_of_annotations)

    def boxes(self, part: int) -> Annotations:
        """Annotations of one part without masks and keypoints, which can be most of the data; rows are not checked."""
        outlines = [column.name for column in ANNOTATIONS.columns if column.nullable]
        table = self._table(ANNOTATIONS, part, WHOLE, [c.name for c in ANNOTATIONS.columns if not c.nullable])
        for name in outlines:
            table = table.append_column(name, pa.nulls(len(table), pa.binary()))
        return Annotations.from_arrow(table)

    def chips(self, part: int, kind: str) -> Chips:
        """Chips of one part and kind."""
        return self._checked(Chips, CHIPS, part, kind, lambda chips: fault_of_chips(chips, self.options))

    def labels(self, part: int, kind: str) -> Labels:
        """Labels of one part and kind."""
        return self._checked(Labels, LABELS, part, kind, fault_of_labels)

    def columns(self, table: Table, part: int, names: list[str], kind: str = WHOLE) -> list[npt.NDArray[Any]]:
        """Some columns of one part of ``table``, without reading the others; their rows are not checked."""
        found = self._table(table, part, kind, names)
        return [found[name].to_numpy() for name in names]

    def image_places(self) -> tuple[Ints, Ints]:
        """Ids of all images, and their positions in the COCO file."""
        ids, positions = zip(
            *(self.columns(IMAGES, part, ["image_id", "position"]) for part in self.parts), strict=True
        )
        return np.concatenate(ids), np.concatenate(positions)

    def all_images(self) -> Images:
        """Images of all parts."""
        return concatenate([self.images(part) for part in self.parts])

    def all_chips(self, kind: str) -> Chips:
        """Chips of one kind, of all parts."""
        return concatenate([self.chips(part, kind) for part in self.parts])

    def check_references(
        self, part: int, kind: str, images: Images, annotations: Annotations, chips: Chips, labels: Labels | None = None
    ) -> None:
        """Raise WorkdirError if rows of one part's tables refer to rows that do not exist."""
        categories = np.array([category.id for category in self.dataset.categories], np.int64)
        self._require(fault_of_references(images, annotations, chips, labels, categories), CHIPS, part, kind)

    def epoch_path(self, epoch: int) -> Path:
        """The file of one epoch."""
        return self.folder / "epochs" / f"epoch-{epoch:03d}.parquet"

    def require_written(self) -> None:
        """Look for every table, before dataset.json says that they are there; workers on other machines wrote them.

        Raises:
            StorageError: a table is missing.
        """
        whole = [(table, WHOLE) for table in (IMAGES, ANNOTATIONS)]
        of_chips = [(table, kind) for table in (CHIPS, LABELS) for kind in self.kinds]
        tables = [_part_path(self.folder, table, part, kind) for table, kind in whole + of_chips for part in self.parts]
        epochs = [self.epoch_path(epoch) for epoch in range(self.options.epochs)]
        for path in (*tables, *epochs):
            if not path.is_file():
                raise StorageError(
                    f"{path} was written, but is not there; check that disk, and run the same command again"
                )

    def epoch(self, epoch: int) -> Ints:
        """Chip ids of one epoch, in order."""
        return np.asarray(self._epoch(epoch, ["chip_id"])["chip_id"].to_numpy())

    def epoch_size(self, epoch: int) -> int:
        """The number of chips of an epoch; the list itself is not read."""
        return int(self._epoch(epoch, []).num_rows)

    def image_dir(self, given: Path | None) -> Path:
        """The folder of the images: ``given``, the recorded one, or one of the usual folders next to the COCO file.

        A recorded URL is not used: who wrote the workdir would choose what this machine asks a server for.

        Raises:
            ImageDirectoryError: none of these folders holds the images, or a URL is recorded and none is given.
        """
        names = [str(name) for part in self.parts for name in self.images(part).file_name]
        recorded = self.dataset.image_dir
        if given is None and recorded:
            if "://" in recorded:
                raise ImageDirectoryError(
                    f"the images of {self.folder} are at {recorded}; give that, or a copy, with {option('image_dir')}"
                )
            given = self.folder / recorded
        found = find_image_dir(self.folder / self.dataset.source.path, names, given)
        return found.resolve() if is_local(found) else found

    def _epoch(self, epoch: int, columns: list[str]) -> pa.Table:
        # an interrupted mine-negatives may have written epochs that are newer than dataset.json
        cure = REMINE if self.dataset.negatives else f"{REMINE}, or {REBUILD.removeprefix('run ')}"
        return read_table(self.epoch_path(epoch), EPOCH, self.dataset.epochs_id, cure, columns)

    def _checked(self, columns: type[T], table: Table, part: int, kind: str, fault_of: Callable[[T], str]) -> T:
        found = columns.from_arrow(self._table(table, part, kind))
        self._require(fault_of(found), table, part, kind)
        return found

    def _require(self, fault: str, table: Table, part: int, kind: str) -> None:
        if fault:
            path = _part_path(self.folder, table, part, kind)
            raise WorkdirError(f"{path}, or a table it belongs to, has been altered: it holds {fault}; {_cure(kind)}")

    def _table(self, table: Table, part: int, kind: str, columns: list[str] | None = None) -> pa.Table:
        belongs_to = self.dataset.epochs_id if kind == NEGATIVE else self.dataset.id
        return read_table(_part_path(self.folder, table, part, kind), table, belongs_to, _cure(kind), columns)


def _cure(kind: str) -> str:
    return REMINE if kind == NEGATIVE else REBUILD
