"""The report's tables, cell by cell, on a data set whose figures were counted by hand."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chipper.manifest.workdir import Workdir
from chipper.report.page import write_report
from chipper.shards.options import RenderOptions


class Tables(HTMLParser):
    """The text of each table by its caption, row by row, and of each tile."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self.tiles: list[str] = []
        self._words: list[str] | None = None
        self._rows: list[list[str]] = []
        self._in_tiles = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th", "caption") or (tag == "li" and self._in_tiles):
            self._words = []
        elif tag == "ul":
            self._in_tiles = dict(attrs).get("class") == "tiles"

    def handle_data(self, data: str) -> None:
        if self._words is not None:
            self._words.append(data)

    def handle_endtag(self, tag: str) -> None:
        words = " ".join("".join(self._words or []).split())
        if tag == "caption":
            self.found[words] = self._rows
        elif tag in ("td", "th"):
            self._rows[-1].append(words)
        elif tag == "li" and self._in_tiles and self._words is not None:
            self.tiles.append(words)
        else:
            return
        self._words = None


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, build: Callable[..., Workdir], mine: Any, export: Any) -> Tables:
    """Images of 512 px at the scales 1 and 2, whose canvases have 512 and 1024 px.

    a: a cat of 100 px (one chip at scale 1), a dog of 20 px (one at scale 2).
    b: three dogs of 20 px in three corners (three chips at scale 2).
    c: nothing; 5, 7 and 12 proposals of 30 px in three corners, and 4 of 100 px (three negatives at scale 2, one at scale 1).
    d: a crowd; and records that cannot be used: a box without width, one of an unknown category.
    """
    folder = tmp_path_factory.mktemp("tables")
    (folder / "images").mkdir()
    for name in "abcd":
        Image.new("RGB", (512, 512), (90, 120, 60)).save(folder / "images" / f"{name}.jpg")
    boxes = [
        (1, 3, [200, 200, 100, 100], 0),
        (1, 5, [0, 0, 20, 20], 0),
        (2, 5, [0, 0, 20, 20], 0),
        (2, 5, [492, 0, 20, 20], 0),
        (2, 5, [0, 492, 20, 20], 0),
        (4, 3, [10, 10, 300, 300], 1),
        (4, 3, [10, 10, 0, 30], 0),
        (4, 99, [10, 10, 30, 30], 0),
    ]
    content = {
        "images": [{"id": k, "file_name": f"{n}.jpg", "width": 512, "height": 512} for k, n in enumerate("abcd", 1)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}, {"id": 8, "name": "emu"}],
        "annotations": [
            {"id": k, "image_id": i, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": crowd}
            for k, (i, c, b, crowd) in enumerate(boxes, 1)
        ],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    corners = ((5.0, 5.0, 5), (460.0, 5.0, 7), (5.0, 470.0, 12))
    small = [[x + k, y, x + k + 30, y + 30] for x, y, count in corners for k in range(count)]
    large = [[300.0 + k, 300.0, 400.0 + k, 400.0] for k in range(4)]
    none = np.zeros((0, 5))
    rows = np.column_stack([np.array(small + large), np.linspace(1, 0.5, 28)])
    (folder / "rpn.pkl").write_bytes(pickle.dumps([none, none, rows, none], protocol=2))
    workdir = build(
        folder / "coco.json", folder / "chips", image_dir=folder / "images", scales="1,2", valid_ranges="64:,:64"
    )
    mine(workdir, folder / "rpn.pkl", min_proposals=3, min_proposals_finest=3, nms=0.99)
    export(workdir, chips_per_shard=2, render=RenderOptions())
    write_report(workdir, folder / "report.html")
    return Tables((folder / "report.html").read_text())


def test_what_was_read_and_dropped(tables: Tables) -> None:
    read = dict(tables.found["What was read"][1:])
    assert read["images"] == "4 of 4 in the file, 2 without objects"
    assert read["annotations"] == "6 of 8 in the file: 5 boxes, 1 crowd region"
    assert read["categories"] == "3"
    assert tables.found["What was dropped"] == [
        ["record", "reason", "the first 3", "count"],
        ["annotation", "box without area", "image 4, annotation 7: category 3, bbox [10.0, 10.0, 0.0, 30.0]", "1"],
        ["annotation", "unknown category", "image 4, annotation 8: category 99, bbox [10.0, 10.0, 30.0, 30.0]", "1"],
    ]


def test_categories(tables: Tables) -> None:
    """The dogs of b are in one chip each; the dog of a is in the chip of scale 1, too, and the cat is cut by that of scale 2."""
    assert tables.found["Boxes by category"] == [
        ["category", "", "boxes", "labels in chips", "valid labels"],
        ["dog", "", "4", "5", "4"],
        ["cat", "", "1", "2", "1"],
        ["emu", "", "0", "0", "0"],
    ]


def test_positive_chips(tables: Tables) -> None:
    """Per image: 1, 0, 0, 0 at scale 1; 1, 3, 0, 0 at scale 2; 2, 3, 0, 0 in all."""
    assert tables.found["Positive chips per image"] == [
        ["scale", "valid range, px", "chips", "images with any", "mean", "median", "most"],
        ["1", "64:", "1", "1", "0.25", "0", "1"],
        ["2", ":64", "4", "2", "1.00", "0.5", "3"],
        ["all", "", "5", "2", "1.25", "1", "3"],
    ]
    assert tables.found["Images with the most chips"] == [
        ["file", "image id", "scale 1", "scale 2", "all"],
        ["b.jpg", "2", "0", "3", "3"],
        ["a.jpg", "1", "1", "1", "2"],
    ]


def test_coverage(tables: Tables) -> None:
    assert tables.found["Coverage by size"][1:] == [
        ["small, 0 to 32 px", "4", "4 (100 %)", "0", "0", "0"],
        ["medium, 32 to 96 px", "0", "0 (–)", "0", "0", "0"],  # noqa: RUF001
        ["large, 96 px and more", "1", "1 (100 %)", "0", "0", "0"],
        ["all", "5", "5 (100 %)", "0", "0", "0"],
    ]
    assert tables.found["Coverage by scale"] == [
        ["scale", "boxes in its range", "covered here", "of all boxes", "covered only here", "moved here"],
        ["1", "1", "1", "20.0 %", "1", "0"],
        ["2", "4", "4", "80.0 %", "4", "0"],
    ]


def test_negative_chips(tables: Tables) -> None:
    """At scale 2 there are chips for 5, 7 and 12 proposals: 8 on average, in one of four images."""
    assert tables.found["Negative chips"] == [
        ["scale", "chips", "proposals, mean", "median", "images with any", "chips per image, mean", "median", "most"],
        ["1", "1", "4.0", "4", "1", "0.25", "0", "1"],
        ["2", "3", "8.0", "7", "1", "0.75", "0", "3"],
    ]


def test_shards_are_not_chips(tables: Tables) -> None:
    """Two chips a shard: 5 positives of two images (2 and 3) in two shards, 4 negatives of one image in one."""
    shards = dict(tables.found["Shards"][1:])
    assert shards["shards"] == "3 of 3 are complete"
    assert shards["positive shards"] == "2"
    assert shards["negative shards"] == "1"
    assert shards["chips"] == "9"
    assert shards["lost"] == "0 images, 0 chips"


def test_tiles(tables: Tables) -> None:
    """An epoch has 5 positives and 2 of the negatives: 7 x 512 x 512 px for 4 x 800 x 1333."""
    assert tables.tiles == [
        "4images, 2 without objects",
        "5boxes, 100 % of them covered",
        "5positive chips, 1.25 per image",
        "4negative chips",
        "0.43 xthe pixels of 800 x 1333 images, in 7 chips per epoch",
        "3shards, all complete",
        "nonetraining runs",
    ]
