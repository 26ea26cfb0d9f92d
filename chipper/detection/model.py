"""The detector: backbone, region proposals, one box head."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import clip_boxes_to_image, nms, remove_small_boxes

from chipper.detection.anchors import AnchorGrid, anchors_of
from chipper.detection.backbones import BACKBONES, load_pretrained
from chipper.detection.batch import Batch
from chipper.detection.devices import mean_over_processes
from chipper.detection.focus import focus_head, focus_labels, focus_loss
from chipper.detection.mask_head import MASK_BINS, mask_head, mask_loss, rois_with_masks
from chipper.detection.pooling import pool_rois
from chipper.detection.specs import MODELS, PROPOSALS, PROPOSALS_BEFORE_NMS, ModelSpec
from chipper.detection.targets import BACKGROUND, areas, noise_of, roi_labels, rpn_labels, sample_anchors
from chipper.errors import OptionError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, in the order R G B
PROPOSAL_NMS = 0.7
FOCUS_STRIDE = 16  # of the map on which small objects are looked for; the nearest there is
MASKS_AN_IMAGE = 200  # of a canvas or tile at inference


class RpnOutput(NamedTuple):
    """The RPN's boxes of one image."""

    boxes: Tensor  # (n, 4) x1 y1 x2 y2 in px of the image given
    scores: Tensor  # (n,) objectness in [0, 1], falling


class Detections(NamedTuple):
    """The box head's boxes of one image."""

    boxes: Tensor  # (n, 4) x1 y1 x2 y2 in px of the image given
    scores: Tensor  # (n,) in [0, 1]
    labels: Tensor  # (n,) int64, 1..C
    masks: Tensor | None = None  # (n, 28, 28) probabilities over the box, from a model with masks
    focus: Tensor | None = None  # (h, w) that a cell of `focus_stride` px shows small objects, from one with focus


