from __future__ import annotations

import dataclasses

import pytest
import torch
import torchvision

from chipper.detection.backbones import BACKBONES, PUBLISHED_WEIGHTS, DeformableConv
from chipper.detection.mask_head import mask_loss
from chipper.detection.model import PROPOSAL_NMS, best_after_nms, build_model
from chipper.detection.specs import MODELS
from chipper.errors import CheckpointError, OptionError

LOSSES = ["rpn_objectness", "rpn_box", "roi_class", "roi_box"]


def gradients_are_finite(model):
    return all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.fixture(scope="module")
def tiny():
    return build_model("tiny", 2, 128, weights=None, seed=4)


def test_training_gives_four_losses_and_the_rpn_alone_two(tiny, batch):
    tiny.train()
    losses = tiny(batch)
    assert list(losses) == LOSSES
    assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in losses.values())
    assert list(tiny(batch, rpn_only=True)) == LOSSES[:2]
    assert int(tiny.counts["positive_anchors"]) > 0


def test_the_same_seed_gives_the_same_losses(tiny, batch):
    tiny.train()
    first, second = (tiny(batch, seed=5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.values(), second.values(), strict=True))


def test_no_boxes_and_nothing_but_ignored_anchors_leave_gradients_finite(tiny, batch, without_boxes):
    tiny.train()
    crowd = dataclasses.replace(
        batch, boxes=torch.tensor([[[0.0, 0.0, 128.0, 128.0]]]).repeat(2, 1, 1), labels=torch.ones(2, 1,
        dtype=torch.int64), valid=torch.zeros(2, 1, dtype=torch.bool), ignore=torch.ones(2, 1, dtype=torch.bool),
    )  # fmt: skip
    nothing = dataclasses.replace(without_boxes(batch), content=torch.zeros(2, 2))
    out_of_range = dataclasses.replace(batch, valid_range=torch.tensor([[1e6, 2e6]] * 2))
    for case in (without_boxes(batch), crowd, nothing, out_of_range):
        tiny.zero_grad()
        losses = tiny(case)
        assert all(torch.isfinite(loss) for loss in losses.values())
        sum(losses.values()).backward()
        assert gradients_are_finite(tiny)
    assert int(tiny.counts["rois"]) == 0


def test_valid_boxes_join_the_proposals_and_others_do_not(tiny, batch):
    tiny.train()
    tiny(batch)
    joined = int(tiny.counts["foreground_rois"])
    assert joined >= int((batch.labels > 0).sum())
    tiny(dataclasses.replace(batch, valid=torch.zeros_like(batch.valid)))
    assert int(tiny.counts["foreground_rois"]) < joined


