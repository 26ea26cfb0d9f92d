"""Training and inference: chips per second, compared with torchvision's Faster R-CNN on whole images of the same data.

On a GPU the figures are those of a real run (``--batch 16``). On a CPU only the ratios are meaningful, and two chips per step
are enough for them. Not part of ``python -m benchmarks``: ``python -m benchmarks.training --device cuda --batch 16``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.sets import coco128_chips
from benchmarks.timing import COCO128
from chipper.coco.reading import read_coco
from chipper.detection.engine import train
from chipper.detection.inference import detect_image
from chipper.detection.loader import ChipLoader, LoaderOptions
from chipper.detection.model import build_model
from chipper.detection.train_options import TrainOptions
from chipper.inference.merging import merge_detections
from chipper.manifest.workdir import Workdir
from chipper.mining.scales import parse_scales, parse_valid_ranges
from chipper.runs import StepReport
from chipper.shards.export import export_shards
from chipper.shards.options import ExportOptions

PYRAMID = "480:512,800:1280,1400:2000"


def chips_a_second(workdir: Workdir, name: str, given: argparse.Namespace, folder: Path) -> tuple[float, float, float]:
    """Chips per second, share of time waiting for data (both without the first third of the steps), and peak GPU memory in GB."""
    dataset = workdir.dataset()
    classes = dataset.categories
    loader = ChipLoader(workdir, LoaderOptions(given.batch, given.workers, pin=given.device != "cpu"))
    options = TrainOptions(
        batch_size=given.batch, max_steps=given.steps, device=given.device,
        tensorboard=False, compiled=given.compile, checkpoint_every=10**9, epochs=1000, lr=1e-4,
    )  # fmt: skip
    seen: list[StepReport] = []
    train(
        options,
        build_model(name, len(classes), 512, "none"),
        classes,
        loader,
        folder / name,
        on_step=lambda step: bool(seen.append(step)),
    )
    late = seen[len(seen) // 3 :]
    seconds = sum(given.batch / step.chips_per_s for step in late)
    waited = sum(step.data_wait * given.batch / step.chips_per_s for step in late)
    memory = torch.cuda.max_memory_allocated() / 1e9 if given.device != "cpu" else 0.0
    return given.batch * len(late) / seconds, waited / seconds, memory


def whole_images(given: argparse.Namespace) -> Iterator[tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]]:
    """Batches for torchvision: images in their original size (torchvision resizes them to 800 x 1333) and boxes."""
    coco = read_coco(COCO128 / "instances.json")
    order = np.random.default_rng(0).permutation(len(coco.images))
    number = max(1, given.batch // 8)
    for start in range(0, len(order) - number, number):
        images, targets = [], []
        for k in order[start : start + number]:
            mine = (coco.annotations.image_id == coco.images.image_id[k]) & ~coco.annotations.iscrowd
            with Image.open(COCO128 / "images" / str(coco.images.file_name[k])) as image:
                pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
            boxes = torch.from_numpy(coco.annotations.box[mine]).float()
            images.append(pixels.to(given.device))
            labels = torch.from_numpy(coco.annotations.category_id[mine])
            targets.append({"boxes": boxes.to(given.device), "labels": labels.to(given.device)})
        yield images, targets


def torchvision_images_a_second(given: argparse.Namespace) -> float:
    """Images per second of the training step of fasterrcnn_resnet50_fpn, in the same precision."""
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91).to(given.device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    times, numbers = [], []
    for step, (images, targets) in enumerate(whole_images(given)):
        if step == given.steps:
            break
        synchronised(given.device)
        started = time.perf_counter()
        with torch.autocast(torch.device(given.device).type, torch.bfloat16, enabled=given.device != "cpu"):
            losses = model(images, targets)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        synchronised(given.device)
        times.append(time.perf_counter() - started)
        numbers.append(len(images))
    late = len(times) // 3
    return sum(numbers[late:]) / sum(times[late:])


def synchronised(device: str) -> None:
    """Wait for the device."""
    if device != "cpu":
        torch.cuda.synchronize()


def inference_images_a_second(name: str, given: argparse.Namespace) -> float:
    """Images per second with the published pyramid and merging."""
    scales = parse_scales(PYRAMID)
    ranges = parse_valid_ranges("75:,32:180,:90", scales)
    model = build_model(name, 80, 512, "none").to(given.device)
    paths = sorted((COCO128 / "images").iterdir())[: given.images + 1]
    started = 0.0
    for k, path in enumerate(paths):
        if k == 1:
            started = time.perf_counter()
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
        factors = [float(scale.factors(pixels.shape[1], pixels.shape[0])) for scale in scales]
        merge_detections(detect_image(model, pixels, factors, ranges, device=given.device))
    return given.images / (time.perf_counter() - started)


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--models", default="resnet50,resnet101,resnet50_fpn")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        workdir = coco128_chips(Path(temporary))
        export_shards(workdir, ExportOptions(), image_dir=COCO128 / "images")
        manifest = workdir.open()
        chips = manifest.epoch(0).size / manifest.dataset.counts["images"]
        rival = torchvision_images_a_second(given)
        print(f"torchvision's fasterrcnn_resnet50_fpn at 800 x 1333 px: {rival:.3g} images/s\n")
        print("| model | chips/s | waiting for data | GPU memory | images/s | against torchvision | inference |")
        print("|---|---|---|---|---|---|---|")
        for name in given.models.split(","):
            rate, waiting, memory = chips_a_second(workdir, name, given, Path(temporary))
            seen = inference_images_a_second(name, given)
            print(
                f"| {name} | {rate:.3g} | {waiting:.1%} | {memory:.1f} GB | {rate / chips:.3g} | {rate / chips / rival:.2f} x | "
                f"{seen:.3g} images/s |",
                flush=True,
            )
    print(f"\n{chips:.1f} chips per image and epoch; {given.batch} chips per step on {given.device}.")


if __name__ == "__main__":
    main()
