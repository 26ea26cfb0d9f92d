"""The blood cells (VOC) as COCO files, for the benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks.timing import SHARED
from chipper.storage.files import write_json

BCCD = SHARED / "data" / "bccd"
CLASSES = ("RBC", "WBC", "Platelets")


def bccd(folder: Path) -> tuple[Path, Path]:
    """Write COCO files of the official splits, trainval and test, to ``folder``, each with a link to the images."""
    return _split(folder / "train", "trainval"), _split(folder / "test", "test")


def _split(folder: Path, split: str) -> Path:
    names = (BCCD / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for name in names:
        root = ElementTree.parse(BCCD / "Annotations" / f"{name}.xml").getroot()
        width, height = (int(root.findtext(f"size/{side}", "0")) for side in ("width", "height"))
        images.append({"id": len(images) + 1, "file_name": f"{name}.jpg", "width": width, "height": height})
        for cell in root.iter("object"):
            x1, y1, x2, y2 = (float(cell.findtext(f"bndbox/{side}", "0")) for side in ("xmin", "ymin", "xmax", "ymax"))
            record = {"id": len(annotations) + 1, "image_id": len(images), "iscrowd": 0}
            record |= {"category_id": CLASSES.index(cell.findtext("name", "")) + 1}
            record |= {"bbox": [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1], "area": (x2 - x1 + 1) * (y2 - y1 + 1)}
            if x2 > x1 and y2 > y1:
                annotations.append(record)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "images").exists():
        (folder / "images").symlink_to(BCCD / "JPEGImages")
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(CLASSES)]
    write_json(folder / "coco.json", {"images": images, "annotations": annotations, "categories": categories})
    return folder / "coco.json"
