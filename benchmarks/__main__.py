"""Run every benchmark, or those named: ``python -m benchmarks cover export``."""

from __future__ import annotations

import importlib
import sys

from benchmarks.timing import COCO128

ALL = ("cover", "placement", "coco_scale", "negatives", "growth", "export", "mosaics", "raster", "reading", "kills")


def main() -> None:
    if not COCO128.is_dir():
        sys.exit(f"the benchmarks need the 128 COCO images in {COCO128}")
    for name in sys.argv[1:] or ALL:
        importlib.import_module(f"benchmarks.{name}").main()
        print()


if __name__ == "__main__":
    main()
