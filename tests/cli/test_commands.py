"""The command line: one clear line for every fault, the right exit code, and no incomplete file that looks complete."""

from __future__ import annotations

import json
import os
import pickle
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chipper.cli.main import COMMANDS
from chipper.demo.data import DemoOptions, draw_demo
from chipper.errors import OptionError
from chipper.mining.options import PositiveOptions

CHIPPER = Path(sys.executable).with_name("chipper")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("CHIPPER")}


def chipper(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(CHIPPER), *words], cwd=folder, env=ENVIRONMENT | environment, capture_output=True, text=True
    )


def fault(folder: Path, *words: str, code: int = 1) -> str:
    """The one line of error of a command that must fail."""
    done = chipper(folder, *words)
    assert done.returncode == code, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("chipper: error:")]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return errors[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    draw_demo(folder, DemoOptions(train_images=4, val_images=0))
    return folder / "train"


@pytest.fixture(scope="module")
def built(data: Path) -> Path:
    done = chipper(data, "build-positives", "coco.json", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    return data


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    listed = chipper(tmp_path, "--help").stdout
    for command in COMMANDS:
        assert command in listed
        text = chipper(tmp_path, command, "--help").stdout
        assert f"Example: chipper {command}" in text


def test_summary_is_on_standard_output_and_log_lines_are_not(data: Path, tmp_path: Path) -> None:
    done = chipper(data, "build-positives", "coco.json", "--workdir", str(tmp_path / "w"), "--jobs", "1")
    assert "chips in all" in done.stdout
    assert "reading coco.json" not in done.stdout
    assert "reading coco.json" in done.stderr


def test_a_terminal_gets_a_progress_bar(data: Path, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    command = [str(CHIPPER), "build-positives", "coco.json", "--workdir", str(tmp_path / "w"), "--jobs", "1"]
    with subprocess.Popen(command, cwd=data, stderr=follower, stdout=subprocess.DEVNULL, env=ENVIRONMENT) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                piece = os.read(leader, 4096)
            except OSError:  # the other end is closed
                break
            shown += piece
    os.close(leader)
    assert process.returncode == 0
    assert "━".encode() in shown


def test_workdir_comes_from_the_environment(data: Path, tmp_path: Path) -> None:
    done = chipper(data, "build-positives", "coco.json", "--jobs", "1", CHIPPER_WORKDIR=str(tmp_path / "other"))
    assert done.returncode == 0
    assert (tmp_path / "other" / "dataset.json").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--scales", "512,big"], "--scales"),
        (["--scales", "512,2"], "--valid-ranges"),
        (["--valid-ranges", "120:,32:150"], "--valid-ranges"),
        (["--valid-ranges", ":80,32:150,120:"], "coarse to fine"),
        (["--stride", "0"], "--stride"),
        (["--stride", "600"], "--stride"),
        (["--chip-size", "1"], "--chip-size"),
        (["--variants", "0"], "--variants"),
        (["--jobs", "0"], "--jobs"),
    ],
)
def test_bad_options_name_the_option_and_exit_2(data: Path, tmp_path: Path, words: list[str], named: str) -> None:
    line = fault(data, "build-positives", "coco.json", "--workdir", str(tmp_path / "w"), *words, code=2)
    assert named in line
    assert not (tmp_path / "w" / "dataset.json").exists()


def test_unknown_options_and_commands_exit_2(tmp_path: Path) -> None:
    assert chipper(tmp_path, "build-positives", "x.json", "--nonsense").returncode == 2
    assert chipper(tmp_path, "nonsense").returncode == 2
    assert chipper(tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "not COCO"),
        (b'{"hello": 1}', '"images"'),
        (b'{"images": [], "annotations": [], "categories": []}', '"images"'),
        (b'{"images": [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}], "categories": []}', '"annotations"'),
    ],
)
def test_unusable_annotation_files_are_one_line(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "coco.json").write_bytes(content)
    line = fault(tmp_path, "build-positives", "coco.json")
    assert says in line
    assert "coco.json" in line
    assert not (tmp_path / "chips" / "dataset.json").exists()


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["mine-negatives", "--proposals", "rpn.pkl"], "build-positives"),
        (["export-shards"], "build-positives"),
        (["verify"], "export-shards"),
        (["preview"], "build-positives"),
        (["train", "--shards"], "build-positives"),
        (["propose"], "train"),
        (["predict", "coco.json"], "train"),
        (["evaluate", "coco.json"], "coco.json"),
    ],
)
def test_a_step_without_the_one_before_names_it(tmp_path: Path, words: list[str], cure: str) -> None:
    assert cure in fault(tmp_path, *words)


