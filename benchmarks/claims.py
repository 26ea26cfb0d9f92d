"""Check SNIPER's findings on available data: AP for the same number of training pixels.

``python -m benchmarks.claims`` trains every method with every seed on drawn images (objects of 6 to 400 px among look-alikes)
and evaluates it on other images; ``--data bccd`` uses the blood cells instead. ``--size full`` is for a GPU. Each result is
added to ``--out`` when it is ready; a run that is already there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.bccd import bccd
from chipper import __version__
from chipper.coco.reading import read_images
from chipper.columns import CHIPS_PER_IMAGE, FIRST_NEGATIVE
from chipper.demo.data import DemoOptions, draw_demo
from chipper.detection.batch import Batch
from chipper.detection.checkpoint import load_checkpoint
from chipper.detection.engine import train
from chipper.detection.loader import ChipLoader, LoaderOptions
from chipper.detection.model import Detector, build_model
from chipper.detection.predict import predict, propose
from chipper.detection.specs import MODELS
from chipper.detection.train_options import TrainOptions
from chipper.evaluation.scores import evaluate
from chipper.images.options import PixelOptions
from chipper.inference.scales import InferenceScales
from chipper.manifest.build_positives import build_positives
from chipper.manifest.mine_negatives import mine_negatives
from chipper.manifest.workdir import Workdir
from chipper.mining.options import MOST_EPOCHS, NegativeOptions, PositiveOptions
from chipper.mining.scales import parse_scales, parse_valid_ranges
from chipper.parallel.progress import Monitor
from chipper.parallel.workers import Workers
from chipper.proposals.writing import write_proposals
from chipper.runs import CONFIG, RunConfig
from chipper.shards.export import export_shards
from chipper.shards.options import ExportOptions
from chipper.storage.files import write_json

NUMBERS = ("AP", "APs", "APm", "APl")


@dataclass(frozen=True)
class Size:
    """The size of a study."""

    model: str
    chip: int
    batch: int  # chips per step
    rpn_steps: int
    pixels: float  # pixels that each method trains on
    images: tuple[int, int]  # number for training and for evaluation


SIZES = {
    "cpu": Size("tiny", 256, 8, 80, 300e6, (240, 100)),
    "smoke": Size("tiny", 128, 4, 2, 0.3e6, (6, 3)),  # only shows that it runs
    "full": Size("resnet50", 512, 16, 1000, 60e9, (8000, 1000)),
}


@dataclass(frozen=True)
class Method:
    """One way to train and to predict; scales are for chips of 512 px."""

    name: str
    scales: tuple[str, ...] = ("512", "1.667", "4")
    ranges: str | None = "120:,32:150,:80"  # None: every box is valid at every scale
    negatives: bool = True
    whole: bool = False  # train on whole images instead of chips
    from_rpn: bool = False  # start from the weights of the RPN, including batch norms
    freeze_norms: bool = False
    as_many_positives: bool = False  # same number of positive chips as without negatives, so more pixels


METHODS = (
    Method("SNIPER"),
    Method("without negative chips", negatives=False),
    Method("two scales", scales=("512", "1.667"), ranges="120:,:150"),
    Method("whole images, one scale", scales=("1.667",), ranges=None, whole=True),
    Method("whole images, three scales", ranges=None, whole=True),
    Method("SNIPER, with the same number of positive chips", as_many_positives=True),
    Method("SNIPER from the RPN's weights", from_rpn=True),
    Method("the same, norms frozen", from_rpn=True, freeze_norms=True),
)


class Study:
    """Data, proposals and runs of one study, in a folder."""

    def __init__(self, folder: Path, train_json: Path, val_json: Path, size: Size, device: str) -> None:
        self.folder, self.size, self.device = folder, size, device
        self.train_json, self.val_json = train_json, val_json
        self.monitor = Monitor()

    def scales(self, method: Method) -> str:
        """The method's scales for this study's chips."""
        ratio = self.size.chip / 512
        return ",".join(f"{float(scale) * ratio:g}" for scale in method.scales)

    def workdir(self, method: Method, seed: int) -> Workdir:
        """The workdir of a method, with shards; made only once."""
        kind = "negatives" if method.negatives else "positives"
        workdir = Workdir(self.folder / f"chips-{kind}-{len(method.scales)}-{seed}")
        if not (workdir.shards / "dataset.json").exists():
            options = PositiveOptions.parse(
                self.scales(method), valid_ranges=method.ranges, chip_size=self.size.chip, seed=seed
            )
            build_positives(self.train_json, workdir, options, overwrite=True, workers=Workers(1), monitor=self.monitor)
            if method.negatives:
                mine_negatives(
                    workdir, self.proposals(seed), NegativeOptions(), workers=Workers(1), monitor=self.monitor
                )
            export_shards(workdir, ExportOptions(), workers=Workers(1), monitor=self.monitor)
        return workdir

    def rpn(self, seed: int) -> Path:
        """The run of the short RPN schedule on positive chips (SNIPER, section 3.2)."""
        run = self.folder / f"rpn-{seed}"
        if not run.exists():
            workdir = self.workdir(replace(METHODS[0], negatives=False), seed)
            self.train_on_chips(run, workdir, self.model(workdir, seed), seed, self.size.rpn_steps, rpn_only=True)
        return run

    def proposals(self, seed: int) -> Path:
        """The RPN's proposals for the training images."""
        path = self.folder / f"rpn-{seed}.pkl"
        if not path.exists():
            images, method = read_images(self.train_json), METHODS[0]
            scales = parse_scales(self.scales(method))
            pyramid = InferenceScales(scales, parse_valid_ranges(method.ranges, scales))
            folder = self.train_json.parent / "images"
            found = propose(self.rpn(seed), images, folder, pyramid, device=self.device, monitor=self.monitor)
            write_proposals(path, found, images, len(images))
        return path

    def model(self, workdir: Workdir, seed: int) -> Detector:
        """A fresh detector."""
        classes = len(workdir.dataset().categories)
        return build_model(
            self.size.model, classes, self.size.chip, "none" if self.size.model == "tiny" else "auto", seed
        )

    def options(self, seed: int, steps: int, **more: Any) -> TrainOptions:
        """Options of a run; one learning rate for all methods."""
        return TrainOptions(
            epochs=MOST_EPOCHS,  # max_steps ends the training first
            batch_size=self.size.batch,
            max_steps=steps,
            lr=None if self.size.model != "tiny" else MODELS["tiny"].lr * math.sqrt(self.size.batch / 16),
            seed=seed,
            device=self.device,
            checkpoint_every=10**9,
            tensorboard=False,
            **more,
        )

    def train_on_chips(self, run: Path, workdir: Workdir, model: Detector, seed: int, steps: int, **more: Any) -> None:
        """Train on the shards of a workdir."""
        workers = 0 if self.device == "cpu" else 8
        loader = ChipLoader(workdir, LoaderOptions(self.size.batch, workers))
        train(self.options(seed, steps, **more), model, workdir.dataset().categories, loader, run)
        self.keep_config(run, workdir)

    @staticmethod
    def keep_config(run: Path, workdir: Workdir) -> None:
        """Write the run configuration that `predict` needs."""
        dataset = workdir.dataset()
        write_json(run / CONFIG, RunConfig(__version__, dataset.id, dataset.options, {}, PixelOptions().as_text()))

    def run(self, method: Method, seed: int) -> dict[str, float]:
        """Train and evaluate one method."""
        started = time.perf_counter()
        run = Path(tempfile.mkdtemp(dir=self.folder)) / "run"
        workdir = self.workdir(METHODS[1] if method.whole else method, seed)
        model = self.model(workdir, seed)
        if method.from_rpn:
            model.load_state_dict(load_checkpoint(self.rpn(seed)).model)
        if method.whole:
            loader = WholeImages(self, method, seed, [category.id for category in workdir.dataset().categories])
            train(self.options(seed, len(loader.batches)), model, workdir.dataset().categories, loader, run)
            self.keep_config(run, workdir)
            pixels = loader.pixels
        else:
            steps = round(self.budget(method, workdir) / (self.size.batch * self.size.chip**2))
            self.train_on_chips(run, workdir, model, seed, steps, freeze_norms=method.freeze_norms)
            pixels = steps * self.size.batch * self.size.chip**2
        trained = time.perf_counter() - started
        scales = parse_scales(self.scales(method))
        ranges = parse_valid_ranges(method.ranges or ",".join(":" for _ in scales), scales)
        pyramid = (
            InferenceScales(scales, ranges) if method.ranges is None else InferenceScales.trained_on(scales, ranges)
        )
        images = read_images(self.val_json)
        folder = self.val_json.parent / "images"
        results = predict(run, images, folder, pyramid, device=self.device, score_floor=0.01, monitor=self.monitor)
        write_json(run / "detections.json", results)
        found = evaluate(self.val_json, run / "detections.json").numbers
        return {name: 100 * found[name] for name in NUMBERS} | {
            "pixels": pixels,
            "seconds": round(trained),
            "seconds_with_evaluation": round(time.perf_counter() - started),
        }

    def budget(self, method: Method, workdir: Workdir) -> float:
        """The number of pixels to train on."""
        if not method.as_many_positives:
            return self.size.pixels
        chips = workdir.open().epoch(0)
        return self.size.pixels * chips.size / (chips % CHIPS_PER_IMAGE < FIRST_NEGATIVE).sum()