@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_registry_trains_and_detects(name, draw_batch):
    model = build_model(name, 3, 64, weights=None)
    batch = draw_batch(seed=2, chips=2, size=64)
    losses = model.train()(batch)
    sum(losses.values()).backward()
    assert gradients_are_finite(model)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    features, objectness, deltas, anchors = model.rpn_outputs(batch.images)
    sides = [-(-64 // stride) for stride in model.spec.strides]
    assert [feature.shape[1:] for feature in features] == [(model.backbone.out_channels, s, s) for s in sides]
    assert len(anchors) == sum(side * side for side in sides) * (21 if len(sides) == 1 else 3)
    assert objectness.shape == (2, len(anchors))
    assert deltas.shape == (2, len(anchors), 4)
    (found, _) = model.eval().detect(batch.images, score_floor=0.0)
    assert found.boxes.shape == (len(found.scores), 4)
    assert set(found.labels.tolist()) <= {1, 2, 3}


def test_deformable_convolutions_start_as_plain_ones_and_learn_where_to_look():
    torch.manual_seed(0)
    for dilation in (1, 2):
        plain = torch.nn.Conv2d(8, 12, 3, padding=dilation, dilation=dilation, bias=False)
        deformable = DeformableConv(plain)
        x = torch.randn(2, 8, 9, 11)
        torch.testing.assert_close(deformable(x), plain(x), rtol=1e-4, atol=1e-5)
        with torch.no_grad():  # every sample one px further right
            deformable.offset.bias[1::2] = 1.0
        torch.testing.assert_close(deformable(x)[..., 2:-4], plain(x)[..., 3:-3], rtol=1e-4, atol=1e-5)
        deformable(x).square().sum().backward()
        assert deformable.offset.weight.grad.abs().max() > 0


def test_conv5_is_deformable_and_dilated_and_takes_published_weights(resnet_file):
    path, _ = resnet_file
    plain = torchvision.models.resnet50(weights=None)
    torch.save(plain.state_dict(), path)
    model = build_model("resnet50", 2, 64, weights=path)
    convolutions = [block.conv2 for block in model.backbone.body.layer4]
    assert all(isinstance(convolution, DeformableConv) for convolution in convolutions)
    assert [convolution.dilation for convolution in convolutions] == [(1, 1), (2, 2), (2, 2)]
    assert torch.equal(convolutions[2].weight, plain.layer4[2].conv2.weight)
    assert not any(convolution.offset.weight.any() for convolution in convolutions)
    fpn = build_model("resnet50_fpn", 2, 64, weights=path)
    assert torch.equal(fpn.backbone.body.layer4[2].conv2.weight, plain.layer4[2].conv2.weight)


def test_a_pyramid_pools_each_roi_from_the_map_for_its_size():
    model = build_model("resnet50_fpn", 2, 512, weights=None)
    maps = [torch.full((2, 256, 512 // stride, 512 // stride), float(k)) for k, stride in enumerate((4, 8, 16, 32, 64))]
    sides = torch.tensor([5.0, 60.0, 111.0, 113.0, 223.0, 225.0, 447.0, 449.0, 511.0])
    rois = torch.stack((sides * 0, sides * 0, sides, sides), dim=1)
    found = model.pooled(maps, rois, torch.arange(9) % 2, 7)
    assert found.shape == (9, 256, 7, 7)
    assert found[:, 0, 3, 3].tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (129, 65), (250, 333)])
def test_images_of_any_size_go_through(tiny, size):
    images = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    (proposals,) = tiny.eval().propose(images, limit=20)
    (found,) = tiny.detect(images)
    assert len(proposals.boxes) <= 20
    for boxes in (proposals.boxes, found.boxes):
        assert boxes.numel() == 0 or (
            boxes.min() >= 0 and boxes[:, 2].max() <= size[1] and boxes[:, 3].max() <= size[0]
        )
    assert (proposals.scores.diff() <= 0).all()


@pytest.mark.parametrize(("number", "limit"), [(0, 5), (3, 5), (300, 5), (300, 60), (300, 1000)])
def test_the_best_after_nms_are_those_of_nms_over_all_boxes(number, limit):
    generator = torch.Generator().manual_seed(number)
    corner = torch.randint(0, 12, (number, 2), generator=generator).float()
    boxes = torch.cat((corner, corner + 20), dim=1)  # close together, so that most fall
    scores = torch.rand(number, generator=generator).sort(descending=True).values
    whole = torchvision.ops.nms(boxes, scores, PROPOSAL_NMS)
    assert torch.equal(best_after_nms(boxes, scores, limit), whole[:limit])


def test_the_start_depends_on_the_seed_alone_and_leaves_the_global_generator():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a, b, c = (build_model("tiny", 2, 128, weights=None, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not all(torch.equal(a[key], c[key]) for key in a)


def test_unknown_models_and_senseless_class_counts_are_refused():
    with pytest.raises(OptionError, match="no model 'vgg': choose one of resnet50, resnet101"):
        build_model("vgg", 2, 64)
    with pytest.raises(OptionError, match="at least one class"):
        build_model("tiny", 0, 64)


@pytest.fixture
def resnet_file(tmp_path):
    path = tmp_path / "resnet50.pth"
    backbone = BACKBONES["resnet50"]()
    torch.save(backbone.body.state_dict(), path)
    return path, backbone


def test_pretrained_weights_fill_the_body_and_freeze_the_stem_with_its_batch_norm(resnet_file, draw_batch):
    path, backbone = resnet_file
    model = build_model("resnet50", 2, 64, weights=path, seed=9).train()
    assert torch.equal(model.backbone.body.conv1.weight, backbone.body.conv1.weight)
    frozen = {name for name, p in model.backbone.body.named_parameters() if not p.requires_grad}
    assert all(name.startswith(("conv1", "bn1", "layer1")) for name in frozen)
    assert len(frozen) == 33
    statistics = model.backbone.body.bn1.running_mean.clone(), model.backbone.body.layer2[0].bn1.running_mean.clone()
    model(draw_batch(seed=2, chips=2, size=64))
    assert torch.equal(model.backbone.body.bn1.running_mean, statistics[0])
    assert not torch.equal(model.backbone.body.layer2[0].bn1.running_mean, statistics[1])
    scratch = build_model("resnet50", 2, 64, weights="none").train()
    assert all(p.requires_grad for p in scratch.parameters())
    assert scratch.backbone.body.bn1.training


def test_weights_that_do_not_fit_are_refused_in_one_sentence(resnet_file, tmp_path):
    with pytest.raises(CheckpointError, match="does not fit the backbone resnet101"):
        build_model("resnet101", 2, 64, weights=resnet_file[0])
    with pytest.raises(CheckpointError, match="no file"):
        build_model("tiny", 2, 64, weights=tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match="not a torchvision state dict"):
        build_model("tiny", 2, 64, weights=tmp_path / "text.pth")


def test_auto_weights_fall_back_to_scratch_with_a_line_in_the_log(monkeypatch, tmp_path, caplog):
    def no_network(*_args, **_kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("chipper.detection.backbones.urllib.request.urlopen", no_network)
    model = build_model("mobilenet_v2", 2, 64, weights="auto")
    assert not model.backbone.stem_frozen
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no ImageNet weights for mobilenet_v2 (network is unreachable" in caplog.text
    assert "tiny" not in PUBLISHED_WEIGHTS
    assert not build_model("tiny", 2, 64, weights="auto").backbone.stem_frozen


# --- masks ---


def with_masks(batch, masks):
    return dataclasses.replace(batch, masks=masks)


def test_the_mask_loss_worked_out_by_hand():
    """One object whose left half is its mask: rois on the left, the right, and twice as wide as the object."""
    mask = torch.zeros(4, 56, 56, dtype=torch.uint8)
    mask[:, :, :28] = 1
    boxes = torch.tensor([[20.0, 20.0, 60.0, 60.0]]).repeat(4, 1)
    rois = torch.tensor([[20.0, 20, 40, 60], [40, 20, 60, 60], [20, 20, 60, 60], [0, 20, 80, 60]])
    logits = torch.full((4, 28, 28), -3.0)
    logits[0], logits[2, :, :14], logits[3, :, 7:14] = 3.0, 3.0, 3.0
    right = float(torch.nn.functional.softplus(torch.tensor(-3.0)))  # every px is right, by a logit of 3
    assert float(mask_loss(logits, rois, mask, boxes)) == pytest.approx(right, rel=1e-3)
    logits[1] = 3.0
    assert float(mask_loss(logits, rois, mask, boxes)) == pytest.approx((3 * right + 3.0 + right) / 4, rel=1e-3)
    assert float(mask_loss(logits, rois, mask * 0, boxes)) == 0
    mask[1] = 0  # the wrong one has no mask: nothing to learn from it
    assert float(mask_loss(logits, rois, mask, boxes)) == pytest.approx(right, rel=1e-3)


def test_each_roi_has_the_mask_of_its_class():
    model = build_model("tiny", 2, 128, weights=None, masks=True)
    features, rois = model.backbone(torch.rand(1, 3, 128, 128)), torch.tensor([[20.0, 20, 60, 60]]).repeat(3, 1)
    numbers = torch.zeros(3, dtype=torch.int64)
    every = [model.mask_outputs(features, rois, numbers, torch.full((3,), k)) for k in range(3)]
    own = model.mask_outputs(features, rois, numbers, torch.arange(3))
    assert not torch.equal(every[0], every[1])
    assert all(torch.equal(own[k], every[k][k]) for k in range(3))


def test_a_model_with_masks_trains_and_detects(draw_batch):
    model = build_model("tiny", 2, 64, weights=None, masks=True).train()
    batch = draw_batch(seed=2, chips=2, size=64)
    masks = torch.ones(*batch.labels.shape, 56, 56, dtype=torch.uint8)
    losses = model(with_masks(batch, masks))
    assert list(losses) == [*LOSSES, "mask"]
    assert losses["mask"].item() > 0
    sum(losses.values()).backward()
    assert gradients_are_finite(model)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.zero_grad()
    losses = model(with_masks(batch, masks * 0))  # no object has one
    assert losses["mask"].item() == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.mask_head.parameters())
    (found, _) = model.eval().detect(batch.images, score_floor=0.0)
    assert found.masks.shape == (len(found.scores), 28, 28)
    assert len(found.scores) <= 200
    assert 0 <= float(found.masks.min()) <= float(found.masks.max()) <= 1
