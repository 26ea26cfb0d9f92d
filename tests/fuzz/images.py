"""Opening and rendering an image: an ImageError, or RGB pixels of the declared size that become a chip."""

from __future__ import annotations

import io
import random
import struct
import tempfile
import zlib
from pathlib import Path

from PIL import Image

from chipper.errors import ImageError
from chipper.images.decoded import DecodedImage, open_source
from chipper.shards.options import RenderOptions
from chipper.shards.render import encode_jpeg, render_chip

_FOLDER = tempfile.TemporaryDirectory(prefix="chipper-fuzz-")
SIZE = (24, 17)
_PATH = Path(_FOLDER.name) / "image"
# of noise of that size; PIL may be built without WebP
WEBP = bytes.fromhex(
    "524946466800000057454250565038205c0000007003009d012a180011003ffdfeff7fbfbab532280aabf03f8969579f001a6c0b71b8890000c663d5206e"
    "2461e66480d4c4b0742220e17d87bbd563682792024f6f4acbff2f9121e1167a41fb68451679f256627aa4f6f690c0000000"
)


def _saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(SIZE, 60).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def two_bands() -> bytes:
    """A TIFF that PIL does not know, but rasterio."""
    pixels = zlib.compress(random.Random(0).randbytes(2 * SIZE[0] * SIZE[1]))
    tags = (  # number, type, count, value
        (256, 3, 1, SIZE[0]),
        (257, 3, 1, SIZE[1]),
        (258, 3, 2, 8 << 16 | 8),  # bits of each band
        (259, 3, 1, 8),  # deflate
        (262, 3, 1, 1),
        (273, 4, 1, 8),  # where the pixels begin
        (277, 3, 1, 2),
        (278, 3, 1, SIZE[1]),
        (279, 4, 1, len(pixels)),
    )
    header = struct.pack("<2sHI", b"II", 42, 8 + len(pixels))
    return (
        header + pixels + struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    )


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
        WEBP,
        _saved("PPM"),
        _saved("TGA"),
        two_bands(),
    ]


def target(data: bytes) -> None:
    """Open ``data`` by each rule for EXIF, and render a chip of it."""
    _PATH.write_bytes(data)
    for exif, finest in (("auto", 1.0), ("apply", 1.0), ("ignore", 0.2)):
        try:
            with open_source(_PATH, SIZE, exif, finest) as source:
                chip = render_chip(source, 0.1 if finest < 1 else 1.5, 0, 0, (2, 2), 32)
        except ImageError as error:
            assert "\n" not in str(error)
            continue
        if isinstance(source, DecodedImage):
            r = source.reduction
            assert source.pixels.mode == "RGB"
            assert source.pixels.size == (-(-SIZE[0] // r), -(-SIZE[1] // r))
        assert (chip.mode, chip.size) == ("RGB", (32, 32))
        assert encode_jpeg(chip, RenderOptions())[:2] == b"\xff\xd8"
