"""Chips of a large 16-bit GeoTIFF: reading windows with rasterio, compared with decoding the complete file with PIL."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np

from benchmarks.generated import measured

SIDE = 12_000

CHIPS = """
import sys, time
from pathlib import Path
from chipper.images.decoded import open_source
from chipper.images.options import PixelOptions
from chipper.shards.render import render_chip
path, stretch, side = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
pixels = PixelOptions() if stretch == "-" else PixelOptions("3,2,1", stretch)
started = time.perf_counter()
scale = float(sys.argv[4])
with open_source(path, (side, side), finest=scale, pixels=pixels) as source:
    last = round(side * scale) - 512
    for k in range(20):
        render_chip(source, scale, last * k // 19, last * (k * 7 % 20) // 19, (512, 512), 512)
print(time.perf_counter() - started)
"""


def draw(path: Path, overviews: tuple[int, ...] = ()) -> None:
    """Four bands of 16 bits in tiles of 512 px, marked as red, green, blue and one more, so that PIL can read it too."""
    import rasterio

    rng = np.random.default_rng(0)
    profile = {"width": SIDE, "height": SIDE, "count": 4, "dtype": "uint16", "photometric": "RGB"}
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
            found = [measured(CHIPS, path, stretch, str(SIDE), str(scale)) for scale in (1.0, 2048 / SIDE)]  # type: ignore[arg-type]
            rows.append(f"| {name} | {' | '.join(f'{seconds:.1f} s, {peak:.2f} GB' for seconds, peak in found)} |")
    print(f"| {SIDE} x {SIDE} px, four bands of 16 bits | 20 chips at x1 | 20 chips at 2048 px |\n|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
