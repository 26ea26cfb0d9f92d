"""Read the header of an image file, without decoding pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError, features

from chipper.errors import DependencyError, ImageError
from chipper.images.gdal import RasterFile, driver_of
from chipper.storage.locations import open_file

FORMATS = (
    "JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "AVIF", "BMP", "DIB", "GIF", "PPM", "TGA", "PCX", "SGI", "QOI",
)  # fmt: skip
"""The formats that PIL may read for chipper. PIL knows more, some of which start other programs: an EPS runs Ghostscript."""
_NAMED = ("JPEG", "PNG", "TIFF", "WebP", "BMP")  # in messages
TURNED = (5, 6, 7, 8)  # orientations that swap width and height
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Header:
    """The size and orientation in the header of an image file."""

    width: int  # px, as stored
    height: int
    orientation: int  # EXIF; 1 means as stored

    @property
    def shown(self) -> tuple[int, int]:
        """(width, height) in px once the EXIF orientation flag is applied."""
        return (self.height, self.width) if self.orientation in TURNED else (self.width, self.height)


class UnknownFormatError(ImageError):
    """PIL, or this build of it, cannot read the file, but rasterio may be able to."""

    @contextmanager
    def needing_rasterio(self) -> Iterator[None]:
        """If rasterio is not installed, raise this error with the cure."""
        try:
            yield
        except DependencyError:
            raise ImageError(
                f"{self}, so the image needs rasterio; run: pip install 'sniper-chipper[raster]'"
            ) from None


def read_header(path: Path) -> Header:
    """The header of an image; call this inside `own_limit`, because reading a header needs little memory.

    Raises:
        ImageError: the file is missing, or neither PIL nor rasterio can read it.
    """
    try:
        with open_file(path) as file, open_image(file) as image:
            # only if it is stored before the pixels, which would have to be decoded otherwise
            flag = image.getexif().get(ExifTags.Base.Orientation, 1) if "exif" in image.info else 1
            return Header(*image.size, flag if flag in UPRIGHT else 1)
    except FileNotFoundError:
        raise ImageError("the file does not exist") from None
    except UnknownFormatError as unknown:
        with unknown.needing_rasterio(), closing(RasterFile(path)) as raster:
            return Header(raster.width, raster.height, 1)
    except ImageError:
        raise
    except Exception as error:  # PIL's readers raise many kinds of errors for a damaged file
        raise ImageError(f"its header cannot be read: {error}") from None


def open_image(file: IO[bytes], formats: tuple[str, ...] | None = None) -> ImageFile.ImageFile:
    """The PIL image of a file; only its header has been read. Every image that PIL reads for chipper is opened here.

    Raises:
        UnknownFormatError: this build of PIL cannot read it, but rasterio may be able to.
        ImageError: it is not an image of one of ``formats``, by default all of `FORMATS`.
    """
    start = file.read(12)
    file.seek(0)
    if start[8:] == b"WEBP" and not features.check("webp"):  # PIL would print a warning
        raise UnknownFormatError("this PIL was built without WebP")
    try:
        return Image.open(file, formats=formats or known_formats())
    except UnidentifiedImageError:
        if driver_of(start) in ("GTiff", "JP2OpenJPEG"):
            raise UnknownFormatError("PIL cannot read this kind of TIFF or JPEG 2000") from None
        raise ImageError(
            f"the file is not an image of a format that chipper reads ({', '.join(_NAMED)} and some more); convert it"
        ) from None


@cache
def known_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this PIL has; older ones lack AVIF, and would raise KeyError for what comes after it."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def own_limit() -> Iterator[None]:
    """Turn off PIL's check for decompression bombs; sizes are compared with the annotations and `LARGEST_IMAGE` instead."""
    guess, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = guess
