"""A large 16-bit GeoTIFF: chips by windows through rasterio against decoding all of it with PIL."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np

from benchmarks.generated import measured
from benchmarks.timing import SHARED  # noqa: F401, benchmarks run beside the sample data

SIDE = 12_000

CHIPS = """
import sys, time
from pathlib import Path
from chipper.images import open_source
from chipper.options import PixelOptions
from chipper.render import render_chip
path, stretch, side = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
pixels = PixelOptions() if stretch == "-" else PixelOptions("3,2,1", stretch)
started = time.perf_counter()
for scale in sys.argv[4].split(","):
    with open_source(path, (side, side), finest=float(scale), pixels=pixels) as source:
        last = int(side * float(scale)) - 512
        for k in range(20):
            at = 512 * k if 512 * k <= last else last
            render_chip(source, float(scale), at, at, (512, 512), 512)
print(time.perf_counter() - started)
"""


def draw(path: Path, overviews: tuple[int, ...] = ()) -> None:
    """Four bands of 16 bits, smooth with noise, in compressed tiles of 512 px."""
    import rasterio

    rng = np.random.default_rng(0)
    profile = {"width": SIDE, "height": SIDE, "count": 4, "dtype": "uint16", "compress": "deflate", "zlevel": 1}
    with rasterio.open(path, "w", driver="GTiff", tiled=True, blockxsize=512, blockysize=512, **profile) as out:
        tile = (np.add.outer(np.arange(512), np.arange(512)) + rng.integers(0, 64, (4, 512, 512))).astype(np.uint16)
        for top in range(0, SIDE, 512):
            for left in range(0, SIDE, 512):
                height, width = min(512, SIDE - top), min(512, SIDE - left)
                window = ((top, top + height), (left, left + width))
                out.write(tile[:, :height, :width] + np.uint16((top + left) // 8), window=window)
    if overviews:
        with rasterio.open(path, "r+") as out:
            out.build_overviews(list(overviews), rasterio.enums.Resampling.average)


def main() -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        plain, pyramid = Path(folder) / "plain.tif", Path(folder) / "overviews.tif"
        draw(plain)
        draw(pyramid, (2, 4, 8, 16))
        rows = []
        for name, path, stretch in (
            ("PIL, all of it at once, high bytes", plain, "-"),
            ("windows, high bytes", plain, "none"),
            ("windows, `--stretch 2-98`", plain, "2-98"),
            ("the same, overviews in the file", pyramid, "2-98"),
        ):
            fine = measured(CHIPS, path, stretch, str(SIDE), "1.0")  # type: ignore[arg-type]
            coarse = measured(CHIPS, path, stretch, str(SIDE), str(1024 / SIDE))  # type: ignore[arg-type]
            rows.append(f"| {name} | {fine[0]:.1f} s, {fine[1]:.2f} GB | {coarse[0]:.1f} s, {coarse[1]:.2f} GB |")
    print(f"| {SIDE} x {SIDE} px, four bands of 16 bits | 20 chips at x1 | 20 chips at 1024 px |\n|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
