"""The registry of detectors: how large each is, and how it likes to be trained; the first one is the default."""

from __future__ import annotations

from dataclasses import dataclass

PROPOSALS_BEFORE_NMS, PROPOSALS = 6000, 300  # of a whole image at inference; a spec may train with fewer a chip


@dataclass(frozen=True)
class ModelSpec:
    """One size of detector and how it likes to be trained; the defaults are SNIPER's."""

    name: str
    strides: tuple[int, ...] = (16,)  # of the backbone's maps
    scaled_anchors: bool = False
    head_width: int = 1024
    roi_bins: int = 7
    head_norms: bool = False  # batch norms in the box head, which learns from scratch sooner with them
    proposals_before_nms: int = PROPOSALS_BEFORE_NMS  # a chip, in training
    proposals: int = PROPOSALS
    optimizer: str = "sgd"
    lr: float = 0.015  # for 16 chips; grows with the global batch
    beta2: float = 0.999  # of AdamW: how long squared gradients are remembered
    weight_decay: float = 1e-4


MODELS = {
    spec.name: spec
    for spec in (
        ModelSpec("resnet50"),
        ModelSpec("resnet101"),
        ModelSpec("resnet50_fpn", strides=(4, 8, 16, 32, 64)),
        ModelSpec("resnet101_fpn", strides=(4, 8, 16, 32, 64)),
        ModelSpec("mobilenet_v2", strides=(32,), head_width=512),
        # From scratch on a CPU. After 840 steps of 4 chips on the demo's shapes, AdamW at a rate of 2e-3 had AP 0.38 (half
        # or twice the rate: 0.26), SGD at SNIPER's rate, meant for pretrained weights, 0.05, at five times that 0.19.
        # With batch norms in the head, 3e-3 and the shorter memory, the classes are learnt in a fifth fewer steps.
        # Stride and anchors are the published ones halved for chips of 256 px; NMS over 6000 boxes a chip would cost
        # more than the network.
        ModelSpec(
            "tiny", strides=(8,), scaled_anchors=True, head_width=128, roi_bins=5, head_norms=True,
            proposals_before_nms=400, proposals=64, optimizer="adamw", lr=3e-3, beta2=0.97,
            weight_decay=1e-2,
        ),
    )
}  # fmt: skip
