"""Images read by windows."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from .case import Case
from .damage import Damage, a_fifo, a_folder, content, cut, gone

EXPORT = "export-shards --jobs 1"
NAME = "images/0.jpg"
OPTIONS: tuple[tuple[str, str], ...] = (
    ("--bands", "0"),
    ("--bands", "-1"),
    ("--bands", "1,2"),
    ("--bands", "1,2,3,4"),
    ("--bands", "red"),
    ("--bands", "1,,2"),
    ("--bands", "''"),
    ("--bands", "1.5"),
    ("--bands", "99999999999999999999"),
    ("--stretch", "98-2"),
    ("--stretch", "2-200"),
    ("--stretch", "2-2"),
    ("--stretch", "3000:0"),
    ("--stretch", "nan:1"),
    ("--stretch", "0:inf"),
    ("--stretch", "high"),
    ("--stretch", "''"),
    ("--stretch", "1e400:1"),
)
VRT = '<VRTDataset rasterXSize="200" rasterYSize="150"><VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>{}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'


def _tiff(**settings: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (200, 150), (9, 99, 199)).save(buffer, "TIFF", **settings)
    return buffer.getvalue()


def _both(first: Damage, second: Damage) -> Damage:
    def make(folder: Path) -> None:
        first(folder)
        second(folder)

    return make


FILES: tuple[tuple[str, Damage], ...] = (
    ("zero bytes", content(NAME, b"")),
    ("text", content(NAME, "no image")),
    ("a VRT", content(NAME, VRT.format("/etc/hostname"))),
    ("a VRT that asks the network", content(NAME, VRT.format("/vsicurl/http://127.0.0.1:9/x.tif"))),
    ("a TIFF's first bytes", content(NAME, b"II*\0\x08\0\0\0")),
    ("a BigTIFF's first bytes", content(NAME, b"II+\0\x08\0\0\0" + b"\0" * 8)),
    ("half a TIFF", content(NAME, _tiff()[:40_000])),
    (
        "a TIFF of another size",
        content(NAME, _tiff().replace((200).to_bytes(2, "little"), (201).to_bytes(2, "little"))),
    ),
    ("a TIFF of rubbish behind its head", content(NAME, _tiff()[:8] + b"\x7f" * 5_000)),
    ("a JPEG cut", cut(NAME, 0.3)),
    ("a JPEG 2000's first bytes", content(NAME, b"\0\0\0\x0cjP  \r\n\x87\n")),
    ("a folder", _both(gone(NAME), a_folder(NAME))),
    ("a named pipe", _both(gone(NAME), a_fifo(NAME))),
    ("not there", gone(NAME)),
)
CASES = [
    *(
        Case(f"windows: {option} {value}", f"{EXPORT} {option} {value}", (option,), None, "built", 2)
        for option, value in OPTIONS
    ),
    *(
        Case(f"preview, windows: {option} {value}", f"preview {option} {value}", (option,), None, "built", 2)
        for option, value in OPTIONS[:6]
    ),
    *(
        Case(f"windows: {what}", f"{EXPORT} --stretch none", ("0.jpg", "images lost"), make, "built", 3)
        for what, make in FILES
    ),
    *(
        Case(f"windows, stopping there: {what}", f"{EXPORT} --stretch 2-98 --on-error fail", ("0.jpg",), make, "built")
        for what, make in FILES
    ),
    Case(
        "windows: a band that the images lack",
        f"{EXPORT} --bands 7",
        ("7",),
        None,
        "built",
        may_appear=("chips/shards/*",),
    ),
    Case("windows: EXIF to be applied", f"{EXPORT} --stretch none --exif apply", ("--exif",), None, "built", 2),
]
