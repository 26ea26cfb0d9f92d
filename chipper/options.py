"""The options of each stage, checked when made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from chipper.errors import OptionError
from chipper.scales import DEFAULT_SCALES, Scale, ValidRange, parse_scales, parse_valid_ranges
from chipper.seeds import hashed
from chipper.stretch import Stretch

CHIP_SIZE = 512  # SNIPER, section 3.1
STRIDE = "32"  # SNIPER, section 3.1
EPOCHS = 7  # SNIPER, section 4.1
PLACEMENTS = ("grid", "slide")
LARGEST_CHIP = 16_384  # px; a batch of larger ones fits into no GPU, and JPEG ends at 65,535
MOST_VARIANTS = 1_000
MOST_EPOCHS = 10_000
MOST_BANDS = 65_535  # TIFF's own bound
PADDING = (124, 116, 104)
"""RGB of the part of a chip that is no image: ImageNet's mean, which a normalising network sees as zero."""


def at_least(name: str, value: float, low: float) -> None:
    """Raise OptionError where an option is under its lower bound, or not finite."""
    if not (math.isfinite(value) and value >= low):
        raise OptionError(f"{name} is {value:g}; it must be at least {low:g}")


def between(name: str, value: float, low: float, high: float) -> None:
    """Raise OptionError where an option is not between its bounds, both included, or is no number."""
    if not low <= value <= high:
        raise OptionError(f"{name} is {value:g}; it goes from {low:g} to {high:g}")


def sixty_four_bits(name: str, value: int) -> None:
    """Raise OptionError where a seed is beyond what generators take."""
    if not -(2**63) <= value < 2**63:
        raise OptionError(f"{name} is {value}; it must fit into 64 bits")


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


@dataclass(frozen=True)
class PixelOptions:
    """Which bands of an image are red, green and blue, and how their values become 8 bits.

    With either given, images are read by windows (`chipper.raster`).
    """

    bands: str | None = None  # "3,2,1" or "1"; numbers from 1
    stretch: str | None = None  # see `Stretch`

    def __post_init__(self) -> None:
        words = [] if self.bands is None else self.bands.split(",")
        if self.bands is not None and not (
            len(words) in (1, 3) and all(word.isdecimal() and 1 <= int(word[:9]) <= MOST_BANDS for word in words)
        ):
            raise OptionError(f"--bands is {self.bands!r}; give one band or three, numbered from 1, like 4 or 3,2,1")
        self.how  # noqa: B018, its text is checked

    @property
    def given(self) -> bool:
        """Whether there is anything that PIL has no rule for."""
        return self.bands is not None or self.stretch is not None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The bands, one or three; none where they were not given."""
        return () if self.bands is None else tuple(map(int, self.bands.split(",")))

    @property
    def how(self) -> Stretch:
        """The stretch; ``none`` where it was not given."""
        return Stretch() if self.stretch is None else Stretch.parse(self.stretch)

    def over(self, remembered: PixelOptions) -> PixelOptions:
        """These options, and where one was not given the remembered one."""
        return PixelOptions(
            remembered.bands if self.bands is None else self.bands,
            remembered.stretch if self.stretch is None else self.stretch,
        )

    def as_text(self) -> dict[str, str]:
        """Those that were given, as files store them; `from_text` reads them back from among others."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_text(cls, stored: dict[str, Any]) -> PixelOptions:
        """The options that `as_text` wrote."""
        return cls(stored.get("bands"), stored.get("stretch"))


@dataclass(frozen=True)
class RenderOptions:
    """How chips become JPEGs."""

    quality: int = 90
    subsampling: str = "4:2:0"
    exif: str = "auto"
    pixels: PixelOptions = PixelOptions()

    def __post_init__(self) -> None:
        between("--quality", self.quality, 1, 100)
        if self.subsampling not in ("4:4:4", "4:2:2", "4:2:0"):
            raise OptionError(f"--subsampling is {self.subsampling}; it is 4:4:4, 4:2:2 or 4:2:0")
        if self.exif not in ("auto", "apply", "ignore"):
            raise OptionError(f"--exif is {self.exif}; it is auto, apply or ignore")
        if self.exif == "apply" and self.pixels.given:
            raise OptionError(
                "--exif apply does not go with --bands and --stretch, whose windows are those of the stored raster; "
                "leave one of them out"
            )

    def as_text(self) -> dict[str, str | int]:
        """As shards/dataset.json stores them, and as they count for a shard: what was not given of `pixels` is left out."""
        return {"quality": self.quality, "subsampling": self.subsampling, "exif": self.exif, **self.pixels.as_text()}


@dataclass(frozen=True)
class ExportOptions:
    """How shards are cut, and how many images may fail."""

    render: RenderOptions = RenderOptions()
    chips_per_shard: int = 1000
    on_error: str = "skip"
    max_errors: int = 100
    max_error_share: float = 0.1
    retry_errors: bool = False
    overwrite: bool = False  # render what is whole, too

    def __post_init__(self) -> None:
        at_least("--chips-per-shard", self.chips_per_shard, 1)
        at_least("--max-errors", self.max_errors, 0)
        between("max_error_share", self.max_error_share, 0, 1)
        if self.on_error not in ("skip", "fail"):
            raise OptionError(f"--on-error is {self.on_error}; it is skip or fail")
