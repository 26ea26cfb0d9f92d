"""The wheel: everything is in it, and it works without torch in a clean environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "CHIPPER"))}


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], cwd=cwd, env=CLEAN, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment with the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("venv")
    assert run(sys.executable, "-m", "venv", folder, cwd=folder).returncode == 0
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = run(*pip, "--constraint", ROOT / "requirements.lock", wheel, cwd=folder)
    if done.returncode != 0 and any(sign in done.stderr for sign in ("Temporary failure", "Connection", "No matching")):
        pytest.skip(f"no package registry at hand: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def test_wheel_holds_every_module(wheel: Path) -> None:
    sources = {f"chipper/{path.relative_to(ROOT / 'chipper')}" for path in (ROOT / "chipper").rglob("*.py")}
    sources |= {f"chipper/{name}/{path.name}" for name in ("cli", "schemas") for path in (ROOT / name).glob("*.py")}
    held = set(zipfile.ZipFile(wheel).namelist())
    assert sources - held == set()
    assert "chipper/py.typed" in held
    assert not any(name.startswith(("cli/", "schemas/", "tests/")) for name in held)


def test_everything_that_is_asked_for_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [name for names in project["optional-dependencies"].values() for name in names]
    asked = {re.split(r"[<>=\[; ]", name)[0].lower() for name in [*project["dependencies"], *extras]}
    locked = {line.split("==")[0].lower() for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert asked - locked == {"pillow"}  # the Makefile installs one of its two builds
    assert "pillow-simd==" in (ROOT / "Makefile").read_text()


def test_clean_environment_has_no_torch(clean: Path, tmp_path: Path) -> None:
    assert run(clean / "python", "-c", "import torch", cwd=tmp_path).returncode != 0


def test_preprocessing_runs_without_torch(clean: Path, tmp_path: Path) -> None:
    draw = (
        "from pathlib import Path; from chipper.demo.data import DemoOptions, draw_demo; "
        "draw_demo(Path('.'), DemoOptions(train_images=4, val_images=1))"
    )
    assert run(clean / "python", "-c", draw, cwd=tmp_path).returncode == 0
    for command in (["build-positives", "train/coco.json"], ["export-shards"], ["verify", "--deep"], ["doctor"]):
        done = run(clean / "chipper", *command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "chips" / "shards" / "dataset.json").read_text())["samples"] > 0


@pytest.mark.parametrize("command", [["train", "--shards"], ["demo"]])
def test_missing_torch_is_named_with_its_extra(clean: Path, tmp_path: Path, command: list[str]) -> None:
    done = run(clean / "chipper", *command, cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert "pip install 'sniper-chipper[train]'" in lines[0]
