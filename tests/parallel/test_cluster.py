"""A dask cluster of two worker processes: the same bytes as on one machine, and no lost worker goes unnoticed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import chipper.manifest.build_positives
import chipper.mining.parts
import chipper.parallel.cluster
from chipper.cli.main import main
from chipper.errors import ClusterError, DependencyError, ImageError, ProposalError
from chipper.manifest.build_positives import build_positives
from chipper.manifest.mine_negatives import mine_negatives
from chipper.manifest.workdir import Workdir
from chipper.mining.options import NegativeOptions, PositiveOptions
from chipper.parallel.cluster import Cluster
from chipper.parallel.workers import Workers
from chipper.proposals.files import open_proposals
from chipper.proposals.writing import write_parquet
from chipper.shards.export import export_shards
from chipper.shards.options import ExportOptions

# dask itself leaves sockets and loops to the collector when a worker dies
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed"),
]
HANG = 90  # seconds after which a run counts as hanging


@contextmanager
def started(workers: int) -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster whose workers live as long as the tests."""
    with started(2) as address:
        yield address


@pytest.fixture
def mortal() -> Iterator[str]:
    """A cluster for one test that kills workers.

    Dask starts no other worker for one that dies before it has quite begun, so there is one more than any test kills.
    """
    with started(5) as address:
        yield address


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chipper.mining.parts, "PART_IMAGES", 3)


def kill_when_there(pid: int, folder: Path, pattern: str) -> None:
    end = time.monotonic() + HANG
    while not any(folder.glob(pattern)) and time.monotonic() < end:
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)


def whole_run(folder: Path, coco: Path, images: Path, proposals: Path, workers: Workers) -> None:
    """All that can be shared out: positives, negatives, epochs and shards."""
    workdir = Workdir(folder)
    options = PositiveOptions.parse(variants=2, stride="40-48")
    build_positives(coco, workdir, options, image_dir=images, workers=workers)
    negative = NegativeOptions(min_proposals=3, min_proposals_finest=3)
    mine_negatives(workdir, proposals, negative, workers=workers)
    export_shards(workdir, ExportOptions(chips_per_shard=10), image_dir=images, workers=workers)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("kind", ["pickle", "parquet"])
def test_the_bytes_are_the_same_for_any_number_of_workers_and_on_a_cluster(
    address: str, drawn: Any, tmp_path: Path, hashes: Callable[[Path], dict[str, str]], kind: str
) -> None:
    proposals = drawn.proposals
    if kind == "parquet":
        images = chipper.manifest.build_positives.read_coco(drawn.coco).images
        loaded = open_proposals(proposals, images.image_id, images.position, len(images)).of(images)
        proposals = tmp_path / "rpn.parquet"
        write_parquet(proposals, loaded)
    ways: dict[str, Workers] = {f"{jobs} jobs": Workers(jobs) for jobs in (1, 2, 3)}
    ways["dask"] = Cluster(1, address)
    found = {}
    for name, workers in ways.items():
        whole_run(tmp_path / name / "chips", drawn.coco, drawn.images, proposals, workers)
        found[name] = hashes(tmp_path / name / "chips")
    assert len(found["1 jobs"]) > 20
    assert any("negative-00002" in name for name in found["1 jobs"])
    for name in ways:
        assert found[name] == found["1 jobs"], name


def test_coco128_on_a_cluster(address: str, coco128: Path, tmp_path: Path, hashes: Any) -> None:
    for name, workers in (("one", Workers(1)), ("dask", Cluster(1, address))):
        workdir = Workdir(tmp_path / name)
        build_positives(
            coco128 / "instances.json", workdir, PositiveOptions.parse(), image_dir=coco128 / "images", workers=workers
        )
        mine_negatives(workdir, coco128 / "proposals.pkl", NegativeOptions(), workers=workers)
    one, dask = hashes(tmp_path / "one"), hashes(tmp_path / "dask")
    assert len(one) > 10
    assert dask == one


def test_a_task_whose_worker_is_killed_is_done_again(mortal: str, tmp_path: Path) -> None:
    def square(marker: Path, k: int) -> int:
        if k == 3 and not marker.exists():
            marker.write_text("killed once")
            os.kill(os.getpid(), signal.SIGKILL)
        return k * k

    marker = tmp_path / "marker"
    results = list(Cluster(1, mortal).threads(square, [(marker, k) for k in range(12)]))
    assert marker.exists()
    assert results == [k * k for k in range(12)]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("when", ["with its first file unnamed", "with all its files written"])
