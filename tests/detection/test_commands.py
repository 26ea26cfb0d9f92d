"""train, propose, predict and evaluate from the command line, on a few drawn images."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from chipper.coco.reading import read_images
from chipper.demo.data import DemoOptions, draw_demo
from chipper.detection.model import Detector
from chipper.detection.predict import predict
from chipper.errors import DeviceError

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


def test_resume_without_a_checkpoint_takes_the_weights_that_are_asked_for(folder: Path) -> None:
    line = "train --shards --name early --resume --max-steps 1 --model resnet50 --batch-size 1 --device cpu"
    assert "nowhere.pth" in fault(folder, f"{line} --weights nowhere.pth")
    stale = folder / "chips" / "runs" / "early" / "run.json"
    stale.parent.mkdir(exist_ok=True)
    stale.write_text((folder / "chips/runs/rpn/run.json").read_text().replace("256,0.833,2", "128,0.5,1"))
    result = chipper(folder, f"train --shards --name early --resume --max-steps 1 --json {TINY}")
    assert result.returncode == 0, result.stderr
    assert "starts at its beginning" in json.loads(result.stdout)["warnings"][0]
    assert json.loads(stale.read_text())["training"]["rpn_only"] is False
    logs = (folder / "chips" / "logs").glob("*-train-*.log")
    assert any("warning: no checkpoint in" in path.read_text() for path in logs)


def test_a_run_goes_on_as_it_was_begun_or_says_so(folder: Path) -> None:
    begin = f"train --shards --name begun --lr 1e-5 --ema 0.9 --freeze-norms {TINY}"
    done(folder, f"{begin} --max-steps 1")
    again = "train --shards --name begun --resume --max-steps 2"
    assert "begun with --ema 0.9, and this is no --ema" in fault(folder, f"{again} --freeze-norms {TINY}")
    assert "begun with --freeze-norms, and this is no --freeze-norms" in fault(folder, f"{again} --ema 0.9 {TINY}")
    result = chipper(folder, f"{again} --ema 0.9 --freeze-norms --lr 2e-5 --json {TINY}")
    assert result.returncode == 0, result.stderr
    (warning,) = json.loads(result.stdout)["warnings"]
    assert "was begun at the learning rate 1e-05 and goes on at 2e-05" in warning
    result = chipper(folder, f"{again} --ema 0.9 --freeze-norms --lr 2e-5 --seed 7 --max-steps 3 --json {TINY}")
    (warning,) = json.loads(result.stdout)["warnings"]
    assert warning.endswith("was begun with seed 0, and this is seed 7: it goes on with the latter")


def test_a_run_does_not_go_on_with_other_chips(folder: Path, tmp_path: Path) -> None:
    done(
        folder, f"build-positives train/coco.json --scales 200,0.6,1.5 --chip-size 256 --jobs 1 --workdir {tmp_path}/w"
    )
    done(folder, f"export-shards --jobs 1 --workdir {tmp_path}/w")
    shutil.copytree(folder / "chips" / "runs", tmp_path / "w" / "runs")
    line = fault(folder, f"train --shards --resume --max-steps 8 --workdir {tmp_path}/w {TINY}")
    assert "was begun on other chips than the workdir holds now" in line


def test_an_untrained_box_head_detects_nothing(folder: Path) -> None:
    assert "trained the RPN alone" in fault(folder, "predict val/coco.json --run rpn --out found.json")
    os.utime(max((folder / "chips" / "runs" / "rpn").glob("checkpoint-*.pt")))  # it is the newest
    done(folder, "predict val/coco.json --out found.json")


def test_too_little_memory_at_inference(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Detector, "detect", too_large)
    run, images = folder / "chips" / "runs" / "detector", read_images(folder / "val" / "coco.json")
    with pytest.raises(DeviceError, match="too little memory for it; give coarser scales, single_scale, or device cpu"):
        predict(run, images, folder / "val" / "images", device="cpu")


def detections(folder: Path, out: Path, score_floor: float, data: Path | None = None) -> bytes:
    """The file that `predict` writes for the training images, in this process."""
    data = data or folder / "train"
    images, run = read_images(data / "coco.json"), folder / "chips" / "runs" / "detector"
    predict(run, images, data / "images", device="cpu", score_floor=score_floor, out=out)
    return out.read_bytes()


def test_predict_on_a_full_disk_keeps_what_it_found_and_goes_on(folder: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", small], capture_output=True, text=True)
    if mount.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mount.stderr.strip()}")
    try:
        data = tmp_path / "train"
        shutil.copytree(folder / "train", data)
        whole = detections(folder, tmp_path / "found.json", 0.0, data)
        line = f"predict {data}/coco.json --run detector --score-floor 0 --out {small}/found.json --device cpu"
        assert "no space is left" in fault(folder, line)
        kept = [json.loads(text) for text in (small / "found.json.partial").read_bytes().splitlines()[1:-1]]
        assert 1 <= len(kept) < 4
        subprocess.run(["mount", "-o", "remount,size=10m", small], check=True)
        images = read_images(data / "coco.json")
        names = dict(zip(images.image_id.tolist(), images.file_name, strict=True))
        for image_id, _ in kept:  # it does not look at these again
            (data / "images" / names[image_id]).unlink()
        assert detections(folder, small / "found.json", 0.0, data) == whole
        assert sorted(path.name for path in small.iterdir()) == ["found.json"]
    finally:
        subprocess.run(["umount", small], check=True)


def test_predict_goes_on_after_a_kill_but_not_with_other_options(folder: Path, tmp_path: Path) -> None:
    whole, others = (detections(folder, tmp_path / "whole.json", floor) for floor in (0.01, 0.2))
    assert whole != others
    out, partial = tmp_path / "found.json", tmp_path / "found.json.partial"
    line = [
        str(CHIPPER),
        *f"predict train/coco.json --run detector --score-floor 0.01 --out {out} --device cpu".split(),
    ]
    with subprocess.Popen(line, cwd=folder, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (partial.exists() and partial.read_bytes().count(b"\n") >= 2):
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    left = partial.read_bytes()
    assert detections(folder, out, 0.2) == others
    assert not partial.exists()
    partial.write_bytes(left)
    assert detections(folder, out, 0.01) == whole


def test_propose_goes_on_after_a_kill(folder: Path, tmp_path: Path) -> None:
    whole, out, partial = tmp_path / "whole.pkl", tmp_path / "rpn.pkl", tmp_path / "rpn.pkl.partial"
    done(folder, f"propose --run rpn --device cpu --out {whole}")
    line = [str(CHIPPER), *f"propose --run rpn --device cpu --out {out}".split()]
    with subprocess.Popen(line, cwd=folder, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (partial.exists() and partial.read_bytes().count(b"\n") >= 2):
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    done(folder, f"propose --run rpn --device cpu --out {out}")
    assert out.read_bytes() == whole.read_bytes()
    assert not partial.exists()


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


def test_one_scale_and_mirror_images(folder: Path) -> None:
    done(folder, "predict val/coco.json --run detector --single-scale --flip --out single.json")
    assert "AP50" in done(folder, "evaluate val/coco.json single.json --curves curves.png")
    assert (folder / "curves.png").stat().st_size > 1000


def test_detections_of_other_images_are_refused(folder: Path) -> None:
    done(folder, "predict val/coco.json --run detector --out found.json")
    result = chipper(folder, "evaluate train/coco.json found.json")
    assert result.returncode == 1
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


def torchrun(folder: Path, *words: str) -> None:
    """Run a Python file in two processes of torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words]
    environment = ENVIRONMENT | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def losses(folder: Path, name: str) -> list[list[float]]:
    parts = ("loss", "rpn_objectness", "rpn_box", "roi_class", "roi_box", "gradient_norm", "lr")
    return [[row[part] for part in parts] for row in steps(folder, name)]


