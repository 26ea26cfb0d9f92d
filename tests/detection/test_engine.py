from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from torchvision.ops import batched_nms, box_iou

from chipper.coco.records import Category
from chipper.detection import engine
from chipper.detection.checkpoint import load_checkpoint, load_detector
from chipper.detection.flips import flip, flips_of
from chipper.detection.model import build_model
from chipper.detection.schedule import Schedule, build_optimizer, global_lr
from chipper.detection.train_options import TrainOptions
from chipper.errors import CheckpointError, OptionError, TrainingError, UnreachableError
from chipper.runs import checkpoints, read_metrics

CLASSES = [Category(3, "square"), Category(7, "disc")]
OPTIONS = TrainOptions(epochs=2, batch_size=2, device="cpu", tensorboard=False)
LOSSES = ("rpn_objectness", "rpn_box", "roi_class", "roi_box")


class ListLoader:
    """Batches of one epoch from a list, from a position in chips on."""

    def __init__(self, batches, start_position):
        self.batches = batches[start_position // OPTIONS.batch_size :]

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


@pytest.fixture(scope="module")
def factory(draw_batch):
    """Two epochs of three batches of two chips of 64 px, in another order each."""
    batches = [draw_batch(seed=20 + i, chips=2, size=64, first_id=2 * i) for i in range(3)]
    return lambda epoch, start: ListLoader(batches if epoch % 2 == 0 else batches[::-1], start)


def tiny(seed=0, size=64):
    return build_model("tiny", 2, size, weights=None, seed=seed)


def train(options, model, factory, folder, on_step=None, classes=CLASSES):
    return engine.train(options, model, classes, factory, folder, on_step=on_step)


def rows_of(folder):
    return list(read_metrics(folder))


def test_a_run_leaves_metrics_of_every_step_and_checkpoints(factory, tmp_path):
    seen = []
    result = train(OPTIONS, tiny(), factory, tmp_path, seen.append)
    assert result.finished
    assert result.step == result.total_steps == len(seen) == 6
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["epoch"] for row in rows] == [0, 0, 0, 1, 1, 1]
    for row in rows:
        assert row["loss"] == pytest.approx(sum(row[name] for name in LOSSES), rel=1e-4)
        assert row["chips_per_s"] > 0
        assert 0 <= row["data_wait"] <= 1
        assert {"lr", "positive_anchors", "foreground_rois", "gradient_norm"} <= set(row)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-00000003.pt", "checkpoint-00000006.pt"]
    assert load_checkpoint(tmp_path).progress.step == 6


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_a_run_stopped_and_resumed_gives_the_losses_of_an_uninterrupted_one(factory, tmp_path, stop):
    train(OPTIONS, tiny(), factory, tmp_path / "whole")
    result = train(OPTIONS, tiny(), factory, tmp_path / "cut", lambda report: report.step == stop)
    assert not result.finished
    assert result.step == stop
    resumed = dataclasses.replace(OPTIONS, resume=True)
    assert train(resumed, tiny(seed=8), factory, tmp_path / "cut").finished
    whole, cut = rows_of(tmp_path / "whole"), rows_of(tmp_path / "cut")
    assert [row["step"] for row in cut] == [1, 2, 3, 4, 5, 6]
    for name in ("lr", "loss", "gradient_norm", *LOSSES, "epoch", "foreground_rois"):
        assert [row[name] for row in cut] == [row[name] for row in whole]
    ends = [load_checkpoint(tmp_path / name).model for name in ("whole", "cut")]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_a_resumed_run_in_fp16_goes_on_with_its_scale(factory, tmp_path):
    options = dataclasses.replace(OPTIONS, precision="fp16")
    train(options, tiny(), factory, tmp_path / "whole")
    train(options, tiny(), factory, tmp_path / "cut", lambda report: report.step == 4)
    train(dataclasses.replace(options, resume=True), tiny(seed=8), factory, tmp_path / "cut")
    ends = [load_checkpoint(tmp_path / name) for name in ("whole", "cut")]
    assert ends[0].scaler == ends[1].scaler
    whole, cut = rows_of(tmp_path / "whole"), rows_of(tmp_path / "cut")
    assert [row["loss"] for row in cut] == [row["loss"] for row in whole]


