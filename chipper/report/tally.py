"""Counts for the report from the tables of some images. Counts of parts can be added, so a workdir is read part by part."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from chipper.columns import NEGATIVE, POSITIVE, Annotations, Chips, Images, Ints, Labels
from chipper.grouping import Groups, places_of
from chipper.kernels.overlap import held
from chipper.mining.assignment import Assignment, assign
from chipper.mining.options import PositiveOptions
from chipper.mining.plan import Plan, plan_of_chips
from chipper.mining.pyramid import Pyramid

KINDS = (POSITIVE, NEGATIVE)
SIZE_EDGES = 2.0 ** np.arange(-2, 24.25, 0.25)
"""sqrt(w * h) in source px, four bins per octave; values beyond an end count in the bin at that end."""

CLASSES = (("small", 0.0, 32.0), ("medium", 32.0, 96.0), ("large", 96.0, np.inf))
"""The size classes of COCO: name, bounds of sqrt(w * h) in source px, the lower one inclusive."""

FATES = ("covered", "moved", "in no valid range", "no chip can hold it")
"""What can happen to a box; a moved box is also covered."""

NAMED = 10  # images with the most chips


@dataclass(frozen=True)
class Tally:
    """Sums over images; S scales, C categories in the order of dataset.json. Chips and labels are those of variant 0."""

    plan: Plan
    sizes: Ints  # (2, bins of SIZE_EDGES) covered and uncovered boxes
    fates: Ints  # (3 CLASSES, 1 + FATES) all boxes, then boxes of each fate
    of_scale: Ints  # (S,) boxes in the scale's valid range
    covered_at: Ints  # (S,) boxes of the scale, including moved ones, that are completely in one of its chips
    moved_to: Ints  # (S,) boxes that moved to the scale from a finer one
    labels: Ints  # (2 KINDS, S, 3) valid, ignored, others
    categories: Ints  # (C, 3) boxes, labels in chips, valid labels
    images_with: dict[
        tuple[str, int], Ints
    ]  # by kind and scale: images with 0, 1, 2 ... chips; scale -1 means all scales
    holding: dict[int, Ints]  # by scale: negative chips with 0, 1, 2 ... proposals
    busiest: tuple[tuple[str, int, tuple[int, ...]], ...]  # file name, id, positives of each scale; most chips first

    def __add__(self, other: Tally) -> Tally:
        sums: dict[str, Any] = {}
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            if isinstance(mine, dict):
                sums[f.name] = {key: _added(mine[key], theirs[key]) for key in mine}
            else:
                sums[f.name] = mine + theirs
        return replace(Tally(**sums), busiest=_most(sums["busiest"]))


def tally_part(
    images: Images,
    annotations: Annotations,
    chips: dict[str, Chips],
    labels: dict[str, Labels],
    options: PositiveOptions,
    category_ids: Ints,
) -> Tally:
    """Count some images; ``chips`` and ``labels`` by kind, all variants; ``category_ids`` (C,) in any order."""
    first = {kind: some[some.variant == 0] for kind, some in chips.items()}
    positives = first[POSITIVE]
    shown = {kind: _of_chips(labels[kind], first[kind]) for kind in first}
    pyramid = Pyramid.of(options.scales, images.width, images.height)
    assignment = assign(images, annotations, pyramid, options, variant=0)
    whole = _held(images, annotations, positives, pyramid, options.chip_size) & assignment.of_scale
    covered = np.asarray(whole.any(axis=0))
    sides = annotations.box[:, 2:] - annotations.box[:, :2]
    size = np.sqrt(sides.prod(axis=1))
    boxes = ~annotations.iscrowd
    counts = {(kind, s): _chips_of(images, first[kind], s) for kind in first for s in (-1, *range(len(options.scales)))}
    by_scale = np.stack([counts[POSITIVE, s] for s in range(len(options.scales))], axis=1)
    busiest = [
        (str(images.file_name[k]), int(images.image_id[k]), tuple(by_scale[k].tolist()))
        for k in np.argsort(-by_scale.sum(axis=1), kind="stable")[:NAMED]
    ]
    return Tally(
        plan=plan_of_chips(images, annotations, options, positives, assignment, len(shown[POSITIVE])),
        sizes=np.stack([_binned(size[boxes & covered]), _binned(size[boxes & ~covered])]),
        fates=_fates(size, boxes, covered, assignment),
        of_scale=assignment.in_range.sum(axis=1),
        covered_at=whole.sum(axis=1),
        moved_to=assignment.moved.sum(axis=1),
        labels=np.stack([_label_counts(shown.get(kind), first.get(kind), len(options.scales)) for kind in KINDS]),
        categories=np.stack(
            [
                _per_category(annotations.category_id[boxes], category_ids),
                sum(_per_category(some.category_id, category_ids) for some in shown.values()),
                sum(_per_category(some.category_id[some.valid], category_ids) for some in shown.values()),
            ],
            axis=1,
        ),
        images_with={key: np.bincount(number) for key, number in counts.items()},
        holding={
            s: np.bincount(first[NEGATIVE].proposals[first[NEGATIVE].scale_index == s])
            for s in range(len(options.scales) if NEGATIVE in first else 0)
        },
        busiest=_most(tuple(busiest)),
    )


def _held(images: Images, annotations: Annotations, chips: Chips, pyramid: Pyramid, chip_size: int) -> np.ndarray:
    """(S, n) which boxes are completely in a chip of each scale: measured, not taken from the choice of the chips."""
    of_images = Groups.of(images.image_id, annotations.image_id)
    found = []
    for s in range(len(pyramid.factor)):
        some = chips[chips.scale_index == s]
        corner = np.stack([some.x, some.y], axis=1).astype(np.float64)
        windows = np.concatenate([corner, corner + chip_size], axis=1)
        boxes = pyramid.boxes(s, of_images.row, annotations.box)
        found.append(held(Groups.of(images.image_id, some.image_id).offsets, windows, of_images.offsets, boxes))
    return np.stack(found)


def _fates(size: np.ndarray, boxes: np.ndarray, covered: np.ndarray, assignment: Assignment) -> Ints:
    """(3, 1 + FATES) boxes of each size class, and how many have each fate."""
    moved = assignment.moved.any(axis=0)
    fates = (boxes, covered, moved & covered, assignment.without_range, assignment.uncoverable)
    rows = [boxes & (size >= low) & (size < high) for _, low, high in CLASSES]
    return np.array([[int((row & fate).sum()) for fate in fates] for row in rows])


def _of_chips(labels: Labels, chips: Chips) -> Labels:
    return labels[np.isin(labels.chip_id, chips.chip_id)]


def _label_counts(labels: Labels | None, chips: Chips | None, scales: int) -> Ints:
    """(S, 3) valid, ignored and other labels of each scale."""
    if labels is None or chips is None or not len(labels):
        return np.zeros((scales, 3), np.int64)
    scale = chips.scale_index[np.searchsorted(chips.chip_id, labels.chip_id)]
    what = np.where(labels.ignore, 1, np.where(labels.valid, 0, 2))
    return np.bincount(scale * 3 + what, minlength=scales * 3).reshape(scales, 3)


def _per_category(ids: Ints, category_ids: Ints) -> Ints:
    place = places_of(category_ids, ids)
    return np.bincount(place[place >= 0], minlength=category_ids.size)


def _chips_of(images: Images, chips: Chips, scale: int) -> Ints:
    """(images,) number of chips of a scale, or of all scales for -1."""
    some = chips if scale < 0 else chips[chips.scale_index == scale]
    return Groups.of(images.image_id, some.image_id).counts


def _binned(size: np.ndarray) -> Ints:
    bins = len(SIZE_EDGES) - 1
    place = np.searchsorted(SIZE_EDGES, size, side="right") - 1
    return np.bincount(place.clip(0, bins - 1), minlength=bins)


def _added(a: Ints, b: Ints) -> Ints:
    """The sum of two counts of different length."""
    total = np.zeros(max(a.size, b.size), np.int64)
    total[: a.size] += a
    total[: b.size] += b
    return total


def _most(busiest: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(sorted((entry for entry in busiest if sum(entry[2])), key=lambda entry: -sum(entry[2]))[:NAMED])
