from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys

import pytest
import torch

from chipper.detection import checkpoint as module
from chipper.detection.checkpoint import (
    Checkpoint,
    Identity,
    Progress,
    checkpoints,
    load_checkpoint,
    load_detector,
    require_same,
    rng_states,
    save_checkpoint,
)
from chipper.detection.model import build_model
from chipper.errors import CheckpointError, StorageError

IDS, NAMES = (3, 7), ("square", "disc")


@pytest.fixture(scope="module")
def tiny():
    return build_model("tiny", 2, 128, weights=None, seed=6)


@pytest.fixture
def content(tiny):
    return Checkpoint(
        identity=Identity.of(tiny, IDS, NAMES), progress=Progress(12, 1, 64), rpn_only=False, stem_frozen=False,
        schedule={"lr": 0.1, "total_steps": 40}, model=tiny.state_dict(), optimizer={"state": {}}, rng=rng_states(),
    )  # fmt: skip


def at_step(content, step):
    return dataclasses.replace(content, progress=Progress(step))


def test_what_is_saved_comes_back(tmp_path, tiny, content):
    path = save_checkpoint(tmp_path / "run", content)
    back = load_checkpoint(path)
    for name in ("identity", "progress", "rpn_only", "stem_frozen", "schedule", "optimizer"):
        assert getattr(back, name) == getattr(content, name)
    model, _ = load_detector(tmp_path / "run")
    assert not model.training
    assert all(torch.equal(value, tiny.state_dict()[key]) for key, value in model.state_dict().items())


def test_the_last_two_are_kept_and_nothing_temporary_is_left(tmp_path, content):
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, at_step(content, step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-00000010.pt", "checkpoint-00000015.pt"]
    assert load_checkpoint(tmp_path).progress.step == 15


def test_a_failed_save_leaves_the_checkpoint_before_it(tmp_path, content, monkeypatch):
    save_checkpoint(tmp_path, at_step(content, 5))

    def full_disk(_content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.torch, "save", full_disk)
    with pytest.raises(StorageError, match="no space is left on that disk"):
        save_checkpoint(tmp_path, at_step(content, 10))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000005.pt"]
    assert load_checkpoint(tmp_path).progress.step == 5


def test_damage_is_reported_with_the_older_one_named(tmp_path, content):
    save_checkpoint(tmp_path, at_step(content, 5))
    path = save_checkpoint(tmp_path, at_step(content, 10))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"00000010.pt is damaged.*checkpoint-00000005.pt beside it is older"):
        load_checkpoint(tmp_path)


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        load_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"no checkpoint .*missing\.pt"):
        load_checkpoint(tmp_path / "missing.pt")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="goes to weights"):
        load_checkpoint(tmp_path / "state.pt")
    torch.save({"format": 99, "identity": {}}, tmp_path / "newer.pt")
    with pytest.raises(CheckpointError, match="another format"):
        load_checkpoint(tmp_path / "newer.pt")


class Payload:
    def __reduce__(self):
        return print, ("code ran while a checkpoint was loading",)


def test_a_checkpoint_cannot_run_code(tmp_path, capsys):
    torch.save({"format": 1, "identity": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "evil.pt")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "resnet50"}, "the model of the checkpoint is tiny, of this run resnet50"),
        (
            {"class_names": ("square", "ring")},
            "the classes of the checkpoint are 3 square, 7 disc, of this run 3 square, 7 ring",
        ),
        ({"class_ids": (1, 2)}, "3 square, 7 disc, of this run 1 square, 2 disc"),
        ({"chip_size": 256}, "the chip size of the checkpoint is 128, of this run 256"),
        ({"stride": 16}, "the anchors' stride of the checkpoint is 8, of this run 16"),
    ],
)
def test_another_model_or_class_set_is_refused_naming_both(content, tmp_path, change, message):
    wanted = dataclasses.replace(content.identity, **change)
    with pytest.raises(CheckpointError, match=message):
        require_same(content.identity, wanted, tmp_path)
    require_same(content.identity, content.identity, tmp_path)


def test_checkpoints_ignores_what_others_put_there(tmp_path, content):
    (tmp_path / "checkpoint-best.pt").write_text("")
    save_checkpoint(tmp_path, at_step(content, 7))
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-00000007.pt"]


KILLED_WHILE_SAVING = """
import io, os, signal, sys
from pathlib import Path
import torch
import chipper.detection.checkpoint as checkpoint

folder, moment = Path(sys.argv[1]), int(sys.argv[2])
latest = checkpoint.load_checkpoint(folder)
latest = checkpoint.Checkpoint(**{**vars(latest), "progress": checkpoint.Progress(step=99)})
save = torch.save

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def half(content, file):
    buffer = io.BytesIO()
    save(content, buffer)
    file.write(buffer.getvalue()[: buffer.tell() // 2])
    file.flush()
    die()

if moment == 0:
    torch.save = half
elif moment == 1:
    os.fsync = die
elif moment == 2:
    os.replace = die
else:
    Path.unlink = die
checkpoint.save_checkpoint(folder, latest)
"""


@pytest.mark.parametrize(
    "moment", [0, 1, 2, 3], ids=["half written", "not synced", "not renamed", "old one not removed"]
)
def test_a_run_killed_while_it_writes_a_checkpoint_has_the_one_before(tmp_path, content, moment):
    for step in (5, 10):
        save_checkpoint(tmp_path, dataclasses.replace(content, progress=Progress(step, 1, 4)))
    words = [sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path), str(moment)]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    found = load_checkpoint(tmp_path)
    assert found.progress.step == (99 if moment == 3 else 10)
    assert found.model.keys() == content.model.keys()
    save_checkpoint(tmp_path, dataclasses.replace(content, progress=Progress(100, 1, 4)))
    assert load_checkpoint(tmp_path).progress.step == 100
