"""A run's files: run.json, metrics.jsonl and evaluation.json; whatever is in them, a report is made or the error is one line."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from chipper.errors import ChipperError
from chipper.mining.options import PositiveOptions
from chipper.report.runs import read_runs
from chipper.runs import drop_later_steps, read_config

_FOLDER = tempfile.TemporaryDirectory(prefix="chipper-fuzz-")
FILES = ("run.json", "metrics.jsonl", "evaluation.json")


def seeds() -> list[bytes]:
    """The first byte says which file the rest is."""
    options = PositiveOptions.parse().as_text()
    training = {"model": "tiny", "lr": None, "scales": [1, 2], "rpn_only": False}
    run = {
        "chipper_version": "1",
        "dataset_id": "1" * 32,
        "positive_options": options,
        "training": training,
        "pixels": {},
    }
    row = {
        "step": 1,
        "total_steps": 2,
        "epoch": 0,
        "lr": 0.1,
        "loss": 2.0,
        "rpn_box": 1.0,
        "chips_per_s": 9.0,
        "data_wait": 0.1,
    }
    metrics = json.dumps(row) + "\n" + json.dumps(row | {"step": 2, "loss": float("nan")}) + "\n"
    numbers = {"AP": 0.5, "AP50": 0.6, "AP75": 0.4, "AR100": 0.5}
    saved = {"coco": "a", "detections": "b", "masks": False, "numbers": numbers, "per_class": {"x": numbers}}
    saved |= {"curves": {"x": [1.0, 0.5]}, "recall": [0.0, 1.0]}
    return [b"\0" + json.dumps(run).encode(), b"\1" + metrics.encode(), b"\2" + json.dumps(saved).encode(), b"\1"]


def target(data: bytes) -> None:
    """Read a run, one of whose files is ``data``."""
    if not data:
        return
    folder = Path(_FOLDER.name) / "runs"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "first").mkdir(parents=True)
    for seed in seeds()[:3]:
        (folder / "first" / FILES[seed[0]]).write_bytes(seed[1:])
    (folder / "first" / FILES[data[0] % 3]).write_bytes(data[1:])
    try:
        read_config(folder / "first")
    except ChipperError as error:
        assert "\n" not in str(error)
    (run,), others = read_runs(folder)
    assert others == []
    assert 0 <= len(run.curves.get("step", ())) <= 600
    drop_later_steps(folder / "first", 1)
