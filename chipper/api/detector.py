"""The companion detector for notebooks and scripts: training, prediction, COCO metrics."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from chipper.api.places import WORKDIR, PathLike, place, place_or_none, workdir_at
from chipper.api.signatures import takes
from chipper.coco.reading import read_images
from chipper.detection.train_options import TrainOptions
from chipper.evaluation.scores import Evaluation
from chipper.evaluation.scores import evaluate as evaluate_file
from chipper.images.finding import find_image_dir
from chipper.images.options import PixelOptions
from chipper.inference.scales import SCORE_FLOOR, InferenceScales
from chipper.manifest.workdir import Workdir
from chipper.parallel.progress import LOGGED, Monitor
from chipper.runs import find_run

if TYPE_CHECKING:
    from chipper.detection.engine import TrainResult

TRAIN_OPTIONS = {f.name: f.default for f in fields(TrainOptions)}
PIXEL_OPTIONS = {f.name: f.default for f in fields(PixelOptions)}


@takes(TRAIN_OPTIONS)
def train(
    workdir: PathLike | Workdir = WORKDIR, *, shards: PathLike | None = None, on_step: Any = None, **options: Any
) -> TrainResult:
    """Train a Faster R-CNN on the shards of a workdir.

    Args:
        workdir: a finished workdir with shards.
        shards: folder or URL of the shards; by default inside the workdir.
        on_step: called with the report of each step; if it returns True, the run is saved and ends.
        options: those of ``chipper train``.

    Raises:
        OptionError, WorkdirError, ShardError, CheckpointError, TrainingError: as in
            `chipper.detection.training.train_workdir`.
    """
    from chipper.detection.training import train_workdir  # imports torch

    return train_workdir(workdir_at(workdir, shards), TrainOptions(**options), on_step=on_step)


@takes(PIXEL_OPTIONS)
def predict(
    coco: PathLike,
    workdir: PathLike | Workdir = WORKDIR,
    *,
    run: str | None = None,
    out: PathLike | None = None,
    scales: str | None = None,
    valid_ranges: str | None = None,
    single_scale: bool = False,
    score_floor: float = SCORE_FLOOR,
    flip: bool = False,
    focus: float | None = None,
    image_dir: PathLike | None = None,
    device: str = "auto",
    monitor: Monitor = LOGGED,
    **options: Any,
) -> list[dict[str, Any]]:
    """Detect objects in the images that a COCO file lists, at every scale, and merge them by Soft-NMS.

    Args:
        coco: the COCO file; its annotations are not read.
        workdir: the workdir with the training run.
        run: name of the run; the newest by default.
        out: also write the detections to this COCO results file; a stopped call goes on where it stopped if it is made again.
        scales: by default those of the training.
        valid_ranges: of each scale, sqrt(w * h) in source px; by default those of the training, widened.
        single_scale: use only the middle scale, for objects of every size.
        score_floor: lowest score to keep.
        flip: also detect in the mirrored image.
        focus: at finer scales, look only where the focus branch expects small objects with at least this probability.
        image_dir: folder or URL of the images; by default chipper searches beside the COCO file.
        device: "cpu", "cuda", "cuda:1" or "auto".
        monitor: gets the progress, and warnings about images that are left out because they cannot be decoded.
        options: bands and stretch; by default as in the training.

    Returns:
        COCO results: ``image_id``, ``category_id``, ``bbox`` (x y w h in source px) and ``score`` of each detection.

    Raises:
        OptionError, AnnotationError, CheckpointError, ImageError, DeviceError: as in `chipper.detection.predict.predict`.
    """
    from chipper.detection.predict import predict as predict_all  # imports torch

    run_dir, path = find_run(workdir_at(workdir), run, detects=True), place(coco)
    images = read_images(path)
    folder = find_image_dir(path, [str(name) for name in images.file_name], place_or_none(image_dir))
    pyramid = InferenceScales.of(run_dir, scales, valid_ranges)
    return predict_all(
        run_dir,
        images,
        folder,
        pyramid.single() if single_scale else pyramid,
        device=device,
        score_floor=score_floor,
        flip=flip,
        focus=focus,
        pixels=PixelOptions(**options),
        out=place_or_none(out),
        monitor=monitor,
    )


def evaluate(
    coco: PathLike, detections: PathLike | list[dict[str, Any]], *, masks: bool = False, monitor: Monitor = LOGGED
) -> Evaluation:
    """Compute the COCO AP and AR with pycocotools.

    Args:
        coco: the COCO file with the ground truth.
        detections: a COCO results file, or its content as a list, as returned by `predict`.
        masks: compare masks instead of boxes.
        monitor: gets warnings about detections that are ignored.

    Raises:
        AnnotationError: the COCO file cannot be read, or has no usable image.
        ResultsError: the results cannot be read, or refer to other images or categories.
    """
    return evaluate_file(place(coco), detections if isinstance(detections, list) else place(detections), masks, monitor)
