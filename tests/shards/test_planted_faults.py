"""Faults planted in shards: a cut at every block, flipped bytes, shards in each other's place; verify finds each one."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chipper.manifest.workdir import Workdir
from chipper.parallel.workers import Workers
from chipper.shards.verify import verify_shards
from chipper.shards.writing import index_path, receipt_path, tar_path


@pytest.fixture(scope="module")
def shards(drawn: Any, tmp_path_factory: pytest.TempPathFactory, build: Any, export: Any) -> Path:
    made: Workdir = build(drawn.coco, tmp_path_factory.mktemp("faults") / "chips", image_dir=drawn.images)
    export(made, chips_per_shard=6)
    return made.shards


def names(shards: Path) -> list[str]:
    return sorted(path.stem for path in shards.glob("*.tar"))


@contextmanager
def planted(shards: Path) -> Iterator[None]:
    """Whatever is done to the shards in the block is undone behind it."""
    before = {path: path.read_bytes() for path in shards.iterdir()}
    try:
        yield
    finally:
        for path, data in before.items():
            if not path.exists() or path.read_bytes() != data:
                path.write_bytes(data)


def faults(shards: Path, deep: bool = False) -> list[str]:
    return verify_shards(shards, deep=deep, workers=Workers(1)).faults


def test_a_cut_at_every_block_is_found(shards: Path) -> None:
    path = min((tar_path(shards, name) for name in names(shards)), key=lambda path: path.stat().st_size)
    for end in range(0, path.stat().st_size, 512):
        with planted(shards):
            os.truncate(path, end)
            (fault,) = faults(shards)
            assert path.stem in fault
    assert faults(shards, deep=True) == []


@pytest.mark.parametrize("part", [tar_path, index_path, receipt_path])
def test_flipped_bits_are_found(shards: Path, part: Any) -> None:
    """The receipt has the hashes of the tar and of the index. A bit of the receipt itself may only change how it is written, or
    what nothing else depends on; without the name of the index's hash, it is that of a shard of version 0.2.0.
    """
    free = {"format_version", "faults", "kind"}
    rng = random.Random(0)
    for name in names(shards)[:3]:
        path: Path = part(shards, name)
        data = path.read_bytes()
        for _ in range(40):
            place = rng.randrange(len(data))
            with planted(shards):
                changed = bytearray(data)
                changed[place] ^= 1 << rng.randrange(8)
                path.write_bytes(changed)
                found = faults(shards, deep=True)
                assert all(name in fault and "\n" not in fault for fault in found), place
                if not found:
                    assert part is receipt_path, place
                    before, after = (json.loads(text.decode(errors="replace")) for text in (data, changed))
                    other = {k for k in before if after.get(k) != before[k]}
                    assert other <= free or (other == {"index_sha256"} and "index_sha256" not in after), place
                else:
                    assert len(found) == 1
    assert faults(shards, deep=True) == []


@pytest.mark.parametrize(
    "parts",
    [(tar_path,), (index_path,), (receipt_path,), (tar_path, index_path), (tar_path, index_path, receipt_path)],
)
def test_shards_in_each_other_s_place_are_found(shards: Path, parts: Any) -> None:
    one, two = names(shards)[:2]
    with planted(shards):
        for part in parts:
            first, second = part(shards, one).read_bytes(), part(shards, two).read_bytes()
            part(shards, one).write_bytes(second)
            part(shards, two).write_bytes(first)
        found = faults(shards)
    assert len(found) == 2
    assert one in found[0]
    assert two in found[1]


@pytest.mark.parametrize("part", [tar_path, index_path, receipt_path])
def test_a_missing_file_is_found(shards: Path, part: Any) -> None:
    name = names(shards)[1]
    with planted(shards):
        part(shards, name).unlink()
        (fault,) = faults(shards)
    assert name in fault
