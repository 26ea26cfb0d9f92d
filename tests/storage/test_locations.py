"""Images and shards at URLs: a real S3 server on loopback, and memory; the same bytes as in folders."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from joblib.externals.loky import get_reusable_executor

from chipper.cli.main import main
from chipper.errors import (
    ChipperError,
    DependencyError,
    ImageError,
    OptionError,
    ShardError,
    StorageError,
)
from chipper.formats.chips import export_coco
from chipper.images.decoded import open_source
from chipper.images.finding import image_path
from chipper.manifest.workdir import Workdir
from chipper.parallel.workers import Workers
from chipper.shards.export import export_shards
from chipper.shards.options import ExportOptions
from chipper.shards.pool import Pool
from chipper.shards.verify import verify_shards
from chipper.storage.locations import is_local, location

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the server's sockets
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # botocore and moto
]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket; credentials and the server's address stand in the environment, as users set them."""
    import boto3

    for name, value in (
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", server),
    ):
        monkeypatch.setenv(name, value)
    get_reusable_executor().shutdown(wait=True)  # joblib's workers of tests before know nothing of them
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=server).create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture
def in_memory() -> str:
    return f"memory://{uuid.uuid4().hex[:12]}"


def copied(folder: Path, url: str) -> Path:
    """The images of ``folder``, at a URL."""
    place = location(url)
    for path in folder.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    return place


def contents(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.iterdir() if path.name != ".workdir.json"}


def exported(workdir: Workdir, jobs: int, images: Path, **options: Any) -> Any:
    return export_shards(workdir, ExportOptions(chips_per_shard=6, **options), image_dir=images, workers=Workers(jobs))


