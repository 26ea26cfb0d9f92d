"""Run all stages on a drawn data set, from annotations to a trained and evaluated detector."""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from chipper import __version__
from chipper.coco.reading import read_images
from chipper.demo.data import DemoOptions, draw_demo
from chipper.detection.predict import predict, propose
from chipper.detection.train_options import TrainOptions
from chipper.detection.training import train_workdir
from chipper.errors import OptionError, option
from chipper.evaluation.saved import save_evaluation
from chipper.evaluation.scores import Evaluation, evaluate
from chipper.images.decoded import decode
from chipper.manifest.build_positives import build_positives
from chipper.manifest.dataset import Dataset
from chipper.manifest.mine_negatives import mine_negatives
from chipper.manifest.workdir import Workdir
from chipper.mining.options import NegativeOptions, PositiveOptions
from chipper.parallel.progress import Monitor
from chipper.parallel.workers import Workers
from chipper.pictures.drawing import draw_detections
from chipper.pictures.preview import PreviewOptions, preview
from chipper.proposals.writing import write_proposals
from chipper.shards.export import Exported, export_shards
from chipper.shards.options import ExportOptions
from chipper.storage.files import atomic, read_struct, translate_os_errors, write_json

MARKER = "demo.json"
_STARTED = {"written_by": f"chipper demo {__version__}"}
_FILES = ("rpn.pkl", "detections.json", MARKER)
_FOLDERS = ("train", "val", "chips", "preview", "detections")
SHOWN_SCORE = 0.5  # detections drawn in the pictures


@dataclass(frozen=True)
class DemoSettings:
    """Sizes that fit a few minutes on two CPU cores; everything else is as in a real run."""

    data: DemoOptions = field(default_factory=DemoOptions)
    # chips of 256 px, so half the long side and about half the factors of the defaults for 512
    scales: str = "256,0.833,2"
    chip_size: int = 256
    batch_size: int = 8
    rpn_steps: int = 80
    steps: int = 680
    seed: int = 0


@dataclass(frozen=True)
class DemoResult:
    """The result of the demo."""

    dataset: Dataset
    exported: Exported
    evaluation: Evaluation
    seconds: dict[str, float]  # of each stage


def run_demo(folder: Path, settings: DemoSettings, monitor: Monitor) -> DemoResult:
    """Run all stages in ``folder``. It is emptied first if an earlier demo made it.

    Raises:
        OptionError: the folder contains something else.
    """
    _claim(folder)
    clock = _Clock(monitor)
    train_json, val_json = folder / "train" / "coco.json", folder / "val" / "coco.json"
    workdir, workers = Workdir(folder / "chips"), Workers()

    with clock.stage("drawing images"):
        draw_demo(folder, settings.data)
    with clock.stage("build-positives"):
        options = PositiveOptions.parse(settings.scales, chip_size=settings.chip_size, seed=settings.seed)
        build_positives(train_json, workdir, options, overwrite=True, workers=workers, monitor=monitor)
    with clock.stage("export-shards, positives"):
        export_shards(workdir, ExportOptions(chips_per_shard=200), workers=workers, monitor=monitor)
    with clock.stage("train --rpn-only"):
        rpn = workdir.runs / "rpn"
        train_workdir(workdir, _options(settings, rpn_only=True), on_step=_reporter(monitor))
    with clock.stage("propose"):
        images = read_images(train_json)
        found = propose(rpn, images, train_json.parent / "images", device="cpu", monitor=monitor)
        write_proposals(folder / "rpn.pkl", found, images, len(images))
    with clock.stage("mine-negatives"):
        dataset = mine_negatives(workdir, folder / "rpn.pkl", NegativeOptions(), workers=workers, monitor=monitor)
    with clock.stage("export-shards, negatives"):
        exported = export_shards(workdir, ExportOptions(chips_per_shard=200), workers=workers, monitor=monitor)
    with clock.stage("train"):
        run = workdir.runs / "detector"
        train_workdir(workdir, _options(settings, rpn_only=False), on_step=_reporter(monitor))
    with clock.stage("predict"):
        images = read_images(val_json)
        source, out = val_json.parent / "images", folder / "detections.json"
        results = predict(run, images, source, device="cpu", score_floor=0.01, out=out, monitor=monitor)
    with clock.stage("evaluate"):
        evaluation = evaluate(val_json, folder / "detections.json")
        save_evaluation(evaluation, val_json, folder / "detections.json", False, run)
    with clock.stage("pictures"):
        preview(workdir, PreviewOptions(), folder / "preview", monitor=monitor)
        _draw_results(val_json, results, dataset, folder / "detections")
    write_json(
        folder / MARKER,
        {
            **_STARTED,
            "settings": asdict(settings),
            "evaluation": {"numbers": evaluation.numbers, "per_class": evaluation.per_class},
            "counts": dataset.counts,
            "seconds": clock.seconds,
        },
    )
    return DemoResult(dataset, exported, evaluation, clock.seconds)


