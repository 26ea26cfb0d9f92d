"""Workdirs at every stage, and a training run written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chipper.manifest.workdir import Workdir


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """write_run(workdir, name, steps=40, evaluated=True, **training) writes a run's folder as training and evaluate do."""

    def write(workdir: Workdir, name: str, steps: int = 40, evaluated: bool = True, **training: Any) -> Path:
        folder = workdir.runs / name
        folder.mkdir(parents=True)
        dataset = workdir.dataset()
        config = {"chipper_version": "0.1.0", "dataset_id": dataset.id, "positive_options": dataset.options}
        (folder / "run.json").write_text(json.dumps(config | {"training": {"model": "tiny", "lr": None} | training}))
        lines = []
        for step in range(1, steps + 1):
            row = {"step": step, "total_steps": steps, "epoch": 0, "lr": 0.01 * min(step, 10) / 10}
            parts = {"rpn_objectness": 0.6 / step, "rpn_box": 0.1, "roi_class": 3 / step, "roi_box": 0.2}
            row |= {"loss": sum(parts.values()), "gradient_norm": 1.0, "chips_per_s": 20.0, "data_wait": 0.05}
            lines.append(json.dumps(row | parts | {"positive_anchors": 9, "foreground_rois": 3, "rois": 99}))
        (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
        if evaluated:
            names = [category.name for category in dataset.categories]
            per_class = {n: {"AP": 0.5 / (k + 1), "AP50": 0.7, "AP75": 0.4, "AR100": 0.6} for k, n in enumerate(names)}
            recall = [k / 100 for k in range(101)]
            saved = {"coco": "val.json", "detections": "detections.json", "masks": False}
            saved |= {"numbers": {"AP": 0.31, "AP50": 0.52, "APs": -1.0, "AR100": 0.4}, "per_class": per_class}
            saved |= {"curves": {n: [1 - r for r in recall] for n in names}, "recall": recall}
            (folder / "evaluation.json").write_text(json.dumps(saved))
        return folder

    return write


@pytest.fixture(scope="session")
def whole(
    tmp_path_factory: pytest.TempPathFactory, drawn: Any, build: Any, mine: Any, export: Any, write_run: Any
) -> Workdir:
    """The drawn data set with positives, negatives, shards and a run. Treat it as read-only."""
    workdir: Workdir = build(drawn.coco, tmp_path_factory.mktemp("report") / "chips")
    mine(workdir, drawn.proposals, min_proposals_finest=5, min_proposals=5)
    export(workdir)
    write_run(workdir, "detector")
    return workdir
