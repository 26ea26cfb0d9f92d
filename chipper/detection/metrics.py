"""Metrics of a run: one JSON line a step in ``metrics.jsonl``, and TensorBoard beside it."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chipper.runs import METRICS, StepReport, read_metrics

log = logging.getLogger(__name__)


class MetricsWriter:
    """Appends steps to a run's metrics; after a resume no step appears twice.

    ``after_step`` is where the run goes on: lines of later steps, written after the checkpoint and before the crash,
    are dropped. 0 begins anew.
    """

    def __init__(self, run_dir: Path, after_step: int = 0, tensorboard: bool = True) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        path = run_dir / METRICS
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
        log.info("tensorboard is not installed: metrics go to %s alone", METRICS)
        return None
    return SummaryWriter(str(folder), purge_step=after_step + 1)
