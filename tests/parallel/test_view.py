"""Workers that see other files under the same names: nothing is reported as done that is not there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import chipper.parallel.view
from chipper.errors import ClusterError, StorageError
from chipper.manifest.build_positives import build_positives
from chipper.manifest.mine_negatives import mine_negatives
from chipper.manifest.workdir import Workdir
from chipper.mining.options import NegativeOptions, PositiveOptions
from chipper.parallel.cluster import Cluster
from chipper.parallel.view import NOTE, View
from chipper.parallel.workers import Workers
from chipper.shards import stripes
from chipper.shards.export import export_shards
from chipper.shards.options import ExportOptions

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed"),
]
WORKER = "-m distributed.cli.dask_worker --nthreads 1 --no-nanny --no-dashboard"


def namespaces() -> bool:
    """Whether a process may have mounts of its own here."""
    return (
        shutil.which("unshare") is not None and not subprocess.run(["unshare", "-rm", "true"], check=False).returncode
    )


own_mounts = pytest.mark.skipif(not namespaces(), reason="no mount namespaces here")


@contextmanager
def blind(address: str, *hidden: Path) -> Iterator[None]:
    """A worker with another, empty disk at some folders."""
    mounts = "".join(f"mount -t tmpfs none '{path}' && " for path in hidden)
    command = f"{mounts} exec '{sys.executable}' {WORKER} {address}"
    process = subprocess.Popen(["unshare", "-rm", "sh", "-c", command], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def scheduler(workers: int = 0) -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


def notes_in(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(f"*{NOTE}*")]


@own_mounts
def test_a_worker_with_another_disk_there(drawn: Any, tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    workdir = Workdir(tmp_path / "chips", tmp_path / "shards")
    workdir.shards.mkdir()
    proposals = tmp_path / "proposals"
    proposals.mkdir()
    shutil.copy(drawn.proposals, proposals / "rpn.pkl")

    def told(hidden: Path, run: Callable[[Workers], Any]) -> str:
        with scheduler() as address, blind(address, hidden), pytest.raises(ClusterError) as caught:
            run(Cluster(1, address))
        return is_one_line(caught.value)

    def build(workers: Workers) -> None:
        build_positives(drawn.coco, workdir, PositiveOptions.parse(), image_dir=drawn.images, workers=workers)

    def mine(workers: Workers) -> None:
        mine_negatives(workdir, proposals / "rpn.pkl", NegativeOptions(min_proposals=3), workers=workers)

    def export(workers: Workers) -> None:
        export_shards(workdir, ExportOptions(), image_dir=drawn.images, workers=workers)

    workdir.path.mkdir()
    assert f"does not see {workdir.path} as this process does" in told(workdir.path, build)
    assert not workdir.exists()
    build(Workers(1))
    assert f"does not see {proposals / 'rpn.pkl'} as" in told(proposals, mine)
    assert workdir.dataset().negatives is None
    assert f"does not see {workdir.shards} as" in told(workdir.shards, export)
    assert f"does not see {drawn.images} as" in told(drawn.images, export)
    assert not (workdir.shards / "dataset.json").exists()
    assert notes_in(tmp_path) == []


@own_mounts
def test_a_worker_that_joins_late(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    with scheduler(1) as address:
        results = Cluster(1, address).sharing([folder]).threads(time.sleep, [(0.2,)] * 600)
        next(results)
        with blind(address, folder), pytest.raises(ClusterError, match="does not see"):
            list(results)
    assert notes_in(tmp_path) == []


def test_what_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same process plays a worker, for which some things are changed in between."""
    folder, file, written = tmp_path / "images", tmp_path / "rpn.pkl", tmp_path / "chips"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"12")
    file.write_bytes(b"head" + bytes(200_000) + b"tail")

    def other(change: Callable[[], Any]) -> Path | None:
        with View.of([written], [folder, file]) as view:
            change()
            found = view.other_here()
            assert found is not None or view.without(view.answer()) is None
            return found

    assert other(lambda: None) is None
    assert other(lambda: (folder / "b.jpg").write_bytes(b"")) is None  # more files are no harm
    assert other(lambda: (folder / "a.jpg").write_bytes(b"123")) == folder
    assert other(lambda: (folder / "a.jpg").unlink()) == folder
    assert other(lambda: file.write_bytes(b"head" + bytes(200_000) + b"TAIL")) == file
    assert other(lambda: file.write_bytes(b"HEAD" + bytes(200_000) + b"TAIL")) == file
    assert other(lambda: file.unlink()) == file
    file.touch()
    assert other(lambda: shutil.rmtree(written)) == written
    assert notes_in(tmp_path) == []
    monkeypatch.setattr(chipper.parallel.view, "_SECONDS", 0.5)
    with View.of([written], []) as view:
        assert view.other_here() is None
        (written / view.answer()).unlink()
        assert view.without(view.answer()) == written  # it wrote somewhere else


def test_notes_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / f"{NOTE}0123-host-77").touch()
    (tmp_path / f".{NOTE}0123-host-77.abcd.partial").touch()
    (tmp_path / "other").touch()
    with View.of([tmp_path], []) as view:
        assert [path.name for path in tmp_path.glob(f"{NOTE}*")] == [f"{NOTE}{view.token}"]
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize(
    ("ending", "what"),  # an old index is found when it is read: its receipt has its hash
    [("tar", "missing"), ("index.parquet", "missing"), ("done.json", "missing"), ("tar", "old"), ("done.json", "old")],
)
def test_shards_that_are_not_there_are_no_success(
    own_drawn: Any,
    tmp_path: Path,
    build: Callable[..., Workdir],
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
    what: str,
) -> None:
    workdir = build(own_drawn.coco, tmp_path / "chips", image_dir=own_drawn.images)
    render = stripes.render_stripe

    def elsewhere(*arguments: Any) -> Any:
        receipts = render(*arguments)
        path = workdir.shards / f"{receipts[0].name}.{ending}"
        if what == "missing":
            path.unlink()
        else:
            path.write_bytes(
                path.read_bytes().replace(b'"samples": ', b'"samples": 1') if ending == "done.json" else b""
            )
        return receipts

    monkeypatch.setattr("chipper.shards.export.render_stripe", elsewhere)
    with pytest.raises(StorageError, match="but are not in"):
        export_shards(workdir, ExportOptions(), image_dir=own_drawn.images, workers=Workers(1))
    assert not (workdir.shards / "dataset.json").exists()


@pytest.mark.parametrize(
    "lost", ["labels/positive-00000.parquet", "images/part-00000.parquet", "epochs/epoch-006.parquet"]
)
def test_tables_that_are_not_there_are_no_success(
    drawn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    from chipper.manifest import build_positives as module

    write = module.write_epochs

    def elsewhere(*arguments: Any) -> None:
        write(*arguments)
        (tmp_path / "chips" / lost).unlink()

    monkeypatch.setattr(module, "write_epochs", elsewhere)
    with pytest.raises(StorageError, match="was written, but is not there"):
        build_positives(drawn.coco, Workdir(tmp_path / "chips"), PositiveOptions.parse(), workers=Workers(1))
    assert not (tmp_path / "chips" / "dataset.json").exists()