# Batch norms are frozen, since each process has its own statistics of its own chips.
TRAINING = """
import sys
from pathlib import Path
from chipper.detection.devices import process_group
from chipper.detection.engine import train
from chipper.detection.loader import ChipLoader, LoaderOptions
from chipper.detection.model import build_model
from chipper.detection.train_options import TrainOptions
from chipper.manifest.workdir import Workdir

name, batch, stop, resume = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "resume"
workdir = Workdir(Path("chips"))
categories = workdir.dataset().categories
with process_group("cpu") as (rank, world):
    options = TrainOptions(
        batch_size=batch, max_steps=6, device="cpu", freeze_norms=True, resume=resume, tensorboard=False,
    )
    loader = ChipLoader(workdir, LoaderOptions(batch, rank=rank, world=world))
    model = build_model("tiny", len(categories), workdir.dataset().positive_options.chip_size, None, seed=rank)
    train(options, model, categories, loader, workdir.runs / name, on_step=lambda report: report.step == stop)
"""


def test_two_processes_train_as_one_with_the_double_batch_and_resume_as_one(folder: Path, tmp_path: Path) -> None:
    """Their losses, step for step; and those of a run that two processes began and one ends, and the reverse."""
    script = tmp_path / "training.py"
    script.write_text(TRAINING)

    def one(*words: str) -> None:
        result = subprocess.run(
            [sys.executable, str(script), *words], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr

    one("alone", "4", "0", "start")
    torchrun(folder, str(script), "both", "2", "0", "start")
    torchrun(folder, str(script), "both-then-one", "2", "3", "start")
    one("both-then-one", "4", "0", "resume")
    one("one-then-both", "4", "2", "start")
    torchrun(folder, str(script), "one-then-both", "2", "0", "resume")
    expected = losses(folder, "alone")
    assert len(expected) == 6
    for name in ("both", "both-then-one", "one-then-both"):
        for row, wanted in zip(losses(folder, name), expected, strict=True):
            assert row == pytest.approx(wanted, rel=2e-3), name


def test_the_command_under_torchrun(folder: Path) -> None:
    """Each process takes its share; the first writes."""
    torchrun(folder, str(CHIPPER), *f"train --shards --name torchrun --max-steps 2 {TINY}".split())
    assert [row["step"] for row in steps(folder, "torchrun")] == [1, 2]


def test_more_options_of_training(folder: Path) -> None:
    """Gradients of several batches, a running average, frozen norms, half precision."""
    words = "--accumulate 2 --ema 0.5 --freeze-norms --precision bf16"
    done(folder, f"train --shards --name more --max-steps 2 {words} {TINY}")
    assert [row["step"] for row in steps(folder, "more")] == [1, 2]
    started = json.loads((folder / "chips" / "runs" / "more" / "run.json").read_text())["training"]
    assert (started["accumulate"], started["ema"], started["freeze_norms"], started["max_steps"]) == (2, 0.5, True, 2)
    done(folder, f"train --shards --name more --max-steps 3 --resume {words} {TINY}")
    done(folder, "predict val/coco.json --run more --out more.json")


def test_focus(folder: Path) -> None:
    done(folder, f"train --shards --name focus --focus --max-steps 2 {TINY}")
    assert steps(folder, "focus")[-1]["focus"] > 0
    result = chipper(folder, "predict val/coco.json --run focus --focus 0.01 --out focus.json")
    assert result.returncode == 0, result.stderr
    assert "of the pyramid's" in result.stderr
    refused = chipper(folder, "predict val/coco.json --run detector --focus 0.3 --out focus.json")
    assert refused.returncode == 2
    assert "train with --focus" in refused.stderr


def test_masks_through_the_whole_chain(folder: Path) -> None:
    """Chips with masks, a mask head, masks in the results, and pycocotools' numbers for them."""
    refused = chipper(folder, f"train --shards --masks --name masks --max-steps 1 {TINY}")
    assert refused.returncode == 2
    assert "build-positives" in refused.stderr
    done(folder, "build-positives train/coco.json --workdir masks --scales 256,0.833,2 --chip-size 256 --masks")
    done(folder, "export-shards --workdir masks")
    done(folder, f"train --shards --workdir masks --masks --max-steps 2 {TINY}")
    assert steps(folder, "../../masks/runs/detector")[-1]["mask"] > 0
    assert "--masks" in fault(folder, f"train --shards --workdir masks --max-steps 3 --resume {TINY}")
    done(folder, "predict val/coco.json --workdir masks --out masks.json")
    found = json.loads((folder / "masks.json").read_text())
    assert found
    images = {image["id"]: image for image in json.loads((folder / "val" / "coco.json").read_text())["images"]}
    for entry in found[:20]:
        image = images[entry["image_id"]]
        assert entry["segmentation"]["size"] == [image["height"], image["width"]]
    assert "AP50" in done(folder, "evaluate val/coco.json masks.json --masks")
    (folder / "boxes.json").write_text(json.dumps([{k: v for k, v in d.items() if k != "segmentation"} for d in found]))
    assert "no masks" in chipper(folder, "evaluate val/coco.json boxes.json --masks").stderr


def test_inference_takes_the_bands_and_the_stretch_of_training(tmp_path: Path) -> None:
    pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'sniper-chipper[raster]'")
    draw_demo(tmp_path, DemoOptions(train_images=2, val_images=1))
    done(tmp_path, "build-positives train/coco.json --scales 256,0.833,2 --chip-size 256 --jobs 1")
    done(tmp_path, "export-shards --bands 3,2,1 --stretch 2-98 --jobs 1")
    done(tmp_path, f"train --shards --max-steps 2 {TINY}")
    run = json.loads((tmp_path / "chips" / "runs" / "detector" / "run.json").read_text())
    assert run["pixels"] == {"bands": "3,2,1", "stretch": "2-98"}
    found = []
    for options in ("", " --bands 3,2,1 --stretch 2-98", " --bands 1,2,3"):
        done(tmp_path, f"predict val/coco.json --single-scale --score-floor 0 --out found.json{options}")
        found.append((tmp_path / "found.json").read_bytes())
    assert found[0] == found[1]
    assert found[0] != found[2]
