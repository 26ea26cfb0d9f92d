"""chipper.inference.scales: what a run looks at when nothing else is asked for."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from chipper.errors import OptionError
from chipper.inference.scales import InferenceScales, widened
from chipper.mining.options import PositiveOptions
from chipper.mining.scales import ValidRange
from chipper.runs import CONFIG, RunConfig
from chipper.storage.files import write_json


@pytest.fixture
def run(tmp_path: Path) -> Path:
    options = PositiveOptions.parse("512,1.667,3", "120:,32:150,:80").as_text()
    write_json(tmp_path / CONFIG, RunConfig("1", "x", options, {}))
    return tmp_path


def text(pyramid: InferenceScales) -> list[str]:
    return [f"{s} for {r}" for s, r in zip(pyramid.scales, pyramid.valid_ranges, strict=True)]


def test_a_run_looks_at_its_own_scales_with_the_published_ranges(run: Path) -> None:
    assert text(InferenceScales.of(run)) == ["512 for 75:", "1.667 for 32:180", "3 for :90"]
    assert text(InferenceScales.of(run).single()) == ["1.667 for :"]


def test_what_is_given_wins(run: Path) -> None:
    assert text(InferenceScales.of(run, "400,1,2")) == ["400 for 75:", "1 for 32:180", "2 for :90"]
    assert text(InferenceScales.of(run, "400", "10:")) == ["400 for 10:"]
    with pytest.raises(OptionError, match="names 1 scales, the run has 3"):
        InferenceScales.of(run, "400")


def test_other_ranges_are_widened_alike() -> None:
    assert widened(ValidRange(60)) == ValidRange(37.5)
    assert widened(ValidRange(10, 50)) == ValidRange(10, 60)
    assert math.isinf(widened(ValidRange()).high)


def test_factors_are_those_of_the_image(run: Path) -> None:
    assert InferenceScales.of(run).factors((1024, 500)) == [0.5, 1.667, 3.0]
