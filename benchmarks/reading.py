"""Samples a second out of shards: by offset against webdataset's pipeline, decoded against bare decoding, and verify."""

from __future__ import annotations

import io
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.timing import COCO128, best_of
from chipper.build import build_positives
from chipper.detection.loader import decode_chip
from chipper.epoch_shards import export_epochs
from chipper.export import export_shards
from chipper.mine import mine_workdir
from chipper.options import ExportOptions, NegativeOptions, PositiveOptions
from chipper.pool import Pool
from chipper.progress import Monitor
from chipper.verify import verify_shards
from chipper.workdir import Workdir
from chipper.workers import Workers


def main() -> None:
    warnings.simplefilter("ignore")
    import webdataset

    with tempfile.TemporaryDirectory() as folder:
        workdir = Workdir(Path(folder) / "chips")
        build_positives(
            COCO128 / "instances.json", workdir, PositiveOptions.parse(), None, False, Workers(1), Monitor()
        )
        mine_workdir(workdir, COCO128 / "proposals.pkl", NegativeOptions(), Workers(1), Monitor())
        export_shards(workdir, ExportOptions(), COCO128 / "images", Workers(), Monitor())
        pool = Pool(workdir.shards)
        rows = np.random.default_rng(0).permutation(len(pool)).tolist()
        tars = [str(workdir.shards / f"{name}.tar") for name in pool.set.shards]
        label_of = {category.id: k + 1 for k, category in enumerate(workdir.dataset().categories)}

        offset = best_of(lambda: [pool.read(row) for row in rows], 3)
        stream = best_of(lambda: list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False)), 3)
        data = [pool.read(row) for row in rows]

        def bare() -> None:
            for jpeg, _ in data:
                with Image.open(io.BytesIO(jpeg)) as image:
                    np.asarray(image)

        decoded = best_of(lambda: [decode_chip(*pool.read(row), label_of) for row in rows], 4)
        limit = best_of(bare, 4)
        started = time.perf_counter()
        verify_shards(workdir.shards, False, Workers(1), Monitor())
        verified = time.perf_counter() - started
        receipts = export_epochs(workdir, 1000, Workers(), Monitor())
    n, size = len(pool), pool.set.bytes
    print("| one core | samples a second | compared with | ratio |\n|---|---|---|---|")
    theirs = f"webdataset in order: {n / stream:,.0f}"
    print(f"| raw, by offset, in random order | {n / offset:,.0f} | {theirs} | {stream / offset:.1f} x |")
    print(f"| decoded with labels | {n / decoded:,.0f} | bare decoding: {n / limit:,.0f} | {limit / decoded:.0%} |")
    print(f"\nverify without --deep: {size / verified / 1e9:.2f} GB/s on one core (from the page cache).")
    more = sum(receipt.bytes for receipt in receipts)
    print(f"pool: {size / 1e6:.1f} MB for all {n} chips; seven epochs in their own shards: {more / 1e6:.1f} MB more.")


if __name__ == "__main__":
    main()
