"""The training loop: one process, or one of several under torchrun."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from chipper.coco.records import Category
from chipper.detection.batch import Batch
from chipper.detection.checkpoint import (
    Checkpoint,
    Identity,
    Progress,
    load_checkpoint,
    load_weights,
    require_fresh,
    require_same,
    restore_rng,
    rng_states,
    save_checkpoint,
)
from chipper.detection.devices import mean_over_processes, pick_device
from chipper.detection.flips import flip, flips_of
from chipper.detection.metrics import MetricsWriter
from chipper.detection.model import Detector
from chipper.detection.schedule import Schedule, build_optimizer, global_lr, set_lr
from chipper.detection.train_options import TrainOptions
from chipper.errors import CheckpointError, OptionError, TrainingError, UnreachableError, option
from chipper.runs import StepReport, checkpoints
from chipper.seeds import hashed
from chipper.storage.files import sweep

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
    classes: Sequence[Category],
    loader_factory: LoaderFactory,
    run_dir: Path,
    *,
    on_step: OnStep | None = None,
) -> TrainResult:
    """Train ``model`` on ``classes``, in the order of its labels, and leave checkpoints and metrics in ``run_dir``.

    ``on_step`` sees every step; when it returns True the run is saved and ends there, to be resumed. With
    torch.distributed set up, gradients are averaged over the processes and the first of them writes; ``on_step`` must
    then answer alike in each. Raises TrainingError at a loss that is not finite, without a checkpoint of it,
    CheckpointError where a resume does not fit, OptionError, and UnreachableError, with a checkpoint of the last step, where
    the shards are remote and their server stops answering.
    """
    total = steps_of(options, loader_factory)
    if total == 0:
        raise TrainingError("there is nothing to train on: the epochs hold no chips, or fewer than one global batch")
    run = _Run(options, model, classes, Path(run_dir), total)
    writer = MetricsWriter(run.folder, run.at.step, options.tensorboard) if run.rank == 0 else None
    stopped = False
    with writer or nullcontext(), _fastest_convolutions():
        for epoch in range(run.at.epoch, options.epochs_of()):
            for batches, waited in timed(_saving(run, loader_factory(epoch, run.at.position)), options.accumulate):
                if run.at.step >= total:
                    break
                try:
                    report = run.advance(batches, waited)
                except torch.OutOfMemoryError:
                    raise TrainingError(run.out_of_memory(batches)) from None
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
    """Steps of the whole run, of SNIPER's 7 epochs where options leave it open; epochs past ``max_steps`` are not even opened."""
    total, limit = 0, options.max_steps or math.inf
    for epoch in range(options.epochs_of()):
        total += math.ceil(len(loader_factory(epoch, 0)) / options.accumulate)
        if total >= limit:
            return int(limit)
    return total


