"""chipper.manifest.workdir: dataset.json says what belongs together; what does not is refused with a cure that works."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from chipper.columns import NEGATIVE, POSITIVE
from chipper.errors import WorkdirError
from chipper.manifest.dataset import dataset_id
from chipper.manifest.workdir import Workdir
from chipper.mining.options import PositiveOptions


@pytest.fixture
def workdir(drawn: Any, tmp_path: Path, build: Callable[..., Workdir]) -> Workdir:
    return build(drawn.coco, tmp_path / "chips")


def test_what_is_written_is_read(drawn: Any, workdir: Workdir) -> None:
    manifest = workdir.open()
    images = manifest.all_images()
    assert images.file_name.tolist() == drawn.names
    chips = manifest.all_chips(POSITIVE)
    assert np.all(np.diff(chips.chip_id) > 0)
    labels = manifest.labels(0, POSITIVE)
    assert np.isin(labels.chip_id, chips.chip_id).all()
    for epoch in range(manifest.options.epochs):
        assert sorted(manifest.epoch(epoch).tolist()) == chips.chip_id.tolist()
    assert manifest.kinds == (POSITIVE,)


def test_boxes_are_annotations_without_their_outlines(
    drawn: Any, build: Callable[..., Workdir], tmp_path: Path
) -> None:
    workdir = build(drawn.coco, tmp_path / "chips", masks=True)
    boxes, annotations = workdir.open().boxes(0), workdir.open().annotations(0)
    assert any(outline is not None for outline in annotations.segmentation)
    for name in ("annotation_id", "image_id", "category_id", "box", "area", "iscrowd"):
        np.testing.assert_array_equal(getattr(boxes, name), getattr(annotations, name))
    assert {*boxes.segmentation, *boxes.keypoints} == {None}


def test_the_size_of_an_epoch_is_that_of_its_list(workdir: Workdir) -> None:
    manifest = workdir.open()
    for epoch in range(manifest.options.epochs):
        assert manifest.epoch_size(epoch) == manifest.epoch(epoch).size > 0


def test_dataset_json_is_readable(drawn: Any, workdir: Workdir) -> None:
    content = json.loads((workdir.path / "dataset.json").read_text())
    assert content["format_version"].split(".")[0] == "1"
    assert content["options"]["scales"] == "512,1.667,3"
    assert content["categories"] == [
        {"id": 3, "name": "square"},
        {"id": 7, "name": "block", "supercategory": "solid"},
    ]
    assert (workdir.path / content["source"]["path"]).resolve() == drawn.coco.resolve()
    assert content["counts"]["images"] == len(drawn.names)


def test_no_workdir(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    with pytest.raises(
        WorkdirError, match=r"no finished workdir.*run `chipper build-positives.*or give another workdir"
    ) as caught:
        Workdir(tmp_path / "chips").dataset()
    is_one_line(caught.value)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"format_version": "1.0"}', "\xff", None],
    ids=["empty", "cut", "list", "no fields", "few fields", "no UTF-8", "folder"],
)
def test_damaged_dataset_json(workdir: Workdir, content: str | None, is_one_line: Callable[..., str]) -> None:
    path = workdir.path / "dataset.json"
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content.encode("latin1"))
    with pytest.raises(WorkdirError, match=r"dataset\.json cannot be used") as caught:
        workdir.dataset()
    is_one_line(caught.value)


def test_another_major_version(workdir: Workdir) -> None:
    path = workdir.path / "dataset.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"format_version": "2.0"}))
    with pytest.raises(WorkdirError, match=r"has format version 2\.0; this chipper reads 1"):
        workdir.dataset()
    path.write_text(json.dumps(content | {"format_version": "1.7", "of_the_future": 1}))
    assert workdir.dataset().parts == 1


def test_options_survive_dataset_json() -> None:
    options = PositiveOptions.parse("400:900,2.5", "90:,:95.5", "56-59", variants=3, seed=-4, epochs=2, masks=True)
    stored = msgspec.json.decode(msgspec.json.encode(options.as_text()))
    assert PositiveOptions.from_text(stored) == options


def test_the_id_speaks_of_source_and_every_option() -> None:
    plain = PositiveOptions.parse()
    others = [
        PositiveOptions.parse("512,1.667,3.1"),
        PositiveOptions.parse(valid_ranges="120:,32:150,:81"),
        PositiveOptions.parse(stride="32-33"),
        *(
            PositiveOptions.parse(**{k: v})
            for k, v in {"chip_size": 256, "variants": 2, "epochs": 6, "seed": 1}.items()
        ),
        PositiveOptions.parse(masks=True),
    ]
    ids = {dataset_id("a", options) for options in (plain, *others)} | {dataset_id("b", plain)}
    assert len(ids) == len(others) + 2


TABLES = ("images/part", "annotations/part", "chips/positive", "labels/positive")


def read_all(workdir: Workdir) -> None:
    manifest = workdir.open()
    for part in range(manifest.dataset.parts):
        manifest.images(part)
        manifest.annotations(part)
        for kind in manifest.kinds:
            manifest.chips(part, kind)
            manifest.labels(part, kind)
    for epoch in range(manifest.options.epochs):
        manifest.epoch(epoch)


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b""
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [spoil, Path.unlink], ids=["cut", "lost"])
@pytest.mark.parametrize("name", [*(f"{t}-00000.parquet" for t in TABLES), "epochs/epoch-003.parquet"])
def test_a_damaged_table_is_refused_and_the_cure_given_works(
    drawn: Any,
    workdir: Workdir,
    name: str,
    damage: Callable[[Path], None],
    build: Callable[..., Workdir],
    is_one_line: Callable[..., str],
) -> None:
    damage(workdir.path / name)
    with pytest.raises(WorkdirError) as caught:
        read_all(workdir)
    message = is_one_line(caught.value)
    assert str(workdir.path / name) in message
    assert "chipper build-positives" in message
    build(drawn.coco, workdir.path, overwrite="overwrite" in message)
    read_all(workdir)


@pytest.mark.parametrize("table", TABLES)
def test_tables_of_other_options_do_not_mix(
    drawn: Any, workdir: Workdir, tmp_path: Path, table: str, build: Callable[..., Workdir]
) -> None:
    other = build(drawn.coco, tmp_path / "other", seed=1)
    (workdir.path / f"{table}-00000.parquet").write_bytes((other.path / f"{table}-00000.parquet").read_bytes())
    with pytest.raises(WorkdirError, match="was made from other inputs or with other options"):
        read_all(workdir)


def test_damaged_negatives_and_the_cure_given(
    drawn: Any, workdir: Workdir, mine: Callable[..., Any], is_one_line: Callable[..., str]
) -> None:
    mine(workdir, drawn.proposals)
    spoil(workdir.path / "chips" / "negative-00000.parquet")
    with pytest.raises(WorkdirError, match="run `chipper mine-negatives` again") as caught:
        read_all(workdir)
    is_one_line(caught.value)
    mine(workdir, drawn.proposals)
    read_all(workdir)
    assert workdir.open().kinds == (POSITIVE, NEGATIVE)


def test_clear_leaves_runs_and_strangers(workdir: Workdir) -> None:
    (workdir.runs / "detector").mkdir(parents=True)
    (workdir.runs / "detector" / "last.pt").write_bytes(b"weights")
    (workdir.path / "notes.txt").write_text("mine")
    workdir.clear()
    assert sorted(p.name for p in workdir.path.iterdir() if not p.name.startswith(".")) == ["notes.txt", "runs"]
