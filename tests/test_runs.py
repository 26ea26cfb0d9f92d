"""chipper.runs: the one reader of a training run's folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from chipper.errors import CheckpointError, OptionError
from chipper.manifest.workdir import Workdir
from chipper.mining.options import PositiveOptions
from chipper.runs import (
    CONFIG,
    METRICS,
    RunConfig,
    StepReport,
    checkpoints,
    drop_later_steps,
    find_run,
    loss_names,
    read_config,
    read_metrics,
    row_of,
)
from chipper.storage.files import write_json


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    return Workdir(tmp_path)


def begin(workdir: Workdir, name: str, at: int, **training: Any) -> Path:
    """A run with one checkpoint, made at second ``at``."""
    folder = workdir.runs / name
    write_json(folder / CONFIG, RunConfig("1", "x", PositiveOptions.parse().as_text(), training))
    checkpoint = folder / "checkpoint-00000001.pt"
    checkpoint.touch()
    os.utime(checkpoint, (at, at))
    return folder


def test_the_newest_run_is_found(workdir: Workdir) -> None:
    detector, rpn = begin(workdir, "detector", 100), begin(workdir, "rpn", 200, rpn_only=True)
    assert find_run(workdir) == rpn
    assert find_run(workdir, detects=True) == detector
    assert find_run(workdir, "rpn", detects=True) == rpn
    assert find_run(workdir, "planned") == workdir.runs / "planned"
    with pytest.raises(OptionError, match="not a plain name"):
        find_run(workdir, "../rpn")


def test_where_no_run_will_do(workdir: Workdir) -> None:
    with pytest.raises(CheckpointError, match="no training run in .*/runs; run `chipper train --shards` first"):
        find_run(workdir)
    begin(workdir, "rpn", 100, rpn_only=True)
    with pytest.raises(CheckpointError, match="no training run of more than an RPN"):
        find_run(workdir, detects=True)


def test_checkpoints_are_known_by_their_whole_name(tmp_path: Path) -> None:
    for name in ("checkpoint-00000007.pt", "checkpoint-00000003.pt", "checkpoint-best.pt", ".checkpoint-00000009.pt.x"):
        (tmp_path / name).touch()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-00000003.pt", "checkpoint-00000007.pt"]


@pytest.mark.parametrize("text", ["{", "[]", '{"chipper_version": "1", "dataset_id": "x", "training": {}}'])
def test_a_config_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    with pytest.raises(CheckpointError, match="no training run lies there"):
        read_config(tmp_path)
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(CheckpointError, match="cannot be used"):
        read_config(tmp_path)


REPORT = StepReport(3, 9, 1, 0.1, 3.0, {"rpn_box": 1.0, "mask": 2.0}, {"rois": 5}, 1.5, 20.0, 0.25)


def test_a_row_holds_all_of_a_step() -> None:
    row = row_of(REPORT)
    assert row == {
        "step": 3, "total_steps": 9, "epoch": 1, "lr": 0.1, "loss": 3.0, "gradient_norm": 1.5, "chips_per_s": 20.0,
        "data_wait": 0.25, "rpn_box": 1.0, "mask": 2.0, "rois": 5,
    }  # fmt: skip
    assert loss_names(row) == ["rpn_box", "mask"]


@pytest.mark.parametrize(
    "end", ["", '{"step": 4, "cut sho', "[1]\n", '"x"\n', '{"loss": 1}\n', '{"step": "4"}\n', "[" * 9999]
)
def test_metrics_end_where_a_crash_left_them(tmp_path: Path, end: str) -> None:
    (tmp_path / METRICS).write_text('{"step": 1}\n{"step": 2, "loss": NaN}\n{"step": 3}\n' + end)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3]
    drop_later_steps(tmp_path, 2)
    assert (tmp_path / METRICS).read_text() == '{"step": 1}\n{"step": 2, "loss": NaN}\n'
    drop_later_steps(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []
    drop_later_steps(tmp_path, 2)
