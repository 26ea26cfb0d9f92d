"""Cost per image from a thousand images to a million: build-positives, and mine-negatives with 100 proposals per image.

The time for a hundred images is mostly the start of the process; it is subtracted from the cost per image.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.generated import BUILD, MINE, measured, write_coco, write_proposals
from chipper.coco.reading import read_images

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)


def run(size: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Seconds and peak GB of build-positives and of mine-negatives."""
    with tempfile.TemporaryDirectory() as folder:
        coco, proposals, workdir = (Path(folder) / name for name in ("coco.json", "rpn.parquet", "chips"))
        write_coco(coco, size)
        built = measured(BUILD, coco, workdir)
        write_proposals(proposals, read_images(coco), 100)
        return built, measured(MINE, workdir, proposals)


def main() -> None:
    print("| images | build-positives | per image | peak memory | mine-negatives | per image | peak memory |")
    print("|---|---|---|---|---|---|---|")
    run(SIZES[0])  # compiles the kernels if they are not cached yet
    start = run(SIZES[0])
    for size in SIZES:
        found = run(size)
        cells = [f"{size:,}"]
        for (seconds, peak), (first, _) in zip(found, start, strict=True):
            each = f"{(seconds - first) / size * 1e6:.0f} us" if size > SIZES[0] else "(start)"
            cells += [f"{seconds:.2f} s", each, f"{peak:.2f} GB"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
