"""Source images: where they are, and how each kind becomes 8-bit RGB.

grey, bilevel, palette, CMYK, YCbCr     converted by PIL
alpha                                   dropped, as every trainer's ``convert("RGB")`` does
16 bits a channel                       the high byte of each value
32-bit integers, floating point         refused: there is no rule for their range without a stretch

With bands or a stretch given, images are read by windows instead, and so are TIFFs, JPEG 2000 and WebP files that PIL, or
this build of it, does not know: see `chipper.images.windowed`.
"""

from __future__ import annotations

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
from chipper.images.header import TURNED, UPRIGHT, UnknownFormatError, known_image, own_limit
from chipper.images.options import PixelOptions
from chipper.images.source import Box, ImageSource, Part
from chipper.images.windowed import WindowedImage
from chipper.storage.locations import path_or_bytes

LARGEST_IMAGE = 2**31  # px; the size is checked against the annotations before any pixel is decoded
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_CODECS = {"libtiff": "libtiff", "jpeg2k": "jpg_2000"}  # of PIL, which may be built without them
# modes, raw ones too, of pixels that rasterio shows as PIL does: no inks, palettes, inverted or packed values
_ALIKE = re.compile(r"LA?|RGB[AX]?X*|(I|RGB[AX]?);1[26][BLN]?")


@dataclass
class DecodedImage:
    """A decoded image, an `ImageSource`: ``pixels`` is RGB at ``1 / reduction`` of the source resolution."""

    pixels: Image.Image
    width: int  # source px
    height: int
    reduction: int = 1

    def __enter__(self) -> DecodedImage:
        return self

    def __exit__(self, *_: Any) -> None:
        """Nothing is open."""

    def part(self, box: Box, scale: float) -> Part:
        """Pixels that hold ``box`` (source px): all there are."""
        return Part(self.pixels, self.reduction, self.reduction)

    def cut(self, box: Box, size: tuple[int, int]) -> Image.Image:
        """A box (source px) resized to ``size``, as chips are."""
        return self.part(box, 1 / self.reduction).cut(box, size)

    def whole(self, size: tuple[int, int]) -> Image.Image:
        """All of it, at another size."""
        return self.pixels.resize(size)


def open_source(
    path: Path,
    declared: tuple[int, int],
    exif: str = "auto",
    finest: float = 1.0,
    pixels: PixelOptions = PixelOptions(),  # noqa: B008, it is frozen
) -> ImageSource:
    """An image (a local file or one at a URL), decoded or, where ``pixels`` are given or PIL does not know it, open.

    Either is a context manager; what is open is closed by it, and may raise ImageError until then.

    Raises:
        DependencyError: ``pixels`` are given and rasterio is not installed.
        ImageError: as `decode` and `WindowedImage`.
    """
    if pixels.given:
        return WindowedImage(path, declared, pixels)
    try:
        return decode(path, declared, exif, finest)
    except UnknownFormatError as error:
        unknown = error
    if exif == "apply":
        raise ImageError(f"{unknown}, and rasterio does not know its EXIF flag; leave out {option('exif')} apply")
    with unknown.needing_rasterio():
        return WindowedImage(path, declared, pixels)


def decode(path: Path, declared: tuple[int, int], exif: str = "auto", finest: float = 1.0) -> DecodedImage:
    """Decode an image (a local file or one at a URL) once by PIL, for chips whose scales are at most ``finest``.

    ``declared`` is the (width, height) that the annotations give. The EXIF orientation flag is applied when that, and not
    the stored raster, has the declared size (``auto``), always (``apply``) or never (``ignore``). A JPEG is decoded at
    1/2, 1/4 or 1/8 when that still has at least the resolution of the finest chip.

    Raises:
        ImageError: the file is missing, no image, truncated, of another size than declared, of an unknown kind, or was
            written to while it was read.
    """
    try:
        with own_limit(), _steady(path) as file, known_image(file) as image:
            if image.size[0] * image.size[1] > LARGEST_IMAGE:
                raise ImageError(
                    f"{image.size[0]}x{image.size[1]} px is over the limit of {LARGEST_IMAGE} px; "
                    "with the stretch none it is read by windows"
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
    return DecodedImage(pixels if upright is None else pixels.transpose(upright), *declared, reduction)


def _require_codec(image: ImageFile.ImageFile) -> None:
    """Raise UnknownFormatError where this PIL lacks what decodes the pixels, ImageError where rasterio would show others."""
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
    raise UnknownFormatError(f"this PIL was built without {codec}")


@contextmanager
def _steady(path: Path) -> Iterator[IO[bytes]]:
    """The file for reading; ImageError where somebody has written to it meanwhile (another put in its place is no matter)."""
    found = path_or_bytes(path)
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
        if exif == "apply" or flag in TURNED:
            upright = UPRIGHT.get(flag)
            shown = shown[::-1] if flag in TURNED else shown
    if shown != declared:
        raise ImageError(f"the file is {shown[0]}x{shown[1]} px, the annotations say {declared[0]}x{declared[1]}")
    return upright


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
            f"pixels of mode {image.mode} have no rule to become 8-bit RGB; convert the image first, or give a stretch"
        )
    if image.mode in ("PA", "La", "RGBa"):
        image = image.convert("RGBA")
    if image.mode == "RGB":
        image.load()  # the pixels outlive the file; convert would copy them
        return image
    image.info.pop("transparency", None)  # alpha is dropped, so nothing needs to be said of it
    return image.convert("RGB")
