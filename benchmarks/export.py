"""Rendering against the codec's limit: one JPEG decode an image and one encode a chip, nothing else."""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path

from PIL import Image

from benchmarks.timing import COCO128
from chipper.build import build_positives
from chipper.export import export_shards, render_shard
from chipper.mine import mine_workdir
from chipper.options import ExportOptions, NegativeOptions, PositiveOptions
from chipper.pool import Pool
from chipper.progress import Monitor
from chipper.shard_plan import plan_shards
from chipper.workdir import Workdir
from chipper.workers import Workers


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        workdir = Workdir(Path(folder) / "chips")
        build_positives(
            COCO128 / "instances.json", workdir, PositiveOptions.parse(), None, False, Workers(1), Monitor()
        )
        mine_workdir(workdir, COCO128 / "proposals.pkl", NegativeOptions(), Workers(1), Monitor())
        options = ExportOptions(chips_per_shard=10_000)
        plans = plan_shards(workdir, workdir.dataset(), 10_000, options.render)

        def ours() -> float:
            started = time.process_time()
            for plan in plans:
                render_shard(
                    workdir.path, workdir.shards, workdir.dataset().epochs_id, COCO128 / "images", plan, options
                )
            return time.process_time() - started

        seconds = min(ours(), ours())
        export_shards(workdir, options, COCO128 / "images", Workers(1), Monitor())
        pool = Pool(workdir.shards)
        chips = [Image.open(io.BytesIO(pool.read(k)[0])).convert("RGB") for k in range(len(pool))]
        images = sorted((COCO128 / "images").iterdir())
        decodes = len(plans) * len(images)  # one for each kind of shard

        def codec() -> float:
            started = time.process_time()
            for k in range(decodes):
                with Image.open(images[k % len(images)]) as image:
                    image.convert("RGB")
            for chip in chips:
                chip.save(io.BytesIO(), "JPEG", quality=90, subsampling="4:2:0")
            return time.process_time() - started

        limit = min(codec(), codec())
        size = sum(path.stat().st_size for path in workdir.shards.glob("*.tar"))
    print("| export of coco128's positive and negative chips, one core | |\n|---|---|")
    print(f"| chips | {len(chips)} |")
    print(f"| CPU per chip | {seconds / len(chips) * 1e3:.2f} ms |")
    print(f"| the codec alone | {limit / len(chips) * 1e3:.2f} ms |")
    print(f"| share of the codec's speed | {limit / seconds:.0%} |")
    print(f"| bytes per chip | {size / len(chips) / 1e3:.1f} kB |")


if __name__ == "__main__":
    main()
