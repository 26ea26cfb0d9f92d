"""chipper.shards.render: chip pixel (u, v) shows source pixel ((x + u) / scale, (y + v) / scale), to within half a pixel."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from chipper.images.decoded import DecodedImage, open_source
from chipper.mining.pyramid import canvas_size
from chipper.shards.options import RenderOptions
from chipper.shards.render import PADDING, encode_jpeg, render_chip


def rendered(picture: Image.Image | DecodedImage, scale: float, x: int, y: int, size: int = 512) -> np.ndarray:
    """The chip at (x, y) as float64, with the content that build-positives would give it."""
    source = picture if isinstance(picture, DecodedImage) else DecodedImage(picture, *picture.size)
    width, height = source.width, source.height
    content = tuple(int(min(canvas_size(side, scale) - corner, size)) for side, corner in ((width, x), (height, y)))
    return np.asarray(render_chip(source, scale, x, y, content, size)).astype(np.float64)


def blob(width: int, height: int, centre: tuple[float, float], sigma: float) -> Image.Image:
    """A bright spot on black around ``centre``, in source px; pixel i covers [i, i + 1)."""
    y, x = np.mgrid[:height, :width] + 0.5
    value = 255 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))
    return Image.fromarray(np.repeat(value.round().astype(np.uint8)[..., None], 3, axis=2))


def centre_of(chip: np.ndarray) -> tuple[float, float]:
    """Centre of brightness, in chip px."""
    weight = chip[..., 0]
    y, x = np.mgrid[: weight.shape[0], : weight.shape[1]] + 0.5
    return float((weight * x).sum() / weight.sum()), float((weight * y).sum() / weight.sum())


CASES = {
    "x3": (3.0, 640, 480, 608, 320),
    "x1.667": (1.667, 640, 480, 320, 192),
    "x1": (1.0, 640, 640, 64, 32),
    "long side 512": (512 / 640, 640, 480, 0, 0),
    "far down": (512 / 2400, 2400, 1801, 0, 0),
    "two thirds": (2 / 3, 1200, 1200, 96, 64),
}


@pytest.mark.parametrize(("scale", "width", "height", "x", "y"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("place", [(0.2, 0.3), (0.5, 0.5), (0.8, 0.6)])
def test_a_spot_is_where_the_geometry_says(
    scale: float, width: int, height: int, x: int, y: int, place: tuple[float, float]
) -> None:
    span = 512 / scale
    left, top = x / scale, y / scale
    centre = left + place[0] * min(span, width - left), top + place[1] * min(span, height - top)
    sigma = max(3.0, 3.0 / scale)
    chip = rendered(blob(width, height, centre, sigma), scale, x, y)
    chip[(chip == PADDING).all(axis=2)] = 0
    expected = centre[0] * scale - x, centre[1] * scale - y
    assert centre_of(chip) == pytest.approx(expected, abs=0.1 if scale >= 1 else 0.25)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.2, 3.5), st.integers(200, 420), st.integers(200, 420))
def test_flush_chips_of_rounded_canvases(scale: float, width: int, height: int) -> None:
    """Canvas = round(size * scale): the last chip px may lie beyond the image, and the geometry must not stretch for it."""
    size = 128
    x = max(int(canvas_size(width, scale)) - size, 0)
    y = max(int(canvas_size(height, scale)) - size, 0)
    sigma = max(3.0, 3.0 / scale)
    centre = width - 4.5 * sigma, height - 4.5 * sigma
    chip = rendered(blob(width, height, centre, sigma), scale, x, y, size)
    chip[(chip == PADDING).all(axis=2)] = 0
    if chip.sum() < 1:
        return
    expected = centre[0] * scale - x, centre[1] * scale - y
    assert centre_of(chip) == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("scale", [3.0, 1.667, 0.6])
def test_corners_of_a_square_to_half_a_pixel(scale: float) -> None:
    """The box of what is drawn is the box of the annotation."""
    picture = np.zeros((300, 400, 3), np.uint8)
    x1, y1, x2, y2 = 101, 83, 141, 113
    picture[y1:y2, x1:x2] = 255
    x, y = int(80 * scale) // 32 * 32, int(60 * scale) // 32 * 32
    chip = rendered(Image.fromarray(picture), scale, x, y, 256)[..., 0]
    chip[rendered(Image.fromarray(picture), scale, x, y, 256)[..., 2] == PADDING[2]] = 0
    across, down = chip.max(axis=0), chip.max(axis=1)
    found = []
    for line in (across, down):  # where the profile crosses half of its height, between pixel centres
        above = np.flatnonzero(line >= 127.5)
        first, last = above[0], above[-1]
        found.append(first + 0.5 - (line[first] - 127.5) / (line[first] - line[first - 1]))
        found.append(last + 0.5 + (line[last] - 127.5) / (line[last] - line[last + 1]))
    expected = [x1 * scale - x, x2 * scale - x, y1 * scale - y, y2 * scale - y]
    assert found == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize("scale", [3.0, 1.667, 0.8])
def test_neighbouring_chips_agree_where_they_overlap(scale: float) -> None:
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(0, 255, (400, 400, 3)).astype(np.uint8))
    a = rendered(picture, scale, 0, 0, 192)
    b = rendered(picture, scale, 64, 32, 192)
    assert np.abs(a[32:, 64:] - b[:-32, :-64]).max() <= 1


def test_a_whole_image_is_what_pil_makes_of_it() -> None:
    rng = np.random.default_rng(2)
    picture = Image.fromarray(rng.integers(0, 255, (384, 512, 3)).astype(np.uint8))
    chip = rendered(picture, 1.0, 0, 0)
    np.testing.assert_array_equal(chip[:384], np.asarray(picture))


def test_flush_chip_with_a_canvas_rounded_up() -> None:
    """333 px at 1.667 is 555.11, at 1.5 499.5 -> 500: half a px of chip lies beyond the image and repeats its edge."""
    picture = np.zeros((333, 333, 3), np.uint8)
    picture[:, -1] = 200
    chip = rendered(Image.fromarray(picture), 1.5, 500 - 128, 0, 128)
    assert chip.shape == (128, 128, 3)
    assert (chip[:, -1] >= 150).all()
    assert (chip[:, :-3] == 0).all()
    inner = rendered(Image.fromarray(picture), 1.5, 500 - 160, 0, 128)
    assert np.abs(chip[:, : 128 - 32] - inner[:, 32:]).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 400), (170, 1), (171, 170), (97, 64)])
@pytest.mark.parametrize("scale", [3.0, 1.667, 512 / 97, 0.3])
def test_tiny_images(size: tuple[int, int], scale: float) -> None:
    chip = rendered(Image.new("RGB", size, (10, 200, 30)), scale, 0, 0)
    width, height = (min(int(canvas_size(side, scale)), 512) for side in size)
    assert (chip[:height, :width] == (10, 200, 30)).all()
    assert (chip[height:] == PADDING).all()
    assert (chip[:, width:] == PADDING).all()


def test_padding_is_imagenet_s_mean() -> None:
    mean = np.array([0.485, 0.456, 0.406]) * 255
    assert np.abs(np.array(PADDING) - mean).max() <= 0.5


# --- reduced JPEG decoding ---


@pytest.mark.parametrize("size", [(1600, 1200), (1601, 1203), (1607, 1199)])
@pytest.mark.parametrize("scale", [0.49, 0.32, 0.2, 0.11])
def test_reduced_decoding_shows_the_same(tmp_path: Path, size: tuple[int, int], scale: float) -> None:
    rng = np.random.default_rng(4)
    picture = Image.fromarray(rng.integers(20, 235, (60, 80, 3)).astype(np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    path = tmp_path / "a.jpg"
    picture.save(path, quality=95)
    full, reduced = open_source(path, size, "auto", 1.0), open_source(path, size, "auto", scale)
    assert full.reduction == 1
    assert reduced.reduction > 1
    canvas = [int(canvas_size(side, scale)) for side in size]
    x, y = (max(side - 256, 0) for side in canvas)
    content = min(canvas[0] - x, 256), min(canvas[1] - y, 256)
    a, b = (np.asarray(render_chip(s, scale, x, y, content, 256)).astype(float) for s in (full, reduced))
    assert np.abs(a - b).mean() < 2
    assert np.quantile(np.abs(a - b), 0.99) < 10


def test_a_spot_survives_reduced_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    blob(1601, 1203, (1000.3, 700.8), 12).save(path, quality=98)
    source = open_source(path, (1601, 1203), "auto", 0.24)
    assert source.reduction == 4
    chip = np.asarray(render_chip(source, 0.24, 32, 0, (352, 289), 512)).astype(float)
    chip[(chip == PADDING).all(axis=2)] = 0
    chip[chip < 8] = 0
    assert centre_of(chip) == pytest.approx((1000.3 * 0.24 - 32, 700.8 * 0.24), abs=0.25)


# --- the JPEG ---


@pytest.mark.parametrize(("subsampling", "layers"), [("4:4:4", (1, 1)), ("4:2:2", (2, 1)), ("4:2:0", (2, 2))])
def test_jpegs_are_baseline_with_the_chroma_asked_for(subsampling: str, layers: tuple[int, int]) -> None:
    data = encode_jpeg(Image.new("RGB", (512, 512), PADDING), RenderOptions(subsampling=subsampling))
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (512, 512)
        assert not image.info.get("progressive")
        assert image.layer[0][1:3] == layers


def test_quality_makes_a_difference() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    sizes = [len(encode_jpeg(noise, RenderOptions(quality=q))) for q in (10, 50, 90, 100)]
    assert sizes == sorted(set(sizes))


def test_same_pixels_same_bytes() -> None:
    picture = blob(64, 64, (20, 20), 5)
    assert encode_jpeg(picture, RenderOptions()) == encode_jpeg(picture.copy(), RenderOptions())
