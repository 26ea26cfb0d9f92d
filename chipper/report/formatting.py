"""Words, numbers and small pieces that the sections of a report share."""

from __future__ import annotations

from typing import Any

import numpy as np

from chipper.columns import Ints
from chipper.html import Markup, joined, tag
from chipper.pictures.palette import hex_colour, scale_colour
from chipper.report.collect import Report
from chipper.report.svg import Chart

CLASSES_SHOWN = 30  # in a table; the rest is summed up or folded away


def share(part: float, whole: float) -> str:
    """A part as a percentage, never rounded to all or nothing."""
    if not whole:
        return "–"  # noqa: RUF001
    if part in (0, whole):
        return "100 %" if part else "0 %"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def number(value: float) -> str:
    """A count with its thousands."""
    return f"{value:,}"


def many(value: int, one: str, more: str | None = None) -> str:
    """A count and what is counted."""
    return f"{value:,} {one if value == 1 else more or one + 's'}"


def chart(drawn: Chart) -> Markup:
    """A chart, for a wide and for a narrow page."""
    return tag(
        "div",
        tag("div", Markup(drawn.wide), class_="wide"),
        tag("div", Markup(drawn.narrow), class_="narrow"),
        class_="figure",
    )


def swatch(colour: str) -> Markup:
    """A patch of a colour before the word for it."""
    return tag("span", class_="swatch", style=f"background:{colour}")


def scale_names(report: Report) -> list[str]:
    """The scales as options write them."""
    return [str(scale) for scale in report.options.scales]


def scale_cell(report: Report, s: int) -> Markup:
    """A scale with its colour."""
    return joined([swatch(hex_colour(scale_colour(s))), scale_names(report)[s]])


def median_of(counts: Ints) -> float:
    """The median of numbers of which ``counts[n]`` are n; 0 where there is none."""
    total = int(counts.sum())
    if not total:
        return 0.0
    ends = np.cumsum(counts)
    low, high = (int(np.searchsorted(ends, k, side="right")) for k in ((total - 1) // 2, total // 2))
    return (low + high) / 2


def word(value: Any) -> str:
    """An option's value."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "default" if value is None else str(value)


def folded(title: str, inside: Markup) -> Markup:
    """What a reader may unfold."""
    return tag("details", tag("summary", title), inside)
