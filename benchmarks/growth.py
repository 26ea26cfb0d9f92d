"""Cost per image from a thousand images to a million: build-positives, and mine-negatives with 100 proposals an image."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.generated import BUILD, MINE, measured, write_coco, write_proposals
from chipper.coco import read_images

SIZES = (1_000, 10_000, 100_000, 1_000_000)
START = """
import chipper.build, chipper.mine
print(0)
"""


def main() -> None:
    _, empty = measured(START)
    print("| images | build-positives | per image | peak memory | mine-negatives | per image | peak memory |")
    print("|---|---|---|---|---|---|---|")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            coco, proposals, workdir = (Path(folder) / name for name in ("coco.json", "rpn.parquet", "chips"))
            write_coco(coco, size)
            built, held = measured(BUILD, coco, workdir)
            write_proposals(proposals, read_images(coco), 100)
            mined, streamed = measured(MINE, workdir, proposals)
        print(
            f"| {size:,} | {built:.2f} s | {built / size * 1e6:.0f} us | {held:.2f} GB "
            f"| {mined:.2f} s | {mined / size * 1e6:.0f} us | {streamed:.2f} GB |",
            flush=True,
        )
    print(f"\nA process that has only imported chipper holds {empty:.2f} GB.")


if __name__ == "__main__":
    main()
