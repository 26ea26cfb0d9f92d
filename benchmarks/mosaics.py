"""Chips from images of 3840 x 3840 px: chipper compared with the limit of the codec, OpenCV and SAHI.

OpenCV and SAHI are measured if ``CHIPPER_PEERS`` is the Python of an environment that has them:
``python -m venv peers && peers/bin/pip install sahi opencv-python-headless`` and ``CHIPPER_PEERS=peers/bin/python``.
"""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
from pathlib import Path

from benchmarks.export import chips_of, codec, rendering
from benchmarks.sets import mosaics
from chipper.manifest.build_positives import build_positives
from chipper.manifest.workdir import Workdir
from chipper.mining.options import PositiveOptions
from chipper.parallel.workers import Workers
from chipper.shards.export import export_shards
from chipper.shards.options import ExportOptions

OPENCV = """
import sys, pathlib, cv2
cv2.setNumThreads(1)
images, out = map(pathlib.Path, sys.argv[1:])
for path in sorted(images.iterdir()):
    image = cv2.imread(str(path))
    for y in [*range(0, image.shape[0] - 512, 410), image.shape[0] - 512]:
        for x in [*range(0, image.shape[1] - 512, 410), image.shape[1] - 512]:
            name = str(out / f"{path.stem}_{x}_{y}.jpg")
            cv2.imwrite(name, image[y : y + 512, x : x + 512], [cv2.IMWRITE_JPEG_QUALITY, 90])
"""
SAHI = """
import sys
from sahi.scripts.slice_coco import slicer
slicer(image_dir=sys.argv[1], dataset_json_path=sys.argv[2], slice_size=512, overlap_ratio=0.2, output_dir=sys.argv[3])
"""


def cpu_of_child(words: list[str]) -> float:
    """CPU seconds of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        coco = mosaics(folder / "set")
        images = folder / "set" / "images"
        print("| 8 mosaics of 3840 x 3840 px | chips | CPU per chip | of the codec's limit |\n|---|---|---|---|")
        for scales, ranges in (("1", ":"), ("0.5,1,2", "120:,32:150,:80")):
            workdir = Workdir(folder / scales)
            options = PositiveOptions.parse(scales=scales, valid_ranges=ranges)
            build_positives(coco, workdir, options, workers=Workers(1))
            export_shards(workdir, ExportOptions(), image_dir=images, workers=Workers(1))
            chips = chips_of(workdir)
            pairs = [(rendering(workdir, images, 10_000), codec(sorted(images.iterdir()), chips)) for _ in range(3)]
            seconds, limit = (min(times) * 1e3 / len(chips) for times in zip(*pairs, strict=True))
            print(
                f"| chipper, scales {scales} | {len(chips)} | {seconds:.2f} ms | {seconds / limit:.2f} x |", flush=True
            )
        peers = os.environ.get("CHIPPER_PEERS")
        if peers is None:
            print("\nOpenCV and SAHI are left out: CHIPPER_PEERS is not a Python that has them.")
            return
        opencv, sahi = folder / "opencv", folder / "sahi"
        opencv.mkdir()
        start = cpu_of_child([peers, "-c", "import cv2"])
        seconds = cpu_of_child([peers, "-c", OPENCV, str(images), str(opencv)]) - start
        slices = len(list(opencv.iterdir()))
        print(f"| OpenCV: decode once, crop, write | {slices} | {seconds / slices * 1e3:.2f} ms | |", flush=True)
        start = cpu_of_child([peers, "-c", "import sahi.scripts.slice_coco"])
        seconds = cpu_of_child([peers, "-c", SAHI, str(images), str(coco), str(sahi)]) - start
        slices = len([path for path in sahi.rglob("*") if path.suffix in (".jpg", ".png")])
        print(f"| SAHI: its `coco slice` | {slices} | {seconds / slices * 1e3:.2f} ms | |")


if __name__ == "__main__":
    main()
