"""The sections of the report on shards, sample chips, options and versions."""

from __future__ import annotations

import io

import numpy as np

from chipper import __version__
from chipper.html import Markup, code, joined, jpeg, paragraph, table, tag
from chipper.pictures.drawing import draw_sample
from chipper.pictures.palette import IGNORED, INVALID, VALID, hex_colour
from chipper.quantities import human_bytes
from chipper.report.charts import shard_chart
from chipper.report.collect import Report
from chipper.report.formatting import chart, many, number, scale_names, swatch, word
from chipper.report.shards import SampleChip

SHOWN = 224  # px, of a sample chip in the page
_NEGATIVE_NAMES = {"per_image": "negatives-per-image"}


def shards(report: Report) -> Markup:
    """The exported shards."""
    found = report.shards
    parts = [] if report.shards_problem is None else [paragraph(tag("strong", report.shards_problem))]
    if found is None and parts:
        return parts[0]
    if found is None:
        return paragraph(
            "Nothing was exported, or an export was stopped; ",
            code("chipper export-shards"),
            " starts or continues it.",
        )
    if found.stale:
        parts.append(
            paragraph(
                tag("strong", "These shards contain other chips than the workdir; "),
                "run ",
                code("chipper export-shards"),
                " again.",
            )
        )
    samples = int(found.samples.sum())
    whole = len(found.bytes)
    rows = [
        ("shards", f"{whole:,} of {found.expected:,} are complete"),
        *((f"{kind} shards", number(count)) for kind, count in found.kinds.items()),
        ("chips", number(samples)),
        (
            "bytes",
            f"{human_bytes(int(found.bytes.sum()))}, {human_bytes(int(found.bytes.sum()) / max(samples, 1))} per chip",
        ),
        (
            "JPEG",
            f"quality {found.render.get('quality')}, chroma {found.render.get('subsampling')}, EXIF {found.render.get('exif')}",
        ),
        ("lost", f"{many(found.lost_images, 'image')}, {many(found.lost_chips, 'chip')}"),
    ]
    parts += [
        paragraph(
            "The rendered chips. All shards should have about the same size, except the last one of each kind. ",
            code("chipper verify --deep"),
            " checks every byte.",
        ),
        table(("what", "value"), rows, "Shards", words=2),
    ]
    if whole:
        parts.append(chart(shard_chart(found.bytes, found.bytes / np.maximum(found.samples, 1))))
    if found.missing_count:
        names = ", ".join(found.missing) + (", ..." if found.missing_count > len(found.missing) else "")
        parts.append(
            paragraph(
                f"{many(found.missing_count, 'shard is', 'shards are')} missing or incomplete: {names}. Run ",
                code("chipper export-shards"),
                " again.",
            )
        )
    if found.lost:
        parts += [
            paragraph(
                "Images that could not be rendered; fix them and export with ",
                code("--retry-errors"),
                ". ",
                code("shards/errors.parquet"),
                " lists all of them.",
            ),
            table(
                ("file", "what was wrong", "chips lost"),
                ((n, e, number(c)) for n, e, c in found.lost),
                "Lost images",
                words=2,
            ),
        ]
    return joined(parts)


def samples(report: Report) -> Markup:
    """Some chips from the shards."""
    if not report.samples:
        why = "There are none yet" if report.shards is None else "They could not be read from the shards"
        return paragraph(f"{why}: sample chips come from the shards; run ", code("chipper export-shards"), ".")
    keys = [(VALID, "valid"), (INVALID, "invalid (dashed)"), (IGNORED, "ignored (dotted)")]
    legend = tag(
        "p", *(tag("span", swatch(hex_colour(colour)), word, class_="key") for colour, word in keys), class_="legend"
    )
    parts = [
        paragraph(
            "Some chips of each scale from the shards, with their labels. Boxes should fit tightly around objects. If they are "
            "shifted or rotated, images and annotations do not match (see --exif and --image-dir)."
        ),
        legend,
    ]
    for kind in ("positive", "negative"):
        for s, name in enumerate(scale_names(report)):
            some = [
                chip for chip in report.samples if (chip.record.chip.kind, chip.record.chip.scale_index) == (kind, s)
            ]
            if some:
                parts += [
                    tag("h3", f"{kind.capitalize()}, scale {name}"),
                    tag("div", *map(_sample, some), class_="chips"),
                ]
    return joined(parts)


def _sample(chip: SampleChip) -> Markup:
    drawn = draw_sample(chip.picture, chip.record, SHOWN)
    buffer = io.BytesIO()
    drawn.save(buffer, "JPEG", quality=85)
    place, found, file = chip.record.chip, chip.record.annotations, chip.record.file_name
    valid = sum(label.valid for label in found)
    words = f"{many(len(found), 'label')}, {valid:,} valid" if found else "no labels"
    alt = f"Chip of {file} at x {place.x}, y {place.y} of scale {place.scale:.4g}: {words}"
    return tag(
        "figure", jpeg(buffer.getvalue(), alt, drawn.size), tag("figcaption", tag("span", file, class_="name"), words)
    )


def made(report: Report) -> Markup:
    """Options and versions."""
    dataset = report.dataset
    rows: list[tuple[object, object]] = [
        (f"--{name.replace('_', '-')}", word(value)) for name, value in dataset.options.items()
    ]
    if dataset.negatives is not None:
        rows += [
            (f"--{_NEGATIVE_NAMES.get(name, name.replace('_', '-'))}", word(value))
            for name, value in dataset.negatives.options.items()
        ]
        rows += [("proposals", f"{dataset.negatives.proposals_file}, XXH3-128 {dataset.negatives.proposals_hash}")]
    rows += [
        (
            "epochs written",
            ", ".join(f"{n:,}" for n in report.epochs[:12]) + (", ..." if len(report.epochs) > 12 else "") + " chips",
        ),
        ("id of the chips", code(dataset.id)),
        ("file format", dataset.format_version),
        ("chipper that made the chips", dataset.chipper_version),
        ("chipper that made this page", __version__),
    ]
    return joined(
        [
            paragraph(
                "Options of build-positives",
                " and mine-negatives" if dataset.negatives else "",
                ". The same options and inputs give the same chips and the same page.",
            ),
            table(("option", "value"), rows, "How it was made", words=2),
        ]
    )
