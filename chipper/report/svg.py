"""Draw a chart as inline SVG of a page.

Each chart is drawn twice, for wide and for narrow pages, so that its text has the same size as the text of the page; the
style sheet shows one of the two. Text stays text. The colours of ink, grid and muted parts come from the page, so a chart
also works on a dark page. A chart contains only words and numbers of chipper: names of users' files and classes may contain
any characters, so they are written in the page beside the chart.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from chipper.errors import DependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 720, 344  # px
INK, MUTED, GRID, BAR = "#010203", "#040506", "#070809", "#0a0b0c"  # placeholders for the colours of the page
_PAGE_COLOURS = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", BAR: "var(--bar)"}


@dataclass(frozen=True)
class Chart:
    """One chart: its wide and its narrow SVG, and a description in words."""

    wide: str
    narrow: str
    alt: str


def need_matplotlib() -> None:
    """Raise DependencyError if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise DependencyError("a report needs matplotlib; run: pip install 'sniper-chipper[report]'") from None


def draw_chart(name: str, alt: str, height: Callable[[bool], float], draw: Callable[[Figure, bool], None]) -> Chart:
    """Draw a chart. ``draw`` gets the figure and whether it is the wide one; ``height`` returns px."""
    import matplotlib.style
    from matplotlib.figure import Figure

    drawn = []
    for wide in (True, False):
        identity = f"{name}-{'wide' if wide else 'narrow'}"
        style = {
            "svg.fonttype": "none",
            "svg.hashsalt": identity,
            "font.family": "sans-serif",
            "font.size": 12,
            "axes.labelsize": 12,
            "axes.titlesize": 12,
            "axes.titlelocation": "left",
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "axes.titlecolor": INK,
            "axes.facecolor": "none",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.formatter.use_mathtext": False,
            "axes.formatter.offset_threshold": 99,
            "axes.unicode_minus": True,
            "text.color": INK,
            "text.parse_math": False,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "grid.color": GRID,
            "legend.frameon": False,
            "legend.fontsize": 12,
            "figure.facecolor": "none",
        }
        with matplotlib.style.context(["default", style]):  # ignores the user's matplotlibrc
            figure = Figure(figsize=((WIDE if wide else NARROW) / 72, height(wide) / 72), layout="constrained")
            draw(figure, wide)
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
        drawn.append(_inline(buffer.getvalue(), identity, alt))
    return Chart(drawn[0], drawn[1], alt)


def _inline(svg: str, identity: str, alt: str) -> str:
    """Turn an SVG file into an element of a page: unique ids, the colours of the page, and a description in words."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{identity}-", svg)
    for stand_in, colour in _PAGE_COLOURS.items():
        svg = svg.replace(stand_in, colour)
    box = re.search(r'viewBox="0 0 (\S+) (\S+)"', svg)
    assert box is not None
    head = f'<svg class="chart" role="img" aria-label="{escape(alt)}" viewBox="0 0 {box[1]} {box[2]}" width="{box[1]}">'
    return head + svg[svg.index(">") + 1 :].rstrip()


def whole_numbers(axes: Axes) -> None:
    """A few whole numbers on the y axis."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(_short))


def few_ticks(axes: Axes, wide: bool) -> None:
    """As many numbers on the x axis as fit."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=8 if wide else 4))
    axes.xaxis.set_major_formatter(FuncFormatter(_short))


def _short(value: float, _: Any = None) -> str:
    """Write 12,000 as 12k: axes have little room."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 1e4 else f"{value:g}"
