"""Nobody's files are touched: what chipper did not write is not replaced, whatever a command is told."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from chipper.cli.main import run
from chipper.storage.mark import MARK


def chipper(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr("sys.argv", ["chipper", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        run()
    return int(ended.value.code or 0)


@pytest.fixture
def world(own_drawn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mine: Callable[..., Any]) -> Path:
    """A folder with coco.json, images/, rpn.pkl and a workdir ``chips`` with shards."""
    folder: Path = own_drawn.folder
    monkeypatch.chdir(folder)
    assert chipper(monkeypatch, "build-positives", "coco.json", "--jobs", "1") == 0
    assert chipper(monkeypatch, "mine-negatives", "--proposals", "rpn.pkl", "--jobs", "1") == 0
    assert chipper(monkeypatch, "export-shards", "--jobs", "1") == 0
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "logs" and path.name != ".lock"
    }


OUTS = {
    "report": ["report", "--out", "OUT"],
    "predict": ["predict", "coco.json", "--out", "OUT"],
    "propose to a pickle": ["propose", "--method", "selective-search", "--out", "OUT.pkl"],
    "propose to parquet": ["propose", "--method", "selective-search", "--out", "OUT.parquet"],
    "evaluate": ["evaluate", "coco.json", "detections.json", "--curves", "OUT"],
    "import-yolo": ["import-yolo", "data.yaml", "--out", "OUT", "--overwrite"],
}


@pytest.mark.parametrize("command", OUTS)
@pytest.mark.parametrize("what", ["coco", "text", "picture"])
def test_a_file_of_another_kind_is_not_replaced(
    world: Path, command: str, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (world / "detections.json").write_text(
        json.dumps([{"image_id": 1, "category_id": 3, "bbox": [0, 0, 9, 9], "score": 0.5}])
    )
    (world / "data.yaml").write_text("train: images\nnames: [a]\n")
    words = OUTS[command]
    out = next(world / word.replace("OUT", "mine") for word in words if word.startswith("OUT"))
    if what == "coco":
        shutil.copy(world / "coco.json", out)
    elif what == "text":
        out.write_text("years of work")
    else:
        Image.new("RGB", (40, 30)).save(out, "JPEG")
    before = contents(world)
    assert chipper(monkeypatch, *(word.replace("OUT", "mine") for word in words)) == 2
    said = capsys.readouterr().err
    assert f"{out.name} is there, and is not " in said
    assert len(said.strip().splitlines()) == 1
    assert contents(world) == before


def test_the_annotations_themselves_are_not_replaced(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(world)
    for words in (
        ("predict", "coco.json", "--out", "coco.json"),
        ("report", "--out", "coco.json"),
        ("report", "--out", "rpn.pkl"),
        ("evaluate", "coco.json", "coco.json", "--curves", "coco.json"),
    ):
        assert chipper(monkeypatch, *words) == 2
        assert contents(world) == before


@pytest.mark.parametrize("words", [["report", "--out", "r.html"], ["preview", "--out", "p"], ["preview", "--sheet"]])
def test_what_chipper_wrote_is_replaced(world: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert chipper(monkeypatch, *words) == 0
    before = contents(world)
    assert chipper(monkeypatch, *words) == 0
    assert contents(world) == before


def test_a_preview_does_not_replace_photos(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The images of COCO have the names that previews have."""
    ids = [image["id"] for image in json.loads((world / "coco.json").read_text())["images"]]
    photo = world / "images" / f"{ids[0]:012d}.jpg"
    Image.new("RGB", (40, 30)).save(photo)
    before = contents(world)
    assert chipper(monkeypatch, "preview", "--out", "images") == 2
    assert f"{photo.name} is there, and is not a picture" in capsys.readouterr().err
    assert contents(world) == before


