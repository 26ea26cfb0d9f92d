"""The content of a workdir as rows (name, text), for the tables of the command line and of notebooks."""

from __future__ import annotations

from typing import Any

from chipper.manifest.dataset import Dataset

Rows = list[tuple[str, str]]


def data_rows(counts: dict[str, Any], listed: str = "") -> Rows:
    """The images and boxes of the data set, and the covered boxes; ``listed`` says where the uncovered boxes are listed."""
    covered = counts["boxes_covered"] / max(counts["boxes"], 1)
    rows = [
        ("images", f"{counts['images']:,} ({counts['images_without_objects']:,} without objects)"),
        ("boxes", f"{counts['boxes']:,} and {counts['crowds']:,} crowd regions"),
        (
            "boxes covered",
            f"{counts['boxes_covered']:,} ({covered:.2%}), "
            f"{counts['boxes_moved_to_coarser_scale']:,} of them at a coarser scale than their own",
        ),
    ]
    for name, reason in (
        ("boxes_in_no_valid_range", "in no valid range"),
        ("boxes_no_chip_can_hold", "larger than any chip"),
    ):
        if counts[name]:
            rows.append(("boxes not covered", f"{counts[name]:,} {reason}{listed}"))
    return rows


def positive_rows(dataset: Dataset) -> Rows:
    """The data set and its positive chips, as rows."""
    counts, listed = dataset.counts, " (listed in skipped.parquet)"
    chips, variants = counts["positive_chips"], dataset.options["variants"]
    total = sum(chips.values())
    return [
        *data_rows(counts, listed),
        *(("left out", f"{number:,} x {reason}{listed}") for reason, number in counts["skipped"].items()),
        *((f"chips at scale {scale}", f"{number:,}") for scale, number in chips.items()),
        ("chips in all", f"{total:,} ({total / counts['images'] / variants:.2f} per image and variant)"),
        ("labels", f"{counts['labels']:,} ({counts['valid_labels']:,} valid)"),
        ("epochs", f"{dataset.options['epochs']}"),
    ]


def negative_rows(dataset: Dataset) -> Rows:
    """The negative chips of a data set, as rows; they must have been mined."""
    assert dataset.negatives is not None
    counts, images = dataset.negatives.counts, dataset.counts["images"]
    chips = counts["negative_chips"]
    total = sum(chips.values())
    return [
        ("images", f"{images:,}"),
        ("proposals used", f"{counts['proposals']:,} ({counts['proposals'] / images:.0f} per image)"),
        *((f"negative chips at scale {scale}", f"{number:,}") for scale, number in chips.items()),
        ("negative chips in all", f"{total:,} ({total / images:.2f} per image)"),
        ("in each epoch", f"at most {dataset.negatives.options['per_image']} per image, drawn anew"),
    ]
