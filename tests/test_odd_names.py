"""Folders with names that are not UTF-8, as an old disk or an archive may have: they work, or one line says why not."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ODD = os.fsdecode(b"d\xff")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / ODD
    try:
        (folder / "images").mkdir(parents=True)
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    Image.new("RGB", (600, 400), (90, 9, 200)).save(folder / "images" / "a.jpg")
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 600, "height": 400}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 100, 100], "area": 1e4, "iscrowd": 0}
        ],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    (folder / "rpn.pkl").write_bytes(pickle.dumps([np.array([[300, 200, 500, 380, 0.5]] * 4)]))
    return folder


def chipper(folder: Path, line: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "chipper.cli.main", *(word.replace("ODD", ODD) for word in line.split())]
    result = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    said = (result.stdout + result.stderr).decode()  # all that is printed is UTF-8
    assert "a bug in chipper" not in said
    assert "Traceback" not in said
    return result.returncode, said


def test_all_inside_such_a_folder_works(data: Path, tmp_path: Path) -> None:
    lines = [
        "build-positives ODD/coco.json --workdir ODD/w --image-dir ODD/images --json",
        "mine-negatives --proposals ODD/rpn.pkl --min-proposals 3 3 --nms 1 --workdir ODD/w",
        "export-shards --workdir ODD/w --jobs 1",
        "verify --deep --workdir ODD/w --json",
        "preview --workdir ODD/w --out ODD/p",
        "export-yolo --workdir ODD/w --out ODD/yolo --val-share 0",
        "import-yolo ODD/yolo --out ODD/c.json",
        "plan ODD/c.json --json",
    ]
    for line in lines:
        code, said = chipper(tmp_path, line)
        assert code == 0, (line, said)
    assert json.loads((data / "w" / "dataset.json").read_text())["image_dir"] == "../images"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("build-positives ODD/coco.json --workdir w", "has a name that is not UTF-8"),
        ("build-positives ok.json --image-dir ODD/images --workdir w", "has a name that is not UTF-8"),
        ("build-positives ODD/nothing.json --workdir w --json", "nothing.json does not exist"),
        ("import-yolo ODD/yolo --out c.json", "not a valid file name in COCO"),
    ],
)
def test_what_cannot_be_recorded_is_one_line(data: Path, tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "ok.json").write_bytes((data / "coco.json").read_bytes())
    for name in ("images", "labels"):
        (data / "yolo" / name / "deep").mkdir(parents=True)
    (data / "yolo" / "images" / "deep" / "a.jpg").write_bytes((data / "images" / "a.jpg").read_bytes())
    (data / "yolo" / "labels" / "deep" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (data / "yolo" / "data.yaml").write_text("train: images\nnames: [x]\n")
    (tmp_path / "images").symlink_to(data / "images")
    code, output = chipper(tmp_path, line)
    assert code == 1
    assert said in output
    assert not (tmp_path / "w" / "dataset.json").exists()
