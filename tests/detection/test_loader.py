"""The loader: every chip of the epoch, in its order, the same for any number of workers and processes."""

from __future__ import annotations

import os
import pickle
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chipper.columns import CHIPS_PER_IMAGE, FIRST_NEGATIVE
from chipper.demo.data import DemoOptions, draw_demo
from chipper.detection.damages import MOST_DAMAGED
from chipper.detection.loader import (
    Batches,
    ChipLoader,
    LoaderOptions,
    lost_processes_named,
    rank_batches,
)
from chipper.errors import ShardError, TrainingError
from chipper.manifest.build_positives import build_positives
from chipper.manifest.mine_negatives import mine_negatives
from chipper.manifest.workdir import Workdir
from chipper.mining.options import NegativeOptions, PositiveOptions
from chipper.parallel.workers import Workers
from chipper.shards.epochs import epoch_folder, export_epochs
from chipper.shards.export import export_shards
from chipper.shards.options import ExportOptions
from chipper.shards.pool import Pool

ONE = Workers(1)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Workdir:
    folder = tmp_path_factory.mktemp("loader")
    draw_demo(folder, DemoOptions(train_images=8, val_images=0))
    workdir = Workdir(folder / "chips")
    options = PositiveOptions.parse("256,0.833,2", chip_size=256)
    build_positives(folder / "train" / "coco.json", workdir, options, workers=ONE)
    export_shards(workdir, ExportOptions(chips_per_shard=20), workers=ONE)
    export_epochs(workdir, 9, workers=ONE)
    return workdir


@pytest.fixture(params=[False, True], ids=["pool", "stream"])
def stream(request: pytest.FixtureRequest) -> bool:
    """Whether the pool is read by offset, or the epoch's own shards from start to end."""
    return bool(request.param)


def ids(loader: ChipLoader, epoch: int = 0, start: int = 0) -> list[int]:
    return [int(chip) for batch in loader(epoch, start) for chip in batch.chip_ids]


def test_chips_come_in_the_order_of_the_epoch(workdir: Workdir) -> None:
    expected = workdir.open().epoch(1).tolist()
    found = ids(ChipLoader(workdir, LoaderOptions(batch_size=4)), epoch=1)
    assert found[: len(expected)] == expected
    assert found[len(expected) :] == expected[: len(found) - len(expected)]  # the last batch is filled from the start


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_order(workdir: Workdir, stream: bool, workers: int) -> None:
    alone = ids(ChipLoader(workdir, LoaderOptions(batch_size=4)))
    helped = ids(ChipLoader(workdir, LoaderOptions(batch_size=4, workers=workers, stream=stream)))
    assert helped == alone


def test_a_start_in_the_middle_goes_on_where_it_was_with_other_workers_and_processes(
    workdir: Workdir, stream: bool
) -> None:
    whole = ids(ChipLoader(workdir, LoaderOptions(batch_size=4)))
    for size, world, workers in ((4, 1, 2), (2, 2, 0), (1, 4, 2)):
        shares = [
            ids(ChipLoader(workdir, LoaderOptions(size, workers, rank, world, stream=stream)), start=12)
            for rank in range(world)
        ]
        assert len({len(share) for share in shares}) == 1
        joined = [chip for k in range(0, len(shares[0]), size) for share in shares for chip in share[k : k + size]]
        assert joined == whole[12:]


@pytest.mark.parametrize("epoch", [0, 5])
def test_a_stream_is_the_same_as_the_pool(workdir: Workdir, epoch: int) -> None:
    by_offset = ChipLoader(workdir, LoaderOptions(batch_size=4))(epoch)
    streamed = ChipLoader(workdir, LoaderOptions(batch_size=4, stream=True))(epoch)
    assert len(by_offset) == len(streamed) == len(list(streamed)) > 3
    for one, other in zip(by_offset, streamed, strict=True):
        for name, values in vars(one).items():
            if name != "masks":
                assert values.equal(getattr(other, name)), name
        assert one.masks is None
        assert other.masks is None


