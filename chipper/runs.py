"""A training run's folder, without torch: run.json says how it was started, metrics.jsonl what each step did."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from chipper.errors import CheckpointError, option
from chipper.images.options import PixelOptions
from chipper.mining.options import PositiveOptions
from chipper.storage.files import read_struct

METRICS = "metrics.jsonl"


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


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last line cut short by a crash is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


CONFIG = "run.json"


class RunConfig(msgspec.Struct):
    """run.json: what a run was started with; inference takes its pyramid from here."""

    chipper_version: str
    dataset_id: str
    positive_options: dict[str, Any]
    training: dict[str, Any]  # the options of `chipper train`, but for those that another machine may answer otherwise
    pixels: dict[str, str] = {}  # bands and stretch of the shards, which inference takes too

    @property
    def pyramid(self) -> PositiveOptions:
        """Scales and valid ranges of the chips it was trained on."""
        return PositiveOptions.from_text(self.positive_options)

    @property
    def pixel_options(self) -> PixelOptions:
        """Bands and stretch of the chips it was trained on."""
        return PixelOptions.from_text(self.pixels)


def read_config(run_dir: Path) -> RunConfig:
    """Read run.json; CheckpointError where there is none."""
    path = run_dir / CONFIG
    try:
        config = read_struct(path, RunConfig)
        PositiveOptions.from_text(config.positive_options)
        return config
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist: no training run lies there; train first, or give {option('run')}"
        ) from None
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} cannot be used ({error}); train again under another {option('name')}") from None
