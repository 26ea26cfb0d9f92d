"""chipper train."""

from __future__ import annotations

import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chipper.cli.command import command
from chipper.cli.console import ConsoleMonitor, print_summary
from chipper.cli.interrupts import heard_between_steps
from chipper.cli.options import LOCATION, device_option, dry_run_option, field_option, workdir_option
from chipper.detection.train_options import RPN_EPOCHS, TrainOptions
from chipper.manifest.workdir import Workdir

if TYPE_CHECKING:
    from chipper.runs import StepReport

_LOG_SECONDS = 5.0
_OWN = object()  # --shards without a value; no folder equals it


def _elsewhere(context: click.Context, parameter: click.Parameter, value: Any) -> Path | None:
    """The folder or URL that was given, or None for the shards of the workdir."""
    return None if value is _OWN else value


@command()
@click.option(
    "--shards",
    type=LOCATION,
    is_flag=False,
    flag_value=_OWN,
    envvar="CHIPPER_SHARDS",
    callback=_elsewhere,
    metavar="[DIR]",
    help="Train on the shards in DIR, a folder or a URL.  [default: WORKDIR/shards]",
)
@field_option(TrainOptions, "model", help="Backbone; tiny is for CPUs.")
@field_option(
    TrainOptions,
    "weights",
    help='Backbone weights: a torchvision state dict, "none", or "auto" for ImageNet weights if they are available.',
)
@field_option(
    TrainOptions, "name", help="Name of the run, under WORKDIR/runs.  [default: detector, or rpn with --rpn-only]"
)
@field_option(TrainOptions, "rpn_only", help="Train only the RPN, with the short schedule before mine-negatives.")
@field_option(
    TrainOptions,
    "epochs",
    help=f"Number of epochs.  [default: as many as build-positives wrote, {RPN_EPOCHS} with --rpn-only]",
)
@field_option(TrainOptions, "batch_size", help="Chips per step in each process.")
@field_option(
    TrainOptions, "max_steps", help="Stop after this many steps; the learning rate schedule is fitted to them."
)
@field_option(TrainOptions, "lr", help="Learning rate for the global batch.  [default: the model's, scaled]")
@field_option(TrainOptions, "workers", help="Processes that decode chips.  [default: 2 with a GPU, 0 on a CPU]")
@field_option(
    TrainOptions, "stream", help="Read the shards of each epoch (export-shards --layout epochs) from start to end."
)
@field_option(TrainOptions, "accumulate", help="Number of batches whose gradients are combined in one optimizer step.")
@field_option(
    TrainOptions,
    "precision",
    help="Precision of the forward pass; auto is bf16 on a GPU (fp16 if it lacks bf16), fp32 on a CPU.",
)
@field_option(TrainOptions, "masks", help="Also train a mask head; needs chips of build-positives --masks.")
@field_option(
    TrainOptions, "focus", help="Also train a focus branch, which tells predict --focus where to look at finer scales."
)
@field_option(TrainOptions, "freeze_norms", help="Keep all batch norms frozen; for small batches.")
@field_option(TrainOptions, "ema", help="Keep a running average of the weights, e.g. 0.999, for inference.")
@field_option(TrainOptions, "compiled", "--compile", help="Compile the backbone with torch.compile.")
@field_option(TrainOptions, "resume", help="Continue from the last checkpoint of the run.")
@field_option(TrainOptions, "seed", help="Seed of initial weights, flips and sampling.")
@device_option
@workdir_option
@dry_run_option
def train(workdir: Workdir, shards: Path | None, dry_run: bool, **given: Any) -> None:
    """Train a Faster R-CNN on the shards; with torchrun on several GPUs.

    \b
    Example: chipper train --shards
    """
    from chipper.detection.training import plan_training, train_workdir

    options = TrainOptions(**given)
    run_dir = workdir.run_dir(options.run_name)
    workdir = Workdir(workdir.path, shards)
    if dry_run:
        plan = plan_training(workdir, options)
        rows = [
            ("steps", f"{plan.steps:,} ({plan.batches:,} batches of {options.batch_size} chips an epoch)"),
            ("model", f"{options.model}, {plan.parameters / 1e6:.1f} million parameters"),
            ("device", plan.device),
        ]
        print_summary(f"Training run {run_dir} (dry run: nothing written)", rows, vars(plan))
        return
    reporter = StepPrinter()
    with heard_between_steps() if "RANK" not in os.environ else nullcontext(lambda: False) as interrupted:

        def on_step(report: StepReport) -> bool:
            reporter(report)
            return interrupted()

        result = train_workdir(workdir, options, on_step=on_step)
    if not result.finished:
        raise KeyboardInterrupt(f"interrupted after step {result.step}, which is saved; continue with --resume")
    rows = [("steps", f"{result.step:,} of {result.total_steps:,}")]
    if reporter.last is not None:
        rows += [("loss", f"{reporter.last.loss:.4f} (the first {reporter.first_loss:.4f})")]
        rows += [
            (
                "chips per second",
                f"{reporter.last.chips_per_s:.1f}, {reporter.last.data_wait:.0%} of the time waiting for data",
            )
        ]
    rows += [
        ("checkpoint", str(result.checkpoint)),
        ("metrics", str(run_dir / "metrics.jsonl")),
    ]
    last = reporter.last
    data = {
        "run": str(run_dir),
        "steps": result.step,
        "total_steps": result.total_steps,
        "loss": last.loss if last else None,
        "chips_per_s": last.chips_per_s if last else None,
        "data_wait": last.data_wait if last else None,
        "checkpoint": str(result.checkpoint),
    }
    print_summary(f"Training run {run_dir}", rows, data)


class StepPrinter:
    """Prints a line every few seconds, and for the first and last step."""

    def __init__(self) -> None:
        self.last: StepReport | None = None
        self.first_loss = 0.0
        self._monitor = ConsoleMonitor()
        self._said = -_LOG_SECONDS

    def __call__(self, report: StepReport) -> None:
        if self.last is None:
            self.first_loss = report.loss
        self.last = report
        now = time.monotonic()
        if now - self._said < _LOG_SECONDS and report.step != report.total_steps:
            return
        self._said = now
        losses = ", ".join(f"{name} {value:.3f}" for name, value in report.losses.items())
        self._monitor.note(
            f"step {report.step} of {report.total_steps}, epoch {report.epoch}, lr {report.lr:.2g}: loss {report.loss:.3f} "
            f"({losses}), {report.chips_per_s:.1f} chips/s, {report.data_wait:.0%} waiting"
        )
        sys.stderr.flush()
