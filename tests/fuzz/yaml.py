"""YAML: options of a command, and the data.yaml of a YOLO data set."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from chipper.cli.config import defaults_from
from chipper.cli.main import COMMANDS, main
from chipper.errors import ChipperError
from chipper.formats.files import ImportOptions
from chipper.formats.yolo_layout import find_yolo_set

_FOLDER = tempfile.TemporaryDirectory(prefix="chipper-fuzz-")


def seeds() -> list[bytes]:
    """The first byte chooses between options and data.yaml."""
    return [
        b"\0scales: 512,1.667,3\njobs: 4\nexport-shards:\n  quality: 95\n",
        b"\0build-positives: {scales: [512, 1.667, 3], stride: 56-59, masks: true}\n",
        b"\0common: &a {b: 1}\ntrain: {<<: *a}\n",
        b"\1path: .\ntrain: images\nval: [images, images]\nnames: [cat, dog]\nkpt_shape: [17, 3]\n",
        b"\1train: images\nnames: {0: cat, 1: dog}\nnc: 2\n",
        b"\1train: images\nnc: 3\n",
        b"\1a: &a [1]\nb: &b [*a, *a]\ntrain: images\nnames: *b\n",
    ]


def target(data: bytes) -> None:
    """Read ``data`` as options, or as data.yaml beside a folder with an image."""
    if not data:
        return
    folder = Path(_FOLDER.name)
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / "a.jpg").touch()
    path = folder / "data.yaml"
    path.write_bytes(data[1:])
    try:
        if data[0] % 2:
            found = find_yolo_set(path, None, ImportOptions())
            assert len(found.names) <= 10**6
            assert all(isinstance(name, str) for name in found.names.values())
        else:
            context = click.Context(main)
            command = main.get_command(context, "export-shards")
            assert command is not None
            known = {"scales", "jobs", "quality", "stride", "masks"}
            defaults_from(path, command, COMMANDS, known)
    except ChipperError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 2000
