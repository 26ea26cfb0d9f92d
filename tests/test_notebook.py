"""examples/quickstart.ipynb runs from top to bottom, shows what it should, and is stored without outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "examples" / "quickstart.ipynb"


def test_the_quickstart_runs(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="its last cell trains")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: make setup")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: make setup")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    pages = ["".join(str(out.get("data", {}).get("text/html", "")) for out in cell.outputs) for cell in code]
    shown = [page for page in pages if page]
    assert len(shown) == 6  # plan, workdir, shards, a chip, pictures, evaluation
    for words in ("Scale by scale", "Positive chips", "Shards in", "data:image/jpeg;base64,", "AP50"):
        assert any(words in page for page in shown), words
    printed = "".join(str(out.get("text", "")) for cell in code for out in cell.outputs)
    assert "Traceback" not in printed
