"""A shard index made by somebody else, with a receipt that fits it: its keys become file names, so they are looked at first."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad.case import run

from chipper.errors import ShardError
from chipper.manifest.workdir import Workdir
from chipper.parallel.workers import Workers
from chipper.shards.pool import Pool
from chipper.shards.samples import SampleError, read_record
from chipper.shards.shard_set import read_shard_set
from chipper.shards.verify import verify_shards
from chipper.shards.writing import index_path, receipt_path

KEYS = [
    "../../../../escaped", "/tmp/escaped", "..", "", "a/b", "1_2_3", "1_2_3_4_5", "1_2_3_4/..", "1_2_3_4\n", "\n1_2_3_4",
    "1_2_3_4.jpg", "1_2_3_4\0", "-_1_2_3", "\u0661_2_3_4", "C:\\1_2_3_4",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(drawn: Any, tmp_path_factory: pytest.TempPathFactory, build: Callable[..., Workdir], export: Any) -> Workdir:
    workdir = build(drawn.coco, tmp_path_factory.mktemp("hostile") / "chips", image_dir=drawn.images)
    export(workdir)
    return workdir


@pytest.fixture
def workdir(whole: Workdir, tmp_path: Path) -> Workdir:
    return Workdir(shutil.copytree(whole.path, tmp_path / "a" / "b" / "c" / "chips"))


def replace_key(workdir: Workdir, key: str, receipt_too: bool = True) -> None:
    """The first sample's key; the receipt's hash of the index is made to fit."""
    name = read_shard_set(workdir.shards).shards[0]
    path, receipt = index_path(workdir.shards, name), receipt_path(workdir.shards, name)
    table = pq.read_table(path)
    k = table.schema.get_field_index("key")
    field = table.schema.field(k)
    pq.write_table(table.set_column(k, field, pa.array([key, *table["key"].to_pylist()[1:]], field.type)), path)
    if receipt_too:
        fits = {"index_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        receipt.write_text(json.dumps(json.loads(receipt.read_bytes()) | fits))


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_is_not_that_of_a_sample_is_refused_by_every_reader(workdir: Workdir, key: str) -> None:
    replace_key(workdir, key)
    with pytest.raises(ShardError, match="has a key that is not that of a sample"):
        Pool(workdir.shards)
    assert len(verify_shards(workdir.shards, workers=Workers(1)).faults) == 1


@pytest.mark.parametrize("command", ["export-coco", "export-yolo"])
@pytest.mark.parametrize("key", ["../../../../escaped", "{folder}/escaped"])
def test_no_export_writes_elsewhere(workdir: Workdir, tmp_path: Path, command: str, key: str) -> None:
    replace_key(workdir, key.format(folder=tmp_path))
    before = sorted(tmp_path.rglob("*"))
    done = run(workdir.path, f"{command} --workdir . --out out")
    assert done.code == 1
    assert "has a key that is not that of a sample" in done.line
    left = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
    assert all(workdir.path in path.parents for path in left), left
    assert not list(tmp_path.rglob("*escaped*"))


def test_another_samples_key_is_found_where_its_record_is_read(workdir: Workdir) -> None:
    pool = Pool(workdir.shards)
    assert read_record(pool.read(0)[1], pool.key(0))["image_id"] == int(pool.key(0).partition("_")[0])
    with pytest.raises(SampleError, match="its record is that of"):
        read_record(pool.read(0)[1], pool.key(1))


def test_an_index_changed_under_its_receipt_is_found_without_looking_deep(workdir: Workdir) -> None:
    replace_key(workdir, "000000000001_0_00000_00000", receipt_too=False)
    (fault,) = verify_shards(workdir.shards, workers=Workers(1)).faults
    assert "has changed since it was written" in fault