def test_a_worker_killed_in_every_stage_changes_no_byte(
    mortal: str, drawn: Any, tmp_path: Path, hashes: Any, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    share = Cluster._results

    def with_kills(self: Cluster, function: Any, tasks: Any) -> Iterator[Any]:
        marker = tmp_path / f"{function.__module__}.{function.__name__}"

        def die(*_: Any) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        def work(*task: Any) -> Any:
            first = not marker.exists()
            marker.touch()
            if first and when == "with its first file unnamed":
                os.replace = die
            result = function(*task)
            if first:
                die()
            return result

        return share(self, work, tasks)

    whole_run(tmp_path / "one", drawn.coco, drawn.images, drawn.proposals, Workers(1))
    monkeypatch.setattr(Cluster, "_results", with_kills)
    whole_run(tmp_path / "dask", drawn.coco, drawn.images, drawn.proposals, Cluster(1, mortal))
    assert {path.name for path in tmp_path.glob("chipper.*")} == {
        "chipper.manifest.build_positives._mine_part",
        "chipper.manifest.epoch_lists._write_epoch",
        "chipper.manifest.mine_negatives._mine_part",
        "chipper.shards.stripes.render_stripe",
    }
    assert hashes(tmp_path / "dask") == hashes(tmp_path / "one")


def test_shards_are_whole_when_a_worker_is_killed_half_way(
    mortal: str, coco128: Path, tmp_path: Path, hashes: Callable[[Path], dict[str, str]]
) -> None:
    from distributed import Client

    found = {}
    for name, workers in (("one", Workers(2)), ("dask", Cluster(1, mortal))):
        workdir = Workdir(tmp_path / name)
        options = PositiveOptions.parse()
        build_positives(coco128 / "instances.json", workdir, options, image_dir=coco128 / "images", workers=Workers(1))
        mine_negatives(workdir, coco128 / "proposals.pkl", NegativeOptions(), workers=Workers(1))
        if name == "dask":
            with Client(mortal, set_as_default=False) as client:
                victim = min(client.run(os.getpid).values())
            killer = threading.Thread(target=kill_when_there, args=(victim, workdir.path, "*/*.partial"))
            killer.start()
        export_shards(workdir, ExportOptions(chips_per_shard=50), image_dir=coco128 / "images", workers=workers)
        found[name] = hashes(workdir.path)
    killer.join()
    assert found["dask"] == found["one"]


def test_a_task_that_always_kills_its_worker_ends_the_run(mortal: str, tmp_path: Path, is_one_line: Any) -> None:
    seen = tmp_path / "the others are seen"

    def work(k: int) -> int:
        end = time.monotonic() + HANG
        while k == 4 and not seen.exists() and time.monotonic() < end:
            time.sleep(0.05)
        if k == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return k

    results: list[int] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            for result in Cluster(1, mortal).processes(work, [(k,) for k in range(5)]):
                results.append(result)
                if result == 3:
                    seen.touch()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(HANG)
    assert not thread.is_alive(), "it hangs"
    assert results == [0, 1, 2, 3]
    assert isinstance(errors[0], ClusterError)
    assert "work lost 4 workers" in is_one_line(errors[0])


def test_an_error_of_a_task_arrives_as_itself(address: str, tmp_path: Path) -> None:
    def work(k: int) -> int:
        raise ProposalError(f"number {k}")

    with pytest.raises(ProposalError, match="number 0"):
        list(Cluster(1, address).threads(work, [(k,) for k in range(5)]))


def test_an_error_of_a_command_is_the_same_as_on_one_machine(
    address: str, own_drawn: Any, tmp_path: Path, build: Callable[..., Workdir], is_one_line: Callable[..., str]
) -> None:
    workdir = build(own_drawn.coco, tmp_path / "chips", image_dir=own_drawn.images)
    (own_drawn.images / own_drawn.names[2]).write_bytes(b"no image")
    messages = []
    for workers in (Workers(1), Cluster(1, address)):
        with pytest.raises(ImageError) as caught:
            export_shards(workdir, ExportOptions(on_error="fail"), workers=workers)
        messages.append(is_one_line(caught.value))
    assert own_drawn.names[2] in messages[0]
    assert messages[1] == messages[0]


def test_only_some_tasks_wait_in_the_scheduler(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    submitted = []
    submit = distributed.Client.submit

    def counted(client: Any, *arguments: Any, **options: Any) -> Any:
        submitted.append(arguments)
        return submit(client, *arguments, **options)

    monkeypatch.setattr(distributed.Client, "submit", counted)
    waiting = []
    for k, result in enumerate(Cluster(1, address).threads(abs, [(-k,) for k in range(100)])):
        assert result == k
        waiting.append(len(submitted) - k)
    assert 2 <= max(waiting) <= 2 * chipper.parallel.cluster._AHEAD
    assert len(submitted) == 100


def test_nothing_is_left_in_the_scheduler(address: str, tmp_path: Path) -> None:
    """Neither by a run that ends, nor by one that fails, nor by one that is given up."""
    from distributed import Client

    def fail(k: int) -> int:
        if k == 2:
            raise ProposalError("number 2")
        return k

    def left(dask_scheduler: Any) -> tuple[int, list[str]]:
        return len(dask_scheduler.tasks), [client for client in dask_scheduler.clients if client != "fire-and-forget"]

    cluster = Cluster(1, address)
    assert sum(cluster.threads(abs, [(k,) for k in range(20)])) == 190
    with pytest.raises(ProposalError):
        list(cluster.threads(fail, [(k,) for k in range(20)]))
    given_up = cluster.threads(time.sleep, [(0.01,)] * 20)
    next(given_up)
    given_up.close()
    end = time.monotonic() + 10
    with Client(address, set_as_default=False) as client:
        while client.run_on_scheduler(left) != (0, [client.id]) and time.monotonic() < end:
            time.sleep(0.1)
        assert client.run_on_scheduler(left) == (0, [client.id])


def test_a_scheduler_that_goes_away_ends_the_run(tmp_path: Path, is_one_line: Any) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        results = Cluster(1, cluster.scheduler_address).threads(time.sleep, [(0,), (60,)])
        assert next(results) is None
        cluster.close()
        with pytest.raises(ClusterError) as caught:
            next(results)
    assert "was lost; run the same command again" in is_one_line(caught.value)


def test_what_is_wrong_with_a_cluster_is_one_line(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_one_line: Any
) -> None:
    def message(cluster: Cluster) -> str:
        with pytest.raises(ClusterError) as caught:
            list(cluster.threads(abs, [(1,)]))
        return is_one_line(caught.value)

    monkeypatch.setattr(chipper.parallel.cluster, "_SECONDS", 2)
    assert "no dask scheduler at tcp://127.0.0.1:9" in message(Cluster(1, "tcp://127.0.0.1:9"))
    assert "no dask scheduler at nonsense://x" in message(Cluster(1, "nonsense://x"))
    monkeypatch.setattr(chipper.parallel.cluster, "__version__", "0.0.0")
    assert "this is chipper 0.0.0" in message(Cluster(1, address))


def test_a_scheduler_without_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_one_line: Any) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(chipper.parallel.cluster, "_SECONDS", 2)
    with LocalCluster(n_workers=0, dashboard_address=":0") as cluster, pytest.raises(ClusterError) as caught:
        list(Cluster(1, cluster.scheduler_address).threads(abs, [(1,)]))
    assert "has no workers" in is_one_line(caught.value)


def test_without_dask_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_one_line: Any
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DependencyError) as caught:
        list(Cluster(1, "tcp://127.0.0.1:9").threads(abs, [(1,)]))
    assert "pip install" in is_one_line(caught.value)


@pytest.mark.parametrize("options", [["--backend", "dask"], ["--scheduler", "tcp://127.0.0.1:9"]])
def test_backend_and_scheduler_go_together(drawn: Any, options: list[str]) -> None:
    assert CliRunner().invoke(main, ["build-positives", str(drawn.coco), *options]).exit_code == 2


def test_commands_run_on_a_cluster(address: str, drawn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # workers have another current folder
    backend = ["--backend", "dask", "--scheduler", address]
    lines = (
        ["build-positives", str(drawn.coco), "--image-dir", os.path.relpath(drawn.images)],
        ["mine-negatives", "--proposals", os.path.relpath(drawn.proposals), "--min-proposals", "3", "3"],
        ["export-shards"],
    )
    for line in lines:
        result = CliRunner().invoke(main, [*line, *backend])
        assert result.exit_code == 0, result.output
    assert (tmp_path / "chips" / "shards" / "dataset.json").exists()
