"""Every call that opens a file, a stream or an address stands in docs/hardening.md; there are no others in the code.

What is opened elsewhere goes through one of these functions, so a rule about files has one place.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from architecture import ROOT, modules

CALLS = {
    "open", "os.open", "io.open", "io.FileIO", "io.open_code", "os.fdopen", "Image.open", "rasterio.open", "tarfile.open",
    "zipfile.ZipFile", "gzip.open", "np.load", "np.fromfile", "np.loadtxt", "np.genfromtxt", "np.memmap", "json.load",
    "yaml.load", "yaml.safe_load", "yaml.full_load", "yaml.BaseLoader", "yaml.SafeLoader", "torch.load", "pickle.load",
    "pickle.loads", "pickle.Unpickler", "cloudpickle.loads", "marshal.loads", "shelve.open", "pq.ParquetFile",
    "pq.read_table", "urllib.request.urlopen", "ElementTree.parse", "ET.parse", "fsspec.open", "UPath",
}  # fmt: skip
METHODS = {"open", "read_bytes", "read_text", "write_bytes", "write_text", "touch"}
"""Of a path or a file system. ``Workdir.open`` has no argument; with a mode it is the method of a path."""
PAGE = ROOT / "docs" / "hardening.md"
ROW = re.compile(r"^\| `(\w+(?:\.\w+)*)` \| `([\w.]+)` \|.*\| `(tests/[\w/]+\.py)` \|$", re.MULTILINE)


def openings(source: str) -> set[str]:
    """The calls in some code that open something."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            found |= {name for base in node.bases if (name := ast.unparse(base)) in CALLS}
        if not isinstance(node, ast.Call):
            continue
        names = [node.func.body, node.func.orelse] if isinstance(node.func, ast.IfExp) else [node.func]
        for name in names:
            text = ast.unparse(name)
            if text in CALLS:
                found.add(text)
            elif isinstance(name, ast.Attribute) and name.attr in METHODS and (node.args or name.attr != "open"):
                found.add(f"_.{name.attr}" if text != "self._rasterio.open" else "rasterio.open")
    return found


def test_every_opening_is_in_the_table() -> None:
    rows = ROW.findall(PAGE.read_text())
    listed = {(module, call) for module, call, _ in rows}
    found = {
        (name.removeprefix("chipper."), call) for name, path in modules().items() for call in openings(path.read_text())
    }
    assert found - listed == set(), "open it by a function of the table, or add a row"
    assert listed - found == set(), "remove the row"
    assert len(rows) == len(listed)


def test_the_tests_in_the_table_exist() -> None:
    assert [test for _, _, test in ROW.findall(PAGE.read_text()) if not (ROOT / test).is_file()] == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("open(path)", {"open"}),
        ("with path.open('rb') as f: pass", {"_.open"}),
        ("manifest = workdir.open()", set()),
        ("x = Path(p).read_text()", {"_.read_text"}),
        ("np.load(p)", {"np.load"}),
        ("class U(pickle.Unpickler): pass", {"pickle.Unpickler"}),
        ("(yaml.BaseLoader if a else yaml.SafeLoader)(data)", {"yaml.BaseLoader", "yaml.SafeLoader"}),
        ("f(lambda: torch.load(p))", {"torch.load"}),
    ],
)
def test_openings_are_found(code: str, found: set[str]) -> None:
    assert openings(code) == found


def test_names_are_those_of_the_libraries() -> None:
    """An import under another name would hide a call."""
    other = []
    for name, path in modules().items():
        for node in ast.walk(ast.parse(Path(path).read_text())):
            if isinstance(node, ast.Import):
                wrong = [
                    a
                    for a in node.names
                    if a.asname
                    and a.name.split(".")[0] in ("os", "io", "yaml", "torch", "pickle")
                    and a.asname not in ("F",)
                ]
                other += [f"{name}: {a.name} as {a.asname}" for a in wrong]
            if isinstance(node, ast.ImportFrom) and node.module in (
                "os",
                "yaml",
                "pickle",
                "tarfile",
                "json",
                "PIL.Image",
            ):
                other += [f"{name}: {node.module}.{a.name}" for a in node.names if a.name in ("open", "load", "loads")]
    assert other == []
