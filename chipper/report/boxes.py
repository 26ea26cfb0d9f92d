"""The sections of the report on the source data and its boxes."""

from __future__ import annotations

import numpy as np

from chipper.columns import Ints
from chipper.html import Markup, code, joined, paragraph, table, tag
from chipper.mining.plan import SMALL
from chipper.quantities import human_bytes
from chipper.report.charts import size_chart
from chipper.report.collect import EXAMPLES, Report
from chipper.report.formatting import CLASSES_SHOWN, chart, many, number, scale_cell, scale_names, share
from chipper.report.tally import CLASSES


def source(report: Report) -> Markup:
    """What was read and what was dropped."""
    dataset, plan = report.dataset, report.tally.plan
    rows = [
        ("file", dataset.source.path.rpartition("/")[2]),
        ("size", human_bytes(dataset.source.bytes)),
        ("hash (XXH3-128)", code(dataset.source.hash)),
        (
            "images",
            f"{plan.images:,} of {dataset.source.image_records:,} in the file, {plan.images_without_objects:,} without objects",
        ),
        (
            "annotations",
            f"{plan.boxes + plan.crowds:,} of {dataset.source.annotation_records:,} in the file: "
            f"{many(plan.boxes, 'box', 'boxes')}, "
            f"{many(plan.crowds, 'crowd region')}",
        ),
        ("categories", f"{len(dataset.categories):,}"),
    ]
    parts = [
        paragraph("The annotation file, and how much of it is usable."),
        table(("what", "value"), rows, "What was read", words=2),
    ]
    if report.dropped:
        parts += [
            paragraph(
                "Dropped records and boxes that no chip covers, with the first examples of each reason. ",
                code("skipped.parquet"),
                " lists all of them. If one reason is frequent, fix the file and run build-positives again.",
            ),
            table(
                ("record", "reason", f"the first {EXAMPLES}", "count"),
                (
                    (record, reason, joined(tag("div", example) for example in dropped.examples), number(dropped.count))
                    for (record, reason), dropped in report.dropped.items()
                ),
                "What was dropped",
                words=3,
            ),
        ]
    else:
        parts.append(paragraph("Nothing was dropped."))
    return joined([*parts, _categories(report)])


def _categories(report: Report) -> Markup:
    counts = report.tally.categories
    names = [category.name for category in report.dataset.categories]
    order = np.lexsort((np.arange(len(names)), -counts[:, 0]))
    most = max(int(counts[:, 0].max(initial=0)), 1)

    def row(name: object, values: Ints) -> tuple[object, ...]:
        bar = tag("span", class_="bar", style=f"width:{100 * int(values[0]) / most:.1f}%")
        return (name, tag("div", bar, class_="track"), *(number(int(v)) for v in values))

    rows = [row(names[k], counts[k]) for k in order[:CLASSES_SHOWN]]
    rest = order[CLASSES_SHOWN:]
    if rest.size:
        total = counts[rest].sum(axis=0)
        rows.append(
            (
                tag("em", f"{many(rest.size, 'other category', 'other categories')}"),
                "",
                *(number(int(v)) for v in total),
            )
        )
    empty = int((counts[:, 0] == 0).sum())
    note = f" {many(empty, 'category has', 'categories have')} no box." if empty else ""
    return joined(
        [
            tag("h3", "Categories"),
            paragraph(
                "Boxes of each category, how often chips show them, and how many of these labels are valid. A detector learns "
                f"from valid labels.{note}"
            ),
            table(("category", "", "boxes", "labels in chips", "valid labels"), rows, "Boxes by category", words=2),
        ]
    )


def sizes(report: Report) -> Markup:
    """Box sizes and the valid ranges."""
    tally = report.tally
    drawn = size_chart(tally.sizes, report.options.valid_ranges, scale_names(report))
    outside = tally.plan.in_no_range
    large = tally.plan.large_enough
    return joined(
        [
            paragraph(
                "The sizes of the boxes in their images, and the valid range of each scale. The ranges should overlap and "
                "contain every box."
            ),
            chart(drawn),
            paragraph(
                f"{many(outside, 'box is', 'boxes are')} in no valid range ({share(outside, tally.plan.boxes)}), and "
                f"{share(large, tally.plan.boxes)} of all boxes have {SMALL:g} px or more in a chip whose valid range "
                "contains them. If the first share is not close to 0 %, or the second is below 90 %, ",
                code("chipper plan coco.json --suggest"),
                " suggests scales and valid ranges.",
            ),
        ]
    )


def coverage(report: Report) -> Markup:
    """Which boxes the chips cover."""
    tally, scales = report.tally, range(len(report.options.scales))
    by_class = [
        (f"{name}, {low:g} to {high:g} px" if np.isfinite(high) else f"{name}, {low:g} px and more", *map(number, row[:1]),
         f"{number(row[1])} ({share(row[1], row[0])})", *map(number, row[2:]))
        for (name, low, high), row in zip(CLASSES, tally.fates.tolist(), strict=True)
    ]  # fmt: skip
    total = tally.fates.sum(axis=0).tolist()
    by_class.append(
        (
            tag("strong", "all"),
            number(total[0]),
            f"{number(total[1])} ({share(total[1], total[0])})",
            *map(number, total[2:]),
        )
    )
    by_scale = [
        (
            scale_cell(report, s),
            number(int(tally.of_scale[s])),
            number(int(tally.covered_at[s])),
            share(int(tally.covered_at[s]), tally.plan.boxes),
            number(int(tally.plan.only_at[s])),
            number(int(tally.moved_to[s])),
        )
        for s in scales
    ]
    return joined(
        [
            paragraph(
                "A box is covered if a chip contains it completely, at a scale whose valid range has the box. If a box does not "
                "fit into a chip of its scale, it moves to the next coarser scale where it fits. Coverage is measured on "
                "the chips themselves."
            ),
            table(
                (
                    "size of the box, sqrt(w * h)",
                    "boxes",
                    "covered",
                    "of these, moved",
                    "in no valid range",
                    "no chip can hold it",
                ),
                by_class,
                "Coverage by size",
            ),
            paragraph(
                "If boxes are in no valid range, widen ",
                code("--valid-ranges"),
                "; if no chip can hold them, add a coarser scale.",
            ),
            table(
                ("scale", "boxes in its range", "covered here", "of all boxes", "covered only here", "moved here"),
                by_scale,
                "Coverage by scale",
            ),
        ]
    )
