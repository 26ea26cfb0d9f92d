"""Horizontal flips of whole batches, on the device."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from chipper.detection.batch import Batch
from chipper.seeds import hashed


def flips_of(chip_ids: Tensor, seed: int, epoch: int) -> Tensor:
    """Which chips to mirror in an epoch: (B,) bool on the CPU, by chip and not by worker or place in the batch."""
    return torch.from_numpy((hashed(seed, epoch, chip_ids.cpu().numpy()) & 1).astype(bool))


def flip(batch: Batch, flips: Tensor) -> Batch:
    """Mirror the chips with ``flips`` (B,) left to right within their content, so that padding stays on the right."""
    width = batch.content[:, :1]  # (B, 1)
    column = torch.arange(batch.images.shape[-1], device=flips.device)
    mirrored = width.round().long() - 1 - column
    column = torch.where(flips[:, None] & (mirrored >= 0), mirrored, column)  # (B, K)
    images = batch.images.gather(3, column[:, None, None].expand_as(batch.images))
    x1, y1, x2, y2 = batch.boxes.unbind(dim=2)
    boxes = torch.stack((width - x2, y1, width - x1, y2), dim=2)
    moved = flips[:, None] & (batch.labels > 0)
    masks = batch.masks
    if masks is not None:
        masks = torch.where(moved[..., None, None], masks.flip(3), masks)
    return replace(batch, images=images, boxes=torch.where(moved[..., None], boxes, batch.boxes), masks=masks)
