"""Scales (pyramid levels) and the object sizes of each scale, its valid range (SNIPER, section 3.1; the sizes are from SNIP).

A scale is written ``512`` (32 or more: the long side in px), ``1.667`` (a factor) or ``800:1280`` (short side, with a cap
on the long side). A valid range ``low:high`` limits sqrt(w * h) of a box in source px; low is inclusive, high is exclusive.
A missing bound is 0 or infinity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from chipper.errors import OptionError, option

DEFAULT_SCALES = "512,1.667,3"
DEFAULT_VALID_RANGES = "120:,32:150,:80"
LARGEST_SIDE = 2**20  # canvas px
SMALLEST_LONG_SIDE = 32  # a smaller number is a factor

Floats = npt.NDArray[np.float64]


def _number(value: float | None) -> str:
    """The shortest text that reads back as the same number."""
    assert value is not None
    return str(int(value)) if float(value).is_integer() else repr(float(value))


@dataclass(frozen=True)
class Scale:
    """One pyramid level; exactly one of ``factor``, ``long_side`` and ``short_side`` is set."""

    factor: float | None = None
    long_side: float | None = None
    short_side: float | None = None
    long_cap: float = math.inf

    @classmethod
    def parse(cls, text: str) -> Scale:
        """Read ``512``, ``1.667`` or ``800:1280``. Raises OptionError for any other text."""
        try:
            numbers = [float(part) for part in text.split(":")]
        except ValueError:
            numbers = []
        if not 1 <= len(numbers) <= 2 or not all(math.isfinite(n) and n > 0 for n in numbers):
            raise OptionError(
                f"{option('scales')}: {text!r} is not a scale; write 512 (long side), 1.667 (factor) or 800:1280 (short:cap)"
            )
        if max(numbers) > LARGEST_SIDE:
            raise OptionError(
                f"{option('scales')}: {text!r} is over the limit, {LARGEST_SIDE}; give less, like 512 or 3"
            )
        if len(numbers) == 2:
            if numbers[1] < numbers[0]:
                raise OptionError(
                    f"{option('scales')}: in {text!r} the cap on the long side is below the short side; write 800:1280"
                )
            return cls(short_side=numbers[0], long_cap=numbers[1])
        return cls(long_side=numbers[0]) if numbers[0] >= SMALLEST_LONG_SIDE else cls(factor=numbers[0])

    def factors(self, width: npt.ArrayLike, height: npt.ArrayLike) -> Floats:
        """Canvas px per source px for images of the given sizes; both axes have the same factor, so shapes are kept."""
        w, h = np.asarray(width, dtype=np.float64), np.asarray(height, dtype=np.float64)
        if self.factor is not None:
            return np.full(np.broadcast(w, h).shape, self.factor)
        if self.long_side is not None:
            return np.asarray(self.long_side / np.maximum(w, h))
        assert self.short_side is not None
        return np.asarray(np.minimum(self.short_side / np.minimum(w, h), self.long_cap / np.maximum(w, h)))

    def __str__(self) -> str:
        if self.short_side is not None:
            return f"{_number(self.short_side)}:{_number(self.long_cap)}"
        return _number(self.factor if self.factor is not None else self.long_side)


@dataclass(frozen=True)
class ValidRange:
    """sqrt(w * h) in source px, ``low`` inclusive, ``high`` exclusive."""

    low: float = 0.0
    high: float = math.inf

    @classmethod
    def parse(cls, text: str) -> ValidRange:
        """Read ``120:``, ``32:150`` or ``:80``. Raises OptionError for any other text."""
        low, colon, high = text.partition(":")
        try:
            bounds = (float(low) if low else 0.0, float(high) if high else math.inf)
        except ValueError:
            bounds = (1.0, 0.0)
        if not colon or not 0 <= bounds[0] < bounds[1]:
            raise OptionError(
                f"{option('valid_ranges')}: {text!r} is not a range; write low:high in source px, like 32:150, 120: or :80"
            )
        return cls(*bounds)

    def holds(self, sizes: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which sizes are in the range."""
        values = np.asarray(sizes)
        return np.asarray((values >= self.low) & (values < self.high))

    @property
    def words(self) -> str:
        """The range as text for legends."""
        if self.low and self.high < math.inf:
            return f"{self.low:g} to {self.high:g} px"
        return (
            f"{self.low:g} px and more"
            if self.low
            else "all sizes"
            if math.isinf(self.high)
            else f"under {self.high:g} px"
        )

    def __str__(self) -> str:
        return f"{_number(self.low) if self.low else ''}:{'' if math.isinf(self.high) else _number(self.high)}"


def parse_scales(text: str) -> tuple[Scale, ...]:
    """Read a comma-separated list of scales, coarsest first."""
    return tuple(Scale.parse(part.strip()) for part in text.split(","))


def parse_valid_ranges(text: str | None, scales: tuple[Scale, ...]) -> tuple[ValidRange, ...]:
    """Read one range per scale; None gives the defaults, which are for three scales.

    Raises:
        OptionError: the numbers of ranges and scales differ, or a finer scale has larger bounds than a coarser one.
    """
    if text is None and len(scales) != len(DEFAULT_VALID_RANGES.split(",")):
        raise OptionError(
            f"{option('scales')} names {len(scales)} scales and the default valid ranges are for 3; "
            f"give one range per scale, like {option('valid_ranges')} {DEFAULT_VALID_RANGES}"
        )
    ranges = tuple(
        ValidRange.parse(part.strip()) for part in (DEFAULT_VALID_RANGES if text is None else text).split(",")
    )
    if len(ranges) != len(scales):
        raise OptionError(
            f"{option('valid_ranges')} names {len(ranges)} ranges for {len(scales)} scales; give one per scale"
        )
    for coarse, fine in pairwise(ranges):
        if fine.low > coarse.low or fine.high > coarse.high:
            raise OptionError(
                f"{option('valid_ranges')}: {fine} follows {coarse}, but scales go from coarse to fine; "
                "give the ranges from large to small"
            )
    return ranges
