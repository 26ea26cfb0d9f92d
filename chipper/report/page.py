"""The page of a report: one HTML file that loads nothing, for wide and narrow, bright and dark screens."""

from __future__ import annotations

from pathlib import Path

from chipper.html import Markup, joined, paragraph, tag
from chipper.manifest.workdir import Workdir
from chipper.mining.plan import WHOLE_IMAGE_PIXELS
from chipper.parallel.progress import SILENT, Monitor
from chipper.report import boxes, chips, results, training
from chipper.report.collect import Report, collect
from chipper.report.findings import findings
from chipper.report.formatting import many, number, share
from chipper.report.style import STYLE
from chipper.report.svg import need_matplotlib
from chipper.storage.files import atomic
from chipper.storage.replacing import head, require_replaceable

SECTIONS = (
    ("source", "What was read", boxes.source),
    ("sizes", "Box sizes", boxes.sizes),
    ("chips", "Chips per image", chips.chips),
    ("coverage", "Coverage", boxes.coverage),
    ("labels", "Labels", chips.labels),
    ("pixels", "Pixels", chips.pixels),
    ("negatives", "Negative chips", chips.negatives),
    ("shards", "Shards", results.shards),
    ("samples", "Sample chips", results.samples),
    ("runs", "Training runs", training.runs),
    ("made", "How it was made", results.made),
)
"""Anchor, heading, and the function that makes the content."""


_GENERATOR = "chipper report"


def write_report(workdir: Workdir, out: Path, *, monitor: Monitor = SILENT) -> Report:
    """Write ``out``, one self-contained HTML page; the same workdir gives the same bytes.

    Raises:
        DependencyError: matplotlib is not installed.
        WorkdirError: build-positives has not finished, or its tables do not belong together.
        OptionError: there is a file at ``out`` that is not a report.
        StorageError: the page cannot be written.
    """
    require_replaceable(out, "a report", lambda path: _GENERATOR.encode() in head(path))
    need_matplotlib()  # checked first: reading a large workdir takes minutes
    report = collect(workdir, monitor)
    with atomic(out) as file:
        file.write(page(report).encode())
    return report


def page(report: Report) -> str:
    """The complete page."""
    title = f"Chips of {report.dataset.source.path.rpartition('/')[2]}"
    body = [
        tag("header", tag("h1", title), tag("p", _subtitle(report), class_="sub"), _tiles(report), _notes(report)),
        tag(
            "nav",
            tag("ul", *(tag("li", tag("a", heading, href=f"#{anchor}")) for anchor, heading, _ in SECTIONS)),
            aria_label="Sections",
        ),
        tag(
            "main",
            *(tag("section", tag("h2", heading), content(report), id=anchor) for anchor, heading, content in SECTIONS),
        ),
        tag("footer", "Made by chipper report."),
    ]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name_="generator", content=_GENERATOR),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        # nothing on this page may load anything, whatever a file name says
        tag(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; img-src data:; style-src 'unsafe-inline'",
        ),
        tag("title", title),
        tag("style", Markup(STYLE)),
    ]
    return f'<!DOCTYPE html>\n<html lang="en"><head>{joined(head)}</head>\n<body>{joined(body)}</body></html>\n'


def _subtitle(report: Report) -> str:
    options = report.options
    scales = ", ".join(f"{scale} ({valid})" for scale, valid in zip(options.scales, options.valid_ranges, strict=True))
    return f"Chips of {options.chip_size} px at the scales {scales}; the valid range of each scale in brackets, in source px."


def _tiles(report: Report) -> Markup:
    plan = report.tally.plan
    figures = plan.report(report.options, 0)
    covered = int(report.tally.fates[:, 1].sum())
    negatives = report.dataset.negatives
    mined = sum(negatives.counts["negative_chips"].values()) if negatives else 0
    positives = sum(report.dataset.counts["positive_chips"].values())
    shards, runs = report.shards, len(report.runs) + len(report.other_runs)
    tiles = [
        (number(plan.images), f"images, {plan.images_without_objects:,} without objects"),
        (number(plan.boxes), f"boxes, {share(covered, plan.boxes)} of them covered"),
        (number(positives), f"positive chips, {figures['chips_per_image']:.2f} per image"),
        (number(mined) if negatives else "none", "negative chips"),
        (
            f"{report.epochs[0] * report.options.chip_size**2 / (WHOLE_IMAGE_PIXELS * plan.images):.2f} x",
            f"the pixels of 800 x 1333 images, in {many(report.epochs[0], 'chip')} per epoch",
        ),
        (
            number(shards.expected) if shards else "none",
            "shards"
            if shards is None
            else f"shards, {'all complete' if not shards.missing_count else f'{shards.missing_count:,} missing'}",
        ),
        (
            number(runs) if runs else "none",
            "training runs" if runs != 1 else "training run",
        ),
    ]
    return tag("ul", *(tag("li", tag("b", value), tag("span", words)) for value, words in tiles), class_="tiles")


def _notes(report: Report) -> Markup:
    found = findings(report)
    if not found:
        return tag("div", paragraph("Nothing stands out."), class_="notes fine")
    return tag("div", tag("strong", "Worth a look"), tag("ul", *found), class_="notes")
