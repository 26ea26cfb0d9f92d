"""How fast the weights move: the optimizer of each model and the learning rate of each step.

SNIPER: SGD, lr 0.015, 16 chips on each of 8 GPUs. Its gradients are summed over the GPUs, and each is a mean over 16
chips, so its rate is 0.015 per 16 chips of the global batch once gradients are averaged, as DistributedDataParallel
does: 0.12 for 128 chips. The rate here grows with the global batch by that rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from chipper.detection.specs import ModelSpec
from chipper.errors import OptionError

CHIPS_PER_LR = 16
WARMUP_STEPS = 1000
WARMUP_START = 0.0005 / 0.015
DROP_AT = 5.33 / 7  # of the run
DROP_TO = 0.1
MOMENTUM = 0.9


@dataclass(frozen=True)
class Schedule:
    """A pure function of the step, so that a resumed run continues exactly."""

    lr: float  # after the warm-up, for the global batch
    total_steps: int

    def __post_init__(self) -> None:
        if not self.lr > 0 or self.total_steps < 1:
            raise OptionError(f"a schedule needs a positive learning rate and a step or more, not {self}")

    @property
    def warmup_steps(self) -> int:
        """SNIPER's 1000 steps are a tenth of a short COCO run; a shorter run warms up over a tenth of itself."""
        return min(WARMUP_STEPS, self.total_steps // 10)

    def __call__(self, step: int) -> float:
        """The rate of ``step``, counted from 0: a ramp from 1/30, then flat, then a tenth after 5.33/7 of the run."""
        if step < self.warmup_steps:
            return self.lr * (WARMUP_START + (1 - WARMUP_START) * step / self.warmup_steps)
        return self.lr * (DROP_TO if step >= DROP_AT * self.total_steps else 1.0)


def global_lr(spec: ModelSpec, global_batch: int) -> float:
    """The model's rate for a global batch: linear for SGD, by the square root for Adam, which normalises its steps."""
    ratio = global_batch / CHIPS_PER_LR
    return spec.lr * (ratio if spec.optimizer == "sgd" else ratio**0.5)


def build_optimizer(model: nn.Module, spec: ModelSpec) -> torch.optim.Optimizer:
    """SGD or AdamW over the weights that are not frozen; the learning rate is set at every step.

    Weight decay is for convolution and linear weights alone: on batch norms and biases it only shifts outputs.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": spec.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=spec.lr, betas=(MOMENTUM, spec.beta2))
    return torch.optim.SGD(groups, lr=spec.lr, momentum=MOMENTUM)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group of weights the rate ``lr``."""
    for group in optimizer.param_groups:
        group["lr"] = lr
