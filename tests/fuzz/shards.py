"""Shards: index, receipt, dataset.json and tar; whatever is in them, reading and verifying raise chipper's errors alone."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from chipper.coco.records import Category
from chipper.detection.chips import collate, decode_chip
from chipper.errors import ShardError
from chipper.manifest.dataset import DATASET
from chipper.parallel.workers import Workers
from chipper.schemas import FORMAT_VERSION
from chipper.shards.pool import Pool
from chipper.shards.samples import SampleError, read_record
from chipper.shards.shard_set import ShardSet
from chipper.shards.verify import verify_shards
from chipper.shards.writing import Receipt, Sample, index_path, open_shard, receipt_path, tar_path
from chipper.storage.files import read_struct, write_json, write_table

_FOLDER = tempfile.TemporaryDirectory(prefix="chipper-fuzz-")
NAME, SIZE = "positives-00000-of-00001", 16
RECORD = (
    b'{"image_id":1,"file_name":"a.jpg","width":16,"height":16,"annotations":[{"id":1,"image_id":1,"category_id":3,'
    b'"bbox":[1,2,3,4],"area":12,"iscrowd":0,"valid":true,"ignore":false}],"chip":{"chip_id":0,"kind":"positive",'
    b'"scale_index":0,"scale":1,"x":0,"y":0,"content":[16,12],"valid_range":[0,null]}}'
)


def _shard(folder: Path, jpeg: bytes, record: bytes) -> Receipt:
    with open_shard(folder, NAME, "positive", "0" * 64, 2) as shard:
        for k in range(2):
            shard.add(Sample(f"{k:012d}_0_00000_00000", k, jpeg, record))
    assert shard.receipt is not None
    return shard.receipt


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), (9, 90, 200)).save(buffer, "JPEG")
    return buffer.getvalue()


def _make(folder: Path) -> None:
    folder.mkdir()
    receipt = _shard(folder, _jpeg(), RECORD)
    render: dict[str, str | int] = {"quality": 90}
    kept = ShardSet(FORMAT_VERSION, "1" * 32, SIZE, [Category(3, "x")], render, 2, receipt.bytes, 0, [NAME])
    write_json(folder / DATASET, kept)


def _replace(folder: Path, kind: int, data: bytes) -> None:
    """Put ``data`` into a folder of shards: in the place of a file, or with all that stands before it made to fit."""
    if kind < 4:
        files = (folder / DATASET, index_path(folder, NAME), receipt_path(folder, NAME), tar_path(folder, NAME))
        files[kind].write_bytes(data)
        if kind == 1:
            _fit(folder)
    elif kind == 4:  # a tar that fits its receipt
        tar_path(folder, NAME).write_bytes(data)
        receipt = read_struct(receipt_path(folder, NAME), Receipt)
        receipt.bytes, receipt.sha256 = len(data), hashlib.sha256(data).hexdigest()
        write_json(receipt_path(folder, NAME), receipt)
    elif kind == 5:
        _shard(folder, data, RECORD)
    elif kind == 6:
        _shard(folder, _jpeg(), data)
    else:  # an index of other numbers, each sample's id, offsets, sizes and checksum
        table = pq.read_table(index_path(folder, NAME))
        numbers = np.frombuffer(data.ljust(96, b"\0")[:96], "<i8").reshape(2, 6)
        for k, name in enumerate(table.column_names[1:]):
            values = numbers[:, k].astype(np.uint32) if name == "crc32" else numbers[:, k]
            table = table.set_column(k + 1, table.schema.field(name), pa.array(values))
        write_table(index_path(folder, NAME), table)
        _fit(folder)


def _fit(folder: Path) -> None:
    """Make the receipt fit the index, which would be refused by its hash otherwise."""
    receipt = read_struct(receipt_path(folder, NAME), Receipt)
    receipt.index_sha256 = hashlib.sha256(index_path(folder, NAME).read_bytes()).hexdigest()
    write_json(receipt_path(folder, NAME), receipt)


def seeds() -> list[bytes]:
    """The first byte chooses what is replaced by the rest."""
    folder = Path(_FOLDER.name) / "seed"
    if not folder.exists():
        _make(folder)
    tar = tar_path(folder, NAME).read_bytes()
    files = [path.read_bytes() for path in (folder / DATASET, index_path(folder, NAME), receipt_path(folder, NAME))]
    numbers = pq.read_table(index_path(folder, NAME)).drop_columns(["key"])
    rows = np.array([column.to_numpy() for column in numbers.columns], "<i8").T.tobytes()
    masked = RECORD.replace(b'"valid"', b'"segmentation":[[1,2,4,2,4,6]],"valid"')
    parts = [*files, tar, tar, _jpeg(), RECORD, rows]
    return [bytes([number]) + part for number, part in enumerate(parts)] + [b"\6" + masked]


def target(data: bytes) -> None:
    """Read, decode and verify a folder of shards in which ``data`` lies."""
    if not data:
        return
    seeds()
    folder = Path(_FOLDER.name) / "now"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(Path(_FOLDER.name) / "seed", folder)
    _replace(folder, data[0] % 8, data[1:])
    try:
        pool = Pool(folder)
    except ShardError as error:
        assert "\n" not in str(error)
    else:
        for row in range(min(len(pool), 4)):
            _read(pool, row)
        assert (pool.rows(np.arange(3)) < len(pool)).all()
    try:
        checked = verify_shards(folder, deep=True, workers=Workers(1))
    except ShardError as error:
        assert "\n" not in str(error)
        return
    assert checked.shards >= len([fault for fault in checked.faults if NAME in fault])


def _read(pool: Pool, row: int) -> None:
    """What training does with a sample, and what verify does."""
    try:
        jpeg, record = pool.read(row)
        with contextlib.suppress(SampleError):
            assert read_record(record, pool.key(row))["annotations"] is not None  # what exports of whole records do
        chip = decode_chip(jpeg, record, {3: 1}, SIZE, masks=True)
    except (ShardError, SampleError):
        return
    batch = collate([chip, chip])
    assert batch.images.shape == (2, 3, SIZE, SIZE)
    assert batch.boxes.isfinite().all()
