"""Scales and valid ranges for a data set, from the sizes of its own boxes.

What makes SNIPER work is that the detector meets objects in a narrow band of sizes, whatever their size in the image (SNIP,
section 4). With the paper's scales and ranges that band is about 50 to 250 px of a 512 px chip: 80 x 3 = 240 and
150 x 1.667 = 250 at the top, 32 x 1.667 = 53 at the bottom. The same band, laid over another data set's boxes, gives that data
set's scales.
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
"""Of a chip's side: sqrt(w * h) of a box there, from which on it is left to the next coarser scale."""

OVERLAP = 1.6
"""A scale is also for boxes down to the next finer scale's upper bound over this, so that most boxes are seen at two scales."""

LARGEST_STEP = 2.4
"""Between the factors of two scales: the band is 4.8 wide, and neighbours overlap."""

LARGEST_FACTOR = 3.0
"""The paper's finest scale. Enlarging more adds pixels, and no detail."""

_FEW = 0.01  # of the boxes: a scale in between that is for fewer is left out
_AS_STORED = 1.15  # a factor nearer to 1 than this is 1, which resamples nothing


@dataclass(frozen=True)
class Suggestion:
    """Options for build-positives, coarse to fine, and the reasons for them."""

    scales: str
    valid_ranges: str
    reasons: tuple[str, ...]


def suggest(images: Images, annotations: Annotations, chip_size: int = 512) -> Suggestion:
    """Suggest scales and valid ranges.

    Raises:
        OptionError: there are no boxes to suggest anything from.
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
        f"boxes: sqrt(w*h) is {middle:.0f} px in the middle, under {low:.0f} px for one in ten, over {high:.0f} px for one in "
        f"ten; the longest side of one is {longest:.0f} px; images: {long_side:.0f} px long in the middle"
    ]

    fine = _round(min(SMALL / low, LARGEST_FACTOR))
    whole = chip_size / long_side
    coarse = _round(min((chip_size - int(STRIDE)) / longest, fine), down=True)  # wherever on the grid the box lies
    coarsest = Scale(factor=coarse)
    if coarse <= LARGEST_STEP / 2 * whole and chip_size >= SMALLEST_LONG_SIDE:
        coarsest, coarse, fine = Scale(long_side=float(chip_size)), whole, max(fine, _round(whole))
        reasons.append(
            f"{coarsest}: boxes are up to {longest:.0f} px long, so the coarsest scale shows the whole image in one chip"
        )
    else:
        reasons.append(f"{coarsest}: the largest factor at which a chip of {chip_size} px holds the longest box")

    steps = math.ceil(math.log(max(fine / coarse, 1)) / math.log(LARGEST_STEP) - 1e-9)
    factors = [coarse * (fine / coarse) ** (k / steps) for k in range(1, steps)] if steps > 1 else []
    scales = [(coarsest, coarse), *((Scale(factor=_round(f)), _round(f)) for f in factors)]
    if steps > 0:
        scales.append((Scale(factor=fine), fine))
    scales, dropped = _without_idle(scales, size, chip_size)
    ranges = _ranges([factor for _, factor in scales], chip_size)
    if len(scales) > 1:
        enough = f"shows nine boxes in ten with {SMALL:.0f} px or more"
        reasons.append(
            f"{scales[-1][0]}: {enough}"
            if SMALL / low <= LARGEST_FACTOR * 1.01
            else f"{scales[-1][0]}: {SMALL / low:.1f} would show nine boxes in ten with {SMALL:.0f} px, but enlarging more than "
            f"{LARGEST_FACTOR:g} times adds pixels and no detail"
        )
    if len(scales) > 2:
        names = ", ".join(str(scale) for scale, _ in scales[1:-1])
        step = max(b / a for (_, a), (_, b) in pairwise(scales))
        reasons.append(f"{names}: in between, so that a scale is at most {step:.1f} times the one before")
    if dropped:
        reasons.append(f"left out: {', '.join(dropped)}, which would be for fewer than one box in a hundred")
    if len(scales) > 1:
        reasons.append(
            f"ranges: a box of {TOP * chip_size:.0f} px or more in a chip is left to the next coarser scale; each scale also "
            f"takes boxes down to that bound of the next finer one over {OVERLAP:g}, so that many are seen at two scales"
        )
    return Suggestion(",".join(str(s) for s, _ in scales), ",".join(map(str, ranges)), tuple(reasons))


def _ranges(factors: list[float], chip_size: int) -> list[ValidRange]:
    """The valid range of each factor, coarse to fine; together they hold every size."""
    tops = [math.inf, *(_round(TOP * chip_size / factor) for factor in factors[1:])]
    lows = [*(_round(top / OVERLAP) for top in tops[1:]), 0.0]
    return [ValidRange(low, high) for low, high in zip(lows, tops, strict=True)]


def _without_idle(
    scales: list[tuple[Scale, float]], size: np.ndarray, chip_size: int
) -> tuple[list[tuple[Scale, float]], list[str]]:
    """The scales without those in between that are for hardly any box, and the names of these."""
    dropped: list[str] = []
    while True:
        ranges = _ranges([factor for _, factor in scales], chip_size)
        share = [float(r.holds(size).mean()) for r in ranges]
        idle = [k for k in range(1, len(scales) - 1) if share[k] < _FEW]
        if not idle:
            return scales, dropped
        dropped.append(str(scales.pop(idle[0])[0]))


def _round(value: float, down: bool = False) -> float:
    """Two digits, which people can read; what is nearly 1 is 1."""
    if not down and 1 / _AS_STORED < value < _AS_STORED:
        return 1.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    digits = math.floor(value / unit + 1e-9) if down else round(value / unit)
    return float(f"{digits * unit:.6g}")
