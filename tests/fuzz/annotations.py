"""The COCO reader: what it accepts are images with sizes and unique ids, and finite boxes inside them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from chipper.coco.checking import usable_name
from chipper.coco.masks import clip_keypoints, clip_segmentation
from chipper.coco.reading import read_coco
from chipper.errors import AnnotationError
from chipper.shards.samples import decoded

IMAGE = {"id": 1, "file_name": "a/b.jpg", "width": 64, "height": 48}
BOX = {"id": 7, "image_id": 1, "category_id": 3, "bbox": [4, 5, 20, 30], "area": 600, "iscrowd": 0}
_FOLDER = tempfile.TemporaryDirectory(prefix="chipper-fuzz-")
_PATH = Path(_FOLDER.name) / "coco.json"
_WINDOW = (1.5, 10.0, 5.0, 40.0, 40.0)


def seeds() -> list[bytes]:
    """Small COCO files with every part that is read."""
    rle = {"size": [48, 64], "counts": [100, 200, 48 * 64 - 300]}
    packed = {"size": [48, 64], "counts": "d3l0Te2"}
    shapes: list[object] = [[[4, 5, 20, 5, 20, 30]], rle, packed]
    annotations = [
        {**BOX, "id": k, "segmentation": shape, "keypoints": [5, 6, 2, 0, 0, 0]} for k, shape in enumerate(shapes)
    ]
    content = {
        "images": [IMAGE],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "x", "supercategory": "y"}],
    }
    plain = json.dumps(content)
    return [
        plain.encode(),
        plain.replace("20", "NaN").encode(),
        plain.replace('"id": 1', '"id": "1"').encode(),
        plain.encode("utf-16"),
        json.dumps({**content, "images": [IMAGE, IMAGE, {**IMAGE, "id": 2.0}]}).encode(),
    ]


def target(data: bytes) -> None:
    """Read ``data`` as a COCO file."""
    _PATH.write_bytes(data)
    try:
        coco = read_coco(_PATH, masks=True)
    except AnnotationError as error:
        assert "\n" not in str(error)
        return
    images, annotations = coco.images, coco.annotations
    assert len(images)
    assert len(annotations)
    assert np.unique(images.image_id).size == len(images)
    assert np.unique(annotations.annotation_id).size == len(annotations)
    assert images.width.min() > 0
    assert images.height.min() > 0
    assert all(map(usable_name, images.file_name))
    row = {int(image_id): k for k, image_id in enumerate(images.image_id)}
    for k in range(len(annotations)):
        image = row[int(annotations.image_id[k])]
        x1, y1, x2, y2 = annotations.box[k].tolist()
        assert 0 <= x1 < x2 <= images.width[image]
        assert 0 <= y1 < y2 <= images.height[image]
        assert annotations.area[k] >= 0
        size = int(images.width[image]), int(images.height[image])
        if size[0] * size[1] < 10**6:
            _masks(annotations.segmentation[k], annotations.keypoints[k], size)


def _masks(segmentation: bytes | None, keypoints: bytes | None, size: tuple[int, int]) -> None:
    if segmentation is not None:
        clip_segmentation(decoded(segmentation), _WINDOW, size)
    if keypoints is not None:
        points, number = clip_keypoints(decoded(keypoints), _WINDOW)
        assert len(points) % 3 == 0
        assert number <= len(points) // 3
