"""Metrics of a run: one JSON line a step in ``metrics.jsonl``, and TensorBoard beside it."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chipper.runs import METRICS, StepReport, drop_later_steps, row_of
from chipper.storage.files import open_in_place, translate_os_errors, write_all

log = logging.getLogger(__name__)


class MetricsWriter:
    """Appends steps to a run's metrics; after a resume no step appears twice.

    ``after_step`` is where the run goes on: lines of later steps, written after the checkpoint and before the crash,
    are dropped. 0 begins anew.
    """

    def __init__(self, run_dir: Path, after_step: int = 0, tensorboard: bool = True) -> None:
        self._path = run_dir / METRICS
        with translate_os_errors(self._path):
            run_dir.mkdir(parents=True, exist_ok=True)
            drop_later_steps(run_dir, after_step)
            self._file = open_in_place(self._path)
            self._file.seek(0, os.SEEK_END)
        self._board = _summary_writer(run_dir / "tensorboard", after_step) if tensorboard else None

    def write(self, report: StepReport) -> None:
        """Append one step and hand it to the operating system at once, so that ``tail -f`` shows it.

        Raises:
            StorageError: it cannot be written.
        """
        row = row_of(report)
        with translate_os_errors(self._path):
            write_all(self._file, f"{json.dumps(row)}\n".encode())
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


def _summary_writer(folder: Path, after_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # a second to import, and an optional package
    except ImportError:
        log.info("tensorboard is not installed: metrics go to %s alone", METRICS)
        return None
    return SummaryWriter(str(folder), purge_step=after_step + 1)