@contextmanager
def renamed(path: Path, other: Path) -> Iterator[None]:
    path.rename(other)
    try:
        yield
    finally:
        other.rename(path)


def test_a_stream_wants_the_shards_of_its_epochs(workdir: Workdir) -> None:
    first, last, hidden = (epoch_folder(workdir.shards, epoch) for epoch in (0, 6, 99))
    with renamed(last, hidden), pytest.raises(ShardError, match="run `chipper export-shards --layout epochs`"):
        ChipLoader(workdir, LoaderOptions(16, stream=True))
    with (
        renamed(last, hidden),
        renamed(first, last),
        renamed(hidden, first),
        pytest.raises(ShardError, match="not those of epoch 0; run `chipper export-shards --layout epochs`"),
    ):
        ChipLoader(workdir, LoaderOptions(16, stream=True))
    ChipLoader(workdir, LoaderOptions(16, stream=True))


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 4), st.integers(0, 12))
def test_every_process_has_equal_batches_and_no_chip_is_left_out(chips: int, size: int, world: int, done: int) -> None:
    start = min(done * size * world, chips // (size * world) * size * world)
    shares = [list(rank_batches(chips, start, size, rank, world)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    assert all(len(batch) == size for share in shares for batch in share)
    seen = {position for share in shares for batch in share for position in batch}
    assert seen >= set(range(start, chips))
    assert all(0 <= position < chips for position in seen)


def test_boxes_are_those_of_the_manifest(workdir: Workdir) -> None:
    manifest = workdir.open()
    labels = manifest.labels(0, "positive")
    categories = {category.id: k + 1 for k, category in enumerate(manifest.dataset.categories)}
    for batch in ChipLoader(workdir, LoaderOptions(batch_size=4))(0):
        for k, chip in enumerate(batch.chip_ids.tolist()):
            mine = labels[labels.chip_id == chip]
            n = len(mine)
            np.testing.assert_allclose(batch.boxes[k, :n].numpy(), mine.box, atol=1e-3)
            assert batch.labels[k, :n].tolist() == [categories[c] for c in mine.category_id.tolist()]
            assert batch.valid[k, :n].tolist() == mine.valid.tolist()
            assert batch.ignore[k, :n].tolist() == mine.ignore.tolist()
            assert not batch.labels[k, n:].any()
    assert batch.images.shape[1:] == (3, 256, 256)


@contextmanager
def damaged(workdir: Workdir, chips: list[int], stream: bool = False) -> Iterator[None]:
    """One byte of each chip's JPEG is another in the block, in the pool or in the first epoch's own shards."""
    folder = epoch_folder(workdir.shards, 0) if stream else workdir.shards
    pool = Pool(folder)
    jpegs = [pool.read(int(row))[0] for row in pool.rows(np.array(chips))]
    whole = {path: path.read_bytes() for path in folder.glob("*.tar")}
    for path, data in whole.items():
        changed = bytearray(data)
        for jpeg in jpegs:
            if jpeg in data:
                changed[data.index(jpeg) + len(jpeg) // 2] ^= 255
        path.write_bytes(changed)
    try:
        yield
    finally:
        for path, data in whole.items():
            path.write_bytes(data)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_sample_is_named_and_the_next_stands_in_for_it(
    workdir: Workdir, caplog: pytest.LogCaptureFixture, workers: int, stream: bool
) -> None:
    loader = ChipLoader(workdir, LoaderOptions(batch_size=4, workers=workers, stream=stream))
    before = ids(loader)
    with damaged(workdir, [before[2], before[5], before[6]], stream):
        found = ids(loader)
    stands_in = {before[2]: before[3], before[5]: before[7], before[6]: before[7]}
    assert found == [stands_in.get(chip, chip) for chip in before]
    if not workers:  # other processes write to their own logs
        assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
        assert f"chip {before[2]} is damaged" in caplog.text


def test_the_end_of_a_tar_that_was_cut_while_it_was_streamed(workdir: Workdir) -> None:
    """Its two last chips, and the one before, which webdataset hands out once the next has begun: one stands in for all."""
    loader = ChipLoader(workdir, LoaderOptions(batch_size=4, stream=True))
    batches, before = loader(0), ids(loader)
    path = min(epoch_folder(workdir.shards, 0).glob("*.tar"))
    whole = path.read_bytes()
    places = Pool(epoch_folder(workdir.shards, 0))
    jpeg = places.read(int(places.rows(np.array([before[7]]))[0]))[0]
    path.write_bytes(whole[: whole.index(jpeg) + len(jpeg) // 2])
    try:
        found = [int(chip) for batch in batches for chip in batch.chip_ids]
    finally:
        path.write_bytes(whole)
    assert found == [before[9] if chip in before[6:9] else chip for chip in before]


@pytest.mark.parametrize("workers", [0, 2])
def test_many_damaged_samples_end_the_run(
    workdir: Workdir, workers: int, stream: bool, is_one_line: Callable[..., str]
) -> None:
    loader = ChipLoader(workdir, LoaderOptions(batch_size=4, workers=workers, stream=stream))
    before = ids(loader)
    bad = before[: MOST_DAMAGED + 1] if not workers else before  # each process counts its own
    with damaged(workdir, bad, stream), pytest.raises(ShardError) as caught:
        ids(loader)
    assert re.search("the sample of chip [0-9]+ is damaged", is_one_line(caught.value))


class Killed(torch.utils.data.Dataset):
    """Whose process dies."""

    def __getitem__(self, position: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_lost_process_is_one_line(is_one_line: Callable[..., str]) -> None:
    with pytest.raises(TrainingError) as caught, lost_processes_named():
        list(Batches(Killed(), [[0], [1]], 2, LoaderOptions(batch_size=1, workers=1)))
    assert "a process that decodes chips was lost" in is_one_line(caught.value)
    assert "lower workers or batch_size" in str(caught.value)


def test_a_missing_shard_is_named_before_training(workdir: Workdir) -> None:
    path = sorted(workdir.shards.glob("*.tar"))[0]
    hidden = path.rename(path.with_suffix(".hidden"))
    try:
        with pytest.raises(ShardError, match=path.name):
            ChipLoader(workdir, LoaderOptions(16))
    finally:
        hidden.rename(path)


def test_shards_of_other_epochs_are_refused(workdir: Workdir, tmp_path: Path) -> None:
    path = workdir.shards / "dataset.json"
    whole = path.read_bytes()
    try:
        path.write_bytes(msgspec.json.encode(msgspec.json.decode(whole) | {"id": "another"}))
        with pytest.raises(ShardError, match="export-shards"):
            ChipLoader(workdir, LoaderOptions(16))
    finally:
        path.write_bytes(whole)


def test_epochs_without_their_negatives_in_shards_are_refused(workdir: Workdir, tmp_path: Path) -> None:
    manifest = workdir.open()
    everywhere = {
        int(i): np.array([[x, y, x + 40, y + 40, 0.5] for x in range(0, 600, 15) for y in range(0, 440, 15)])
        for i in manifest.all_images().image_id
    }
    (tmp_path / "rpn.pkl").write_bytes(pickle.dumps(everywhere, protocol=2))
    mine_negatives(workdir, tmp_path / "rpn.pkl", NegativeOptions(), workers=ONE)
    with pytest.raises(ShardError, match="export-shards"):
        ChipLoader(workdir, LoaderOptions(16))
    export_shards(workdir, ExportOptions(chips_per_shard=20), workers=ONE)
    found = np.array(ids(ChipLoader(workdir, LoaderOptions(batch_size=4))))
    assert (found % CHIPS_PER_IMAGE >= FIRST_NEGATIVE).any()
