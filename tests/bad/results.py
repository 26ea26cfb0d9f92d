"""Detections that evaluate reads, and the COCO file that it compares them with."""

from __future__ import annotations

import json
from typing import Any

from .case import Case
from .damage import Damage, a_fifo, a_folder, both, content, edited, gone

EVALUATE = "evaluate coco.json detections.json"
GOOD = {"image_id": 1, "category_id": 3, "bbox": [10, 10, 30, 30], "score": 0.5}
NAN = float("nan")


def rows(*changes: dict[str, Any]) -> Damage:
    return content("detections.json", json.dumps([GOOD | change for change in changes]))


def text(data: str | bytes) -> Damage:
    return content("detections.json", data)


BAD: dict[str, tuple[Damage, str]] = {
    "missing": (gone("detections.json"), "does not exist"),
    "a folder": (a_folder("detections.json"), "folder"),
    "a named pipe": (a_fifo("detections.json"), "pipe"),
    "zero bytes": (text(b""), "not JSON"),
    "no JSON": (text("detections"), "not JSON"),
    "not UTF-8": (text(b'[{"a": "\xff"}]'), "not JSON"),
    "cut": (text('[{"image_id": 1, "bbox": [1, 2'), "not JSON"),
    "100,000 brackets": (text("[" * 100_000), "not JSON"),
    "an object": (text("{}"), "COCO results"),
    "a COCO file": (
        both(lambda folder: (folder / "detections.json").write_bytes((folder / "coco.json").read_bytes())),
        "results",
    ),
    "a list of numbers": (text("[1, 2, 3]"), "COCO results"),
    "a number of 5,000 digits": (text("[" + "9" * 5000 + "]"), "detections.json"),
    "no score": (text('[{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}]'), "score"),
    "a score that is a word": (rows({"score": "high"}), "COCO results"),
    "a box of three numbers": (rows({"bbox": [1, 2, 3]}), "COCO results"),
    "a box of words": (rows({"bbox": ["a"] * 4}), "COCO results"),
    "an image id that is a word": (rows({"image_id": "one"}), "COCO results"),
    "an image id that is a fraction": (rows({"image_id": 1.5}), "COCO results"),
    "an image id beyond 64 bits": (rows({"image_id": 2**70}), "detections.json"),
    "a category that is null": (rows({"category_id": None}), "COCO results"),
    "an image that is not there": (rows({"image_id": 99}), "99"),
    "a category that is not there": (rows({"category_id": 99}), "99"),
    "a mask that is a word": (rows({"segmentation": "mask"}), "COCO results"),
}
USED: dict[str, Damage] = {
    "an empty list": text("[]"),
    "a byte order mark": text(b"\xef\xbb\xbf" + json.dumps([GOOD]).encode()),
    "NaN in a box": rows({"bbox": [NAN] * 4}, {}),
    "an infinite score": rows({"score": float("inf")}, {}),
    "a box of 1e308": rows({"bbox": [1e308, 1e308, 1e308, 1e308]}, {}),
    "a box without area": rows({"bbox": [10, 10, 0, 0]}),
    "a negative box": rows({"bbox": [10, 10, -5, -5]}),
    "an unknown category among others": rows({"category_id": 99}, {}),
    "a score of 1e300": rows({"score": 1e300}),
}
MASKS: dict[str, tuple[Any, str]] = {
    "none": (None, "no masks"),
    "an empty object": ({}, "detections.json"),
    "counts that are a number": ({"size": [150, 200], "counts": 7}, "detections.json"),
    "counts that are nonsense": ({"size": [150, 200], "counts": "~~~~~~~~"}, "detections.json"),
    "counts that are negative": ({"size": [150, 200], "counts": [-5, 30005]}, "detections.json"),
    "counts that are too many": ({"size": [150, 200], "counts": [10**9]}, "detections.json"),
    "counts that are no ASCII": ({"size": [150, 200], "counts": "\u00e9"}, "detections.json"),
    "a size of another image": ({"size": [10, 10], "counts": "d4"}, "detections.json"),
    "a size that is negative": ({"size": [-1, -1], "counts": "d4"}, "detections.json"),
    "a size beyond all": ({"size": [2**31, 2**31], "counts": "d4"}, "detections.json"),
    "a size of one number": ({"size": [150], "counts": "d4"}, "detections.json"),
    "no size": ({"counts": "d4"}, "detections.json"),
}
TRUTHS: dict[str, tuple[Damage, int]] = {
    "images that are a number": (edited("coco.json", images=7), 1),
    "images without ids": (edited("coco.json", images=[{"file_name": "a"}]), 1),
    "images that are words": (edited("coco.json", images=["a"]), 1),
    "image ids that are lists": (edited("coco.json", images=[{"id": [1]}]), 1),
    "categories without names": (edited("coco.json", categories=[{"id": 3}]), 1),
    "categories with ids that are lists": (edited("coco.json", categories=[{"id": [3], "name": "a"}]), 1),
    "annotations that are a number": (edited("coco.json", annotations=7), 1),
    "annotations that are words": (edited("coco.json", annotations=["a", "b"]), 0),
    "an id of 5,000 digits": (both(edited("coco.json", annotations=[{"id": int("9" * 4000)}])), 0),
    "sizes that are words": (
        edited("coco.json", images=[{"id": 1, "file_name": "a", "width": "wide", "height": "high"}]),
        1,
    ),
    "crowd flags that are words": (
        edited(
            "coco.json", annotations=[{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 9, 9], "iscrowd": "no"}]
        ),
        0,
    ),
    "boxes of huge numbers": (
        edited("coco.json", annotations=[{"id": 1, "image_id": 1, "category_id": 3, "bbox": [10**400, 1, 9, 9]}]),
        0,
    ),
    "areas that are NaN": (
        edited(
            "coco.json", annotations=[{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 9, 9], "area": NAN}]
        ),
        0,
    ),
}


def _cases() -> list[Case]:
    cases = [
        Case(f"detections: {kind}", EVALUATE, ("detections.json", says), make, "trained")
        for kind, (make, says) in BAD.items()
    ]
    cases += [
        Case(f"detections used: {kind}", EVALUATE, ("AP50",), make, "trained", code=0) for kind, make in USED.items()
    ]
    for kind, (mask, says) in MASKS.items():
        words = f"{EVALUATE} --masks"
        cases.append(Case(f"mask of a detection: {kind}", words, (says,), rows({"segmentation": mask}), "trained"))
    for kind, (make, code) in TRUTHS.items():
        damage = both(text("[]"), make)
        says = ("coco.json",) if code else ("AP50",)
        cases.append(Case(f"evaluate, annotations: {kind}", EVALUATE, says, damage, "trained", code))
    return cases


CASES = [
    *_cases(),
    Case(
        "evaluate: curves in a folder that is a file",
        f"{EVALUATE} --curves rpn.pkl/c.png",
        ("rpn.pkl/c.png",),
        None,
        "trained",
    ),
    Case("evaluate: proposals and masks", f"{EVALUATE} --proposals missing.pkl", ("missing.pkl",), None, "trained"),
]
