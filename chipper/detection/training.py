"""Training on a workdir: its shards, a model, and a folder for the run."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chipper import __version__
from chipper.coco.records import Category
from chipper.detection.checkpoint import require_fresh
from chipper.detection.devices import pick_device, process_group
from chipper.detection.engine import OnStep, TrainResult, steps_of, train
from chipper.detection.loader import ChipLoader, LoaderOptions, lost_processes_named
from chipper.detection.model import Detector, build_model
from chipper.detection.train_options import TrainOptions
from chipper.errors import CheckpointError, option, spelled
from chipper.manifest.workdir import Workdir
from chipper.runs import CONFIG, RunConfig, checkpoints, read_config
from chipper.shards.shard_set import exported_pixels
from chipper.storage.files import write_json

log = logging.getLogger(__name__)
_ELSEWHERE = ("name", "device", "workers", "resume", "checkpoint_every", "tensorboard")
"""Options that say where and how, not what; run.json does not keep them."""
_MATTER = ("seed", "precision", "ema")
"""Options that a run may go on without keeping, and is not then what it would have been; its rate is compared by `train`."""


@dataclass(frozen=True)
class TrainPlan:
    """What a run will do."""

    steps: int
    batches: int  # in the first epoch, of this process
    device: str
    parameters: int


@dataclass(frozen=True)
class _Prepared:
    """A run that could begin."""

    run_dir: Path
    options: TrainOptions  # with the number of epochs
    model: Detector
    classes: list[Category]
    loader: ChipLoader
    config: RunConfig
    resumes: bool  # from a checkpoint


def plan_training(workdir: Workdir, options: TrainOptions) -> TrainPlan:
    """Check all that can be checked before training and say how long it is; errors are those of `train_workdir`."""
    run = _prepared(workdir, options, 0, 1)
    parameters = sum(weights.numel() for weights in run.model.parameters())
    device = str(pick_device(options.device))
    return TrainPlan(steps_of(run.options, run.loader), len(run.loader(0, 0)), device, parameters)


def train_workdir(workdir: Workdir, options: TrainOptions, *, on_step: OnStep | None = None) -> TrainResult:
    """Train on the shards of ``workdir``, in its runs' folder ``options.run_name``; under torchrun, on all its processes.

    ``on_step`` sees every step; when it returns True the run is saved and ends there, see `train`.

    Raises:
        OptionError: the run's name is not a plain one, or an option does not go with the chips.
        WorkdirError, ShardError: there is nothing whole to train on.
        CheckpointError: ``resume`` and the run's checkpoint do not fit together.
        TrainingError: the loss is not finite, the run's folder is taken, or a loading process was lost.
    """
    with process_group(options.device) as (rank, world):
        run = _prepared(workdir, options, rank, world)
        if rank == 0 and not run.resumes:
            write_json(run.run_dir / CONFIG, run.config)
        with lost_processes_named():
            return train(run.options, run.model, run.classes, run.loader, run.run_dir, on_step=on_step)


def _prepared(workdir: Workdir, options: TrainOptions, rank: int, world: int) -> _Prepared:
    run_dir = workdir.run_dir(options.run_name)
    if not options.resume:
        require_fresh(run_dir)  # before weights are fetched
    resumes = options.resume and bool(checkpoints(run_dir))
    dataset = workdir.dataset()
    classes = dataset.categories
    options = replace(options, epochs=options.epochs_of(dataset.positive_options.epochs))
    on_gpu = pick_device(options.device).type == "cuda"
    workers = options.workers if options.workers is not None else (2 if on_gpu else 0)
    reading = LoaderOptions(options.batch_size, workers, rank, world, on_gpu, options.stream, options.masks)
    loader = ChipLoader(workdir, reading)
    model = build_model(
        options.model,
        len(classes),
        dataset.positive_options.chip_size,
        None if resumes else options.weights,
        options.seed,
        options.masks,
        options.focus,
    )
    steps_of(options, loader)  # a list that cannot be read is named before the run has a folder
    kept = {name: value for name, value in vars(options).items() if name not in _ELSEWHERE}
    config = RunConfig(__version__, dataset.id, dataset.options, kept, exported_pixels(workdir.shards).as_text())
    if resumes:
        _require_as_begun(run_dir, read_config(run_dir), config, logging.WARNING if rank == 0 else 0)
    return _Prepared(run_dir, options, model, classes, loader, config, resumes)


def _require_as_begun(run_dir: Path, begun: RunConfig, now: RunConfig, level: int) -> None:
    """Refuse to go on where chips or checkpoint do not fit; log at ``level`` where the run only goes on otherwise.

    Raises:
        CheckpointError: the run cannot go on so.
    """
    if begun.dataset_id != now.dataset_id:
        raise CheckpointError(
            f"{run_dir} was begun on other chips than the workdir holds now; "
            f"give another {option('name')}, or the workdir as it was"
        )
    for name, value in now.training.items():
        before = begun.training.get(name, value)
        words = f"{run_dir} was begun with {_given(name, before)}, and this is {_given(name, value)}"
        if before != value and (name == "freeze_norms" or (name == "ema" and value is None)):
            raise CheckpointError(f"{words}; give it as it was, or another {option('name')}")
        if before != value and name in _MATTER:
            log.log(level, "%s: it goes on with the latter", spelled(words))


def _given(name: str, value: Any) -> str:
    """An option as it is given."""
    if value is None or value is False:
        return f"no {option(name)}"
    return option(name) if value is True else f"{option(name)} {value}"
