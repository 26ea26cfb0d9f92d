"""Training runs for the report: their options, their metrics in fewer points, and the result of `chipper evaluate`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chipper.columns import Floats
from chipper.evaluation.saved import EVALUATION, SavedEvaluation, read_evaluation
from chipper.runs import CONFIG, METRICS, Row, RunConfig, load_config, loss_names, read_metrics

SHOWN = 12
"""Runs with curves, the newest ones; each takes a second to draw."""
_LARGEST = 1e30  # larger numbers cannot be drawn
POINTS = 300  # of a curve, at least, if there are as many steps


@dataclass(frozen=True)
class Run:
    """One run; ``problem`` says what could not be read."""

    name: str
    chipper_version: str
    dataset_id: str
    training: dict[str, Any]  # the options of `chipper train`
    steps: int
    total_steps: int
    block: int  # each point of the curves is the mean of this many steps
    curves: dict[str, Floats]  # by name in metrics.jsonl, including ``step``
    last: Row
    evaluation: SavedEvaluation | None
    problem: str | None

    @property
    def losses(self) -> list[str]:
        """Names of the parts of the loss."""
        return loss_names(self.curves)


def read_runs(folder: Path) -> tuple[list[Run], list[str]]:
    """The newest `SHOWN` runs in a workdir's ``runs`` folder, and the names of the others; both by name."""
    found = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    newest = set(sorted(found, key=_last_written, reverse=True)[:SHOWN])
    return [_read(run) for run in found if run in newest], [run.name for run in found if run not in newest]


def _last_written(run: Path) -> float:
    return max((path.stat().st_mtime for name in (METRICS, CONFIG) if (path := run / name).exists()), default=0.0)


def _read(folder: Path) -> Run:
    problems = []
    config = RunConfig("", "", {}, {})
    try:
        config = load_config(folder)
    except (OSError, ValueError) as error:
        problems.append(f"{CONFIG} cannot be read ({error})")
    evaluation = None
    try:
        evaluation = read_evaluation(folder)
    except (OSError, ValueError) as error:
        problems.append(f"{EVALUATION} cannot be read ({error}); run `chipper evaluate` with --run again")
    steps, total, block = 0, 0, 1
    curves, last = dict[str, Floats](), Row()
    try:
        last, curves, block = thinned(read_metrics(folder))
        steps, total = int(last.get("step", 0)), int(last.get("total_steps", 0))
    except FileNotFoundError:
        problems.append(f"there is no {METRICS}: no step was done")
    except OSError as error:
        problems.append(f"{METRICS} cannot be read ({error.strerror})")
    return Run(
        folder.name, config.chipper_version, config.dataset_id, config.training, steps, total, block, curves, last,
        evaluation, "; ".join(problems) or None,
    )  # fmt: skip


def thinned(rows: Iterable[Row]) -> tuple[Row, dict[str, Floats], int]:
    """The last row, the means of blocks of consecutive rows by name, and how many rows a block has.

    The number of blocks is between `POINTS` and twice `POINTS`, for any number of rows. The last block may have fewer rows.
    If all rows of a block lack a name, its value there is NaN.
    """
    blocks: list[Row] = []
    waiting: list[Row] = []
    size, last = 1, {}
    for row in rows:
        last = row
        waiting.append(row)
        if len(waiting) == size:
            blocks.append(_mean(waiting))
            waiting = []
            if len(blocks) == 2 * POINTS:
                blocks = [_mean(blocks[k : k + 2]) for k in range(0, len(blocks), 2)]
                size *= 2
    if waiting:
        blocks.append(_mean(waiting))
    names = dict.fromkeys(name for block in blocks for name in block)
    return last, {name: np.array([block.get(name, np.nan) for block in blocks]) for name in names}, size


def _mean(rows: list[Row]) -> Row:
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value if abs(value) < _LARGEST else math.nan)
    return {name: sum(values) / len(values) for name, values in columns.items()}
