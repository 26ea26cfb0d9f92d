"""Formats that PIL may be built without: where it was, rasterio reads them, to the same pixels.

All files are written by rasterio, so that these tests need no particular PIL.
"""

from __future__ import annotations

import struct
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import features

import chipper.images.decoded
import chipper.images.gdal
from chipper.errors import ImageError
from chipper.images.decoded import DecodedImage, open_source
from chipper.images.header import Header, read_header
from chipper.images.windowed import WindowedImage

rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'sniper-chipper[raster]'")

KINDS: dict[str, dict[str, Any]] = {
    "WebP": {"driver": "WEBP", "LOSSLESS": True},
    "TIFF, LZW": {"driver": "GTiff", "compress": "lzw", "photometric": "RGB"},
    "TIFF, deflate, tiled": {"driver": "GTiff", "compress": "deflate", "photometric": "RGB", "tiled": True},
    "JPEG 2000": {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": True},
}
NEEDED = {"WEBP": "webp", "GTiff": "libtiff", "JP2OpenJPEG": "jpg_2000"}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """chipper takes this PIL for one without WebP, libtiff and JPEG 2000."""
    check = features.check
    monkeypatch.setattr(
        chipper.images.decoded.features, "check", lambda name: name not in NEEDED.values() and check(name)
    )


def pattern(bands: int = 3) -> np.ndarray:
    """(bands, 30, 40) uint8."""
    y, x = np.mgrid[:30, :40]
    return np.stack([x * 6, y * 8, (x + y) * 3, x + 200])[:bands].astype(np.uint8)


def written(folder: Path, values: np.ndarray, colormap: Any = None, **profile: Any) -> Path:
    count, height, width = values.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        shape = {"width": width, "height": height, "count": count, "dtype": values.dtype}
        with rasterio.open(folder / "image", "w", **shape, **profile) as out:
            if colormap:
                out.write_colormap(1, colormap)
            out.write(values)
    return folder / "image"


def shown(path: Path) -> tuple[type, np.ndarray]:
    with open_source(path, (40, 30)) as source:
        return type(source), np.asarray(source.whole((40, 30)))


@pytest.mark.parametrize("bands", [3, 4])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("bare")
def test_rasterio_stands_in(tmp_path: Path, kind: str, bands: int) -> None:
    options = {"EXACT": True} if kind == "WebP" else {"alpha": "unassociated"} if kind.startswith("TIFF") else {}
    path = written(tmp_path, pattern(bands), **KINDS[kind], **(options if bands == 4 else {}))
    source, pixels = shown(path)
    assert source is WindowedImage
    np.testing.assert_array_equal(pixels, np.moveaxis(pattern(), 0, 2))
    assert read_header(path) == Header(40, 30, 1)
    with pytest.raises(ImageError, match="leave out exif apply"):
        open_source(path, (40, 30), "apply")


@pytest.mark.parametrize("kind", KINDS)
def test_pil_reads_what_it_can_to_the_same_pixels(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, pattern(), **KINDS[kind])
    source, pixels = shown(path)
    assert source is (DecodedImage if features.check(NEEDED[KINDS[kind]["driver"]]) else WindowedImage)
    np.testing.assert_array_equal(pixels, np.moveaxis(pattern(), 0, 2))


@pytest.mark.usefixtures("bare")
def test_sixteen_bits_give_their_high_bytes(tmp_path: Path) -> None:
    values = pattern(1).astype(np.uint16) * 257 + 100
    for profile in ({"driver": "GTiff", "compress": "lzw"}, KINDS["JPEG 2000"]):
        source, pixels = shown(written(tmp_path, values, **profile))
        assert source is WindowedImage
        np.testing.assert_array_equal(pixels, np.repeat((values[0] >> 8).astype(np.uint8)[..., None], 3, axis=2))


ELSEWISE: dict[str, tuple[int, dict[str, Any]]] = {
    "inks": (4, {"photometric": "CMYK"}),
    "inverted grey": (1, {"photometric": "MINISWHITE"}),
    "four bits": (1, {"nbits": 4}),
    "a palette": (1, {"colormap": {k: (k, 255 - k, 0) for k in range(256)}}),
    "alpha that is multiplied in": (4, {"photometric": "RGB", "alpha": "premultiplied"}),
}


@pytest.mark.parametrize("how", ELSEWISE)
@pytest.mark.usefixtures("bare")
def test_what_rasterio_shows_otherwise_is_refused(tmp_path: Path, how: str, is_one_line: Callable[..., str]) -> None:
    bands, profile = ELSEWISE[how]
    path = written(tmp_path, pattern(bands) >> 4, driver="GTiff", compress="lzw", **profile)
    with pytest.raises(ImageError, match="needs a PIL with libtiff; see `chipper doctor`") as caught:
        open_source(path, (40, 30))
    is_one_line(caught.value)


@pytest.mark.usefixtures("bare")
def test_a_turned_tiff_is_refused(tmp_path: Path) -> None:
    """PIL turns TIFFs by their flag as it reads them."""
    path = written(tmp_path, pattern(), **KINDS["TIFF, LZW"])
    planes, flag = (struct.pack("<HHIHH", number, 3, 1, value, 0) for number, value in ((284, 1), (274, 6)))
    data = path.read_bytes()
    assert data.count(planes) == 1
    path.write_bytes(data.replace(planes, flag))
    for size in ((40, 30), (30, 40)):
        with pytest.raises(ImageError, match="needs a PIL with libtiff"):
            open_source(path, size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("bare")
def test_without_rasterio_either(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, is_one_line: Callable[..., str]
) -> None:
    path = written(tmp_path, pattern(), **KINDS[kind])
    monkeypatch.setitem(sys.modules, "rasterio", None)
    chipper.images.gdal._rasterio.cache_clear()
    with pytest.raises(ImageError, match=r"PIL was built without .*pip install 'sniper-chipper\[raster\]'") as caught:
        open_source(path, (40, 30))
    is_one_line(caught.value)
    if kind == "WebP":  # PIL reads the headers of the others without their codecs
        with pytest.raises(ImageError, match=r"pip install 'sniper-chipper\[raster\]'"):
            read_header(path)


@pytest.mark.usefixtures("bare")
def test_damage_is_one_line(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    for kind in KINDS.values():
        path = written(tmp_path, np.random.default_rng(0).integers(0, 255, (3, 30, 40)).astype(np.uint8), **kind)
        data = path.read_bytes()
        for length in (0, 11, 12, 13, 20, 40, len(data) // 2):
            path.write_bytes(data[:length])
            with pytest.raises(ImageError) as caught:
                shown(path)
            is_one_line(caught.value)


@pytest.mark.usefixtures("bare")
def test_other_riff_files_are_no_images(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF\x24\0\0\0WAVEfmt " + bytes(40))
    for read in (lambda: open_source(path, (40, 30)), lambda: read_header(path)):
        with pytest.raises(ImageError, match="not an image of a format"):
            read()
