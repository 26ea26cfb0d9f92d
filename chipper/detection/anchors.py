"""Anchors: the 21 boxes of each feature-map cell that proposals are regressed from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from chipper.errors import OptionError

RATIOS = (0.5, 1.0, 2.0)  # height over width
SIZES_PX = (32.0, 64.0, 112.0, 160.0, 208.0, 256.0, 384.0)  # 16 x (2, 4, 7, 10, 13, 16, 24), for chips of 512 px
PUBLISHED_CHIP = 512


@dataclass(frozen=True)
class AnchorOptions:
    """Sides of the square anchors in px, ratios (height over width) and the stride of the feature map in px."""

    stride: int = 16
    sizes: tuple[float, ...] = SIZES_PX
    ratios: tuple[float, ...] = RATIOS

    def __post_init__(self) -> None:
        if self.stride < 1 or not self.sizes or not self.ratios or min(*self.sizes, *self.ratios) <= 0:
            raise OptionError(f"anchors need a stride of 1 or more and positive sizes and ratios, not {self}")

    @property
    def per_cell(self) -> int:
        """Anchors of one cell."""
        return len(self.sizes) * len(self.ratios)


def sizes_for_chip(chip_size: int, scaled: bool) -> tuple[float, ...]:
    """Anchor sides in px for chips of ``chip_size``: the published ones at 512.

    ``scaled`` multiplies them by ``chip_size / 512``: for a model whose stride shrinks with the chip, so that chip,
    anchors and grid keep their proportions. Otherwise the px stay as published, whatever the chip, since a box of 30
    px is as hard on a large chip as on a small one; only chips over 512 px get further sizes (x1.5 each, as from 256
    to 384) up to three quarters of the chip, the share that the largest published anchor has of its chip.
    """
    if scaled:
        return tuple(size * chip_size / PUBLISHED_CHIP for size in SIZES_PX)
    sizes = list(SIZES_PX)
    while sizes[-1] * 1.5 <= 0.75 * chip_size:
        sizes.append(sizes[-1] * 1.5)
    return tuple(sizes)


def anchors_of(strides: tuple[int, ...], chip_size: int, scaled: bool) -> list[AnchorOptions]:
    """The anchors of each map: the published ones on one map, a size of eight strides on each map of a pyramid.

    (On a pyramid that is Lin et al., CVPR 2017, section 4.1: 32 px at stride 4 up to 512 at 64.)
    """
    if len(strides) == 1:
        return [AnchorOptions(strides[0], sizes_for_chip(chip_size, scaled))]
    return [AnchorOptions(stride, (8.0 * stride,)) for stride in strides]


def base_anchors(options: AnchorOptions) -> Tensor:
    """The anchors of cell (0, 0): (k, 4) float32 x1 y1 x2 y2 in px, continuous, ratios outside, sizes inside.

    The published code rounds each ratio's box once, at the size of one cell, and multiplies afterwards: at stride 16
    ratio 0.5 is 23 x 12, not 22.6 x 11.3. Python's ``round`` goes half to even as numpy's does there. All share the
    cell's centre, half a stride from its corner.
    """
    rows = []
    for ratio in options.ratios:
        width = round(math.sqrt(options.stride**2 / ratio))
        height = round(width * ratio)
        for size in options.sizes:
            half_width, half_height = width * size / options.stride / 2, height * size / options.stride / 2
            rows.append((-half_width, -half_height, half_width, half_height))
    return torch.tensor(rows, dtype=torch.float32) + options.stride / 2


class AnchorGrid(nn.Module):
    """The base anchors laid over a feature map. A module only so that they move with the model; not in its state."""

    base: Tensor

    def __init__(self, options: AnchorOptions) -> None:
        super().__init__()
        self.options = options
        self.register_buffer("base", base_anchors(options), persistent=False)

    def forward(self, rows: int, columns: int) -> Tensor:
        """(rows * columns * n, 4) x1 y1 x2 y2 in px; anchor k of a cell is at (row * columns + column) * n + k."""
        y = torch.arange(rows, device=self.base.device, dtype=torch.float32) * self.options.stride
        x = torch.arange(columns, device=self.base.device, dtype=torch.float32) * self.options.stride
        y, x = torch.meshgrid(y, x, indexing="ij")
        shifts = torch.stack((x, y, x, y), dim=-1)  # (rows, columns, 4)
        return (shifts[:, :, None] + self.base).reshape(-1, 4)
