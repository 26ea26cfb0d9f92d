"""chipper.shards.writing and chipper.shards.planning: every chip once, the tars of webdataset, offsets that are right."""

from __future__ import annotations

import hashlib
import io
import tarfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipper import __version__
from chipper.coco.records import Category
from chipper.columns import CHIPS_PER_IMAGE, POSITIVE, Annotations, Chips, Images, Labels
from chipper.errors import ShardError, StorageError
from chipper.manifest.dataset import _COUNTS, Dataset, SourceFile
from chipper.manifest.tables import write_part
from chipper.manifest.workdir import Workdir
from chipper.mining.options import PositiveOptions
from chipper.schemas import ANNOTATIONS, CHIPS, FORMAT_VERSION, IMAGES, LABELS
from chipper.shards.options import RenderOptions
from chipper.shards.planning import plan_shards
from chipper.shards.writing import (
    ImageFault,
    Sample,
    index_path,
    open_shard,
    plan_hash,
    read_receipt,
    receipt_path,
    shard_name,
    tar_path,
)

Sizes = list[tuple[int, int]]


def samples_of(sizes: Sizes) -> list[Sample]:
    rng = np.random.default_rng(len(sizes))
    return [
        Sample(f"{k:012d}_0_00000_00032", k * 7, rng.bytes(jpeg), rng.bytes(record))
        for k, (jpeg, record) in enumerate(sizes)
    ]


def written(folder: Path, samples: list[Sample], name: str = "positives-00000-of-00001", **changes: Any) -> Any:
    return write(folder, name, iter(samples), **{"expected": len(samples), **changes})


def write(folder: Path, name: str, samples: Iterator[Sample], expected: int, faults: Any = ()) -> Any:
    with open_shard(folder, name, "positive", "abc", expected) as shard:
        shard.faults += faults
        for sample in samples:
            shard.add(sample)
    return shard.receipt


def webdataset_tar(samples: list[Sample]) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from webdataset import TarWriter

    file = io.BytesIO()
    with TarWriter(file, user="", group="", mode=0o444, mtime=0, encoder=False) as writer:
        for sample in samples:
            writer.write({"__key__": sample.key, "jpg": sample.jpeg, "json": sample.record})
    return file.getvalue()


SIZES = st.lists(st.tuples(st.sampled_from([0, 1, 511, 512, 513, 1024, 9000]), st.integers(0, 1100)), max_size=30)


@settings(max_examples=40, deadline=None)
@given(SIZES)
def test_bytes_are_those_of_webdataset_s_writer(tmp_path_factory: pytest.TempPathFactory, sizes: Sizes) -> None:
    folder = tmp_path_factory.getbasetemp() / "tars"
    samples = samples_of(sizes)
    receipt = written(folder, samples)
    data = tar_path(folder, receipt.name).read_bytes()
    assert data == webdataset_tar(samples)
    assert receipt.bytes == len(data)
    assert receipt.sha256 == hashlib.sha256(data).hexdigest()
    assert receipt.samples == len(samples)


@settings(max_examples=40, deadline=None)
@given(SIZES)
def test_the_index_points_at_the_right_bytes(tmp_path_factory: pytest.TempPathFactory, sizes: Sizes) -> None:
    folder = tmp_path_factory.getbasetemp() / "indices"
    samples = samples_of(sizes)
    receipt = written(folder, samples)
    data = tar_path(folder, receipt.name).read_bytes()
    rows = pq.read_table(index_path(folder, receipt.name)).to_pylist()
    assert [row["key"] for row in rows] == [sample.key for sample in samples]
    for row, sample in zip(rows, samples, strict=True):
        assert row["chip_id"] == sample.chip_id
        assert data[row["image_offset"] :][: row["image_size"]] == sample.jpeg
        assert data[row["json_offset"] :][: row["json_size"]] == sample.record
        assert row["crc32"] == zlib.crc32(sample.jpeg + sample.record)


def test_members_belong_to_nobody_and_no_time(tmp_path: Path) -> None:
    written(tmp_path, samples_of([(10, 10), (20, 20)]))
    with tarfile.open(tar_path(tmp_path, "positives-00000-of-00001")) as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o444)}
    assert [m.name.rpartition(".")[2] for m in members] == ["jpg", "json"] * 2


def test_written_again_to_the_same_bytes(tmp_path: Path, hashes: Callable[..., Any]) -> None:
    samples = samples_of([(100, 50)] * 5)
    written(tmp_path, samples)
    before = hashes(tmp_path)
    written(tmp_path, samples)
    assert hashes(tmp_path) == before
    assert len(before) == 3


def test_names_count_from_zero() -> None:
    assert shard_name("positives", 7, 128) == "positives-00007-of-00128"


# --- what is whole ---


