"""chipper.manifest.build_positives: same bytes whoever computes them, nothing done twice, nothing half-done that looks whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import chipper.manifest.build_positives
import chipper.mining.parts
from chipper.columns import POSITIVE
from chipper.errors import AnnotationError, ChipperError, StorageError, WorkdirError
from chipper.manifest.workdir import Workdir
from chipper.storage.lock import locked

Build = Callable[..., Workdir]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chipper.mining.parts, "PART_IMAGES", 3)


@pytest.mark.usefixtures("small_parts")
def test_same_bytes_for_any_jobs(drawn: Any, tmp_path: Path, build: Build, hashes: Callable[..., Any]) -> None:
    found = [
        hashes(build(drawn.coco, tmp_path / f"chips{jobs}", jobs, variants=2, stride="30-40").path)
        for jobs in (1, 2, 3, -1)
    ]
    assert "chips/positive-00002.parquet" in found[0]
    assert all(other == found[0] for other in found[1:])


def test_chips_do_not_depend_on_parts(
    drawn: Any, tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build(drawn.coco, tmp_path / "whole")
    monkeypatch.setattr(chipper.mining.parts, "PART_IMAGES", 3)
    parts = build(drawn.coco, tmp_path / "parts")
    assert (whole.dataset().parts, parts.dataset().parts) == (1, 3)
    a, b = whole.dataset(), parts.dataset()
    assert a.counts == b.counts
    assert a.id == b.id
    for name, column in vars(whole.open().all_chips(POSITIVE)).items():
        np.testing.assert_array_equal(column, getattr(parts.open().all_chips(POSITIVE), name))
    np.testing.assert_array_equal(whole.open().epoch(3), parts.open().epoch(3))


def test_same_bytes_again(drawn: Any, tmp_path: Path, build: Build, hashes: Callable[..., Any]) -> None:
    assert hashes(build(drawn.coco, tmp_path / "a").path) == hashes(build(drawn.coco, tmp_path / "b").path)


def test_rerun_does_nothing(drawn: Any, tmp_path: Path, build: Build) -> None:
    workdir = build(drawn.coco, tmp_path / "chips")
    before = {p: p.stat().st_mtime_ns for p in workdir.path.rglob("*.parquet")}
    dataset = workdir.dataset()
    build(drawn.coco, tmp_path / "chips")
    assert workdir.dataset() == dataset
    assert {p: p.stat().st_mtime_ns for p in workdir.path.rglob("*.parquet")} == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"seed": 1}, ["seed 0"]),
        ({"scales": "512,1.667,2.5"}, ["scales 512,1.667,3"]),
        ({"variants": 2, "stride": "30-33"}, ["variants 1", "stride 32"]),
        ({"valid_ranges": "110:,32:150,:80"}, ["valid_ranges 120:,32:150,:80"]),
        ({"chip_size": 256}, ["chip_size 512"]),
        ({"epochs": 2}, ["epochs 7"]),
    ],
)
def test_other_options_are_refused_with_the_difference(
    drawn: Any, tmp_path: Path, build: Build, options: dict[str, Any], named: list[str], is_one_line: Callable[..., str]
) -> None:
    workdir = build(drawn.coco, tmp_path / "chips")
    before = (workdir.path / "dataset.json").read_bytes()
    with pytest.raises(WorkdirError, match="give overwrite to replace it, or another workdir") as caught:
        build(drawn.coco, tmp_path / "chips", **options)
    message = is_one_line(caught.value)
    assert all(name in message for name in named)
    assert caught.value.told("--{}".format).count("--") == len(named) + 2
    assert (workdir.path / "dataset.json").read_bytes() == before


def test_masks_are_a_difference_in_the_words_of_the_command_line(drawn: Any, tmp_path: Path, build: Build) -> None:
    build(drawn.coco, tmp_path / "chips")
    with pytest.raises(WorkdirError, match="was made without masks"):
        build(drawn.coco, tmp_path / "chips", masks=True)


def test_another_file_is_refused(drawn: Any, own_drawn: Any, tmp_path: Path, build: Build) -> None:
    build(drawn.coco, tmp_path / "chips")
    own_drawn.coco.write_text(json.dumps(own_drawn.content | {"annotations": own_drawn.content["annotations"][:-1]}))
    with pytest.raises(WorkdirError, match="made from another annotation file"):
        build(own_drawn.coco, tmp_path / "chips")


def test_overwrite_replaces(drawn: Any, tmp_path: Path, build: Build, mine: Any, hashes: Callable[..., Any]) -> None:
    workdir = build(drawn.coco, tmp_path / "chips")
    mine(workdir, drawn.proposals)
    (workdir.shards).mkdir()
    (workdir.shards / "dataset.json").write_text("{}")
    build(drawn.coco, tmp_path / "chips", overwrite=True, seed=9)
    assert hashes(workdir.path) == hashes(build(drawn.coco, tmp_path / "other", seed=9).path)


def test_overwrite_with_a_bad_file_destroys_nothing(drawn: Any, tmp_path: Path, build: Build) -> None:
    workdir = build(drawn.coco, tmp_path / "chips")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(AnnotationError):
        build(tmp_path / "bad.json", tmp_path / "chips", overwrite=True)
    assert workdir.dataset()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("folder", ["images", "annotations", "labels", "chips", "shards"])
def test_folders_that_chipper_did_not_write_are_never_removed(
    own_drawn: Any, build: Build, folder: str, overwrite: bool
) -> None:
    """`--workdir .` beside coco.json and images/ must not cost the images: COCO sets have folders of these names."""
    place = own_drawn.folder / folder
    place.mkdir(exist_ok=True)
    (place / "precious.jpg").write_bytes(b"years of work")
    try:
        build(own_drawn.coco, own_drawn.folder, overwrite=overwrite)
    except ChipperError as error:
        assert str(own_drawn.folder) in str(error)
    assert (place / "precious.jpg").read_bytes() == b"years of work"
    assert (own_drawn.images / own_drawn.names[0]).exists()


def test_damaged_dataset_json_names_a_cure_that_works(
    drawn: Any, tmp_path: Path, build: Build, is_one_line: Callable[..., str]
) -> None:
    workdir = build(drawn.coco, tmp_path / "chips")
    (workdir.path / "dataset.json").write_text("{")
    with pytest.raises(WorkdirError, match="overwrite") as caught:
        build(drawn.coco, tmp_path / "chips")
    is_one_line(caught.value)
    build(drawn.coco, tmp_path / "chips", overwrite=True)


class Crash(Exception):
    """The process ends here."""


STEPS = ("write_epochs", "write_table", "count_by_scale", "_uncovered", "_mine_part")


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_leaves_no_dataset_json(
    drawn: Any,
    tmp_path: Path,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    jobs: int,
    hashes: Callable[..., Any],
) -> None:
    calls = 0
    true = getattr(chipper.manifest.build_positives, step)

    def crash(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == (2 if step in ("count_by_scale", "_uncovered", "_mine_part") else 1):
            raise Crash
        return true(*arguments, **more)

    build(drawn.coco, tmp_path / "chips", seed=5)
    with monkeypatch.context() as patch:
        patch.setattr(chipper.manifest.build_positives, step, crash)
        with pytest.raises(Crash):
            build(drawn.coco, tmp_path / "chips", jobs, overwrite=True)
    assert not (tmp_path / "chips" / "dataset.json").exists()
    assert not [p for p in (tmp_path / "chips").rglob("*") if "partial" in p.name]
    build(drawn.coco, tmp_path / "chips", jobs)
    fresh = build(drawn.coco, tmp_path / "fresh")
    assert hashes(tmp_path / "chips") == hashes(fresh.path)


def test_a_second_builder_is_refused(drawn: Any, tmp_path: Path, build: Build) -> None:
    with (
        locked(tmp_path / "chips", "export-shards"),
        pytest.raises(WorkdirError, match="in use by chipper export-shards"),
    ):
        build(drawn.coco, tmp_path / "chips")


def test_full_disk(drawn: Any, tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    import pyarrow.parquet

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pyarrow.parquet.ParquetWriter, "write_table", refuse)
    with pytest.raises(
        StorageError, match="no space is left on that disk; free some space and run the same command again"
    ):
        build(drawn.coco, tmp_path / "chips")
    assert not (tmp_path / "chips" / "dataset.json").exists()


# --- counts and skips ---


def test_counts_agree_with_the_tables(drawn: Any, tmp_path: Path, build: Build) -> None:
    workdir = build(drawn.coco, tmp_path / "chips")
    manifest = workdir.open()
    counts, chips = manifest.dataset.counts, manifest.all_chips(POSITIVE)
    annotations, labels = manifest.annotations(0), manifest.labels(0, POSITIVE)
    assert counts["images"] == 8
    assert counts["images_without_objects"] == 1
    assert counts["crowds"] == 1
    assert counts["boxes"] + counts["crowds"] == len(annotations)
    assert list(counts["positive_chips"]) == ["512", "1.667", "3"]
    assert sum(counts["positive_chips"].values()) == len(chips)
    assert counts["labels"] == len(labels)
    assert counts["valid_labels"] == labels.valid.sum()
    lost = counts["boxes_in_no_valid_range"] + counts["boxes_no_chip_can_hold"]
    assert counts["boxes_covered"] + lost == counts["boxes"]


def test_everything_left_out_is_listed_and_counted(own_drawn: Any, tmp_path: Path, build: Build) -> None:
    content = own_drawn.content
    first = content["images"][0]["id"]
    good = content["annotations"]
    extra = [
        {**good[0], "id": 5001, "bbox": [float("nan")] * 4},
        {**good[0], "id": 5002, "category_id": 99},
        {**good[0], "id": 5003, "bbox": [5, 5, 100, 100]},  # in no valid range below
    ]
    own_drawn.coco.write_text(json.dumps(content | {"annotations": good + extra}))
    workdir = build(own_drawn.coco, tmp_path / "chips", scales="1,3", valid_ranges="120:,:80")
    dataset = workdir.dataset()
    rows = pq.read_table(workdir.path / "skipped.parquet").to_pylist()
    by_id = {row["annotation_id"]: row for row in rows}
    assert by_id[5001]["reason"] == "box not finite"
    assert by_id[5002]["reason"] == "unknown category"
    assert by_id[5003]["reason"] == "in no valid range"
    assert by_id[5003]["image_id"] == first
    assert dataset.counts["skipped"] == {"annotation: box not finite": 1, "annotation: unknown category": 1}
    lost = dataset.counts["boxes_in_no_valid_range"] + dataset.counts["boxes_no_chip_can_hold"]
    assert len(rows) == 2 + lost


def test_workdir_and_data_can_move_together(own_drawn: Any, tmp_path: Path, build: Build, export: Any) -> None:
    build(own_drawn.coco, own_drawn.folder / "chips")
    moved = tmp_path / "elsewhere"
    shutil.move(own_drawn.folder, moved)
    assert export(Workdir(moved / "chips")).image_dir == (moved / "images").resolve()


def test_image_dir_given_later_is_remembered(own_drawn: Any, tmp_path: Path, build: Build, export: Any) -> None:
    pictures = tmp_path / "pictures"
    shutil.move(own_drawn.images, pictures)
    build(own_drawn.coco, tmp_path / "chips")
    workdir = build(own_drawn.coco, tmp_path / "chips", image_dir=pictures)
    assert export(workdir).image_dir == pictures.resolve()


def test_image_without_any_chip(tmp_path: Path, write_coco: Callable[..., Path], build: Build) -> None:
    coco = write_coco(
        tmp_path,
        images=[
            {"id": 1, "file_name": "a.jpg", "width": 9, "height": 9},
            {"id": 2, "file_name": "b", "width": 1, "height": 1},
        ],
        annotations=[{"id": 1, "image_id": 2, "category_id": 1, "bbox": [0, 0, 1, 1]}],
        categories=[{"id": 1, "name": "x"}],
    )
    workdir = build(coco, tmp_path / "chips")
    assert workdir.open().all_chips(POSITIVE).image_id.tolist() == [2]


def test_crowds_alone_make_no_chips(tmp_path: Path, write_coco: Callable[..., Path], build: Build, export: Any) -> None:
    """Nothing to cover is a result, not a crash, all the way to the shards."""
    coco = write_coco(
        tmp_path,
        images=[{"id": 1, "file_name": "a.jpg", "width": 99, "height": 99}],
        annotations=[{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1}],
        categories=[{"id": 1, "name": "x"}],
    )
    from PIL import Image

    Image.new("RGB", (99, 99)).save(tmp_path / "a.jpg")
    workdir = build(coco, tmp_path / "chips")
    assert not len(workdir.open().all_chips(POSITIVE))
    assert export(workdir).receipts == []