@pytest.mark.parametrize("name", ["dataset.json", "errors.parquet", "train-index.json", MARK])
@pytest.mark.parametrize("words", [[], ["--overwrite"], ["--dry-run"]])
def test_shards_are_not_put_over_the_files_of_others(
    world: Path, name: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = world / "theirs"
    place.mkdir()
    (place / name).write_text('{"id": 1}')
    assert chipper(monkeypatch, "export-shards", "--shards", place, "--jobs", "1", *words) == 1
    assert f"{name} was not written by chipper" in capsys.readouterr().err
    assert contents(place) == {name: b'{"id": 1}'}


def test_two_workdirs_do_not_share_a_place_for_shards(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--shards", world / "place", "--jobs", "1")
    assert chipper(monkeypatch, "export-shards", *place) == 0
    other = ("--workdir", "other")
    assert chipper(monkeypatch, "build-positives", "coco.json", "--scales", "512", "--valid-ranges", ":", *other) == 0
    before = contents(world / "place")
    assert chipper(monkeypatch, "export-shards", *place, *other) == 1
    assert "holds the shards of another workdir; give another --shards, or --overwrite" in capsys.readouterr().err
    assert contents(world / "place") == before
    (world / "place" / MARK).unlink()  # as before there were marks
    assert chipper(monkeypatch, "export-shards", *place, *other) == 1
    assert contents(world / "place") == {name: data for name, data in before.items() if name != MARK}
    assert chipper(monkeypatch, "export-shards", *place) == 0  # its own are taken up again
    assert (world / "place" / MARK).exists()
    assert chipper(monkeypatch, "export-shards", *place, *other, "--overwrite") == 0
    assert chipper(monkeypatch, "verify", *place, *other) == 0
    assert chipper(monkeypatch, "export-shards", "--layout", "epochs", *place) == 1  # now they are the other's
    # a workdir that is made anew, with other options, goes on in its place
    again = ("--scales", "512", "--valid-ranges", "0:", "--overwrite", *other)
    assert chipper(monkeypatch, "build-positives", "coco.json", *again) == 0
    assert chipper(monkeypatch, "export-shards", *place, *other) == 0


@pytest.mark.parametrize("name", ["dataset.json", "skipped.parquet", "images/*.parquet", MARK])
def test_a_workdir_is_not_made_over_the_files_of_others(
    world: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = world / "theirs"
    name = next(str(path.relative_to(world / "chips")) for path in (world / "chips").glob(name))
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text('{"mine": 1}')
    for words in ([], ["--overwrite"], ["--dry-run", "--overwrite"]):
        assert chipper(monkeypatch, "build-positives", "coco.json", "--workdir", folder, *words) == 1
        assert f"{name} was not written by chipper" in capsys.readouterr().err
        assert contents(folder) == {name: b'{"mine": 1}'}
    if name == "dataset.json":
        assert chipper(monkeypatch, "export-shards", "--workdir", folder) == 1
        said = capsys.readouterr().err
        assert "--overwrite" not in said
        assert "give another --workdir" in said


def test_a_workdir_without_a_mark_is_taken_up(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (world / "chips" / MARK).unlink()
    assert chipper(monkeypatch, "build-positives", "coco.json") == 0
    assert chipper(monkeypatch, "build-positives", "coco.json", "--scales", "512", "--valid-ranges", ":") == 1
    assert (
        chipper(monkeypatch, "build-positives", "coco.json", "--scales", "512", "--valid-ranges", ":", "--overwrite")
        == 0
    )
    assert (world / "chips" / MARK).exists()


@pytest.mark.parametrize("marker", ["{}", '{"settings": {}}', '{"written_by": "me"}', "mine", "[1]"])
def test_a_demo_removes_no_folder_with_a_demo_json_of_the_user(
    tmp_path: Path, marker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    (folder / "train").mkdir(parents=True)
    (folder / "demo.json").write_text(marker)
    (folder / "train" / "thesis.txt").write_text("years")
    before = contents(folder)
    assert chipper(monkeypatch, "demo", "--out", folder) == 2
    assert contents(folder) == before


def test_a_demo_removes_nothing_that_a_demo_does_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    (folder / "chips").mkdir(parents=True)
    (folder / "demo.json").write_text('{"written_by": "chipper demo 0.2.0"}')
    assert chipper(monkeypatch, "demo", "--out", folder, "--dry-run") == 0
    (folder / ".detections.json.1f.partial").write_text("")
    assert chipper(monkeypatch, "demo", "--out", folder, "--dry-run") == 0
    (folder / "thesis.txt").write_text("years")
    capsys.readouterr()
    assert chipper(monkeypatch, "demo", "--out", folder) == 2
    assert "(thesis.txt)" in capsys.readouterr().err
    assert os.listdir(folder / "chips") == []
