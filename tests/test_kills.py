"""Exports that are killed, or run out of disk: incomplete shards are never accepted as complete, and nothing is lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import chipper.shards.stripes
from chipper.errors import ShardError
from chipper.manifest.workdir import Workdir
from chipper.parallel.workers import Workers
from chipper.shards.verify import verify_shards

Hashes = Callable[[Path], dict[str, str]]
EASY = {"min_proposals_finest": 5, "min_proposals": 5}


@pytest.fixture
def workdir(own_drawn: Any, tmp_path: Path, build: Callable[..., Workdir], mine: Any) -> Workdir:
    made = build(own_drawn.coco, tmp_path / "chips", image_dir=own_drawn.images)
    mine(made, own_drawn.proposals, **EASY)
    return made


def is_whole(shards: Path) -> bool:
    """Whether verify accepts the folder as a finished export."""
    try:
        return not verify_shards(shards, workers=Workers(1)).faults
    except ShardError:
        return False


def tars(found: dict[str, str]) -> dict[str, str]:
    return {name: hash_ for name, hash_ in found.items() if name.endswith(".tar")}


def command(workdir: Workdir, *options: str) -> list[str]:
    words = [sys.executable, "-m", "chipper.cli.main", "export-shards", "--workdir", str(workdir.path)]
    return [*words, "--jobs", "2", "--chips-per-shard", "3", *options]


def test_killed_at_ten_random_moments(workdir: Workdir, hashes: Hashes) -> None:
    started = time.monotonic()
    assert subprocess.run(command(workdir), check=False, capture_output=True).returncode == 0
    longest = time.monotonic() - started
    wanted, rng, kills = hashes(workdir.shards), random.Random(0), 0
    while kills < 10:
        for path in workdir.shards.iterdir():
            path.unlink()
        while not is_whole(workdir.shards):
            with subprocess.Popen(command(workdir), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                try:
                    process.wait(rng.uniform(0.5, 1) * longest if kills < 10 else None)
                except subprocess.TimeoutExpired:
                    process.kill()
                    kills += 1
        assert tars(hashes(workdir.shards)) == tars(wanted)  # what is called whole is
        assert subprocess.run(command(workdir), check=False, capture_output=True).returncode == 0
        assert hashes(workdir.shards) == wanted


KILLED_AT_EACH_STEP = '''
import contextlib, io, os, shutil, signal, sys
from pathlib import Path
import chipper.storage.files
from chipper.shards.export import export_shards
from chipper.shards.options import ExportOptions
from chipper.shards.verify import verify_shards
from chipper.errors import ShardError
from chipper.manifest.workdir import Workdir
from chipper.parallel.workers import Workers

workdir = Workdir(Path(sys.argv[1]))
steps, fatal = 0, None

def step(half):
    """Count a step; at the fatal one, do half of it and die."""
    global steps
    steps += 1
    if steps == fatal:
        half()
        os.kill(os.getpid(), signal.SIGKILL)

class File(io.FileIO):
    def write(self, data):
        data = bytes(data)
        step(lambda: super(File, self).write(data[: len(data) // 2]))
        return super().write(data)

def patched(function):
    def run(*arguments, **options):
        step(lambda: None)
        return function(*arguments, **options)
    return run

def patch():
    os.fsync, os.replace, os.unlink = map(patched, (os.fsync, os.replace, os.unlink))
    chipper.storage.files.open = lambda path, mode: File(path, mode) if mode == "wb" else open(path, mode)

def forked(work):
    """The exit status of ``work`` in a separate process: 0 or 1 for its result, -9 if it was killed."""
    child = os.fork()
    if child == 0:
        code = 3
        with contextlib.suppress(BaseException):
            code = int(not work())
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def export():
    patch()
    export_shards(workdir, ExportOptions(), workers=Workers(1))
    return True

def counted():
    export()
    (workdir.path / "steps").write_text(str(steps))
    return True

def is_whole():
    try:
        return not verify_shards(workdir.shards, workers=Workers(1)).faults
    except ShardError:
        return False

def contents():
    return {path.name: path.read_bytes() for path in workdir.shards.iterdir()}

def is_true():
    """Whether all files of the complete set exist and are correct."""
    here = contents()
    return all(here.get(name) == data for name, data in wanted.items() if name.endswith((".tar", ".parquet")))

assert forked(counted) == 0
wanted, total = contents(), int((workdir.path / "steps").read_text())
assert forked(is_whole) == 0
for fatal in range(1, total + 1):
    shutil.rmtree(workdir.shards)
    assert forked(export) == -9, f"step {fatal} was not reached"
    assert forked(is_whole) in (0, 1)
    assert forked(is_whole) == 1 or is_true(), f"called whole after a kill at step {fatal}"
    killed_at, fatal = fatal, None
    assert forked(export) == 0, f"the export after a kill at step {killed_at} fails"
    assert contents() == wanted, f"other files after a kill at step {killed_at}"
    assert forked(is_whole) == 0
    fatal = killed_at
print(total, *sorted(wanted))
'''


def test_killed_at_every_write_sync_rename_and_removal(
    own_drawn: Any, tmp_path: Path, build: Callable[..., Workdir]
) -> None:
    workdir = build(own_drawn.coco, tmp_path / "chips", image_dir=own_drawn.images, scales="512", valid_ranges=":")
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EACH_STEP, str(workdir.path)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    steps, *files = done.stdout.split()
    assert len(files) == 6  # three of the shard, and the set's list, index and errors
    assert int(steps) >= 4 * len(files)  # a write, a sync, a rename and a sync of the folder for each


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("mounting a small file system needs a superuser")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def run_one_line(words: list[str]) -> tuple[int, str]:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    assert "Traceback" not in done.stderr
    return done.returncode, last


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_space_left(workdir: Workdir, small_disk: Path, hashes: Hashes, tmp_path: Path, jobs: int) -> None:
    words = [*command(workdir, "--shards", str(small_disk / "shards")), "--jobs", str(jobs)]
    code, message = run_one_line(words)
    assert code == 1
    assert "no space is left on that disk; free some space and run the same command again" in message
    assert not is_whole(small_disk / "shards")
    if jobs == 1:  # another worker may be stopped in the middle of its file, which the next run sweeps away
        assert not list((small_disk / "shards").glob(".*partial"))
    remount(small_disk, "size=20m")
    assert run_one_line(words)[0] == 0
    assert run_one_line(command(workdir, "--shards", str(tmp_path / "shards")))[0] == 0
    assert hashes(small_disk / "shards") == hashes(tmp_path / "shards")


def test_a_read_only_target(workdir: Workdir, small_disk: Path) -> None:
    words = command(workdir, "--shards", str(small_disk / "shards"))
    remount(small_disk, "size=20m,ro")
    code, message = run_one_line(words)
    assert code == 1
    assert "is read-only" in message
    remount(small_disk, "size=20m,rw")
    assert run_one_line(words)[0] == 0
    assert is_whole(small_disk / "shards")
    remount(small_disk, "size=20m,ro")
    assert is_whole(small_disk / "shards")
    code, message = run_one_line([*words, "--quality", "70"])
    assert code == 1
    assert "is read-only" in message
    assert is_whole(small_disk / "shards")  # the old one
    remount(small_disk, "size=20m,rw")
    tar = min((small_disk / "shards").glob("*.tar"))
    tar.write_bytes(tar.read_bytes().replace(b"image_id", b"image-id"))
    remount(small_disk, "size=20m,ro")
    verify = [*words[:3], "verify", "--repair", "--workdir", str(workdir.path), "--shards", str(small_disk / "shards")]
    done = subprocess.run(verify, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        f"{tar}: its bytes have changed since it was written; its receipt cannot be removed"
        in done.stdout + done.stderr
    )


@pytest.mark.parametrize("how", ["another in its place", "of another size", "written over", "removed"])
def test_a_source_image_replaced_while_the_export_runs(
    own_drawn: Any, workdir: Workdir, export: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """An image that is replaced atomically is fine; one that is overwritten while it is read, or does not fit, is an error."""
    victim = own_drawn.images / own_drawn.names[2]
    with Image.open(victim) as image:
        size, kind = image.size, image.format
    opened, seen = chipper.shards.stripes.open_source, []

    def other(path: Path, width: int, height: int) -> None:
        Image.new("RGB", (width, height), (10, 200, 30)).save(path, kind)

    def disturbed(path: Path, *rest: Any) -> Any:
        if path != victim:
            return opened(path, *rest)
        seen.append(path)
        if how == "removed":
            victim.unlink()
        elif how == "of another size":
            other(victim, size[0] + 1, size[1])
        elif how == "another in its place":
            other(victim.with_suffix(".new"), *size)
            os.replace(victim.with_suffix(".new"), victim)
        else:
            before = chipper.images.decoded._draft

            def written(image: Any, finest: float) -> int:
                with open(victim, "r+b") as file:
                    file.write(b"\xff\xd8")
                os.utime(victim, ns=(1, 1))
                return before(image, finest)

            with monkeypatch.context() as patch:
                patch.setattr(chipper.images.decoded, "_draft", written)
                return opened(path, *rest)
        return opened(path, *rest)

    monkeypatch.setattr(chipper.shards.stripes, "open_source", disturbed)
    exported = export(workdir)
    assert seen
    faults = {fault.error for _, fault in exported.faults}
    expected = {
        "another in its place": set(),
        "of another size": {f"the file is {size[0] + 1}x{size[1]} px, the annotations say {size[0]}x{size[1]}"},
        "written over": {"the file was written to while it was read"},
        "removed": {"the file does not exist"},
    }
    assert faults == expected[how]
    assert {fault.file_name for _, fault in exported.faults} <= {own_drawn.names[2]}
    assert is_whole(workdir.shards)


def test_interrupted_by_the_keyboard_and_run_again(workdir: Workdir, hashes: Hashes) -> None:
    assert run_one_line(command(workdir))[0] == 0
    wanted = hashes(workdir.shards)
    for path in workdir.shards.iterdir():
        path.unlink()
    with subprocess.Popen(command(workdir), stderr=subprocess.PIPE, text=True) as process:
        while not list(workdir.shards.glob("*.done.json")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        errors = process.communicate()[1]
    assert "Traceback" not in errors
    assert run_one_line(command(workdir))[0] == 0
    assert hashes(workdir.shards) == wanted
