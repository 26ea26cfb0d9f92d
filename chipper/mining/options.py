"""The options of each stage, checked when made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chipper.checks import at_least, between, sixty_four_bits
from chipper.errors import OptionError
from chipper.mining.scales import DEFAULT_SCALES, Scale, ValidRange, parse_scales, parse_valid_ranges
from chipper.seeds import hashed

CHIP_SIZE = 512  # SNIPER, section 3.1
STRIDE = "32"  # SNIPER, section 3.1
EPOCHS = 7  # SNIPER, section 4.1
PLACEMENTS = ("grid", "slide")
LARGEST_CHIP = 16_384  # px; a batch of larger ones fits into no GPU, and JPEG ends at 65,535
MOST_VARIANTS = 1_000
MOST_EPOCHS = 10_000


@dataclass(frozen=True)
class PositiveOptions:
    """Which windows are positive chips, and how many epochs list them."""

    scales: tuple[Scale, ...]
    valid_ranges: tuple[ValidRange, ...]
    chip_size: int = CHIP_SIZE
    stride_low: int = 32
    stride_high: int = 32
    variants: int = 1
    epochs: int = EPOCHS
    seed: int = 0
    masks: bool = False
    placement: str = "grid"

    def __post_init__(self) -> None:
        if self.placement not in PLACEMENTS:
            raise OptionError(f"--placement is {self.placement}; it is {' or '.join(PLACEMENTS)}")
        if len(self.scales) != len(self.valid_ranges):
            raise OptionError(f"--valid-ranges names {len(self.valid_ranges)} ranges for {len(self.scales)} scales")
        between("--chip-size", self.chip_size, 16, LARGEST_CHIP)
        at_least("--stride", self.stride_low, 1)
        if self.stride_high < self.stride_low:
            raise OptionError(
                f"--stride {self.stride_low}-{self.stride_high}: the second number is below the first; write 56-59"
            )
        if self.stride_high > self.chip_size:
            raise OptionError(
                f"--stride {self.stride_high} is over the chip size {self.chip_size}: windows would leave gaps; give less"
            )
        between("--variants", self.variants, 1, MOST_VARIANTS)
        between("--epochs", self.epochs, 1, MOST_EPOCHS)
        sixty_four_bits("--seed", self.seed)

    @classmethod
    def parse(
        cls, scales: str = DEFAULT_SCALES, valid_ranges: str | None = None, stride: str = STRIDE, **rest: Any
    ) -> PositiveOptions:
        """From the texts of the command line; OptionError names the option that is wrong."""
        parsed = parse_scales(scales)
        factors = [scale.factor for scale in parsed if scale.factor is not None]
        if factors != sorted(factors):
            raise OptionError(f"--scales is {scales}; give scales from coarse to fine, and their valid ranges alike")
        low, dash, high = stride.partition("-")
        try:
            bounds = (int(low), int(high) if dash else int(low))
        except ValueError:
            raise OptionError(
                f"--stride: {stride!r} is neither a number of px nor a range; write it like 32 or 56-59"
            ) from None
        ranges = parse_valid_ranges(valid_ranges, parsed)
        return cls(parsed, ranges, stride_low=bounds[0], stride_high=bounds[1], **rest)

    def stride(self, variant: int) -> int:
        """The stride of a variant: drawn from the range once, as the published code does once an epoch."""
        width = self.stride_high - self.stride_low + 1
        return self.stride_low + int(hashed(self.seed, variant) % width)

    def step(self, variant: int) -> int:
        """Distance of the places where a positive window may stand, px."""
        return 1 if self.placement == "slide" else self.stride(variant)

    def as_text(self) -> dict[str, Any]:
        """As dataset.json stores them; `from_text` reads it back."""
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
        """The options that `as_text` wrote. Raises ValueError where they are not such."""
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
    """Which windows are negative chips (SNIPER, section 3.2; the thresholds are the published code's)."""

    max_proposals: int = 900  # 300 for each of three scales
    nms: float = 0.7
    min_proposals_finest: int = 25
    min_proposals: int = 10
    per_image: int = 2

    def __post_init__(self) -> None:
        at_least("--max-proposals", self.max_proposals, 1)
        at_least("--min-proposals", min(self.min_proposals_finest, self.min_proposals), 1)
        at_least("--negatives-per-image", self.per_image, 0)
        if not 0 < self.nms <= 1:
            raise OptionError(f"--nms is {self.nms:g}; it is an IoU, over 0 and at most 1")

    def minimum(self, scale_index: int, scales: int) -> int:
        """Proposals that a negative chip of a scale must hold; the last scale is the finest."""
        return self.min_proposals_finest if scale_index == scales - 1 else self.min_proposals
