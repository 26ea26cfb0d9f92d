"""COCO's own numbers for detections, by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chipper.errors import AnnotationError, CheckpointError, ChipperError, DependencyError, ResultsError
from chipper.files import atomic, read_bytes, write_json
from chipper.masks import packed_rle

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""pycocotools' twelve numbers, in its order; s, m, l are areas under 32^2, under 96^2 and over, in source px."""

_TRUTH_CURE = "give the annotations of the images"
_RESULTS_CURE = "it is a list of image_id, category_id, bbox, score, as `chipper predict` writes"
_Box = tuple[float, float, float, float]


class _Detection(msgspec.Struct):
    """One entry of a COCO results file; bbox is x y w h in source px."""

    image_id: int
    category_id: int
    bbox: _Box
    score: float
    segmentation: dict[str, Any] | None = None  # RLE of the image's size


EVALUATION = "evaluation.json"  # in the folder of a training run
_LARGEST_POINT = 1e6  # px of a polygon, which pycocotools walks along px by px
_LARGEST = 1e30  # px of a box; beyond it pycocotools' areas are not finite
MOST_NAMED = 12  # classes in a picture's legend
Curve = npt.NDArray[np.float64]  # (101,)
AR_LIMITS = (100, 300, 1000)  # proposals an image


@dataclass(frozen=True)
class Evaluation:
    """Box AP and AR; -1 where no ground truth is of that size or class."""

    numbers: dict[str, float]
    per_class: dict[str, dict[str, float]]  # by category name: AP, AP50, AP75, AR100
    curves: dict[str, Curve] = field(compare=False)  # precision by category name, at IoU 0.5
    recall: Curve = field(compare=False)  # where it is taken


class SavedEvaluation(msgspec.Struct):
    """evaluation.json: an `Evaluation`, and of which files it is."""

    coco: str  # file name
    detections: str  # file name
    masks: bool
    numbers: dict[str, float]
    per_class: dict[str, dict[str, float]]
    curves: dict[str, list[float]]
    recall: list[float]


def save_evaluation(evaluation: Evaluation, coco: Path, detections: Path, masks: bool, run_dir: Path) -> Path:
    """Keep an evaluation in the folder of the run that made the detections, where `chipper report` finds it.

    Raises:
        CheckpointError: no run lies there.
        StorageError: it cannot be written.
    """
    if not run_dir.is_dir():
        raise CheckpointError(f"{run_dir} does not exist: no training run lies there; train first, or give --run")
    curves = {name: curve.tolist() for name, curve in evaluation.curves.items()}
    path = run_dir / EVALUATION
    write_json(
        path,
        SavedEvaluation(
            coco.name,
            detections.name,
            masks,
            evaluation.numbers,
            evaluation.per_class,
            curves,
            evaluation.recall.tolist(),
        ),
    )
    return path


def evaluate(coco_path: Path, detections: Path, masks: bool = False) -> Evaluation:
    """Evaluate a COCO results file against a COCO file, by boxes or by ``masks``.

    Annotations without area or crowd flag count as build-positives counts them; those without a usable box are left out,
    and so are detections that are not finite.

    Raises:
        AnnotationError: the COCO file cannot be read.
        ResultsError: the results cannot be read, or are of other images.
    """
    content = _read_truth(coco_path, masks)
    found: list[dict[str, Any]] = [
        {"image_id": d.image_id, "category_id": d.category_id, "score": d.score}
        | ({"segmentation": d.segmentation} if masks else {"bbox": list(d.bbox)})
        for d in _read_results(detections)
    ]
    if masks and any(entry["segmentation"] is None for entry in found):
        raise ResultsError(f"{detections} has no masks; train with --masks, or leave out --masks here")
    if masks:
        _check_masks(detections, content["images"], found)
    unknown = {entry["image_id"] for entry in found} - {image["id"] for image in content["images"]}
    if unknown:
        raise ResultsError(
            f"{detections} has detections in {len(unknown)} images that {coco_path} does not have (the first: "
            f"{min(unknown)}); give the annotations that `chipper predict` ran on"
        )
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        run = _matched(content, found, kind="segm" if masks else "bbox")
        run.summarize()
    precision, recall = (
        run.eval["precision"][:, :, :, 0, -1],
        run.eval["recall"][:, :, 0, -1],
    )  # of all areas, 100 an image
    names = [
        category["name"]
        for wanted in run.params.catIds
        for category in content["categories"]
        if category["id"] == wanted
    ]
    per_class, curves = {}, {}
    for k, name in enumerate(names):
        values = precision[:, :, k]  # (IoU, recall)
        per_class[name] = {
            "AP": _mean(values), "AP50": _mean(values[0]), "AP75": _mean(values[5]), "AR100": _mean(recall[:, k])
        }  # fmt: skip
        curves[name] = values[0]
    return Evaluation(dict(zip(METRICS, map(float, run.stats), strict=True)), per_class, curves, run.params.recThrs)


