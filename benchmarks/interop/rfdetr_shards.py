"""Read a folder of chipper's shards with the reader of RF-DETR, in an environment with ``rfdetr[data]`` 1.11:

python benchmarks/interop/rfdetr_shards.py chips/shards [--masks]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rfdetr.datasets.coco import make_coco_transforms_square_div_64
from rfdetr.datasets.webdataset.load import WebDatasetDetection


def main(shards: Path, masked: bool) -> None:
    index = json.loads((shards / "train-index.json").read_text())
    transforms = make_coco_transforms_square_div_64("val", 448, multi_scale=False, expanded_scales=False)
    dataset = WebDatasetDetection(shards, "train", transforms, include_masks=masked)
    chips = boxes = masks = 0
    sizes = set()
    for image, target in dataset:
        chips += 1
        boxes += len(target["boxes"])
        masks += len(target.get("masks", ()))
        sizes.add(tuple(image.shape))
        assert ((target["boxes"] >= 0) & (target["boxes"] <= 1)).all()
        assert target["labels"].numel() == 0 or int(target["labels"].max()) < len(dataset.class_names)
    assert chips == index["num_samples"] == sum(index["samples_per_shard"]), chips
    print(f"RF-DETR read {chips} chips in {len(index['shards'])} shards with {boxes} boxes and {masks} masks, {sizes}")
    print(f"classes: {len(dataset.class_names)}, the first {dataset.class_names[:3]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--masks" in sys.argv)
