"""Kill the exporter at random moments, run it again, and compare the result with that of an undisturbed run."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.sets import coco128_chips
from benchmarks.timing import COCO128
from chipper.errors import ShardError
from chipper.parallel.workers import Workers
from chipper.shards.verify import verify_shards

KILLS = 100


def export(workdir: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "chipper.cli.main", "export-shards", "--workdir", str(workdir), "--jobs", "2"]
    command += ["--image-dir", str(COCO128 / "images"), "--chips-per-shard", "100"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def complete(folder: Path) -> bool:
    """Whether verify accepts the folder as a complete set."""
    try:
        return not verify_shards(folder, workers=Workers(1)).faults
    except ShardError:
        return False


def main() -> None:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        workdir = coco128_chips(Path(folder))
        started = time.perf_counter()
        assert export(workdir.path).wait() == 0
        longest = time.perf_counter() - started
        wanted = hashes(workdir.shards)

        kills = runs = wrong = lies = 0
        while kills < KILLS:
            for path in workdir.shards.iterdir():
                path.unlink()
            while True:
                runs += 1
                process = export(workdir.path)
                try:
                    process.wait(rng.uniform(0.2, longest) if kills < KILLS else None)
                    break
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    kills += 1
                time.sleep(0.2)  # its workers end when they notice that it is gone
                if complete(workdir.shards):
                    here = hashes(workdir.shards)
                    lies += any(here.get(name) != hash_ for name, hash_ in wanted.items() if name.endswith(".tar"))
            wrong += hashes(workdir.shards) != wanted
            lies += not complete(workdir.shards)
    print(
        f"{kills} kills in {runs} runs of {len(wanted)} files; sets that differ from the undisturbed one: {wrong}; "
        f"sets that verify judged wrongly (complete or not): {lies}"
    )


if __name__ == "__main__":
    main()
