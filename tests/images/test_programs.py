"""A file in the place of an image is never run: an EPS is a program, which PIL alone would give to Ghostscript."""

from __future__ import annotations

import io
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import EpsImagePlugin, Image

from chipper.errors import ImageError, ShardError
from chipper.images.decoded import open_source
from chipper.images.header import FORMATS, known_formats, open_image, read_header
from chipper.shards.pool import Pool
from chipper.shards.samples import SampleError, read_jpeg

SIZE = (640, 480)  # of the first image of the drawn data
PROGRAM = f"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 {SIZE[0]} {SIZE[1]}
%%EndComments
(ran) (w) file closefile
{{ }} loop
%%EOF
""".encode()


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that appears once anything starts ``gs``, the first one on the path; it then fails, as a stopped loop would."""
    marker, folder = tmp_path / "ran", tmp_path / "bin"
    folder.mkdir()
    (folder / "gs").write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\ntouch {marker}\nexit 1\n')
    (folder / "gs").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # PIL looks for it once
    return marker


def test_pil_alone_runs_it(ran: Path) -> None:
    with pytest.raises(Exception, match="gs"), Image.open(io.BytesIO(PROGRAM)) as image:
        image.load()
    assert ran.exists()


def test_no_function_runs_it(ran: Path, tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(PROGRAM)
    for read in (open_source, lambda path, _: read_header(path)):
        with pytest.raises(ImageError, match="not an image of a format that chipper reads"):
            read(path, SIZE)
    with pytest.raises(SampleError):
        read_jpeg(PROGRAM, 512)
    assert not ran.exists()


def test_no_command_runs_it(ran: Path, own_drawn: Any, build: Callable[..., Any]) -> None:
    workdir = build(own_drawn.coco, own_drawn.folder / "chips")
    (own_drawn.images / own_drawn.names[0]).write_bytes(PROGRAM)
    chipper = Path(sys.executable).parent / "chipper"
    for command in ("export-shards", "preview", "report"):
        line = [chipper, command, "--workdir", workdir.path]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 3), done.stderr  # the other images are used
        if command != "report":  # it reads pictures from the shards alone
            assert "not an image of a format" in done.stdout + done.stderr
        assert not ran.exists()


def test_no_program_out_of_a_shard_runs(ran: Path, own_drawn: Any, build: Any, export: Any) -> None:
    """A whole shard, its receipt and its checksums fit; one picture in it is a program."""
    workdir = build(own_drawn.coco, own_drawn.folder / "chips")
    export(workdir)
    pool = Pool(workdir.shards)
    pool.read = lambda row: (PROGRAM, Pool.read(pool, row)[1])  # type: ignore[method-assign]
    with pytest.raises(ShardError, match="damaged"):
        pool.decoded(0)
    assert not ran.exists()


def test_formats_that_start_programs_or_hold_other_files_are_left_out() -> None:
    Image.init()
    assert set(FORMATS) <= set(Image.OPEN)
    assert not {"EPS", "WMF", "IPTC", "FITS", "GRIB", "HDF5", "BUFR", "MPEG", "ICNS", "PSD"} & set(FORMATS)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "BMP", "GIF", "PPM", "TGA", "PCX", "SGI"])
def test_the_usual_formats_are_read(name: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (5, 4), (10, 200, 30)).save(file, name)
    file.seek(0)
    with open_image(file) as image:
        assert (image.format, image.size) == (name, (5, 4))


def test_a_camera_s_multi_picture_jpeg_is_read() -> None:
    file = io.BytesIO()
    first, second = Image.new("RGB", (6, 5), "red"), Image.new("RGB", (6, 5), "blue")
    first.save(file, "MPO", save_all=True, append_images=[second])
    file.seek(0)
    with open_image(file) as image:
        assert image.size == (6, 5)
        assert image.convert("RGB").getpixel((3, 3))[0] > 200


@pytest.mark.parametrize("kind", ["BMP", "GIF", "PPM", "QOI"])
def test_formats_that_an_older_pil_lacks_hide_no_other(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(written, kind)
    monkeypatch.delitem(Image.OPEN, "AVIF")
    monkeypatch.delitem(Image.OPEN, "SGI")
    known_formats.cache_clear()
    try:
        with open_image(written) as image:
            assert image.convert("RGB").getpixel((1, 1)) == (255, 0, 0)
    finally:
        known_formats.cache_clear()
