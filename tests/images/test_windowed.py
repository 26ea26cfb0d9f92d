"""chipper.images.windowed: chips cut by windows are those of the whole image, in bounded memory, and a file names no other."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import chipper.images.gdal
import chipper.images.windowed
from chipper.errors import DependencyError, ImageError, OptionError
from chipper.images.decoded import DecodedImage, open_source
from chipper.images.gdal import RasterFile
from chipper.images.options import PADDING, PixelOptions
from chipper.images.source import Part
from chipper.images.stretch import Stretch, to_bytes
from chipper.images.windowed import WindowedImage
from chipper.mining.pyramid import canvas_size
from chipper.shards.options import RenderOptions
from chipper.shards.render import render_chip
from chipper.shards.writing import tar_path
from chipper.storage.locations import location

rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'sniper-chipper[raster]'")


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images as small as those of these tests are read by windows too."""
    monkeypatch.setattr(chipper.images.windowed, "KEPT", 0)


LAYOUTS: dict[str, dict[str, Any]] = {
    "tiles": {"tiled": True, "blockxsize": 128, "blockysize": 128},
    "tiles, bands apart": {"tiled": True, "blockxsize": 64, "blockysize": 32, "interleave": "band"},
    "compressed tiles": {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "predictor": 2},
    "strips": {"blockysize": 7},
    "compressed strips": {"compress": "lzw", "interleave": "band"},
    "BigTIFF": {"tiled": True, "blockxsize": 128, "blockysize": 128, "BIGTIFF": "YES"},
    "big-endian": {"ENDIANNESS": "BIG", "tiled": True, "blockxsize": 128, "blockysize": 128},
}


def geotiff(
    path: Path, values: np.ndarray, mask: np.ndarray | None = None, overviews: Any = (), **profile: Any
) -> Path:
    """Values (bands, h, w) as a TIFF."""
    count, height, width = values.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(
                path, "w", driver="GTiff", width=width, height=height, count=count, dtype=values.dtype, **profile
            ) as out,
        ):
            out.write(values)
            if mask is not None:
                out.write_mask(mask)
        if overviews:
            with rasterio.open(path, "r+") as out:
                out.build_overviews(list(overviews), rasterio.enums.Resampling.average)
    return path