class WholeImages:
    """Batches of whole images at one scale each, all boxes valid, until the number of pixels is reached."""

    def __init__(self, study: Study, method: Method, seed: int, categories: list[int]) -> None:
        self._study, self._label = study, {category: k + 1 for k, category in enumerate(categories)}
        content = json.loads(study.train_json.read_text())
        boxes: dict[int, list[dict[str, Any]]] = {}
        for annotation in content["annotations"]:
            boxes.setdefault(annotation["image_id"], []).append(annotation)
        self._images = [(image, boxes.get(image["id"], [])) for image in content["images"]]
        rng, scales, order = np.random.default_rng(seed), parse_scales(study.scales(method)), []
        budget, self.pixels = study.size.pixels, 0.0
        step = study.size.batch * study.size.chip**2
        self.batches: list[tuple[float, list[int]]] = []
        width, height = content["images"][0]["width"], content["images"][0]["height"]
        while self.pixels < budget:
            factor = float(scales[rng.integers(len(scales))].factors(width, height))
            one = round(width * factor) * round(height * factor)
            number = max(1, round(step / one))
            while len(order) < number:
                order += rng.permutation(len(self._images)).tolist()
            self.batches.append((factor, [order.pop() for _ in range(number)]))
            self.pixels += one * number

    def __call__(self, epoch: int, start_position: int) -> WholeImages:
        return self

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return (self._batch(factor, rows) for factor, rows in self.batches)

    def _batch(self, factor: float, rows: list[int]) -> Batch:
        most = max(1, *(len(self._images[row][1]) for row in rows))
        pixels, boxes = [], torch.zeros(len(rows), most, 4)
        labels, crowd = torch.zeros(len(rows), most, dtype=torch.int64), torch.zeros(len(rows), most, dtype=torch.bool)
        for k, row in enumerate(rows):
            record, annotations = self._images[row]
            size = round(record["width"] * factor), round(record["height"] * factor)
            with Image.open(self._study.train_json.parent / "images" / record["file_name"]) as image:
                pixels.append(np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR)))
            for j, annotation in enumerate(annotations):
                x, y, width, height = annotation["bbox"]
                boxes[k, j] = torch.tensor([x, y, x + width, y + height]) * factor
                labels[k, j] = self._label[annotation["category_id"]]
                crowd[k, j] = bool(annotation.get("iscrowd"))
        height, width = pixels[0].shape[:2]
        return Batch(
            images=torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2),
            boxes=boxes,
            labels=labels,
            valid=(labels > 0) & ~crowd,
            ignore=crowd,
            content=torch.tensor([[width, height]] * len(rows), dtype=torch.float32),
            valid_range=torch.tensor([[0.0, math.inf]] * len(rows)),
            chip_ids=torch.tensor([self._images[row][0]["id"] for row in rows]),
        )


