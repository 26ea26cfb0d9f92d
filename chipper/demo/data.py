"""A drawn COCO data set for `chipper demo` and the tests: small objects among look-alikes, the case that SNIPER is for.

There are five classes of shapes, most of them small, on cluttered backgrounds. Distractors resemble them but have no
label. Of every sixteen images two are crowded, two empty, two show a large object, one shows bars longer than a
fine-scale chip, one has a crowd region and eight are plain.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from chipper.checks import between
from chipper.demo.scenes import draw_scene
from chipper.demo.shapes import CATEGORIES, Shape, shoelace
from chipper.errors import OptionError, StorageError
from chipper.storage.files import write_json

SPLITS = ("train", "val")
IMAGE_ID_BASE = {"train": 0, "val": 1_000_000}  # ids differ between splits, so that a mix-up is noticed
# The first eight images show every kind, so that a small demo does too.
FIRST_EIGHT = ("mixed", "crowded", "large", "elongated", "mixed", "empty", "crowd", "mixed")
CYCLE = (*FIRST_EIGHT, "mixed", "crowded", "large", "mixed", "mixed", "empty", "mixed", "mixed")


@dataclass(frozen=True)
class DemoOptions:
    """What to draw: number of images per split, (width, height) of each in px, and the seed."""

    train_images: int = 96
    val_images: int = 32
    size: tuple[int, int] = (640, 480)
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.train_images, self.val_images) < 0:
            raise OptionError(f"demo image counts are {self.train_images} and {self.val_images}; give 0 or more")
        if min(self.size) < 256:
            width, height = self.size
            raise OptionError(f"demo size is {width}x{height} px; crowded images need 256 px or more on each side")
        between("seed", self.seed, 0, 2**63 - 1)


def draw_demo(folder: Path, options: DemoOptions) -> None:
    """Write `folder`/{train,val}/images/*.jpg and `folder`/{train,val}/coco.json, the latter last.

    The bytes depend only on the options and the builds of numpy and Pillow. Raises StorageError when `folder`
    cannot be written.
    """
    try:
        draw_split(folder / "train", "train", options.train_images, options)
        draw_split(folder / "val", "val", options.val_images, options)
    except OSError as error:
        raise StorageError(f"cannot write the demo data to {folder}: {error}; choose another folder") from error


def draw_split(folder: Path, split: str, count: int, options: DemoOptions) -> None:
    """Write the `count` images and the coco.json of one split into its folder."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        pixels, shapes = draw_image(options, split, index)
        height, width = pixels.shape[:2]
        image_id, name = IMAGE_ID_BASE[split] + index + 1, f"{split}_{index:05d}.jpg"
        Image.fromarray(pixels).save(folder / "images" / name, quality=92)
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for shape in shapes:
            if shape.category_id is not None:
                fields = annotate(shape, options.size)
                annotations.append({"id": len(annotations) + 1, "image_id": image_id, **fields})
    coco = {
        "info": {"description": "chipper demo: drawn shapes", "version": "1", "split": split, "seed": options.seed},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "supercategory": "shape"} for name, number in CATEGORIES.items()],
    }
    write_json(folder / "coco.json", coco)


def annotate(shape: Shape, size: tuple[int, int]) -> dict[str, Any]:
    """The COCO fields of the shape, without the ids of annotation and image; `size` is (width, height) of the image in px.

    Box and area are those of the polygon, with holes subtracted. For a crowd they are those of the pixels of its members,
    and the segmentation is RLE.
    """
    common = {"category_id": shape.category_id, "iscrowd": int(shape.iscrowd)}
    if shape.iscrowd:
        full = np.zeros(size[::-1], bool)  # (height, width)
        full[shape.window] = shape.mask >= 128
        pixels = np.argwhere(full)[:, ::-1]  # (n, 2) x, y
        low, high = pixels.min(axis=0), pixels.max(axis=0) + 1
        rle = {"counts": run_lengths(full), "size": [size[1], size[0]]}
        return common | {"bbox": box_of(low, high), "area": float(len(pixels)), "segmentation": rle}
    polygon = shape.outline[0]
    if (
        len(shape.outline) > 1
    ):  # COCO polygons have no holes: the path enters a hole and returns along a slit of width 0
        polygon = np.concatenate([np.vstack([ring, ring[:1]]) for ring in shape.outline])
    polygon = polygon.round(2)  # (n, 2)
    bbox = box_of(polygon.min(axis=0), polygon.max(axis=0))
    area = round(sum(shoelace(ring) for ring in shape.outline), 2)
    return common | {"bbox": bbox, "area": area, "segmentation": [polygon.ravel().tolist()]}


def box_of(low: NDArray[Any], high: NDArray[Any]) -> list[float]:
    """COCO's box x, y, w, h of two corners (2,) in px, to 0.01 px."""
    return [round(float(value), 2) for value in (*low, *(high - low))]


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed RLE of a mask (h, w): run lengths down the columns, beginning with zeros."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate([[0] if flat[0] else [], [0], changes, [flat.size]]).astype(int)
    return [int(run) for run in np.diff(edges)]


def draw_image(options: DemoOptions, split: str, index: int) -> tuple[NDArray[np.uint8], list[Shape]]:
    """One image of a split as `demo_scenes.draw_scene` draws it.

    Seeded only by (seed, split, index), so images can be drawn in any order and by any number of workers.
    """
    return draw_scene(options.size, [options.seed, SPLITS.index(split), index], CYCLE[index % len(CYCLE)])
