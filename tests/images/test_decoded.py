"""chipper.images.decoded: every kind of image becomes the RGB that its rule says, and no file raises anything but ImageError."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from chipper.errors import ImageDirectoryError, ImageError
from chipper.images.decoded import DecodedImage, open_source
from chipper.images.finding import find_image_dir

ORIENTATION = 0x0112


def pattern(width: int = 40, height: int = 30) -> np.ndarray:
    """(height, width, 3) uint8: every pixel tells its place, so that a turned image shows."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 6, y * 8, (x + y) * 3], axis=2).astype(np.uint8)


def opened(path: Path, exif: str = "auto", finest: float = 1.0, size: tuple[int, int] | None = None) -> np.ndarray:
    if size is None:
        with Image.open(path) as image:
            size = image.size
    source = open_source(path, size, exif, finest)
    assert source.pixels.mode == "RGB"
    return np.asarray(source.pixels)


def saved(folder: Path, image: Image.Image, name: str, **options: Any) -> Path:
    image.save(folder / name, **options)
    return folder / name


# --- kinds ---


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.ppm", "a.tif"])  # those of other libraries stand in test_formats
def test_rgb_is_kept(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, Image.fromarray(pattern()), name)
    np.testing.assert_array_equal(opened(path), pattern())


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg(tmp_path: Path, progressive: bool) -> None:
    path = saved(tmp_path, Image.fromarray(pattern()), "a.jpg", quality=98, subsampling=0, progressive=progressive)
    assert np.abs(opened(path).astype(int) - pattern()).max() <= 6


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp"])
def test_grey_is_the_same_in_all_channels(tmp_path: Path, name: str) -> None:
    grey = pattern()[..., 0]
    found = opened(saved(tmp_path, Image.fromarray(grey), name))
    assert np.abs(found.astype(int) - grey[..., None]).max() <= (4 if name == "a.jpg" else 0)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.pbm"])
