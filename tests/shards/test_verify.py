"""chipper.shards.verify: finds every fault, and the next export mends exactly those."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bad.case import run

from chipper.errors import ShardError
from chipper.manifest.workdir import Workdir
from chipper.parallel.workers import Workers
from chipper.shards.epochs import epoch_folder, export_epochs
from chipper.shards.shard_set import read_shard_set
from chipper.shards.verify import Checked, verify_shards
from chipper.shards.writing import index_path, receipt_path, tar_path

REPAIR = "`chipper verify --repair`"
ALL_FILES = (tar_path, index_path, receipt_path)


@pytest.fixture(scope="module")
def whole(drawn: Any, tmp_path_factory: pytest.TempPathFactory, build: Callable[..., Workdir], export: Any) -> Workdir:
    workdir = build(drawn.coco, tmp_path_factory.mktemp("verify") / "chips")
    export(workdir)
    return workdir


@pytest.fixture
def workdir(whole: Workdir, tmp_path: Path) -> Workdir:
    return Workdir(shutil.copytree(whole.path, tmp_path / "chips"))


def verify(workdir: Workdir, deep: bool = False, jobs: int = 1, repair: bool = False) -> Checked:
    return verify_shards(workdir.shards, deep=deep, repair=repair, workers=Workers(jobs))


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(bytes(data))


def swap(a: Path, b: Path) -> None:
    spare = a.with_name("spare")
    a.rename(spare)
    b.rename(a)
    spare.rename(b)


def swap_all(folder: Path, a: str, b: str) -> None:
    for path in ALL_FILES:
        swap(path(folder, a), path(folder, b))


Damage = Callable[[Path, list[str]], Any]
DAMAGES: dict[str, tuple[Damage, int]] = {
    "missing tar": (lambda f, n: tar_path(f, n[0]).unlink(), 1),
    "truncated tar": (lambda f, n: tar_path(f, n[0]).write_bytes(tar_path(f, n[0]).read_bytes()[:-10240]), 1),
    "tar with a tail": (lambda f, n: tar_path(f, n[0]).write_bytes(tar_path(f, n[0]).read_bytes() + b"\0" * 512), 1),
    "flipped byte in a header": (lambda f, n: flip(tar_path(f, n[0]), 5), 1),
    "flipped byte in a JPEG": (lambda f, n: flip(tar_path(f, n[0]), 900), 1),
    "flipped byte in the padding": (lambda f, n: flip(tar_path(f, n[0]), -1), 1),
    "missing index": (lambda f, n: index_path(f, n[0]).unlink(), 1),
    "cut index": (lambda f, n: index_path(f, n[0]).write_bytes(index_path(f, n[0]).read_bytes()[:-9]), 1),
    "swapped indices": (lambda f, n: swap(index_path(f, n[0]), index_path(f, n[1])), 2),
    "missing receipt": (lambda f, n: receipt_path(f, n[0]).unlink(), 1),
    "damaged receipt": (lambda f, n: receipt_path(f, n[0]).write_bytes(b"{}"), 1),
    "swapped receipts": (lambda f, n: swap(receipt_path(f, n[0]), receipt_path(f, n[1])), 2),
    "swapped tars": (lambda f, n: swap(tar_path(f, n[0]), tar_path(f, n[1])), 2),
    "swapped shards": (lambda f, n: swap_all(f, n[0], n[1]), 2),
    "all tars missing": (lambda f, n: [tar_path(f, name).unlink() for name in n], 0),
}


@pytest.mark.parametrize("deep", [False, True])
def test_nothing_to_find(workdir: Workdir, deep: bool, hashes: Callable[..., Any]) -> None:
    before = hashes(workdir.shards)
    checked = verify(workdir, deep)
    found = read_shard_set(workdir.shards)
    assert checked.faults == []
    assert (checked.shards, checked.samples, checked.bytes) == (len(found.shards), found.samples, found.bytes)
    assert hashes(workdir.shards) == before


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(("damage", "faults"), DAMAGES.values(), ids=DAMAGES)
def test_faults_are_found_and_the_next_export_mends_only_them(
    drawn: Any,
    whole: Workdir,
    workdir: Workdir,
    damage: Damage,
    faults: int,
    deep: bool,
    export: Any,
    hashes: Callable[..., Any],
) -> None:
    names = read_shard_set(workdir.shards).shards
    faults = faults or len(names)
    damage(workdir.shards, names)
    checked = verify(workdir, deep)
    assert len(checked.faults) == faults
    assert all("\n" not in fault for fault in checked.faults)
    for name, fault in zip(sorted(names)[:faults], checked.faults, strict=True):
        assert str(tar_path(workdir.shards, name)) in fault
    assert verify(workdir, deep, repair=True).faults == checked.faults, "a check changes nothing"
    assert export(workdir, image_dir=drawn.images).rendered == faults
    assert verify(workdir, deep).faults == []
    assert hashes(workdir.shards) == hashes(whole.shards)


def test_index_that_lies_is_found_by_looking_deep(workdir: Workdir) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = read_shard_set(workdir.shards).shards[0]
    path = index_path(workdir.shards, name)
    for column, value in (("crc32", 1), ("image_offset", 512 * 3), ("key", "other")):
        table = pq.read_table(path)
        k = table.schema.get_field_index(column)
        values = [value, *table[column].to_pylist()[1:]]
        changed = table.set_column(k, table.schema.field(k), pa.array(values, table.schema.field(k).type))
        receipt = receipt_path(workdir.shards, name).read_bytes()
        original = path.read_bytes()
        pq.write_table(changed, path)
        assert len(verify(workdir, deep=True).faults) == 1
        path.write_bytes(original)
        receipt_path(workdir.shards, name).write_bytes(receipt)


def test_many_workers_find_the_same(workdir: Workdir) -> None:
    names = read_shard_set(workdir.shards).shards
    flip(tar_path(workdir.shards, names[0]), 900)
    tar_path(workdir.shards, names[-1]).unlink()
    receipt = receipt_path(workdir.shards, names[0]).read_bytes(), receipt_path(workdir.shards, names[-1]).read_bytes()
    alone = verify(workdir, deep=True)
    for name, data in zip((names[0], names[-1]), receipt, strict=True):
        receipt_path(workdir.shards, name).write_bytes(data)
    assert verify(workdir, deep=True, jobs=2) == alone
    assert len(alone.faults) == 2


def test_a_tar_that_does_not_belong_there(workdir: Workdir, whole: Workdir, export: Any, drawn: Any) -> None:
    """A stranger is named; it is nothing that an export could repair, nor is it chipper's to delete."""
    name = read_shard_set(workdir.shards).shards[0]
    stranger = workdir.shards / "backup.tar"
    shutil.copy(tar_path(whole.shards, name), stranger)
    (fault,) = verify(workdir).faults
    assert str(stranger) in fault
    assert any(cure in fault for cure in ("delete", "remove", "move")), f"no cure: {fault}"
    assert export(workdir, image_dir=drawn.images).rendered == 0
    assert stranger.exists()


