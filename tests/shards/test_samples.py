"""chipper.shards.samples: a chip's record is what COCO writes, in chip px, with what SNIPER needs beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chipper.columns import NEGATIVE, POSITIVE
from chipper.manifest.workdir import Workdir
from chipper.shards.samples import SampleWriter, sample_key


@pytest.fixture(scope="module")
def workdir(drawn: Any, tmp_path_factory: pytest.TempPathFactory, build: Callable[..., Workdir], mine: Any) -> Workdir:
    workdir = build(drawn.coco, tmp_path_factory.mktemp("samples") / "chips")
    mine(workdir, drawn.proposals, min_proposals_finest=5, min_proposals=5)
    return workdir


def records_of(workdir: Workdir, kind: str) -> Iterator[tuple[Any, int, dict[str, Any]]]:
    manifest = workdir.open()
    chips, labels = manifest.chips(0, kind), manifest.labels(0, kind)
    images, annotations = manifest.images(0), manifest.annotations(0)
    writer = SampleWriter(images, annotations, chips, labels, manifest.options)
    for k in range(len(chips)):
        yield chips, k, json.loads(writer.record(k))


@pytest.fixture(scope="module", params=[POSITIVE, NEGATIVE])
def records(request: pytest.FixtureRequest, workdir: Workdir) -> list[tuple[Any, int, dict[str, Any]]]:
    found = list(records_of(workdir, request.param))
    assert found
    return found


def test_keys_have_no_dots_and_sort_by_place() -> None:
    assert sample_key(42, 2, 64, 1024) == "000000000042_2_00064_01024"
    assert "." not in sample_key(2**63 - 1, 2, 123456, 7)
    assert len({sample_key(i, s, x, y) for i in (1, -1) for s in (0, 1) for x in (0, 99999) for y in (0, 100000)}) == 16


def test_fields(records: list[Any], drawn: Any) -> None:
    by_id = {image["id"]: image for image in drawn.content["images"]}
    for chips, k, record in records:
        assert list(record) == ["image_id", "file_name", "width", "height", "annotations", "chip"]
        assert record["file_name"] == by_id[record["image_id"]]["file_name"]
        assert (record["width"], record["height"]) == (512, 512)
        chip = record["chip"]
        assert chip["chip_id"] == chips.chip_id[k]
        assert chip["kind"] == chips.kind[k]
        assert chip["content"] == [chips.content_width[k], chips.content_height[k]]
        low, high = [(120, np.inf), (32, 150), (0, 80)][chip["scale_index"]]
        assert chip["valid_range"][0] == pytest.approx(low * chip["scale"], abs=1e-4)
        if np.isinf(high):
            assert chip["valid_range"][1] is None
        else:
            assert chip["valid_range"][1] == pytest.approx(high * chip["scale"], abs=1e-4)
        corner = np.array([chip["x"], chip["y"]]) / chip["scale"]
        assert chip["source_box"][:2] == pytest.approx(corner, abs=1e-4)
        width, height = by_id[record["image_id"]]["width"], by_id[record["image_id"]]["height"]
        assert chip["source_box"][2] <= width
        assert chip["source_box"][3] <= height


def test_boxes_are_the_annotations_seen_through_the_chip(records: list[Any], drawn: Any) -> None:
    by_id = {a["id"]: a for a in drawn.content["annotations"]}
    seen = 0
    for _, _, record in records:
        chip = record["chip"]
        ids = [annotation["id"] for annotation in record["annotations"]]
        assert len(set(ids)) == len(ids)
        for annotation in record["annotations"]:
            seen += 1
            source = by_id[annotation["id"]]
            assert annotation["image_id"] == record["image_id"] == source["image_id"]
            assert annotation["category_id"] == source["category_id"]
            assert annotation["iscrowd"] == source["iscrowd"]
            x, y, w, h = source["bbox"]
            whole = np.array([x, y, x + w, y + h]) * chip["scale"] - [chip["x"], chip["y"]] * 2
            clipped = np.clip(whole, 0, chip["content"] * 2)
            bx, by, bw, bh = annotation["bbox"]
            assert [bx, by, bx + bw, by + bh] == pytest.approx(clipped, abs=0.01)
            share = (clipped[2:] - clipped[:2]).prod() / (whole[2:] - whole[:2]).prod()
            assert annotation["visibility"] == pytest.approx(share, abs=0.01)
            assert annotation["ignore"] == bool(source["iscrowd"] or min(bw, bh) < 10)
            assert annotation["area"] == pytest.approx(source["area"] * chip["scale"] ** 2 * share, rel=0.02, abs=1)
            assert not (annotation["valid"] and annotation["ignore"])
            assert "segmentation" not in annotation
    assert seen > 10


def test_every_annotation_that_touches_is_there(records: list[Any], drawn: Any) -> None:
    for _, _, record in records:
        chip = record["chip"]
        x1, y1, x2, y2 = chip["source_box"]
        touching = {
            a["id"]
            for a in drawn.content["annotations"]
            if a["image_id"] == record["image_id"]
            and min(a["bbox"][0] + a["bbox"][2], x2) - max(a["bbox"][0], x1) > 0.01
            and min(a["bbox"][1] + a["bbox"][3], y2) - max(a["bbox"][1], y1) > 0.01
        }
        assert touching <= {a["id"] for a in record["annotations"]}


def test_keypoints_come_along_without_masks(records: list[Any], drawn: Any) -> None:
    by_id = {a["id"]: a for a in drawn.content["annotations"]}
    with_keypoints = [a for _, _, r in records for a in r["annotations"] if "keypoints" in by_id[a["id"]]]
    assert with_keypoints
    for annotation in with_keypoints:
        assert len(annotation["keypoints"]) == 9
        labelled = sum(v > 0 for v in annotation["keypoints"][2::3])
        assert annotation["num_keypoints"] == labelled <= 2


def test_masks_come_along_when_kept(drawn: Any, tmp_path: Path, build: Callable[..., Workdir]) -> None:
    workdir = build(drawn.coco, tmp_path / "chips", masks=True)
    kinds = set()
    for _, _, record in records_of(workdir, POSITIVE):
        content = record["chip"]["content"]
        for annotation in record["annotations"]:
            mask = annotation["segmentation"]
            kinds.add(type(mask))
            if isinstance(mask, dict):
                assert annotation["iscrowd"] == 1
                assert mask["size"] == content[::-1]
                continue
            assert annotation["area"] <= annotation["bbox"][2] * annotation["bbox"][3] + 0.1
            for flat in mask:
                points = np.asarray(flat).reshape(-1, 2)
                x, y, w, h = annotation["bbox"]
                assert (points >= np.array([x, y]) - 0.02).all()
                assert (points <= np.array([x + w, y + h]) + 0.02).all()
    assert kinds == {list, dict}


def test_records_are_json_that_any_reader_takes(workdir: Workdir) -> None:
    manifest = workdir.open()
    tables = manifest.images(0), manifest.annotations(0)
    chips, labels = manifest.chips(0, POSITIVE), manifest.labels(0, POSITIVE)
    writer = SampleWriter(*tables, chips, labels, manifest.options)
    text = writer.record(0).decode()
    assert not re.search(r"\bNaN\b|\bInfinity\b", text)
    assert writer.record(0) == writer.record(0)
