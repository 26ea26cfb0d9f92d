"""Promises of the trainer that a plausible loss would hide: each number here was worked out by hand or by another library."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from chipper.coco.records import Category
from chipper.columns import POSITIVE
from chipper.detection import engine
from chipper.detection.anchors import anchors_of, base_anchors
from chipper.detection.batch import Batch
from chipper.detection.checkpoint import load_checkpoint
from chipper.detection.flips import flip
from chipper.detection.loader import ChipLoader, LoaderOptions
from chipper.detection.model import build_model
from chipper.detection.schedule import global_lr
from chipper.detection.specs import MODELS
from chipper.detection.train_options import TrainOptions
from chipper.inference.scales import widened
from chipper.manifest.workdir import Workdir
from chipper.mining.scales import ValidRange
from chipper.runs import checkpoints


def test_a_batch_is_what_pillow_decodes_and_what_the_manifest_says(
    drawn: Any, tmp_path: Path, build: Callable[..., Workdir], export: Callable[..., Any]
) -> None:
    """Colours, content (also of padded chips) and valid ranges come from the tar and the tables, not from chipper's readers."""
    workdir = build(drawn.coco, tmp_path / "chips", image_dir=drawn.images)
    export(workdir)
    pictures = {}
    for path in workdir.shards.glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                if member.name.endswith(".jpg"):
                    file = tar.extractfile(member)
                    assert file is not None
                    pictures[member.name.removesuffix(".jpg")] = np.asarray(Image.open(io.BytesIO(file.read())))
    manifest = workdir.open()
    chips = manifest.all_chips(POSITIVE)
    low = {0: 120.0, 1: 32.0, 2: 0.0}
    high = {0: np.inf, 1: 150.0, 2: 80.0}
    seen = padded = bounded = 0
    for batch in ChipLoader(workdir, LoaderOptions(batch_size=3))(0):
        for k, chip_id in enumerate(batch.chip_ids.tolist()):
            (row,) = np.flatnonzero(chips.chip_id == chip_id)
            (key,) = [key for key in pictures if key_of(workdir, chip_id) == key]
            picture = pictures[key]
            assert picture.shape == (512, 512, 3)
            assert torch.equal(batch.images[k], torch.from_numpy(picture.transpose(2, 0, 1).copy()))
            assert not np.array_equal(picture, picture[..., ::-1])  # red and blue differ, so their order is seen
            content = [float(chips.content_width[row]), float(chips.content_height[row])]
            assert batch.content[k].tolist() == content
            scale, index = float(chips.scale[row]), int(chips.scale_index[row])
            wanted = [low[index] * scale, high[index] * scale]
            assert batch.valid_range[k].tolist() == pytest.approx(wanted, rel=1e-5)
            seen += 1
            padded += content != [512.0, 512.0]
            bounded += np.isfinite(high[index])
    assert seen >= len(chips)
    assert padded > 3
    assert bounded > 3


def key_of(workdir: Workdir, chip_id: int) -> str:
    import pyarrow.parquet as pq

    for path in workdir.shards.glob("*.index.parquet"):
        for row in pq.read_table(path).to_pylist():
            if row["chip_id"] == chip_id:
                return str(row["key"])
    raise AssertionError(chip_id)


def test_a_padded_chip_is_mirrored_about_the_middle_of_its_content(batch: Batch) -> None:
    """Content of 100 x 128 px: the box from 10 to 30 comes to lie from 70 to 90, the column 0 in column 99."""
    padded = dataclasses.replace(
        batch,
        boxes=torch.tensor([[[10.0, 20.0, 30.0, 60.0]], [[10.0, 20.0, 30.0, 60.0]]]),
        labels=torch.tensor([[1], [1]]),
        valid=torch.tensor([[True], [True]]),
        ignore=torch.tensor([[False], [False]]),
        content=torch.tensor([[100.0, 128.0], [128.0, 128.0]]),
    )
    turned = flip(padded, torch.tensor([True, True]))
    assert turned.boxes.tolist() == [[[70.0, 20.0, 90.0, 60.0]], [[98.0, 20.0, 118.0, 60.0]]]
    assert torch.equal(turned.images[0, :, :, 99], batch.images[0, :, :, 0])
    assert torch.equal(turned.images[1, :, :, 127], batch.images[1, :, :, 0])


@pytest.fixture
def one_batch(draw_batch: Callable[..., Batch]) -> Batch:
    return draw_batch(seed=3, chips=4, size=64)


