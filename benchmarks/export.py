"""Rendering compared with the limit of the codec (one JPEG decode per image, one encode per chip), and on two processes."""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from pathlib import Path

from PIL import Image

from benchmarks.sets import coco128_again_and_again, coco128_chips
from benchmarks.timing import COCO128
from chipper.manifest.workdir import Workdir
from chipper.parallel.workers import Workers
from chipper.shards.export import export_shards, render_stripe
from chipper.shards.options import ExportOptions
from chipper.shards.planning import plan_shards
from chipper.shards.pool import Pool


def rendering(workdir: Workdir, images: Path, most: int) -> float:
    """CPU seconds of this process to render all chips and write the shards."""
    options = ExportOptions(chips_per_shard=most)
    manifest = workdir.open()
    plans = plan_shards(manifest, most, options.render)
    started = time.process_time()
    render_stripe(workdir.path, workdir.shards, manifest.dataset.epochs_id, images, plans, options)
    return time.process_time() - started


def codec(images: list[Path], chips: list[Image.Image]) -> float:
    """CPU seconds to decode the images once and encode the chips."""
    started = time.process_time()
    for path in images:
        with Image.open(path) as image:
            image.load()
    for chip in chips:
        chip.save(io.BytesIO(), "JPEG", quality=90, subsampling="4:2:0")
    return time.process_time() - started


def chips_of(workdir: Workdir) -> list[Image.Image]:
    """All chips of a finished export."""
    pool = Pool(workdir.shards)
    return [Image.open(io.BytesIO(pool.read(k)[0])).convert("RGB") for k in range(len(pool))]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        workdir, larger = coco128_chips(Path(folder)), coco128_again_and_again(Path(folder), 8)

        def exported(jobs: int) -> float:
            shutil.rmtree(larger.shards, ignore_errors=True)
            started = time.perf_counter()
            export_shards(
                larger, ExportOptions(chips_per_shard=100), image_dir=COCO128 / "images", workers=Workers(jobs)
            )
            return time.perf_counter() - started

        exported(2)  # starts the processes
        one, two = (min(times) for times in zip(*[(exported(1), exported(2)) for _ in range(4)], strict=True))
        export_shards(workdir, ExportOptions(chips_per_shard=10_000), image_dir=COCO128 / "images", workers=Workers(1))
        chips, images = chips_of(workdir), sorted((COCO128 / "images").iterdir())
        size = sum(path.stat().st_size for path in workdir.shards.glob("*.tar"))
        pairs = [(rendering(workdir, COCO128 / "images", 10_000), codec(images, chips)) for _ in range(4)]
        seconds, limit = (min(times) for times in zip(*pairs, strict=True))
    print("| export of coco128's positive and negative chips | |\n|---|---|")
    print(f"| chips | {len(chips)} |")
    print(f"| CPU per chip | {seconds / len(chips) * 1e3:.2f} ms |")
    print(f"| the codec alone (one decode per image, one encode per chip) | {limit / len(chips) * 1e3:.2f} ms |")
    print(f"| share of the codec's speed | {limit / seconds:.0%} |")
    print(f"| bytes per chip | {size / len(chips) / 1e3:.1f} kB |")
    print(f"| eight times the positives, one process and two | {one:.2f} s, {two:.2f} s: {one / two:.2f} x |")


if __name__ == "__main__":
    main()
