"""Promises of the shards that their own readers would not notice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import chipper.shards.stripes
from chipper.columns import POSITIVE
from chipper.errors import ImageError
from chipper.manifest.workdir import Workdir
from chipper.mining.scales import ValidRange
from chipper.parallel.workers import Workers
from chipper.shards.options import RenderOptions
from chipper.shards.planning import PartTables, _content_hash, read_part
from chipper.shards.pool import Pool
from chipper.shards.verify import verify_shards


def test_an_image_that_fails_half_way_leaves_a_shard_with_a_right_checksum(
    own_drawn: Any,
    tmp_path: Path,
    build: Callable[..., Workdir],
    export: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second chip of one image fails, after the first was written to the tar: it is cut off, from the hash too."""
    workdir = build(own_drawn.coco, tmp_path / "chips", image_dir=own_drawn.images)
    chips = workdir.open().all_chips(POSITIVE)
    ids, counts = np.unique(chips.image_id, return_counts=True)
    victim = int(ids[(counts >= 3) & (ids != ids[0])][0])  # not the first, so that something stands before it
    wanted = set(chips.chip_id[chips.image_id != victim].tolist())
    size = {"done": 0}
    key = chipper.shards.stripes.sample_key

    def failing(image_id: int, *rest: Any) -> str:
        if image_id == victim:
            size["done"] += 1
            if size["done"] == 2:
                raise ImageError("its second chip cannot be rendered")
        return key(image_id, *rest)

    monkeypatch.setattr(chipper.shards.stripes, "sample_key", failing)
    found = export(workdir, chips_per_shard=50)
    assert [fault.image_id for _, fault in found.faults] == [victim]
    assert size["done"] == 2
    assert verify_shards(workdir.shards, deep=True, workers=Workers(1)).faults == []
    for receipt in workdir.shards.glob("*.done.json"):
        content = json.loads(receipt.read_text())
        tar = (workdir.shards / f"{content['name']}.tar").read_bytes()
        assert hashlib.sha256(tar).hexdigest() == content["sha256"]
        assert len(tar) == content["bytes"]
    assert set(Pool(workdir.shards).chip_id.tolist()) == wanted


@pytest.fixture(scope="module")
def tables(drawn: Any, tmp_path_factory: pytest.TempPathFactory, build: Callable[..., Workdir]) -> PartTables:
    workdir = build(drawn.coco, tmp_path_factory.mktemp("hash") / "chips", masks=True)
    return read_part(workdir.path, workdir.dataset().epochs_id, 0, POSITIVE)


def changed(tables: PartTables, name: str, column: str) -> PartTables:
    """The same tables with one value of the first row changed a little."""
    found = getattr(tables, name)
    values = getattr(found, column).copy()
    old = values[0]
    if isinstance(old, bytes) or old is None:
        values[0] = (old or b"") + b" "
    elif isinstance(old, str):
        values[0] = old + "x"
    elif isinstance(old, np.ndarray):
        values[0] = old + np.float64(0.5)
    elif values.dtype == bool:
        values[0] = not old
    else:
        values[0] = old + 1
    return replace(tables, **{name: replace(found, **{column: values})})


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("annotations", "keypoints"),
        ("annotations", "segmentation"),
        ("annotations", "area"),
        ("annotations", "iscrowd"),
        ("annotations", "category_id"),
        ("labels", "box"),
        ("labels", "valid"),
        ("labels", "ignore"),
        ("labels", "visibility"),
        ("images", "file_name"),
        ("images", "width"),
        ("chips", "x"),
        ("chips", "content_width"),
        ("chips", "scale"),
    ],
)
def test_whatever_a_sample_is_made_of_is_in_the_hash_of_its_shard(tables: PartTables, name: str, column: str) -> None:
    """Shards with an old hash are rendered again, so what is not in the hash would stay old without a word."""
    rows = np.arange(len(tables.chips))
    assert _content_hash(changed(tables, name, column), rows, RenderOptions()) != _content_hash(
        tables, rows, RenderOptions()
    )


def test_the_bounds_of_the_valid_ranges_are_in_the_hash(tables: PartTables) -> None:
    rows = np.arange(len(tables.chips))
    for k, bound in enumerate((ValidRange(121), ValidRange(32, 151), ValidRange(0, 81))):
        ranges = list(tables.options.valid_ranges)
        ranges[k] = bound
        other = replace(tables, options=replace(tables.options, valid_ranges=tuple(ranges)))
        assert _content_hash(other, rows, RenderOptions()) != _content_hash(tables, rows, RenderOptions())


def test_changed_keypoints_are_rendered_again(
    own_drawn: Any, tmp_path: Path, build: Callable[..., Workdir], export: Callable[..., Any]
) -> None:
    content = json.loads(own_drawn.coco.read_text())
    content["annotations"][0]["keypoints"] = [5, 5, 2]
    content["annotations"][0]["num_keypoints"] = 1
    seen = []
    for value in (5, 6):
        content["annotations"][0]["keypoints"][0] = value
        own_drawn.coco.write_text(json.dumps(content))
        workdir = build(own_drawn.coco, tmp_path / "chips", image_dir=own_drawn.images, overwrite=True)
        assert export(workdir).rendered > 0
        pool = Pool(workdir.shards)
        texts = [pool.read(row)[1] for row in range(len(pool.chip_id))]
        seen.append(sorted(text for text in texts if b'"keypoints"' in text))
    assert seen[0]
    assert seen[0] != seen[1]


def test_a_fine_chip_is_cut_from_the_whole_jpeg_not_from_a_reduced_one(
    tmp_path: Path, write_coco: Callable[..., Path], build: Callable[..., Workdir], export: Callable[..., Any]
) -> None:
    """Stripes of 2 px, black and white: at scale 1 they stay; in a JPEG read at half its size they would be grey."""
    side = 2048
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[:, (np.arange(side) // 2) % 2 == 1] = 255
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(pixels).save(images / "a.jpg", quality=95)
    coco = write_coco(
        tmp_path,
        images=[{"id": 1, "file_name": "a.jpg", "width": side, "height": side}],
        annotations=[
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [600, 600, 40, 40], "area": 1600, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [100, 100, 900, 900], "area": 810000, "iscrowd": 0},
        ],
        categories=[{"id": 1, "name": "x"}],
    )
    workdir = build(coco, tmp_path / "chips", image_dir=images, scales="512,1", valid_ranges="100:,:100")
    export(workdir, render=RenderOptions(quality=95))
    pool, chips = Pool(workdir.shards), workdir.open().all_chips(POSITIVE)
    spread = {}
    for row, chip_id in enumerate(pool.chip_id.tolist()):
        scale = int(chips.scale_index[chips.chip_id == chip_id][0])
        spread[scale] = np.asarray(pool.decoded(row)[0])[100:400, 100:400].std()
    assert spread[1] > 100  # black and white
    assert spread[0] < 40  # a quarter of the size
