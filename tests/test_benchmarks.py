"""The training benchmarks run, in their smallest size. The figures are not meaningful."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def benchmark(name: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_claims_and_autofocus(tmp_path: Path) -> None:
    folder = ["--folder", str(tmp_path), "--size", "smoke"]
    out = benchmark("claims", *folder, "--seeds", "1", "--methods", "0,3")
    results = json.loads((tmp_path / "drawn" / "results.json").read_text())
    assert list(results) == ["SNIPER/0", "whole images, one scale/0"]
    assert all(0 <= run["AP"] <= 100 and run["pixels"] > 0 for run in results.values())
    assert "| SNIPER | 1 | " in out
    assert "| (everywhere) | " in benchmark("autofocus", *folder)


@pytest.mark.usefixtures("coco128")
def test_the_speed_of_training() -> None:
    out = benchmark("training", "--models", "tiny", "--steps", "2", "--images", "1")
    assert "| tiny | " in out
