"""The workdir: the place of every table, and dataset.json, which says what belongs together.

.workdir.json         says that chipper wrote the workdir; written first
dataset.json          source, options, categories, counts; written last, so a workdir without it is not finished
images/ annotations/ chips/ labels/      Parquet, in parts of `PART_IMAGES` consecutive images
skipped.parquet       records of the COCO file that were not used
epochs/epoch-000.parquet
shards/  runs/
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from chipper.coco.checking import usable_name
from chipper.columns import NEGATIVE, POSITIVE
from chipper.errors import OptionError, WorkdirError, option
from chipper.html import joined, paragraph, two_columns
from chipper.manifest.dataset import DATASET, REBUILD, Dataset, check_contents
from chipper.manifest.summary import negative_rows, positive_rows
from chipper.manifest.tables import WHOLE, Manifest
from chipper.schemas import ANNOTATIONS, CHIPS, IMAGES, LABELS, SchemaMismatch
from chipper.schemas.table import check_version
from chipper.storage.files import read_struct, translate_os_errors, write_json
from chipper.storage.mark import Mark, read_mark, write_mark

_WRITTEN = (
    DATASET,
    f"shards/{DATASET}",
    "skipped.parquet",
    "epochs/epoch-[0-9]*.parquet",
    *(
        f"{table.name}/{kind}-[0-9][0-9][0-9][0-9][0-9].parquet"
        for table in (IMAGES, ANNOTATIONS, CHIPS, LABELS)
        for kind in (WHOLE, POSITIVE, NEGATIVE)
    ),
)
"""Names of the tables, dataset.json first."""


class Workdir:
    """The paths of the files of one workdir."""

    def __init__(self, path: Path, shards: Path | None = None) -> None:
        self.path = path
        self.shards = shards or path / "shards"
        """The place of the shards: a folder, or a URL."""

    def __repr__(self) -> str:
        return f"Workdir({str(self.path)!r})"

    def _repr_html_(self) -> str:
        if not self.exists():
            return paragraph(f"There is no finished workdir in {self.path} yet.")
        dataset = self.dataset()
        tables = [two_columns(positive_rows(dataset), f"Positive chips in {self.path}")]
        if dataset.negatives is not None:
            tables.append(two_columns(negative_rows(dataset), "Negative chips"))
        return joined(tables)

    @property
    def runs(self) -> Path:
        """Folder of the training runs."""
        return self.path / "runs"

    def run_dir(self, name: str, asked_by: str = "name") -> Path:
        """The folder of the training run ``name``; ``asked_by`` is the option that the name came from.

        Raises:
            OptionError: ``name`` is not a plain name.
        """
        if not usable_name(name) or "/" in name or "\\" in name:
            raise OptionError(
                f"{option(asked_by)}: {name!r} is not a plain name for a folder in {self.runs}; give one like detector-2"
            )
        return self.runs / name

    def exists(self) -> bool:
        """Whether build-positives has finished here."""
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
                f"{path} does not exist: there is no finished workdir; run `chipper build-positives coco.json` first, "
                f"or give another {option('workdir')}"
            ) from None
        except (ValueError, SchemaMismatch, OSError) as error:
            ours = read_mark(self.path) is not None
            cure = REBUILD if ours else f"chipper may not have written it; give another {option('workdir')}"
            raise WorkdirError(f"{path} cannot be used ({error}); {cure}") from None
        return dataset

    def mark(self) -> Mark | None:
        """The workdir's mark; None if there is nothing in it yet, or it was written before there were marks.

        Raises:
            WorkdirError: there are files at the names of its tables that chipper did not write.
        """
        mark = read_mark(self.path)
        if mark is None and (found := next(self._written(), None)) is not None:
            try:
                read_struct(self.path / DATASET, Dataset)
            except (OSError, ValueError):
                raise WorkdirError(
                    f"{found} was not written by chipper, or is damaged; move or rename it, or give another "
                    f"{option('workdir')}"
                ) from None
        return mark

    def claim(self) -> Mark:
        """The workdir's mark; it is written if there is none. Raises the same errors as `mark`, and StorageError."""
        mark = self.mark()
        if mark is None:
            mark = Mark.new()
            write_mark(self.path, mark)
        return mark

    def open(self) -> Manifest:
        """Read dataset.json, which is needed to read the tables. Raises the same errors as `dataset`."""
        return Manifest(self.path, self.dataset())

    def commit(self, dataset: Dataset) -> None:
        """Write dataset.json; this makes the new state of the workdir valid."""
        write_json(self.path / DATASET, dataset)

    def clear(self) -> None:
        """Remove the tables that chipper wrote, dataset.json first. Other files in these folders are kept.

        Shards are kept. The next export uses shards with the same chips again, and removes the others.
        """
        with translate_os_errors(self.path):
            for path in self._written():
                path.unlink()
        for folder in {str(Path(pattern).parent) for pattern in _WRITTEN} - {"."}:
            with contextlib.suppress(OSError):  # missing, or not empty
                (self.path / folder).rmdir()

    def _written(self) -> Iterator[Path]:
        """The files in the workdir at the names of its tables."""
        return (path for pattern in _WRITTEN for path in self.path.glob(pattern))
