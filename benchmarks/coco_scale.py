"""build-positives on a COCO-sized file, compared with pycocotools, which only loads it; each in a separate process."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.generated import BUILD, measured, write_coco

LOAD = """
import contextlib, io, sys, time
from pycocotools.coco import COCO
started = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()):
    COCO(sys.argv[1])
print(time.perf_counter() - started)
"""
REPEATS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        coco = Path(folder) / "coco.json"
        write_coco(coco)
        # in turn, so that a slow phase of the machine affects both
        runs = [(measured(LOAD, coco), measured(BUILD, coco, Path(folder) / "chips")) for _ in range(REPEATS)]
        theirs, ours = (min(run[k] for run in runs) for k in (0, 1))
    print("| 118,287 images, 865,683 annotations, 513 MB | seconds | peak memory |\n|---|---|---|")
    print(f"| chipper build-positives, everything, all cores | {ours[0]:.1f} | {ours[1]:.2f} GB |")
    print(f"| pycocotools, only loading the file | {theirs[0]:.1f} | {theirs[1]:.2f} GB |")
    ratios = ", ".join(f"{loaded[0] / built[0]:.1f}" for loaded, built in runs)
    print(f"| ratio (run by run: {ratios}) | {theirs[0] / ours[0]:.1f} x | {theirs[1] / ours[1]:.1f} x |")


if __name__ == "__main__":
    main()
