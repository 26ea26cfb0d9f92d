"""Suggested scales and valid ranges for a data set, from the sizes of its boxes.

SNIPER works because the detector sees objects in a narrow range of sizes, whatever their size in the image (SNIP, section
4). With the paper's scales and valid ranges, objects are about 50 to 250 px in a chip of 512 px: the upper bounds are
80 x 3 = 240 and 150 x 1.667 = 250, the lower bound is 32 x 1.667 = 53. The scales for another data set are chosen so that
its boxes get the same range of sizes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from chipper.columns import Annotations, Images
from chipper.errors import OptionError, option
from chipper.mining.options import STRIDE
from chipper.mining.plan import SMALL
from chipper.mining.scales import SMALLEST_LONG_SIDE, Scale, ValidRange

TOP = 240 / 512
"""Upper bound of a valid range: sqrt(w * h) of a box in a chip, as a share of the chip's side."""

OVERLAP = 1.6
"""Lower bound of a valid range: the next finer scale's upper bound divided by this, so that most boxes have two scales."""

LARGEST_STEP = 2.4
"""Largest ratio of the factors of two neighbouring scales; the range of sizes has a ratio of 4.8, so neighbours overlap."""

LARGEST_FACTOR = 3.0
"""The paper's finest scale. Enlarging more adds pixels but no detail."""

_FEW = 0.01  # share of the boxes; an intermediate scale with fewer boxes is left out
_AS_STORED = 1.15  # a factor between 1 / this and this becomes 1, which needs no resampling


@dataclass(frozen=True)
class Suggestion:
    """Options for build-positives, from coarse to fine, and the reasons for them."""

    scales: str
    valid_ranges: str
    reasons: tuple[str, ...]


def suggest(images: Images, annotations: Annotations, chip_size: int = 512) -> Suggestion:
    """Suggest scales and valid ranges.

    Raises:
        OptionError: the data set has no boxes besides crowds.
    """
    box = annotations.box[~annotations.iscrowd]
    if not len(box):
        raise OptionError(f"{option('suggest')}: all boxes are crowds, which says nothing of the size of objects")
    sides = box[:, 2:] - box[:, :2]
    size = np.sqrt(sides.prod(axis=1))
    longest = float(sides.max())
    long_side = float(np.median(np.maximum(images.width, images.height)))
    low, middle, high = np.quantile(size, [0.1, 0.5, 0.9])
    reasons = [
        f"boxes: the median of sqrt(w*h) is {middle:.0f} px, 10 % are under {low:.0f} px and 10 % over {high:.0f} px; "
        f"the longest side is {longest:.0f} px; images: the median of the long side is {long_side:.0f} px"
    ]

    fine = _round(min(SMALL / low, LARGEST_FACTOR))
    whole = chip_size / long_side
    # less the stride, so that the longest box fits into a chip of the grid wherever it is
    coarse = _round(min((chip_size - int(STRIDE)) / longest, fine), down=True)
    coarsest = Scale(factor=coarse)
    if coarse <= LARGEST_STEP / 2 * whole and chip_size >= SMALLEST_LONG_SIDE:
        coarsest, coarse, fine = Scale(long_side=float(chip_size)), whole, max(fine, _round(whole))
        reasons.append(
            f"{coarsest}: boxes are up to {longest:.0f} px long, so the coarsest scale shows the whole image in one chip"
        )
    else:
        reasons.append(f"{coarsest}: the largest factor at which a chip of {chip_size} px contains the longest box")

    steps = math.ceil(math.log(max(fine / coarse, 1)) / math.log(LARGEST_STEP) - 1e-9)
    factors = [coarse * (fine / coarse) ** (k / steps) for k in range(1, steps)] if steps > 1 else []
    scales = [(coarsest, coarse), *((Scale(factor=_round(f)), _round(f)) for f in factors)]
    if steps > 0:
        scales.append((Scale(factor=fine), fine))
    scales, dropped = _without_idle(scales, size, chip_size)
    ranges = _ranges([factor for _, factor in scales], chip_size)
    if len(scales) > 1:
        enough = f"shows 90 % of the boxes with {SMALL:.0f} px or more"
        reasons.append(
            f"{scales[-1][0]}: {enough}"
            if SMALL / low <= LARGEST_FACTOR * 1.01
            else f"{scales[-1][0]}: {SMALL / low:.1f} would show 90 % of the boxes with {SMALL:.0f} px, but enlarging more "
            f"than {LARGEST_FACTOR:g} times adds pixels but no detail"
        )
    if len(scales) > 2:
        names = ", ".join(str(scale) for scale, _ in scales[1:-1])
        step = max(b / a for (_, a), (_, b) in pairwise(scales))
        reasons.append(
            f"{names}: intermediate scales, so that each factor is at most {step:.1f} times the previous one"
        )
    if dropped:
        reasons.append(
            f"left out: {', '.join(dropped)}, because fewer than 1 % of the boxes would be in the valid range"
        )
    if len(scales) > 1:
        reasons.append(
            f"ranges: each ends where a box has {TOP * chip_size:.0f} px in a chip; each begins at the end of the next finer "
            f"range divided by {OVERLAP:g}, so that many boxes belong to two scales"
        )
    return Suggestion(",".join(str(s) for s, _ in scales), ",".join(map(str, ranges)), tuple(reasons))


def _ranges(factors: list[float], chip_size: int) -> list[ValidRange]:
    """The valid range of each factor, from coarse to fine; together they include every size."""
    tops = [math.inf, *(_round(TOP * chip_size / factor) for factor in factors[1:])]
    lows = [*(_round(top / OVERLAP) for top in tops[1:]), 0.0]
    return [ValidRange(low, high) for low, high in zip(lows, tops, strict=True)]


def _without_idle(
    scales: list[tuple[Scale, float]], size: np.ndarray, chip_size: int
) -> tuple[list[tuple[Scale, float]], list[str]]:
    """The scales without intermediate scales that have almost no boxes, and the names of the removed scales."""
    dropped: list[str] = []
    while True:
        ranges = _ranges([factor for _, factor in scales], chip_size)
        share = [float(r.holds(size).mean()) for r in ranges]
        idle = [k for k in range(1, len(scales) - 1) if share[k] < _FEW]
        if not idle:
            return scales, dropped
        dropped.append(str(scales.pop(idle[0])[0]))


def _round(value: float, down: bool = False) -> float:
    """``value`` rounded to two digits, which are easy to read; a value close to 1 becomes 1."""
    if not down and 1 / _AS_STORED < value < _AS_STORED:
        return 1.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    digits = math.floor(value / unit + 1e-9) if down else round(value / unit)
    return float(f"{digits * unit:.6g}")
