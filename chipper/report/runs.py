"""Training runs as a report shows them: their options, their metrics thinned out, and what `chipper evaluate` kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chipper.columns import Floats
from chipper.evaluation.saved import EVALUATION, SavedEvaluation

CONFIG, METRICS = "run.json", "metrics.jsonl"
POINTS = 300  # of a curve, at least, where there are so many steps
NO_LOSS = ("step", "total_steps", "epoch", "lr", "loss", "gradient_norm", "chips_per_s", "data_wait")
COUNTS = ("positive_anchors", "foreground_rois", "rois")


@dataclass(frozen=True)
class Run:
    """One run; ``problem`` says what could not be read."""

    name: str
    chipper_version: str
    dataset_id: str
    training: dict[str, Any]  # the options of `chipper train`
    steps: int
    total_steps: int
    block: int  # steps that each point of the curves is the mean of
    curves: dict[str, Floats]  # by the name in metrics.jsonl, with ``step``
    last: dict[str, float]
    evaluation: SavedEvaluation | None
    problem: str | None

    @property
    def losses(self) -> list[str]:
        """Names of the parts of the loss."""
        return [name for name in self.curves if name not in (*NO_LOSS, *COUNTS)]


class _Config(msgspec.Struct):
    chipper_version: str
    dataset_id: str
    training: dict[str, Any]


def read_runs(folder: Path) -> list[Run]:
    """The runs in a workdir's ``runs`` folder, by name."""
    return [_read(path.parent) for path in sorted(folder.glob(f"*/{CONFIG}"))]


def _read(folder: Path) -> Run:
    problems = []
    config = _Config("", "", {})
    try:
        config = msgspec.json.decode((folder / CONFIG).read_bytes(), type=_Config)
    except (OSError, ValueError) as error:
        problems.append(f"{CONFIG} cannot be read ({error})")
    evaluation = None
    try:
        evaluation = msgspec.json.decode((folder / EVALUATION).read_bytes(), type=SavedEvaluation)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        problems.append(f"{EVALUATION} cannot be read ({error}); run `chipper evaluate` with --run again")
    steps, total, block = 0, 0, 1
    curves, last = dict[str, Floats](), dict[str, float]()
    try:
        with (folder / METRICS).open(encoding="utf-8", errors="replace") as lines:
            last, curves, block = thinned(_rows(lines))
        steps, total = int(last.get("step", 0)), int(last.get("total_steps", 0))
    except FileNotFoundError:
        problems.append(f"there is no {METRICS}: no step was done")
    except OSError as error:
        problems.append(f"{METRICS} cannot be read ({error.strerror})")
    return Run(
        folder.name, config.chipper_version, config.dataset_id, config.training, steps, total, block, curves, last,
        evaluation, "; ".join(problems) or None,
    )  # fmt: skip


def _rows(lines: Iterable[str]) -> Iterable[dict[str, float]]:
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            return  # cut short by a crash
        if isinstance(row, dict) and "step" in row:
            yield {name: float(value) for name, value in row.items() if isinstance(value, int | float)}


def thinned(rows: Iterable[dict[str, float]]) -> tuple[dict[str, float], dict[str, Floats], int]:
    """The last row, the means of blocks of consecutive rows by name, and how many rows a block has.

    There are `POINTS` to twice as many blocks, however many rows; a last block of fewer rows counts as the others. A
    name that all rows of a block lack is not a number there.
    """
    blocks: list[dict[str, float]] = []
    waiting: list[dict[str, float]] = []
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


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in columns.items()}
