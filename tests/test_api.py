"""What ``import chipper`` offers: the names, their options and defaults, and the whole chain from Python."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

import chipper
from chipper.api.chips import ChipSample
from chipper.cli.main import COMMANDS, main

STAGES = {
    "plan": "plan",
    "build_positives": "build-positives",
    "mine_negatives": "mine-negatives",
    "export_shards": "export-shards",
    "verify": "verify",
    "preview": "preview",
    "train": "train",
    "predict": "predict",
    "evaluate": "evaluate",
}


def test_the_public_names() -> None:
    assert sorted(chipper.__all__) == sorted([*chipper.NAMES, "NAMES", "__version__"])
    assert sorted(chipper.NAMES) == [
        "ChipSample",
        "ChipperError",
        "Workdir",
        "build_positives",
        "evaluate",
        "export_shards",
        "iterate_chips",
        "mine_negatives",
        "open_workdir",
        "plan",
        "predict",
        "preview",
        "read_coco",
        "train",
        "verify",
    ]
    for name in chipper.NAMES:
        found = getattr(chipper, name)
        assert found.__doc__
        assert name in dir(chipper)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        chipper.nothing  # noqa: B018


def test_every_option_is_a_keyword() -> None:
    """Files and workdirs may be given by place, everything else by name alone."""
    places = {"coco", "detections", "path", "proposals", "workdir", "image_ids"}
    for name in chipper.NAMES:
        function = getattr(chipper, name)
        if not inspect.isclass(function):
            parameters = inspect.signature(function).parameters.values()
            assert {p.name for p in parameters if p.kind is not p.KEYWORD_ONLY} <= places


@pytest.mark.parametrize(("function", "command"), STAGES.items())
def test_defaults_are_those_of_the_command(function: str, command: str) -> None:
    parameters = inspect.signature(getattr(chipper, function)).parameters
    context = click.Context(main)
    options = {str(p.name): p for p in main.get_command(context, command).params if isinstance(p, click.Option)}  # type: ignore[union-attr]
    compared = 0
    for name, parameter in parameters.items():
        if name not in options or name in ("workdir", "min_proposals", "out") or parameter.default is parameter.empty:
            continue  # a folder; two numbers in one option; a file that Python need not write; what must be given
        typed = options[name].to_info_dict()["default"]
        if options[name].is_flag:
            typed = bool(typed)
        expected = None if name == "valid_ranges" else parameter.default
        assert typed == expected, name
        compared += 1
    assert compared >= (1 if command in ("verify", "evaluate") else 4)
    assert command in COMMANDS


def test_an_unknown_option_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'chip_sise'"):
        chipper.build_positives(tmp_path / "coco.json", chip_sise=512)


def test_importing_stays_light_until_a_name_is_asked_for() -> None:
    code = "import chipper, sys; print([n for n in ('numpy', 'numba', 'torch', 'click') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
    code = "import chipper, sys; chipper.build_positives; chipper.evaluate; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.fixture
def workdir(drawn: Any, tmp_path: Path) -> chipper.Workdir:
    found = chipper.build_positives(str(drawn.coco), tmp_path / "chips", image_dir=drawn.images, jobs=1, masks=True)
    return chipper.mine_negatives(drawn.proposals, found, min_proposals=3, min_proposals_finest=3, jobs=1)


def test_the_chain_from_python_is_that_of_the_command_line(
    drawn: Any, workdir: chipper.Workdir, tmp_path: Path, hashes: Any
) -> None:
    from click.testing import CliRunner

    exported = chipper.export_shards(workdir, chips_per_shard=8, jobs=1)
    assert exported.faults == []
    other = str(tmp_path / "other")
    for words in (
        ["build-positives", str(drawn.coco), "--image-dir", str(drawn.images), "--masks"],
        ["mine-negatives", "--proposals", str(drawn.proposals), "--min-proposals", "3", "3"],
        ["export-shards", "--chips-per-shard", "8"],
    ):
        assert CliRunner().invoke(main, [*words, "--workdir", other, "--jobs", "1"]).exit_code == 0
    names = {name for name in hashes(workdir.path) if name.startswith(("images/", "chips/", "labels/", "shards/"))}
    assert len(names) > 10
    assert {n: h for n, h in hashes(tmp_path / "other").items() if n in names} == {
        n: h for n, h in hashes(workdir.path).items() if n in names
    }


def test_chips_come_in_the_order_of_the_epoch_with_their_labels(workdir: chipper.Workdir) -> None:
    chipper.export_shards(workdir, jobs=1)
    chips = list(chipper.iterate_chips(workdir, epoch=1))
    manifest = workdir.open()
    assert [chip.chip_id for chip in chips] == manifest.epoch(1).tolist()
    labels = manifest.labels(0, "positive")
    for chip in chips:
        assert chip.image.size == (512, 512)
        assert chip.boxes.shape == (len(chip.category_ids), 4)
        own = labels[labels.chip_id == chip.chip_id]
        if len(own):
            np.testing.assert_allclose(chip.boxes, own.box, atol=1e-3)
            assert chip.valid.tolist() == own.valid.tolist()
    assert len({c.chip_id for c in chipper.iterate_chips(workdir, epoch=None)}) >= len({c.chip_id for c in chips})
    with pytest.raises(chipper.ChipperError, match="epoch is 7; it goes from 0 to 6"):
        chipper.iterate_chips(workdir, epoch=7)


def test_objects_show_themselves(drawn: Any, workdir: chipper.Workdir, tmp_path: Path) -> None:
    exported = chipper.export_shards(workdir, jobs=1)
    chip = next(iter(chipper.iterate_chips(workdir)))
    pictures = chipper.preview(workdir, count=2)
    assert len(pictures) == 2
    table = chipper.plan(drawn.coco, jobs=1)
    shown = {
        "Positive chips": workdir,
        "Shards in": exported,
        "Verified": chipper.verify(workdir, jobs=1),
        "data:image/jpeg;base64,": chip,
        "<img": pictures,
        "sliding windows": table,
    }
    for words, thing in shown.items():
        page = thing._repr_html_()  # type: ignore[attr-defined]
        assert words in page
        assert "<script" not in page
    assert isinstance(chip, ChipSample)
    assert table.scales == "512,1.667,3"
    assert "finished workdir" in chipper.Workdir(tmp_path / "none")._repr_html_()


def test_names_of_files_do_not_become_part_of_the_page(own_drawn: Any, tmp_path: Path) -> None:
    import json

    first = own_drawn.content["images"][0]
    name = "<b onload=x>.jpg"
    (own_drawn.images / first["file_name"]).rename(own_drawn.images / name)
    first["file_name"] = name
    own_drawn.coco.write_text(json.dumps(own_drawn.content))
    workdir = chipper.build_positives(own_drawn.coco, tmp_path / "chips", jobs=1)
    chipper.export_shards(workdir, jobs=1)
    pages = [chip._repr_html_() for chip in chipper.iterate_chips(workdir) if chip.record.file_name == name]
    assert pages
    assert all("<b onload" not in page and "&lt;b onload" in page for page in pages)


def test_progress_is_silent_and_losses_are_not(
    own_drawn: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_drawn.images / own_drawn.names[0]).write_bytes(b"no image")
    workdir = chipper.build_positives(own_drawn.coco, tmp_path / "chips", jobs=1)
    exported = chipper.export_shards(workdir, jobs=1)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert [r.levelno for r in caplog.records if r.levelno >= logging.WARNING] == [logging.WARNING]
    assert own_drawn.names[0] in caplog.text
    assert len(exported.faults) == 1


def test_detections_are_evaluated_from_a_list_and_from_a_file(drawn: Any, tmp_path: Path) -> None:
    import json

    found = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 0.9}
        for a in drawn.content["annotations"]
        if not a["iscrowd"]
    ]
    (tmp_path / "found.json").write_text(json.dumps(found))
    result = chipper.evaluate(drawn.coco, found)
    assert result == chipper.evaluate(drawn.coco, tmp_path / "found.json")
    assert result.numbers["AP"] == pytest.approx(1.0, abs=1e-6)
    assert "AP50" in result._repr_html_()
    with pytest.raises(chipper.ChipperError, match="the list of detections is not a list of COCO results"):
        chipper.evaluate(drawn.coco, [{"box": 3}])


def test_the_detector_from_python(drawn: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the detector needs torch")
    workdir = chipper.build_positives(
        drawn.coco, tmp_path / "chips", scales="128,1", valid_ranges="40:,:60", chip_size=128
    )
    chipper.export_shards(workdir)
    result = chipper.train(
        workdir, model="tiny", weights="none", batch_size=2, max_steps=2, device="cpu", tensorboard=False
    )
    assert result.finished
    found = chipper.predict(drawn.coco, workdir, out=tmp_path / "found.json", device="cpu", image_dir=drawn.images)
    assert chipper.evaluate(drawn.coco, found).numbers["AP"] >= 0
    assert (tmp_path / "found.json").exists()


def test_pictures_are_a_sequence_of_files(workdir: chipper.Workdir) -> None:
    pictures = chipper.preview(workdir, count=3)
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.format == "JPEG"
    assert list(pictures[1:]) == list(pictures)[1:]
