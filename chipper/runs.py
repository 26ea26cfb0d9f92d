"""A training run's folder, without torch: run.json says how it was started, metrics.jsonl what each step did.

run.json                  `RunConfig`
metrics.jsonl             a line a step, see `row_of`
checkpoint-00000500.pt    the newest ones, by the step after which they were written
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

from chipper.errors import CheckpointError, option
from chipper.images.options import PixelOptions
from chipper.manifest.workdir import Workdir
from chipper.mining.options import PositiveOptions
from chipper.storage.files import atomic, read_struct
from chipper.storage.locations import open_file

CONFIG, METRICS = "run.json", "metrics.jsonl"
_LONGEST_LINE, _MOST_NAMES = 1 << 16, 64  # of the metrics; a line has a few hundred bytes
CHECKPOINT = re.compile(r"checkpoint-(\d{8})\.pt")
COUNTS = ("positive_anchors", "foreground_rois", "rois")

Row = dict[str, int | float]
"""A line of metrics.jsonl: the numbers of a `StepReport` by name, its losses and counts among them."""


class RunConfig(msgspec.Struct):
    """run.json: what a run was started with; inference takes its pyramid from here."""

    chipper_version: str
    dataset_id: str
    positive_options: dict[str, Any]
    training: dict[str, Any]  # the options of `chipper train`, but for those that another machine may answer otherwise
    pixels: dict[str, str] = {}  # bands and stretch of the shards, which inference takes too

    @property
    def pyramid(self) -> PositiveOptions:
        """Scales and valid ranges of the chips it was trained on. Raises ValueError where they are not such."""
        return PositiveOptions.from_text(self.positive_options)

    @property
    def pixel_options(self) -> PixelOptions:
        """Bands and stretch of the chips it was trained on."""
        return PixelOptions.from_text(self.pixels)

    @property
    def rpn_only(self) -> bool:
        """Whether it trained a proposal network alone, which detects nothing."""
        return bool(self.training.get("rpn_only"))


@dataclass(frozen=True)
class StepReport:
    """One training step, as the metrics hold it and progress bars show it."""

    step: int  # steps done, from 1
    total_steps: int
    epoch: int  # from 0
    lr: float
    loss: float  # the sum of ``losses``
    losses: dict[str, float]
    counts: dict[str, int]  # `COUNTS`, of this process
    gradient_norm: float  # before clipping
    chips_per_s: float  # of all processes
    data_wait: float  # share of the step's time spent waiting for the loader, 0..1


def load_config(run_dir: Path) -> RunConfig:
    """Read run.json, whatever its options are.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a `RunConfig`.
    """
    return read_struct(run_dir / CONFIG, RunConfig)


def read_config(run_dir: Path) -> RunConfig:
    """Read run.json for training and inference.

    Raises:
        CheckpointError: there is none, or it cannot be used.
    """
    path = run_dir / CONFIG
    try:
        config = load_config(run_dir)
        config.pyramid  # noqa: B018, its text is checked
        return config
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist: no training run lies there; train first, or give {option('run')}"
        ) from None
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} cannot be used ({error}); train again under another {option('name')}") from None


def checkpoints(run_dir: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(path for path in run_dir.glob("checkpoint-*.pt") if CHECKPOINT.fullmatch(path.name))


def find_run(workdir: Workdir, name: str | None = None, *, detects: bool = False) -> Path:
    """The folder of the run ``name``, or of the one with the newest checkpoint.

    Args:
        workdir: it holds the runs.
        name: of the run; whether it is there is not looked at.
        detects: of the runs pass over those of a proposal network alone.

    Raises:
        OptionError: ``name`` is not a plain name.
        CheckpointError: there is no such run, or the run.json of one that is looked at cannot be used.
    """
    if name is not None:
        return workdir.run_dir(name, "run")
    found = [path for folder in workdir.runs.glob("*/") for path in checkpoints(folder)]
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        if not (detects and read_config(path.parent).rpn_only):
            return path.parent
    what = "training run of more than an RPN" if found else "training run"
    raise CheckpointError(
        f"no {what} in {workdir.runs}; run `chipper train --shards` first, or give another {option('workdir')}"
    )


def row_of(report: StepReport) -> Row:
    """A step as a line of the metrics holds it."""
    row: dict[str, Any] = asdict(report)
    losses, counts = row.pop("losses"), row.pop("counts")
    return {**row, **losses, **counts}


def loss_names(names: Iterable[str]) -> list[str]:
    """Those of the names in a row that are parts of the loss."""
    others = {field.name for field in fields(StepReport)} | set(COUNTS)
    return [name for name in names if name not in others]


def read_metrics(run_dir: Path) -> Iterator[Row]:
    """The steps in a run's metrics, one after the other; they end at a line that is not one, as a crash may leave it.

    Python writes NaN and Infinity, which JSON does not have; they are read as they are.

    Raises:
        OSError: the file is not there or cannot be read.
    """
    with open_file(run_dir / METRICS) as file:
        while line := file.readline(_LONGEST_LINE):
            try:
                row = msgspec.convert(json.loads(line), Row)
            except (ValueError, RecursionError):
                return
            if not _is_step(row):
                return
            yield row


def _is_step(row: Row) -> bool:
    whole = [value for value in row.values() if isinstance(value, int)]
    counted = isinstance(row.get("step"), int) and isinstance(row.get("total_steps", 0), int)
    return counted and len(row) <= _MOST_NAMES and all(abs(value) < 1 << 63 for value in whole)


def drop_later_steps(run_dir: Path, after_step: int) -> None:
    """Rewrite a run's metrics without the steps over ``after_step``; with 0, remove them.

    Raises:
        StorageError: they cannot be written.
    """
    path = run_dir / METRICS
    if after_step == 0 or not path.exists():
        path.unlink(missing_ok=True)
        return
    kept = [row for row in read_metrics(run_dir) if row["step"] <= after_step]
    with atomic(path) as file:
        file.writelines(f"{json.dumps(row)}\n".encode() for row in kept)