def test_a_receipt_stands_for_a_whole_shard(tmp_path: Path) -> None:
    faults = [ImageFault(3, "c.jpg", "gone", 2)]
    receipt = written(tmp_path, samples_of([(9, 9)] * 4), faults=faults, expected=6)
    assert read_receipt(tmp_path, receipt.name) == receipt
    assert receipt.faults == faults


@pytest.mark.parametrize("what", ["tar", "index", "receipt", "cut", "longer", "damaged receipt", "folder"])
def test_a_shard_in_pieces_is_not_whole(tmp_path: Path, what: str) -> None:
    name = written(tmp_path, samples_of([(9, 9)] * 4)).name
    tar = tar_path(tmp_path, name)
    if what == "cut":
        tar.write_bytes(tar.read_bytes()[:-512])
    elif what == "longer":
        tar.write_bytes(tar.read_bytes() + b"\0")
    elif what == "damaged receipt":
        receipt_path(tmp_path, name).write_bytes(receipt_path(tmp_path, name).read_bytes()[:-9])
    elif what == "folder":
        receipt_path(tmp_path, name).unlink()
        receipt_path(tmp_path, name).mkdir()
    else:
        {"tar": tar_path, "index": index_path, "receipt": receipt_path}[what](tmp_path, name).unlink()
    assert read_receipt(tmp_path, name) is None


def test_a_receipt_of_another_shard_does_not_count(tmp_path: Path) -> None:
    """All three files of a shard under another's name: the receipt still says whose they are."""
    name = written(tmp_path, samples_of([(9, 9)] * 4)).name
    other = "positives-00001-of-00002"
    for path in (tar_path, index_path, receipt_path):
        path(tmp_path, name).rename(path(tmp_path, other))
    assert read_receipt(tmp_path, other) is None


class Crash(Exception):
    """The process ends here."""


def crashing(samples: list[Sample], after: int) -> Iterator[Sample]:
    yield from samples[:after]
    raise Crash


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("before", [False, True])
def test_a_crash_leaves_nothing_that_looks_whole(tmp_path: Path, after: int, before: bool) -> None:
    samples = samples_of([(2000, 90)] * 5)
    name = "positives-00000-of-00001"
    if before:
        written(tmp_path, samples[:3])
    with pytest.raises(Crash):
        write(tmp_path, name, crashing(samples, after), 5)
    assert read_receipt(tmp_path, name) is None
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


@pytest.mark.parametrize(
    ("samples", "faults", "expected"),
    [
        (samples_of([(9, 9)] * 3), [], 4),
        (samples_of([(9, 9)] * 3), [ImageFault(1, "a", "b", 2)], 4),
        (samples_of([(9, 9)] * 3) + samples_of([(9, 9)]), [], 4),
    ],
    ids=["lost", "more than planned", "twice"],
)
def test_a_sample_lost_or_twice_is_an_error(
    tmp_path: Path, samples: list[Sample], faults: list[ImageFault], expected: int, is_one_line: Callable[..., str]
) -> None:
    with pytest.raises(ShardError, match="positives-00000-of-00001") as caught:
        written(tmp_path, samples, faults=faults, expected=expected)
    is_one_line(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", ["tar", "index", "receipt"])
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    import errno
    import os

    from chipper.storage import files

    name, replaced = "positives-00000-of-00001", os.replace
    target = {"tar": tar_path, "index": index_path, "receipt": receipt_path}[which](tmp_path, name)

    def refuse(source: Any, destination: Any) -> None:
        if Path(destination) == target:
            raise OSError(errno.ENOSPC, "No space left on device")
        replaced(source, destination)

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(StorageError, match="no space is left"):
        written(tmp_path, samples_of([(9, 9)] * 4))
    assert read_receipt(tmp_path, name) is None
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def test_plan_hash_minds_columns_and_their_ends() -> None:
    a, b = np.arange(3), np.arange(3, 6)
    assert plan_hash(a, b) != plan_hash(np.arange(6))
    assert plan_hash(a, b) != plan_hash(b, a)
    assert plan_hash(b"ab", b"c") != plan_hash(b"a", b"bc")
    assert plan_hash(np.array(["ab", "c"], object)) != plan_hash(np.array(["a", "bc"], object))
    assert plan_hash(np.arange(6)[::2]) == plan_hash(np.array([0, 2, 4]))


# --- which chips go where ---


def small_workdir(folder: Path, chips_of_image: list[list[int]], variants: int) -> Workdir:
    """A workdir of one part for each list; every image has the given number of chips in each variant."""
    options = PositiveOptions.parse(variants=variants)
    workdir = Workdir(folder)
    dataset = Dataset(
        FORMAT_VERSION, __version__, "id", SourceFile("c", 1, "h", 1, 1), None, options.as_text(), [Category(1, "x")],
        len(chips_of_image), dict.fromkeys(_COUNTS, 0) | {"positive_chips": {str(s): 0 for s in options.scales}},
    )  # fmt: skip
    position = 0
    for part, counts in enumerate(chips_of_image):
        places = np.arange(position, position + len(counts))
        position += len(counts)
        names = np.array([f"{p}.jpg" for p in places], dtype=object)
        write_part(
            workdir.path, IMAGES, part, Images(places + 100, places, names, places * 0 + 99, places * 0 + 99), "id"
        )
        per_image = np.array(counts) * variants
        owner = np.repeat(places, per_image)
        n = owner.size
        within = np.arange(n) - np.repeat(np.cumsum(per_image) - per_image, per_image)
        zero, box = np.zeros(n, np.int64), np.tile([0.0, 0, 9, 9], (n, 1))
        chips = Chips(
            owner * CHIPS_PER_IMAGE + within, owner + 100, np.full(n, POSITIVE, object), within % variants, zero,
            np.ones(n), zero, zero, zero + 99, zero + 99, box, zero,
        )  # fmt: skip
        write_part(workdir.path, CHIPS, part, chips, "id", POSITIVE)
        labels = Labels(chips.chip_id, owner, zero + 1, box, zero > 0, zero > 0, np.ones(n))
        write_part(workdir.path, LABELS, part, labels, "id", POSITIVE)
        none = np.full(len(counts), None, object)
        boxes = np.tile([0.0, 0, 9, 9], (len(counts), 1))
        ones = np.ones(len(counts), np.int64)
        annotations = Annotations(places, places + 100, ones, boxes, ones * 81.0, ones < 0, none, none)
        write_part(workdir.path, ANNOTATIONS, part, annotations, "id")
    workdir.commit(dataset)
    return workdir


PARTS = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=8), min_size=1, max_size=3)


