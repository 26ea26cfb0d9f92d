"""COCO's own numbers for detections, by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from chipper.errors import AnnotationError, ChipperError, OptionError
from chipper.files import read_bytes

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


@dataclass(frozen=True)
class Evaluation:
    """Box AP and AR; -1 where no ground truth is of that size or class."""

    numbers: dict[str, float]
    per_class: dict[str, float]  # AP by category name


def evaluate(coco_path: Path, detections: Path) -> Evaluation:
    """Evaluate a COCO results file against a COCO file.

    Annotations without area or crowd flag count as build-positives counts them; those without a usable box are left out,
    and so are detections that are not finite.

    Raises:
        AnnotationError: the COCO file cannot be read.
        OptionError: the results cannot be read, or are of other images.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    content = _read_truth(coco_path)
    found = [msgspec.structs.asdict(d) | {"bbox": list(d.bbox)} for d in _read_results(detections)]
    unknown = {entry["image_id"] for entry in found} - {image["id"] for image in content["images"]}
    if unknown:
        raise OptionError(
            f"{detections} has detections in {len(unknown)} images that {coco_path} does not have (the first: "
            f"{min(unknown)}); give the annotations that `chipper predict` ran on"
        )
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        results = truth.loadRes(found) if found else COCO()
        if not found:
            results.dataset = {"images": [], "categories": [], "annotations": []}
            results.createIndex()
        run = COCOeval(truth, results, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    precision = run.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, class) at all areas, 100 detections
    per_class = {}
    for k, category in enumerate(run.params.catIds):
        values = precision[:, :, k]
        per_class[truth.cats[category]["name"]] = float(values[values > -1].mean()) if (values > -1).any() else -1.0
    return Evaluation(dict(zip(METRICS, map(float, run.stats), strict=True)), per_class)


def _read_truth(path: Path) -> dict[str, Any]:
    """The lists of a COCO file that pycocotools needs, with what it needs of each record."""
    content = _read_json(path, AnnotationError, "annotation file", _TRUTH_CURE)
    try:
        images = {image["id"]: image for image in content["images"]}
        categories = [{"id": category["id"], "name": category["name"]} for category in content["categories"]]
        records = list(content["annotations"])
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
    return {
        "images": [{"id": image_id} for image_id in images],
        "categories": categories,
        "annotations": annotations,
        "info": {},
    }


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
        or not all(isinstance(v, int | float) and math.isfinite(v) for v in box)
    ):
        return False
    x, y, w, h = box
    width, height = (images[image_id].get(side) or math.inf for side in ("width", "height"))
    return bool(w > 0 and h > 0 and x < width and y < height and x + w > 0 and y + h > 0)


def _read_results(path: Path) -> list[_Detection]:
    content = _read_json(path, OptionError, "detections", _RESULTS_CURE)
    try:
        found = msgspec.convert(content, type=list[_Detection])
    except msgspec.ValidationError as error:
        raise OptionError(f"{path} is no COCO results file ({error}); {_RESULTS_CURE}") from None
    return [d for d in found if all(map(math.isfinite, (*d.bbox, d.score)))]


def _read_json(path: Path, error: type[ChipperError], what: str, cure: str) -> Any:
    try:
        return json.loads(read_bytes(path, error, what, cure))
    except (ValueError, RecursionError) as reason:
        raise error(f"{path} is not JSON ({type(reason).__name__}: {str(reason)[:100]}); {cure}") from None
