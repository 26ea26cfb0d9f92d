"""chipper.storage.files and chipper.storage.lock: whole or not at all, errors with their cure, one writer at a time."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from chipper.errors import AnnotationError, StorageError, WorkdirError
from chipper.schemas import EPOCH
from chipper.storage import files
from chipper.storage.files import atomic, fingerprint, read_bytes, read_table, sweep, write_json, write_table
from chipper.storage.locations import location


def epoch_table(n: int, belongs_to: str = "x") -> pa.Table:
    return pa.Table.from_arrays([np.arange(n), np.arange(n) * 7], schema=EPOCH.arrow_schema(belongs_to))


# --- atomic ---


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "file"
    with atomic(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_the_file_and_then_its_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the folder's sync a power failure may undo the rename, after the receipt of something else was kept."""
    steps: list[tuple[str, int]] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        steps.append(("sync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> None:
        steps.append(("rename", os.stat(source).st_ino))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    path = tmp_path / "receipt.json"
    write_json(path, {"a": 1})
    assert steps == [("sync", path.stat().st_ino), ("rename", path.stat().st_ino), ("sync", tmp_path.stat().st_ino)]


@pytest.mark.parametrize("error", [ValueError("no"), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_an_error_inside_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    expected = StorageError if isinstance(error, OSError) else type(error)

    def write() -> None:
        with atomic(path) as file:
            file.write(b"ne")
            raise error

    with pytest.raises(expected):
        write()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission is denied"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_refusals_of_the_system(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    number: int,
    cure: str,
    is_one_line: Callable[..., str],
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, step, refuse)
    for write in (lambda p: write_json(p, {"a": 1}), lambda p: write_table(p, epoch_table(3))):
        with pytest.raises(StorageError, match=cure) as caught:
            write(tmp_path / "file")
        assert str(tmp_path / "file") in is_one_line(caught.value)
        assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 64 kB, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk(small_disk: Path, is_one_line: Callable[..., str]) -> None:
    (small_disk / "file").write_bytes(b"old")
    noise = pa.array(np.random.default_rng(0).integers(0, 2**62, 50_000))
    table = pa.Table.from_arrays([noise, noise], schema=EPOCH.arrow_schema("x"))
    for write in (
        lambda: write_table(small_disk / "file", table),
        lambda: write_json(small_disk / "file", list(range(100_000))),
    ):
        with pytest.raises(StorageError, match="no space is left on that disk; free some space and run") as caught:
            write()
        is_one_line(caught.value)
        assert [p.name for p in small_disk.iterdir()] == ["file"]
        assert (small_disk / "file").read_bytes() == b"old"


def test_a_full_folder_of_temporary_files_names_that_folder(
    small_disk: Path, is_one_line: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes to a URL is written to a temporary file first; the cure is to free space there, not at the URL."""
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    place = location("memory://bucket/shards") / "a.json"
    with pytest.raises(StorageError, match="no space is left on that disk") as caught:
        write_json(place, list(range(100_000)))
    assert f"cannot write {small_disk}" in is_one_line(caught.value)
    assert not place.exists()
    assert list(small_disk.iterdir()) == []
    write_json(place, [1])
    assert json.loads(place.read_bytes()) == [1]


def test_limit_on_the_file_size(tmp_path: Path) -> None:
    """EFBIG is no errno with a cure of its own; the message still says what and where."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(StorageError, match="cannot write .*file: File too large"):
            write_json(tmp_path / "file", list(range(100_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
from chipper.storage.locations import location
from chipper.storage.files import atomic
with atomic(Path(sys.argv[1])) as file:
    file.write(b"x" * 100_000)
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(b"old")
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.kill()
    assert path.read_bytes() == b"old"
    with atomic(path) as file:  # what it left behind is in nobody's way
        file.write(b"new")
    sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_a_folder_that_is_a_file(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write") as caught:
        write_json(tmp_path / "file" / "a.json", 1)
    is_one_line(caught.value)


# --- tables ---


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_table(tmp_path / name, epoch_table(1000))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_table_round_trip(tmp_path: Path) -> None:
    write_table(tmp_path / "a", epoch_table(5))
    assert read_table(tmp_path / "a", EPOCH, "x", "cure").equals(epoch_table(5))
    assert read_table(tmp_path / "a", EPOCH, None, "cure").num_rows == 5


def damaged(path: Path, how: str) -> str:
    write_table(path, epoch_table(2000))
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "flipped bytes in the data":
        path.write_bytes(data[:40] + bytes(b ^ 0xFF for b in data[40:400]) + data[400:])
    elif how == "flipped bytes in the footer":
        path.write_bytes(data[:-60] + bytes(b ^ 0xFF for b in data[-60:-8]) + data[-8:])
    elif how == "text":
        path.write_bytes(b"hello, world" * 9)
    elif how == "other options":
        write_table(path, epoch_table(5, "y"))
    elif how == "other major version":
        write_table(path, epoch_table(5).replace_schema_metadata(metadata(version=b"2.0")))
    elif how == "other table":
        write_table(path, epoch_table(5).replace_schema_metadata(metadata(table=b"chips")))
    elif how == "plain Parquet":
        write_table(path, epoch_table(5).replace_schema_metadata(None))
    elif how == "lost column":
        write_table(path, epoch_table(5).drop_columns(["chip_id"]))
    elif how == "other type":
        position = pa.field("position", pa.int32())
        table = epoch_table(5)
        write_table(path, table.set_column(0, position, table["position"].cast(pa.int32())))
    return how


def metadata(table: bytes = b"epoch", version: bytes = b"1.0") -> dict[bytes, bytes]:
    return {b"chipper.table": table, b"chipper.format": version, b"chipper.belongs_to": b"x"}


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("missing", "is missing"),
        ("folder", ""),
        ("empty", "is damaged"),
        ("cut", "is damaged"),
        ("flipped bytes in the data", "is damaged"),
        ("flipped bytes in the footer", "is damaged"),
        ("text", "is damaged"),
        ("other options", "was made from other inputs or with other options"),
        ("other major version", "has format version 2.0; this chipper reads 1"),
        ("other table", "holds chips, not epoch"),
        ("plain Parquet", "holds no chipper table"),
        ("lost column", "lacks the column chip_id"),
        ("other type", "has position as int32, not int64"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path: Path, how: str, what: str, is_one_line: Callable[..., str]) -> None:
    damaged(tmp_path / "epoch.parquet", how)
    with pytest.raises(WorkdirError) as caught:
        read_table(tmp_path / "epoch.parquet", EPOCH, "x", "run it again")
    message = is_one_line(caught.value)
    assert str(tmp_path / "epoch.parquet") in message
    assert what in message
    assert message.endswith("; run it again")


def test_a_newer_minor_version_is_read(tmp_path: Path) -> None:
    write_table(tmp_path / "a", epoch_table(5).replace_schema_metadata(metadata(version=b"1.9")))
    assert read_table(tmp_path / "a", EPOCH, "x", "").num_rows == 5


# --- reading bytes, fingerprints ---


def test_read_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnnotationError, match="^the list .*a does not exist; look elsewhere$"):
        read_bytes(tmp_path / "a", AnnotationError, "the list", "look elsewhere")
    with pytest.raises(AnnotationError, match="is a folder; look elsewhere"):
        read_bytes(tmp_path, AnnotationError, "the list", "look elsewhere")
    with pytest.raises(AnnotationError, match=r"cannot be read \(.*\); look elsewhere"):
        read_bytes(tmp_path / ("a" * 300), AnnotationError, "the list", "look elsewhere")
    (tmp_path / "a").write_bytes(b"abc")
    assert read_bytes(tmp_path / "a", AnnotationError, "", "") == b"abc"


def test_fingerprint_minds_where_pieces_end() -> None:
    assert fingerprint(b"ab", b"c") != fingerprint(b"a", b"bc") != fingerprint(b"abc")
    assert len(fingerprint()) == 32