@settings(max_examples=30, deadline=None)
@given(PARTS, st.integers(1, 12), st.integers(1, 2))
def test_every_chip_is_planned_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]], most: int, variants: int
) -> None:
    workdir = small_workdir(tmp_path_factory.mktemp("plan"), parts, variants)
    manifest = workdir.open()
    plans = plan_shards(manifest, most, RenderOptions())
    planned = []
    for plan in plans:
        chips = manifest.chips(plan.part, plan.kind)
        mine = chips[(chips.chip_id >= plan.first) & (chips.chip_id <= plan.last) & (chips.variant == plan.variant)]
        assert len(mine) == plan.chips > 0
        planned += mine.chip_id.tolist()
        counts = np.unique(mine.image_id, return_counts=True)[1]
        assert plan.chips < most + counts.max()  # an image is never cut in two
    assert sorted(planned) == manifest.all_chips(POSITIVE).chip_id.tolist()
    assert len({plan.name for plan in plans}) == len(plans)
    stems = {plan.name.partition("-0")[0] for plan in plans}
    for stem in stems:
        numbers = [plan.name for plan in plans if plan.name.partition("-0")[0] == stem]
        assert numbers == [shard_name(stem, k, len(numbers)) for k in range(len(numbers))]


def test_images_stay_in_one_shard(drawn: Any, tmp_path: Path, build: Callable[..., Workdir]) -> None:
    workdir = build(drawn.coco, tmp_path / "chips")
    manifest = workdir.open()
    chips = manifest.all_chips(POSITIVE)
    shards_of: dict[int, set[str]] = {}
    for plan in plan_shards(manifest, 3, RenderOptions()):
        for k in np.flatnonzero((chips.chip_id >= plan.first) & (chips.chip_id <= plan.last)):
            shards_of.setdefault(int(chips.image_id[k]), set()).add(plan.name)
    assert len(shards_of) > 3
    assert all(len(names) == 1 for names in shards_of.values())


def test_a_plan_hash_speaks_of_its_own_chips_and_the_rendering(
    drawn: Any, tmp_path: Path, build: Callable[..., Workdir], mine: Any
) -> None:
    workdir = build(drawn.coco, tmp_path / "chips")

    def hashes(render: RenderOptions = RenderOptions()) -> dict[str, str]:  # noqa: B008
        return {plan.name: plan.hash for plan in plan_shards(workdir.open(), 3, render)}

    plain = hashes()
    assert len(set(plain.values())) == len(plain)
    for other in (RenderOptions(quality=80), RenderOptions(subsampling="4:4:4"), RenderOptions(exif="apply")):
        assert not set(hashes(other).values()) & set(plain.values())
    mine(workdir, drawn.proposals, min_proposals_finest=5, min_proposals=5)
    with_negatives = hashes()
    assert {n: h for n, h in with_negatives.items() if n.startswith("positives")} == plain
    assert len(with_negatives) > len(plain)
    mine(workdir, drawn.proposals, min_proposals_finest=5, min_proposals=5, per_image=1)
    assert hashes() == with_negatives, "the same chips drawn less often are no reason to render again"
