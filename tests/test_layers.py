"""Data flows one way: each module imports only from the layers to its left, and torch lives in chipper.detection alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# from left to right; a module may import from its own layer and those before it
LAYERS = [
    ["chipper.schemas", "chipper.errors"],
    [
        "chipper.seeds",
        "chipper.accelerate",
        "chipper.scales",
        "chipper.pyramid",
        "chipper.candidates",
        "chipper.stretch",
        "chipper.options",
    ],
    ["chipper.cover_kernels", "chipper.overlap_kernels", "chipper.nms_kernels", "chipper.soft_nms", "chipper.cover"],
    ["chipper.fewest_kernels", "chipper.slide"],
    [
        "chipper.columns",
        "chipper.assignment",
        "chipper.positives",
        "chipper.labels",
        "chipper.negatives",
        "chipper.epochs",
        "chipper.plan",
        "chipper.suggest",
    ],
    [
        "chipper.progress",
        "chipper.locations",
        "chipper.workers",
        "chipper.cluster",
        "chipper.files",
        "chipper.lock",
        "chipper.safe_pickle",
        "chipper.masks",
        "chipper.quantities",
        "chipper.palette",
    ],
    ["chipper.raster_file", "chipper.raster"],
    [
        "chipper.images",
        "chipper.render",
        "chipper.demo_shapes",
        "chipper.demo_scenes",
        "chipper.demo_data",
    ],
    [
        "chipper.coco_check",
        "chipper.table_check",
        "chipper.coco",
        "chipper.proposals",
        "chipper.evaluation_files",
        "chipper.workdir",
        "chipper.samples",
        "chipper.shards",
    ],
    [
        "chipper.shard_plan",
        "chipper.stripes",
        "chipper.build",
        "chipper.mine",
        "chipper.export",
        "chipper.pool",
    ],
    ["chipper.import_items", "chipper.import_files", "chipper.imported", "chipper.yolo_sets"],
    ["chipper.import_voc", "chipper.import_yolo", "chipper.import_visdrone", "chipper.import_dota"],
    ["chipper.chip_sets", "chipper.epoch_shards", "chipper.selective_search", "chipper.verify"],
    ["chipper.drawing", "chipper.figure", "chipper.preview", "chipper.evaluation"],
    [
        "chipper.report.tally",
        "chipper.report.runs",
        "chipper.report.shards",
        "chipper.report.html",
        "chipper.report.svg",
    ],
    ["chipper.report.gather", "chipper.report.charts", "chipper.report.style"],
    ["chipper.report.words"],
    ["chipper.report.boxes", "chipper.report.chips", "chipper.report.results", "chipper.report.training"],
    ["chipper.report.findings", "chipper.report.page", "chipper.report"],
    ["chipper.detection"],
    ["chipper.cli"],
]


def modules() -> dict[str, Path]:
    found = {}
    for folder, package in (("chipper", "chipper"), ("cli", "chipper.cli"), ("schemas", "chipper.schemas")):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


def imports(path: Path, always_only: bool) -> set[str]:
    """Modules that a file imports; with ``always_only`` those at its top level."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if always_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer_of(module: str) -> int | None:
    for number, layer in enumerate(LAYERS):
        if any(module == name or module.startswith(f"{name}.") for name in layer):
            return number
    return None


def test_every_module_has_a_layer() -> None:
    assert [name for name in modules() if name != "chipper" and layer_of(name) is None] == []


def test_modules_import_only_from_the_left() -> None:
    known = modules()
    wrong = []
    for name, path in known.items():
        mine = layer_of(name)
        for imported in imports(path, always_only=False):
            theirs = layer_of(imported) if imported in known else None
            if mine is not None and theirs is not None and theirs > mine:
                wrong.append(f"{name} imports {imported}")
    assert wrong == []


def test_torch_is_imported_in_detection_alone() -> None:
    using = {
        name
        for name, path in modules().items()
        if any(imported.split(".")[0] in ("torch", "torchvision") for imported in imports(path, always_only=False))
    }
    # doctor looks whether torch can be used
    assert {name for name in using if not name.startswith("chipper.detection")} == {"chipper.cli.doctor"}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import chipper", ["numba", "torch", "numpy"]),
        ("import chipper.cli.main", ["numba", "torch"]),
        ("import chipper.cli.mining, chipper.cli.shards", ["numba", "torch"]),
        ("import chipper.build, chipper.mine, chipper.export, chipper.verify", ["torch", "webdataset"]),
        ("import chipper.export", ["torch", "webdataset"]),
    ],
)
def test_imports_stay_light(statement: str, absent: list[str]) -> None:
    code = f"{statement}\nimport sys\nprint([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
