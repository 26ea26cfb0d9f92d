"""chipper doctor: what chipper runs on, and what to do about it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chipper.cli import doctor
from chipper.cli.main import main


def found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    content: dict[str, dict[str, str]] = json.loads(result.stdout)
    return content["found"]


def test_it_names_versions_cores_libraries_and_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = found(tmp_path, monkeypatch)
    assert int(rows["cores"]) == len(os.sched_getaffinity(0))
    assert rows["image library"].startswith(("pillow-simd ", "Pillow "))
    for package in ("numpy", "numba", "pyarrow", "torch", "rasterio", "matplotlib"):
        assert rows[package][0].isdigit() or rows[package].startswith("not installed")
    assert re.fullmatch(
        rf"{re.escape(str(tmp_path))}: [\d.]+ [kMGT]?B free, writes [\d.]+ [kMG]?B a second.*", rows["disk"]
    )
    assert not any(tmp_path.iterdir())  # what it wrote to measure is gone


def test_a_slow_disk_and_a_missing_package_have_a_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_SLOW", float("inf"))
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "rasterio" else version(name))
    rows = found(tmp_path, monkeypatch)
    assert "faster disk" in rows["disk"]
    assert rows["rasterio"] == "not installed; pip install 'sniper-chipper[raster]'"


def test_formats_that_pil_lacks_have_a_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import features

    check, version = features.check, doctor._version
    monkeypatch.setattr(features, "check", lambda name: name not in ("webp", "libtiff", "jpg_2000") and check(name))
    row = found(tmp_path, monkeypatch)["image formats"]
    assert row.startswith("JPEG, PNG; WebP, compressed TIFF, JPEG 2000 with rasterio")
    assert "apt-get install libwebp-dev libtiff-dev libopenjp2-7-dev, then make clean setup" in row
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "rasterio" else version(name))
    assert "pip install 'sniper-chipper[raster]', or apt-get install" in found(tmp_path, monkeypatch)["image formats"]
    monkeypatch.setattr(features, "check", lambda name: True)
    assert found(tmp_path, monkeypatch)["image formats"] == "JPEG, PNG, WebP, compressed TIFF, JPEG 2000"


def test_a_disk_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", full)
    assert "writing failed (No space left on device); choose another --workdir" in found(tmp_path, monkeypatch)["disk"]
