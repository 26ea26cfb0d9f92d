"""train, propose, predict and evaluate from the command line, on a few drawn images."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from chipper.demo_data import DemoOptions, draw_demo

CHIPPER = Path(sys.executable).with_name("chipper")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("CHIPPER")}
TINY = "--model tiny --weights none --batch-size 4 --device cpu"


def chipper(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    command = [str(CHIPPER), *line.split()]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


def done(folder: Path, line: str) -> str:
    result = chipper(folder, line)
    assert result.returncode == 0, result.stderr
    return result.stdout


def fault(folder: Path, line: str) -> str:
    result = chipper(folder, line)
    assert result.returncode == 1, result.stdout + result.stderr
    errors = [text for text in result.stderr.splitlines() if text.startswith("chipper: error:")]
    assert len(errors) == 1
    assert "Traceback" not in result.stderr
    return errors[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir with shards and a short run of each kind."""
    folder = tmp_path_factory.mktemp("commands")
    draw_demo(folder, DemoOptions(train_images=4, val_images=2))
    done(folder, "build-positives train/coco.json --scales 256,0.833,2 --chip-size 256 --jobs 1")
    done(folder, "export-shards --jobs 1")
    done(folder, f"train --shards --rpn-only --max-steps 4 {TINY}")
    done(folder, f"train --shards --max-steps 6 {TINY}")
    return folder


def steps(folder: Path, run: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "chips" / "runs" / run / "metrics.jsonl").read_text().splitlines()]


def test_runs_leave_metrics_and_checkpoints(folder: Path) -> None:
    assert [row["step"] for row in steps(folder, "rpn")] == [1, 2, 3, 4]
    assert [row["step"] for row in steps(folder, "detector")] == [1, 2, 3, 4, 5, 6]
    assert "roi_class" in steps(folder, "detector")[0]
    assert "roi_class" not in steps(folder, "rpn")[0]


def test_a_run_is_not_overwritten_and_goes_on_with_resume(folder: Path) -> None:
    assert "resume" in fault(folder, f"train --shards --max-steps 8 {TINY}")
    done(folder, f"train --shards --name long --max-steps 3 {TINY}")
    done(folder, f"train --shards --name long --max-steps 5 --resume {TINY}")
    assert [row["step"] for row in steps(folder, "long")] == [1, 2, 3, 4, 5]


def test_a_checkpoint_of_another_model_is_refused(folder: Path) -> None:
    line = fault(
        folder, "train --shards --name rpn --rpn-only --resume --max-steps 9 --model mobilenet_v2 --weights none"
    )
    assert "tiny" in line
    assert "mobilenet_v2" in line


@pytest.mark.parametrize("name", ["rpn.pkl", "rpn.parquet"])
def test_proposals_go_into_mining(folder: Path, tmp_path: Path, name: str) -> None:
    done(folder, f"propose --run rpn --out {tmp_path / name}")
    if name.endswith(".pkl"):
        arrays = pickle.loads((tmp_path / name).read_bytes())
        assert len(arrays) == 4
        assert all(array.shape[1] == 5 and len(array) > 300 for array in arrays)
    text = done(folder, f"mine-negatives --proposals {tmp_path / name}")
    assert "negative chips in all" in text
    done(folder, "export-shards --jobs 1")


def test_detections_are_evaluated(folder: Path) -> None:
    done(folder, "predict val/coco.json --run detector --out found.json")
    found = json.loads((folder / "found.json").read_text())
    assert found
    assert set(found[0]) == {"image_id", "category_id", "bbox", "score"}
    assert {entry["category_id"] for entry in found} <= {1, 2, 4, 7, 9}
    assert "AP50" in done(folder, "evaluate val/coco.json found.json")


def test_detections_of_other_images_are_refused(folder: Path) -> None:
    done(folder, "predict val/coco.json --run detector --out found.json")
    result = chipper(folder, "evaluate train/coco.json found.json")
    assert result.returncode == 2
    assert "does not have" in result.stderr


def test_a_run_that_is_not_there_is_named(folder: Path) -> None:
    assert "nothing" in fault(folder, "predict val/coco.json --run nothing")


def test_shards_in_another_place(folder: Path, tmp_path: Path) -> None:
    (folder / "chips" / "shards").rename(tmp_path / "shards")
    try:
        assert "export-shards" in fault(folder, f"train --shards --name elsewhere --max-steps 1 {TINY}")
        done(folder, f"train --shards {tmp_path / 'shards'} --name elsewhere --max-steps 1 {TINY}")
    finally:
        (tmp_path / "shards").rename(folder / "chips" / "shards")


def test_two_processes_train_as_one(folder: Path) -> None:
    """Under torchrun each process takes its share; the first writes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(CHIPPER)]
    words = f"train --shards --name both --max-steps 2 {TINY}".split()
    environment = ENVIRONMENT | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run([*command, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert [row["step"] for row in steps(folder, "both")] == [1, 2]
