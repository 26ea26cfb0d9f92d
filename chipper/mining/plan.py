"""A forecast of mining a data set, without reading an image: chips, pixels, coverage and bytes of each scale.

The forecast is compared with the alternatives: sliding windows over every canvas, and training on complete images of
800 x 1333 px.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from chipper.columns import Annotations, Chips, Floats, Images, Ints
from chipper.grouping import Groups
from chipper.mining import candidates
from chipper.mining.assignment import Assignment
from chipper.mining.labels import label_chips
from chipper.mining.options import PositiveOptions
from chipper.mining.positives import mine_positives
from chipper.mining.pyramid import Pyramid

SMALL = 32.0
"""Chip px; COCO calls smaller objects small."""

WHOLE_IMAGE_PIXELS = 800 * 1333
"""Pixels of one image in the usual single-scale training, which the paper compares with (SNIPER, section 5)."""

OVERLAPS = (0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.9375)
"""Overlap of a sliding window with the next one, as a share of its side; the last is a stride of 32 px at 512."""

USUAL_OVERLAP = 0.2
"""SAHI's default overlap."""

# For JPEGs of photographs at quality 90, 4:2:0, measured on 128 COCO images: chips of a larger factor have less detail.
_BYTES_PER_PIXEL, _FALL, _SMALLEST_SCALE = 0.276, 0.377, 0.5
_JSON_BYTES, _LABEL_BYTES, _TAR_BYTES = (
    286,
    163,
    2 * 512 + 512,
)  # two headers, and half a block of padding for each member


@dataclass(frozen=True)
class Plan:
    """Sums over images; S scales, O overlaps. Plans of different images add up."""

    images: int
    images_without_objects: int
    boxes: int  # without crowds
    crowds: int
    covered: int  # boxes that at least one chip contains completely
    moved: int  # of these, boxes that are covered at a coarser scale than their own
    in_no_range: int
    unholdable: int  # boxes larger than any chip of their own scales and of coarser scales
    labels: int
    chips: Ints  # (S,) positive chips of one variant
    most_chips: int  # the largest number of chips of one image
    images_with_chips: Ints  # (S,)
    content_pixels: Ints  # (S,) of the chips, without padding
    jpeg_bytes: Floats  # (S,) estimated
    covered_at: Ints  # (S,) boxes of the scale that one of its chips contains completely; most boxes have two scales
    only_at: Ints  # (S,) boxes that no other scale covers
    large_enough: int  # boxes with sqrt(w * h) of at least `SMALL` chip px in a chip of a scale they belong to
    windows: Ints  # (S, O) number of sliding windows on all canvases
    windows_cover: Ints  # (S, O) boxes of ``covered_at`` that one of these windows contains completely
    canvas_pixels: Ints  # (S,) of all canvases: the pixels of training on the complete pyramid

    def __add__(self, other: Plan) -> Plan:
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return Plan(**{**sums, "most_chips": max(self.most_chips, other.most_chips)})

    def report(self, options: PositiveOptions, negatives_per_image: int) -> dict[str, Any]:
        """The complete plan as plain values; shares and ratios are not rounded.

        ``negatives_per_image`` is the maximum of an epoch (rule 6); the actual number depends on the proposals.
        """
        chips, boxes = int(self.chips.sum()), max(self.boxes, 1)
        pixels = options.chip_size**2 / WHOLE_IMAGE_PIXELS / self.images
        usual = OVERLAPS.index(USUAL_OVERLAP)
        same = self._same_coverage()
        scales = []
        for s, scale in enumerate(options.scales):
            scales.append(
                {
                    "scale": str(scale),
                    "valid_range": str(options.valid_ranges[s]),
                    "chips": int(self.chips[s]),
                    "images_with_chips": int(self.images_with_chips[s]),
                    "chip_pixels": int(self.chips[s]) * options.chip_size**2,
                    "content_pixels": int(self.content_pixels[s]),
                    "boxes_covered": int(self.covered_at[s]),
                    "share_of_boxes_covered": int(self.covered_at[s]) / boxes,
                    "boxes_covered_only_here": int(self.only_at[s]),
                    "sliding_windows": {
                        "overlap": USUAL_OVERLAP,
                        "windows": int(self.windows[s, usual]),
                        "boxes_covered": int(self.windows_cover[s, usual]),
                    },
                    "sliding_windows_same_coverage": {"overlap": same[s][0], "windows": same[s][1]},
                }
            )
        return {
            "options": options.as_text(),
            "images": self.images,
            "images_without_objects": self.images_without_objects,
            "boxes": self.boxes,
            "crowds": self.crowds,
            "boxes_covered": self.covered,
            "boxes_moved_to_coarser_scale": self.moved,
            "boxes_in_no_valid_range": self.in_no_range,
            "boxes_no_chip_can_hold": self.unholdable,
            "boxes_large_enough": self.large_enough,
            "share_of_boxes_large_enough": self.large_enough / boxes,
            "scales": scales,
            "chips": chips,
            "chips_per_image": chips / self.images,
            "most_chips_of_an_image": self.most_chips,
            "pixels_against_whole_images": chips * pixels,
            "pixels_against_whole_images_with_negatives": (chips + negatives_per_image * self.images) * pixels,
            "pyramid_pixels": int(self.canvas_pixels.sum()),
            "sliding_windows": int(self.windows[:, usual].sum()),
            "sliding_windows_same_coverage": sum(windows for _, windows in same),
            "labels": self.labels,
            "estimated_shard_bytes": round(self._shard_bytes()),
        }

    def _shard_bytes(self) -> float:
        """Estimated size of the shards of the positive chips of one variant."""
        text = _JSON_BYTES + _TAR_BYTES
        return float(self.jpeg_bytes.sum() + text * self.chips.sum() + _LABEL_BYTES * self.labels)

    def _same_coverage(self) -> list[tuple[float, int]]:
        """For each scale: the overlap that covers the same boxes as the chips with the fewest windows, and their number.

        If no overlap covers all of these boxes, the one that covers the most is used.
        """
        found = []
        for windows, covered, wanted in zip(self.windows, self.windows_cover, self.covered_at, strict=True):
            enough = np.flatnonzero(covered >= min(wanted, covered.max()))
            best = enough[np.argmin(windows[enough])]
            found.append((OVERLAPS[best], int(windows[best]) if wanted else 0))
        return found


