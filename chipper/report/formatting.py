"""Helpers for words, numbers and small elements that several sections of a report use."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from chipper.columns import Ints
from chipper.html import Markup, joined, tag
from chipper.pictures.palette import hex_colour, scale_colour
from chipper.report.collect import Report
from chipper.report.svg import Chart

CLASSES_SHOWN = 30  # rows of a table; the rest is summed up or folded


def share(part: float, whole: float) -> str:
    """A part as a percentage; never rounded to 0 % or 100 %."""
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
    """A count with thousands separators."""
    return f"{value:,}"


def many(value: int, one: str, more: str | None = None) -> str:
    """A count with its noun."""
    return f"{value:,} {one if value == 1 else more or one + 's'}"


def chart(drawn: Chart) -> Markup:
    """A chart in its version for wide pages and its version for narrow ones."""
    return tag(
        "div",
        tag("div", Markup(drawn.wide), class_="wide"),
        tag("div", Markup(drawn.narrow), class_="narrow"),
        class_="figure",
    )


def swatch(colour: str) -> Markup:
    """A small patch of a colour, for a legend."""
    return tag("span", class_="swatch", style=f"background:{colour}")


def scale_names(report: Report) -> list[str]:
    """The scales as written in options."""
    return [str(scale) for scale in report.options.scales]


def scale_cell(report: Report, s: int) -> Markup:
    """A scale with its colour."""
    return joined([swatch(hex_colour(scale_colour(s))), scale_names(report)[s]])


def median_of(counts: Ints) -> float:
    """The median of numbers where n occurs ``counts[n]`` times; 0 without any number."""
    total = int(counts.sum())
    if not total:
        return 0.0
    ends = np.cumsum(counts)
    low, high = (int(np.searchsorted(ends, k, side="right")) for k in ((total - 1) // 2, total // 2))
    return (low + high) / 2


def word(value: Any) -> str:
    """The value of an option as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        "default"
        if value is None
        else textwrap.shorten(repr(value) if isinstance(value, list | dict) else str(value), 300)
    )


def folded(title: str, inside: Markup) -> Markup:
    """Content that a reader can unfold."""
    return tag("details", tag("summary", title), inside)
