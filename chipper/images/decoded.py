"""Source images that PIL decodes, and how each kind becomes 8-bit RGB.

grey, bilevel, palette, CMYK, YCbCr     converted by PIL
alpha                                   dropped, as every trainer's ``convert("RGB")`` does
16 bits per channel                     the high byte of each value
32-bit integers, floating point         refused: without a stretch their range of values is unknown

Some images are read by windows instead (`chipper.images.windowed`): all images if bands or a stretch are given, and TIFF,
JPEG 2000 and WebP files that this build of PIL cannot read.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, features

from chipper.errors import ImageError, option
from chipper.images.header import TURNED, UPRIGHT, UnknownFormatError, open_image, own_limit
from chipper.images.options import PixelOptions
from chipper.images.source import Box, ImageSource, Part
from chipper.images.windowed import WindowedImage
from chipper.storage.locations import content, is_local, open_file

LARGEST_IMAGE = 2**31  # px; the size is checked against the annotations before any pixel is decoded
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_CODECS = {"libtiff": "libtiff", "jpeg2k": "jpg_2000"}  # PIL's names; PIL may be built without these codecs
# modes (including raw modes) for which rasterio and PIL give the same pixels: no inks, palettes, inverted or packed values
_ALIKE = re.compile(r"LA?|RGB[AX]?X*|(I|RGB[AX]?);1[26][BLN]?")


@dataclass
class DecodedImage:
    """A decoded image as an `ImageSource`; ``pixels`` is RGB at ``1 / reduction`` of the source resolution."""

    pixels: Image.Image
    width: int  # source px
    height: int
    reduction: int = 1

    def __enter__(self) -> DecodedImage:
        return self

    def __exit__(self, *_: Any) -> None:
        """Does nothing, because no file is open."""

    def part(self, box: Box, scale: float) -> Part:
        """All pixels of the image, which include ``box`` (source px)."""
        return Part(self.pixels, self.reduction, self.reduction)

    def cut(self, box: Box, size: tuple[int, int]) -> Image.Image:
        """A box (source px), resized to ``size`` like a chip."""
        return self.part(box, 1 / self.reduction).cut(box, size)

    def whole(self, size: tuple[int, int]) -> Image.Image:
        """The complete image, resized to ``size``."""
        return self.pixels.resize(size)


def open_source(
    path: Path,
    declared: tuple[int, int],
    exif: str = "auto",
    finest: float = 1.0,
    pixels: PixelOptions = PixelOptions(),  # noqa: B008, it is frozen
) -> ImageSource:
    """Open an image (a local file or a URL): decoded, or read by windows if ``pixels`` are given or PIL cannot read it.

    The result is a context manager. An image that is read by windows can raise ImageError until it is closed.

    Raises:
        DependencyError: ``pixels`` are given and rasterio is not installed.
        ImageError: see `decode` and `WindowedImage`.
    """
    if pixels.given:
        return WindowedImage(path, declared, pixels)
    try:
        return decode(path, declared, exif, finest)
    except UnknownFormatError as error:
        unknown = error
    if exif == "apply":
        raise ImageError(f"{unknown}, and rasterio cannot read its EXIF flag; leave out {option('exif')} apply")
    with unknown.needing_rasterio():
        return WindowedImage(path, declared, pixels)


def decode(path: Path, declared: tuple[int, int], exif: str = "auto", finest: float = 1.0) -> DecodedImage:
    """Decode an image (a local file or a URL) once with PIL, for chips whose scales are at most ``finest``.

    ``declared`` is the (width, height) in the annotations. The EXIF orientation flag is applied always (``apply``), never
    (``ignore``), or if only the image with the flag applied has the declared size (``auto``). A JPEG is decoded at 1/2, 1/4
    or 1/8 if that still has at least the resolution of the finest chip.

    Raises:
        ImageError: the file is missing, not an image, truncated, of another size than declared, of an unknown kind, or was
            written to while it was read.
    """
    try:
        with own_limit(), _steady(path) as file, open_image(file) as image:
            if image.size[0] * image.size[1] > LARGEST_IMAGE:
                raise ImageError(
                    f"{image.size[0]}x{image.size[1]} px is over the limit of {LARGEST_IMAGE} px; "
                    "with stretch none it is read by windows"
                )
            _require_codec(image)
            upright = _transposition(image, declared, exif)
            reduction = _draft(image, finest)
            pixels = _to_rgb(image)
    except FileNotFoundError:
        raise ImageError("the file does not exist") from None
    except ImageError:
        raise
    except Exception as error:  # PIL's readers raise many kinds of errors for a damaged file
        raise ImageError(f"the file cannot be decoded: {error}") from None
    return DecodedImage(pixels if upright is None else pixels.transpose(upright), *declared, reduction)


def _require_codec(image: ImageFile.ImageFile) -> None:
    """Check that this PIL has the codec of an image.

    Raises:
        UnknownFormatError: PIL lacks the codec, and rasterio can read the image.
        ImageError: PIL lacks the codec, and rasterio would give other pixels.
    """
    lacking = [tile for tile in image.tile if tile[0] in _CODECS and not features.check(_CODECS[tile[0]])]
    if not lacking:
        return
    codec, modes = _CODECS[lacking[0][0]], [image.mode]
    if image.format == "TIFF":
        modes += [str(tile.args[0]) for tile in lacking if isinstance(tile.args, tuple)]
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # PIL applies the flag of a TIFF itself
            modes.append("turned")
    if not all(_ALIKE.fullmatch(mode) for mode in modes):
        raise ImageError(f"this kind of image needs a PIL with {codec}; see `chipper doctor`, or convert the image")
    raise UnknownFormatError(f"this PIL was built without {codec}")


@contextmanager
def _steady(path: Path) -> Iterator[IO[bytes]]:
    """Open the file for reading. Raises ImageError if it was written to meanwhile; replacing the file is allowed."""
    if not is_local(path):
        yield io.BytesIO(content(path))
        return
    with open_file(path) as file:
        before = os.fstat(file.fileno())
        yield file
        after = os.fstat(file.fileno())
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise ImageError("the file was written to while it was read")


def _transposition(image: Image.Image, declared: tuple[int, int], exif: str) -> Image.Transpose | None:
    """The transposition from the stored raster to the annotated image, or None. Raises ImageError if the size does not match.

    The flag is read only if it matters, because in a PNG it can be stored after the pixels.
    """
    shown, upright = image.size, None
    if exif == "apply" or (exif == "auto" and shown != declared and shown[::-1] == declared):
        flag = image.getexif().get(ExifTags.Base.Orientation, 1)
        if exif == "apply" or flag in TURNED:
            upright = UPRIGHT.get(flag)
            shown = shown[::-1] if flag in TURNED else shown
    if shown != declared:
        raise ImageError(f"the file is {shown[0]}x{shown[1]} px, the annotations say {declared[0]}x{declared[1]}")
    return upright


def reduction_for(finest: float) -> int:
    """The reduction (1, 2, 4 or 8) for decoding an image, if the scales of its chips are at most ``finest``."""
    return next((r for r in (8, 4, 2) if finest * r <= 1), 1)


def _draft(image: Image.Image, finest: float) -> int:
    """Set the JPEG decoder to 1/2, 1/4 or 1/8 if ``finest`` allows it; returns the reduction."""
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
            f"pixels of mode {image.mode} cannot be converted to 8-bit RGB; convert the image first, or give a stretch"
        )
    if image.mode in ("PA", "La", "RGBa"):
        image = image.convert("RGBA")
    if image.mode == "RGB":
        image.load()  # load() keeps the pixels after the file is closed; convert() would copy them
        return image
    image.info.pop("transparency", None)  # alpha is dropped, so PIL need not warn about transparency
    return image.convert("RGB")