def plan_chips(images: Images, annotations: Annotations, options: PositiveOptions) -> Plan:
    """Plan the positive chips of the first variant."""
    one = PositiveOptions.from_text({**options.as_text(), "variants": 1})
    positives = mine_positives(images, annotations, one)
    labels = label_chips(positives.chips, images, annotations, one, positives.assignments)
    return plan_of_chips(images, annotations, one, positives.chips, positives.assignments[0], len(labels))


def plan_of_chips(
    images: Images,
    annotations: Annotations,
    options: PositiveOptions,
    chips: Chips,
    assignment: Assignment,
    labels: int,
) -> Plan:
    """The plan of ``chips``, the positive chips of one variant, from their ``assignment`` and ``labels``."""
    scales = len(options.scales)
    pyramid = Pyramid.of(options.scales, images.width, images.height)
    content = chips.content_width * chips.content_height
    density = _BYTES_PER_PIXEL * np.maximum(chips.scale, _SMALLEST_SCALE) ** -_FALL
    targets = assignment.targets
    image = Groups.of(images.image_id, annotations.image_id).row
    sides = annotations.box[:, 2:] - annotations.box[:, :2]
    largest = np.sqrt(sides.prod(axis=1)) * np.where(targets, pyramid.factor[:, image], 0).max(axis=0)
    boxes = ~annotations.iscrowd
    windows, windows_cover = _slide(images, annotations, pyramid, assignment, options.chip_size)
    of_image = np.unique(chips.image_id, return_counts=True)[1]
    return Plan(
        images=len(images),
        images_without_objects=len(images) - np.unique(annotations.image_id[boxes]).size,
        boxes=int(boxes.sum()),
        crowds=int((~boxes).sum()),
        covered=int(targets.any(axis=0).sum()),
        moved=int(assignment.moved.any(axis=0).sum()),
        in_no_range=int((assignment.without_range & boxes).sum()),
        unholdable=int(assignment.uncoverable.sum()),
        labels=labels,
        chips=np.bincount(chips.scale_index, minlength=scales),
        most_chips=int(of_image.max(initial=0)),
        images_with_chips=np.array([np.unique(chips.image_id[chips.scale_index == s]).size for s in range(scales)]),
        content_pixels=np.bincount(chips.scale_index, weights=content, minlength=scales).astype(np.int64),
        jpeg_bytes=np.bincount(chips.scale_index, weights=content * density, minlength=scales).astype(np.float64),
        covered_at=targets.sum(axis=1),
        only_at=(targets & (targets.sum(axis=0) == 1)).sum(axis=1),
        large_enough=int((largest >= SMALL).sum()),
        windows=windows,
        windows_cover=windows_cover,
        canvas_pixels=(pyramid.width * pyramid.height).sum(axis=1),
    )


def _slide(
    images: Images, annotations: Annotations, pyramid: Pyramid, assignment: Assignment, chip_size: int
) -> tuple[Ints, Ints]:
    """(S, O) number of windows on all canvases, and number of the scale's boxes that a window contains completely."""
    image = Groups.of(images.image_id, annotations.image_id).row
    windows = np.zeros((len(pyramid.factor), len(OVERLAPS)), np.int64)
    covered = np.zeros_like(windows)
    for s in range(len(pyramid.factor)):
        rows = np.flatnonzero(assignment.targets[s])
        boxes = pyramid.boxes(s, image[rows], annotations.box[rows])
        for o, overlap in enumerate(OVERLAPS):
            stride = max(round(chip_size * (1 - overlap)), 1)
            across = candidates.count(pyramid.width[s], chip_size, stride)
            windows[s, o] = (across * candidates.count(pyramid.height[s], chip_size, stride)).sum()
            held = np.ones(rows.size, np.bool_)
            for low, high, canvas in ((0, 2, pyramid.width), (1, 3, pyramid.height)):
                first, last = candidates.windows_holding(
                    boxes[:, low], boxes[:, high], canvas[s, image[rows]], chip_size, stride
                )
                held &= first <= last
            covered[s, o] = held.sum()
    return windows, covered
