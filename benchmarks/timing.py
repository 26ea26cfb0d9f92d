"""How the benchmarks take time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHARED = Path(__file__).parents[1].parent / "shared"
COCO128 = SHARED / "data" / "coco128"


def best_of(function: Callable[[], Any], repeats: int = 5) -> float:
    """Seconds of the fastest of several runs, after one that warms up."""
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def cpu_of(function: Callable[[], Any]) -> float:
    """CPU seconds of this process for one run, after one that warms up."""
    function()
    started = time.process_time()
    function()
    return time.process_time() - started


def row(name: str, ours: float, other: float, unit: str, what: str) -> None:
    """One line of a table: ours, the other, and how many times faster we are."""
    print(f"| {name} | {ours:.3g} {unit} | {what}: {other:.3g} {unit} | {other / ours:.3g} x |", flush=True)