def test_other_options_are_refused_and_overwrite_replaces(built: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "w"
    assert chipper(built, "build-positives", "coco.json", "--workdir", str(workdir)).returncode == 0
    line = fault(built, "build-positives", "coco.json", "--workdir", str(workdir), "--stride", "64")
    assert "--stride 32" in line
    assert "--overwrite" in line
    done = chipper(built, "build-positives", "coco.json", "--workdir", str(workdir), "--stride", "64", "--overwrite")
    assert done.returncode == 0


def test_images_that_are_nowhere_are_named_with_the_places(built: Path, tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_bytes((built / "coco.json").read_bytes())
    assert chipper(tmp_path, "build-positives", "coco.json").returncode == 0
    line = fault(tmp_path, "export-shards")
    assert "images" in line
    assert "train2017" in line
    assert "--image-dir" in line


def test_lost_images_exit_3_and_are_listed(built: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for path in (built / "images").iterdir():
        (tmp_path / "images" / path.name).write_bytes(path.read_bytes())
    first = sorted((tmp_path / "images").iterdir())[0]
    first.write_bytes(first.read_bytes()[:2000])
    words = ["export-shards", "--image-dir", str(tmp_path / "images"), "--workdir", str(tmp_path / "w")]
    assert chipper(built, "build-positives", "coco.json", "--workdir", str(tmp_path / "w")).returncode == 0
    done = chipper(built, *words)
    assert done.returncode == 3, done.stderr
    assert first.name in done.stdout
    assert first.name in fault(built, *words, "--on-error", "fail", "--retry-errors")


def test_proposals_of_another_data_set_are_refused(built: Path, tmp_path: Path) -> None:
    (tmp_path / "rpn.pkl").write_bytes(pickle.dumps([np.zeros((0, 5))] * 3, protocol=2))
    line = fault(built, "mine-negatives", "--proposals", str(tmp_path / "rpn.pkl"))
    assert "3 images" in line
    assert "4 images" in line


def test_a_pickle_that_runs_code_is_refused_unrun(built: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "rpn.pkl").write_bytes(pickle.dumps([Evil()], protocol=2))
    assert "refused" in fault(built, "mine-negatives", "--proposals", str(tmp_path / "rpn.pkl"))
    assert not (tmp_path / "ran").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = chipper(tmp_path, "--debug", "export-shards")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_verify_names_the_damage_and_export_repairs_it(built: Path, tmp_path: Path) -> None:
    workdir = ["--workdir", str(tmp_path / "w")]
    assert chipper(built, "build-positives", "coco.json", *workdir).returncode == 0
    assert chipper(built, "export-shards", "--chips-per-shard", "5", *workdir).returncode == 0
    assert chipper(built, "verify", *workdir).returncode == 0
    shards = sorted((tmp_path / "w" / "shards").glob("*.tar"))
    whole = {path: path.read_bytes() for path in shards}
    shards[1].write_bytes(whole[shards[1]][:-512])
    done = chipper(built, "verify", *workdir)
    assert done.returncode == 1
    assert shards[1].name in done.stderr
    assert "run `chipper verify --repair`, then `chipper export-shards` to repair" in done.stderr
    done = chipper(built, "verify", "--repair", *workdir)
    assert done.returncode == 1
    assert "run `chipper export-shards` to repair" in done.stderr
    assert chipper(built, "export-shards", "--chips-per-shard", "5", *workdir).returncode == 0
    assert {path: path.read_bytes() for path in shards} == whole


def test_no_space_left_is_one_line_and_loses_nothing(built: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)], capture_output=True, text=True
    )
    if mount.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mount.stderr.strip()}")
    try:
        workdir = ["--workdir", str(small / "w"), "--jobs", "1"]
        assert chipper(built, "build-positives", "coco.json", *workdir).returncode == 0
        assert "no space is left" in fault(built, "export-shards", *workdir)
        names = {path.name for path in (small / "w" / "shards").iterdir()}
        assert not any(name.endswith(".done.json") or name == "dataset.json" for name in names)
        assert json.loads((small / "w" / "dataset.json").read_text())["parts"] == 1
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["build-positives", "coco.json", "--chip-size", "8"], "--chip-size is 8; it goes from 16 to 16384"),
        (["build-positives", "coco.json", "--stride", "9-8"], "--stride 9-8: the second number is below the first"),
        (
            ["mine-negatives", "--proposals", "rpn.pkl", "--negatives-per-image", "-1"],
            "--negatives-per-image is -1; it must be at least 0",
        ),
    ],
)
def test_errors_of_the_library_name_the_flags_that_were_typed(words: list[str], named: str, tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text("{}")
    (tmp_path / "rpn.pkl").write_bytes(b"")
    assert fault(tmp_path, *words, code=2).startswith(f"chipper: error: {named}")


def test_errors_of_the_library_name_fields_in_python() -> None:
    with pytest.raises(OptionError, match="^chip_size is 8; it goes from 16 to 16384$"):
        PositiveOptions.parse(chip_size=8)
