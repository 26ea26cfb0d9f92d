"""Shards: index, receipt, dataset.json and tar; whatever is in them, reading and verifying raise chipper's errors alone."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from chipper.coco import Category
from chipper.errors import ShardError
from chipper.export import ShardSet
from chipper.files import write_json
from chipper.pool import Pool
from chipper.progress import Monitor
from chipper.samples import UNREADABLE, read_record
from chipper.schemas import FORMAT_VERSION
from chipper.shards import Sample, index_path, open_shard, receipt_path, tar_path
from chipper.verify import verify_shards
from chipper.workdir import DATASET
from chipper.workers import Workers

_FOLDER = tempfile.TemporaryDirectory(prefix="chipper-fuzz-")
NAME, SIZE = "positives-00000-of-00001", 16
RECORD = (
    b'{"image_id":1,"file_name":"a.jpg","width":16,"height":16,"annotations":[{"id":1,"image_id":1,"category_id":3,'
    b'"bbox":[1,2,3,4],"area":12,"iscrowd":0,"valid":true,"ignore":false}],"chip":{"chip_id":0,"kind":"positive"}}'
)


def _make(folder: Path) -> None:
    folder.mkdir()
    buffer = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), (9, 90, 200)).save(buffer, "JPEG")
    with open_shard(folder, NAME, "positive", "0" * 64, 2) as shard:
        for k in range(2):
            shard.add(Sample(f"{k:012d}_0_00000_00000", k, buffer.getvalue(), RECORD))
    receipt = shard.receipt
    assert receipt is not None
    render: dict[str, str | int] = {"quality": 90}
    kept = ShardSet(FORMAT_VERSION, "1" * 32, SIZE, [Category(3, "x")], render, 2, receipt.bytes, 0, [NAME])
    write_json(folder / DATASET, kept)


def _files(folder: Path) -> list[Path]:
    return [folder / DATASET, index_path(folder, NAME), receipt_path(folder, NAME), tar_path(folder, NAME)]


def seeds() -> list[bytes]:
    """The first byte chooses the file that is replaced by the rest."""
    folder = Path(_FOLDER.name) / "seed"
    if not folder.exists():
        _make(folder)
    return [bytes([number]) + path.read_bytes() for number, path in enumerate(_files(folder))]


def target(data: bytes) -> None:
    """Read and verify a folder of shards, one of whose files is ``data``."""
    if not data:
        return
    seeds()
    folder = Path(_FOLDER.name) / "now"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(Path(_FOLDER.name) / "seed", folder)
    _files(folder)[data[0] % 4].write_bytes(data[1:])
    try:
        pool = Pool(folder)
    except ShardError as error:
        assert "\n" not in str(error)
    else:
        for row in range(min(len(pool), 4)):
            _read(pool, row)
        assert (pool.rows(np.arange(3)) < len(pool)).all()
    try:
        checked = verify_shards(folder, True, Workers(1), Monitor())
    except ShardError as error:
        assert "\n" not in str(error)
        return
    assert checked.shards >= len([fault for fault in checked.faults if NAME in fault])


def _read(pool: Pool, row: int) -> None:
    try:
        jpeg, record = pool.read(row)
    except ShardError:
        return
    assert jpeg is not None
    try:
        read_record(record)
    except UNREADABLE:
        return
