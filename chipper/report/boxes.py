"""The sections of a report that speak of what was read, and of its boxes."""

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
    """What was read, and what of it was dropped."""
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
        paragraph("The annotation file, and how much of it could be used."),
        table(("what", "value"), rows, "What was read", words=2),
    ]
    if report.dropped:
        parts += [
            paragraph(
                "Dropped records and boxes that no chip covers, with the first of each reason. ",
                code("skipped.parquet"),
                " names them all. When one reason has many, mend the file and run build-positives again.",
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
    note = f" {many(empty, 'category has', 'categories have')} no box at all." if empty else ""
    return joined(
        [
            tag("h3", "Categories"),
            paragraph(
                "Boxes of each category, how often chips show them, and how many of these labels are valid, which is what "
                f"a detector learns from.{note}"
            ),
            table(("category", "", "boxes", "labels in chips", "valid labels"), rows, "Boxes by category", words=2),
        ]
    )


def sizes(report: Report) -> Markup:
    """Box sizes under the valid ranges."""
    tally = report.tally
    drawn = size_chart(tally.sizes, report.options.valid_ranges, scale_names(report))
    outside = tally.plan.in_no_range
    large = tally.plan.large_enough
    return joined(
        [
            paragraph(
                "How large the boxes are in their images, and which scale is for which sizes. Lanes should overlap and leave no "
                "box between or beside them."
            ),
            chart(drawn),
            paragraph(
                f"{many(outside, 'box lies', 'boxes lie')} in no valid range ({share(outside, tally.plan.boxes)}), and "
                f"{share(large, tally.plan.boxes)} of all boxes are shown with {SMALL:g} px or more in some chip that is for "
                "them. "
                "When the first is not near nothing, or the second under nine in ten, let ",
                code("chipper plan coco.json --suggest"),
                " propose scales and ranges.",
            ),
        ]
    )


def coverage(report: Report) -> Markup:
    """What became of boxes."""
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
                "Whether each box lies whole in some chip of a scale that is for it. A box that no chip of its own scale can "
                "hold "
                "moves to the nearest coarser scale that can. What is covered was looked up in the chips themselves."
            ),
            table(
                (
                    "size of the box, sqrt(w * h)",
                    "boxes",
                    "covered",
                    "of them moved",
                    "in no valid range",
                    "no chip can hold it",
                ),
                by_class,
                "Coverage by size",
            ),
            paragraph(
                "When boxes are in no valid range, widen ",
                code("--valid-ranges"),
                "; when no chip can hold them, add a coarser scale.",
            ),
            table(
                ("scale", "boxes in its range", "covered here", "of all boxes", "covered only here", "moved here"),
                by_scale,
                "Coverage by scale",
            ),
        ]
    )