def evaluate_proposals(coco_path: Path, path: Path) -> dict[str, float]:
    """Average recall over IoU 0.5:0.95 of the best 100, 300 and 1000 proposals of an image, whatever its class.

    ``path`` is any proposal file that mine-negatives reads. AR1000s, m and l are over small, medium and large objects.

    Raises:
        AnnotationError: the COCO file cannot be read.
        ProposalError: the proposals cannot be read, or are of other images.
    """
    from chipper.coco import read_images
    from chipper.proposals import open_proposals

    content, images = _read_truth(coco_path), read_images(coco_path)
    content["categories"] = [{"id": 1, "name": "object"}]
    content["annotations"] = [annotation | {"category_id": 1} for annotation in content["annotations"]]
    proposals = open_proposals(path, images.image_id, images.position, int(images.position.max()) + 1).of(images)
    proposals = proposals[np.isfinite(proposals.box).all(axis=1) & np.isfinite(proposals.score)]
    xywh = np.concatenate((proposals.box[:, :2], proposals.box[:, 2:] - proposals.box[:, :2]), axis=1)
    found = [
        {"image_id": image_id, "category_id": 1, "bbox": box, "score": score}
        for image_id, box, score in zip(
            proposals.image_id.tolist(), xywh.tolist(), proposals.score.tolist(), strict=True
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        run = _matched(content, found, AR_LIMITS)
    recall = run.eval["recall"]  # (IoU, 1, area, limit)
    out = {f"AR{limit}": _mean(recall[:, 0, 0, k]) for k, limit in enumerate(AR_LIMITS)}
    return out | {f"AR{AR_LIMITS[-1]}{size}": _mean(recall[:, 0, k, -1]) for k, size in ((1, "s"), (2, "m"), (3, "l"))}


def _matched(
    content: dict[str, Any], found: list[dict[str, Any]], limits: tuple[int, ...] | None = None, kind: str = "bbox"
) -> Any:
    """Pycocotools' evaluation; with ``limits`` of boxes an image, that of proposals, which have no class."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    truth.dataset = content
    truth.createIndex()
    results = truth.loadRes(found) if found else COCO()
    if not found:
        results.dataset = {"images": [], "categories": [], "annotations": []}
        results.createIndex()
    run = COCOeval(truth, results, kind)
    if limits is not None:
        run.params.maxDets = list(limits)
    run.evaluate()
    run.accumulate()
    return run


def _mean(values: npt.NDArray[np.float64]) -> float:
    """Pycocotools' mean: -1 where there is nothing to find."""
    return float(values[values > -1].mean()) if (values > -1).any() else -1.0


def draw_curves(evaluation: Evaluation, path: Path) -> None:
    """Write the precision over the recall of every class, at IoU 0.5, as a picture.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise DependencyError("a picture of curves needs matplotlib; run: pip install 'chipper[report]'") from None
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    order = sorted(evaluation.curves, key=lambda name: -evaluation.per_class[name]["AP"])
    for k, name in enumerate(order):
        values = evaluation.per_class[name]
        if values["AP"] >= 0:
            label = f"{name} (AP50 {100 * values['AP50']:.1f})" if k < MOST_NAMED else None
            axes.plot(evaluation.recall, evaluation.curves[name], label=label, linewidth=1.5 if k < MOST_NAMED else 0.5)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="Precision over recall at IoU 0.5")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize="small")
    with atomic(path) as file:
        figure.savefig(file, format="png", dpi=120, metadata={"Software": None})


def _read_truth(path: Path, masks: bool = False) -> dict[str, Any]:
    """The lists of a COCO file that pycocotools needs, with what it needs of each record.

    Of ``masks``, an object without one counts as its box.
    """
    content = _read_json(path, AnnotationError, "annotation file", _TRUTH_CURE)
    try:
        images = {image["id"]: image for image in content["images"]}
        categories = [{"id": category["id"], "name": category["name"]} for category in content["categories"]]
        records = list(content["annotations"])
        if not all(isinstance(category["id"], int) for category in categories):
            raise TypeError("whole numbers as category ids")
    except (TypeError, KeyError) as error:
        raise AnnotationError(f"{path} is not COCO (it lacks {error}); {_TRUTH_CURE}") from None
    if not images:
        raise AnnotationError(f"{path} names no image; {_TRUTH_CURE}")
    annotations: list[dict[str, Any]] = []
    seen = set()
    for record in records:
        if not isinstance(record, dict) or not _has_box(record, images):
            continue
        if record.get("id") is not None:
            if repr(record["id"]) in seen:
                continue
            seen.add(repr(record["id"]))
        x, y, w, h = record["bbox"]
        area = record.get("area")
        annotations.append(
            {
                "id": len(annotations) + 1,  # 0 would be no match to pycocotools, and some files give none
                "image_id": record["image_id"],
                "category_id": record.get("category_id"),
                "bbox": [x, y, w, h],
                "area": area if isinstance(area, int | float) and area >= 0 else w * h,
                "iscrowd": int(bool(record.get("iscrowd", 0))),
            }
        )
        if masks:
            outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            image = images[record["image_id"]]
            annotations[-1]["segmentation"] = _usable_mask(record.get("segmentation"), image) or outline
    return {
        "images": [{k: image[k] for k in ("id", "width", "height") if k in image} for image in images.values()],
        "categories": categories,
        "annotations": annotations,
        "info": {},
    }


def _usable_mask(segmentation: Any, image: dict[str, Any]) -> Any:
    """Polygons or an RLE that pycocotools can be given, or None."""
    try:
        if isinstance(segmentation, list):
            polygons = [np.asarray(flat, dtype=np.float64) for flat in segmentation]
            good = all(flat.ndim == 1 and flat.size >= 6 and flat.size % 2 == 0 for flat in polygons)
            return segmentation if good and all(np.abs(flat).max() < _LARGEST_POINT for flat in polygons) else None
        return packed_rle(segmentation, (int(image["width"]), int(image["height"])))
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _has_box(record: dict[str, Any], images: dict[Any, dict[str, Any]]) -> bool:
    """Whether an annotation's box has area inside a known image, as build-positives asks."""
    box, image_id = record.get("bbox"), record.get("image_id")
    if (
        not isinstance(image_id, int | float)
        or image_id not in images
        or not isinstance(record.get("category_id"), int)
    ):
        return False
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(isinstance(v, int | float) and abs(v) < _LARGEST for v in box)
    ):
        return False
    x, y, w, h = box
    sides = (images[image_id].get(side) for side in ("width", "height"))
    width, height = (side if isinstance(side, int | float) and side > 0 else math.inf for side in sides)
    return bool(w > 0 and h > 0 and x < width and y < height and x + w > 0 and y + h > 0)


def _read_results(path: Path) -> list[_Detection]:
    content = _read_json(path, ResultsError, "detections", _RESULTS_CURE)
    try:
        found = msgspec.convert(content, type=list[_Detection])
    except msgspec.ValidationError as error:
        raise ResultsError(f"{path} is no COCO results file ({error}); {_RESULTS_CURE}") from None
    return [d for d in found if all(map(math.isfinite, (*d.bbox, d.score)))]


def _check_masks(path: Path, images: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
    """Pack the masks, which are RLE, and raise ResultsError at one that is none of its image: pycocotools trusts them."""
    sizes = {image["id"]: [image.get("height"), image.get("width")] for image in images}
    for entry in found:
        rle = entry["segmentation"]
        try:
            size = [int(side) for side in rle["size"]]
            if len(size) != 2 or size != sizes.get(entry["image_id"], size) or not 0 < size[0] * size[1] < 2**32:
                raise ValueError("a mask of another size than its image")
            entry["segmentation"] = packed_rle(rle, (size[1], size[0]))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise ResultsError(
                f"{path}: a mask in image {entry['image_id']} is no RLE of its size ({error}); {_RESULTS_CURE}"
            ) from None


def _read_json(path: Path, error: type[ChipperError], what: str, cure: str) -> Any:
    try:
        return json.loads(read_bytes(path, error, what, cure))
    except (ValueError, RecursionError) as reason:
        raise error(f"{path} is not JSON ({type(reason).__name__}: {str(reason)[:100]}); {cure}") from None
