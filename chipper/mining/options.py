"""The options of each mining stage; they are checked when they are created."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chipper.checks import at_least, bounded, check_fields, one_of, sixty_four_bits
from chipper.errors import OptionError, option
from chipper.mining.scales import DEFAULT_SCALES, Scale, ValidRange, parse_scales, parse_valid_ranges
from chipper.seeds import hashed

STRIDE = "32"  # px; SNIPER, section 3.1
LARGEST_CHIP = 16_384  # px; a batch of larger chips does not fit into GPU memory, and JPEG's limit is 65,535
MOST_VARIANTS = 1_000
MOST_EPOCHS = 10_000


@dataclass(frozen=True)
class PositiveOptions:
    """Which windows become positive chips, and how many epochs are listed."""

    scales: tuple[Scale, ...]
    valid_ranges: tuple[ValidRange, ...]
    chip_size: int = bounded(512, 16, LARGEST_CHIP)  # px; SNIPER, section 3.1
    stride_low: int = 32
    stride_high: int = 32
    variants: int = bounded(1, 1, MOST_VARIANTS)
    epochs: int = bounded(7, 1, MOST_EPOCHS)  # SNIPER, section 4.1
    seed: int = 0
    masks: bool = False
    placement: str = one_of("grid", "slide")

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.scales) != len(self.valid_ranges):
            raise OptionError(
                f"{option('valid_ranges')} names {len(self.valid_ranges)} ranges for {len(self.scales)} scales"
            )
        at_least("stride", self.stride_low, 1)
        if self.stride_high < self.stride_low:
            raise OptionError(
                f"{option('stride')} {self.stride_low}-{self.stride_high}: the second number is below the first; write 56-59"
            )
        if self.stride_high > self.chip_size:
            raise OptionError(
                f"{option('stride')} {self.stride_high} is over the chip size {self.chip_size}: windows would "
                "leave gaps; give a smaller stride"
            )
        sixty_four_bits("seed", self.seed)

    @classmethod
    def parse(
        cls, scales: str = DEFAULT_SCALES, valid_ranges: str | None = None, stride: str = STRIDE, **rest: Any
    ) -> PositiveOptions:
        """Options from texts like ``512,1.667,3``, ``120:,32:150,:80`` and ``56-59``; ``rest`` are fields of the class.

        Raises:
            OptionError: an option has an invalid value.
        """
        parsed = parse_scales(scales)
        factors = [scale.factor for scale in parsed if scale.factor is not None]
        if factors != sorted(factors):
            raise OptionError(
                f"{option('scales')} is {scales}; give scales from coarse to fine, and their valid ranges in the same order"
            )
        low, dash, high = stride.partition("-")
        try:
            bounds = (int(low), int(high) if dash else int(low))
        except ValueError:
            raise OptionError(
                f"{option('stride')}: {stride!r} is neither a number of px nor a range; write it like 32 or 56-59"
            ) from None
        ranges = parse_valid_ranges(valid_ranges, parsed)
        return cls(parsed, ranges, stride_low=bounds[0], stride_high=bounds[1], **rest)

    def stride(self, variant: int) -> int:
        """The stride of a variant, drawn once from the range; the published code draws one for each epoch."""
        width = self.stride_high - self.stride_low + 1
        return self.stride_low + int(hashed(self.seed, variant) % width)

    def step(self, variant: int) -> int:
        """Distance between the possible positions of a positive chip, px."""
        return 1 if self.placement == "slide" else self.stride(variant)

    def as_text(self) -> dict[str, Any]:
        """The options as dataset.json stores them; `from_text` reads them back."""
        return {
            "scales": ",".join(map(str, self.scales)),
            "valid_ranges": ",".join(map(str, self.valid_ranges)),
            "chip_size": self.chip_size,
            "stride": f"{self.stride_low}-{self.stride_high}"
            if self.stride_high > self.stride_low
            else str(self.stride_low),
            "variants": self.variants,
            "epochs": self.epochs,
            "seed": self.seed,
            "masks": self.masks,
            "placement": self.placement,
        }

    @classmethod
    def from_text(cls, stored: dict[str, Any]) -> PositiveOptions:
        """The options that `as_text` wrote. Raises ValueError if ``stored`` is not valid."""
        if stored.keys() != (wanted := cls.parse().as_text()).keys():
            raise ValueError(f"its options are not {', '.join(wanted)}")
        for name, value in wanted.items():
            if type(stored[name]) is not type(value):
                raise ValueError(f"its option {name} is {stored[name]!r}")
        try:
            return cls.parse(**stored)
        except OptionError as error:
            raise ValueError(f"its option {error}") from None


@dataclass(frozen=True)
class NegativeOptions:
    """Which windows become negative chips (SNIPER, section 3.2; the thresholds are from the published code)."""

    max_proposals: int = bounded(900, 1)  # per image; 300 for each of three scales
    nms: float = 0.7  # above this IoU, the proposal with the lower score is dropped
    min_proposals_finest: int = 25  # per negative chip of the finest scale
    min_proposals: int = 10  # per negative chip of the other scales
    per_image: int = bounded(2, 0)  # at most this many negative chips of an image in each epoch

    def __post_init__(self) -> None:
        check_fields(self)
        at_least("min_proposals", min(self.min_proposals_finest, self.min_proposals), 1)
        if not 0 < self.nms <= 1:
            raise OptionError(f"{option('nms')} is {self.nms:g}; it is an IoU, over 0 and at most 1")

    def minimum(self, scale_index: int, scales: int) -> int:
        """The number of proposals that a negative chip of a scale must contain; the last scale is the finest."""
        return self.min_proposals_finest if scale_index == scales - 1 else self.min_proposals
