"""Names are printed as they are: they neither style the text, nor become emojis, nor reach the terminal as commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from chipper.cli.console import ConsoleMonitor, print_summary, print_table
from chipper.cli.main import run
from chipper.cli.session import Session

NAMES = ["[/b]x.jpg", "[red]x[/red]", ":car: :smile:", "[link=http://a]b[/link]", "\\[bold]", "[/]", "[@click=x]y"]
CONTROLS = {
    "\x1b]0;title\x07x": "\\x1b]0;title\\x07x",
    "a\rb": "a\\rb",
    "\udcff.jpg": "\\udcff.jpg",
    "\u202egpj": "\\u202egpj",
}


@pytest.mark.parametrize("name", [*NAMES, *CONTROLS])
def test_a_name_is_printed_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = CONTROLS.get(name, name)
    monitor = ConsoleMonitor(Session())
    monitor.note(f"a {name}")
    monitor.warn(f"b {name}")
    print_table(f"c {name}", [(name, f"d {name}")])
    out, err = capsys.readouterr()
    assert f" a {shown}\n" in err
    assert f" warning: b {shown}\n" in err
    lines = out.splitlines()
    assert lines[0].rstrip() == f"c {shown}"
    assert lines[1].split() == [*shown.split(), "d", *shown.split()]


def test_names_of_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the annotations to the pictures, with one image that cannot be read, so that its name is printed."""
    (tmp_path / "images").mkdir()
    names = ["[b]x.jpg", "[red]lost :car:.jpg"]
    Image.new("RGB", (600, 500)).save(tmp_path / "images" / names[0])
    (tmp_path / "images" / names[1]).write_bytes(b"no image")
    coco = {
        "images": [{"id": k, "file_name": name, "width": 600, "height": 500} for k, name in enumerate(names)],
        "categories": [{"id": 1, "name": "[/red]x"}],
        "annotations": [
            {"id": k + 1, "image_id": k, "category_id": 1, "bbox": [9, 9, 50, 50], "area": 2500, "iscrowd": 0}
            for k in range(2)
        ],
    }
    (tmp_path / "[b]coco.json").write_text(json.dumps(coco))
    monkeypatch.chdir(tmp_path)
    said = ""
    for words, code in (
        (["plan", "[b]coco.json"], 0),
        (["build-positives", "[b]coco.json"], 0),
        (["export-shards", "--jobs", "1", "--max-errors", "5"], 3),
        (["verify"], 0),
        (["preview", "--out", "[b]pictures"], 3),
        (["report"], 0),
    ):
        monkeypatch.setattr("sys.argv", ["chipper", *words])
        with pytest.raises(SystemExit) as ended:
            run()
        out, err = capsys.readouterr()
        assert ended.value.code == code, err
        said += out + err
    assert "[red]lost :car:.jpg" in said
    assert "[b]pictures" in said
    assert "[b]coco.json" in said


def test_summary_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    import click

    with click.Context(click.Command("x"), obj=Session()):
        print_summary("[/b]", [("[/red]x", "[/i]")], {})
    assert "[/red]x  [/i]" in capsys.readouterr().out