def require_free(folder: Path) -> list[Path]:
    """What an earlier demo left in ``folder``. Raises OptionError if it contains something that is not from a demo."""
    with translate_os_errors(folder):
        found = sorted(folder.iterdir()) if folder.exists() else []
        strange = [path for path in found if not _is_name(path.name)]
        if found and not strange and not _is_marker(folder / MARKER):
            strange = [folder / MARKER] if folder / MARKER in found else found
    if strange:
        raise OptionError(
            f"{folder} contains something other than a demo ({strange[0].name}); give another folder with {option('out')}"
        )
    return found


def _is_name(name: str) -> bool:
    """Whether a demo writes such a name; that of a file also with ``.partial``, which a killed one leaves."""
    partial = name.endswith(".partial") and name.lstrip(".").startswith(_FILES)
    return partial or name in (*_FILES, *_FOLDERS)


class _Marker(msgspec.Struct):
    """demo.json."""

    written_by: str


def _is_marker(path: Path) -> bool:
    try:
        return read_struct(path, _Marker).written_by.startswith("chipper demo ")
    except (OSError, ValueError):
        return False


def _claim(folder: Path) -> None:
    """Make ``folder`` an empty demo folder. The marker is removed last and written first: a stopped demo stays one."""
    left = require_free(folder)
    with translate_os_errors(folder):
        for path in sorted(left, key=lambda path: path.name == MARKER):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    write_json(folder / MARKER, _STARTED)


def _options(settings: DemoSettings, rpn_only: bool) -> TrainOptions:
    return TrainOptions(
        model="tiny",
        weights="none",
        epochs=1000,  # max_steps ends the training first
        batch_size=settings.batch_size,
        max_steps=settings.rpn_steps if rpn_only else settings.steps,
        rpn_only=rpn_only,
        seed=settings.seed,
        device="cpu",
    )


class _Clock:
    """Prints the name of each stage when it begins and measures its seconds."""

    def __init__(self, monitor: Monitor) -> None:
        self.seconds: dict[str, float] = {}
        self._monitor = monitor

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._monitor.note(f"--- {name}")
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 2)


def _reporter(monitor: Monitor) -> Any:
    def report(step: Any) -> None:
        if step.step % 20 == 0 or step.step == step.total_steps:
            monitor.note(
                f"step {step.step} of {step.total_steps}: loss {step.loss:.3f}, {step.chips_per_s:.1f} chips/s"
            )

    return report


def _draw_results(coco: Path, results: list[dict[str, Any]], dataset: Dataset, out: Path) -> None:
    """Draw each validation image with its detections of at least `SHOWN_SCORE`."""
    names = {category.id: category.name for category in dataset.categories}
    by_image = defaultdict(list)
    for result in results:
        if result["score"] >= SHOWN_SCORE:
            by_image[result["image_id"]].append(result)
    images = read_images(coco)
    for k in range(len(images)):
        source = decode(
            coco.parent / "images" / str(images.file_name[k]), (int(images.width[k]), int(images.height[k]))
        )
        found = by_image[int(images.image_id[k])]
        texts = [f"{names[r['category_id']]} {r['score']:.2f}" for r in found]
        picture = draw_detections(source.pixels, [r["bbox"] for r in found], texts)
        with atomic(out / f"{Path(str(images.file_name[k])).stem}.jpg") as file:
            picture.save(file, "JPEG", quality=90)
