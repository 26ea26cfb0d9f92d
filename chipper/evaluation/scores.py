"""The COCO metrics of detections and proposals, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chipper.coco.reading import read_ground_truth
from chipper.errors import ResultsError, option
from chipper.evaluation.results import dataset_of, pack_masks, read_results, results_of
from chipper.html import two_columns
from chipper.parallel.progress import SILENT, Monitor

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""pycocotools' twelve numbers, in its order; s, m, l are areas below 32^2, 32^2 to 96^2 and above, in source px."""
Curve = npt.NDArray[np.float64]  # (101,)
AR_LIMITS = (100, 300, 1000)  # proposals per image


@dataclass(frozen=True)
class Evaluation:
    """AP and AR; -1 if there is no ground truth of that size or class."""

    numbers: dict[str, float]
    per_class: dict[str, dict[str, float]]  # by category name (with the id if two share a name): AP, AP50, AP75, AR100
    curves: dict[str, Curve] = field(compare=False)  # precision at IoU 0.5, by the same names
    recall: Curve = field(compare=False)  # the recall values of the curves

    @property
    def rows(self) -> list[tuple[str, str]]:
        """The numbers as text: those of all classes, then one row for each class with objects."""
        seen = {name: numbers for name, numbers in self.per_class.items() if numbers["AP"] >= 0}
        rows = [(name, f"{value:.4f}") for name, value in self.numbers.items()]
        rows += [
            (name, "  ".join(f"{what} {value:.4f}" for what, value in found.items())) for name, found in seen.items()
        ]
        if len(seen) < len(self.per_class):
            rows.append(("without objects", f"{len(self.per_class) - len(seen):,} more classes"))
        return rows

    def _repr_html_(self) -> str:
        return two_columns(self.rows, "Evaluation")


def evaluate(
    coco_path: Path, detections: Path | list[dict[str, Any]], masks: bool = False, monitor: Monitor = SILENT
) -> Evaluation:
    """Evaluate COCO results (a file, or its content as a list) against a COCO file, by boxes or by ``masks``.

    Images and annotations that build-positives skips are left out here too. As in pycocotools, boxes are not clipped, and
    detections of categories that the COCO file does not have are ignored; ``monitor`` gets a warning about them. Detections
    that are not finite are left out.

    Raises:
        AnnotationError: the COCO file cannot be read, or has no usable image.
        ResultsError: the results cannot be read, or refer to other images or categories.
    """
    content = dataset_of(read_ground_truth(coco_path, masks), masks)
    name = "the list of detections" if isinstance(detections, list) else str(detections)
    given = (
        results_of(detections, f"{name} is not a list of COCO results")
        if isinstance(detections, list)
        else read_results(detections)
    )
    found: list[dict[str, Any]] = [
        {"image_id": d.image_id, "category_id": d.category_id, "score": d.score}
        | ({"segmentation": d.segmentation} if masks else {"bbox": list(d.bbox)})
        for d in given
    ]
    if masks and any(entry["segmentation"] is None for entry in found):
        raise ResultsError(f"{name} has no masks; train with {option('masks')}, or leave out {option('masks')} here")
    if masks:
        pack_masks(name, content["images"], found)
    unknown = {entry["image_id"] for entry in found} - {image["id"] for image in content["images"]}
    if unknown:
        raise ResultsError(
            f"{name} has detections in {len(unknown)} images that {coco_path} does not have, or has in no usable "
            f"form (the first: {min(unknown)}); give the annotations that `chipper predict` ran on"
        )
    names = _names(content["categories"])
    _check_categories(name, found, names, monitor)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        run = _matched(content, found, kind="segm" if masks else "bbox")
        run.summarize()
    # all areas, 100 detections per image
    precision, recall = run.eval["precision"][:, :, :, 0, -1], run.eval["recall"][:, :, 0, -1]
    per_class, curves = {}, {}
    for k, name in enumerate(names[category] for category in run.params.catIds):
        values = precision[:, :, k]  # (IoU, recall)
        per_class[name] = {
            "AP": _mean(values), "AP50": _mean(values[0]), "AP75": _mean(values[5]), "AR100": _mean(recall[:, k])
        }  # fmt: skip
        curves[name] = values[0]
    return Evaluation(dict(zip(METRICS, map(float, run.stats), strict=True)), per_class, curves, run.params.recThrs)


def _names(categories: list[dict[str, Any]]) -> dict[int, str]:
    """A unique name for each category id."""
    names = {
        category["id"]: str(category["name"]) for category in reversed(categories)
    }  # the first category of an id wins
    shared = Counter(names.values())
    return {k: name if shared[name] == 1 else f"{name} ({k})" for k, name in names.items()}


def _check_categories(path: str, found: list[dict[str, Any]], names: dict[int, str], monitor: Monitor) -> None:
    """Warn about detections with unknown categories; raise ResultsError if all categories are unknown."""
    strange = Counter(entry["category_id"] for entry in found if entry["category_id"] not in names)
    if not strange:
        return
    what = f"the category ids {', '.join(map(str, sorted(strange)[:5]))}{', ...' if len(strange) > 5 else ''}"
    known = f"the annotations have {', '.join(map(str, sorted(names)[:5]))}{', ...' if len(names) > 5 else ''}"
    if strange.total() == len(found):
        raise ResultsError(f"{path}: all detections have {what}, but {known}; use the category ids of the annotations")
    monitor.warn(f"{path}: {strange.total():,} of {len(found):,} detections have {what}, but {known}; they are ignored")


def evaluate_proposals(coco_path: Path, path: Path) -> dict[str, float]:
    """Class-agnostic average recall over IoU 0.5:0.95 of the best 100, 300 and 1000 proposals per image.

    ``path`` is any proposal file that mine-negatives reads. AR1000s, m and l are for small, medium and large objects.

    Raises:
        AnnotationError: the COCO file cannot be read, or has no usable image.
        ProposalError: the proposals cannot be read, or refer to other images.
    """
    from chipper.proposals.files import open_proposals

    truth = read_ground_truth(coco_path)
    content, images = dataset_of(truth), truth.images
    content["categories"] = [{"id": 1, "name": "object"}]
    content["annotations"] = [annotation | {"category_id": 1} for annotation in content["annotations"]]
    proposals = open_proposals(path, images.image_id, images.position, truth.image_records).of(images)
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
    """Run the evaluation of pycocotools; ``limits`` of boxes per image are for proposals, which have no class."""
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
    """The mean as in pycocotools: -1 without ground truth."""
    return float(values[values > -1].mean()) if (values > -1).any() else -1.0
