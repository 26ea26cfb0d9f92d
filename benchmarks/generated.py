"""Large inputs for the benchmarks, drawn from 128 real COCO images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.timing import COCO128, SHARED
from chipper.coco.reading import read_images
from chipper.columns import Images
from chipper.proposals import safe_pickle
from chipper.schemas import PROPOSALS

COCO_IMAGES = 118_287  # of train2017

BUILD = """
import sys, time
from pathlib import Path
from chipper.manifest.build_positives import build_positives
from chipper.mining.options import PositiveOptions
from chipper.manifest.workdir import Workdir
started = time.perf_counter()
build_positives(Path(sys.argv[1]), Workdir(Path(sys.argv[2])), PositiveOptions.parse(), overwrite=True)
print(time.perf_counter() - started)
"""
MINE = """
import sys, time
from pathlib import Path
from chipper.manifest.mine_negatives import mine_negatives
from chipper.manifest.workdir import Workdir
started = time.perf_counter()
mine_negatives(Workdir(Path(sys.argv[1])), Path(sys.argv[2]))
print(time.perf_counter() - started)
"""


# not ru_maxrss: a child process inherits it from its parent
PEAK = """
with open("/proc/self/status") as status:
    print(int(status.read().split("VmHWM:")[1].split()[0]) / 1e6)
"""


def measured(code: str, *arguments: Path) -> tuple[float, float]:
    """Run ``code`` in a separate process: the seconds that it prints, and its peak memory in GB."""
    command = [sys.executable, "-c", code + PEAK, *map(str, arguments)]
    seconds, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(peak)


def write_coco(path: Path, images: int = COCO_IMAGES) -> None:
    """Write a COCO file with this many images; each is one of the 128 with a new id."""
    tool = SHARED / "tools" / "make_coco_scale.py"
    command = [sys.executable, tool, COCO128 / "instances.json", path, "--images", str(images)]
    subprocess.run(command, check=True, capture_output=True)


def write_proposals(path: Path, images: Images, each: int = 900) -> None:
    """Write proposals for ``images`` as Parquet: those of one of the 128 images, scaled to the image size and jittered."""
    source = read_images(COCO128 / "instances.json")
    arrays = safe_pickle.load((COCO128 / "proposals.pkl").read_bytes(), "proposals.pkl")
    rng = np.random.default_rng(0)
    bank = np.empty((len(source), each, 5))
    for k, array in enumerate(arrays):
        rows = np.concatenate([np.arange(len(array)), rng.integers(0, len(array), each)])[:each]
        bank[k] = array[rows]
        bank[k, :, :4] /= np.tile([source.width[k], source.height[k]], 2)
    schema = PROPOSALS.arrow_schema("")
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        for start in range(0, len(images), 1000):
            some = images[start : start + 1000]
            size = np.stack([some.width, some.height] * 2, axis=1)[:, None, :]
            box = bank[rng.integers(0, len(source), len(some))]
            box[..., :4] = np.clip(box[..., :4] * size + rng.normal(0, 2, (len(some), each, 4)), 0, size)
            box[..., 2:4] = np.maximum(box[..., 2:4], box[..., :2] + 1)
            columns = box.reshape(-1, 5).astype(np.float32).T
            arrays = [np.repeat(some.image_id, each), *map(np.ascontiguousarray, columns)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=1 << 17)