@dataclass
class _Run:
    """The state that a checkpoint holds, and the step that moves it."""

    options: TrainOptions
    model: Detector
    classes: Sequence[Category]
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
        if len(self.classes) != model.num_classes:
            raise OptionError(f"the model has {model.num_classes} classes, the data {len(self.classes)}")
        names = tuple(category.name for category in self.classes)
        self.identity = Identity.of(model, tuple(category.id for category in self.classes), names)
        if self.rank == 0:
            sweep(self.folder)
        checkpoint = self._find_checkpoint()
        for head in (model.box_head, model.mask_head, model.focus_head):
            if head is not None:
                head.requires_grad_(not options.rpn_only)
        if options.freeze_norms:
            model.freeze_norms()
        model.to(self.device).to(memory_format=torch.channels_last)  # faster convolutions, on CPUs too
        self.optimizer = build_optimizer(model, model.spec)
        self.chips = options.batch_size * options.accumulate * self.world  # in a step
        self.schedule = Schedule(global_lr(model.spec, self.chips) if options.lr is None else options.lr, self.total)
        self.dtype = precision_of(options.precision, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.ema = None
        if options.ema is not None:
            self.ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(options.ema), use_buffers=True)  # type: ignore[no-untyped-call]
        if checkpoint is not None:
            self._restore(checkpoint)
        if options.compiled:
            model.backbone.compile()
        self.parallel: nn.Module = DistributedDataParallel(model) if self.world > 1 else model
        self.parallel.train()

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Optimizer, random state, running average and scale as they were; the weights are loaded already."""
        try:
            self.optimizer.load_state_dict(checkpoint.optimizer)
            restore_rng(checkpoint.rng)
            if self.ema is not None:
                self.ema.module.load_state_dict(checkpoint.model if checkpoint.ema is None else checkpoint.ema)
                self.ema.n_averaged.fill_(1)  # it is an average already
            if checkpoint.scaler and self.scaler.is_enabled():
                self.scaler.load_state_dict(checkpoint.scaler)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise CheckpointError(
                f"{self.saved} has been altered: its optimizer or random state cannot be restored ({type(error).__name__}); "
                f"train again under another {option('name')}"
            ) from error
        begun = checkpoint.schedule.get("lr")
        if begun != self.schedule.lr and self.rank == 0:
            log.warning(
                "%s was begun at the learning rate %s and goes on at %s: lr or the chips in a step have changed",
                self.folder, begun, self.schedule.lr,
            )  # fmt: skip
        self.at = checkpoint.progress

    def _find_checkpoint(self) -> Checkpoint | None:
        """The checkpoint to resume from, its weights loaded; None for a fresh start in an empty folder."""
        if not self.options.resume:
            require_fresh(self.folder)
            return None
        found = checkpoints(self.folder)
        if not found:
            log.warning("no checkpoint in %s: the run starts at its beginning", self.folder)
            return None
        checkpoint = load_checkpoint(found[-1])
        require_same(checkpoint.identity, self.identity, found[-1])
        if checkpoint.rpn_only != self.options.rpn_only:
            kinds = {True: "the RPN alone", False: "the whole detector"}
            raise TrainingError(
                f"{found[-1]} trains {kinds[checkpoint.rpn_only]}, not {kinds[self.options.rpn_only]}; "
                f"give another {option('name')}"
            )
        load_weights(self.model, checkpoint, found[-1])
        self.saved = found[-1]
        return checkpoint

    def advance(self, batches: list[Batch], waited: float) -> StepReport:
        """One step of the optimizer on some batches, after ``waited`` seconds for them."""
        started, step = time.perf_counter(), self.at.step
        lr = self.schedule(step)
        set_lr(self.optimizer, lr)
        self.optimizer.zero_grad(set_to_none=True)
        counts: dict[str, Tensor] = {}
        summed: dict[str, Tensor] = {}
        for k, batch in enumerate(batches):
            alone = self.world > 1 and k < len(batches) - 1  # gradients are exchanged once, with the last batch
            with self.parallel.no_sync() if alone else nullcontext():  # type: ignore[operator]
                losses = self._losses(batch)
                loss = torch.stack(list(losses.values())).sum() / len(batches)
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                summed[name] = summed.get(name, 0) + value.detach() / len(batches)
            for name, value in self.model.counts.items():
                counts[name] = counts.get(name, 0) + value
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_norm)
        means = mean_over_processes(torch.stack(list(summed.values())))
        values = torch.cat([means.sum()[None], norm[None], means]).tolist()  # one wait for the device, not one each
        named = dict(zip(summed, values[2:], strict=True))
        # An overflow of fp16 gradients is no fault: the scaler leaves the step out and scales less.
        if not all(math.isfinite(value) for value in (values if self.dtype != torch.float16 else values[2:])):
            raise TrainingError(self._not_finite(batches, named))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update_parameters(self.model)
        # A last batch may be short of chips, but then its epoch ends with it.
        self.at = replace(self.at, step=step + 1, position=self.at.position + self.chips)
        took = time.perf_counter() - started + waited
        return StepReport(
            step=step + 1,
            total_steps=self.total,
            epoch=self.at.epoch,
            lr=lr,
            loss=values[0],
            losses=named,
            counts={name: int(value) for name, value in counts.items()},
            gradient_norm=values[1],
            chips_per_s=sum(map(len, batches)) * self.world / took,
            data_wait=waited / took,
        )

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of one batch, flipped and on the device."""
        options = self.options
        flips = flips_of(batch.chip_ids, options.seed, self.at.epoch) if options.flips else None
        moved = batch.to(self.device)
        if flips is not None:
            moved = flip(moved, flips.to(self.device))
        moved = replace(moved, images=moved.images.contiguous(memory_format=torch.channels_last))
        seed = int(hashed(options.seed, self.at.epoch)) >> 1
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            losses: dict[str, Tensor] = self.parallel(moved, rpn_only=options.rpn_only, seed=seed)
        return losses

    def _not_finite(self, batches: list[Batch], losses: dict[str, float]) -> str:
        named = ", ".join(f"{name} {value:g}" for name, value in losses.items())
        good = f"{self.saved} is the last good checkpoint" if self.saved else "there is no checkpoint yet"
        return (
            f"the loss or its gradient is not finite at step {self.at.step + 1} ({named}); its chips: "
            f"{', '.join(str(chip) for batch in batches for chip in batch.chip_ids.tolist())}; {good}; "
            f"a lower {option('lr')} may help"
        )

    def out_of_memory(self, batches: list[Batch]) -> str:
        """What to do about it."""
        chips, most = len(batches[0]), max(batch.boxes.shape[1] for batch in batches)
        return (
            f"{self.device} has too little memory for {chips} chips of {batches[0].images.shape[-1]} px with up to {most} boxes; "
            f"lower {option('batch_size')} (with {option('accumulate')} {2 * self.options.accumulate} and half of it a step is "
            f"the same), or take a smaller {option('model')}; then {option('resume')}"
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
            ema=None if self.ema is None else self.ema.module.state_dict(),
            scaler=self.scaler.state_dict() or None,  # empty where there is none
        )
        self.saved = save_checkpoint(self.folder, checkpoint)


@contextmanager
def _fastest_convolutions() -> Iterator[None]:
    """CuDNN tries its algorithms once for each shape, and keeps the fastest.

    Batches have one shape; images at inference have many, which would each take seconds to try, so this ends with the training.
    """
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _saving(run: _Run, batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches. Where their server stops answering, the run is saved first, so that it can be resumed."""
    try:
        yield from batches
    except UnreachableError as error:
        if run.at.step:
            run.save()
        raise UnreachableError(f"{error}, with {option('resume')}") from None


def precision_of(name: str, device: torch.device) -> torch.dtype:
    """The type of the forward pass, see `TrainOptions`."""
    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[name]


def timed(batches: Iterable[Batch], together: int = 1) -> Iterator[tuple[list[Batch], float]]:
    """So many batches each (fewer at the end) with the seconds that they let us wait."""
    source = iter(batches)
    while True:
        started = time.perf_counter()
        some = list(islice(source, together))
        if not some:
            return
        yield some, time.perf_counter() - started
