"""chipper.report.charts: what is in the figures is in the drawing, in any extreme."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest

from chipper.mining.scales import parse_scales, parse_valid_ranges
from chipper.pictures.palette import INVALID, NEGATIVE, hex_colour, scale_colour
from chipper.report.charts import (
    count_chart,
    label_chart,
    pixel_chart,
    precision_chart,
    shard_chart,
    size_chart,
    training_chart,
)
from chipper.report.svg import NARROW, WIDE, Chart
from chipper.report.tally import SIZE_EDGES

pytest.importorskip("matplotlib", reason="charts need matplotlib")

NAMES = ["512", "1.667", "3"]
RANGES = parse_valid_ranges(None, parse_scales("512,1.667,3"))
BINS = len(SIZE_EDGES) - 1


def check(chart: Chart) -> tuple[list[str], list[str]]:
    """The texts of the wide and the narrow drawing, after a look at what every chart promises."""
    found = []
    for svg, width in ((chart.wide, WIDE), (chart.narrow, NARROW)):
        root = ElementTree.fromstring(svg.replace("xlink:", ""))
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"] == chart.alt
        assert float(root.attrib["width"]) == width
        assert "#0102" not in svg
        assert "#0405" not in svg
        assert "var(--ink)" in svg
        ids = re.findall(r'\bid="([^"]+)"', svg)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= set(ids)
        assert not re.search(r"nan|inf\b", re.sub(r">[^<]*<", "><", svg))
        found.append(["".join(node.itertext()).strip() for node in root.iter() if node.tag.endswith("text")])
    assert set(re.findall(r'\bid="([^"]+)"', chart.wide)).isdisjoint(re.findall(r'\bid="([^"]+)"', chart.narrow))
    return found[0], found[1]


def sizes_of(*values: float) -> np.ndarray:
    counts = np.zeros((2, BINS), np.int64)
    for value in values:
        counts[0, np.searchsorted(SIZE_EDGES, value, side="right") - 1] += 1
    return counts


@pytest.mark.parametrize("values", [(), (0.3,), (2.0**23,), (1, 5000), (30, 31, 32, 100, 400)])
def test_sizes(values: tuple[float, ...]) -> None:
    chart = size_chart(sizes_of(*values), RANGES, NAMES)
    wide, _ = check(chart)
    assert {"scale 512", "scale 1.667", "scale 3", "boxes", "size of a box, sqrt(w * h), source px"} <= set(wide)
    for s in range(3):
        assert hex_colour(scale_colour(s)) in chart.wide
    assert f"{len(values):,} boxes" in chart.alt
    assert "not covered" not in wide


def test_boxes_that_no_chip_covers_have_a_colour() -> None:
    chart = size_chart(sizes_of(30, 40)[::-1], RANGES, NAMES)
    assert hex_colour(INVALID) in chart.wide
    assert "not covered" in check(chart)[0]


@pytest.mark.parametrize("ranges", [":", "100:,:60", "0.5:"])
def test_ranges_of_any_kind(ranges: str) -> None:
    parsed = parse_valid_ranges(ranges, parse_scales(",".join(["1"] * (ranges.count(",") + 1))))
    check(size_chart(sizes_of(20, 90), parsed, NAMES[: len(parsed)]))


@pytest.mark.parametrize(
    "counts", [[[3]], [[]], [[5, 1], [6]], [[0, 4, 2], [6], [1] * 9], [[10, *[0] * 500, 1], [11]], [[1] * 40]]
)
def test_counts(counts: list[list[int]]) -> None:
    names = NAMES[: len(counts)]
    chart = count_chart("c", [np.array(c, dtype=np.int64) for c in counts], names, "chips", "images", "Histograms.")
    wide, narrow = check(chart)
    for name, count in zip(names, counts):
        title = f"scale {name}" if any(count[1:]) else f"scale {name}: none"
        assert title in wide
        assert title in narrow


def test_labels() -> None:
    labels = np.arange(18).reshape(2, 3, 3)
    wide, narrow = check(label_chart(labels, NAMES))
    assert {"valid", "invalid", "ignored", "positive, 512", "negative, 3"} <= set(wide)
    assert "pos., 512" in narrow
    labels[1] = 0
    assert "negative, 3" not in check(label_chart(labels, NAMES))[0]
    check(label_chart(labels * 0, NAMES))


def test_pixels() -> None:
    rows = [("chips", [(0.5, "#112233"), (0.25, hex_colour(NEGATIVE))]), ("all", [(3.0, "#aaaaaa")]), ("none", [])]
    chart = pixel_chart(rows, "Pixels.")
    wide, _ = check(chart)
    assert {"chips", "0.75", "3.00", "0.00"} <= set(wide)
    assert "#112233" in chart.wide


@pytest.mark.parametrize("size", [[1000], [10**9, 2 * 10**9], [5] * 300])
def test_shards(size: list[int]) -> None:
    check(shard_chart(np.array(size), np.array(size) / 7))


def curves(**changes: Any) -> dict[str, np.ndarray]:
    step = np.arange(1.0, 31)
    return {"step": step, "loss": 5 / step, "lr": step / 100, "chips_per_s": step, "data_wait": step / 60, **changes}


def test_training() -> None:
    names = [f"part_{k}" for k in range(9)]
    wide, _ = check(training_chart("0", curves(**{n: np.arange(30.0) for n in names}), names, "Training."))
    assert {"loss", *names, "learning rate", "chips per second", "share of time waiting", "step"} <= set(wide)
    without = {k: v for k, v in curves().items() if k not in ("lr", "data_wait")}
    check(training_chart("1", without, [], "Training."))
    broken = np.where(np.arange(30) % 7, np.nan, 3.0)
    check(training_chart("2", curves(loss=broken), [], "Training."))


def test_precision() -> None:
    recall = np.linspace(0, 1, 101).tolist()
    check(precision_chart("0", recall, [recall] * 6, recall, "Precision."))


def test_a_chart_is_always_the_same() -> None:
    assert size_chart(sizes_of(30), RANGES, NAMES) == size_chart(sizes_of(30), RANGES, NAMES)
