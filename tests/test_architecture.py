"""Data flows one way: packages import from the rows above, nothing imports in a circle, torch lives in one package."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib

import architecture
import pytest
from architecture import PAGE, ROOT, ROWS, cycle_in, module_graph, modules, package_graph, package_of, row_of, with_map


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


def test_the_map_in_the_docs_is_that_of_the_code() -> None:
    page = PAGE.read_text()
    assert page == with_map(page), "run python -m tests.architecture"


def test_names_in_the_docs_are_those_of_the_code() -> None:
    """``package.module.name`` and ``package.module.Class.name`` on the page of the architecture."""
    known = modules()
    packages = {name.split(".")[1] for name in known if name != "chipper"}
    found = [name for name in re.findall(r"`((?:\w+\.)+\w+)`", PAGE.read_text()) if name.split(".")[0] in packages]
    assert len(found) > 30
    missing = []
    for name in found:
        words = ["chipper", *name.split(".")]
        length = next(n for n in range(len(words), 0, -1) if ".".join(words[:n]) in known)
        body: list[ast.stmt] = ast.parse(known[".".join(words[:length])].read_text()).body
        for word in words[length:]:
            defined = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == word]
            if not defined:
                missing.append(name)
                break
            body = defined[0].body
    assert missing == []


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
