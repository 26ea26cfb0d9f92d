"""Time measurement of the benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHARED = Path(__file__).parents[1].parent / "shared"
COCO128 = SHARED / "data" / "coco128"


def best_of(function: Callable[[], Any], repeats: int = 5) -> float:
    """Seconds of the fastest of several runs, after one warm-up run."""
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def cpu_of(function: Callable[[], Any]) -> float:
    """CPU seconds of this process for one run, after one warm-up run."""
    function()
    started = time.process_time()
    function()
    return time.process_time() - started


def row(name: str, ours: float, other: float, unit: str, what: str) -> None:
    """One row of a table: our time, the other time, and the speed-up."""
    print(f"| {name} | {ours:.3g} {unit} | {what}: {other:.3g} {unit} | {other / ours:.3g} x |", flush=True)
