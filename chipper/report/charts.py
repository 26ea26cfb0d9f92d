"""The charts of a report. They contain only words and numbers of chipper: see `svg`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from chipper.columns import Floats, Ints
from chipper.mining.scales import ValidRange
from chipper.pictures.palette import IGNORED, INVALID, NEGATIVE, VALID, hex_colour, scale_colour
from chipper.report.svg import BAR, GRID, INK, MUTED, Chart, draw_chart, few_ticks, whole_numbers
from chipper.report.tally import SIZE_EDGES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_BARS = 40  # of a histogram of counts
LINES = (*(hex_colour(scale_colour(k)) for k in (0, 2, 3)), hex_colour(NEGATIVE), "#9383ea", "#8c6d31", "#5b8c5a")
"""Colours of curves that are visible on bright and dark pages, unlike yellow and indigo."""


# --- source data ---


def size_chart(sizes: Ints, ranges: Sequence[ValidRange], names: Sequence[str]) -> Chart:
    """Histogram of boxes by sqrt(w * h) on a logarithmic axis; above it, one bar per scale shows its valid range.

    ``sizes`` (2, bins of `SIZE_EDGES`) are the boxes that a chip covers, and the others.
    """
    total = sizes.sum(axis=0)
    used = np.flatnonzero(total)
    first, last = (int(used[0]), int(used[-1]) + 1) if used.size else (17, 41)  # 4 to 256 px
    bounds = [b for r in ranges for b in (r.low, r.high) if 0 < b < np.inf]
    low = min(SIZE_EDGES[first], *bounds) / 1.5 if bounds else SIZE_EDGES[first] / 1.5
    high = max(SIZE_EDGES[last], *bounds) * 1.5 if bounds else SIZE_EDGES[last] * 1.5

    def draw(figure: Figure, wide: bool) -> None:
        lane = 22
        lanes, axes = figure.subplots(2, 1, sharex=True, height_ratios=[lane * len(ranges), 230])
        for k, valid in enumerate(ranges):
            left, right = max(valid.low, low), min(valid.high, high)
            colour = hex_colour(scale_colour(k))
            lanes.barh(k, right - left, left=left, height=0.72, color=colour, edgecolor=INK, linewidth=0.6)
            axes.axvspan(left, right, color=colour, alpha=0.08, linewidth=0)
            for bound in (valid.low, valid.high):
                if low < bound < high:
                    axes.axvline(bound, color=colour, linewidth=1.2, linestyle=(0, (4, 3)))
        lanes.set_yticks(range(len(ranges)), [f"scale {name}" for name in names] if wide else list(names))
        lanes.invert_yaxis()
        lanes.tick_params(axis="both", length=0, which="both", labelbottom=False)
        lanes.spines[:].set_visible(False)
        edges, widths = SIZE_EDGES[first:last], np.diff(SIZE_EDGES[first : last + 1])
        for row, colour, label in ((0, BAR, "covered by a chip"), (1, hex_colour(INVALID), "not covered")):
            heights = sizes[row, first:last]
            if heights.any():
                bottom = sizes[:row, first:last].sum(axis=0)
                axes.bar(edges, heights, widths, bottom, align="edge", color=colour, edgecolor=GRID, label=label)
        axes.set_xscale("log", base=2)
        axes.set_xlim(low, high)
        ticks = 2.0 ** np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1)
        step = 1 if wide else max(1, -(-ticks.size // 6))
        axes.set_xticks(ticks[::step], [f"{tick:g}" for tick in ticks[::step]])
        axes.set_xlabel("size of a box, sqrt(w * h), source px")
        axes.set_ylabel("boxes")
        whole_numbers(axes)
        axes.grid(axis="y")
        if sizes[1].any():
            axes.legend(loc="best")

    names_of = ", ".join(f"{name} for {r.words}" for name, r in zip(names, ranges, strict=True))
    alt = f"Histogram of the sizes of {int(total.sum()):,} boxes with the valid ranges of the scales: {names_of}."
    return draw_chart("sizes", alt, lambda wide: 300 + 22 * len(ranges), draw)


# --- chips ---


def count_chart(name: str, counts: Sequence[Ints], names: Sequence[str], x: str, y: str, what: str) -> Chart:
    """Histograms of whole numbers, one per scale, stacked: ``counts[s][n]`` is how often the number n occurs at scale s."""
    longest = max([1, *(c.size for c in counts)])
    width = -(-longest // _MOST_BARS)

    def draw(figure: Figure, wide: bool) -> None:
        rows = np.atleast_1d(figure.subplots(len(counts), 1, sharex=True))
        for k, axes in enumerate(rows):
            binned = _regrouped(counts[k], width, longest)
            left = np.arange(binned.size) * width - 0.5
            some = binned > 0  # an empty bar would be drawn as a line
            axes.bar(
                left[some],
                binned[some],
                width * 0.9,
                align="edge",
                color=hex_colour(scale_colour(k)),
                edgecolor=INK,
                linewidth=0.5,
            )
            axes.set_title(f"scale {names[k]}" + ("" if counts[k][1:].any() else ": none"))
            axes.set_ylim(bottom=0, top=None if some.any() else 1)
            whole_numbers(axes)
            axes.grid(axis="y")
            axes.set_xlim(-0.6, max(longest, 4) - 0.4)
        rows[-1].xaxis.get_major_locator().set_params(integer=True)
        rows[-1].set_xlabel(x)
        figure.supylabel(y, fontsize=12)

    return draw_chart(name, what, lambda wide: 40 + 120 * len(counts), draw)


def label_chart(labels: Ints, names: Sequence[str]) -> Chart:
    """Labels of each kind of chip and scale, stacked: ``labels`` (2 kinds, S, 3) valid, ignored, others."""
    rows = [(kind, s) for kind in range(2) for s in range(len(names)) if kind == 0 or labels[1].any()]

    def draw(figure: Figure, wide: bool) -> None:
        axes = figure.subplots()
        order = ((0, VALID, "valid", ""), (2, INVALID, "invalid", "//"), (1, IGNORED, "ignored", ".."))
        left = np.zeros(len(rows))
        for what, colour, label, hatch in order:
            values = np.array([labels[kind, s, what] for kind, s in rows])
            axes.barh(
                range(len(rows)),
                values,
                left=left,
                height=0.72,
                label=label,
                color=hex_colour(colour),
                edgecolor=INK,
                linewidth=0.5,
                hatch=hatch,
            )
            left = left + values
        kinds = ("positive", "negative") if wide else ("pos.", "neg.")
        axes.set_yticks(range(len(rows)), [f"{kinds[kind]}, {names[s]}" for kind, s in rows])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("labels in chips")
        few_ticks(axes, wide)
        axes.grid(axis="x")
        figure.legend(loc="outside upper left", ncols=3)

    valid, ignored, other = labels.sum(axis=(0, 1)).tolist()
    alt = f"Labels by kind of chip and scale: {valid:,} valid, {other:,} invalid, {ignored:,} ignored."
    return draw_chart("labels", alt, lambda wide: 90 + 26 * len(rows), draw)


def pixel_chart(rows: Sequence[tuple[str, Sequence[tuple[float, str]]]], alt: str) -> Chart:
    """Bars relative to one 800 x 1333 image per source image: label, and pieces of (ratio, colour)."""
    longest = max([1.0, *(sum(value for value, _ in pieces) for _, pieces in rows)])

    def draw(figure: Figure, wide: bool) -> None:
        axes = figure.subplots()
        for k, (label, pieces) in enumerate(rows):
            left = 0.0
            for value, colour in pieces:
                axes.barh(k, value, left=left, height=0.5, color=colour, edgecolor=INK, linewidth=0.5)
                left += value
            axes.annotate(f"{left:.2f}", (left, k), (5, 0), textcoords="offset points", va="center")
            axes.annotate(label, (0, k), (1, 13), textcoords="offset points", va="bottom", fontsize=12)
        axes.axvline(1, color=MUTED, linewidth=1, linestyle=(0, (2, 2)), zorder=0)
        axes.set_xlim(0, longest * (1.1 if wide else 1.18))
        axes.set_ylim(len(rows) - 0.5, -0.85)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("pixels per epoch (1 is an 800 x 1333 image each)")
        few_ticks(axes, wide)

    return draw_chart("pixels", alt, lambda wide: 60 + 48 * len(rows), draw)


def shard_chart(size: Ints, per_chip: Floats) -> Chart:
    """Histograms of the bytes per shard, and per chip in it."""

    def draw(figure: Figure, wide: bool) -> None:
        shape = (1, 2) if wide else (2, 1)
        panels = np.ravel(figure.subplots(*shape))
        for axes, values, label in (
            (panels[0], size / 1e6, "size of a shard, MB"),
            (panels[1], per_chip / 1e3, "kB per chip"),
        ):
            spread = (0, values.max() * 1.05) if values.size and values.max() > 0 else (0, 1)
            axes.hist(values, bins=20, range=spread, color=BAR, edgecolor=GRID)
            axes.set_xlabel(label)
            axes.set_ylabel("shards")
            whole_numbers(axes)
            axes.grid(axis="y")
            few_ticks(axes, wide=False)

    alt = f"Histograms of the sizes of {size.size:,} shards and of the bytes per chip in them."
    return draw_chart("shards", alt, lambda wide: 220 if wide else 400, draw)


# --- runs ---


def training_chart(name: str, curves: dict[str, Floats], losses: Sequence[str], alt: str) -> Chart:
    """Loss and its parts, learning rate, chips per second and the share of time waiting, over the steps."""
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    step = curves["step"]

    def draw(figure: Figure, wide: bool) -> None:
        grid = (
            figure.add_gridspec(2, 3, height_ratios=[1.7, 1])
            if wide
            else figure.add_gridspec(4, 1, height_ratios=[2.2, 1, 1, 1])
        )
        top = figure.add_subplot(grid[0, :])
        top.plot(step, curves["loss"], color=INK, linewidth=1.6, label="loss")
        for k, part in enumerate(losses):
            style = ("-", (0, (5, 2)), (0, (1, 1.5)))[k // len(LINES) % 3]
            top.plot(step, curves[part], color=LINES[k % len(LINES)], linewidth=1.4, linestyle=style, label=part)
        top.set_ylabel("loss")
        top.set_ylim(bottom=0)
        columns = 6 if wide else 2
        top.legend(ncols=columns, loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2, columnspacing=1.2)
        small = (
            (0, "lr", "learning rate"),
            (1, "chips_per_s", "chips per second"),
            (2, "data_wait", "share of time waiting"),
        )
        for k, column, title in small:
            axes = figure.add_subplot(grid[1, k] if wide else grid[k + 1, 0])
            if column in curves:
                axes.plot(step, curves[column], color=LINES[0], linewidth=1.4)
            axes.set_title(title)
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            if column == "data_wait":
                axes.set_ylim(0, 1)
                axes.yaxis.set_major_formatter(PercentFormatter(1))
        for axes in figure.axes:
            axes.grid(axis="y")
            axes.margins(x=0.02)
            axes.set_xlabel("step")
            few_ticks(axes, wide=wide and axes is top)

    return draw_chart(f"run-{name}", alt, lambda wide: 420 if wide else 760, draw)


def precision_chart(
    name: str, recall: Sequence[float], curves: Sequence[Sequence[float]], mean: Sequence[float], alt: str
) -> Chart:
    """Precision over recall: some classes in the colours of `LINES`, and the mean of all classes in ink."""

    def draw(figure: Figure, wide: bool) -> None:
        axes = figure.subplots()
        for k, values in enumerate(curves):
            axes.plot(recall, values, color=LINES[k % len(LINES)], linewidth=1.4)
        axes.plot(recall, mean, color=INK, linewidth=2.4)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        axes.grid()

    return draw_chart(f"precision-{name}", alt, lambda wide: 340 if wide else 300, draw)


def _regrouped(counts: Ints, width: int, longest: int) -> Ints:
    """Sums of ``width`` counts each, for ``longest`` counts."""
    padded = np.zeros(-(-longest // width) * width, np.int64)
    padded[: counts.size] = counts
    return np.asarray(padded.reshape(-1, width).sum(axis=1))
