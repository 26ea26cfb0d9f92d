"""Shared by all test modules: the place of the sample data, a small drawn COCO set, and short functions to run each stage.

Fixtures that are functions stand in for imports: test modules import nothing from here, whichever way pytest imports them.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

KINDS = {
    "training": ["detection", "inference/test_picture.py", "demo/test_chain.py", "test_notebook.py", "test_api.py"],
    "commands": ["cli/test_commands.py", "cli/test_sessions.py", "test_main_job.py", "test_doc_commands.py", "test_wheel.py",
                 "test_benchmarks.py", "parallel/test_workers.py"],
    "faults": ["test_bad.py", "test_fuzz.py", "test_kills.py", "shards/test_planted_faults.py", "coco/test_bad_annotations.py"],
    "servers": ["parallel/test_cluster.py", "storage/test_locations.py"],
    "pages": ["report", "test_docs.py", "proposals/test_selective_search.py"],
}  # fmt: skip
"""Markers of the tests that take long, by file or folder; `make test-fast` runs all others."""

SHARED = Path(__file__).parents[1].parent / "shared"
SIZES = ((640, 480), (333, 251), (500, 375), (97, 64), (1201, 800), (480, 640), (256, 256), (700, 301))
"""Source px of the drawn images: odd sizes whose canvases are rounded, one smaller than a chip, one larger."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that take long."""
    root = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(root)
        for kind, names in KINDS.items():
            if any(place == Path(name) or Path(name) in place.parents for name in names):
                item.add_marker(kind)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of the sample data sets."""
    if not SHARED.is_dir():
        pytest.skip(f"the sample data are not there: {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def coco128(shared: Path) -> Path:
    """COCO128: instances.json, images/ and proposals.pkl."""
    folder = shared / "data" / "coco128"
    if not (folder / "instances.json").is_file():
        pytest.skip(f"COCO128 is not there: {folder}")
    return folder


@dataclass(frozen=True)
class Drawn:
    """A COCO data set on disk. Treat it as read-only; ``copy`` it to damage it."""

    folder: Path
    coco: Path
    images: Path
    proposals: Path
    content: dict[str, Any]

    @property
    def names(self) -> list[str]:
        return [image["file_name"] for image in self.content["images"]]


def _draw_images(folder: Path, rng: np.random.Generator) -> list[dict[str, Any]]:
    folder.mkdir(parents=True)
    records = []
    for number, (width, height) in enumerate(SIZES):
        coarse = Image.fromarray(rng.integers(60, 190, (6, 8, 3)).astype(np.uint8))
        picture = coarse.resize((width, height), Image.Resampling.BICUBIC)
        name = f"{number:03d}.jpg"
        records.append({"id": 1000 - 7 * number, "file_name": name, "width": width, "height": height})
        draw = ImageDraw.Draw(picture)
        for _ in range(10):
            x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
            draw.rectangle((x, y, x + 20, y + 14), fill=tuple(int(v) for v in rng.integers(0, 255, 3)))
        picture.save(folder / name, quality=92)
    return records


def _draw_annotations(images: list[dict[str, Any]], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Boxes of all sizes with polygons, some with keypoints; one crowd with RLE. The sixth image has none."""
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images):
        width, height = image["width"], image["height"]
        for k in range(0 if number == 5 else 6):
            side = float(np.exp(rng.uniform(np.log(8), np.log(0.7 * min(width, height)))))
            x, y = float(rng.uniform(0, width - side)), float(rng.uniform(0, height - side))
            box = [round(v, 2) for v in (x, y, side, side)]
            x1, y1, x2, y2 = box[0], box[1], box[0] + box[2], box[1] + box[3]
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image["id"],
                "category_id": (3, 7)[k % 2],
                "bbox": box,
                "area": round(box[2] * box[3] / 2, 2),
                "iscrowd": 0,
                "segmentation": [[x1, y1, x2, y1, x1, y2]],
            }
            if k == 0:
                annotation |= {"keypoints": [x1, y1, 2, (x1 + x2) / 2, (y1 + y2) / 2, 1, 0, 0, 0], "num_keypoints": 2}
            annotations.append(annotation)
    width, height = images[0]["width"], images[0]["height"]
    mask = np.zeros((height, width), bool)
    mask[100:200, 50:250] = True
    runs = np.diff(np.r_[0, np.flatnonzero(np.diff(mask.ravel(order="F"))) + 1, mask.size]).tolist()
    rle = {"size": [height, width], "counts": [int(run) for run in runs]}
    annotations.append(
        {"id": 900, "image_id": images[0]["id"], "category_id": 3, "bbox": [50, 100, 200, 100], "area": 20000}
        | {"iscrowd": 1, "segmentation": rle}
    )
    return annotations