def scene(width: int, height: int, bands: int = 4, dtype: Any = np.uint16, top: int = 4000) -> np.ndarray:
    """Smooth blobs with noise on them, each band other."""
    rng = np.random.default_rng(3)
    out = []
    for _ in range(bands):
        coarse = Image.fromarray(rng.random((max(height // 16, 2), max(width // 16, 2))).astype(np.float32))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)
        out.append((smooth * 0.97 + 0.03 * rng.random((height, width))) * top)
    return np.stack(out).astype(dtype)


def whole(values: np.ndarray, bands: tuple[int, ...], text: str, valid: np.ndarray | None = None) -> Image.Image:
    """The oracle: everything at once, by numpy. Percentiles are exact up to 1024 x 1024 px."""
    stretch = Stretch.parse(text)
    channels = []
    for band in bands:
        sample = values[band - 1].ravel() if valid is None else values[band - 1][valid]
        channels.append(to_bytes(values[band - 1], stretch, stretch.limits(sample)))
    pixels = np.stack(channels * (3 // len(channels)), axis=2)
    if valid is not None:
        pixels[~valid] = PADDING
    return Image.fromarray(pixels)


def opened(path: Path, bands: str | None = None, stretch: str | None = None) -> WindowedImage:
    with Image.open(path) if path.suffix != ".tif" else rasterio_size(path) as image:
        size = (image.width, image.height)
    return WindowedImage(path, size, PixelOptions(bands, stretch))


def rasterio_size(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path)


def decoded(pixels: Image.Image) -> DecodedImage:
    return DecodedImage(pixels, *pixels.size)


def chip(source: Any, size: tuple[int, int], scale: float, x: int, y: int, side: int = 128) -> np.ndarray:
    content = tuple(int(min(canvas_size(length, scale) - at, side)) for length, at in ((size[0], x), (size[1], y)))
    return np.asarray(render_chip(source, scale, x, y, content, side)).astype(int)


# --- chips are those of the whole image ---


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("scale", [3.0, 1.667, 1.0, 0.7, 0.51])
@pytest.mark.usefixtures("small_windows")
def test_chips_are_those_of_the_whole_image(tmp_path: Path, layout: dict[str, Any], scale: float) -> None:
    values = scene(701, 499)
    path = geotiff(tmp_path / "a.tif", values, **layout)
    oracle = decoded(whole(values, (3, 2, 1), "2-98"))
    across, down = int(canvas_size(701, scale)) - 128, int(canvas_size(499, scale)) - 128
    with opened(path, "3,2,1", "2-98") as source:
        for x, y in ((0, 0), (across, 0), (0, down), (across, down), (across // 2, down // 3)):
            found, expected = (chip(each, (701, 499), scale, x, y) for each in (source, oracle))
            assert np.abs(found - expected).max() <= 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.usefixtures("small_windows")
def test_any_window_at_any_fine_scale(tmp_path: Path, data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300))
    values = scene(width, height, 1, np.uint8, 255)
    path = geotiff(tmp_path / "a.tif", values, tiled=True, blockxsize=64, blockysize=64)
    scale = data.draw(st.floats(0.5, 3.5, exclude_min=True))
    corner = [data.draw(st.integers(0, max(int(canvas_size(v, scale)) - 1, 0))) for v in (width, height)]
    if min(canvas_size(v, scale) - at for v, at in zip((width, height), corner)) < 1:
        return
    oracle = decoded(whole(values, (1,), "none"))
    with opened(path, "1") as source:
        found, expected = (chip(each, (width, height), scale, *corner, side=64) for each in (source, oracle))
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("layout", ["tiles", "strips"])
@pytest.mark.parametrize("reduction", [2, 4, 8, 32])
@pytest.mark.usefixtures("small_windows")
def test_reduced_parts_are_means_of_the_stretched_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, reduction: int
) -> None:
    """Exactly, however many pieces they are read in."""
    monkeypatch.setattr(chipper.images.windowed, "_SIDE", 64)
    monkeypatch.setattr(chipper.images.windowed, "PIECE", 5000)
    values = scene(701, 499)
    expected = whole(values, (1, 2, 3), "2-98").reduce(reduction)
    with opened(geotiff(tmp_path / "a.tif", values, **LAYOUTS[layout]), None, "2-98") as source:
        everything = source.part((0, 0, 701, 499), 1 / reduction)
        assert everything == Part(everything.pixels, reduction, reduction, 0, 0)
        np.testing.assert_array_equal(np.asarray(everything.pixels), np.asarray(expected))
        some = source.part((200, 150, 420, 333), 1.2 / reduction / 2)
    assert some.across == some.down == reduction
    box = (some.left, some.top, some.left + some.pixels.width, some.top + some.pixels.height)
    assert box[0] * reduction <= 200
    assert box[2] * reduction >= 420
    np.testing.assert_array_equal(np.asarray(some.pixels), np.asarray(expected.crop(box)))


@pytest.mark.parametrize("overviews", [(), (2, 4, 8), (4,), (3,)], ids=str)
@pytest.mark.parametrize("scale", [0.5, 0.4, 0.2, 0.07])
@pytest.mark.usefixtures("small_windows")
def test_coarse_chips_show_the_same(tmp_path: Path, overviews: Any, scale: float) -> None:
    values = scene(1203, 1001, top=3000)
    path = geotiff(tmp_path / "a.tif", values, overviews=overviews, **LAYOUTS["tiles"])
    oracle = decoded(whole(values, (4, 2, 1), "0:3000"))
    x, y = (max(int(canvas_size(side, scale)) - 128, 0) for side in (1203, 1001))
    with opened(path, "4,2,1", "0:3000") as source:
        found, expected = (chip(each, (1203, 1001), scale, x, y) for each in (source, oracle))
    assert np.abs(found - expected).mean() < 2
    assert np.quantile(np.abs(found - expected), 0.99) < 10


@pytest.mark.usefixtures("small_windows")
def test_overviews_are_read_where_they_are_fine_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = geotiff(tmp_path / "a.tif", scene(900, 700), overviews=(2, 4, 3), **LAYOUTS["tiles"])
    read, factors = RasterFile.read, []

    def noted(self: RasterFile, bands: Any, box: Any, factor: int = 1) -> Any:
        factors.append(factor)
        return read(self, bands, box, factor)

    monkeypatch.setattr(RasterFile, "read", noted)
    with opened(path, stretch="0:4000") as source:
        for scale, factor in ((1.0, 1), (0.6, 1), (0.5, 2), (0.3, 2), (0.25, 4), (0.1, 4)):
            factors.clear()
            source.part((0, 0, 900, 700), scale)
            assert set(factors) == {factor}


@pytest.mark.usefixtures("small_windows")
def test_no_part_is_larger_than_its_chip_needs(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", np.zeros((1, 3000, 4000), np.uint8), tiled=True, compress="deflate")
    with opened(path, "1") as source:
        for scale in (3, 1, 0.9, 0.51, 0.5, 0.3, 0.13):
            side = min(512 / scale, 3000)
            part = source.part((0, 0, side, side), scale)
            assert max(part.pixels.size) <= 2 * 512 + 8 + 1


@pytest.mark.usefixtures("small_windows")
def test_cut_and_whole(tmp_path: Path) -> None:
    values = scene(640, 480)
    picture = whole(values, (1, 2, 3), "2-98")
    with opened(geotiff(tmp_path / "a.tif", values), stretch="2-98") as source:
        for box, size in (((0, 0, 640, 480), (640, 480)), ((100.5, 30, 260, 401), (300, 500))):
            found = np.asarray(source.cut(box, size)).astype(int)
            assert np.abs(found - np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=box))).max() <= 1
        small = np.asarray(source.whole((100, 75))).astype(int)
    assert np.abs(small - np.asarray(picture.resize((100, 75)))).mean() < 1.5


# --- bands, stretch, nodata ---


def test_bands_by_default_and_by_number(tmp_path: Path) -> None:
    values = np.stack([np.full((8, 9), 10 * k, np.uint8) for k in (1, 2, 3, 4, 5)])
    five, two = geotiff(tmp_path / "a.tif", values), geotiff(tmp_path / "b.tif", values[:2])
    for path, bands, expected in (
        (five, None, (10, 20, 30)),
        (five, "5,1,4", (50, 10, 40)),
        (five, "4", (40, 40, 40)),
        (five, "2,2,1", (20, 20, 10)),
        (two, None, (10, 10, 10)),
    ):
        with opened(path, bands, "none") as source:
            assert source.whole((9, 8)).getcolors() == [(72, expected)]
    with pytest.raises(ImageError, match="^there is no band 6; the file has 5$"):
        opened(five, "6,1,1")


def test_sixteen_bits_without_a_stretch_give_their_high_byte(tmp_path: Path) -> None:
    values = scene(40, 30, top=65535)
    with opened(geotiff(tmp_path / "a.tif", values), "4,3,2") as source:
        expected = np.moveaxis(values[[3, 2, 1]] >> 8, 0, 2)
        np.testing.assert_array_equal(np.asarray(source.whole((40, 30))), expected)


@pytest.mark.parametrize("dtype", [np.int16, np.uint32, np.int32, np.float32, np.float64])
def test_other_types_need_a_stretch(tmp_path: Path, dtype: Any, is_one_line: Callable[..., str]) -> None:
    values = scene(50, 40, 3, dtype, 900) - np.array(100, dtype)
    path = geotiff(tmp_path / "a.tif", values)
    with pytest.raises(ImageError, match="cannot be converted to 8 bits; give a stretch, for example 2-98") as caught:
        opened(path, "1")
    is_one_line(caught.value)
    for text in ("1-99", "50:600"):
        with opened(path, "2", text) as source:
            expected = np.asarray(whole(values, (2,), text))
            np.testing.assert_array_equal(np.asarray(source.whole((50, 40))), expected)


def test_complex_values_have_no_rule(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", np.ones((1, 4, 4), np.complex64))
    with pytest.raises(ImageError, match="^values of type complex64 cannot be converted to 8 bits$"):
        opened(path, "1", "2-98")


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [(np.uint16, 0), (np.uint16, 65535), (np.int16, -9999), (np.float32, -9999.0), (np.float32, np.nan)],
)
def test_nodata_is_left_out_and_padded(tmp_path: Path, dtype: Any, nodata: float) -> None:
    values = scene(200, 150, 3, dtype, 3000) + np.array(1, dtype)
    valid = np.ones((150, 200), bool)
    valid[:70, 30:120] = False
    values[:, ~valid] = nodata
    path = geotiff(tmp_path / "a.tif", values, nodata=nodata)
    with opened(path, "3,2,1", "2-98") as source:
        found = np.asarray(source.whole((200, 150)))
    np.testing.assert_array_equal(found, np.asarray(whole(values, (3, 2, 1), "2-98", valid)))


def test_nodata_that_the_type_cannot_hold_is_no_value(tmp_path: Path) -> None:
    values = scene(20, 15, 1, np.uint8, 255)
    path = geotiff(tmp_path / "a.tif", values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "r+") as out:
            try:
                out.nodata = -9999
            except ValueError:
                pytest.skip("this rasterio writes no such value")
    with opened(path, "1") as source:
        assert (np.asarray(source.whole((20, 15)))[..., 0] == values[0]).all()


def test_one_band_without_data_is_dark_and_no_padding(tmp_path: Path) -> None:
    values = np.full((3, 6, 6), 100, np.float32)
    values[1, 2:, 2:] = np.nan
    values[:, 5, 5] = np.nan
    with opened(geotiff(tmp_path / "a.tif", values), None, "0:200") as source:
        found = np.asarray(source.whole((6, 6)))
    assert found[0, 0].tolist() == [128, 128, 128]
    assert found[3, 3].tolist() == [128, 0, 128]
    assert found[5, 5].tolist() == list(PADDING)


def test_what_the_file_s_mask_leaves_out_is_padded(tmp_path: Path) -> None:
    values = scene(100, 80)
    valid = np.ones((80, 100), bool)
    valid[10:50, 20:60] = False
    path = geotiff(tmp_path / "a.tif", values, mask=valid)
    assert not path.with_name("a.tif.msk").exists()
    with opened(path, "1,2,3", "5-95") as source:
        found = np.asarray(source.whole((100, 80)))
    np.testing.assert_array_equal(found, np.asarray(whole(values, (1, 2, 3), "5-95", valid)))


def test_alpha_is_dropped(tmp_path: Path) -> None:
    values = scene(30, 20, 4, np.uint8, 255)
    values[3] = 0
    path = geotiff(tmp_path / "a.tif", values, photometric="RGB", alpha="YES")
    with opened(path, "1,2,3") as source:
        np.testing.assert_array_equal(np.asarray(source.whole((30, 20))), np.moveaxis(values[:3], 0, 2))


def test_percentiles_of_a_large_image_are_near_those_of_all_its_pixels(tmp_path: Path) -> None:
    values = scene(3000, 2500, 1)
    with opened(geotiff(tmp_path / "a.tif", values, **LAYOUTS["tiles"]), "1", "2-98") as source:
        (sample,) = source._sample()
        assert 1e6 * 0.9 < sample.size <= 1 << 20
        expected = np.percentile(values, (2, 98))
        assert np.abs(np.array(source._limits[0]) - expected).max() < 0.02 * np.ptp(expected)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 700, 1024, 1025, 30_000])
def test_sampled_windows_lie_inside_and_apart(length: int) -> None:
    found = chipper.images.windowed._spread(length)
    assert all(0 <= a < b <= length and b - a <= 64 for a, b in found)
    assert all(b <= c for (_, b), (c, _) in pairwise(found))
    assert sum(b - a for a, b in found) >= min(length, 1024 - 63)
    assert found[0][0] == 0
    assert found[-1][1] == length


def test_other_formats(tmp_path: Path) -> None:
    values = np.moveaxis(scene(90, 60, 3, np.uint8, 255), 0, 2)
    for name, options in (
        ("a.png", {}),
        ("a.jpg", {"quality": 95, "subsampling": 0}),
        ("b.tif", {"compression": None}),
    ):
        Image.fromarray(values).save(tmp_path / name, **options)
        with Image.open(tmp_path / name) as image:
            expected = np.asarray(image).astype(int)[..., ::-1]
        with opened(tmp_path / name, "3,2,1") as source:
            assert np.abs(np.asarray(source.whole((90, 60))) - expected).max() <= (2 if name == "a.jpg" else 0)
    for image in (Image.fromarray(values).quantize(8), Image.fromarray(values).convert("1")):
        image.save(tmp_path / "c.tif")
        with pytest.raises(ImageError, match="have no bands to choose; leave out bands and stretch"):
            opened(tmp_path / "c.tif", "1")
    Image.fromarray(values).save(tmp_path / "a.bmp")
    with pytest.raises(ImageError, match="not one of GeoTIFF, JPEG 2000, PNG, JPEG and WebP"):
        opened(tmp_path / "a.bmp", "1")


# --- when windows are taken ---


def test_options_take_windows_and_none_take_pil(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", scene(40, 30, 3, np.uint8, 255), photometric="RGB")
    assert isinstance(open_source(path, (40, 30)), DecodedImage)
    for pixels in (PixelOptions("1"), PixelOptions(None, "none")):
        with open_source(path, (40, 30), pixels=pixels) as source:
            assert isinstance(source, WindowedImage)


@pytest.mark.parametrize("how", ["BigTIFF", "five bands", "bands apart"])
def test_a_tiff_that_pil_does_not_know_is_read_by_windows(tmp_path: Path, how: str) -> None:
    profile: dict[str, Any] = {"BigTIFF": {"BIGTIFF": "YES"}, "bands apart": {"interleave": "band"}}.get(how, {})
    values = scene(40, 30, 5, top=65535)
    path = geotiff(tmp_path / "a.tif", values, **profile)
    with open_source(path, (40, 30)) as source:
        assert isinstance(source, WindowedImage)
        np.testing.assert_array_equal(np.asarray(source.whole((40, 30))), np.moveaxis(values[:3] >> 8, 0, 2))
    with pytest.raises(ImageError, match="leave out exif apply"):
        open_source(path, (40, 30), "apply")
    with pytest.raises(ImageError, match="^the file is 40x30 px, the annotations say 30x40$"):
        open_source(path, (30, 40))


@pytest.mark.parametrize("content", [b"hello", b"", b"II*\0", b"II*\0junkjunkjunk", b"II+\0" + b"\xff" * 40])
def test_what_nobody_knows(tmp_path: Path, content: bytes, is_one_line: Callable[..., str]) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    for pixels in (PixelOptions(), PixelOptions("1")):
        with pytest.raises(ImageError) as caught:
            open_source(tmp_path / "a.tif", (40, 30), pixels=pixels)
        assert "vsi" not in is_one_line(caught.value)
    with pytest.raises(ImageError, match="^the file does not exist$"):
        open_source(tmp_path / "b.tif", (40, 30), pixels=PixelOptions("1"))


def test_without_rasterio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_one_line: Callable[..., str]) -> None:
    path = geotiff(tmp_path / "a.tif", scene(40, 30, 5))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    chipper.images.gdal._rasterio.cache_clear()
    with pytest.raises(DependencyError, match=r"pip install 'sniper-chipper\[raster\]'") as caught:
        open_source(path, (40, 30), pixels=PixelOptions("1"))
    is_one_line(caught.value)
    with pytest.raises(ImageError, match=r"needs rasterio; run: pip install 'sniper-chipper\[raster\]'") as fault:
        open_source(path, (40, 30))
    is_one_line(fault.value)


@pytest.mark.parametrize("bands", ["", "0", "1,2", "1,2,3,4", "a", "1.5", "-1", "1,,2"])
def test_what_are_no_bands(bands: str, is_one_line: Callable[..., str]) -> None:
    with pytest.raises(OptionError, match="bands") as caught:
        PixelOptions(bands)
    is_one_line(caught.value)


def test_options_over_remembered_ones() -> None:
    remembered = PixelOptions("3,2,1", "2-98")
    assert PixelOptions().over(remembered) == remembered
    assert PixelOptions("1").over(remembered) == PixelOptions("1", "2-98")
    assert PixelOptions(None, "none").over(remembered) == PixelOptions("3,2,1", "none")
    for options in (remembered, PixelOptions(), PixelOptions("4")):
        assert PixelOptions.from_text({"quality": 9, **options.as_text()}) == options
    with pytest.raises(OptionError, match="exif apply cannot be combined with"):
        RenderOptions(exif="apply", pixels=remembered)
    assert RenderOptions().as_text() == {"quality": 90, "subsampling": "4:2:0", "exif": "auto"}


def test_images_at_urls(tmp_path: Path) -> None:
    values = scene(300, 200)
    path = geotiff(tmp_path / "a.tif", values, overviews=(2,), **LAYOUTS["compressed tiles"])
    place = location("memory://rasters/a.tif")
    place.write_bytes(path.read_bytes())
    with WindowedImage(place, (300, 200), PixelOptions("1,2,3", "2-98")) as source:
        found = np.asarray(source.whole((300, 200)))
        assert source.part((0, 0, 300, 200), 0.5).pixels.size == (150, 100)
    np.testing.assert_array_equal(found, np.asarray(whole(values, (1, 2, 3), "2-98")))
    with pytest.raises(ImageError, match="^the file does not exist$"):
        WindowedImage(location("memory://rasters/b.tif"), (300, 200), PixelOptions("1"))


# --- a file names no other ---

VRT = """<VRTDataset rasterXSize="40" rasterYSize="30"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename relativeToVRT="0">{}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""


def test_a_vrt_is_no_image(tmp_path: Path) -> None:
    secret = geotiff(tmp_path / "secret.tif", scene(40, 30, 1, np.uint8, 255))
    path = tmp_path / "a.tif"
    path.write_text(VRT.format(secret))
    with pytest.raises(ImageError, match="not one of GeoTIFF"):
        WindowedImage(path, (40, 30), PixelOptions("1"))
    with pytest.raises(ImageError, match="not an image of a format"):
        open_source(path, (40, 30))


def test_a_tiff_that_names_another_file_as_its_overviews_is_refused(tmp_path: Path) -> None:
    """GDAL opens that file, a VRT or a URL too, as soon as it is asked for overviews."""
    secret = geotiff(tmp_path / "secret.tif", scene(20, 15, 1, np.uint8, 255))
    (tmp_path / "a.vrt").write_text(VRT.format(secret))
    path = geotiff(tmp_path / "a.tif", scene(40, 30, 1, np.uint8, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "r+") as out:
            out.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(tmp_path / "a.vrt"))
        with rasterio.open(path) as naive:
            assert naive.overviews(1), "GDAL by itself opens it"
    with pytest.raises(ImageError, match="refers to another file for its overviews"):
        WindowedImage(path, (40, 30), PixelOptions("1"))


def test_side_cars_are_not_looked_at(tmp_path: Path) -> None:
    values = scene(64, 48, 1, np.uint8, 255)
    path = geotiff(tmp_path / "a.tif", values)
    zeros = geotiff(tmp_path / "zeros.tif", np.zeros((1, 24, 32), np.uint8)).read_bytes()
    (tmp_path / "a.tif.ovr").write_bytes(zeros)
    (tmp_path / "a.tif.msk").write_bytes(geotiff(tmp_path / "m.tif", np.zeros((1, 48, 64), np.uint8)).read_bytes())
    (tmp_path / "a.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand></PAMDataset>'
    )
    with opened(path, "1") as source:
        assert source._file.overviews == {}
        assert (np.asarray(source.whole((64, 48)))[..., 0] == values[0]).all()


# --- damage ---


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.95])
def test_truncated(tmp_path: Path, share: float, is_one_line: Callable[..., str], capfd: Any) -> None:
    values = np.random.default_rng(0).integers(0, 60000, (4, 300, 400)).astype(np.uint16)
    path = geotiff(tmp_path / "a.tif", values, **LAYOUTS["compressed tiles"])
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ImageError, match="cannot be decoded") as caught:  # noqa: SIM117
        with WindowedImage(path, (400, 300), PixelOptions("1,2,3", "2-98")) as source:
            source.whole((400, 300))
    assert "vsi" not in is_one_line(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("offset", [1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_pixels_that_lie_at_no_place(tmp_path: Path, offset: int, is_one_line: Callable[..., str], capfd: Any) -> None:
    path = geotiff(tmp_path / "a.tif", scene(24, 18, 1), BIGTIFF="YES")
    data = bytearray(path.read_bytes())
    strip = data.index(struct.pack("<HHQ", 273, 16, 1))  # the only one's offset
    data[strip + 12 : strip + 20] = offset.to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(ImageError, match="cannot be decoded") as caught:  # noqa: SIM117
        with WindowedImage(path, (24, 18), PixelOptions("1")) as source:
            source.whole((24, 18))
    is_one_line(caught.value)
    assert capfd.readouterr() == ("", "")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8), st.floats(0.05, 1))
def test_damage_raises_nothing_but_image_errors(tmp_path: Path, changes: list[tuple[float, int]], share: float) -> None:
    path = tmp_path / "a.tif"
    if not (tmp_path / "good.tif").exists():
        geotiff(tmp_path / "good.tif", scene(24, 18), tiled=True, blockxsize=16, blockysize=16, overviews=(2,))
    data = bytearray((tmp_path / "good.tif").read_bytes())
    for place, value in changes:
        data[int(place**3 * len(data))] = value
    path.write_bytes(bytes(data[: int(share * len(data)) + 1]))
    try:
        with WindowedImage(path, (24, 18), PixelOptions("3,2,1", "2-98")) as source:
            assert source.whole((24, 18)).mode == "RGB"
            source.whole((6, 4))
    except ImageError as error:
        assert "\n" not in str(error)
        assert "vsi" not in str(error)


def test_blocks_that_do_not_fit_into_memory_are_refused(tmp_path: Path) -> None:
    path = geotiff(
        tmp_path / "a.tif",
        np.zeros((1, 16, 16), np.uint8),
        tiled=True,
        blockxsize=32768,
        blockysize=16384,
        SPARSE_OK=True,
    )
    with pytest.raises(ImageError, match=r"blocks of 32768x16384 px, too large .*gdal_translate -co TILED=YES"):
        opened(path, "1")


def test_bytes_written_meanwhile_are_an_error_at_the_end(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", scene(64, 48))
    source = opened(path, "1")
    with pytest.raises(ImageError, match="^the file was written to while it was read$"), source:
        os.utime(path, ns=(1, 1))
    with opened(path, "1") as source:  # another in its place is no matter
        os.replace(geotiff(tmp_path / "b.tif", scene(30, 20)), path)
        assert source.whole((64, 48)).size == (64, 48)


def test_no_file_stays_open(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", scene(64, 48), overviews=(2,), **LAYOUTS["tiles"])
    before = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else pytest.skip("no /proc here")
    with opened(path, "1") as source:
        source.part((0, 0, 64, 48), 0.5)
    with pytest.raises(ImageError):
        WindowedImage(path, (1, 1), PixelOptions("1"))
    assert set(os.listdir("/proc/self/fd")) == before


# --- memory ---

RENDER = """
import sys
from pathlib import Path
from chipper.images.decoded import open_source
from chipper.images.options import PixelOptions
from chipper.shards.render import render_chip
def peak():
    with open("/proc/self/status") as status:
        return int(status.read().split("VmHWM:")[1].split()[0]) // 1024
side = int(sys.argv[2])
with open_source(Path(sys.argv[3]), (64, 64), pixels=PixelOptions("1", "2-98")) as source:
    render_chip(source, 1.0, 0, 0, (64, 64), 64)  # everything is imported
before = peak()
with open_source(Path(sys.argv[1]), (side, side), pixels=PixelOptions("3,2,1", "2-98")) as source:
    for scale in (3.0, 1.0, 0.2, 512 / side):
        last = round(side * scale) - 512
        for x in range(0, last + 1, max(last // 4, 1)):
            render_chip(source, scale, x, last // 2, (512, 512), 512)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_is_bounded_by_windows(tmp_path: Path) -> None:
    side = 12_000  # 432 MB as 8-bit RGB, 1.2 GB as it is stored
    path = tmp_path / "a.tif"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        profile = {"width": side, "height": side, "count": 4, "dtype": "uint16", "SPARSE_OK": True}
        with rasterio.open(path, "w", driver="GTiff", tiled=True, blockxsize=512, blockysize=512, **profile) as out:
            out.write(scene(512, 512), window=((0, 512), (0, 512)))
    assert path.stat().st_size < 10e6
    small = geotiff(tmp_path / "small.tif", scene(64, 64))
    command = [sys.executable, "-c", RENDER, str(path), str(side), str(small)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert (
        int(done.stdout) < 64 + 64 + 100
    )  # MB: GDAL's cache, kept reductions, a piece on its way from 16 bits to the chip


# --- the whole chain ---


@pytest.fixture
def satellite(tmp_path: Path, write_coco: Callable[..., Path]) -> Path:
    """Three 16-bit GeoTIFFs of four bands with boxes; the folder."""
    images, annotations = [], []
    for k, (width, height) in enumerate(((900, 700), (640, 640), (1300, 500)), 1):
        layout = list(LAYOUTS.values())[k]
        geotiff(tmp_path / f"{k}.tif", scene(width, height), crs="EPSG:32633", transform=[5, 1, 0, 1, -5, 9], **layout)
        images.append({"id": k, "file_name": f"{k}.tif", "width": width, "height": height})
        for number, (x, y, side) in enumerate(((30, 40, 20), (300, 200, 60), (100, 100, 300), (560, height - 40, 30))):
            box = {"id": 10 * k + number, "image_id": k, "category_id": 1, "bbox": [x, y, side, side]}
            annotations.append(box)
    write_coco(tmp_path, images=images, annotations=annotations, categories=[{"id": 1, "name": "ship"}])
    return tmp_path


def run(folder: Path, *words: str, code: int = 0) -> str:
    from chipper.cli.main import main

    done = CliRunner().invoke(main, [*words, "--workdir", str(folder / "chips")])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def test_the_whole_chain(satellite: Path, hashes: Callable[..., Any]) -> None:
    run(satellite, "build-positives", str(satellite / "coco.json"))
    run(satellite, "export-shards", "--bands", "3,2,1", "--stretch", "2-98", "--jobs", "1")
    run(satellite, "verify", "--deep", "--jobs", "1")
    shards = satellite / "chips" / "shards"
    render = json.loads((shards / "dataset.json").read_text())["render"]
    assert render == {"quality": 90, "subsampling": "4:2:0", "exif": "auto", "bands": "3,2,1", "stretch": "2-98"}
    first = hashes(shards)
    assert "0 rendered" in run(satellite, "export-shards", "--bands", "3,2,1", "--stretch", "2-98", "--jobs", "1")
    run(satellite, "export-shards", "--bands", "3,2,1", "--stretch", "0:3000", "--jobs", "1")
    assert hashes(shards) != first
    run(satellite, "export-shards", "--bands", "3,2,1", "--stretch", "2-98", "--jobs", "2", "--chips-per-shard", "1000")
    assert hashes(shards) == first


def test_chips_in_shards_are_those_of_the_oracle(satellite: Path, build: Any, export: Any) -> None:
    from chipper.shards.pool import Pool

    workdir = build(satellite / "coco.json", satellite / "chips")
    export(workdir, render=RenderOptions(quality=100, subsampling="4:4:4", pixels=PixelOptions("3,2,1", "2-98")))
    values = {1: scene(900, 700), 2: scene(640, 640), 3: scene(1300, 500)}
    pool = Pool(workdir.shards)
    seen = set()
    for row in range(len(pool)):
        jpeg, record = pool.read(row)
        about = json.loads(record)
        if about["chip"]["scale"] < 0.6:
            continue
        seen.add(about["image_id"])
        oracle = decoded(whole(values[about["image_id"]], (3, 2, 1), "2-98"))
        place = about["chip"]["x"], about["chip"]["y"]
        expected = render_chip(oracle, about["chip"]["scale"], *place, tuple(about["chip"]["content"]), 512)
        with Image.open(io.BytesIO(jpeg)) as image:
            difference = np.abs(np.asarray(image).astype(int) - np.asarray(expected))
        assert difference.max() <= 6  # the JPEG's
    assert seen == {1, 2, 3}


@pytest.mark.usefixtures("small_windows")
def test_a_damaged_image_costs_its_own_chips_and_nothing_of_others(
    satellite: Path, tmp_path: Path, build: Any, export: Any
) -> None:
    """It fails when some of its chips are already in the shard."""
    workdir = build(satellite / "coco.json", satellite / "chips", variants=2, scales="1", valid_ranges=":")
    render = RenderOptions(pixels=PixelOptions("1,2,3", "0:4000"))
    path = satellite / "2.tif"
    path.unlink()
    missing = export(workdir, render=render, chips_per_shard=1000)
    tars = {name: tar_path(workdir.shards, name).read_bytes() for name in [r.name for r in missing.receipts]}
    noise = np.random.default_rng(0).integers(0, 4000, (4, 640, 640)).astype(np.uint16)
    geotiff(path, noise, compress="deflate", blockysize=16)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10])
    added, writes = [], chipper.shards.writing.ShardWriter.add

    def counted(self: Any, sample: Any) -> None:
        added.append(sample.key)
        writes(self, sample)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chipper.shards.writing.ShardWriter, "add", counted)
        damaged = export(workdir, render=render, chips_per_shard=1000, retry_errors=True)
    assert any(key.startswith(f"{2:012d}") for key in added), "some of its chips were rendered before it failed"
    assert {fault.image_id for _, fault in damaged.faults} == {2}
    assert "cannot be decoded" in damaged.faults[0][1].error
    for name, content in tars.items():
        assert tar_path(workdir.shards, name).read_bytes() == content


def test_preview_takes_what_was_exported(satellite: Path, export: Any, build: Any) -> None:
    from chipper.pictures import figure
    from chipper.shards.shard_set import exported_pixels

    run(satellite, "build-positives", str(satellite / "coco.json"))
    workdir_shards = satellite / "chips" / "shards"
    assert exported_pixels(workdir_shards) == PixelOptions()
    run(satellite, "export-shards", "--bands", "4", "--stretch", "2-98", "--jobs", "1")
    assert exported_pixels(workdir_shards) == PixelOptions("4", "2-98")
    run(satellite, "preview", "2", "--out", str(satellite / "out"))
    with Image.open(satellite / "out" / f"{2:012d}.jpg") as picture:
        left = figure._MARGIN
        top = left + sum(map(figure._line, (figure._TITLE, figure._TEXT, figure._HEAD))) + figure._GAP
        pixels = np.asarray(picture)[top + 500 : top + 640, left : left + 400].astype(int)  # no box there
    values = scene(640, 640)
    expected = np.asarray(whole(values, (4,), "2-98"))[500:640, :400]
    assert np.abs(pixels - expected).mean() < 6


def test_selective_search_looks_at_the_stretched_bands(tmp_path: Path, write_coco: Any) -> None:
    from chipper.coco.reading import read_images
    from chipper.parallel.workers import Workers
    from chipper.proposals.selective_search import selective_search

    pytest.importorskip("cv2", reason="OpenCV is not installed")
    values = scene(160, 120)
    geotiff(tmp_path / "a.tif", values)
    whole(values, (3, 2, 1), "2-98").save(tmp_path / "a.png")
    found = []
    for name, pixels in (("a.tif", PixelOptions("3,2,1", "2-98")), ("a.png", PixelOptions())):
        images = [{"id": 5, "file_name": name, "width": 160, "height": 120}]
        coco = write_coco(tmp_path / name[-3:], images=images, annotations=[], categories=[{"id": 1, "name": "x"}])
        found.append(selective_search(read_images(coco), tmp_path, 50, workers=Workers(1), pixels=pixels))
    np.testing.assert_array_equal(found[0].box, found[1].box)
    assert len(found[0])


def test_bands_that_are_not_there_are_one_line(satellite: Path) -> None:
    run(satellite, "build-positives", str(satellite / "coco.json"))
    for words, code, expected in (
        (["--bands", "9"], 1, "there is no band 9; the file has 4"),
        (["--stretch", "98-2"], 2, "--stretch 98-2: the first number must be below the second"),
    ):
        command = [str(Path(sys.executable).with_name("chipper")), "export-shards", *words, "--jobs", "1"]
        done = subprocess.run(command, cwd=satellite, capture_output=True, text=True)
        assert done.returncode == code
        (line,) = (line for line in done.stderr.splitlines() if line.startswith("chipper: error:"))
        assert expected in line
        assert "Warning" not in done.stderr
        assert "Traceback" not in done.stderr
