"""Masks of objects, N + 1 ways: the head, and what it is taught (Mask R-CNN, He et al., ICCV 2017, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import roi_align

from chipper.detection.devices import mean_over_processes

MASK_BINS = 14  # of a roi, on each side; masks have twice as many
MASK_ROIS = 64  # that a chip's masks are trained on


def mask_head(channels: int, classes: int) -> nn.Module:
    """torchvision's: four convolutions and a finer map for each of ``classes``, background among them (N + 1 ways)."""
    return nn.Sequential(
        MaskRCNNHeads(channels, (channels,) * 4, dilation=1), MaskRCNNPredictor(channels, channels, classes)
    )


def rois_with_masks(foreground: Tensor, chips: int) -> Tensor:
    """Which of the rois (R,) teach masks: of the ``foreground`` ones evenly, so that each of ``chips`` has its share."""
    rows = foreground.nonzero().squeeze(1)
    return rows[:: -(-len(rows) // (MASK_ROIS * chips)) or 1]


def mask_loss(logits: Tensor, rois: Tensor, masks: Tensor, boxes: Tensor) -> Tensor:
    """Binary cross-entropy of each roi's mask ``logits`` (R, s, s), those of its class.

    masks (R, m, m) are those of the matched boxes (R, 4), over these boxes; rois of objects without one add nothing.
    """
    present = (masks.flatten(1) > 0).any(dim=1)
    logits, rois, masks, boxes = (values[present] for values in (logits, rois, masks, boxes))
    side = masks.shape[-1]
    corner, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6)[:, None]
    inside = ((rois.view(-1, 2, 2) - corner) / size * side).flatten(1)  # the roi in cells of its object's mask
    own = torch.arange(len(rois), device=rois.device, dtype=rois.dtype)[:, None]
    wanted = roi_align(masks[:, None].float(), torch.cat((own, inside), dim=1), logits.shape[-1], 1.0, 2, aligned=True)
    each = functional.binary_cross_entropy_with_logits(logits, (wanted[:, 0] >= 0.5).float(), reduction="none")
    count = mean_over_processes(logits.new_tensor(len(rois))).clamp(min=1)
    return each.mean(dim=(1, 2)).sum() / count
