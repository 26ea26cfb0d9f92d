"""The folders that cases start from: a small drawn data set, and what each command makes of it.

empty       nothing
data        coco.json, images/ (four JPEGs), rpn.pkl
built       and chips/ by build-positives
mined       and its negatives
exported    and its shards
trained     and a run of one step in chips/runs/detector, and detections.json
"""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from .case import run

SIZES = ((200, 150), (96, 64), (150, 201), (128, 128))
BUILD = (
    "build-positives coco.json --chip-size 64 --scales 128,1,2 --valid-ranges 40:,12:60,:30 --epochs 2 --jobs 1 --masks"
)
STAGES = {
    "empty": (),
    "data": (),
    "built": (BUILD,),
    "mined": ("mine-negatives --proposals rpn.pkl --min-proposals 3 3 --jobs 1",),
    "exported": ("export-shards --chips-per-shard 10 --jobs 1",),
    "trained": (
        "train --model tiny --max-steps 1 --batch-size 2 --device cpu",
        "predict coco.json --device cpu --score-floor 0.3",
    ),
}
"""Each stage continues from the one before it."""


def prepare(folder: Path) -> dict[str, Path]:
    """Make every stage below ``folder``."""
    made: dict[str, Path] = {}
    last = None
    for name, lines in STAGES.items():
        made[name] = place = folder / name
        if name in ("empty", "data"):
            place.mkdir(parents=True)
        else:
            shutil.copytree(made[last or "data"], place)
        if name == "data":
            draw(place)
        for line in lines:
            outcome = run(place, line)
            assert outcome.code == 0, f"{line}: {outcome.err}"
        last = name
    return made


def draw(folder: Path) -> None:
    """Four images with boxes, polygons, a crowd with an RLE and keypoints; the last image is empty."""
    rng = np.random.default_rng(3)
    images, annotations, proposals = [], [], []
    (folder / "images").mkdir()
    for number, (width, height) in enumerate(SIZES):
        picture = Image.fromarray(rng.integers(60, 190, (5, 7, 3)).astype(np.uint8)).resize((width, height))
        draw_on = ImageDraw.Draw(picture)
        for k in range(5 if number < 3 else 0):
            side = int(rng.integers(10, 50))
            x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
            draw_on.rectangle((x, y, x + side, y + side), fill=(250, 20 * k, 0))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 10 * number + 1,
                    "category_id": (3, 7)[k % 2],
                    "bbox": [x, y, side, side],
                    "area": side * side,
                    "iscrowd": 0,
                    "segmentation": [[x, y, x + side, y, x + side, y + side, x, y + side]],
                    "keypoints": [x, y, 2, x + side, y + side, 1],
                    "num_keypoints": 2,
                }
            )
        name = f"{number}.jpg"
        picture.save(folder / "images" / name, quality=90)
        images.append({"id": 10 * number + 1, "file_name": name, "width": width, "height": height})
        size = np.array([width, height])
        corner = rng.uniform(0, 0.6 * size, (60, 2))
        boxes = np.concatenate([corner, np.minimum(corner + rng.uniform(6, 20, (60, 2)), size)], axis=1)
        proposals.append(np.concatenate([boxes, rng.random((60, 1))], axis=1).astype(np.float32))
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 3, "name": "square"}, {"id": 7, "name": "block"}],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    (folder / "rpn.pkl").write_bytes(pickle.dumps(proposals, protocol=2))
