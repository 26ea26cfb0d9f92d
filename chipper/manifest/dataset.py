"""dataset.json: the source, the options and the counts of a workdir."""

from __future__ import annotations

from typing import Any

import msgspec

from chipper.coco.records import Category
from chipper.errors import option
from chipper.manifest.checking import (
    fault_of_counts,
)
from chipper.mining.options import PositiveOptions
from chipper.schemas import FORMAT_VERSION
from chipper.storage.files import (
    fingerprint,
)

DATASET = "dataset.json"
REBUILD = f"run `chipper build-positives` again with {option('overwrite')}"
REMINE = "run `chipper mine-negatives` again"
_COUNTS = (
    "images",
    "images_without_objects",
    "boxes",
    "crowds",
    "boxes_covered",
    "boxes_moved_to_coarser_scale",
    "boxes_in_no_valid_range",
    "boxes_no_chip_can_hold",
    "labels",
    "valid_labels",
)
"""The counts in `dataset.json`, besides chips by scale and skipped records by reason."""


class SourceFile(msgspec.Struct):
    """The COCO file that a workdir was made from."""

    path: str  # relative to the workdir where possible
    bytes: int
    hash: str  # XXH3-128
    image_records: int
    annotation_records: int


class Negatives(msgspec.Struct):
    """How the negative chips were mined."""

    id: str
    proposals_file: str
    proposals_hash: str
    options: dict[str, Any]
    counts: dict[str, Any]


class Dataset(msgspec.Struct):
    """dataset.json."""

    format_version: str
    chipper_version: str
    id: str  # hash of source and options; every table of the workdir stores it
    source: SourceFile
    image_dir: str | None
    options: dict[str, Any]
    categories: list[Category]
    parts: int
    counts: dict[str, Any]
    negatives: Negatives | None = None

    @property
    def positive_options(self) -> PositiveOptions:
        """The options of build-positives."""
        return PositiveOptions.from_text(self.options)

    @property
    def epochs_id(self) -> str:
        """The id that the epoch tables store."""
        return self.negatives.id if self.negatives else self.id


def check_contents(dataset: Dataset) -> None:
    """Raise ValueError if options or counts are invalid."""
    scales = [str(scale) for scale in dataset.positive_options.scales]
    fault = fault_of_counts(dataset.counts, _COUNTS, "positive_chips", scales)
    if not dataset.categories or dataset.parts < 1:
        fault = "no categories or no parts"
    if dataset.negatives is not None and not fault:
        fault = fault_of_counts(dataset.negatives.counts, ("proposals",), "negative_chips", scales)
        fault = fault or fault_of_counts({**dataset.negatives.options, "": {}}, ("per_image",), "", [])
    if fault:
        raise ValueError(f"it holds {fault}")


def dataset_id(source_hash: str, options: PositiveOptions) -> str:
    """A hash of the inputs and options of build-positives."""
    return fingerprint(
        FORMAT_VERSION.encode(), source_hash.encode(), msgspec.json.encode(options.as_text(), order="sorted")
    )
