"""Check that the rows of a table are valid. Each function returns a description of the first fault, or "".

Parquet's page checksums detect damaged files; these checks detect files that somebody has edited.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chipper.coco.checking import LARGEST_SIDE, usable_name
from chipper.columns import Annotations, Chips, Images, Ints, Labels
from chipper.grouping import places_of
from chipper.mining.options import PositiveOptions


def fault_of_images(images: Images) -> str:
    """Ids must be unique, images in the order of the COCO file, sizes and file names valid."""
    if np.unique(images.image_id).size != len(images) or not _ascend(images.position):
        return "images twice or out of order"
    sides = np.concatenate([images.width, images.height])
    if ((sides < 1) | (sides > LARGEST_SIDE)).any():
        return "an image without a size"
    if not all(map(usable_name, images.file_name)):
        return "a file name that leaves the image directory"
    return ""


def fault_of_annotations(annotations: Annotations) -> str:
    """Boxes must be finite and have an area; ids must be unique."""
    box = annotations.box
    if not (np.isfinite(box).all() and (box[:, 2:] > box[:, :2]).all() and (box[:, :2] >= 0).all()):
        return "a box without area or outside its image"
    if np.unique(annotations.annotation_id).size != len(annotations):
        return "annotations twice"
    return ""


def fault_of_chips(chips: Chips, options: PositiveOptions) -> str:
    """Ids must be ascending, and scales, variants and windows valid."""
    if not _ascend(chips.chip_id):
        return "chips twice or out of order"
    if not (_below(chips.scale_index, len(options.scales)) and _below(chips.variant, options.variants)):
        return "chips of an unknown scale or variant"
    content = np.concatenate([chips.content_width, chips.content_height])
    if not (np.isfinite(chips.scale).all() and (chips.scale > 0).all() and (content > 0).all()):
        return "chips without content"
    if not (_below(content, options.chip_size + 1) and (chips.x >= 0).all() and (chips.y >= 0).all()):
        return "chips outside their canvas"
    return ""


def fault_of_labels(labels: Labels) -> str:
    """Chip ids must be in order, and boxes finite."""
    if (np.diff(labels.chip_id) < 0).any():
        return "labels out of order"
    return "" if np.isfinite(labels.box).all() and np.isfinite(labels.visibility).all() else "a box that is not finite"


def fault_of_references(
    images: Images, annotations: Annotations, chips: Chips, labels: Labels | None, categories: Ints
) -> str:
    """The images of chips and annotations must exist, and the annotations and categories of labels too."""
    row = places_of(images.image_id, chips.image_id)
    if (row < 0).any():
        return "chips of an unknown image"
    sides = np.stack([images.width[row], images.height[row]], axis=1) * chips.scale[:, None]
    far = np.stack([chips.x + chips.content_width, chips.y + chips.content_height], axis=1)
    if (far > sides + 1).any():  # a canvas is rounded to whole px
        return "chips outside their canvas"
    if not _among(annotations.image_id, images.image_id):
        return "annotations of an unknown image"
    if not _among(annotations.category_id, categories):
        return "annotations of an unknown category"
    if labels is None:
        return ""
    if not _among(labels.annotation_id, annotations.annotation_id):
        return "labels of an unknown annotation"
    return "" if _among(labels.category_id, categories) else "labels of an unknown category"


def fault_of_counts(counts: dict[str, Any], names: tuple[str, ...], by_scale: str, scales: list[str]) -> str:
    """``counts`` must have a whole number for each of ``names``, and under ``by_scale`` one for each scale."""
    lost = [name for name in names if not _is_count(counts.get(name))]
    chips = counts.get(by_scale)
    if not isinstance(chips, dict) or chips.keys() != set(scales) or not all(map(_is_count, chips.values())):
        lost.append(by_scale)
    return f"no count of {lost[0]}" if lost else ""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _ascend(values: Ints) -> bool:
    return bool((np.diff(values) > 0).all())


def _below(values: Ints, end: int) -> bool:
    return bool(((values >= 0) & (values < end)).all())


def _among(values: Ints, known: Ints) -> bool:
    return bool(np.isin(values, known).all())