def test_bilevel_is_black_and_white(tmp_path: Path, name: str) -> None:
    mask = pattern()[..., 0] > 100
    found = opened(saved(tmp_path, Image.fromarray(mask), name))
    np.testing.assert_array_equal(found, np.repeat(mask[..., None] * np.uint8(255), 3, axis=2))


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_palette_is_looked_up(tmp_path: Path, name: str) -> None:
    blocks = np.repeat(np.repeat(pattern()[::10, ::10], 10, axis=0), 10, axis=1)
    image = Image.fromarray(blocks).convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
    np.testing.assert_array_equal(opened(saved(tmp_path, image, name)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("transparency", [0, bytes([0, 128, 255])], ids=["one colour", "alpha for each colour"])
def test_palette_with_transparency(tmp_path: Path, transparency: Any) -> None:
    """The colours stay, and nothing is said on standard error for each such image."""
    image = Image.fromarray(pattern()).quantize(8)
    path = saved(tmp_path, image, "a.png", transparency=transparency)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(opened(path), np.asarray(image.convert("RGB")))


def test_alpha_is_dropped(tmp_path: Path) -> None:
    alpha = np.full((30, 40, 1), 7, np.uint8)
    path = saved(tmp_path, Image.fromarray(np.concatenate([pattern(), alpha], axis=2)), "a.png")
    np.testing.assert_array_equal(opened(path), pattern())


def test_grey_with_alpha(tmp_path: Path) -> None:
    grey = pattern()[..., 0]
    path = saved(tmp_path, Image.fromarray(np.stack([grey, grey // 2], axis=2), "LA"), "a.png")
    np.testing.assert_array_equal(opened(path), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk(tmp_path: Path, name: str) -> None:
    image = Image.fromarray(pattern()).convert("CMYK")
    options = {"quality": 98, "subsampling": 0} if name == "a.jpg" else {}
    found = opened(saved(tmp_path, image, name, **options))
    assert np.abs(found.astype(int) - pattern()).max() <= 12


def sixteen_bits() -> np.ndarray:
    y, x = np.mgrid[:30, :40]
    return (x * 1600 + y * 13).astype(np.uint16)


def high_bytes() -> np.ndarray:
    return np.repeat((sixteen_bits() >> 8).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_grey_gives_its_high_bytes(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, Image.fromarray(sixteen_bits()), name)
    np.testing.assert_array_equal(opened(path), high_bytes())


def test_big_endian_sixteen_bit_tiff(tmp_path: Path) -> None:
    image = Image.frombytes("I;16B", (40, 30), sixteen_bits().astype(">u2").tobytes())
    np.testing.assert_array_equal(opened(saved(tmp_path, image, "a.tif")), high_bytes())


def test_sixteen_bit_pgm_gives_its_high_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 40 30 65535\n" + sixteen_bits().astype(">u2").tobytes())
    np.testing.assert_array_equal(opened(path), high_bytes())


def test_sixteen_bit_rgb_png_gives_its_high_bytes(tmp_path: Path) -> None:
    values = np.stack([sixteen_bits(), sixteen_bits()[::-1], sixteen_bits()[:, ::-1]], axis=2)
    path = tmp_path / "a.png"
    path.write_bytes(png(40, 30, 16, 2, b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)))
    np.testing.assert_array_equal(opened(path), (values >> 8).astype(np.uint8))


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_kinds_without_a_rule_are_refused(tmp_path: Path, dtype: Any, is_one_line: Callable[..., str]) -> None:
    path = saved(tmp_path, Image.fromarray(pattern()[..., 0].astype(dtype)), "a.tif")
    with pytest.raises(ImageError, match="cannot be converted to 8-bit RGB; convert the image first") as caught:
        opened(path)
    is_one_line(caught.value)


def test_first_frame_of_many(tmp_path: Path) -> None:
    frames = [Image.fromarray(pattern()).quantize(32), Image.new("P", (40, 30))]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(opened(path), np.asarray(frames[0].convert("RGB")))


# --- EXIF orientation ---


def turned(folder: Path, flag: int, name: str = "a.jpg") -> Path:
    exif = Image.Exif()
    exif[ORIENTATION] = flag
    options = {"quality": 98, "subsampling": 0} if name.endswith("jpg") else {}
    return saved(folder, Image.fromarray(pattern()), name, exif=exif, **options)


def upright(path: Path) -> np.ndarray:
    """As PIL shows it."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def stored(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("flag", range(1, 9))
def test_apply_shows_the_image_upright(tmp_path: Path, flag: int, name: str) -> None:
    path = turned(tmp_path, flag, name)
    shown = upright(path)
    found = opened(path, "apply", size=shown.shape[1::-1])
    np.testing.assert_array_equal(found, shown)


@pytest.mark.parametrize("flag", range(1, 9))
def test_ignore_takes_the_stored_raster(tmp_path: Path, flag: int) -> None:
    path = turned(tmp_path, flag)
    np.testing.assert_array_equal(opened(path, "ignore", size=(40, 30)), stored(path))


@pytest.mark.parametrize("flag", range(1, 9))
def test_auto_lets_the_annotations_decide(tmp_path: Path, flag: int, is_one_line: Callable[..., str]) -> None:
    path = turned(tmp_path, flag)
    np.testing.assert_array_equal(opened(path, "auto", size=(40, 30)), stored(path))
    if flag >= 5:
        np.testing.assert_array_equal(opened(path, "auto", size=(30, 40)), upright(path))
        for exif, size in (("apply", (40, 30)), ("ignore", (30, 40))):
            with pytest.raises(ImageError, match=r"the file is \d+x\d+ px, the annotations say") as caught:
                opened(path, exif, size=size)
            is_one_line(caught.value)
    else:
        with pytest.raises(ImageError, match="the file is 40x30 px, the annotations say 30x40"):
            opened(path, "auto", size=(30, 40))


@pytest.mark.parametrize("flag", [0, 9, 65535])
def test_flags_without_meaning_turn_nothing(tmp_path: Path, flag: int) -> None:
    path = turned(tmp_path, flag)
    np.testing.assert_array_equal(opened(path, "apply", size=(40, 30)), stored(path))


@pytest.mark.parametrize("finest", [0.5, 0.25])
def test_turned_and_reduced(tmp_path: Path, finest: float) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture = Image.fromarray(pattern()).resize((400, 304), Image.Resampling.BICUBIC)
    path = saved(tmp_path, picture, "a.jpg", exif=exif, quality=98)
    source = open_source(path, (304, 400), "auto", finest)
    assert source.reduction == round(1 / finest)
    expected = picture.transpose(Image.Transpose.ROTATE_270).reduce(source.reduction)
    assert source.pixels.size == expected.size
    assert np.abs(np.asarray(source.pixels).astype(int) - np.asarray(expected)).mean() < 2


# --- reduced decoding ---


@pytest.mark.parametrize(
    ("finest", "reduction"),
    [(3, 1), (1, 1), (0.51, 1), (0.5, 2), (0.4, 2), (0.26, 2), (0.25, 4), (0.125, 8), (0.01, 8)],
)
def test_jpegs_are_decoded_no_smaller_than_the_finest_chip(tmp_path: Path, finest: float, reduction: int) -> None:
    path = saved(tmp_path, Image.fromarray(pattern(40, 30)).resize((800, 640)), "a.jpg")
    source = open_source(path, (800, 640), "auto", finest)
    assert source.reduction == reduction
    assert source.pixels.size == (800 // reduction, 640 // reduction)
    assert 1 / reduction >= min(finest, 1) or reduction == 8


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.floats(0.01, 0.6))
def test_any_size_is_reduced_to_what_it_says(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, finest: float
) -> None:
    path = saved(tmp_path_factory.getbasetemp(), Image.new("RGB", (width, height)), "reduced.jpg")
    source = open_source(path, (width, height), "auto", finest)
    r = source.reduction
    assert source.pixels.size == (-(-width // r), -(-height // r))
    assert 1 / r >= finest or r == 1 or 8 * finest < 1


def test_other_formats_are_never_reduced(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(pattern()), "a.png")
    assert open_source(path, (40, 30), "auto", 0.1).reduction == 1


# --- what cannot be used ---


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="^the file does not exist$"):
        open_source(tmp_path / "a.jpg", (40, 30))


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", None])
def test_no_image(tmp_path: Path, content: bytes | None, is_one_line: Callable[..., str]) -> None:
    path = tmp_path / "a.jpg"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        open_source(path, (40, 30))
    is_one_line(caught.value)


@pytest.mark.parametrize("finest", [1.0, 0.2])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.tif", "a.gif"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated(tmp_path: Path, name: str, share: float, finest: float, is_one_line: Callable[..., str]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), name)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ImageError) as caught:
        open_source(path, (96, 64), "auto", finest)
    is_one_line(caught.value)


def test_another_size_is_found_before_any_pixel_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageFile

    paths = [saved(tmp_path, Image.fromarray(pattern()), name) for name in ("a.jpg", "a.png", "a.bmp")]

    def refuse(self: Any) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    for path in paths:
        with pytest.raises(ImageError, match="the file is 40x30 px, the annotations say 41x30"):
            open_source(path, (41, 30))


@pytest.mark.parametrize(("width", "height"), [(10_000, 9_500), (20_000, 20_000)])
def test_large_images_are_no_bombs(tmp_path: Path, width: int, height: int) -> None:
    """Aerial images are over PIL's default limit of 89 Mpx (a warning) and 179 Mpx (an error); chipper's is 2^31 px."""
    path = tmp_path / "a.png"
    path.write_bytes(png(width, height, 8, 0, b"\0" * 100))  # the size alone: its pixels are cut
    with pytest.raises(ImageError) as caught:
        open_source(path, (width, height))
    assert "bomb" not in str(caught.value)
    assert "limit" not in str(caught.value)


def test_images_over_the_limit_are_refused(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(60_000, 60_000, 8, 0, b"\0" * 100))
    with pytest.raises(ImageError, match="60000x60000 px is over the limit of 2147483648 px") as caught:
        open_source(path, (60_000, 60_000))
    is_one_line(caught.value)


def encoded(name: str) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    options: dict[str, Any] = {"exif": exif} if name in ("JPEG", "PNG", "TIFF") else {}
    Image.fromarray(pattern(24, 18)).save(buffer, name, **options)
    return buffer.getvalue()


FORMATS = {name: encoded(name) for name in ("JPEG", "PNG", "BMP", "GIF", "TIFF", "PPM", "TGA", "ICO", "SGI", "PCX")}


@pytest.mark.filterwarnings("ignore")  # PIL warns of much that is damaged
@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(FORMATS)),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=12),
    st.floats(0.05, 1),
)
def test_damage_raises_nothing_but_image_errors(
    tmp_path_factory: pytest.TempPathFactory, name: str, changes: list[tuple[float, int]], share: float
) -> None:
    data = bytearray(FORMATS[name])
    for place, value in changes:
        data[int(place**3 * len(data))] = value  # headers more than pixels
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(bytes(data[: int(share * len(data)) + 1]))
    for exif in ("auto", "apply"):
        try:
            source = open_source(path, (24, 18), exif, 0.3)
        except ImageError as error:
            assert "\n" not in str(error)
        else:
            if isinstance(source, DecodedImage):  # else it is a TIFF that rasterio knows; test_raster damages those
                assert source.pixels.mode == "RGB"
            else:
                source.close()


def test_tiff_that_makes_pil_raise_a_type_error(tmp_path: Path) -> None:
    """Found by the test above: PIL's readers raise anything."""
    data = bytearray(FORMATS["TIFF"])
    data[72], data[114] = 7, 23
    (tmp_path / "a.tif").write_bytes(bytes(data))
    with pytest.raises(ImageError, match="cannot be decoded"):
        open_source(tmp_path / "a.tif", (24, 18))


# --- finding the folder ---


@pytest.mark.parametrize(
    "place",
    [
        "images",
        ".",
        "instances_train2017",
        "train2017",
        "images/train2017",
        "val",
        "JPEGImages",
        "data",
        "../images",
        "../train2017",
    ],
)
def test_images_in_the_usual_places_are_found(tmp_path: Path, place: str) -> None:
    base = tmp_path / "set" / "annotations"
    (base / place).mkdir(parents=True, exist_ok=True)
    (base / place / "b.jpg").write_bytes(b"")
    found = find_image_dir(base / "instances_train2017.json", ["a.jpg", "b.jpg"], None)
    assert found.resolve() == (base / place).resolve()


def test_the_folder_with_most_images_is_taken(tmp_path: Path) -> None:
    for folder, names in (("images", ["a.jpg"]), ("data", ["a.jpg", "b.jpg"])):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_bytes(b"")
    assert find_image_dir(tmp_path / "coco.json", ["a.jpg", "b.jpg"], None) == tmp_path / "data"


def test_a_given_folder_is_the_only_one_looked_in(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"")
    assert find_image_dir(tmp_path / "coco.json", ["a.jpg"], tmp_path / "images") == tmp_path / "images"
    with pytest.raises(
        ImageDirectoryError, match=r"no image such as 'a\.jpg' in .*give the folder with image_dir"
    ) as caught:
        find_image_dir(tmp_path / "coco.json", ["a.jpg"], tmp_path / "other")
    is_one_line(caught.value)


def test_no_folder_has_the_images(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    with pytest.raises(ImageDirectoryError, match="give the folder with image_dir") as caught:
        find_image_dir(tmp_path / "coco.json", ["a.jpg"], None)
    assert str(tmp_path / "images") in is_one_line(caught.value)


@pytest.mark.parametrize("name", ["a" * 300 + ".jpg", "line\nbreak.jpg"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str, is_one_line: Callable[..., str]) -> None:
    with pytest.raises(ImageDirectoryError, match="image_dir") as caught:
        find_image_dir(tmp_path / "coco.json", [name], None)
    is_one_line(caught.value)


def test_one_impossible_name_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"")
    assert find_image_dir(tmp_path / "coco.json", ["a" * 300, "a.jpg"], None) == tmp_path / "images"


def test_a_gap_in_the_images_is_not_filled_from_the_folder_around(tmp_path: Path) -> None:
    names = ["a.jpg", "b.jpg"]
    for folder, some in (("m/images", names[:1]), ("images", names)):
        (tmp_path / folder).mkdir(parents=True)
        for name in some:
            (tmp_path / folder / name).write_bytes(b"x")
    assert find_image_dir(tmp_path / "m" / "coco.json", names, None) == tmp_path / "m" / "images"
    (tmp_path / "m" / "images" / "a.jpg").unlink()
    assert find_image_dir(tmp_path / "m" / "coco.json", names, None) == tmp_path / "images"