def test_no_export(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="run `chipper export-shards` first"):
        verify(Workdir(tmp_path))


# --- the epochs' own shards ---


@pytest.fixture(scope="module")
def whole_epochs(
    drawn: Any, tmp_path_factory: pytest.TempPathFactory, build: Callable[..., Workdir], export: Any
) -> Workdir:
    workdir = build(drawn.coco, tmp_path_factory.mktemp("epochs") / "chips", image_dir=drawn.images, epochs=3)
    export(workdir, chips_per_shard=1000)
    export_epochs(workdir, 1000, workers=Workers(1))
    return workdir


@pytest.fixture
def epochs(whole_epochs: Workdir, tmp_path: Path) -> Workdir:
    return Workdir(shutil.copytree(whole_epochs.path, tmp_path / "chips"))


def tar_of(folder: Path) -> Path:
    return next(folder.glob("*.tar"))


def test_shards_of_epochs_are_counted(epochs: Workdir) -> None:
    sets = [read_shard_set(folder) for folder in (epochs.shards, *(epoch_folder(epochs.shards, k) for k in range(3)))]
    checked = verify(epochs, deep=True)
    assert checked.faults == []
    assert checked.cure == f"{REPAIR}, then `chipper export-shards`"
    assert (checked.shards, checked.samples) == (sum(len(s.shards) for s in sets), sum(s.samples for s in sets))


EPOCHS_DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped byte": lambda shards: flip(tar_of(shards / "epoch-000"), 900),
    "no tar": lambda shards: tar_of(shards / "epoch-002").unlink(),
    "no dataset.json": lambda shards: (shards / "epoch-001" / "dataset.json").unlink(),
    "half of a dataset.json": lambda shards: (shards / "epoch-001" / "dataset.json").write_text(
        '{"format_version": "1'
    ),
    "no folder": lambda shards: shutil.rmtree(shards / "epoch-000"),
    "shards of another workdir": lambda shards: (shards / "epoch-001" / "dataset.json").write_text(
        (shards / "dataset.json").read_text().replace('"id": "', '"id": "0')
    ),
}


@pytest.mark.parametrize("damage", EPOCHS_DAMAGES.values(), ids=EPOCHS_DAMAGES)
def test_faults_of_epochs_are_found_and_their_cure_mends_them(
    epochs: Workdir, whole_epochs: Workdir, damage: Callable[[Path], object], hashes: Callable[[Path], Any]
) -> None:
    before = hashes(epochs.shards)
    damage(epochs.shards)
    assert hashes(epochs.shards) != before
    done = run(epochs.path, "verify --workdir . --jobs 1")
    assert done.code == 1
    assert "1 faults" in done.line
    assert f"run {REPAIR}, then `chipper export-shards --layout epochs` to repair" in done.line
    damaged = hashes(epochs.shards)
    assert run(epochs.path, "verify --workdir . --jobs 1").code == 1
    assert hashes(epochs.shards) == damaged, "a check changes nothing"
    assert run(epochs.path, "verify --repair --workdir . --jobs 1").code == 1
    assert run(epochs.path, "export-shards --workdir . --jobs 1").code == 0
    assert len(verify(epochs).faults) == 1, "the pool's export leaves the epochs as they are"
    assert run(epochs.path, "export-shards --layout epochs --workdir . --jobs 1").code == 0
    assert run(epochs.path, "verify --deep --workdir . --jobs 1").code == 0
    assert hashes(epochs.shards) == before


def test_one_epoch_alone_is_mended_by_the_same_cure(epochs: Workdir) -> None:
    folder = epoch_folder(epochs.shards, 1)
    flip(tar_of(folder), 900)
    checked = verify(Workdir(epochs.path, folder))
    assert len(checked.faults) == 1
    assert checked.cure == f"{REPAIR}, then `chipper export-shards --layout epochs`"


def test_faults_of_the_pool_need_no_epochs(epochs: Workdir) -> None:
    flip(tar_of(epochs.shards), 900)
    checked = verify(epochs)
    assert len(checked.faults) == 1
    assert checked.cure == f"{REPAIR}, then `chipper export-shards`"
