"""The lock of a workdir and of shards outside it; links and pipes at the names of files that are written in place."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chipper.cli.run_log import RunLog
from chipper.detection.metrics import MetricsWriter
from chipper.errors import ChipperError, StorageError, WorkdirError
from chipper.storage.files import sync_directory
from chipper.storage.journal import Journal
from chipper.storage.lock import locked

HOLDER = """
import sys, time
from pathlib import Path
from chipper.storage.lock import locked
with locked(Path(sys.argv[1]), "export-shards"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_second_writer_is_refused_with_the_holder_named(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    workdir = tmp_path / "chips"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(workdir)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(WorkdirError) as caught, locked(workdir, "build-positives"):
            pass
        process.kill()
    message = is_one_line(caught.value)
    assert f"{workdir} is in use by chipper export-shards (process {process.pid})" in message
    assert "wait for it to end, or give another workdir" in message
    with locked(workdir, "build-positives"):  # the dead let go
        assert "build-positives" in (workdir / ".lock").read_text()


def test_the_lock_is_let_go_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), locked(tmp_path, "a"):
        raise ValueError("no")
    started = time.monotonic()
    with locked(tmp_path, "b"):
        assert (tmp_path / ".lock").read_text() == f"chipper b (process {os.getpid()})\n"
    assert time.monotonic() - started < 1


def test_a_workdir_that_is_a_file(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    (tmp_path / "chips").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write") as caught, locked(tmp_path / "chips", "a"):
        pass
    is_one_line(caught.value)


def test_shards_outside_the_workdir_have_a_lock_too(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    shards = tmp_path / "shards"
    with locked(tmp_path / "a", "export-shards", shards):
        with pytest.raises(WorkdirError) as caught, locked(tmp_path / "b", "export-shards", shards):
            pass
        assert f"{shards} is in use by chipper export-shards" in is_one_line(caught.value)
        assert "give another shards" in str(caught.value)
    inside = tmp_path / "a" / "shards"
    with locked(tmp_path / "a", "export-shards", inside):
        assert not inside.exists()


# --- names that chipper writes to in place ---


def _lock(folder: Path) -> None:
    with locked(folder, "a"):
        pass


def _journal(folder: Path) -> None:
    with Journal(folder / "out.json.partial", "x") as journal:
        journal.add(1, [])


def _metrics(folder: Path) -> None:
    with MetricsWriter(folder, after_step=1, tensorboard=False):
        pass


WRITTEN = {".lock": _lock, "out.json.partial": _journal, "metrics.jsonl": _metrics}


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("how", ["link", "link to nothing", "pipe"])
def test_links_and_pipes_are_not_written_to(
    tmp_path: Path, name: str, how: str, is_one_line: Callable[..., str]
) -> None:
    mine = tmp_path / "thesis.txt"
    folder = tmp_path / "chips"
    folder.mkdir()
    if how == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to(mine)
    if how == "link":
        mine.write_text("")
    if name == "metrics.jsonl" and how != "pipe":  # is read, and written anew beside it
        WRITTEN[name](folder)
        assert not (folder / name).is_symlink()
    else:
        with pytest.raises(ChipperError) as caught:
            WRITTEN[name](folder)
        assert name in is_one_line(caught.value)
    assert mine.exists() == (how == "link")
    assert not mine.exists() or mine.read_text() == ""


def test_a_file_of_others_with_the_name_of_the_lock_stays(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    (tmp_path / ".lock").write_text("years of work")
    with pytest.raises(WorkdirError, match="not written by chipper") as caught, locked(tmp_path, "a"):
        pass
    is_one_line(caught.value)
    assert (tmp_path / ".lock").read_text() == "years of work"


def test_a_log_is_the_users_alone(tmp_path: Path) -> None:
    log = RunLog(tmp_path, "a")
    log.write("said")
    assert log.path is not None
    assert log.path.stat().st_mode & 0o777 == 0o600
    log.close()


# --- file systems that lack something ---


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_without_locks_a_file_tells_that_somebody_writes(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, is_one_line: Callable[..., str]
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path, "export-shards"):
        with pytest.raises(WorkdirError) as caught, locked(tmp_path, "build-positives"):
            pass
        held = tmp_path / ".lock-held"
        assert f"in use by chipper export-shards (process {os.getpid()}) on " in is_one_line(caught.value)
        assert f"if that process was killed, remove {held}" in str(caught.value)
    assert not held.exists()
    with locked(tmp_path, "build-positives"):
        pass
    mine = tmp_path / "thesis.txt"
    held.symlink_to(mine)
    with pytest.raises(StorageError, match="symbolic link"), locked(tmp_path, "build-positives"):
        pass
    assert not mine.exists()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_folder_that_cannot_be_synced(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            sync_directory(tmp_path)
    else:
        sync_directory(tmp_path)