def table(results: dict[str, dict[str, float]]) -> str:
    """Mean and standard deviation over the seeds of each method."""
    lines = ["| trained for the same pixels | seeds | AP | APs | APm | APl |", "|---|---|---|---|---|---|"]
    for method in METHODS:
        runs = [found for key, found in results.items() if key.rpartition("/")[0] == method.name]
        if runs:
            values = {name: np.array([run[name] for run in runs]) for name in NUMBERS}
            cells = [f"{v.mean():.1f} ± {v.std(ddof=1) if v.size > 1 else 0:.1f}" for v in values.values()]
            lines.append(f"| {method.name} | {len(runs)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=["drawn", "bccd"], default="drawn")
    parser.add_argument("--size", choices=list(SIZES), default="cpu")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--methods", default="", help="numbers of methods, from 0 on, with commas between; all if left out"
    )
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--pixels", type=float, help="millions of pixels that each method trains on; the size's if left out"
    )
    parser.add_argument("--folder", type=Path, default=Path("claims"))
    given = parser.parse_args()
    size, folder = SIZES[given.size], given.folder / given.data
    if given.pixels is not None:
        size = replace(size, pixels=given.pixels * 1e6)
    if given.data == "bccd":
        train_json, val_json = bccd(folder / "data")
    else:
        train_json, val_json = (folder / "data" / split / "coco.json" for split in ("train", "val"))
        if not val_json.exists():
            draw_demo(folder / "data", DemoOptions(*size.images))
    study = Study(folder, train_json, val_json, size, given.device)
    path = folder / "results.json"
    results: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    chosen = [METHODS[int(k)] for k in given.methods.split(",")] if given.methods else METHODS
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        for method in chosen:
            key = f"{method.name}/{seed}"
            if key not in results:
                results[key] = study.run(method, seed)
                write_json(path, results)
                print(key, results[key], flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
