"""The options of one training run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chipper.checks import at_least, between, sixty_four_bits
from chipper.errors import OptionError
from chipper.mining.options import MOST_EPOCHS

MOST_CHIPS = 4096
"""Of a batch; their pixels alone would be 3 GB, of chips of 512 px."""
MOST_BATCHES = 65_536
PRECISIONS = ("auto", "bf16", "fp16", "fp32")
"""Of the network's forward pass; auto is bf16 on GPUs that have it, fp16 on those that do not, fp32 on CPUs."""


@dataclass(frozen=True)
class TrainOptions:
    """One training run."""

    class_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    epochs: int = 7
    batch_size: int = 16  # chips in each process
    max_steps: int | None = None  # ends the run, and its schedule, earlier
    lr: float | None = None  # for the global batch; None takes the model's, scaled
    rpn_only: bool = False
    flips: bool = True
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"  # one of PRECISIONS
    accumulate: int = 1  # batches whose gradients make one step
    freeze_norms: bool = False  # batch norms stay as they are
    ema: float | None = None  # decay of the running average of the weights that inference then uses
    compiled: bool = False  # the backbone by torch.compile
    checkpoint_every: int = 500
    # One chip can make a gradient several times the usual one (while the tiny model learns, norms are 2 to 5 and peaks
    # were seen up to 29), and momentum would carry it on for ten steps.
    clip_norm: float = 10.0
    resume: bool = False
    tensorboard: bool = True

    def __post_init__(self) -> None:
        if len(self.class_ids) != len(self.class_names) or not self.class_ids:
            raise OptionError(
                f"{len(self.class_ids)} class ids and {len(self.class_names)} names: give one name to each id"
            )
        between("--epochs", self.epochs, 1, MOST_EPOCHS)
        between("--batch-size", self.batch_size, 1, MOST_CHIPS)
        between("--accumulate", self.accumulate, 1, MOST_BATCHES)
        at_least("checkpoint_every", self.checkpoint_every, 1)
        if self.max_steps is not None:
            at_least("--max-steps", self.max_steps, 1)
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise OptionError(f"--lr is {self.lr:g}; it must be over 0, and finite")
        sixty_four_bits("--seed", self.seed)
        if self.precision not in PRECISIONS:
            raise OptionError(f"--precision is {self.precision}; it is one of {', '.join(PRECISIONS)}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise OptionError(f"--ema is {self.ema:g}; it is the decay of an average, and must be between 0 and 1")
        if not self.clip_norm > 0:
            raise OptionError(f"clip_norm is {self.clip_norm:g}; it must be over 0")
