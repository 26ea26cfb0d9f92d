"""The sections of the report on chips: how many, what they show, what they cost."""

from __future__ import annotations

import numpy as np

from chipper.columns import NEGATIVE, POSITIVE, Ints
from chipper.html import Markup, code, joined, paragraph, table, tag
from chipper.mining.plan import USUAL_OVERLAP, WHOLE_IMAGE_PIXELS
from chipper.pictures.palette import NEGATIVE as NEGATIVE_COLOUR
from chipper.pictures.palette import hex_colour, scale_colour
from chipper.report.charts import count_chart, label_chart, pixel_chart
from chipper.report.collect import Report
from chipper.report.formatting import chart, many, median_of, number, scale_cell, scale_names, share, swatch
from chipper.report.svg import BAR


def chips(report: Report) -> Markup:
    """Chips per image and scale."""
    tally, scales = report.tally, range(len(report.options.scales))
    names = scale_names(report)
    counts = [tally.images_with[POSITIVE, s] for s in scales]
    drawn = count_chart(
        "chips",
        counts,
        names,
        "positive chips per image",
        "images",
        "Histograms of the positive chips per image, by scale.",
    )
    rows = [(scale_cell(report, s), str(report.options.valid_ranges[s]), *_spread(counts[s])) for s in scales]
    rows.append((tag("strong", "all"), "", *_spread(tally.images_with[POSITIVE, -1])))
    several = report.options.variants > 1
    busiest = [
        (name, number(image_id), *map(number, of_scale), number(sum(of_scale)))
        for name, image_id, of_scale in tally.busiest
    ]
    return joined(
        [
            paragraph(
                "The number of positive chips per image. A long tail at the finest scale is normal for large images with many "
                "small objects. If a scale has very few chips, it can be left out."
                + (" Figures are those of the first variant." if several else "")
            ),
            chart(drawn),
            table(
                ("scale", "valid range, px", "chips", "images with any", "mean", "median", "most"),
                rows,
                "Positive chips per image",
                words=2,
            ),
            tag("h3", "Images with the most chips"),
            paragraph(
                "Look at them with ",
                code("chipper preview ID"),
                ": they cost most, and wrong annotations often show here first.",
            ),
            table(
                ("file", "image id", *(f"scale {name}" for name in names), "all"), busiest, "Images with the most chips"
            ),
        ]
    )


def _spread(counts: Ints) -> tuple[str, ...]:
    """Chips, images with chips, and mean, median and maximum per image, from the number of images with 0, 1, 2, ... chips."""
    images, total = int(counts.sum()), int((counts * np.arange(counts.size)).sum())
    median = median_of(counts)
    return (
        number(total), number(images - int(counts[0]) if counts.size else 0), f"{total / max(images, 1):.2f}", f"{median:g}",
        number(max(counts.size - 1, 0)),
    )  # fmt: skip


def labels(report: Report) -> Markup:
    """Labels in chips."""
    found = report.tally.labels
    return joined(
        [
            paragraph(
                "The labels in chips. Valid labels are in the valid range of the chip's scale and give positive anchors. Invalid "
                "labels are objects for another scale; anchors near them are not trained. Ignored labels are crowds and objects "
                "smaller than 10 px in the chip. Many invalid labels are normal. If many labels at the finest scale are ignored, "
                "the objects are too small even for it."
            ),
            chart(label_chart(found, scale_names(report))),
        ]
    )


def pixels(report: Report) -> Markup:
    """The cost of an epoch."""
    plan, k2 = report.tally.plan, report.options.chip_size**2
    whole = WHOLE_IMAGE_PIXELS * plan.images
    positives = int(plan.chips.sum())
    epoch = report.epochs[0] if report.epochs else positives
    figures = plan.report(report.options, 0)
    pieces = [(int(plan.chips[s]) * k2 / whole, hex_colour(scale_colour(s))) for s in range(len(plan.chips))]
    if epoch > positives:
        pieces.append(((epoch - positives) * k2 / whole, hex_colour(NEGATIVE_COLOUR)))
    usual, same = figures["sliding_windows"] * k2 / whole, figures["sliding_windows_same_coverage"] * k2 / whole
    pyramid = figures["pyramid_pixels"] / whole
    rows = [
        ("chips of an epoch", pieces),
        ("one image of 800 x 1333", [(1.0, BAR)]),
        ("complete canvases of all scales", [(pyramid, BAR)]),
        (f"sliding windows, {100 * USUAL_OVERLAP:.0f} % overlap", [(usual, BAR)]),
    ]
    mine = sum(value for value, _ in pieces)
    alt = (
        f"Pixels relative to one 800 x 1333 image per source image: chips {mine:.2f}, all canvases {pyramid:.2f}, "
        f"sliding windows {usual:.2f}, for the same coverage {same:.2f}."
    )
    legend = [(swatch(hex_colour(scale_colour(s))), f"scale {name}") for s, name in enumerate(scale_names(report))]
    legend += [(swatch(hex_colour(NEGATIVE_COLOUR)), "negatives")] if epoch > positives else []
    return joined(
        [
            paragraph(
                f"The cost of an epoch: {many(epoch, 'chip')} of {report.options.chip_size} px, {mine:.2f} times the pixels of "
                f"training on one 800 x 1333 image per source image, and {share(mine, pyramid)} of the pixels of all canvases. "
                "If the factor is well above 1.5, a coarser finest scale or --placement slide saves most. Sliding windows that "
                f"cover the same boxes would need {same:.1f} times the pixels of those images."
            ),
            chart(pixel_chart(rows, alt)),
            tag("p", *(tag("span", *entry, class_="key") for entry in legend), class_="legend"),
        ]
    )


def negatives(report: Report) -> Markup:
    """Negative chips, if they were mined."""
    mined = report.dataset.negatives
    if mined is None:
        return paragraph(
            "None were mined. They show a detector background that looks like objects; ",
            code("chipper mine-negatives --proposals rpn.pkl"),
            " adds them.",
        )
    tally, names = report.tally, scale_names(report)
    rows = []
    for s in range(len(names)):
        holding, images = tally.holding[s], tally.images_with[NEGATIVE, s]
        found = int(holding.sum())
        mean = float((holding * np.arange(holding.size)).sum()) / max(found, 1)
        rows.append(
            (scale_cell(report, s), number(found), f"{mean:.1f}", f"{median_of(holding):g}", *_spread(images)[1:])
        )
    drawn = count_chart(
        "negatives", [tally.holding[s] for s in range(len(names))], names, "proposals in a negative chip", "chips",
        "Histograms of the proposals that negative chips were chosen for, by scale.",
    )  # fmt: skip
    return joined(
        [
            paragraph(
                f"Windows with proposals but without objects, mined from {mined.counts['proposals']:,} proposals of ",
                code(mined.proposals_file),
                ". An epoch uses at most ",
                many(int(mined.options["per_image"]), "of them per image", "of them per image"),
                ". If a scale has none, lower ",
                code("--min-proposals"),
                " or give more proposals.",
            ),
            chart(drawn),
            table(
                (
                    "scale",
                    "chips",
                    "proposals, mean",
                    "median",
                    "images with any",
                    "chips per image, mean",
                    "median",
                    "most",
                ),
                rows,
                "Negative chips",
            ),
        ]
    )
