"""SNIPER's label rules: what each anchor and each proposal of a batch of chips is taught.

Pure functions over padded boxes, all chips of a batch at once. Labels are int64: 1.. object, 0 background, -1 ignored.
Sizes: B chips, G boxes a chip (padded), A anchors, P proposals a chip (padded). Boxes are x1 y1 x2 y2 in chip px, x2
and y2 exclusive.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -1
BACKGROUND = 0
# A chip's boxes are compared with all anchors in slices of so many pairs: a chip with thousands of boxes then costs
# time, not memory.
PAIRS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class RpnRules:
    """SNIPER's numbers for anchors."""

    positive_iou: float = 0.5
    negative_iou: float = 0.4
    ignore_iou: float = 0.3  # with a box that is not valid at this scale, or is a crowd or too small
    ignore_iof: float = 0.5  # share of the anchor inside a crowd, whose members may be anywhere in it
    border: float = 32.0  # px an anchor may stick out of the chip
    samples: int = 256
    positive_share: float = 0.5


@dataclass(frozen=True)
class RoiRules:
    """SNIPER's numbers for proposals."""

    foreground_iou: float = 0.5
    ignore_iof: float = 0.5  # share of the proposal inside one crowd or too small box
    content_share: float = 0.5  # a proposal with less of its area on the image is mostly padding


RPN_RULES, ROI_RULES = RpnRules(), RoiRules()


