"""RoIAlign (He et al., ICCV 2017): torchvision's, and the same sums as a weighted lookup for CPUs.

torchvision's loops over each number of the output; on a CPU its gradient took four times as long as that of the lookup,
which adds up whole cells, all their channels at once.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import roi_align

SAMPLES = 2  # of each bin along each axis


def pool_rois(features: Tensor, rois: Tensor, bins: int, stride: int) -> Tensor:
    """Rois (R, 5), image number and x1 y1 x2 y2 in px, from a map (B, c, h, w) of ``stride`` px: (R, c, bins, bins)."""
    if features.device.type != "cpu":
        out: Tensor = roi_align(features, rois, bins, 1 / stride, SAMPLES, aligned=True)
        return out
    channels, height, width = features.shape[1:]
    cells = features.permute(0, 2, 3, 1).reshape(-1, channels)  # no copy of a map in channels_last
    column, across = _cells_of(rois[:, 1] / stride, rois[:, 3] / stride, bins, width)
    row, down = _cells_of(rois[:, 2] / stride, rois[:, 4] / stride, bins, height)
    row = row + (rois[:, 0].long() * height)[:, None, None]
    index = row[:, :, None, :, None] * width + column[:, None, :, None, :]  # (R, bins, bins, k, k)
    weight = down[:, :, None, :, None] * across[:, None, :, None, :]
    looked_up = functional.embedding_bag(
        index.flatten(3).flatten(0, 2), cells, mode="sum", per_sample_weights=weight.flatten(3).flatten(0, 2)
    )
    return looked_up.reshape(len(rois), bins, bins, channels).permute(0, 3, 1, 2)


def _cells_of(low: Tensor, high: Tensor, bins: int, size: int) -> tuple[Tensor, Tensor]:
    """Along one axis the cells that each bin of spans (R,), in cells, is made of, and their weights: (R, bins, k) both."""
    samples = bins * SAMPLES
    at = (torch.arange(samples, dtype=low.dtype, device=low.device) + 0.5) / samples
    at = low[:, None] + (high - low)[:, None] * at - 0.5  # a cell's value is that of its centre
    off = (at < -1) | (at > size)
    at = at.clamp(0, size - 1)
    first = at.floor().clamp(max=max(size - 2, 0))
    second = at - first
    cells = torch.stack((first, (first + 1).clamp(max=size - 1)), dim=2).long()  # (R, samples, 2)
    weights = torch.stack((1 - second, second), dim=2).masked_fill(off[:, :, None], 0) / SAMPLES
    return cells.reshape(len(low), bins, 2 * SAMPLES), weights.reshape(len(low), bins, 2 * SAMPLES)
