"""The packages of chipper as an import graph, read from the source.

``python -m tests.architecture`` writes the map in docs/architecture.md anew.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- the map, written by `python -m tests.architecture` -->\n", "<!-- end of the map -->"

# in the order data flows; a package imports from the rows above its own, and from its own row
ROWS = [
    ["schemas", "errors", "seeds", "quantities", "html"],
    ["columns", "grouping", "checks"],
    ["kernels", "storage", "parallel"],
    ["mining", "coco"],
    ["images"],
    ["proposals"],
    ["manifest", "evaluation"],
    ["shards"],
    ["runs"],
    ["formats"],
    ["pictures"],
    ["inference"],
    ["detection"],
    ["report"],
    ["demo"],
    ["api"],
    ["cli"],
]
SOURCES = {"chipper": ROOT / "chipper", "chipper.cli": ROOT / "cli", "chipper.schemas": ROOT / "schemas"}


def modules() -> dict[str, Path]:
    """Every module of the installed package by its dotted name."""
    found = {}
    for package, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


def imports(path: Path) -> set[str]:
    """All imports of a file, including those only for type checking; ``from a import b`` counts as a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_graph() -> dict[str, set[str]]:
    """The modules of chipper that each module imports, without chipper itself, which holds a version and lazy names."""
    known = modules()
    return {
        name: (imports(path) & known.keys()) - {name, "chipper"} for name, path in known.items() if name != "chipper"
    }


def package_of(module: str) -> str:
    """``chipper.mining.cover`` is in ``mining``; a module directly in chipper counts as a package here."""
    return module.split(".")[1]


def package_graph() -> dict[str, set[str]]:
    """The packages that each package imports."""
    graph: dict[str, set[str]] = {}
    for module, imported in module_graph().items():
        mine = graph.setdefault(package_of(module), set())
        mine |= {package_of(other) for other in imported} - {package_of(module)}
    return graph


def row_of(package: str) -> int | None:
    """The row of a package."""
    return next((number for number, row in enumerate(ROWS) if package in row), None)


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """The names along one cycle of ``graph``, or nothing if there is no cycle."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if found := walk(other, [*path, name]):
                return found
        done.add(name)
        return []

    for name in sorted(graph):
        if found := walk(name, []):
            return found
    return []


def first_line(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())
    return re.split(r"(?<=[.:;])\s", text)[0].rstrip(".:;")


def drawn() -> str:
    """The map: one row per package with its purpose, its number of modules and the packages that it imports."""
    graph, known = package_graph(), modules()
    lines = ["| package | what it holds | modules | imports from |", "|---|---|---|---|"]
    for package in (package for row in ROWS for package in row if package in graph):
        name = f"chipper.{package}"
        inside = [module for module in known if module.startswith(f"{name}.")]
        places = [other for row in ROWS for other in row if other in graph[package]]
        lines.append(f"| `{package}` | {first_line(known[name])} | {len(inside) or 1} | {', '.join(places)} |")
    edges = sum(map(len, graph.values()))
    found = cycle_in(module_graph()) or cycle_in(graph)
    cycles = " -> ".join(found) if found else "none"
    return "\n".join([*lines, "", f"{len(graph)} packages, {edges} imports between them; cycles: {cycles}.", ""])


def with_map(page: str) -> str:
    """The page with the map of the current code."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + drawn() + rest[rest.index(END) :]


if __name__ == "__main__":
    PAGE.write_text(with_map(PAGE.read_text()))
