"""The demo: the whole chain on a drawn data set, and it really learns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

CHIPPER = Path(sys.executable).with_name("chipper")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("CHIPPER")}
LEAST_AP = 0.35


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "chipper-demo"
    done = subprocess.run([str(CHIPPER), "demo"], cwd=folder.parent, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return folder


def evaluated(demo: Path) -> list[float]:
    """Pycocotools' numbers, computed here, not taken from the demo."""
    truth = COCO(str(demo / "val" / "coco.json"))
    run = COCOeval(truth, truth.loadRes(str(demo / "detections.json")), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return [float(value) for value in run.stats]


def test_it_learns(demo: Path) -> None:
    numbers = evaluated(demo)
    print(f"AP {numbers[0]:.3f} of at least {LEAST_AP}")
    assert numbers[0] >= LEAST_AP


def test_the_numbers_it_prints_are_those_of_pycocotools(demo: Path) -> None:
    told = json.loads((demo / "demo.json").read_text())["evaluation"]["numbers"]
    np.testing.assert_allclose(list(told.values()), evaluated(demo), atol=1e-12)


def test_negatives_are_mined_from_its_own_proposals(demo: Path) -> None:
    kinds = pq.read_table(demo / "chips" / "chips" / "negative-00000.parquet")["kind"].to_pylist()
    assert len(kinds) > 50
    assert set(kinds) == {"negative"}


def test_it_leaves_a_folder_to_look_at(demo: Path) -> None:
    assert len(list((demo / "preview").glob("*.jpg"))) == 12
    assert len(list((demo / "detections").glob("*.jpg"))) == 32
    for path in (demo / "preview").glob("*.jpg"):
        with Image.open(path) as picture:
            picture.load()
            assert picture.width > 640  # the chips stand beside the image
    steps = [
        json.loads(line) for line in (demo / "chips" / "runs" / "detector" / "metrics.jsonl").read_text().splitlines()
    ]
    assert np.mean([s["loss"] for s in steps[-50:]]) < np.mean([s["loss"] for s in steps[:50]])


def test_its_shards_are_whole(demo: Path) -> None:
    done = subprocess.run([str(CHIPPER), "verify", "--deep"], cwd=demo, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    done = subprocess.run(
        [str(CHIPPER), "demo", "--out", "mine"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--out" in done.stderr
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"
