"""chipper.quantities: sizes and times in the unit that a person would use."""

from __future__ import annotations

import pytest

from chipper.quantities import human_bytes, human_seconds


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (118_753_280, "118.8 MB"), (2.5e9, "2.5 GB"), (7e15, "7000.0 TB")],
)
def test_bytes(size: float, words: str) -> None:
    assert human_bytes(size) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1 min 00 s"), (3671, "61 min 11 s")]
)
def test_seconds(seconds: float, words: str) -> None:
    assert human_seconds(seconds) == words
