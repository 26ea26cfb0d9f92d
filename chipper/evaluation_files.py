"""What an evaluation reads: the ground truth and the results, in the form that pycocotools can be given."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chipper.errors import AnnotationError, ChipperError, ResultsError
from chipper.files import read_bytes
from chipper.masks import packed_rle

_TRUTH_CURE = "give the annotations of the images"
_RESULTS_CURE = "it is a list of image_id, category_id, bbox, score, as `chipper predict` writes"
_LARGEST_POINT = 1e6  # px of a polygon, which pycocotools walks along px by px
_LARGEST = 1e30  # px of a box; beyond it pycocotools' areas are not finite
_Box = tuple[float, float, float, float]


class Detection(msgspec.Struct):
    """One entry of a COCO results file; bbox is x y w h in source px."""

    image_id: int
    category_id: int
    bbox: _Box
    score: float
    segmentation: dict[str, Any] | None = None  # RLE of the image's size


def read_truth(path: Path, masks: bool = False) -> dict[str, Any]:
    """The lists of a COCO file that pycocotools needs, with what it needs of each record.

    Of ``masks``, an object without one counts as its box.

    Raises:
        AnnotationError: it cannot be read, is no COCO file, or names no image.
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


def read_results(path: Path) -> list[Detection]:
    """The finite detections of a COCO results file.

    Raises:
        ResultsError: it cannot be read, or is no such file.
    """
    content = _read_json(path, ResultsError, "detections", _RESULTS_CURE)
    try:
        found = msgspec.convert(content, type=list[Detection])
    except msgspec.ValidationError as error:
        raise ResultsError(f"{path} is no COCO results file ({error}); {_RESULTS_CURE}") from None
    return [d for d in found if all(map(math.isfinite, (*d.bbox, d.score)))]


def pack_masks(path: Path, images: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
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