@pytest.mark.parametrize(("kind", "jobs"), [("s3", 1), ("s3", 2), ("memory", 1)])
def test_images_and_shards_at_urls_give_the_bytes_of_folders(
    request: pytest.FixtureRequest, drawn: Any, tmp_path: Path, build: Callable[..., Any], kind: str, jobs: int
) -> None:
    base = request.getfixturevalue("bucket" if kind == "s3" else "in_memory")
    local = build(drawn.coco, tmp_path / "chips", image_dir=drawn.images)
    exported(local, 1, drawn.images)
    remote = Workdir(local.path, location(f"{base}/shards"))
    images = copied(drawn.images, f"{base}/images")
    first = exported(remote, jobs, images)
    assert first.rendered == len(first.receipts) > 3
    assert contents(remote.shards) == contents(local.shards)
    assert exported(remote, jobs, images).rendered == 0

    pool, here = Pool(remote.shards), Pool(local.shards)
    for row in np.random.default_rng(0).permutation(len(pool))[:10]:
        assert pool.read(int(row)) == here.read(int(row))
    checked = verify_shards(remote.shards, deep=True, workers=Workers(jobs))
    assert (checked.faults, checked.samples) == ([], len(here))

    export_coco(remote, tmp_path / "coco", epoch=0, val_share=0.2, workers=Workers(2))
    assert (tmp_path / "coco" / "annotations" / "instances_train.json").exists()

    # a shard that is damaged there is found, and it alone is rendered again
    victim = first.receipts[1].name
    data = bytearray((remote.shards / f"{victim}.tar").read_bytes())
    data[len(data) // 2] ^= 1
    (remote.shards / f"{victim}.tar").write_bytes(bytes(data))
    faults = verify_shards(remote.shards, repair=True, workers=Workers(1)).faults
    assert len(faults) == 1
    assert victim in faults[0]
    assert exported(remote, jobs, images).rendered == 1
    assert contents(remote.shards) == contents(local.shards)


def test_the_commands_take_urls(bucket: str, drawn: Any, tmp_path: Path) -> None:
    copied(drawn.images, f"{bucket}/images")
    workdir = ["--workdir", str(tmp_path / "chips")]
    lines = (
        ["build-positives", str(drawn.coco), "--image-dir", f"{bucket}/images", *workdir],
        ["export-shards", "--image-dir", f"{bucket}/images", "--shards", f"{bucket}/shards", *workdir, "--jobs", "1"],
        ["verify", "--deep", "--shards", f"{bucket}/shards", *workdir, "--jobs", "1"],
        ["export-yolo", "--out", str(tmp_path / "yolo"), "--shards", f"{bucket}/shards", *workdir],
    )
    for line in lines:
        result = CliRunner().invoke(main, line)
        assert result.exit_code == 0, (line, result.output, result.exception)
    assert not (tmp_path / "chips" / "shards").exists()
    assert (location(f"{bucket}/shards") / "dataset.json").exists()


def test_training_reads_shards_at_a_url_in_other_processes(
    bucket: str, drawn: Any, tmp_path: Path, build: Callable[..., Any]
) -> None:
    from chipper.detection.loader import ChipLoader, LoaderOptions

    local = build(drawn.coco, tmp_path / "chips", image_dir=drawn.images)
    exported(local, 1, drawn.images)
    remote = Workdir(local.path, location(f"{bucket}/shards"))
    exported(remote, 1, drawn.images)
    batches = [
        [batch.chip_ids.tolist() for batch in ChipLoader(place, LoaderOptions(4, workers))(0)]
        for place, workers in ((local, 0), (remote, 0), (remote, 2))
    ]
    assert batches[0] == batches[1] == batches[2]
    assert len(batches[0]) > 3


def test_a_bucket_that_is_not_there(
    bucket: str, drawn: Any, tmp_path: Path, build: Callable[..., Any], is_one_line: Callable[..., str]
) -> None:
    local = build(drawn.coco, tmp_path / "chips", image_dir=drawn.images)
    nowhere = Workdir(local.path, location("s3://no-such-bucket-anywhere/shards"))
    with pytest.raises(StorageError) as caught:
        exported(nowhere, 1, drawn.images)
    assert "no-such-bucket-anywhere" in is_one_line(caught.value)
    with pytest.raises(ChipperError) as other:
        exported(local, 1, location("s3://no-such-bucket-anywhere/images"))
    is_one_line(other.value)
    with pytest.raises(ShardError) as third:
        Pool(nowhere.shards)
    is_one_line(third.value)


def test_an_upload_that_did_not_arrive_whole_is_an_error(
    in_memory: str, drawn: Any, tmp_path: Path, build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    put = MemoryFileSystem.put_file

    def cut(self: Any, source: str, target: str, **options: Any) -> None:
        put(self, source, target, **options)
        if target.endswith(".tar"):
            with self.open(target, "wb") as file:
                file.write(b"half")

    remote = Workdir(
        build(drawn.coco, tmp_path / "chips", image_dir=drawn.images).path, location(f"{in_memory}/shards")
    )
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", cut)
        with pytest.raises(StorageError, match="bytes were uploaded"):
            exported(remote, 1, drawn.images)
    assert not any(name.endswith(".done.json") for name in contents(remote.shards))
    exported(remote, 1, drawn.images)
    assert verify_shards(remote.shards, deep=True, workers=Workers(1)).faults == []


def test_what_is_no_location() -> None:
    with pytest.raises(OptionError, match="is not a location"):
        location("nonsense://bucket/x")
    assert location("/tmp/x") == Path("/tmp/x")
    assert location("file:///tmp/x") == Path("/tmp/x")
    assert is_local(location("file:///tmp/x"))
    assert not is_local(location("memory://x"))


def test_a_protocol_without_its_package(monkeypatch: pytest.MonkeyPatch, is_one_line: Callable[..., str]) -> None:
    with pytest.raises((DependencyError, OptionError)) as caught:
        location("abfs://container/x")  # adlfs is not installed
    assert "abfs://container/x" in is_one_line(caught.value)


def test_a_link_out_of_the_image_directory_is_refused(tmp_path: Path, drawn: Any) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "out.jpg").symlink_to(drawn.images / "000.jpg")
    (folder / "real.jpg").write_bytes((drawn.images / "000.jpg").read_bytes())
    (folder / "in.jpg").symlink_to(folder / "real.jpg")
    (tmp_path / "linked").symlink_to(folder)  # the folder itself may be a link
    with pytest.raises(ImageError, match="leads out of the image directory"):
        image_path(folder, "out.jpg")
    with pytest.raises(ImageError, match="leads out"):
        image_path(tmp_path / "linked", "out.jpg")
    assert open_source(image_path(folder, "in.jpg"), (640, 480)).pixels.size == (640, 480)
    assert open_source(image_path(tmp_path / "linked", "real.jpg"), (640, 480)).pixels.size == (640, 480)


def test_many_threads_read_at_once(bucket: str) -> None:
    place = location(f"{bucket}/x.bin")
    place.write_bytes(bytes(range(256)))
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(place.read_bytes())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [bytes(range(256))] * 8
