"""Convert the values of a band to 8 bits: unchanged, by percentiles of the image, or between two values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chipper.errors import OptionError, option

Values = npt.NDArray[Any]
Limits = tuple[float, float]

_CURE = "give none, percentiles of the image like 2-98, or two values like 0:3000"


@dataclass(frozen=True)
class Stretch:
    """``none``, ``LOW-HIGH`` (percentiles of each image and band) or ``LOW:HIGH`` (values).

    Values up to ``low`` become 0 and values from ``high`` on become 255; the mapping between them is linear.
    """

    kind: str = "none"
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Stretch:
        """Read the text of the command line. Raises OptionError if it is none of the three forms."""
        if text == "none":
            return cls()
        kind, sign = ("values", ":") if ":" in text else ("percentiles", "-")
        parts = text.split(sign)
        try:
            low, high = map(float, parts)
        except ValueError:
            raise OptionError(f"{option('stretch')}: {text!r} is not a stretch; {_CURE}") from None
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise OptionError(f"{option('stretch')} {text}: the first number must be below the second; {_CURE}")
        if kind == "percentiles" and high > 100:
            raise OptionError(f"{option('stretch')} {text}: percentiles must be from 0 to 100; {_CURE}")
        return cls(kind, low, high)

    def limits(self, values: Values) -> Limits:
        """The values that become 0 and 255 in one band of an image; ``values`` (n,) are a sample of the band."""
        if self.kind != "percentiles":
            return self.low, self.high
        if not values.size:
            return 0.0, 0.0
        low, high = np.percentile(values, (self.low, self.high))
        return float(low), float(high)


def has_rule(stretch: Stretch, dtype: np.dtype[Any]) -> bool:
    """Whether values of ``dtype`` can be converted to 8 bits; without a stretch only unsigned 8-bit and 16-bit values can."""
    return dtype in (np.uint8, np.uint16) if stretch.kind == "none" else dtype.kind in "iuf"


def to_bytes(values: Values, stretch: Stretch, limits: Limits) -> npt.NDArray[np.uint8]:
    """Values of any shape as 8 bits; NaN becomes 0."""
    if stretch.kind == "none":
        return values.astype(np.uint8) if values.dtype == np.uint8 else (values >> 8).astype(np.uint8)
    low, high = limits
    if low == high:  # all values of the sample are equal
        return np.where(values > high, np.uint8(255), np.uint8(0))
    exact = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    return np.asarray(((np.clip(exact, low, high) - low) / (high - low) * 255 + 0.5).astype(np.uint8))


def table(dtype: np.dtype[Any], stretch: Stretch, limits: Limits) -> npt.NDArray[np.uint8] | None:
    """A lookup table of `to_bytes` for integer types of 8 or 16 bits, indexed by the value's bits as an unsigned number.

    None for other types.
    """
    if dtype.kind not in "iu" or dtype.itemsize > 2:
        return None
    unsigned = np.dtype(f"u{dtype.itemsize}")
    return to_bytes(np.arange(1 << 8 * dtype.itemsize).astype(unsigned).view(dtype), stretch, limits)
