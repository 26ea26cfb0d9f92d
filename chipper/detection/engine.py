"""The training loop: one process, or one of several under torchrun."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from chipper.detection.batch import Batch
from chipper.detection.checkpoint import (
    Checkpoint,
    Identity,
    Progress,
    checkpoints,
    load_checkpoint,
    load_weights,
    require_same,
    restore_rng,
    rng_states,
    save_checkpoint,
)
from chipper.detection.devices import pick_device
from chipper.detection.flips import flip, flips_of
from chipper.detection.metrics import MetricsWriter, StepReport
from chipper.detection.model import Detector
from chipper.detection.schedule import Schedule, build_optimizer, global_lr, set_lr
from chipper.detection.train_options import TrainOptions
from chipper.errors import OptionError, TrainingError
from chipper.seeds import hashed

log = logging.getLogger(__name__)


class Loader(Protocol):
    """Batches of one epoch; its length is in batches."""

    def __iter__(self) -> Iterator[Batch]: ...
    def __len__(self) -> int: ...


class LoaderFactory(Protocol):
    """Makes the loader of one epoch, from a position on; cheap until it is iterated.

    ``start_position`` counts the chips of the epoch's list that all processes together have used. The loader yields
    this process's share of each global batch, the same number of batches in every process; its length is in batches.
    """

    def __call__(self, epoch: int, start_position: int) -> Loader:
        """The batches of ``epoch`` from ``start_position`` on."""


@dataclass(frozen=True)
class TrainResult:
    """Where a run ended, and its newest checkpoint (of the first process)."""

    step: int
    total_steps: int
    checkpoint: Path | None

    @property
    def finished(self) -> bool:
        """False where ``on_step`` ended it early."""
        return self.step >= self.total_steps


OnStep = Callable[[StepReport], bool | None]


def train(
    options: TrainOptions,
    model: Detector,
    loader_factory: LoaderFactory,
    run_dir: Path,
    on_step: OnStep | None = None,
) -> TrainResult:
    """Train ``model`` and leave checkpoints and metrics in ``run_dir``.

    ``on_step`` sees every step; when it returns True the run is saved and ends there, to be resumed. With
    torch.distributed set up, gradients are averaged over the processes and the first of them writes; ``on_step`` must
    then answer alike in each. Raises TrainingError at a loss that is not finite, without a checkpoint of it,
    CheckpointError where a resume does not fit, OptionError.
    """
    total = steps_of(options, loader_factory)
    if total == 0:
        raise TrainingError("there is nothing to train on: the epochs hold no chips, or fewer than one global batch")
    run = _Run(options, model, Path(run_dir), total)
    writer = MetricsWriter(run.folder, run.at.step, options.tensorboard) if run.rank == 0 else None
    stopped = False
    with writer or nullcontext():
        for epoch in range(run.at.epoch, options.epochs):
            for batch, waited in timed(loader_factory(epoch, run.at.position)):
                if run.at.step >= total:
                    break
                report = run.advance(batch, waited)
                if writer:
                    writer.write(report)
                stopped = bool(on_step and on_step(report))
                if stopped or run.at.step == total or run.at.step % options.checkpoint_every == 0:
                    run.save()
                if stopped:
                    break
            if stopped or run.at.step >= total:
                break
            run.at = Progress(run.at.step, epoch + 1)
            run.save()
    return TrainResult(run.at.step, total, run.saved)


def steps_of(options: TrainOptions, loader_factory: LoaderFactory) -> int:
    """Steps of the whole run; epochs past ``max_steps`` are not even opened."""
    total, limit = 0, options.max_steps or math.inf
    for epoch in range(options.epochs):
        total += len(loader_factory(epoch, 0))
        if total >= limit:
            return int(limit)
    return total


@dataclass
class _Run:
    """The state that a checkpoint holds, and the step that moves it."""

    options: TrainOptions
    model: Detector
    folder: Path
    total: int
    at: Progress = field(default_factory=Progress)
    saved: Path | None = None

    def __post_init__(self) -> None:
        options, model = self.options, self.model
        self.rank, self.world = 0, 1
        if distributed.is_available() and distributed.is_initialized():
            self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        self.device = pick_device(options.device)
        self.identity = Identity.of(model, options.class_ids, options.class_names)
        if len(options.class_ids) != model.num_classes:
            raise OptionError(f"the model has {model.num_classes} classes, the data {len(options.class_ids)}")
        checkpoint = self._find_checkpoint()
        model.box_head.requires_grad_(not options.rpn_only)
        # Every batch has one shape, so cuDNN may try its algorithms once and keep the fastest.
        torch.backends.cudnn.benchmark = self.device.type == "cuda"
        model.to(self.device).to(memory_format=torch.channels_last)  # faster convolutions, on CPUs too
        self.optimizer = build_optimizer(model, model.spec)
        self.schedule = Schedule(options.lr or global_lr(model.spec, options.batch_size * self.world), self.total)
        if checkpoint is not None:
            self.optimizer.load_state_dict(checkpoint.optimizer)
            self.at = checkpoint.progress
            restore_rng(checkpoint.rng)
        self.parallel: nn.Module = DistributedDataParallel(model) if self.world > 1 else model
        self.parallel.train()

    def _find_checkpoint(self) -> Checkpoint | None:
        """The checkpoint to resume from, its weights loaded; None for a fresh start in an empty folder."""
        found = checkpoints(self.folder)
        if not self.options.resume:
            if found:
                raise TrainingError(
                    f"{self.folder} already holds a run ({found[-1].name}): resume it, or name another run"
                )
            return None
        if not found:
            log.info("no checkpoint in %s: the run starts at its beginning", self.folder)
            return None
        checkpoint = load_checkpoint(found[-1])
        require_same(checkpoint.identity, self.identity, found[-1])
        if checkpoint.rpn_only != self.options.rpn_only:
            kinds = {True: "the RPN alone", False: "the whole detector"}
            raise TrainingError(f"{found[-1]} trains {kinds[checkpoint.rpn_only]}, not {kinds[self.options.rpn_only]}")
        load_weights(self.model, checkpoint, found[-1])
        self.saved = found[-1]
        return checkpoint

    def advance(self, batch: Batch, waited: float) -> StepReport:
        """One step of the optimizer on one batch, after ``waited`` seconds for it."""
        started, options, step = time.perf_counter(), self.options, self.at.step
        flips = flips_of(batch.chip_ids, options.seed, self.at.epoch) if options.flips else None
        moved = batch.to(self.device)
        if flips is not None:
            moved = flip(moved, flips.to(self.device))
        moved = replace(moved, images=moved.images.contiguous(memory_format=torch.channels_last))
        seed = int(hashed(options.seed, step, self.rank)) >> 1
        generator = torch.Generator(self.device).manual_seed(seed)
        lr = self.schedule(step)
        set_lr(self.optimizer, lr)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=options.amp and self.device.type == "cuda"):
            losses: dict[str, Tensor] = self.parallel(moved, rpn_only=options.rpn_only, generator=generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss = torch.stack(list(losses.values())).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), options.clip_norm)
        values = torch.stack([loss, norm, *losses.values()]).detach().tolist()  # one wait for the device, not one each
        if not all(math.isfinite(value) for value in values):
            raise TrainingError(self._not_finite(batch, dict(zip(losses, values[2:], strict=True))))
        self.optimizer.step()
        # A last batch may be short of chips, but then its epoch ends with it.
        self.at = replace(self.at, step=step + 1, position=self.at.position + options.batch_size * self.world)
        took = time.perf_counter() - started + waited
        return StepReport(
            step=step + 1,
            total_steps=self.total,
            epoch=self.at.epoch,
            lr=lr,
            loss=values[0],
            losses=dict(zip(losses, values[2:], strict=True)),
            counts={name: int(value) for name, value in self.model.counts.items()},
            gradient_norm=values[1],
            chips_per_s=len(batch) * self.world / took,
            data_wait=waited / took,
        )

    def _not_finite(self, batch: Batch, losses: dict[str, float]) -> str:
        named = ", ".join(f"{name} {value:g}" for name, value in losses.items())
        good = f"{self.saved} is the last good checkpoint" if self.saved else "there is no checkpoint yet"
        return (
            f"the loss or its gradient is not finite at step {self.at.step + 1} ({named}); its chips: "
            f"{', '.join(map(str, batch.chip_ids.tolist()))}; {good}; a lower --lr may help"
        )

    def save(self) -> None:
        """A checkpoint of this moment, by the first process, unless it is there already."""
        if self.rank:
            return
        checkpoint = Checkpoint(
            identity=self.identity,
            progress=self.at,
            rpn_only=self.options.rpn_only,
            stem_frozen=self.model.backbone.stem_frozen,
            schedule={"lr": self.schedule.lr, "total_steps": self.total},
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            rng=rng_states(),
        )
        self.saved = save_checkpoint(self.folder, checkpoint)


def timed(batches: Iterable[Batch]) -> Iterator[tuple[Batch, float]]:
    """Each batch with the seconds that it let us wait."""
    started = time.perf_counter()
    for batch in batches:
        yield batch, time.perf_counter() - started
        started = time.perf_counter()
