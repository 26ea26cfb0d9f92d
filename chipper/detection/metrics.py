"""Metrics of a run: one JSON line a step in ``metrics.jsonl``, and TensorBoard beside it."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

log = logging.getLogger(__name__)
FILE = "metrics.jsonl"


@dataclass(frozen=True)
class StepReport:
    """One training step, as the metrics hold it and progress bars show it."""

    step: int  # steps done, from 1
    total_steps: int
    epoch: int  # from 0
    lr: float
    loss: float  # the sum of ``losses``
    losses: dict[str, float]
    counts: dict[str, int]  # positive_anchors, foreground_rois, rois; of this process
    gradient_norm: float  # before clipping
    chips_per_s: float  # of all processes
    data_wait: float  # share of the step's time spent waiting for the loader, 0..1


class MetricsWriter:
    """Appends steps to a run's metrics; after a resume no step appears twice.

    ``after_step`` is where the run goes on: lines of later steps, written after the checkpoint and before the crash,
    are dropped. 0 begins anew.
    """

    def __init__(self, run_dir: Path, after_step: int = 0, tensorboard: bool = True) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        path = run_dir / FILE
        drop_later_steps(path, after_step)
        self._file = path.open("a", encoding="utf-8")
        self._board = _summary_writer(run_dir / "tensorboard", after_step) if tensorboard else None

    def write(self, report: StepReport) -> None:
        """Append one step and hand it to the operating system at once, so that ``tail -f`` shows it."""
        row = asdict(report)
        flat = {**row.pop("losses"), **row.pop("counts")}
        self._file.write(json.dumps(row | flat) + "\n")
        self._file.flush()
        if self._board is not None:
            shown = {f"loss/{name}": value for name, value in report.losses.items()} | report.counts
            shown |= {name: row[name] for name in ("loss", "lr", "gradient_norm", "chips_per_s", "data_wait")}
            for name, value in shown.items():
                self._board.add_scalar(name, value, report.step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last line cut short by a crash is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def drop_later_steps(path: Path, after_step: int) -> None:
    """Rewrite a metrics file without the steps over ``after_step``; with 0, remove it."""
    if not path.exists():
        return
    if after_step == 0:
        path.unlink()
        return
    kept = [row for row in read_metrics(path) if row["step"] <= after_step]
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in kept)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _summary_writer(folder: Path, after_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # a second to import, and an optional package
    except ImportError:
        log.info("tensorboard is not installed: metrics go to %s alone", FILE)
        return None
    return SummaryWriter(str(folder), purge_step=after_step + 1)