def test_steps_after_the_last_checkpoint_are_done_again_and_appear_once(factory, tmp_path):
    class CrashError(Exception):
        pass

    def crash(report):
        if report.step == 5:
            raise CrashError

    with pytest.raises(CrashError):
        train(OPTIONS, tiny(), factory, tmp_path, crash)
    assert len(rows_of(tmp_path)) == 5
    assert load_checkpoint(tmp_path).progress.step == 3
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "cut sho')
    train(dataclasses.replace(OPTIONS, resume=True), tiny(), factory, tmp_path)
    assert [row["step"] for row in rows_of(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_max_steps_ends_the_run_and_its_schedule(factory, tmp_path):
    result = train(dataclasses.replace(OPTIONS, max_steps=5, checkpoint_every=4), tiny(), factory, tmp_path)
    assert result.finished
    assert result.step == 5
    assert result.checkpoint == tmp_path / "checkpoint-00000005.pt"
    rates = [row["lr"] for row in rows_of(tmp_path)]
    assert rates[4] == pytest.approx(rates[3] / 10)


def test_the_rpn_alone_leaves_the_other_heads_as_they_were(factory, tmp_path):
    model = build_model("tiny", 2, 64, weights=None, masks=True, focus=True)
    heads = torch.nn.ModuleList((model.box_head, model.mask_head, model.focus_head))
    before = {key: value.clone() for key, value in heads.state_dict().items()}
    options = dataclasses.replace(OPTIONS, rpn_only=True, max_steps=2)
    train(options, model, factory, tmp_path)
    assert all(torch.equal(before[key], value) for key, value in heads.state_dict().items())
    assert all(
        p.grad is not None for p in model.parameters() if p.requires_grad
    )  # as processes that share them need it
    assert "roi_class" not in rows_of(tmp_path)[0]
    whole = build_model("tiny", 2, 64, weights=None, masks=True, focus=True)
    with pytest.raises(TrainingError, match="trains the RPN alone, not the whole detector"):
        train(dataclasses.replace(options, rpn_only=False, resume=True), whole, factory, tmp_path)


def test_a_loss_that_is_not_finite_stops_naming_step_and_chips_and_keeps_the_last_checkpoint(factory, tmp_path):
    def poisoned(epoch, start):
        loader = factory(epoch, start)
        if epoch == 1:
            last = loader.batches[1]
            boxes = last.boxes.clone()
            boxes[last.labels > 0] = torch.tensor([10.0, 10.0, math.inf, 40.0])
            loader.batches[1] = dataclasses.replace(last, boxes=boxes, images=last.images)
        return loader

    model = tiny()
    with torch.no_grad():
        model.box_head["deltas"].bias.fill_(0.0)

    def spoil(report):
        if report.step == 4:
            with torch.no_grad():
                model.box_head["deltas"].bias.fill_(math.nan)

    with pytest.raises(
        TrainingError, match=r"not finite at step 5 .*chips: 2, 3; .*checkpoint-00000003.pt is the last good"
    ):
        train(OPTIONS, model, factory, tmp_path, spoil)
    assert load_checkpoint(tmp_path).progress.step == 3
    assert all(torch.isfinite(value).all() for value in load_checkpoint(tmp_path).model.values())
    assert len(rows_of(tmp_path)) == 4


def test_too_little_memory_says_what_to_lower(factory, tmp_path, monkeypatch):
    model = tiny()

    def forward(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")

    monkeypatch.setattr(model, "forward", forward)
    with pytest.raises(TrainingError, match="for 2 chips of 64 px .*lower batch_size") as caught:
        train(OPTIONS, model, factory, tmp_path)
    assert "\n" not in str(caught.value)


def test_accumulated_batches_make_the_step_of_one_large_batch(draw_batch, tmp_path):
    """With frozen norms, and the same number of rois in each, or nearly so."""
    parts = [draw_batch(seed=20 + i, chips=2, size=64, first_id=2 * i) for i in range(4)]
    most = max(part.boxes.shape[1] for part in parts)

    def joined(pair):
        def values(name):
            tensors = [getattr(part, name) for part in pair]
            if name in ("boxes", "labels", "valid", "ignore"):
                shape = [(len(t), most - t.shape[1], *t.shape[2:]) for t in tensors]
                tensors = [torch.cat((t, t.new_zeros(s)), dim=1) for t, s in zip(tensors, shape, strict=True)]
            return torch.cat(tensors)

        return type(pair[0])(**{f.name: values(f.name) for f in dataclasses.fields(pair[0]) if f.name != "masks"})

    options = dataclasses.replace(OPTIONS, epochs=1, freeze_norms=True, lr=1e-3)
    train(dataclasses.replace(options, accumulate=2), tiny(), lambda e, s: parts, tmp_path / "parts")
    large = [joined(parts[:2]), joined(parts[2:])]
    train(dataclasses.replace(options, batch_size=4), tiny(), lambda e, s: large, tmp_path / "large")
    rows = [rows_of(tmp_path / name) for name in ("parts", "large")]
    assert len(rows[0]) == len(rows[1]) == 2
    for one, other in zip(*rows, strict=True):
        for name in ("rpn_objectness", "rpn_box"):
            assert one[name] == pytest.approx(other[name], rel=1e-3)
        assert one["loss"] == pytest.approx(other["loss"], rel=0.05)
        assert one["foreground_rois"] == other["foreground_rois"]


def test_a_running_average_of_the_weights_is_what_inference_loads(factory, tmp_path):
    options = dataclasses.replace(OPTIONS, ema=0.5, max_steps=3, checkpoint_every=1)
    seen = []
    model = tiny()
    key = "rpn.cls_logits.weight"
    train(options, model, factory, tmp_path, lambda report: seen.append(model.state_dict()[key].clone()) and None)
    average = 0.5 * (0.5 * seen[0] + 0.5 * seen[1]) + 0.5 * seen[2]
    loaded, checkpoint = load_detector(tmp_path)
    torch.testing.assert_close(loaded.state_dict()[key], average)
    torch.testing.assert_close(checkpoint.model[key], seen[2])
    options = dataclasses.replace(options, max_steps=4, resume=True)
    train(options, tiny(), factory, tmp_path)
    four = load_checkpoint(tmp_path)
    torch.testing.assert_close(four.ema[key], 0.5 * average + 0.5 * four.model[key])


def test_a_class_without_instances_is_trained_and_found_nowhere(factory, tmp_path):
    model, classes = build_model("tiny", 3, 64, weights=None), [*CLASSES, Category(9, "never seen")]
    assert train(dataclasses.replace(OPTIONS, max_steps=2), model, factory, tmp_path, classes=classes).finished
    assert all(math.isfinite(row["loss"]) for row in rows_of(tmp_path))


def test_runs_are_not_overwritten_nor_resumed_with_other_classes(factory, tmp_path):
    options = dataclasses.replace(OPTIONS, max_steps=1)
    train(options, tiny(), factory, tmp_path)
    with pytest.raises(TrainingError, match="already holds a run"):
        train(options, tiny(), factory, tmp_path)
    others = [CLASSES[0], Category(7, "ring")]
    with pytest.raises(CheckpointError, match="3 square, 7 disc, of this run 3 square, 7 ring"):
        train(dataclasses.replace(options, resume=True), tiny(), factory, tmp_path, classes=others)


def test_options_that_make_no_sense_are_refused(factory, tmp_path):
    for wrong, message in (
        ({"batch_size": 0}, "batch_size is 0; it goes from 1"),
        ({"model": "large"}, "model is 'large'; it is resnet50, .* or tiny"),
        ({"lr": 0.0}, "lr is 0; it must be over 0"),
        ({"ema": 1.0}, "ema is 1; it is the decay"),
    ):
        with pytest.raises(OptionError, match=f"^{message}"):
            TrainOptions(**wrong)
    with pytest.raises(OptionError, match="the model has 5 classes, the data 2"):
        train(OPTIONS, build_model("tiny", 5, 64, weights=None), factory, tmp_path)
    with pytest.raises(TrainingError, match="nothing to train on"):
        train(OPTIONS, tiny(), lambda epoch, start: ListLoader([], 0), tmp_path)


def test_tensorboard_is_written_beside_the_metrics(factory, tmp_path):
    train(dataclasses.replace(OPTIONS, max_steps=1, tensorboard=True), tiny(), factory, tmp_path)
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_flips_depend_on_seed_epoch_and_chip_and_turn_boxes_within_the_content(batch):
    ids = torch.arange(1000)
    flips = flips_of(ids, seed=1, epoch=2)
    assert torch.equal(flips[[5, 3]], flips_of(torch.tensor([5, 3]), seed=1, epoch=2))
    assert 420 < int(flips.sum()) < 580
    assert not torch.equal(flips, flips_of(ids, seed=1, epoch=3))
    padded = dataclasses.replace(batch, content=torch.tensor([[100.0, 128.0], [128.0, 128.0]]))
    both = torch.tensor([True, True])
    turned = flip(padded, both)
    assert torch.equal(turned.images[0, :, :, :100], padded.images[0, :, :, :100].flip(2))
    assert torch.equal(turned.images[0, :, :, 100:], padded.images[0, :, :, 100:])
    assert torch.equal(turned.images[1], padded.images[1].flip(2))
    real = padded.labels[1] > 0
    assert torch.equal(turned.boxes[1, real, 0], 128 - padded.boxes[1, real, 2])
    assert not turned.boxes[padded.labels == 0].any()
    again = flip(turned, both)
    assert torch.equal(again.images, padded.images)
    assert torch.allclose(again.boxes, padded.boxes)
    still = flip(padded, ~both)
    assert torch.equal(still.images, padded.images)
    assert torch.equal(still.boxes, padded.boxes)


def test_the_schedule_warms_up_from_a_thirtieth_and_drops_to_a_tenth_at_533_of_7():
    schedule = Schedule(lr=0.12, total_steps=70000)
    assert schedule(0) == pytest.approx(0.004)
    assert schedule(1000) == schedule(53299) == 0.12
    assert schedule(53301) == pytest.approx(0.012)
    assert Schedule(0.1, 50).warmup_steps == 5
    assert Schedule(0.1, 1)(0) == 0.1


def test_the_rate_grows_with_the_global_batch_and_batch_norms_are_not_decayed():
    model = tiny()
    resnet = dataclasses.replace(model.spec, optimizer="sgd", lr=0.015)
    assert global_lr(resnet, 16) == 0.015
    assert global_lr(resnet, 128) == pytest.approx(0.12)
    optimizer = build_optimizer(model, resnet)
    assert isinstance(optimizer, torch.optim.SGD)
    decayed, kept = optimizer.param_groups
    assert decayed["weight_decay"] == resnet.weight_decay
    assert all(p.ndim > 1 for p in decayed["params"])
    assert kept["weight_decay"] == 0
    assert all(p.ndim == 1 for p in kept["params"])
    assert isinstance(build_optimizer(model, model.spec), torch.optim.AdamW)


def test_the_tiny_model_learns_to_find_and_name_what_it_sees(draw_batch, tmp_path):
    """Real learning: from scratch to nearly all objects of 12 chips, class and IoU over 0.5.

    It takes 400 steps; 260 are too few for some seeds.
    """
    batches = [draw_batch(seed=i, chips=6, first_id=6 * i) for i in range(2)]
    options = dataclasses.replace(OPTIONS, epochs=200, batch_size=6, lr=2e-3, flips=False)
    model = tiny(size=128)
    train(options, model, lambda epoch, start: ListLoader(batches, 0), tmp_path)
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["loss"] < 0.5
    model.eval()
    found = total = false = 0
    for batch in batches:
        for i, detections in enumerate(model.detect(batch.images, score_floor=0.5)):
            kept = batched_nms(detections.boxes, detections.scores, detections.labels, 0.5)
            boxes, labels = detections.boxes[kept], detections.labels[kept]
            real = batch.labels[i] > 0
            total += int(real.sum())
            if real.any() and len(boxes):
                right = (box_iou(batch.boxes[i, real], boxes) > 0.5) & (batch.labels[i, real][:, None] == labels)
                found += int(right.any(dim=1).sum())
                false += int((~right.any(dim=0)).sum())
            else:
                false += len(boxes)
    assert found >= 0.9 * total
    assert false <= 0.3 * total


def test_masks_are_mirrored_with_their_boxes(draw_batch):
    batch = draw_batch(seed=5, chips=2, size=64)
    masks = torch.zeros(*batch.labels.shape, 56, 56, dtype=torch.uint8)
    masks[..., :28] = 1
    turned = flip(dataclasses.replace(batch, masks=masks), torch.tensor([True, False]))
    real = batch.labels > 0
    assert real[0].any()
    assert torch.equal(turned.masks[0][real[0]], masks[0][real[0]].flip(2))
    assert torch.equal(turned.masks[1], masks[1])


def test_a_run_whose_server_stops_answering_is_saved_and_resumed(factory, tmp_path):
    train(OPTIONS, tiny(), factory, tmp_path / "whole")

    class Breaking(ListLoader):
        def __iter__(self):
            yield self.batches[0]
            raise UnreachableError("s3://bucket/a.tar cannot be read now")

    batches = factory(0, 0).batches
    with pytest.raises(UnreachableError, match="a.tar cannot be read now, with resume$") as caught:
        train(OPTIONS, tiny(), lambda epoch, start: Breaking(batches, start), tmp_path / "cut")
    assert caught.value.exit_code == 75
    assert load_checkpoint(tmp_path / "cut").progress.step == 1
    train(dataclasses.replace(OPTIONS, resume=True), tiny(), factory, tmp_path / "cut")
    whole, cut = rows_of(tmp_path / "whole"), rows_of(tmp_path / "cut")
    assert [row["loss"] for row in cut] == [row["loss"] for row in whole]


def test_cudnn_tries_algorithms_during_the_training_alone(factory, tmp_path):
    seen = []
    options = dataclasses.replace(OPTIONS, max_steps=1)
    assert not torch.backends.cudnn.benchmark
    train(options, tiny(), factory, tmp_path, lambda report: seen.append(torch.backends.cudnn.benchmark))
    assert seen == [True]
    assert not torch.backends.cudnn.benchmark
