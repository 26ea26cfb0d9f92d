"""Shards on a server that is busy, refuses, or stops half-way: nothing is removed, rendered again or called damaged for it."""

from __future__ import annotations

import http.client
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from s3fs import S3FileSystem

from chipper.cli.main import run
from chipper.detection.loader import ChipLoader, LoaderOptions
from chipper.errors import UnreachableError
from chipper.formats.chips import export_coco
from chipper.manifest.workdir import Workdir
from chipper.parallel.workers import Workers
from chipper.shards.epochs import export_epochs
from chipper.shards.export import export_shards
from chipper.shards.options import ExportOptions
from chipper.shards.pool import Pool
from chipper.shards.verify import verify_shards
from chipper.storage import locations
from chipper.storage.locations import location

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the server's sockets
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # botocore and moto
]
Fault = Callable[[str, int], int | str | None]
"""Of a path and the number of its request: a status to answer, "cut" for half of the true answer, or None for all of it."""


class FaultyServer(ThreadingHTTPServer):
    """Hands requests on to an S3 server, but for those that ``fault`` chooses; remembers what was read."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = behind
        self.fault: Fault = lambda path, number: None
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        reading, fault = self.command in ("GET", "HEAD"), None
        if reading:
            self.server.asked.append(self.path)
            fault = self.server.fault(self.path, self.server.asked.count(self.path))
        if isinstance(fault, int):
            status, headers, data = fault, Message(), b""
        else:
            connection = http.client.HTTPConnection(self.server.behind)
            own = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            connection.request(self.command, self.path, body, own)
            found = connection.getresponse()
            status, headers, data = found.status, found.headers, found.read()
            connection.close()
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                self.send_header(name, value)
        length = headers["Content-Length"] or "0" if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if fault == "cut" else data)
        self.close_connection = fault == "cut"

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815, http.server looks for these names

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def behind() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def server(behind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    found = FaultyServer(behind)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_MAX_ATTEMPTS", "1"),
        ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{found.server_address[1]}"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(locations, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(S3FileSystem, "retries", 1)  # each takes seconds
    S3FileSystem.clear_instance_cache()  # it keeps the address of an earlier server
    yield found
    S3FileSystem.clear_instance_cache()
    found.shutdown()
    found.server_close()


@pytest.fixture
def remote(server: FaultyServer, drawn: Any, tmp_path: Path, build: Callable[..., Any]) -> Workdir:
    """A workdir with its shards on the server."""
    import boto3

    name = f"bucket-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=f"http://{server.behind}").create_bucket(Bucket=name)
    local = build(drawn.coco, tmp_path / "chips", image_dir=drawn.images)
    workdir = Workdir(local.path, location(f"s3://{name}/shards"))
    exported(workdir, drawn.images)
    server.asked.clear()
    return workdir


def exported(workdir: Workdir, images: Path) -> Any:
    return export_shards(workdir, ExportOptions(chips_per_shard=6), image_dir=images, workers=Workers(1))


def contents(workdir: Workdir) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in workdir.shards.iterdir()}


@pytest.mark.parametrize("of", [".done.json", ".index.parquet", ".tar", "list-type"])
@pytest.mark.parametrize("kind", [503, 403, "cut"])
def test_what_cannot_be_read_now_is_not_damaged(
    server: FaultyServer,
    remote: Workdir,
    drawn: Any,
    of: str,
    kind: int | str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = contents(remote)
    server.fault = lambda path, number: kind if of in path else None
    words = ["verify", "--repair", "--workdir", str(remote.path), "--shards", str(remote.shards), "--jobs", "1"]
    monkeypatch.setattr("chipper.cli.main.stop_in_order_then_at_once", lambda: None)  # it stays in force
    monkeypatch.setattr(sys, "argv", ["chipper", *words])
    with pytest.raises(SystemExit) as stopped:
        run()
    assert stopped.value.code == 75
    assert "cannot be read" in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(UnreachableError):
        Pool(remote.shards).read(0)
    if of in (".done.json", "list-type"):
        with pytest.raises(UnreachableError):
            exported(remote, drawn.images)
    server.fault = lambda path, number: None
    assert contents(remote) == before
    assert exported(remote, drawn.images).rendered == 0
    assert verify_shards(remote.shards, workers=Workers(1)).faults == []


@pytest.mark.parametrize("kind", [503, "cut"])
def test_a_fault_that_passes_is_not_noticed(server: FaultyServer, remote: Workdir, drawn: Any, kind: int | str) -> None:
    server.fault = lambda path, number: kind if number == 1 else None
    checked = verify_shards(remote.shards, deep=True, workers=Workers(1))
    assert (checked.faults, checked.unreachable) == ([], [])
    server.asked.clear()
    assert len(Pool(remote.shards).read(0)) == 2
    server.asked.clear()
    assert exported(remote, drawn.images).rendered == 0


def test_a_shard_that_is_not_there_is_missing_however_busy_the_server_was(
    server: FaultyServer, remote: Workdir
) -> None:
    victim = next(path for path in remote.shards.iterdir() if path.name.endswith(".tar"))
    victim.unlink()
    server.asked.clear()
    server.fault = lambda path, number: 503 if number == 1 else None
    checked = verify_shards(remote.shards, workers=Workers(1))
    assert checked.unreachable == []
    assert len(checked.faults) == 1
    assert victim.name in checked.faults[0]


def test_a_pool_is_opened_by_two_requests_a_shard(server: FaultyServer, remote: Workdir) -> None:
    pool = Pool(remote.shards)
    assert len(pool.names) > 3
    assert len(server.asked) <= 2 * len(pool.names) + 4, server.asked


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stream", [False, True])
def test_training_is_told(server: FaultyServer, remote: Workdir, workers: int, stream: bool) -> None:
    if stream:
        export_epochs(remote, 6, workers=Workers(1))
    batches = ChipLoader(remote, LoaderOptions(4, workers, stream=stream))(0)
    server.fault = lambda path, number: 503 if ".tar" in path else None
    with pytest.raises(UnreachableError, match="cannot be read now"):
        next(iter(batches))
    server.fault = lambda path, number: None
    assert len(next(iter(batches))) == 4


def test_an_export_for_a_trainer_is_told(server: FaultyServer, remote: Workdir, tmp_path: Path) -> None:
    server.fault = lambda path, number: 503 if ".tar" in path else None
    with pytest.raises(UnreachableError, match="cannot be read now"):
        export_coco(remote, tmp_path / "coco", epoch=0, val_share=0.2, workers=Workers(1))


class _WebHandler(BaseHTTPRequestHandler):
    """Files of a folder, by ranges, without a listing."""

    folder: Path
    busy = ""

    def answer(self) -> None:
        path = self.folder / self.path.lstrip("/")
        if self.busy and self.busy in self.path:
            self.send_error(503)
        elif not path.is_file():
            self.send_error(403 if path.is_dir() else 404)
        else:
            data, status = path.read_bytes(), 200
            if wanted := self.headers.get("Range"):
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                data, status = data[int(first) : int(last) + 1 if last else None], 206
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

    do_GET = do_HEAD = answer  # noqa: N815

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


def test_shards_of_a_web_server_that_lists_nothing(
    drawn: Any, tmp_path: Path, build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locations, "PAUSES", (0.01,))
    local = build(drawn.coco, tmp_path / "chips", image_dir=drawn.images)
    exported(local, drawn.images)
    export_epochs(local, 6, workers=Workers(1))
    handler = type("Handler", (_WebHandler,), {"folder": local.shards})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        shards = location(f"http://127.0.0.1:{web.server_address[1]}")
        checked = verify_shards(shards, deep=True, workers=Workers(1))
        assert (checked.faults, checked.unreachable) == ([], [])
        assert checked == verify_shards(local.shards, deep=True, workers=Workers(1)), "the epochs are checked, too"
        assert Pool(shards).read(3) == Pool(local.shards).read(3)
        for busy in (".done.json", ".index.parquet", ".tar"):
            handler.busy = busy
            checked = verify_shards(shards, workers=Workers(1))
            assert checked.faults == []
            assert len(checked.unreachable) == checked.shards
        handler.busy = ""
        (local.shards / f"{Pool(local.shards).names[1]}.tar").unlink()
        assert len(verify_shards(shards, workers=Workers(1)).faults) == 1
        web.shutdown()
