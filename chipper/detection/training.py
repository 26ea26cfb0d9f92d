"""Training on a workdir: its shards, a model, and a folder for the run."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from chipper import __version__
from chipper.detection.checkpoint import require_fresh
from chipper.detection.devices import pick_device, process_group
from chipper.detection.engine import OnStep, TrainResult, steps_of, train
from chipper.detection.loader import ChipLoader, LoaderOptions, lost_processes_named
from chipper.detection.model import Detector, build_model
from chipper.detection.train_options import TrainOptions
from chipper.errors import CheckpointError
from chipper.manifest.workdir import Workdir
from chipper.runs import CONFIG, RunConfig, checkpoints, read_config
from chipper.shards.shard_set import exported_pixels
from chipper.storage.files import write_json

log = logging.getLogger(__name__)
ELSEWHERE = ("run_dir", "shards", "device", "workers", "resume")  # options that say where and how, not what
_MATTER = ("seed", "precision", "ema")
"""Options that a run may go on without keeping, and is not then what it would have been; its rate is compared by `train`."""


@dataclass(frozen=True)
class TrainRequest:
    """What `chipper train` is asked for."""

    run_dir: Path
    shards: Path
    model: str
    weights: str = "auto"
    epochs: int | None = None  # None: as many as the workdir has lists
    batch_size: int = 16
    max_steps: int | None = None
    lr: float | None = None
    rpn_only: bool = False
    seed: int = 0
    device: str = "auto"
    workers: int | None = None  # None: 2 beside a GPU, none on a CPU, whose cores the network needs
    resume: bool = False
    stream: bool = False  # read the layout ``epochs``
    precision: str = "auto"
    accumulate: int = 1
    freeze_norms: bool = False
    ema: float | None = None
    compiled: bool = False
    masks: bool = False
    focus: bool = False


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

    options: TrainOptions
    model: Detector
    loader: ChipLoader
    config: RunConfig
    resumes: bool  # from a checkpoint


def plan_training(workdir: Workdir, request: TrainRequest) -> TrainPlan:
    """Check all that can be checked before training and say how long it is; errors are those of `train_workdir`."""
    run = _prepared(workdir, request, 0, 1)
    parameters = sum(weights.numel() for weights in run.model.parameters())
    device = str(pick_device(request.device))
    return TrainPlan(steps_of(run.options, run.loader), len(run.loader(0, 0)), device, parameters)


def train_workdir(workdir: Workdir, request: TrainRequest, on_step: OnStep | None = None) -> TrainResult:
    """Train on the shards of ``workdir``; under torchrun, on all its processes.

    Raises:
        WorkdirError, ShardError: there is nothing whole to train on.
        CheckpointError: ``resume`` and the run's checkpoint do not fit together.
        TrainingError: the loss is not finite, the run's folder is taken, or a loading process was lost.
    """
    with process_group(request.device) as (rank, world):
        run = _prepared(workdir, request, rank, world)
        if rank == 0 and not run.resumes:
            write_json(request.run_dir / CONFIG, run.config)
        with lost_processes_named():
            return train(run.options, run.model, run.loader, request.run_dir, on_step)


def _prepared(workdir: Workdir, request: TrainRequest, rank: int, world: int) -> _Prepared:
    if not request.resume:
        require_fresh(request.run_dir)  # before weights are fetched
    resumes = request.resume and bool(checkpoints(request.run_dir))
    dataset = workdir.dataset()
    options = dataset.positive_options
    asked = {name: value for name, value in vars(request).items() if name != "epochs"}
    own = {f.name for f in fields(TrainOptions)}
    train_options = TrainOptions(
        class_ids=tuple(category.id for category in dataset.categories),
        class_names=tuple(category.name for category in dataset.categories),
        epochs=options.epochs if request.epochs is None else request.epochs,
        **{name: value for name, value in asked.items() if name in own},
    )
    device = pick_device(request.device)
    on_gpu = device.type == "cuda"
    workers = request.workers if request.workers is not None else (2 if on_gpu else 0)
    reading = LoaderOptions(request.batch_size, workers, rank, world, on_gpu, request.stream, request.masks)
    loader = ChipLoader(workdir, request.shards, reading)
    model = build_model(
        request.model,
        len(dataset.categories),
        options.chip_size,
        None if resumes else request.weights,
        request.seed,
        request.masks,
        request.focus,
    )
    steps_of(train_options, loader)  # a list that cannot be read is named before the run has a folder
    kept = {name: value for name, value in asked.items() if name not in ELSEWHERE}
    training = {**kept, "epochs": train_options.epochs}
    pixels = exported_pixels(request.shards).as_text()
    config = RunConfig(__version__, dataset.id, dataset.options, training, pixels)
    if resumes:
        _require_as_begun(request.run_dir, read_config(request.run_dir), config, logging.WARNING if rank == 0 else 0)
    return _Prepared(train_options, model, loader, config, resumes)


def _require_as_begun(run_dir: Path, begun: RunConfig, now: RunConfig, level: int) -> None:
    """Refuse to go on where chips or checkpoint do not fit; log at ``level`` where the run only goes on otherwise.

    Raises:
        CheckpointError: the run cannot go on so.
    """
    if begun.dataset_id != now.dataset_id:
        raise CheckpointError(
            f"{run_dir} was begun on other chips than the workdir holds now; give another --name, or the workdir as it was"
        )
    for option, value in now.training.items():
        before = begun.training.get(option, value)
        words = f"{run_dir} was begun with {_typed(option, before)}, and this is {_typed(option, value)}"
        if before != value and (option == "freeze_norms" or (option == "ema" and value is None)):
            raise CheckpointError(f"{words}; give it as it was, or another --name")
        if before != value and option in _MATTER:
            log.log(level, "%s: it goes on with the latter", words)


def _typed(option: str, value: Any) -> str:
    """An option as it is typed."""
    word = f"--{option.replace('_', '-')}"
    if value is None or value is False:
        return f"no {word}"
    return word if value is True else f"{word} {value}"
