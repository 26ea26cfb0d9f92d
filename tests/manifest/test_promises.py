"""Promises about negatives and images that a run with plausible counts would hide; every value was worked out by hand."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chipper.columns import CHIPS_PER_IMAGE, FIRST_NEGATIVE, NEGATIVE, POSITIVE
from chipper.errors import ImageError
from chipper.images.finding import image_path
from chipper.manifest.workdir import Workdir
from chipper.mining.options import PositiveOptions


def one_image(folder: Path, side: int, boxes: list[list[float]], proposals: list[list[float]]) -> tuple[Path, Path]:
    """A COCO file of one square image with boxes x y w h, and a pickle of proposals x1 y1 x2 y2."""
    import json

    content: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": side, "height": side}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {"id": k + 1, "image_id": 1, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for k, box in enumerate(boxes)
        ],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    scores = np.linspace(1, 0.5, len(proposals))[:, None]
    (folder / "rpn.pkl").write_bytes(
        pickle.dumps([np.concatenate([np.array(proposals, float), scores], axis=1)], protocol=2)
    )
    return folder / "coco.json", folder / "rpn.pkl"


def test_a_negative_that_cuts_what_a_positive_holds_whole_does_not_teach_it(
    tmp_path: Path, build: Callable[..., Workdir], mine: Any
) -> None:
    """Objects at x 100 to 200 and 500 to 600: only the window from 96 to 608 holds both. Five proposals begin at x 600 and five
    end at 1080, none of them inside that window: only the window from 576 to 1088 holds all ten. It shows 24 of the 100 px of
    the second object.
    """
    left = [[600.0 + k, 10.0, 660.0 + k, 70.0] for k in range(5)]
    right = [[1015.0 + k, 110.0, 1075.0 + k, 170.0] for k in range(5)]
    coco, proposals = one_image(tmp_path, 1600, [[100, 0, 100, 100], [500, 0, 100, 100]], left + right)
    workdir = build(coco, tmp_path / "chips", scales="1", valid_ranges=":")
    mine(workdir, proposals, min_proposals=8, min_proposals_finest=8, nms=0.99)
    manifest = workdir.open()
    positives, negatives = manifest.all_chips(POSITIVE), manifest.all_chips(NEGATIVE)
    assert [(int(x), int(y)) for x, y in zip(positives.x, positives.y, strict=True)] == [(96, 0)]
    assert negatives.x.tolist() == [576]
    held, cut = manifest.labels(0, POSITIVE), manifest.labels(0, NEGATIVE)
    assert held.valid.tolist() == [True, True]
    assert cut.annotation_id.tolist() == [2]
    assert cut.box.tolist() == [[0, 0, 24, 100]]
    assert cut.visibility.tolist() == pytest.approx([0.24])
    assert cut.valid.tolist() == [False]
    assert cut.ignore.tolist() == [False]


def test_labels_of_a_variant_are_those_of_its_own_stride(
    tmp_path: Path, build: Callable[..., Workdir], mine: Any
) -> None:
    """A box from x 165 to 665 is held by a window of 512 px that begins at 153 to 165. With a step of 55 px there is one at 165,
    with a step of 56 px (112, 168) there is none: in these variants the box moves to the coarse scale, and in the others a
    negative of the coarse scale does not teach it.
    """
    large = [[1000.0 + 5 * k, 1000.0, 1330.0 + 5 * k, 1330.0] for k in range(6)]
    coco, proposals = one_image(tmp_path, 1600, [[165, 10, 500, 100]], large)
    options = {"scales": "512,1", "valid_ranges": "300:,:300", "stride": "55-56", "variants": 6}
    for seed in range(100):
        steps = [PositiveOptions.parse(**options, seed=seed).step(v) for v in range(6)]
        if steps[0] == 56 and 55 in steps:
            break
    workdir = build(coco, tmp_path / "chips", **options, seed=seed)
    mine(workdir, proposals, min_proposals=3, min_proposals_finest=3, nms=0.99)
    manifest = workdir.open()
    positives, negatives = manifest.all_chips(POSITIVE), manifest.all_chips(NEGATIVE)
    moved = {v for v, step in enumerate(steps) if step == 56}
    assert set(positives.variant[positives.scale_index == 0].tolist()) == moved
    coarse = negatives[negatives.scale_index == 0]
    assert set(coarse.variant.tolist()) == set(range(6)) - moved
    labels = manifest.labels(0, NEGATIVE)
    of_coarse = labels[np.isin(labels.chip_id, coarse.chip_id)]
    assert len(of_coarse) == len(coarse)
    assert not of_coarse.valid.any()
    assert of_coarse.visibility.tolist() == pytest.approx([1.0] * len(coarse))


@pytest.mark.parametrize("per_image", [1, 2, 3])
def test_negatives_per_image_is_obeyed(
    drawn: Any, tmp_path: Path, build: Callable[..., Workdir], mine: Any, per_image: int
) -> None:
    workdir = build(drawn.coco, tmp_path / "chips")
    mine(workdir, drawn.proposals, min_proposals=3, min_proposals_finest=3, per_image=per_image)
    manifest = workdir.open()
    there = np.bincount(manifest.all_chips(NEGATIVE).chip_id // CHIPS_PER_IMAGE)
    assert there.max() >= 3
    for epoch in range(7):
        ids = manifest.epoch(epoch)
        negative = ids[ids % CHIPS_PER_IMAGE >= FIRST_NEGATIVE]
        counts = np.bincount(negative // CHIPS_PER_IMAGE, minlength=there.size)
        assert counts.tolist() == np.minimum(there, per_image).tolist()
        assert counts.max() == per_image


def test_epochs_are_in_another_order_each_and_mix_images(
    drawn: Any, tmp_path: Path, build: Callable[..., Workdir]
) -> None:
    manifest = build(drawn.coco, tmp_path / "chips").open()
    orders = [manifest.epoch(epoch).tolist() for epoch in range(7)]
    assert len(orders[0]) > 20
    assert len({tuple(sorted(order)) for order in orders}) == 1
    assert len({tuple(order) for order in orders}) == 7
    for order in orders:
        images = np.array(order) // CHIPS_PER_IMAGE
        assert order != sorted(order)
        assert (np.diff(images) != 0).mean() > 0.5  # a list by image would change the image about once in three chips


def test_links_out_of_the_image_folder_are_refused_also_into_one_of_a_similar_name(tmp_path: Path) -> None:
    for name in ("images", "images-private"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"1")
    os.symlink(tmp_path / "images-private" / "a.jpg", tmp_path / "images" / "b.jpg")
    os.symlink(tmp_path / "images" / "a.jpg", tmp_path / "images" / "c.jpg")
    os.symlink(tmp_path / "images-private", tmp_path / "images" / "deep")
    for name in ("b.jpg", "deep/a.jpg"):
        with pytest.raises(ImageError, match="a link leads out"):
            image_path(tmp_path / "images", name)
    assert image_path(tmp_path / "images", "c.jpg").read_bytes() == b"1"
