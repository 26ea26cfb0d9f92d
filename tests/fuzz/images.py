"""Opening and rendering an image: an ImageError, or RGB pixels of the declared size that become a chip."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image

from chipper.errors import ImageError
from chipper.images import open_source
from chipper.options import RenderOptions
from chipper.render import encode_jpeg, render_chip

_FOLDER = tempfile.TemporaryDirectory(prefix="chipper-fuzz-")
SIZE = (24, 17)
_PATH = Path(_FOLDER.name) / "image"


def _saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(SIZE, 60).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def seeds() -> list[bytes]:
    """One of each kind of file and pixels that people have."""
    exif = Image.Exif()
    exif[0x112] = 6
    return [
        _saved("JPEG"),
        _saved("JPEG", "L", progressive=True),
        _saved("JPEG", "CMYK"),
        _saved("JPEG", exif=exif.tobytes()),
        _saved("PNG"),
        _saved("PNG", "P", transparency=0),
        _saved("PNG", "RGBA"),
        _saved("PNG", "1"),
        _saved("GIF", "P"),
        _saved("BMP"),
        _saved("TIFF"),
        _saved("TIFF", "F"),
        _saved("WEBP"),
        _saved("PPM"),
        _saved("TGA"),
    ]


def target(data: bytes) -> None:
    """Open ``data`` by each rule for EXIF, and render a chip of it."""
    _PATH.write_bytes(data)
    for exif, finest in (("auto", 1.0), ("apply", 1.0), ("ignore", 0.2)):
        try:
            source = open_source(_PATH, SIZE, exif, finest)
        except ImageError as error:
            assert "\n" not in str(error)
            continue
        assert source.pixels.mode == "RGB"
        r = source.reduction
        assert source.pixels.size == (-(-SIZE[0] // r), -(-SIZE[1] // r))
        chip = render_chip(source, 0.1 if r > 1 else 1.5, 0, 0, (2, 2), 32)
        assert chip.size == (32, 32)
        assert encode_jpeg(chip, RenderOptions())[:2] == b"\xff\xd8"
