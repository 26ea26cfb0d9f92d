"""chipper.report.runs: curves of any length become short ones, and half a run is no error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chipper.manifest.workdir import Workdir
from chipper.report.runs import POINTS, read_runs, thinned


@pytest.mark.parametrize("steps", [0, 1, 2, POINTS, 2 * POINTS - 1, 2 * POINTS, 2 * POINTS + 1, 5000, 12345])
def test_curves_keep_their_mean(steps: int) -> None:
    rows = [{"step": float(k), "loss": float((k * 37) % 11)} for k in range(1, steps + 1)]
    last, curves, block = thinned(iter(rows))
    if not steps:
        assert (last, curves, block) == ({}, {}, 1)
        return
    assert last == rows[-1]
    number = curves["loss"].size
    assert number <= 2 * POINTS
    assert number >= min(steps, POINTS)
    assert number == -(-steps // block)
    whole = steps // block
    expected = np.array([row["loss"] for row in rows])
    np.testing.assert_allclose(curves["loss"][:whole], expected[: whole * block].reshape(-1, block).mean(axis=1))
    assert curves["step"][-1] == pytest.approx(np.mean([row["step"] for row in rows[(number - 1) * block :]]))
    assert (np.diff(curves["step"]) > 0).all()


def test_a_whole_run(whole: Workdir) -> None:
    (run,), _ = read_runs(whole.runs)
    assert (run.name, run.steps, run.total_steps, run.problem) == ("detector", 40, 40, None)
    assert run.losses == ["rpn_objectness", "rpn_box", "roi_class", "roi_box"]
    assert run.curves["loss"][0] == pytest.approx(0.6 + 0.1 + 3 + 0.2)
    assert run.evaluation is not None
    assert run.evaluation.numbers["AP"] == 0.31
    assert run.training["model"] == "tiny"


@pytest.mark.parametrize(
    ("damage", "says", "steps"),
    [
        (lambda f: (f / "metrics.jsonl").unlink(), "no step was done", 0),
        (lambda f: (f / "metrics.jsonl").write_text((f / "metrics.jsonl").read_text()[:-30]), None, 39),
        (lambda f: (f / "metrics.jsonl").write_text("\x00{{{ 3"), None, 0),
        (lambda f: (f / "metrics.jsonl").write_text('[1]\n"x"\n{"a": 1}\n'), None, 0),
        (lambda f: (f / "run.json").write_text("{"), "run.json cannot be read", 40),
        (lambda f: (f / "run.json").write_bytes(b"\xff"), "run.json cannot be read", 40),
        (lambda f: (f / "evaluation.json").write_text("[]"), "evaluation.json cannot be read", 40),
    ],
)
def test_half_a_run(
    whole: Workdir, tmp_path: Path, write_run: Any, damage: Callable[[Path], Any], says: str | None, steps: int
) -> None:
    class Place:
        runs = tmp_path
        dataset = whole.dataset

    damage(write_run(Place(), "broken"))
    (run,), _ = read_runs(tmp_path)
    assert run.steps == steps
    assert says in run.problem if says else run.problem is None  # type: ignore[operator]


def test_numbers_that_are_none(tmp_path: Path) -> None:
    """Python writes NaN and Infinity, which are no JSON; they are read as they are."""
    (tmp_path / "a").mkdir()
    config = {"chipper_version": "1", "dataset_id": "x", "positive_options": {}, "training": {}}
    (tmp_path / "a" / "run.json").write_text(json.dumps(config))
    (tmp_path / "a" / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\n{"step": 2, "loss": Infinity}\n')
    (run,), _ = read_runs(tmp_path)
    assert np.isnan(run.curves["loss"][0])
    assert run.last == {"step": 2.0, "loss": float("inf")}
    assert read_runs(tmp_path / "none") == ([], [])