def areas(boxes: Tensor) -> Tensor:
    """Width times height of boxes (..., 4), 0 for inverted ones: (...)."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def intersections(boxes: Tensor, others: Tensor) -> Tensor:
    """Shared area in px of each pair of boxes (..., n, 4) and (..., m, 4): (..., n, m); leading axes broadcast."""
    x1, y1, x2, y2 = boxes[..., None].unbind(dim=-2)  # (..., n, 1) each
    left, top, right, bottom = others.movedim(-1, 0).contiguous()[..., None, :]  # (..., 1, m) each, whole for speed
    width = torch.minimum(x2, right).sub_(torch.maximum(x1, left)).clamp_(min=0)
    return torch.minimum(y2, bottom).sub_(torch.maximum(y1, top)).clamp_(min=0).mul_(width)


def share(part: Tensor, whole: Tensor) -> Tensor:
    """``part / whole``, 0 where the whole is empty, so that a box without area matches nothing."""
    return torch.where(whole > 0, part / whole.clamp(min=torch.finfo(whole.dtype).tiny), torch.zeros_like(part))


def ious(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """IoU of each pair (..., n, 4) and (..., m, 4), and the shared area: both (..., n, m)."""
    shared = intersections(boxes, others)
    union = (areas(boxes)[..., :, None] + areas(others)[..., None, :]).sub_(shared)
    return share(shared, union), shared


def rpn_labels(
    anchors: Tensor,
    boxes: Tensor,
    real: Tensor,
    valid: Tensor,
    ignore: Tensor,
    content: Tensor,
    chip_size: int,
    rules: RpnRules = RPN_RULES,
) -> tuple[Tensor, Tensor]:
    """Label every anchor of every chip, before sampling.

    anchors (A, 4); boxes (B, G, 4); real, valid, ignore (B, G) bool, ``real`` false on padding rows; content (B, 2)
    width, height in px. Returns labels (B, A) in {1, 0, -1} and the index of the valid box that fits each anchor best
    (B, A), which means something only where the label is 1.

    From the published code: positive at IoU >= 0.5 with a valid box, or the best anchor of one (all that tie);
    negative under 0.4 with every valid box; ignored over IoU 0.3 with any other box, even if positive; ignored if it
    sticks out of the chip by more than 32 px. Ours: an anchor that is mostly in an ignore box, or centred on padding,
    is no negative.
    """
    chips, count = boxes.shape[0], anchors.shape[0]
    limit = chip_size + rules.border
    inside = ((anchors[:, :2] >= -rules.border) & (anchors[:, 2:] - 1 < limit)).all(dim=1).nonzero().squeeze(1)  # (I,)
    anchors = anchors[inside]
    teaches = real & valid & ~ignore  # (B, G)
    spoils = real & ~teaches
    crowds = real & ignore
    best_iou = anchors.new_zeros(chips, len(anchors))
    matched = torch.zeros(chips, len(anchors), dtype=torch.int64, device=anchors.device)
    is_best = torch.zeros(chips, len(anchors), dtype=torch.bool, device=anchors.device)
    spoiled, in_crowd = is_best.clone(), is_best.clone()
    least_shared = rules.ignore_iof * areas(anchors).clamp(min=1e-6)
    step = max(1, PAIRS_AT_ONCE // max(1, len(anchors)))
    for chip, rows in enumerate(_rows_of(real)):
        for start in range(0, rows, step):
            part = slice(start, min(start + step, rows))
            iou, shared = ious(boxes[chip, part], anchors)  # (g, I): the long axis last, for speed
            spoiled[chip] |= ((iou > rules.ignore_iou) & spoils[chip, part, None]).any(dim=0)
            in_crowd[chip] |= ((shared > least_shared) & crowds[chip, part, None]).any(dim=0)
            iou *= teaches[chip, part, None]
            top = iou.amax(dim=1, keepdim=True)  # (g, 1) of each box, over all anchors
            is_best[chip] |= ((iou == top) & (top > 0)).any(dim=0)
            part_iou, part_match = iou.max(dim=0)  # (I,) of each anchor
            matched[chip] = torch.where(part_iou > best_iou[chip], part_match + start, matched[chip])
            best_iou[chip] = torch.maximum(best_iou[chip], part_iou)

    centre = (anchors[:, :2] + anchors[:, 2:]) / 2
    on_padding = (centre >= content[:, None]).any(dim=2)  # (B, I)
    labels = torch.full_like(matched, IGNORED)
    labels[(best_iou < rules.negative_iou) & ~on_padding & ~in_crowd] = BACKGROUND
    labels[is_best | (best_iou >= rules.positive_iou)] = 1
    labels[spoiled] = IGNORED
    all_labels = labels.new_full((chips, count), IGNORED)
    all_labels[:, inside] = labels
    all_matched = matched.new_zeros(chips, count)
    all_matched[:, inside] = matched
    return all_labels, all_matched


def _rows_of(real: Tensor) -> list[int]:
    """Of each chip, how many rows there are up to its last box; one wait for the device."""
    number = torch.arange(1, real.shape[1] + 1, device=real.device)
    last: list[int] = (real * number).amax(dim=1).tolist() if real.shape[1] else [0] * len(real)
    return last


def noise_of(chip_ids: Tensor, count: int, seed: int) -> Tensor:
    """Random numbers in [0, 1): (B, count) float32, which depend on the chip and the seed and on nothing else.

    So a chip draws the same anchors in whatever batch, process or device it is trained. SplitMix64 (Steele, Lea, Flood,
    OOPSLA 2014) in signed 64-bit integers, which wrap around.
    """

    def mixed(x: Tensor, shift: int, factor: int) -> Tensor:
        return (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * (factor - (1 << 64))

    index = torch.arange(count, device=chip_ids.device)
    x = (chip_ids[:, None] + seed % (1 << 40)) * 0x1E3779B97F4A7C15 + index * 0x2545F4914F6CDD1D
    x = mixed(mixed(x, 30, 0xBF58476D1CE4E5B9), 27, 0x94D049BB133111EB)
    return ((x >> 40) & 0xFFFFFF).to(torch.float32) / (1 << 24)


def sample_anchors(labels: Tensor, noise: Tensor, rules: RpnRules = RPN_RULES) -> Tensor:
    """Choose at random the anchors that the RPN's loss sees: (B, A) bool, 256 a chip, at most half of them positive.

    labels (B, A) from `rpn_labels`, noise (B, A) from `noise_of`. Negatives fill what positives leave.
    """
    chosen = torch.zeros_like(labels, dtype=torch.bool)
    room = torch.full((labels.shape[0], 1), int(rules.samples * rules.positive_share), device=labels.device)
    for wanted in (labels == 1, labels == BACKGROUND):
        order = noise.masked_fill(~wanted, -1.0)
        top, index = order.topk(min(rules.samples, labels.shape[1]), dim=1)  # (B, s)
        picked = (top >= 0) & (torch.arange(top.shape[1], device=labels.device) < room)
        chosen.scatter_(1, index, chosen.gather(1, index) | picked)
        room = rules.samples - picked.sum(dim=1, keepdim=True)
    return chosen


def roi_labels(
    proposals: Tensor,
    present: Tensor,
    boxes: Tensor,
    classes: Tensor,
    ignore: Tensor,
    content: Tensor,
    valid_range: Tensor,
    rules: RoiRules = ROI_RULES,
) -> tuple[Tensor, Tensor]:
    """Label every proposal of every chip; all that are not ignored are trained on.

    proposals (B, P, 4), present (B, P) bool; boxes (B, G, 4), classes (B, G) with 0 on padding rows, ignore (B, G);
    content (B, 2) px; valid_range (B, 2) in chip px. Returns labels (B, P), -1 to C, and the index of the matched box
    (B, P), which means something only where the label is over 0.

    From the published code: the class of the box it fits best, if IoU > 0.5, valid or not, so that a detection at the
    wrong scale is still the right class; ignored when its own sqrt(w * h) is outside the chip's valid range. Ours:
    unmatched and mostly inside a crowd or too small box, or mostly on padding, is ignored and not background.
    """
    size = areas(proposals)  # (B, P)
    side = size.sqrt()
    in_range = (side >= valid_range[:, :1]) & (side < valid_range[:, 1:])
    image = torch.cat((torch.zeros_like(content), content), dim=1)  # (B, 4)
    on_image = share(intersections(proposals, image[:, None]).squeeze(2), size)
    matched = torch.zeros_like(present, dtype=torch.int64)
    labels = torch.zeros_like(matched)
    unclear = on_image < rules.content_share
    if boxes.shape[1]:
        iou, shared = ious(proposals, boxes)  # (B, P, G)
        best_iou, matched = (iou * ((classes > 0) & ~ignore)[:, None]).max(dim=2)
        labels = torch.where(best_iou > rules.foreground_iou, classes.gather(1, matched), labels)
        crowded = share(shared, size[..., None].expand_as(shared)) * ((classes > 0) & ignore)[:, None]
        unclear = unclear | (crowded > rules.ignore_iof).any(dim=2)
    labels = labels.masked_fill((labels == BACKGROUND) & unclear, IGNORED)
    return labels.masked_fill(~present | ~in_range | (size <= 0), IGNORED), matched
