"""Read the ground truth and the results for an evaluation, and convert them for pycocotools."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chipper.coco.masks import packed_rle
from chipper.coco.reading import GroundTruth
from chipper.errors import ResultsError
from chipper.storage.files import read_bytes

_RESULTS_CURE = "it is a list of image_id, category_id, bbox, score, as `chipper predict` writes"
_LARGEST_POINT = 1e6  # px; largest coordinate of a polygon, which pycocotools traces px by px
_LARGEST = 1e30  # px; for larger boxes the areas of pycocotools are not finite
_Box = tuple[float, float, float, float]


class Detection(msgspec.Struct):
    """One entry of a COCO results file; bbox is x y w h in source px."""

    image_id: int
    category_id: int
    bbox: _Box
    score: float
    segmentation: dict[str, Any] | None = None  # RLE with the size of the image


def dataset_of(truth: GroundTruth, masks: bool = False) -> dict[str, Any]:
    """The lists and fields of a COCO file that pycocotools needs.

    With ``masks``, an object without a mask is represented by its box.
    """
    images, found = truth.images, truth.annotations
    content: dict[str, Any] = {
        "images": _rows(id=images.image_id, width=images.width, height=images.height),
        "categories": [{"id": category.id, "name": category.name} for category in truth.categories],
        "annotations": _rows(
            id=np.arange(1, len(found) + 1),  # pycocotools would take id 0 for "no match"
            image_id=found.image_id,
            category_id=found.category_id,
            bbox=truth.boxes.clip(-_LARGEST, _LARGEST),
            area=found.area,
            iscrowd=found.iscrowd.astype(np.int64),
        ),
        "info": {},
    }
    if masks:
        sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
        for annotation, text, box in zip(content["annotations"], found.segmentation, found.box.tolist(), strict=True):
            x1, y1, x2, y2 = box
            outline = [[x1, y1, x2, y1, x2, y2, x1, y2]]
            annotation["segmentation"] = _usable_mask(text, sizes[annotation["image_id"]]) or outline
    return content


def _rows(**columns: npt.NDArray[Any]) -> list[dict[str, Any]]:
    lists = (column.tolist() for column in columns.values())
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def _usable_mask(text: bytes | None, size: tuple[int, int]) -> Any:
    """Polygons, or an RLE for an image of ``size`` (width, height), that are safe for pycocotools; or None."""
    try:
        segmentation = json.loads(text or b"null")
        if isinstance(segmentation, list):
            polygons = [np.asarray(flat, dtype=np.float64) for flat in segmentation]
            good = all(flat.ndim == 1 and flat.size >= 6 and flat.size % 2 == 0 for flat in polygons)
            good = good and all(np.abs(flat).max() < _LARGEST_POINT for flat in polygons)
            return [flat.tolist() for flat in polygons] if good else None
        return packed_rle(segmentation, size)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def read_results(path: Path) -> list[Detection]:
    """The finite detections of a COCO results file.

    Raises:
        ResultsError: the file cannot be read, or is not a COCO results file.
    """
    try:
        content = json.loads(read_bytes(path, ResultsError, "detections", _RESULTS_CURE))
    except (ValueError, RecursionError) as error:
        raise ResultsError(
            f"{path} is not JSON ({type(error).__name__}: {str(error)[:100]}); {_RESULTS_CURE}"
        ) from None
    return results_of(content, f"{path} is not a COCO results file")


def results_of(content: Any, fault: str) -> list[Detection]:
    """The finite detections of a list of COCO results. Raises ResultsError, which begins with ``fault``, for anything else."""
    try:
        found = msgspec.convert(content, type=list[Detection])
    except msgspec.ValidationError as error:
        raise ResultsError(f"{fault} ({error}); {_RESULTS_CURE}") from None
    return [d for d in found if all(map(math.isfinite, (*d.bbox, d.score)))]


def pack_masks(path: str, images: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
    """Pack the RLE masks. Raises ResultsError for a mask that does not fit its image: pycocotools does not check them."""
    sizes = {image["id"]: [image.get("height"), image.get("width")] for image in images}
    for entry in found:
        rle = entry["segmentation"]
        try:
            size = [int(side) for side in rle["size"]]
            if len(size) != 2 or size != sizes.get(entry["image_id"], size) or not 0 < size[0] * size[1] < 2**32:
                raise ValueError("the mask and the image differ in size")
            entry["segmentation"] = packed_rle(rle, (size[1], size[0]))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise ResultsError(
                f"{path}: a mask in image {entry['image_id']} is not an RLE of its size ({error}); {_RESULTS_CURE}"
            ) from None
