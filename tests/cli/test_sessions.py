"""What all commands share: --json, --config, --quiet, --verbose, --dry-run, logs, exit codes, interrupts, completion."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from PIL import Image

from chipper.cli.main import COMMANDS, main
from chipper.demo.data import DemoOptions, draw_demo

CHIPPER = Path(sys.executable).with_name("chipper")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("CHIPPER")}
READERS = {"plan", "verify", "doctor", "completion"}  # verify removes receipts of what is damaged


def chipper(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(CHIPPER), *words], cwd=folder, env=ENVIRONMENT | environment, capture_output=True, text=True
    )


def command_of(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sessions")
    draw_demo(folder, DemoOptions(train_images=4, val_images=0))
    return folder / "train"


@pytest.fixture
def built(data: Path, tmp_path: Path) -> list[str]:
    """Arguments that make a workdir with positive chips."""
    workdir = ["--workdir", str(tmp_path / "w")]
    assert chipper(data, "build-positives", "coco.json", "--jobs", "1", *workdir).returncode == 0
    return workdir


def content_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"  # it names the last process
    }


# --- every command has them ---


@pytest.mark.parametrize("name", COMMANDS)
def test_options_of_every_command(name: str) -> None:
    words = {word for option in command_of(name).params for word in option.opts}
    assert {"--config", "--json", "--quiet", "--verbose", "--debug"} <= words
    assert ("--dry-run" in words) == (name not in READERS)


# --- --json ---


def test_json_is_one_object_on_standard_output(data: Path, tmp_path: Path) -> None:
    done = chipper(data, "build-positives", "coco.json", "--json", "--workdir", str(tmp_path / "w"))
    found = json.loads(done.stdout)
    assert found["command"] == "build-positives"
    assert found["exit_code"] == 0
    assert found["images"] == 4
    assert sum(found["positive_chips"].values()) > 0
    assert found["warnings"] == []
    assert found["seconds"]["total"] >= sum(found["seconds"]["stages"].values()) > 0


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (["build-positives", "nowhere.json", "--json"], 1, "AnnotationError"),
        (["build-positives", "coco.json", "--json", "--stride", "0"], 2, "OptionError"),
        (["build-positives", "--json"], 2, "UsageError"),
        (["export-shards", "--nonsense", "--json"], 2, "UsageError"),
    ],
)
def test_json_of_an_error(data: Path, tmp_path: Path, words: list[str], code: int, kind: str) -> None:
    done = chipper(data, *words, CHIPPER_WORKDIR=str(tmp_path / "w"))
    found = json.loads(done.stdout)
    assert (done.returncode, found["exit_code"], found["error"]["type"]) == (code, code, kind)
    assert found["error"]["message"] in done.stderr


def test_json_names_lost_images_with_exit_code_3(data: Path, built: list[str], tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for path in sorted((data / "images").iterdir())[1:]:
        (images / path.name).write_bytes(path.read_bytes())
    lost = sorted((data / "images").iterdir())[0].name
    done = chipper(data, "export-shards", "--json", "--image-dir", str(images), *built)
    found = json.loads(done.stdout)
    assert done.returncode == found["exit_code"] == 3
    assert {entry["file_name"] for entry in found["lost"]} == {lost}
    shown = chipper(data, "preview", "--count", "9", "--json", "--image-dir", str(images), *built)
    assert shown.returncode == json.loads(shown.stdout)["exit_code"] == 3
    assert lost in json.loads(shown.stdout)["warnings"][0]


def test_json_of_faults_which_are_also_said_on_standard_error(data: Path, built: list[str]) -> None:
    assert chipper(data, "export-shards", *built).returncode == 0
    tar = next((Path(built[1]) / "shards").glob("*.tar"))
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    done = chipper(data, "verify", "--json", *built)
    found = json.loads(done.stdout)
    assert done.returncode == found["exit_code"] == 1
    assert found["error"]["type"] == "ShardError"
    assert found["faults"] == [f"{tar}: its bytes have changed since it was written"]
    assert found["faults"][0] in done.stderr.splitlines()
    quiet = chipper(data, "verify", "--quiet", *built)
    assert quiet.stdout == ""
    assert str(tar) in quiet.stderr


# --- --quiet and --verbose ---


def test_quiet_says_nothing_but_errors(data: Path, tmp_path: Path) -> None:
    done = chipper(data, "build-positives", "coco.json", "--quiet", "--workdir", str(tmp_path / "w"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = chipper(data, "build-positives", "nowhere.json", "-q", "--workdir", str(tmp_path / "w"))
    assert done.stdout == ""
    assert done.stderr.startswith("chipper: error: ")
    done = chipper(data, "plan", "coco.json", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_verbose_says_each_part_shard_and_stage(data: Path, built: list[str]) -> None:
    plain, verbose = (chipper(data, "export-shards", *built, *more).stderr for more in ([], ["-v", "--quality", "80"]))
    assert "positives-00000-of-00001: " in verbose
    assert "rendering chips: took " in verbose
    assert "took" not in plain


def test_quiet_and_verbose_do_not_go_together(data: Path) -> None:
    assert chipper(data, "plan", "coco.json", "-q", "-v").returncode == 2


# --- the log, and the options of a run ---


def log_of(workdir: Path, command: str) -> str:
    (path,) = (workdir / "logs").glob(f"*-{command}-*.log")
    return path.read_text()


def test_a_run_leaves_its_log(data: Path, built: list[str]) -> None:
    text = log_of(Path(built[1]), "build-positives")
    assert "chipper build-positives coco.json" in text
    assert "scales: 512,1.667,3" in text
    assert "mining positive chips (images): took" in text
    assert text.endswith(" s\n")
    assert "ended with exit code 0 after" in text.splitlines()[-1]


def test_an_error_is_in_the_log(data: Path, built: list[str]) -> None:
    assert chipper(data, "mine-negatives", "--proposals", "nowhere.pkl", *built).returncode == 1
    lines = log_of(Path(built[1]), "mine-negatives").splitlines()
    assert "error: " in lines[-2]
    assert "nowhere.pkl" in lines[-2]
    assert "exit code 1" in lines[-1]


def test_a_command_that_fails_early_makes_no_workdir(data: Path, tmp_path: Path) -> None:
    assert chipper(data, "build-positives", "nowhere.json", "--workdir", str(tmp_path / "w")).returncode == 1
    assert not (tmp_path / "w").exists()


def test_a_log_that_cannot_be_written_stops_nothing(data: Path, built: list[str]) -> None:
    workdir = Path(built[1])
    for path in (workdir / "logs").iterdir():
        path.unlink()
    (workdir / "logs").rmdir()
    (workdir / "logs").write_text("in the way")
    assert chipper(data, "export-shards", *built).returncode == 0


def test_control_characters_do_not_reach_the_log_raw(data: Path, built: list[str]) -> None:
    assert chipper(data, "mine-negatives", "--proposals", "a\x1b[31m\nb.pkl", *built).returncode == 1
    text = log_of(Path(built[1]), "mine-negatives")
    assert "\x1b" not in text
    assert all(line.startswith("  ") or line[:4].isdigit() for line in text.splitlines())


def test_options_of_a_run_are_kept_and_make_it_again(data: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    words = ["--scales", "256,2", "--valid-ranges", "100:,:120", "--stride", "16", "--seed", "7"]
    assert chipper(data, "build-positives", "coco.json", *words, "--workdir", str(first)).returncode == 0
    kept = yaml.safe_load((first / "options.yaml").read_text())["build-positives"]
    assert kept["scales"] == "256,2"
    assert str(kept["stride"]) == "16"
    assert "jobs" not in kept
    again = ["--config", str(first / "options.yaml"), "--workdir", str(second)]
    assert chipper(data, "build-positives", *again).returncode == 0
    tables = [{k: v for k, v in content_of(w).items() if k.endswith(".parquet")} for w in (first, second)]
    assert tables[0] == tables[1]
    assert len(tables[0]) > 4


# --- --config ---


def test_what_is_typed_wins_over_the_environment_over_the_file(data: Path, tmp_path: Path) -> None:
    config = tmp_path / "chipper.yaml"
    config.write_text(f"workdir: {tmp_path / 'file'}\nepochs: 2\nbuild-positives:\n  coco: coco.json\n  epochs: 3\n")
    assert chipper(data, "build-positives", "--config", str(config)).returncode == 0
    assert len(list((tmp_path / "file" / "epochs").iterdir())) == 3  # a command's own section over the shared options
    environment = {"CHIPPER_CONFIG": str(config), "CHIPPER_WORKDIR": str(tmp_path / "environment")}
    assert chipper(data, "build-positives", **environment).returncode == 0
    assert (tmp_path / "environment" / "dataset.json").exists()
    typed = ["--workdir", str(tmp_path / "typed"), "--epochs", "1"]
    assert chipper(data, "build-positives", *typed, **environment).returncode == 0
    assert len(list((tmp_path / "typed" / "epochs").iterdir())) == 1


def test_values_are_read_as_typed(data: Path, tmp_path: Path) -> None:
    """YAML types are not used: a list means comma-separated values, 1:20 is not a base-60 number, yes is a flag."""
    config = tmp_path / "c.yaml"
    config.write_text("scales: [512, 800:1280, 3]\nvalid-ranges: 120:,30:150,:59\nmasks: yes\n")
    done = chipper(data, "build-positives", "coco.json", "--config", str(config), "--workdir", str(tmp_path / "w"))
    assert done.returncode == 0, done.stderr
    options = json.loads((tmp_path / "w" / "dataset.json").read_text())["options"]
    assert options["scales"] == "512,800:1280,3"
    assert options["valid_ranges"] == "120:,30:150,:59"
    assert options["masks"] is True


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "does not exist"),
        ("scales: [", "not YAML"),
        ("- a\n- b\n", "not a YAML mapping"),
        ("qualty: 3\n", "is quality meant?"),
        ("export-shard:\n  quality: 3\n", "is export-shards meant?"),
        ("build-positives:\n  quality: 3\n", "build-positives: there is no option quality"),
        ("build-positives: 3\n", "indented"),
        ("scales:\n  a: 1\n", "scales"),
        ("stride: 0\n", "--stride"),
        ("epochs: many\n", "--epochs"),
        ("!!python/object/apply:os.system ['touch ran']\n", "YAML"),
        ("a: &a [x]\nb: &b [*a, *a]\nscales: *b\n", "option a"),
    ],
)
def test_a_bad_file_is_one_line_and_exit_2(data: Path, tmp_path: Path, text: str | None, says: str) -> None:
    config = tmp_path / "c.yaml"
    if text is not None:
        config.write_text(text)
    words = ["build-positives", "coco.json", "--config", str(config), "--workdir", str(tmp_path / "w")]
    done = chipper(data, *words)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (data / "ran").exists()
    assert not (tmp_path / "w").exists()


# --- --dry-run ---


def test_dry_runs_write_nothing_and_say_what_the_runs_then_do(data: Path, built: list[str], tmp_path: Path) -> None:
    workdir = Path(built[1])
    steps: list[tuple[list[str], str]] = [
        (["export-shards"], "chips"),
        (
            ["train", "--shards", "--model", "tiny", "--weights", "none", "--batch-size", "2", "--max-steps", "2"],
            "steps",
        ),
        (["propose", "--out", str(tmp_path / "rpn.pkl"), "--per-scale", "20"], "images"),
        (["mine-negatives", "--proposals", str(tmp_path / "rpn.pkl"), "--min-proposals", "2", "2"], "negative_chips"),
        (["predict", "coco.json", "--out", str(tmp_path / "found.json")], "images"),
        (["evaluate", "coco.json", str(tmp_path / "found.json"), "--curves", str(tmp_path / "curves.png")], "numbers"),
        (["preview", "--out", str(tmp_path / "pictures"), "--count", "1"], "pictures"),
        (["report", "--out", str(tmp_path / "report.html")], "out"),
    ]
    tmp_path.joinpath("other").mkdir()
    words = ["build-positives", "coco.json", "--json"]
    dry = json.loads(chipper(tmp_path / "other", words[0], str(data / words[1]), "--json", "--dry-run").stdout)
    assert not any((tmp_path / "other").iterdir())
    wet = json.loads(chipper(data, *words, *built, "--overwrite").stdout)
    assert dry["positive_chips"] == wet["positive_chips"]
    for words, same in steps:
        more = [] if words[0] == "evaluate" else built
        before = content_of(tmp_path)
        done = chipper(data, *words, *more, "--dry-run", "--json")
        assert done.returncode == 0, done.stderr
        assert content_of(tmp_path) == before, words[0]
        dry = json.loads(done.stdout)
        assert dry["dry_run"] is True
        done = chipper(data, *words, *more, "--json")
        assert done.returncode == 0, done.stderr
        wet = json.loads(done.stdout)
        if words[0] == "export-shards":
            assert dry["chips"]["to render"] == sum(wet["chips"].values())
        elif words[0] == "preview":
            assert len(dry[same]) == len(wet[same]) == 1
        else:
            assert dry[same] == wet[same]
    assert (workdir / "runs" / "detector" / "run.json").exists()
    # mining negatives has changed the chips
    assert chipper(data, "export-shards", *built).returncode == 0
    for export in ("export-coco", "export-yolo"):
        out = ["--out", str(tmp_path / export)]
        before = content_of(tmp_path)
        dry = json.loads(chipper(data, export, *out, *built, "--dry-run", "--json").stdout)
        assert content_of(tmp_path) == before
        wet = json.loads(chipper(data, export, *out, *built, "--json").stdout)
        assert dry["chips"] == sum(wet["chips"].values()) > 0


def test_train_takes_the_shards_that_are_named(data: Path, built: list[str], tmp_path: Path) -> None:
    """The shards are outside the workdir; the current folder is also a valid name."""
    shards = tmp_path / "elsewhere"
    assert chipper(data, "export-shards", "--shards", str(shards), *built).returncode == 0
    words = ["--model", "tiny", "--max-steps", "2", "--dry-run", *built]
    for folder, named in ((shards, "."), (tmp_path, str(shards))):
        done = chipper(folder, "train", "--shards", named, *words)
        assert done.returncode == 0, done.stderr
    done = chipper(shards, "train", "--shards", *words)
    assert done.returncode == 1
    assert f"{Path(built[1]) / 'shards' / 'dataset.json'} does not exist" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["build-positives", "coco.json", "--stride", "64"], "--overwrite"),
        (["mine-negatives", "--proposals", "nowhere.pkl"], "nowhere.pkl"),
        (["export-shards", "--image-dir", "/proc"], "--image-dir"),
        (["train", "--shards", "--model", "tiny"], "export-shards"),
        (["propose"], "train"),
        (["export-coco", "--out", "images"], "already exists"),
    ],
)
def test_a_dry_run_finds_what_the_run_would_stumble_over(
    data: Path, built: list[str], words: list[str], says: str
) -> None:
    before = content_of(Path(built[1]))
    done = chipper(data, *words, *built, "--dry-run")
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert content_of(Path(built[1])) == before


def test_demo_dry_run(tmp_path: Path) -> None:
    assert chipper(tmp_path, "demo", "--dry-run").returncode == 0
    assert not any(tmp_path.iterdir())
    (tmp_path / "chipper-demo").mkdir()
    (tmp_path / "chipper-demo" / "mine.txt").write_text("mine")
    assert "something other than a demo" in chipper(tmp_path, "demo", "--dry-run").stderr


# --- nothing is lost or confused ---


def test_an_importer_replaces_no_file_unasked(tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text("mine")
    (tmp_path / "VOC").mkdir()
    for more in ([], ["--dry-run"]):
        done = chipper(tmp_path, "import-voc", "VOC", *more)
        assert done.returncode == 2
        assert "coco.json already exists; give --overwrite to replace it, or another --out" in done.stderr
    assert (tmp_path / "coco.json").read_text() == "mine"


def test_export_says_when_it_has_read_no_image_and_reads_them_again_if_asked(
    data: Path, built: list[str], tmp_path: Path
) -> None:
    words = ["export-shards", "--image-dir", str(tmp_path / "images"), *built]
    assert chipper(data, "export-shards", *built).returncode == 0
    before = content_of(Path(built[1]) / "shards")
    (tmp_path / "images").mkdir()
    for path in (data / "images").iterdir():
        with Image.open(path) as image:
            Image.new("RGB", image.size).save(tmp_path / "images" / path.name)
    assert "not read: every shard is complete" in chipper(data, *words).stdout.replace("\n", " ")
    assert content_of(Path(built[1]) / "shards") == before
    assert json.loads(chipper(data, *words, "--overwrite", "--json").stdout)["rendered"] == 1
    assert content_of(Path(built[1]) / "shards") != before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mine-negatives", "missing option '--proposals' (SNIPER's pickle, "),
        (
            "mine-negatives --proposals",
            "option '--proposals' requires an argument; see `chipper mine-negatives --help`",
        ),
        (
            "plan coco.json --scales 512 1.667 3",
            "(1.667 3); write lists with commas and without spaces, as in --scales 512",
        ),
        (
            "plan coco.json --strides 8",
            "no such option '--strides'. Did you mean '--stride'?; see `chipper plan --help`",
        ),
        ("plan coco.json --jobs a\x1bb", r"'a\x1bb' is not a valid integer; see `chipper plan --help`"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path: Path, line: str, said: str) -> None:
    done = chipper(tmp_path, *line.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"chipper: error: [^\n\x1b]+\n", done.stderr)
    assert said in done.stderr


def test_the_nearest_command_is_named(tmp_path: Path) -> None:
    done = chipper(tmp_path, "build-positves", "coco.json")
    assert done.returncode == 2
    assert "is build-positives meant?" in done.stderr


# --- interrupts ---


def interrupted(words: list[str], folder: Path, until: Callable[[str], bool], signals: int) -> tuple[int, str]:
    """Exit code and standard error of a command on a separate terminal that gets Ctrl-C when ``until(said)`` is true."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [str(CHIPPER), *words],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    said, sent = b"", 0
    while True:
        if select.select([leader], [], [], 0.01)[0]:
            try:
                said += os.read(leader, 4096)
            except OSError:  # the other end is closed
                break
        if (sent == 0 and until(said.decode(errors="replace"))) or (sent and sent < signals and b"stopping" in said):
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group gets it
            sent += 1
    os.close(leader)
    return process.wait(timeout=60), said.decode()


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough images for an export of some seconds."""
    folder = tmp_path_factory.mktemp("long")
    draw_demo(folder, DemoOptions(train_images=24, val_images=0))
    content: dict[str, Any] = json.loads((folder / "train" / "coco.json").read_text())
    images, annotations = content["images"], content["annotations"]
    for turn in range(1, 12):  # the same files under other ids
        content["images"] = content["images"] + [{**image, "id": image["id"] + 1000 * turn} for image in images]
        content["annotations"] = content["annotations"] + [
            {**a, "id": a["id"] + 100_000 * turn, "image_id": a["image_id"] + 1000 * turn} for a in annotations
        ]
    (folder / "train" / "coco.json").write_text(json.dumps(content))
    assert chipper(folder / "train", "build-positives", "coco.json").returncode == 0
    return folder / "train"


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_stops_in_order_and_the_workdir_resumes(long: Path, tmp_path: Path, jobs: str) -> None:
    shards = tmp_path / "shards"
    words = ["export-shards", "--chips-per-shard", "100", "--shards", str(shards)]
    code, said = interrupted([*words, "--jobs", jobs], long, lambda _: any(shards.glob("*.tar")), 1)
    assert code == 130, said
    assert "stopping; Ctrl-C again stops at once" in said
    assert "interrupted; complete files are kept, run the same command again" in said
    assert "Traceback" not in said
    assert not (shards / "dataset.json").exists()
    time.sleep(0.5)
    assert not list(shards.glob(".*.partial"))
    done = chipper(long, *words, "--json")
    assert done.returncode == 0, done.stderr
    whole = tmp_path / "whole"
    assert chipper(long, *words[:-1], str(whole), "--json").returncode == 0
    assert content_of(shards) == content_of(whole)


@pytest.mark.parametrize("later", [0.0, 0.1, 0.2, 0.3])
def test_ctrl_c_while_worker_processes_start(long: Path, tmp_path: Path, later: float) -> None:
    started: list[float] = []

    def just_then(said: str) -> bool:
        if "planning shards" in said:
            started.append(time.monotonic())
        return bool(started) and time.monotonic() - started[0] >= later

    words = ["export-shards", "--chips-per-shard", "50", "--jobs", "2", "--shards", str(tmp_path / "shards")]
    code, said = interrupted(words, long, just_then, 1)
    assert code == 130, said
    assert "Traceback" not in said


def test_a_second_ctrl_c_stops_at_once(long: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    words = ["export-shards", "--chips-per-shard", "100", "--jobs", "2", "--shards", str(shards)]
    started = time.monotonic()
    code, said = interrupted(words, long, lambda _: any(shards.glob("*.tar")), 2)
    assert code == 130, said
    assert "Traceback" not in said
    assert not (shards / "dataset.json").exists()
    assert time.monotonic() - started < 50
    assert chipper(long, *words).returncode == 0


def test_ctrl_c_saves_a_training_run_after_its_step(data: Path, built: list[str]) -> None:
    assert chipper(data, "export-shards", *built).returncode == 0
    words = [
        "train",
        "--shards",
        "--model",
        "tiny",
        "--weights",
        "none",
        "--batch-size",
        "2",
        "--epochs",
        "99",
        "--max-steps",
        "400",
        *built,
    ]
    code, said = interrupted(words, data, lambda said: "step 1 of 400" in said, 1)
    assert code == 130, said
    assert "stopping after this step" in said
    assert "Traceback" not in said
    found = re.search(r"interrupted after step (\d+), which is saved; continue with --resume", said)
    assert found is not None, said
    step = int(found[1])
    assert step < 400
    lines = (Path(built[1]) / "runs" / "detector" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == step
    code, said = interrupted([*words, "--resume"], data, lambda said: "of 400" in said, 1)
    assert code == 130, said
    lines = (Path(built[1]) / "runs" / "detector" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert len(lines) > step


# --- bugs in chipper ---


def test_a_fault_of_chipper_itself_is_one_line_with_its_traceback_in_the_log(data: Path, built: list[str]) -> None:
    code = "from chipper.shards import export; export.export_shards = None; from chipper.cli.main import run; run()"
    words = [sys.executable, "-c", code, "export-shards", *built]
    done = subprocess.run(words, cwd=data, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "a bug in chipper (TypeError" in done.stderr
    assert "Traceback" not in done.stderr
    text = log_of(Path(built[1]), "export-shards")
    assert "Traceback" in text
    assert str(next((Path(built[1]) / "logs").glob("*-export-shards-*"))) in done.stderr


# --- completion ---


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, tmp_path: Path) -> None:
    done = chipper(tmp_path, "completion", shell)
    assert done.returncode == 0
    assert "_CHIPPER_COMPLETE" in done.stdout


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    def completed(line: str) -> set[str]:
        number = str(len(line.split(" ")) - 1)
        environment = {"_CHIPPER_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": number}
        return {entry.partition(",")[2] for entry in chipper(tmp_path, **environment).stdout.splitlines()}

    assert completed("chipper exp") == {"export-shards", "export-coco", "export-yolo"}
    assert "--scales" in completed("chipper build-positives coco.json --sc")
    assert completed("chipper export-shards --layout ") >= {"pool", "epochs"}
