"""The four commands, exactly as the README gives them, on 128 real COCO images."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset

COCO128 = Path(__file__).parents[1].parent / "shared" / "data" / "coco128"
CHIPPER = Path(sys.executable).with_name("chipper")

pytestmark = pytest.mark.skipif(not COCO128.is_dir(), reason=f"needs the 128 COCO images of {COCO128}")


def chipper(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHIPPER")}
    command = [str(CHIPPER), *line.split()]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds coco.json, its images and rpn.pkl, after the first three lines."""
    folder = tmp_path_factory.mktemp("coco128")
    shutil.copyfile(COCO128 / "instances.json", folder / "coco.json")
    shutil.copyfile(COCO128 / "proposals.pkl", folder / "rpn.pkl")
    shutil.copytree(COCO128 / "images", folder / "images", copy_function=shutil.copyfile)
    for line in (
        "build-positives coco.json --scales 512,1.667,3",
        "mine-negatives --proposals rpn.pkl",
        "export-shards",
    ):
        done = chipper(folder, line)
        assert done.returncode == 0, done.stderr
    return folder


def chips(folder: Path) -> dict[str, list[object]]:
    tables = [pq.read_table(path) for path in sorted((folder / "chips" / "chips").glob("*.parquet"))]
    return {name: [value for table in tables for value in table[name].to_pylist()] for name in tables[0].column_names}


def test_both_kinds_of_chips_are_there(folder: Path) -> None:
    kinds = chips(folder)["kind"]
    assert kinds.count("positive") > 400
    assert kinds.count("negative") > 1000


def test_webdataset_reads_every_chip_of_the_manifest_once(folder: Path) -> None:
    shards = sorted(str(path) for path in (folder / "chips" / "shards").glob("*.tar"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files to the garbage collector
        samples = list(webdataset.WebDataset(shards, shardshuffle=False))
        gc.collect()
    found = []
    for sample in samples:
        record = json.loads(sample["json"])
        assert sample["jpg"][:2] == b"\xff\xd8"
        assert (record["width"], record["height"]) == (512, 512)
        found.append(record["chip"]["chip_id"])
    assert sorted(found) == sorted(chips(folder)["chip_id"])


def test_epochs_hold_all_positives_and_two_negatives_an_image(folder: Path) -> None:
    table = chips(folder)
    kind = dict(zip(table["chip_id"], table["kind"], strict=True))
    image = dict(zip(table["chip_id"], table["image_id"], strict=True))
    positives = {chip for chip, what in kind.items() if what == "positive"}
    paths = sorted((folder / "chips" / "epochs").glob("epoch-*.parquet"))
    assert len(paths) == 7
    for path in paths:
        ids = pq.read_table(path)["chip_id"].to_pylist()
        assert len(ids) == len(set(ids))
        assert positives <= set(ids)
        negatives = [image[chip] for chip in ids if kind[chip] == "negative"]
        assert 0 < np.unique(negatives, return_counts=True)[1].max() <= 2


def test_a_second_run_changes_nothing(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "chips" / "shards").glob("*.tar")}
    for line in ("build-positives coco.json --scales 512,1.667,3", "export-shards"):
        assert chipper(folder, line).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_training_runs_on_the_shards(folder: Path) -> None:
    done = chipper(folder, "train --shards --max-steps 20 --batch-size 2 --device cpu")
    assert done.returncode == 0, done.stderr
    run = folder / "chips" / "runs" / "detector"
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 20
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert list(run.glob("checkpoint-*.pt"))
    assert list((run / "tensorboard").glob("events.*"))