def _write_proposals(path: Path, images: list[dict[str, Any]], rng: np.random.Generator) -> None:
    """SNIPER's pickle: many small boxes in a corner of each image, so that negative chips can be mined."""
    arrays = []
    for image in images:
        size = np.array([image["width"], image["height"]])
        corner = rng.uniform(0, 0.6 * size, (120, 2))
        sides = rng.uniform(6, 30, (120, 2))
        boxes = np.concatenate([corner, np.minimum(corner + sides, size)], axis=1)
        arrays.append(np.concatenate([boxes, rng.random((120, 1))], axis=1).astype(np.float32))
    path.write_bytes(pickle.dumps(arrays, protocol=2))


def _draw(folder: Path) -> Drawn:
    rng = np.random.default_rng(5)
    images = _draw_images(folder / "images", rng)
    content = {
        "info": {"description": "drawn for tests"},
        "images": images,
        "annotations": _draw_annotations(images, rng),
        "categories": [{"id": 3, "name": "square"}, {"id": 7, "name": "block", "supercategory": "solid"}],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    _write_proposals(folder / "rpn.pkl", images, rng)
    return Drawn(folder, folder / "coco.json", folder / "images", folder / "rpn.pkl", content)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Eight JPEGs with boxes, polygons, keypoints, a crowd, an empty image, and proposals."""
    return _draw(tmp_path_factory.mktemp("drawn") / "data")


@pytest.fixture
def own_drawn(tmp_path: Path) -> Drawn:
    """The drawn data set, in a folder that the test may damage."""
    return _draw(tmp_path / "data")


@pytest.fixture(scope="session")
def write_coco() -> Callable[..., Path]:
    """write_coco(folder, images=..., annotations=..., categories=...) writes folder/coco.json, by Python's json."""

    def write(folder: Path, **lists: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "coco.json").write_text(json.dumps(lists))
        return folder / "coco.json"

    return write


@pytest.fixture(scope="session")
def build() -> Callable[..., Any]:
    """build(coco, folder, jobs=1, overwrite=False, image_dir=None, **options) runs build-positives; gives the workdir."""
    from chipper.manifest.build_positives import build_positives
    from chipper.manifest.workdir import Workdir
    from chipper.mining.options import PositiveOptions
    from chipper.parallel.workers import Workers

    def run(
        coco: Path, folder: Path, jobs: int = 1, overwrite: bool = False, image_dir: Path | None = None, **options: Any
    ) -> Workdir:
        workdir = Workdir(folder)
        parsed = PositiveOptions.parse(**options)
        build_positives(coco, workdir, parsed, image_dir=image_dir, overwrite=overwrite, workers=Workers(jobs))
        return workdir

    return run


@pytest.fixture(scope="session")
def mine() -> Callable[..., Any]:
    """mine(workdir, proposals, jobs=1, **options) runs mine-negatives; gives the dataset."""
    from chipper.manifest.mine_negatives import mine_negatives
    from chipper.mining.options import NegativeOptions
    from chipper.parallel.workers import Workers

    def run(workdir: Any, proposals: Path, jobs: int = 1, **options: Any) -> Any:
        return mine_negatives(workdir, proposals, NegativeOptions(**options), workers=Workers(jobs))

    return run


@pytest.fixture(scope="session")
def export() -> Callable[..., Any]:
    """export(workdir, jobs=1, image_dir=None, render=None, **options) runs export-shards; gives what it did."""
    from chipper.parallel.workers import Workers
    from chipper.shards.export import export_shards
    from chipper.shards.options import ExportOptions, RenderOptions

    def run(workdir: Any, jobs: int = 1, image_dir: Path | None = None, render: Any = None, **options: Any) -> Any:
        chosen = ExportOptions(render=render or RenderOptions(), **{"chips_per_shard": 8, **options})
        return export_shards(workdir, chosen, image_dir=image_dir, workers=Workers(jobs))

    return run


@pytest.fixture(scope="session")
def hashes() -> Callable[[Path], dict[str, str]]:
    """hashes(folder): SHA-256 of every file below it except the lock, by relative path."""

    def run(folder: Path) -> dict[str, str]:
        files = (
            path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in (".lock", ".workdir.json")
        )
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return run


@pytest.fixture(scope="session")
def is_one_line() -> Callable[[BaseException], str]:
    """is_one_line(error): the message, which must be one non-empty line."""

    def run(error: BaseException) -> str:
        message = str(error)
        assert message.strip(), "an empty message"
        assert "\n" not in message, f"more than one line: {message!r}"
        return message

    return run
