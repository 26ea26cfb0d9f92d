"""Source images: damaged, with another kind or size than declared, or not files. An export continues without them: exit code 3."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from .case import Case
from .damage import Damage, a_fifo, a_folder, a_link, both, content, cut, edited, flip, gone

EXPORT = "export-shards --jobs 1"
NAME = "images/0.jpg"
SIZE = (200, 150)  # as the annotations say


def picture(kind: str, mode: str = "RGB", size: tuple[int, int] = SIZE, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int = 8, colour: int = 2, data: bytes | None = None) -> bytes:
    """A PNG by hand, whose header may lie."""
    lines = zlib.compress(bytes((3 * SIZE[0] + 1) * SIZE[1])) if data is None else data
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", lines), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def bomb() -> bytes:
    """A PNG of 200 x 150 px by its header, with 60 MB of zeros packed into 60 kB."""
    return png(*SIZE, data=zlib.compress(bytes(60_000_000)))


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG whose frame header says another size than its data have."""
    data = bytearray(picture("JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def with_exif(rubbish: bytes) -> bytes:
    data = picture("JPEG", size=SIZE[::-1])
    segment = b"Exif\0\0" + rubbish
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


def webp(width: int, height: int) -> bytes:
    """The head of a WebP: 40 bytes of what should be 1000."""
    frame = b"\x30\x01\0\x9d\x01\x2a" + struct.pack("<HH", width, height)  # a key frame and its size
    return b"RIFF" + struct.pack("<I", 992) + b"WEBPVP8 " + struct.pack("<I", 980) + frame + bytes(10)


def exif_orientation(value: int) -> bytes:
    return b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x112, 3, 1, value, 0, 0)


def bmp_of(width: int, height: int) -> bytes:
    data = bytearray(picture("BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


# one bad image, the others are good: exit code 3, and its name in the summary
LOST: dict[str, tuple[Damage, str]] = {
    "zero bytes": (content(NAME, b""), "not an image"),
    "one byte": (content(NAME, b"\xff"), "not an image"),
    "text": (content(NAME, "an image\n"), "not an image"),
    "NUL bytes": (content(NAME, bytes(10_000)), "not an image"),
    "an HTML page": (content(NAME, "<!DOCTYPE html><html>404</html>"), "not an image"),
    "an SVG": (content(NAME, '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="150"/>'), "not an image"),
    "a PDF": (content(NAME, b"%PDF-1.4\n%%EOF"), "not an image"),
    "a JPEG of two bytes": (content(NAME, b"\xff\xd8"), "0.jpg"),
    "a JPEG without its frame": (content(NAME, b"\xff\xd8\xff\xd9"), "0.jpg"),
    "cut in the header": (cut(NAME, 0.1), "0.jpg"),
    "cut in the middle": (cut(NAME, 0.5), "truncated"),
    "cut at the end": (cut(NAME, 0.97), "truncated"),
    "missing": (gone(NAME), "does not exist"),
    "a folder": (a_folder(NAME), "0.jpg"),
    "a named pipe": (a_fifo(NAME), "pipe"),
    "a link to itself": (a_link(NAME, "0.jpg"), "0.jpg"),
    "a link to nowhere": (a_link(NAME, "nowhere.jpg"), "does not exist"),
    "a link that leads out": (both(a_link(NAME, "../coco.json")), "leads out"),
    "a link to a device": (a_link(NAME, "/dev/zero"), "leads out"),
    "a PNG whose header lies, larger": (content(NAME, png(4000, 3000)), "4000x3000"),
    "a PNG whose header lies, smaller": (content(NAME, png(20, 15)), "20x15"),
    "a PNG of 2^31 px a side": (content(NAME, png(2**31 - 1, 2**31 - 1)), "0.jpg"),
    "a PNG of no px": (content(NAME, png(0, 0)), "0.jpg"),
    "a PNG without pixels": (content(NAME, png(*SIZE, data=b"")), "0.jpg"),
    "a PNG with half of its pixels": (content(NAME, png(*SIZE, data=zlib.compress(bytes(20_000)))), "0.jpg"),
    "a PNG whose pixels are not packed": (content(NAME, png(*SIZE, data=bytes(1000))), "0.jpg"),
    "a PNG with a depth of 7 bits": (content(NAME, png(*SIZE, depth=7)), "0.jpg"),
    "a PNG with a wrong checksum": (content(NAME, png(*SIZE).replace(b"IDAT", b"IDAX")), "0.jpg"),
    "a JPEG whose header lies": (content(NAME, jpeg_of(60_000, 60_000)), "60000x60000"),
    "a BMP whose header lies": (content(NAME, bmp_of(2**30, 2**30)), "0.jpg"),
    "a BMP of negative width": (content(NAME, bmp_of(-200, 150)), "0.jpg"),
    "another size": (content(NAME, picture("JPEG", size=(201, 150))), "201x150"),
    "one pixel": (content(NAME, picture("PNG", size=(1, 1))), "1x1"),
    "turned, without a flag": (content(NAME, picture("JPEG", size=SIZE[::-1])), "150x200"),
    "turned, with a flag that is rubbish": (content(NAME, with_exif(b"II*\0\xff\xff\xff\xff")), "0.jpg"),
    "turned, with an empty flag": (content(NAME, with_exif(b"")), "150x200"),
    "turned, with the flag 99": (content(NAME, with_exif(exif_orientation(99))), "150x200"),
    "turned, with the flag 0": (content(NAME, with_exif(exif_orientation(0))), "150x200"),
    "floating point": (content(NAME, picture("TIFF", "F")), "mode F"),
    "32-bit integers": (content(NAME, picture("TIFF", "I")), "mode I"),
    "a GIF cut in its first frame": (content(NAME, picture("GIF", "P")[:60]), "0.jpg"),
    "a WebP cut": (content(NAME, webp(*SIZE)), "0.jpg"),
    "a TIFF that points at itself": (content(NAME, b"II*\0\x08\0\0\0\x01\0" + bytes(12) + b"\x08\0\0\0"), "0.jpg"),
    "a TIFF whose first directory lies beyond its end": (content(NAME, b"II*\0\xff\xff\xff\x7f"), "0.jpg"),
    "an EPS, which others would run": (
        content(NAME, f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 {SIZE[0]} {SIZE[1]}\n%%EndComments\n"),
        "not an image of a format",
    ),
    "a PPM with a size of words": (content(NAME, b"P6\nwide 150\n255\n"), "0.jpg"),
    "a PPM with negative size": (content(NAME, b"P6\n-200 -150\n255\n"), "0.jpg"),
    "an ICO of other sizes": (content(NAME, picture("ICO", size=(32, 32))), "not an image of a format"),
}
# unusual, but usable
USED: dict[str, Damage] = {
    "a PNG by the name of a JPEG": content(NAME, picture("PNG")),
    "a BMP by the name of a JPEG": content(NAME, picture("BMP")),
    "CMYK": content(NAME, picture("JPEG", "CMYK")),
    "grey": content(NAME, picture("JPEG", "L")),
    "bilevel": content(NAME, picture("PNG", "1")),
    "a palette": content(NAME, picture("PNG", "P")),
    "a palette with a bad transparency": content(NAME, picture("PNG", "P", transparency=b"\0" * 300)),
    "alpha": content(NAME, picture("PNG", "RGBA")),
    "grey with alpha": content(NAME, picture("PNG", "LA")),
    "16 bits": content(NAME, picture("PNG", "I;16")),
    "an animated GIF": content(
        NAME, picture("GIF", "P", save_all=True, append_images=[Image.new("P", SIZE, k) for k in range(3)])
    ),
    "a progressive JPEG": content(NAME, picture("JPEG", progressive=True)),
    "rubbish behind the end": content(NAME, picture("JPEG") + b"rubbish" * 1000),
    "a PNG that holds more than its header says": content(NAME, bomb()),
    "turned, with its flag": content(NAME, with_exif(exif_orientation(6))),
    "a byte of the colour profile": content(NAME, picture("JPEG", icc_profile=b"\xff" * 200)),
    "a density of nothing": content(NAME, picture("JPEG", dpi=(0, 0))),
}


def _write_all(data: bytes) -> Damage:
    def make(folder: Path) -> None:
        for path in (folder / "images").iterdir():
            path.write_bytes(data)

    return make


def _lost(kind: str, make: Damage, says: str) -> Case:
    return Case(f"image: {kind}", EXPORT, ("0.jpg", says, "images lost"), make, "built", code=3)


def _named(name: str) -> Damage:
    """An image record with a name that no file can have."""
    return both(edited("coco.json", images__0__file_name=name))


def _noise(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8).tobytes()
    (folder / NAME).write_bytes(picture("JPEG")[:300] + noise)


Maker = Callable[[Path], object]
_ELSE: tuple[tuple[str, str, tuple[str, ...], Maker, str, int], ...] = (
    ("stop at the first", f"{EXPORT} --on-error fail", ("0.jpg", "--on-error"), cut(NAME, 0.5), "built", 1),
    ("all of them text", EXPORT, ("images could not be rendered", "--image-dir"), _write_all(b"text"), "built", 1),
    ("all of them of another size", EXPORT, ("31x31",), _write_all(picture("PNG", size=(31, 31))), "built", 1),
    ("no bad one allowed", f"{EXPORT} --max-errors 0", ("0.jpg",), content(NAME, b""), "built", 1),
    ("the folder is gone", EXPORT, ("--image-dir", "no image such as"), gone("images"), "built", 1),
    ("the folder is a file", EXPORT, ("--image-dir",), both(gone("images"), content("images", "")), "built", 1),
    ("another folder is given", f"{EXPORT} --image-dir chips", ("--image-dir", "chips"), lambda _: None, "built", 1),
    ("noise", EXPORT, ("0.jpg", "images lost"), _noise, "built", 3),
    ("one bit of it", EXPORT, ("Shards in",), flip(NAME, 0.9), "built", 0),
    ("preview of a bad one", "preview", ("0.jpg", "left out"), cut(NAME, 0.5), "built", 3),
    (
        "predict with a bad one",
        "predict coco.json --device cpu --score-floor 0.9 --out o.json",
        ("0.jpg", "left out"),
        cut(NAME, 0.5),
        "trained",
        3,
    ),
    (
        "predict with none",
        "predict coco.json --device cpu --score-floor 0.9 --out o.json",
        ("none of the 4 images", "--image-dir"),
        _write_all(b""),
        "trained",
        1,
    ),
    ("propose with none", "propose --device cpu --out o.pkl", ("none of the 4 images",), _write_all(b""), "trained", 1),
)
CASES = [
    *(_lost(kind, make, says) for kind, (make, says) in LOST.items()),
    *(Case(f"image used: {kind}", EXPORT, ("Shards in",), make, "built", code=0) for kind, make in USED.items()),
    *(
        Case(f"images: {name}", words, says, make, start, code, may_appear=("chips/shards/*",))
        for name, words, says, make, start, code in _ELSE
    ),
]
