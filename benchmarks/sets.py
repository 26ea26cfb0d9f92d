"""Data that several benchmarks measure on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.timing import COCO128
from chipper.manifest.build_positives import build_positives
from chipper.manifest.mine_negatives import mine_negatives
from chipper.manifest.workdir import Workdir
from chipper.mining.options import NegativeOptions, PositiveOptions
from chipper.parallel.workers import Workers


def coco128_chips(folder: Path) -> Workdir:
    """A workdir of coco128's positive and negative chips, not exported yet."""
    workdir = Workdir(folder / "chips")
    build_positives(COCO128 / "instances.json", workdir, PositiveOptions.parse(), workers=Workers(1))
    mine_negatives(workdir, COCO128 / "proposals.pkl", NegativeOptions(), workers=Workers(1))
    return workdir


def coco128_again_and_again(folder: Path, times: int) -> Workdir:
    """A workdir of the positive chips of coco128 with every image listed ``times`` times, not exported yet."""
    content = json.loads((COCO128 / "instances.json").read_text())
    images = [image | {"id": image["id"] + k * 10**7} for k in range(times) for image in content["images"]]
    annotations = [
        annotation | {"id": annotation["id"] * times + k, "image_id": annotation["image_id"] + k * 10**7}
        for k in range(times)
        for annotation in content["annotations"]
    ]
    path = folder / "again.json"
    path.write_text(json.dumps(content | {"images": images, "annotations": annotations}))
    workdir = Workdir(folder / "again")
    build_positives(path, workdir, PositiveOptions.parse(), workers=Workers(1))
    return workdir


def mosaics(folder: Path, number: int = 8, side: int = 3840) -> Path:
    """Large square JPEGs composed of coco128 images, each scaled to 640 x 480, with the boxes of their annotations."""
    content = json.loads((COCO128 / "instances.json").read_text())
    tile = 640, 480
    boxes: dict[int, list[dict[str, Any]]] = {}
    for annotation in content["annotations"]:
        boxes.setdefault(annotation["image_id"], []).append(annotation)
    rng, images, annotations = np.random.default_rng(0), [], []
    (folder / "images").mkdir(parents=True)
    for number_of_mosaic in range(number):
        canvas = Image.new("RGB", (side, side))
        for y in range(0, side, tile[1]):
            for x in range(0, side, tile[0]):
                record = content["images"][rng.integers(len(content["images"]))]
                with Image.open(COCO128 / "images" / record["file_name"]) as image:
                    canvas.paste(image.convert("RGB").resize(tile), (x, y))
                across, down = tile[0] / record["width"], tile[1] / record["height"]
                for annotation in boxes.get(record["id"], []):
                    left, top, width, height = annotation["bbox"]
                    box = [x + left * across, y + top * down, width * across, height * down]
                    own = {"id": len(annotations) + 1, "image_id": number_of_mosaic + 1, "bbox": box}
                    own |= {"area": box[2] * box[3], "category_id": annotation["category_id"], "iscrowd": 0}
                    annotations.append(own)
        name = f"{number_of_mosaic:03d}.jpg"
        canvas.save(folder / "images" / name, quality=90)
        images.append({"id": number_of_mosaic + 1, "file_name": name, "width": side, "height": side})
    path = folder / "mosaics.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": content["categories"]}))
    return path
