"""COCO's own numbers for detections, by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chipper.errors import AnnotationError, OptionError

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""pycocotools' twelve numbers, in its order; s, m, l are areas under 32^2, under 96^2 and over, in source px."""


@dataclass(frozen=True)
class Evaluation:
    """Box AP and AR; -1 where no ground truth is of that size."""

    numbers: dict[str, float]
    per_class: dict[str, float]  # AP by category name


def evaluate(coco_path: Path, detections: Path) -> Evaluation:
    """Evaluate a COCO results file against a COCO file.

    Raises:
        AnnotationError: the COCO file cannot be read.
        OptionError: the results cannot be read, or are of other images.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    quiet = io.StringIO()  # pycocotools prints
    with contextlib.redirect_stdout(quiet):
        try:
            truth = COCO(str(coco_path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AnnotationError(
                f"{coco_path} cannot be read as COCO ({error}); give the annotations of the images"
            ) from None
        found = _read_results(detections)
        unknown = {entry["image_id"] for entry in found} - set(truth.getImgIds())
        if unknown:
            raise OptionError(
                f"{detections} has detections in {len(unknown)} images that {coco_path} does not have (the first: "
                f"{min(unknown)}); give the annotations that `chipper predict` ran on"
            )
        if not found:
            return Evaluation(dict.fromkeys(METRICS, 0.0), {c["name"]: 0.0 for c in truth.dataset["categories"]})
        run = COCOeval(truth, truth.loadRes(found), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    precision = run.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, class) at all areas, 100 detections
    per_class = {}
    for k, category in enumerate(run.params.catIds):
        values = precision[:, :, k]
        per_class[truth.cats[category]["name"]] = float(values[values > -1].mean()) if (values > -1).any() else -1.0
    return Evaluation(dict(zip(METRICS, map(float, run.stats), strict=True)), per_class)


def _read_results(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise OptionError(f"{path} does not exist; `chipper predict` writes such a file") from None
    except (OSError, ValueError) as error:
        raise OptionError(f"{path} is no COCO results file ({error})") from None
    if not isinstance(found, list) or not all(
        isinstance(e, dict) and {"image_id", "bbox", "score"} <= e.keys() for e in found
    ):
        raise OptionError(f"{path} is no COCO results file: it is a list of image_id, category_id, bbox, score")
    return [entry for entry in found if np.isfinite(entry["bbox"]).all()]
