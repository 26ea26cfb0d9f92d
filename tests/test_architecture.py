"""Data flows one way: packages import from the rows above, nothing imports in a circle, torch lives in one package."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import architecture
import pytest
from architecture import ROOT, ROWS, cycle_in, module_graph, modules, package_graph, package_of, row_of


def test_every_package_stands_in_one_row() -> None:
    assert [name for name in package_graph() if row_of(name) is None] == []
    named = [name for row in ROWS for name in row]
    assert len(named) == len(set(named))


def test_packages_import_from_the_rows_above() -> None:
    wrong = [
        f"{module} imports {other}"
        for module, imported in module_graph().items()
        for other in imported
        if (row_of(package_of(other)) or 0) > (row_of(package_of(module)) or 0)
    ]
    assert wrong == []


def test_nothing_imports_in_a_circle() -> None:
    assert cycle_in(module_graph()) == []
    assert cycle_in(package_graph()) == []


def test_a_circle_is_found() -> None:
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_every_package_is_in_the_wheel() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(name for name, path in modules().items() if path.name == "__init__.py")


def test_torch_is_imported_in_detection_alone() -> None:
    using = {
        name
        for name, path in modules().items()
        if any(imported.split(".")[0] in ("torch", "torchvision") for imported in architecture.imports(path))
    }
    # doctor looks whether torch can be used
    assert {name for name in using if package_of(name) != "detection"} == {"chipper.cli.doctor"}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import chipper", ["numba", "torch", "numpy"]),
        ("import chipper.cli.main", ["numba", "torch"]),
        ("import chipper.cli.mining, chipper.cli.shards", ["numba", "torch"]),
        ("import chipper.manifest.build_positives, chipper.manifest.mine_negatives", ["torch", "webdataset"]),
        ("import chipper.shards.export, chipper.shards.verify", ["torch", "webdataset"]),
        ("import chipper.runs, chipper.report", ["torch"]),
    ],
)
def test_imports_stay_light(statement: str, absent: list[str]) -> None:
    code = f"{statement}\nimport sys\nprint([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
