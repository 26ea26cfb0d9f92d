"""The scales of inference, and the sizes that each scale's detections may have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from chipper.errors import OptionError, option
from chipper.mining.scales import Scale, ValidRange, parse_scales, parse_valid_ranges
from chipper.runs import read_config

SCORE_FLOOR = 0.001
"""Detections of a lower score are left out; SNIPER's merge has the same bound."""
PUBLISHED_RANGES = {
    ValidRange(120): ValidRange(75),
    ValidRange(32, 150): ValidRange(32, 180),
    ValidRange(0, 80): ValidRange(0, 90),
}
"""The published code's valid ranges at training and at inference: wider there, so that an object near a bound is found by
both neighbours."""


@dataclass(frozen=True)
class InferenceScales:
    """What inference looks at: whole images at each scale, and the sizes that each scale's detections may have."""

    scales: tuple[Scale, ...]
    valid_ranges: tuple[ValidRange, ...]

    @classmethod
    def of(cls, run_dir: Path, scales: str | None = None, valid_ranges: str | None = None) -> InferenceScales:
        """The given ones, else the training run's scales with its ranges widened as the published code widens its own.

        Raises:
            CheckpointError: no training run lies there.
            OptionError: scales and ranges do not fit together.
        """
        trained = read_config(run_dir).pyramid
        chosen = trained.scales if scales is None else parse_scales(scales)
        if valid_ranges is not None:
            return cls(chosen, parse_valid_ranges(valid_ranges, chosen))
        if len(chosen) != len(trained.scales):
            raise OptionError(
                f"{option('scales')} names {len(chosen)} scales, the run has {len(trained.scales)}; "
                f"give {option('valid_ranges')} too"
            )
        return cls.trained_on(chosen, trained.valid_ranges)

    @classmethod
    def trained_on(cls, scales: tuple[Scale, ...], valid_ranges: tuple[ValidRange, ...]) -> InferenceScales:
        """These scales, with the ranges of training widened as the published code widens its own."""
        return cls(scales, tuple(map(widened, valid_ranges)))

    def single(self) -> InferenceScales:
        """Its middle scale alone, for objects of every size: what a detector without a pyramid does."""
        return InferenceScales((self.scales[len(self.scales) // 2],), (ValidRange(),))

    def factors(self, size: tuple[int, int]) -> list[float]:
        """Canvas px per source px of each scale, for an image of ``size`` (width, height)."""
        return [float(scale.factors(*size)) for scale in self.scales]


def widened(trained: ValidRange) -> ValidRange:
    """The range at inference for one of training; for a range that the published code does not have, in the same proportion."""
    if trained in PUBLISHED_RANGES:
        return PUBLISHED_RANGES[trained]
    low = trained.low * (75 / 120) if math.isinf(trained.high) else trained.low
    return ValidRange(low, trained.high * (180 / 150))
