"""Source images: where they are, and how each kind becomes 8-bit RGB.

grey, bilevel, palette, CMYK, YCbCr     converted by PIL
alpha                                   dropped, as every trainer's ``convert("RGB")`` does
16 bits a channel                       the high byte of each value
32-bit integers, floating point         refused: there is no rule for their range without a stretch

With bands or a stretch given, images are read by windows instead, and so are TIFFs, JPEG 2000 and WebP files that PIL, or this
build of it, does not know: see `chipper.raster`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError, features

from chipper.errors import DependencyError, ImageDirectoryError, ImageError
from chipper.locations import is_local, whole
from chipper.options import PixelOptions
from chipper.raster import Box, Part, RasterSource
from chipper.raster_file import RasterFile, driver_of

LARGEST_IMAGE = 2**31  # px; the size is checked against the annotations before any pixel is decoded
EXIF_RULES = ("auto", "apply", "ignore")
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_TURNED = (5, 6, 7, 8)  # orientations that swap width and height
_CODECS = {"libtiff": "libtiff", "jpeg2k": "jpg_2000"}  # of PIL, which may be built without them
# modes, raw ones too, of pixels that rasterio shows as PIL does: no inks, palettes, inverted or packed values
_ALIKE = re.compile(r"LA?|RGB[AX]?X*|(I|RGB[AX]?);1[26][BLN]?")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Source:
    """A decoded image: ``pixels`` is RGB at ``1 / reduction`` of the source resolution. What can be asked of it can be asked of
    a `RasterSource` too.
    """

    pixels: Image.Image
    reduction: int

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: Any) -> None:
        """Nothing is open."""

    def part(self, box: Box, scale: float) -> Part:
        """Pixels that hold ``box`` (source px): all there are."""
        return Part(self.pixels, self.reduction, self.reduction)

    def whole(self, size: tuple[int, int]) -> Image.Image:
        """All of it, at another size."""
        return self.pixels.resize(size)


AnySource = Source | RasterSource


@dataclass(frozen=True)
class Header:
    """What an image file says of itself before its pixels."""

    width: int  # px, as stored
    height: int
    orientation: int  # EXIF; 1 is as stored

    @property
    def shown(self) -> tuple[int, int]:
        """(width, height) in px once the EXIF orientation flag is applied."""
        return (self.height, self.width) if self.orientation in _TURNED else (self.width, self.height)


def read_header(path: Path) -> Header:
    """The header of an image; to be called inside `own_limit`, as a header alone costs no memory.

    Raises:
        ImageError: the file is missing, or no image that PIL knows or rasterio may stand in for.
    """
    try:
        with open(path, "rb") as file, _known(file) as image:
            # asked for only where it stands ahead of the pixels, which would be decoded to find it
            flag = image.getexif().get(ExifTags.Base.Orientation, 1) if "exif" in image.info else 1
            return Header(*image.size, flag if flag in _UPRIGHT else 1)
    except FileNotFoundError:
        raise ImageError("the file does not exist") from None
    except _UnknownError as unknown:
        with unknown.needing_rasterio(), closing(RasterFile(path)) as raster:
            return Header(raster.width, raster.height, 1)
    except ImageError:
        raise
    except Exception as error:  # PIL's readers raise many kinds for a damaged file
        raise ImageError(f"its header cannot be read: {error}") from None


def find_image_dir(coco: Path, file_names: list[str], given: Path | None) -> Path:
    """The folder below which ``file_names`` lie: ``given``, or one of the usual places.

    Those beside ``coco`` come first, and the one with most of the names among them; those around its folder count only where
    there is none beside it, so that a gap in the images is never filled from elsewhere.

    Raises:
        ImageDirectoryError: no folder has any of up to 64 of the names; the message names the folders.
    """
    step = max(1, len(file_names) // 64)
    sample = file_names[::step]
    if given is not None:
        beside, around = [given], []
    else:
        base, stem = coco.parent, coco.stem
        split = stem.rpartition("_")[2]  # instances_train2017 -> train2017
        names = [
            "images",
            ".",
            stem,
            split,
            f"images/{split}",
            "train2017",
            "val2017",
            "train",
            "val",
            "JPEGImages",
            "data",
        ]
        beside = [base / name for name in names]
        around = [base.parent / name for name in ("images", split, f"images/{split}", "train2017", "JPEGImages", ".")]
    for places in (beside, around):
        hits = [(sum(_is_file(place / name) for name in sample), -k) for k, place in enumerate(places)]
        best, k = max(hits, default=(0, 0))
        if best:
            return places[-k]
    looked = ", ".join(dict.fromkeys(str(place) for place in (*beside, *around)))
    raise ImageDirectoryError(f"no image such as {sample[0]!r} in {looked}; give the folder with --image-dir")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def image_path(folder: Path, file_name: str) -> Path:
    """Where an image lies; ImageError where a link leads out of ``folder``."""
    path = folder / file_name
    try:
        leads_out = is_local(folder) and not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # which of them says that a link leads to itself depends on Python's version
        raise ImageError("a link leads to itself; copy the file there") from None
    if leads_out:
        raise ImageError(
            "a link leads out of the image directory; copy the file there, or give --image-dir where it lies"
        )
    return path


def open_source(
    path: Path,
    declared: tuple[int, int],
    exif: str = "auto",
    finest: float = 1.0,
    pixels: PixelOptions = PixelOptions(),  # noqa: B008, it is frozen
) -> AnySource:
    """An image (a local file or one at a URL), decoded or, where ``pixels`` are given or PIL does not know it, open.

    Either is a context manager; what is open is closed by it, and may raise ImageError until then.

    Raises:
        DependencyError: ``pixels`` are given and rasterio is not installed.
        ImageError: as `decode` and `RasterSource`.
    """
    if pixels.given:
        return RasterSource(path, declared, pixels)
    try:
        return decode(path, declared, exif, finest)
    except _UnknownError as error:
        unknown = error
    if exif == "apply":
        raise ImageError(f"{unknown}, and rasterio does not know its EXIF flag; leave out --exif apply")
    with unknown.needing_rasterio():
        return RasterSource(path, declared, pixels)


class _UnknownError(ImageError):
    """PIL, or this build of it, does not know the file, but rasterio may."""

    @contextmanager
    def needing_rasterio(self) -> Iterator[None]:
        """Where rasterio is not installed, raise the same with its cure."""
        try:
            yield
        except DependencyError:
            raise ImageError(f"{self}, so the image needs rasterio; run: pip install 'chipper[raster]'") from None


def decode(path: Path, declared: tuple[int, int], exif: str = "auto", finest: float = 1.0) -> Source:
    """Decode an image (a local file or one at a URL) once by PIL, for chips whose scales are at most ``finest``.

    ``declared`` is the (width, height) that the annotations give. The EXIF orientation flag is applied when that, and not
    the stored raster, has the declared size (``auto``), always (``apply``) or never (``ignore``). A JPEG is decoded at
    1/2, 1/4 or 1/8 when that still has at least the resolution of the finest chip.

    Raises:
        ImageError: the file is missing, no image, truncated, of another size than declared, of an unknown kind, or was
            written to while it was read.
    """
    try:
        with own_limit(), _steady(path) as file, _known(file) as image:
            if image.size[0] * image.size[1] > LARGEST_IMAGE:
                raise ImageError(
                    f"{image.size[0]}x{image.size[1]} px is over the limit of {LARGEST_IMAGE} px; "
                    "with --stretch none it is read by windows"
                )
            _require_codec(image)
            upright = _transposition(image, declared, exif)
            reduction = _draft(image, finest)
            pixels = _to_rgb(image)
    except FileNotFoundError:
        raise ImageError("the file does not exist") from None
    except ImageError:
        raise
    except Exception as error:  # PIL's readers raise many kinds for a damaged file
        raise ImageError(f"the file cannot be decoded: {error}") from None
    return Source(pixels if upright is None else pixels.transpose(upright), reduction)


def _known(file: IO[bytes]) -> ImageFile.ImageFile:
    """The image of a file, of which PIL has read the header."""
    start = file.read(12)
    file.seek(0)
    if start[8:] == b"WEBP" and not features.check("webp"):  # of which PIL would warn
        raise _UnknownError("this PIL was built without WebP")
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        if driver_of(start) in ("GTiff", "JP2OpenJPEG"):
            raise _UnknownError("PIL does not know this kind of TIFF or JPEG 2000") from None
        raise ImageError("the file is no image that PIL knows") from None


def _require_codec(image: ImageFile.ImageFile) -> None:
    """Raise _UnknownError where PIL was built without what decodes the pixels, ImageError where rasterio would show others."""
    lacking = [tile for tile in image.tile if tile[0] in _CODECS and not features.check(_CODECS[tile[0]])]
    if not lacking:
        return
    codec, modes = _CODECS[lacking[0][0]], [image.mode]
    if image.format == "TIFF":
        modes += [str(tile.args[0]) for tile in lacking if isinstance(tile.args, tuple)]
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # PIL turns TIFFs by itself
            modes.append("turned")
    if not all(_ALIKE.fullmatch(mode) for mode in modes):
        raise ImageError(f"this kind of image needs a PIL with {codec}; see `chipper doctor`, or convert the image")
    raise _UnknownError(f"this PIL was built without {codec}")


@contextmanager
def _steady(path: Path) -> Iterator[IO[bytes]]:
    """The file for reading; ImageError where somebody has written to it meanwhile (another put in its place is no matter)."""
    found = whole(path)
    if not isinstance(found, Path):
        yield found
        return
    with open(found, "rb") as file:
        before = os.fstat(file.fileno())
        yield file
        after = os.fstat(file.fileno())
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise ImageError("the file was written to while it was read")


def _transposition(image: Image.Image, declared: tuple[int, int], exif: str) -> Image.Transpose | None:
    """What makes the stored raster the image that was annotated; ImageError if nothing does.

    The flag is read only where it matters: in a PNG it may stand behind the pixels.
    """
    shown, upright = image.size, None
    if exif == "apply" or (exif == "auto" and shown != declared and shown[::-1] == declared):
        flag = image.getexif().get(ExifTags.Base.Orientation, 1)
        if exif == "apply" or flag in _TURNED:
            upright = _UPRIGHT.get(flag)
            shown = shown[::-1] if flag in _TURNED else shown
    if shown != declared:
        raise ImageError(f"the file is {shown[0]}x{shown[1]} px, the annotations say {declared[0]}x{declared[1]}")
    return upright


@contextmanager
def own_limit() -> Iterator[None]:
    """PIL's guess at decompression bombs is off: sizes are held against the annotations and `LARGEST_IMAGE` instead."""
    guess, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = guess


def reduction_for(finest: float) -> int:
    """The reduction (1, 2, 4 or 8) at which an image may be decoded for chips whose scales are at most ``finest``."""
    return next((r for r in (8, 4, 2) if finest * r <= 1), 1)


def _draft(image: Image.Image, finest: float) -> int:
    """Ask the JPEG decoder for 1/2, 1/4 or 1/8 where ``finest`` allows; returns the reduction."""
    wanted = reduction_for(finest)
    if image.format != "JPEG" or wanted == 1:
        return 1
    width, height = image.size
    image.draft(None, (max(1, width // wanted), max(1, height // wanted)))
    return next(r for r in (1, 2, 4, 8) if -(-width // r) == image.size[0])


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BITS or (image.mode == "I" and image.format == "PPM"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ImageError(
            f"pixels of mode {image.mode} have no rule to become 8-bit RGB; convert the image first, or give --stretch"
        )
    if image.mode in ("PA", "La", "RGBa"):
        image = image.convert("RGBA")
    if image.mode == "RGB":
        image.load()  # the pixels outlive the file; convert would copy them
        return image
    image.info.pop("transparency", None)  # alpha is dropped, so nothing needs to be said of it
    return image.convert("RGB")
