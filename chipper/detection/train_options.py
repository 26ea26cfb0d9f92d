"""The options of one training run."""

from __future__ import annotations

from dataclasses import dataclass

from chipper.errors import OptionError


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
    amp: bool = True  # bfloat16 on CUDA
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
        for name in ("epochs", "batch_size", "checkpoint_every", "max_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"{name} must be 1 or more, not {value}")
        if not self.clip_norm > 0:
            raise OptionError(f"clip_norm must be over 0, not {self.clip_norm}")