class Detector(nn.Module):
    """Faster R-CNN after SNIPER: see `forward` for training, `propose` and `detect` for inference.

    Images are (B, 3, H, W) uint8 RGB of any size. Boxes are regressed class-agnostically.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, spec: ModelSpec, num_classes: int, chip_size: int, masks: bool = False, focus: bool = False
    ) -> None:
        super().__init__()
        self.spec, self.num_classes, self.chip_size = spec, num_classes, chip_size
        self.backbone = BACKBONES[spec.name]()
        channels = self.backbone.out_channels
        anchors = anchors_of(spec.strides, chip_size, spec.scaled_anchors)
        self.anchors = nn.ModuleList(AnchorGrid(options) for options in anchors)  # of each map
        self.rpn = RPNHead(channels, anchors[0].per_cell)
        self.box_head = nn.ModuleDict(
            {
                "layers": TwoMLPHead(channels * spec.roi_bins**2, spec.head_width),
                "classes": nn.Linear(spec.head_width, num_classes + 1),
                "deltas": nn.Linear(spec.head_width, 4),
            }
        )
        for output, std in (("classes", 0.01), ("deltas", 0.001)):  # as Fast R-CNN starts: no class, no shift
            weight, bias = self.box_head[output].parameters()
            nn.init.normal_(weight, std=std)
            nn.init.zeros_(bias)
        self.focus_head = focus_head(channels) if focus else None
        self._focus_map = min(range(len(spec.strides)), key=lambda k: abs(spec.strides[k] - FOCUS_STRIDE))
        self.focus_stride = spec.strides[self._focus_map]
        self.mask_head = mask_head(channels, num_classes + 1) if masks else None
        self.anchor_coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
        self.roi_coder = BoxCoder((10.0, 10.0, 5.0, 5.0))  # stds 0.1 0.1 0.2 0.2
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.counts: dict[str, Tensor] = {}  # of the last training step, for the metrics
        self.norms_frozen = False

    def freeze_norms(self) -> None:
        """Leave statistics and weights of every batch norm as they are, as small batches of whole images need it."""
        self.norms_frozen = True
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Detector:
        """As usual, but for frozen batch norms."""
        super().train(mode)
        if self.norms_frozen:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, batch: Batch, rpn_only: bool = False, seed: int = 0) -> dict[str, Tensor]:
        """The losses of a batch: rpn_objectness, rpn_box and, unless ``rpn_only``, roi_class, roi_box (and mask, focus).

        ``seed`` draws the sampled anchors. Valid boxes join the proposals, so that the box head sees objects before the
        RPN finds any. A chip without boxes, or with nothing but ignored anchors, adds zero and no NaN. Losses are means
        over the anchors and proposals of all processes' batches, so that chips weigh the same whoever trains on them.
        """
        features, objectness, deltas, anchors = self.rpn_outputs(batch.images)
        real = batch.labels > 0
        labels, matched = rpn_labels(
            anchors, batch.boxes, real, batch.valid, batch.ignore, batch.content, batch.images.shape[-1]
        )
        sampled = sample_anchors(labels, noise_of(batch.chip_ids, labels.shape[1], seed))
        positive = sampled & (labels == 1)
        count = mean_over_processes(sampled.sum()).clamp(min=1)
        chip, anchor = positive.nonzero(as_tuple=True)
        wanted = self.anchor_coder.encode_single(batch.boxes[chip, matched[chip, anchor]], anchors[anchor])
        losses = {
            "rpn_objectness": functional.binary_cross_entropy_with_logits(
                objectness[sampled], positive[sampled].float(), reduction="sum"
            )
            / count,
            "rpn_box": functional.smooth_l1_loss(deltas[chip, anchor], wanted, beta=1 / 9, reduction="sum") / count,
        }
        self.counts = {"positive_anchors": positive.sum()}
        if not rpn_only:
            before, limit = self.spec.proposals_before_nms, self.spec.proposals
            found = self.proposals_of(
                objectness.detach(), deltas.detach(), anchors, batch.images.shape[-2:], before, limit
            )
            losses |= self.roi_losses(features, found, batch)
            if self.focus_head is not None:
                logits = self.focus_head(features[self._focus_map]).squeeze(1).float()  # (B, h, w)
                wanted = focus_labels(batch, self.focus_stride, *logits.shape[1:])
                count = mean_over_processes((wanted >= 0).sum()).clamp(min=1)
                losses["focus"] = focus_loss(logits, wanted, count)
        return losses

    def rpn_outputs(self, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """Maps (B, c, h, w), objectness logits (B, A), box deltas (B, A, 4), anchors (A, 4); A is over all maps."""
        features: list[Tensor] = self.backbone((images.float() - self.mean) / self.std)
        chips = len(images)
        objectness, deltas, anchors = [], [], []
        for grid, logits, shifts in zip(self.anchors, *self.rpn(features), strict=True):  # (B, k, h, w), (B, 4k, h, w)
            objectness.append(logits.float().permute(0, 2, 3, 1).reshape(chips, -1))
            deltas.append(shifts.float().permute(0, 2, 3, 1).reshape(chips, -1, 4))
            anchors.append(grid(*logits.shape[2:]))
        return features, torch.cat(objectness, dim=1), torch.cat(deltas, dim=1), torch.cat(anchors)

    def proposals_of(
        self, objectness: Tensor, deltas: Tensor, anchors: Tensor, size: torch.Size, before: int, limit: int
    ) -> list[RpnOutput]:
        """The ``limit`` best after NMS among the ``before`` best of each image, clipped to ``size`` (height, width)."""
        scores, index = objectness.topk(min(before, objectness.shape[1]), dim=1)  # (B, before)
        out = []
        for image_scores, image_index, image_deltas in zip(scores, index, deltas, strict=True):
            boxes = self.anchor_coder.decode_single(image_deltas[image_index], anchors[image_index])
            boxes = clip_boxes_to_image(boxes, (size[0], size[1]))
            large = remove_small_boxes(boxes, 1.0)
            boxes, image_scores = boxes[large], image_scores[large]
            kept = best_after_nms(boxes, image_scores, limit)
            out.append(RpnOutput(boxes[kept], image_scores[kept].sigmoid()))
        return out

    def roi_losses(self, features: list[Tensor], found: list[RpnOutput], batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy over every proposal that is not ignored, smooth L1 over the foreground; both per proposal."""
        teaches = (batch.labels > 0) & batch.valid & ~batch.ignore & (areas(batch.boxes) >= 1)
        rois = nn.utils.rnn.pad_sequence([proposals.boxes for proposals in found], batch_first=True)  # (B, P, 4)
        counts = torch.tensor([len(proposals.boxes) for proposals in found], device=rois.device)
        present = torch.arange(rois.shape[1], device=rois.device) < counts[:, None]
        rois, present = torch.cat((rois, batch.boxes), dim=1), torch.cat((present, teaches), dim=1)
        labels, matched = roi_labels(
            rois, present, batch.boxes, batch.labels, batch.ignore, batch.content, batch.valid_range
        )
        chip, roi = (labels >= 0).nonzero(as_tuple=True)  # (R,) each
        classes, rois, matched = labels[chip, roi], rois[chip, roi], matched[chip, roi]
        logits, deltas = self.box_outputs(features, rois, chip)
        foreground = classes > BACKGROUND
        truth = batch.boxes[chip[foreground], matched[foreground]]  # (F, 4)
        wanted = self.roi_coder.encode_single(truth, rois[foreground])
        count = mean_over_processes(logits.new_tensor(len(rois))).clamp(min=1)
        self.counts |= {
            "foreground_rois": foreground.sum(),
            "rois": foreground.new_tensor(len(rois), dtype=torch.int64),
        }
        losses = {
            "roi_class": functional.cross_entropy(logits, classes, reduction="sum") / count,
            "roi_box": functional.smooth_l1_loss(deltas[foreground], wanted, reduction="sum") / count,
        }
        if self.mask_head is not None and batch.masks is not None:
            rows = rois_with_masks(foreground, len(batch))
            masks, truth = (values[chip[rows], matched[rows]] for values in (batch.masks, batch.boxes))
            logits = self.mask_outputs(features, rois[rows], chip[rows], classes[rows])
            losses["mask"] = mask_loss(logits, rois[rows], masks, truth)
        return losses

    def mask_outputs(self, features: list[Tensor], rois: Tensor, image: Tensor, classes: Tensor) -> Tensor:
        """Mask logits (R, 28, 28) of rois (R, 4) on the images numbered ``image`` (R,), each for its class (R,)."""
        assert self.mask_head is not None
        out: Tensor = self.mask_head(self.pooled(features, rois, image, MASK_BINS))
        return out[torch.arange(len(rois), device=rois.device), classes].float()

    def box_outputs(self, features: list[Tensor], rois: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (R, C + 1) and box deltas (R, 4) of rois (R, 4) on the images numbered ``image`` (R,)."""
        hidden = self.box_head["layers"](self.pooled(features, rois, image, self.spec.roi_bins))
        return self.box_head["classes"](hidden).float(), self.box_head["deltas"](hidden).float()

    def pooled(self, features: list[Tensor], rois: Tensor, image: Tensor, bins: int) -> Tensor:
        """RoIAlign: (R, c, bins, bins), each roi from the map for its size (Lin et al., CVPR 2017, equation 1)."""
        numbered = torch.cat((image[:, None].to(rois.dtype), rois), dim=1)  # (R, 5)
        if len(features) == 1:
            return pool_rois(features[0].float(), numbered, bins, self.spec.strides[0])
        strides = self.spec.strides[:-1]  # the coarsest map is for proposals alone
        level = (areas(rois).clamp(min=1).sqrt() / 224).log2().floor() + 2  # 224 px belong to the third map
        level = level.clamp(0, len(strides) - 1)
        out = rois.new_zeros(len(rois), features[0].shape[1], bins, bins)
        for k, stride in enumerate(strides):
            own = (level == k).nonzero().squeeze(1)
            out = out.index_copy(0, own, pool_rois(features[k].float(), numbered[own], bins, stride))
        return out

    @torch.no_grad()
    def propose(self, images: Tensor, limit: int = PROPOSALS) -> list[RpnOutput]:
        """The RPN's best ``limit`` boxes of each image after NMS 0.7."""
        _, objectness, deltas, anchors = self.rpn_outputs(images)
        return self.proposals_of(
            objectness, deltas, anchors, images.shape[-2:], max(limit, PROPOSALS_BEFORE_NMS), limit
        )

    @torch.no_grad()
    def detect(self, images: Tensor, score_floor: float = 0.001, limit: int = PROPOSALS) -> list[Detections]:
        """Every class of the best proposals that scores over the floor; near-duplicates are left to Soft-NMS."""
        features, objectness, deltas, anchors = self.rpn_outputs(images)
        before = max(limit, PROPOSALS_BEFORE_NMS)
        found = self.proposals_of(objectness, deltas, anchors, images.shape[-2:], before, limit)
        out = []
        for i, proposals in enumerate(found):
            image = torch.full((len(proposals.boxes),), i, device=images.device)
            logits, shifts = self.box_outputs(features, proposals.boxes, image)
            boxes = clip_boxes_to_image(self.roi_coder.decode_single(shifts, proposals.boxes), images.shape[-2:])
            scores = logits.softmax(dim=1)[:, 1:]  # (P, C)
            row, column = (scores > score_floor).nonzero(as_tuple=True)
            detections = Detections(boxes[row], scores[row, column], column + 1)
            if self.mask_head is not None:
                detections = self._with_masks(features, detections, i)
            if self.focus_head is not None:
                logits = self.focus_head(features[self._focus_map][i : i + 1])
                detections = detections._replace(focus=logits[0, 0].float().sigmoid())
            out.append(detections)
        return out

    def _with_masks(self, features: list[Tensor], found: Detections, image: int) -> Detections:
        """The best `MASKS_AN_IMAGE` of one image's detections, with their masks."""
        best = found.scores.argsort(descending=True, stable=True)[:MASKS_AN_IMAGE]
        boxes, labels = found.boxes[best], found.labels[best]
        numbers = torch.full((len(boxes),), image, device=boxes.device)
        masks = self.mask_outputs(features, boxes, numbers, labels).sigmoid()
        return Detections(boxes, found.scores[best], labels, masks)


def best_after_nms(boxes: Tensor, scores: Tensor, limit: int) -> Tensor:
    """Of boxes (n, 4) whose ``scores`` (n,) fall, the indices of the first ``limit`` that NMS keeps.

    What NMS makes of a box depends on the boxes before it alone, so the first few are often all that is needed.
    """
    kept: Tensor
    some = 4 * limit
    while some < len(boxes):
        kept = nms(boxes[:some], scores[:some], PROPOSAL_NMS)
        if len(kept) >= limit:
            return kept[:limit]
        some *= 2
    kept = nms(boxes, scores, PROPOSAL_NMS)
    return kept[:limit]


def build_model(
    name: str,
    num_classes: int,
    chip_size: int,
    weights: str | Path | None = "auto",
    seed: int = 0,
    masks: bool = False,
    focus: bool = False,
) -> Detector:
    """A detector of the registry for ``num_classes`` classes and background.

    ``masks`` adds a mask head, ``focus`` a focus branch.

    ``weights`` as for `backbones.load_pretrained`. The random start depends on ``seed`` alone and leaves
    torch's global generator as it was.
    """
    if name not in MODELS:
        raise OptionError(f"no model {name!r}: choose one of {', '.join(MODELS)}")
    if num_classes < 1:
        raise OptionError(f"a detector needs at least one class, not {num_classes}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = Detector(MODELS[name], num_classes, chip_size, masks, focus)
    load_pretrained(detector.backbone, name, weights)
    return detector
