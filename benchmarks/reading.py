"""Samples per second from shards: by offset compared with webdataset, decoded compared with plain decoding; and verify."""

from __future__ import annotations

import io
import multiprocessing
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.sets import coco128_chips
from benchmarks.timing import COCO128, best_of
from chipper.detection.chips import decode_chip
from chipper.detection.loader import ChipLoader, LoaderOptions
from chipper.parallel.workers import Workers
from chipper.shards.epochs import export_epochs
from chipper.shards.export import export_shards
from chipper.shards.options import ExportOptions
from chipper.shards.pool import Pool
from chipper.shards.verify import verify_shards


def bare(jpegs: list[bytes]) -> None:
    """Only decode."""
    for jpeg in jpegs:
        with Image.open(io.BytesIO(jpeg)) as image:
            np.asarray(image)


def scaling_of_bare_decoding(jpegs: list[bytes]) -> float:
    """How much faster two processes decode than one."""
    with multiprocessing.get_context("fork").Pool(2) as pool:
        alone, both = (best_of(lambda n=n: pool.map(bare, [jpegs] * n, chunksize=1), 3) for n in (1, 2))  # type: ignore[misc]
    return 2 * alone / both


def main() -> None:
    warnings.simplefilter("ignore")
    import webdataset

    with tempfile.TemporaryDirectory() as folder:
        workdir = coco128_chips(Path(folder))
        export_shards(workdir, ExportOptions(), image_dir=COCO128 / "images")
        pool = Pool(workdir.shards)
        rows = np.random.default_rng(0).permutation(len(pool)).tolist()
        tars = [str(workdir.shards / f"{name}.tar") for name in pool.set.shards]
        label_of = {category.id: k + 1 for k, category in enumerate(workdir.dataset().categories)}

        offset = best_of(lambda: [pool.read(row) for row in rows], 3)
        stream = best_of(lambda: list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False)), 3)
        data = [pool.read(row) for row in rows]

        jpegs = [jpeg for jpeg, _ in data]
        decoded = best_of(lambda: [decode_chip(*pool.read(row), label_of, pool.set.chip_size) for row in rows], 4)
        limit = best_of(lambda: bare(jpegs), 4)
        scaling = scaling_of_bare_decoding(jpegs)
        started = time.perf_counter()
        verify_shards(workdir.shards, workers=Workers(1))
        verified = time.perf_counter() - started
        receipts = export_epochs(workdir, 1000)

        def batches(workers: int, stream: bool) -> float:
            """Samples per second in the first epoch, after the workers have started."""
            loader = ChipLoader(workdir, LoaderOptions(16, workers, stream=stream))
            best = 0.0
            for _ in range(3):
                found = iter(loader(0))
                for _ in range(4 * workers):  # batches that are ready when all workers have started
                    next(found)
                started, samples = time.perf_counter(), sum(len(batch.chip_ids) for batch in found)
                best = max(best, samples / (time.perf_counter() - started))
            return best

        rates = {(workers, stream): batches(workers, stream) for stream in (False, True) for workers in (1, 2)}
    n, size = len(pool), pool.set.bytes
    print("| one core | samples per second | compared with | ratio |\n|---|---|---|---|")
    theirs = f"webdataset in order: {n / stream:,.0f}"
    print(f"| raw, by offset, in random order | {n / offset:,.0f} | {theirs} | {stream / offset:.1f} x |")
    print(f"| decoded with labels | {n / decoded:,.0f} | plain decoding: {n / limit:,.0f} | {limit / decoded:.0%} |")
    for stream, name in ((False, "the pool by offset"), (True, "an epoch's shards by webdataset")):
        one, two = rates[1, stream], rates[2, stream]
        print(f"| batches of 16 from {name}, two workers | {two:,.0f} | one worker: {one:,.0f} | {two / one:.2f} x |")
    print(f"\nPlain decoding in two processes, compared with one: {scaling:.2f} x (what this machine allows).")
    print(f"verify without --deep: {size / verified / 1e9:.2f} GB/s on one core (from the page cache).")
    more = sum(receipt.bytes for receipt in receipts)
    print(f"pool: {size / 1e6:.1f} MB for all {n} chips; seven epochs in their own shards: {more / 1e6:.1f} MB more.")


if __name__ == "__main__":
    main()
