"""AutoFocus's branch, which learns where small objects may be (Najibi et al., ICCV 2019); `chipper.inference.focus` uses it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from chipper.detection.batch import Batch


@dataclass(frozen=True)
class FocusRules:
    """The published numbers, for chips of 512 px; sizes are sqrt(w * h) in chip px (AutoFocus, sections 3.1 and 4)."""

    small: tuple[float, float] = (5.0, 64.0)  # objects that a finer scale should see
    unclear: float = 90.0  # up to here, and under the smallest, nothing is taught


RULES = FocusRules()


def focus_labels(batch: Batch, stride: int, rows: int, columns: int, rules: FocusRules = RULES) -> Tensor:
    """What each cell of a map is taught: (B, rows, columns) of 1 (it touches a small object), 0, -1 (ignored).

    A cell that touches no small object but one of unclear size, a crowd, or nothing but padding is ignored.
    """
    factor = batch.images.shape[-1] / 512
    side = (batch.boxes[..., 2:] - batch.boxes[..., :2]).clamp(min=0).prod(dim=-1).sqrt()  # (B, G)
    real = batch.labels > 0
    low, high = (bound * factor for bound in rules.small)
    small = real & ~batch.ignore & (side >= low) & (side < high)
    unclear = real & ~small & (batch.ignore | (side < rules.unclear * factor))

    def touched(which: Tensor) -> Tensor:
        spans = []
        for axis, cells in ((1, rows), (0, columns)):
            start = torch.arange(cells, device=which.device) * stride
            low, high = batch.boxes[..., axis, None], batch.boxes[..., axis + 2, None]
            spans.append((start < high) & (start + stride > low))  # (B, G, cells)
        return (spans[0][..., :, None] & spans[1][..., None, :] & which[..., None, None]).any(dim=1)

    labels = torch.zeros(len(batch), rows, columns, dtype=torch.int64, device=batch.boxes.device)
    down = torch.arange(rows, device=labels.device)[:, None] * stride >= batch.content[:, 1, None, None]
    across = torch.arange(columns, device=labels.device) * stride >= batch.content[:, 0, None, None]
    labels[touched(unclear) | down | across] = -1
    labels[touched(small)] = 1
    return labels


def focus_head(channels: int) -> nn.Module:
    """A 3x3 convolution and one logit a cell."""
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 1, 1))


def focus_loss(logits: Tensor, labels: Tensor, count: Tensor) -> Tensor:
    """Binary cross-entropy over the cells that are not ignored, whose ``count`` it is divided by."""
    taught = labels >= 0
    total = functional.binary_cross_entropy_with_logits(logits[taught], labels[taught].float(), reduction="sum")
    return total / count