class Same:
    """The same batch once in every epoch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Any:
        return iter([self.batch])


CLASSES = [Category(3, "square"), Category(7, "disc")]


def test_each_epoch_flips_other_chips_and_samples_other_anchors(
    one_batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model("tiny", 2, 64, weights=None, seed=0)
    seeds, images = [], []
    forward = model.forward

    def watched(batch: Batch, **options: Any) -> Any:
        seeds.append(options["seed"])
        images.append(batch.images.clone())
        return forward(batch, **options)

    monkeypatch.setattr(model, "forward", watched)
    options = TrainOptions(epochs=6, batch_size=4, device="cpu", tensorboard=False)
    engine.train(options, model, CLASSES, lambda epoch, start: Same(one_batch), tmp_path)
    assert len(seeds) == 6
    assert len(set(seeds)) == 6
    mirrored = {tuple(bool((image[k] != one_batch.images[k]).any()) for k in range(4)) for image in images}
    assert len(mirrored) > 2


def test_a_pyramid_has_one_size_of_anchors_on_each_level() -> None:
    """Lin et al., CVPR 2017, section 4.1: areas of 32^2 to 512^2 px on P2 to P6."""
    strides = (4, 8, 16, 32, 64)
    for stride, side, options in zip(strides, (32, 64, 128, 256, 512), anchors_of(strides, 512, False), strict=True):
        anchors = base_anchors(options)
        assert anchors.shape == (3, 4)
        width, height = anchors[1, 2] - anchors[1, 0], anchors[1, 3] - anchors[1, 1]
        assert (width, height) == (side, side)
        assert (anchors[1, 0] + anchors[1, 2]) / 2 == stride / 2


def test_the_padding_colour_is_what_the_network_takes_for_nothing() -> None:
    """ImageNet's mean is 123.675, 116.28, 103.53 in red, green, blue; its deviations are 58.4, 57.1, 57.4."""
    model = build_model("tiny", 2, 64, weights=None, seed=0)
    padding = torch.tensor([124.0, 116.0, 104.0]).view(1, 3, 1, 1)
    assert ((padding - model.mean) / model.std).abs().max() < 0.01
    red = (torch.tensor([255.0, 0.0, 0.0]).view(1, 3, 1, 1) - model.mean) / model.std
    assert red.flatten().tolist() == pytest.approx([2.2489, -2.0357, -1.8044], abs=1e-3)


def test_adam_s_rate_grows_with_the_square_root_of_the_batch() -> None:
    spec = MODELS["tiny"]
    assert spec.optimizer == "adamw"
    assert global_lr(spec, 64) == pytest.approx(2 * global_lr(spec, 16))
    assert global_lr(MODELS["resnet50"], 64) == pytest.approx(4 * global_lr(MODELS["resnet50"], 16))


def test_a_resumed_run_has_the_random_state_of_its_checkpoint(one_batch: Batch, tmp_path: Path) -> None:
    options = TrainOptions(epochs=4, batch_size=4, device="cpu", tensorboard=False)

    def run(options: TrainOptions, on_step: Any) -> None:
        model = build_model("tiny", 2, 64, weights=None, seed=0)
        engine.train(options, model, CLASSES, lambda epoch, start: Same(one_batch), tmp_path, on_step=on_step)

    torch.manual_seed(1234)
    np.random.seed(1234)
    run(options, lambda report: report.step == 2)
    kept = load_checkpoint(checkpoints(tmp_path)[-1]).rng
    torch.manual_seed(99)
    states = []
    first = engine._Run.advance

    def watched(run: Any, *arguments: Any) -> Any:
        states.append(torch.get_rng_state())
        return first(run, *arguments)

    engine._Run.advance = watched  # type: ignore[method-assign]
    try:
        run(dataclasses.replace(options, resume=True), None)
    finally:
        engine._Run.advance = first  # type: ignore[method-assign]
    assert torch.equal(states[0], kept["torch"])


@pytest.mark.parametrize(
    ("trained", "at_inference"),
    [
        (ValidRange(120), ValidRange(75)),  # the published code's own three
        (ValidRange(32, 150), ValidRange(32, 180)),
        (ValidRange(0, 80), ValidRange(0, 90)),
        (ValidRange(96), ValidRange(60)),  # 96 * 75 / 120
        (ValidRange(20, 100), ValidRange(20, 120)),  # 100 * 180 / 150
        (ValidRange(0, 40), ValidRange(0, 48)),
    ],
)
def test_ranges_are_wider_at_inference(trained: ValidRange, at_inference: ValidRange) -> None:
    assert widened(trained) == at_inference
