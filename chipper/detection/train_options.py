"""The options of one training run, without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chipper.checks import bounded, check_fields, one_of, sixty_four_bits
from chipper.detection.specs import MODELS
from chipper.errors import OptionError, option
from chipper.mining.options import MOST_EPOCHS, PositiveOptions

MOST_CHIPS = 4096
"""Of a batch; their pixels alone would be 3 GB, of chips of 512 px."""
MOST_BATCHES = 65_536
MOST_WORKERS = 1024
RPN_EPOCHS = 2
"""Of a proposal network that is trained alone: the short schedule before negatives are mined."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What is trained, how long, and how."""

    name: str | None = None  # of the run, under WORKDIR/runs; None: detector, or rpn with rpn_only
    model: str = one_of(*MODELS)
    weights: str = "auto"  # of the backbone: a file, "none", or "auto" for ImageNet ones where they can be had
    rpn_only: bool = False  # the proposal network alone
    epochs: int | None = bounded(None, 1, MOST_EPOCHS)  # None: as many as the workdir has lists; 2 with rpn_only
    batch_size: int = bounded(16, 1, MOST_CHIPS)  # chips in each process
    max_steps: int | None = bounded(None, 1)  # ends the run, and its schedule, earlier
    lr: float | None = None  # for the global batch; None takes the model's, scaled
    workers: int | None = bounded(None, 0, MOST_WORKERS)  # processes that decode; None: 2 beside a GPU, 0 on a CPU
    stream: bool = False  # read the layout ``epochs``
    accumulate: int = bounded(1, 1, MOST_BATCHES)  # batches whose gradients make one step
    precision: str = one_of("auto", "bf16", "fp16", "fp32")  # auto: bf16 on GPUs, fp16 on those without, fp32 on CPUs
    masks: bool = False  # a mask head, too
    focus: bool = False  # a focus branch, too
    freeze_norms: bool = False  # batch norms stay as they are
    ema: float | None = None  # decay of the running average of the weights that inference then uses
    compiled: bool = False  # the backbone by torch.compile
    resume: bool = False  # go on from the run's last checkpoint
    seed: int = 0
    device: str = "auto"
    flips: bool = True
    # One chip can make a gradient several times the usual one (while the tiny model learns, norms are 2 to 5 and peaks
    # were seen up to 29), and momentum would carry it on for ten steps.
    clip_norm: float = 10.0
    checkpoint_every: int = bounded(500, 1)  # steps
    tensorboard: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        sixty_four_bits("seed", self.seed)
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise OptionError(f"{option('lr')} is {self.lr:g}; it must be over 0, and finite")
        if self.ema is not None and not 0 < self.ema < 1:
            raise OptionError(
                f"{option('ema')} is {self.ema:g}; it is the decay of an average, and must be between 0 and 1"
            )
        if not self.clip_norm > 0:
            raise OptionError(f"{option('clip_norm')} is {self.clip_norm:g}; it must be over 0")

    @property
    def run_name(self) -> str:
        """The name of the run's folder."""
        if self.name is not None:
            return self.name
        return "rpn" if self.rpn_only else "detector"

    def epochs_of(self, lists: int = PositiveOptions.epochs) -> int:
        """Epochs of a run on a workdir of so many epoch lists; SNIPER's number where there are no lists to count."""
        return self.epochs or (RPN_EPOCHS if self.rpn_only else lists)
