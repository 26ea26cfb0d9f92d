"""chipper.shards.pool: samples by chip id, in any order, each checked when it is read."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chipper.columns import NEGATIVE, POSITIVE
from chipper.errors import ShardError
from chipper.manifest.workdir import Workdir
from chipper.shards.pool import Pool, ShardFinder
from chipper.shards.shard_set import read_shard_set
from chipper.shards.writing import index_path, receipt_path, tar_path


@pytest.fixture(scope="module")
def exported(
    drawn: Any, tmp_path_factory: pytest.TempPathFactory, build: Callable[..., Workdir], mine: Any, export: Any
) -> Workdir:
    workdir = build(drawn.coco, tmp_path_factory.mktemp("pool") / "chips")
    mine(workdir, drawn.proposals, min_proposals_finest=5, min_proposals=5)
    export(workdir)
    return workdir


@pytest.fixture
def folder(exported: Workdir, tmp_path: Path) -> Path:
    """A copy of the shards to be damaged."""
    return shutil.copytree(exported.shards, tmp_path / "shards")


def test_every_chip_is_found(exported: Workdir) -> None:
    pool, manifest = Pool(exported.shards), exported.open()
    ids = np.concatenate([manifest.all_chips(kind).chip_id for kind in (POSITIVE, NEGATIVE)])
    assert len(pool) == ids.size
    rows = pool.rows(ids)
    assert (rows >= 0).all()
    np.testing.assert_array_equal(pool.chip_id[rows], ids)


def test_every_sample_is_what_the_tar_holds(exported: Workdir) -> None:
    pool = Pool(exported.shards)
    stored: dict[int, tuple[bytes, bytes]] = {}
    for name in pool.set.shards:
        with tarfile.open(tar_path(exported.shards, name)) as tar:
            data = [tar.extractfile(member).read() for member in tar]  # type: ignore[union-attr]
        for jpeg, record in zip(data[::2], data[1::2], strict=True):
            stored[json.loads(record)["chip"]["chip_id"]] = jpeg, record
    order = np.random.default_rng(0).permutation(len(pool))
    for row in order:
        assert pool.read(int(row)) == stored[int(pool.chip_id[row])]


def test_a_finder_names_the_shards_of_each_chip(exported: Workdir) -> None:
    """Those that the whole pool reads it from, after a look at a few indices."""
    pool, finder = Pool(exported.shards), ShardFinder(exported.shards)
    rows, shard = pool.in_file_order()
    names = np.array(pool.set.shards)
    assert len(names) > 8
    for row, number in zip(rows.tolist(), shard.tolist()):
        assert finder.names(pool.chip_id[row : row + 1]) == [names[number]]
    assert finder.names(pool.chip_id[rows]) == sorted(names)
    assert finder.names(np.array([-1, 1 << 40, int(pool.chip_id.max()) + 1])) == []
    some = Pool(exported.shards, names[:2])
    assert sorted(some.chip_id) == sorted(pool.chip_id[rows[shard < 2]])
    for chip_id in some.chip_id.tolist():
        wanted = np.array([chip_id])
        assert some.read(int(some.rows(wanted)[0])) == pool.read(int(pool.rows(wanted)[0]))


def test_a_finder_passes_shards_whose_images_were_all_lost(
    own_drawn: Any, tmp_path: Path, build: Callable[..., Workdir], export: Any
) -> None:
    workdir = build(own_drawn.coco, tmp_path / "chips", image_dir=own_drawn.images)
    for name in own_drawn.names[1:4]:
        (own_drawn.images / name).write_bytes(b"")
    receipts = export(workdir, chips_per_shard=2).receipts
    assert 0 in [receipt.samples for receipt in receipts]
    pool, finder = Pool(workdir.shards), ShardFinder(workdir.shards)
    for chip_id in workdir.open().all_chips(POSITIVE).chip_id.tolist():
        there = pool.rows(np.array([chip_id]))[0] >= 0
        assert len(finder.names(np.array([chip_id]))) == int(there)


def test_an_epoch_is_read_in_its_order(exported: Workdir) -> None:
    pool = Pool(exported.shards)
    ids = exported.open().epoch(2)
    found = [json.loads(pool.read(int(row))[1])["chip"]["chip_id"] for row in pool.rows(ids)]
    assert found == ids.tolist()


def test_chips_that_are_not_there(exported: Workdir) -> None:
    pool = Pool(exported.shards)
    first, last = int(pool.chip_id[0]), int(pool.chip_id[-1])
    assert pool.rows(np.array([-5, first, 2**62, last, first + 2**22])).tolist() == [-1, 0, -1, len(pool) - 1, -1]


def read_in_child(folder: Path, pool: Pool, queue: Any) -> None:
    queue.put([pool.read(row) for row in range(len(pool))] == [Pool(folder).read(row) for row in range(len(pool))])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_children_read_for_themselves(exported: Workdir) -> None:
    pool = Pool(exported.shards)
    pool.read(0)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=read_in_child, args=(exported.shards, pool, queue)) for _ in range(2)]
    for child in children:
        child.start()
    assert [queue.get(timeout=60) for _ in children] == [True, True]
    for child in children:
        child.join()
    assert len(pool.read(1)) == 2


def test_no_export(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    with pytest.raises(ShardError, match="there is no finished export; run `chipper export-shards` first") as caught:
        Pool(tmp_path)
    is_one_line(caught.value)


@pytest.mark.parametrize("content", ["", "{", "{}", '{"format_version": "1.0"}'])
def test_damaged_list_of_shards(folder: Path, content: str, is_one_line: Callable[..., str]) -> None:
    (folder / "dataset.json").write_text(content)
    with pytest.raises(ShardError, match="run `chipper export-shards` again") as caught:
        Pool(folder)
    is_one_line(caught.value)


def test_list_of_shards_of_another_version(folder: Path) -> None:
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(content | {"format_version": "2.0"}))
    with pytest.raises(ShardError, match=r"has format version 2\.0"):
        read_shard_set(folder)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-600])


@pytest.mark.parametrize("damage", [Path.unlink, cut], ids=["lost", "cut"])
@pytest.mark.parametrize("path", [tar_path, index_path, receipt_path])
def test_a_shard_that_is_not_whole_is_named_at_once(
    folder: Path, path: Callable[..., Path], damage: Callable[[Path], Any], is_one_line: Callable[..., str]
) -> None:
    name = read_shard_set(folder).shards[1]
    damage(path(folder, name))
    with pytest.raises(ShardError, match="chipper (export-shards|verify)") as caught:
        Pool(folder)
    assert name in is_one_line(caught.value)


def test_a_flipped_byte_is_found_when_it_is_read(folder: Path, is_one_line: Callable[..., str]) -> None:
    pool = Pool(folder)
    name = pool.set.shards[0]
    path = tar_path(folder, name)
    data = bytearray(path.read_bytes())
    data[700] ^= 1  # in the first JPEG
    path.write_bytes(bytes(data))
    fresh = Pool(folder)
    faults = []
    for row in range(len(fresh)):
        try:
            fresh.read(row)
        except ShardError as error:
            faults.append(is_one_line(error))
    assert len(faults) == 1
    assert str(path) in faults[0]
    assert "is damaged" in faults[0]


def test_the_cure_for_damage_works(
    drawn: Any, tmp_path: Path, build: Callable[..., Workdir], export: Any, is_one_line: Callable[..., str]
) -> None:
    """What the message of a damaged sample tells to do makes it readable."""
    workdir = build(drawn.coco, tmp_path / "chips")
    export(workdir)
    path = tar_path(workdir.shards, Pool(workdir.shards).set.shards[0])
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ShardError, match="chipper verify|delete the shard") as caught:
        [Pool(workdir.shards).read(row) for row in range(len(Pool(workdir.shards)))]
    assert "export-shards" in is_one_line(caught.value)
    if "delete the shard" in str(caught.value):
        path.unlink()
    else:
        from chipper.parallel.workers import Workers
        from chipper.shards.verify import verify_shards

        verify_shards(workdir.shards, workers=Workers(1))
    assert export(workdir).rendered == 1
    pool = Pool(workdir.shards)
    assert [len(pool.read(row)) for row in range(len(pool))] == [2] * len(pool)


def test_shards_that_vanish_while_in_use(folder: Path, is_one_line: Callable[..., str]) -> None:
    pool = Pool(folder)
    for name in pool.set.shards:
        tar_path(folder, name).unlink()
    with pytest.raises(ShardError, match="chipper export-shards") as caught:
        pool.read(0)
    is_one_line(caught.value)


def test_swapped_indices_are_found(folder: Path) -> None:
    names = read_shard_set(folder).shards[:2]
    a, b = (index_path(folder, name) for name in names)
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)

    def read_all() -> None:
        pool = Pool(folder)
        for row in range(len(pool)):
            pool.read(row)

    with pytest.raises(ShardError):
        read_all()


def test_an_export_of_no_chips_is_an_empty_pool(
    tmp_path: Path, write_coco: Callable[..., Path], build: Any, export: Any
) -> None:
    Image.new("RGB", (90, 60)).save(tmp_path / "a.jpg")
    coco = write_coco(
        tmp_path,
        images=[{"id": 1, "file_name": "a.jpg", "width": 90, "height": 60}],
        annotations=[{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 50, 50], "iscrowd": 1}],
        categories=[{"id": 1, "name": "x"}],
    )
    workdir = build(coco, tmp_path / "chips")
    export(workdir)
    pool = Pool(workdir.shards)
    assert len(pool) == 0
    assert pool.rows(np.array([5])).tolist() == [-1]
