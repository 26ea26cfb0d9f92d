"""What an image file says of itself before its pixels are decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError, features

from chipper.errors import DependencyError, ImageError
from chipper.images.gdal import RasterFile, driver_of

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
    """What an image file says of itself before its pixels."""

    width: int  # px, as stored
    height: int
    orientation: int  # EXIF; 1 is as stored

    @property
    def shown(self) -> tuple[int, int]:
        """(width, height) in px once the EXIF orientation flag is applied."""
        return (self.height, self.width) if self.orientation in TURNED else (self.width, self.height)


class UnknownFormatError(ImageError):
    """PIL, or this build of it, does not know the file, but rasterio may."""

    @contextmanager
    def needing_rasterio(self) -> Iterator[None]:
        """Where rasterio is not installed, raise the same with its cure."""
        try:
            yield
        except DependencyError:
            raise ImageError(
                f"{self}, so the image needs rasterio; run: pip install 'sniper-chipper[raster]'"
            ) from None


def read_header(path: Path) -> Header:
    """The header of an image; to be called inside `own_limit`, as a header alone costs no memory.

    Raises:
        ImageError: the file is missing, or neither PIL nor rasterio in its place knows it.
    """
    try:
        with open(path, "rb") as file, known_image(file) as image:
            # asked for only where it stands ahead of the pixels, which would be decoded to find it
            flag = image.getexif().get(ExifTags.Base.Orientation, 1) if "exif" in image.info else 1
            return Header(*image.size, flag if flag in UPRIGHT else 1)
    except FileNotFoundError:
        raise ImageError("the file does not exist") from None
    except UnknownFormatError as unknown:
        with unknown.needing_rasterio(), closing(RasterFile(path)) as raster:
            return Header(raster.width, raster.height, 1)
    except ImageError:
        raise
    except Exception as error:  # PIL's readers raise many kinds for a damaged file
        raise ImageError(f"its header cannot be read: {error}") from None


def known_image(file: IO[bytes]) -> ImageFile.ImageFile:
    """The image of a file, of which PIL has read the header.

    Raises:
        UnknownFormatError: this build of PIL does not know it, and rasterio may.
        ImageError: it is not an image.
    """
    start = file.read(12)
    file.seek(0)
    if start[8:] == b"WEBP" and not features.check("webp"):  # of which PIL would warn
        raise UnknownFormatError("this PIL was built without WebP")
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        if driver_of(start) in ("GTiff", "JP2OpenJPEG"):
            raise UnknownFormatError("PIL does not know this kind of TIFF or JPEG 2000") from None
        raise ImageError("the file is no image that PIL knows") from None


@contextmanager
def own_limit() -> Iterator[None]:
    """PIL's guess at decompression bombs is off: sizes are held against the annotations and `LARGEST_IMAGE` instead."""
    guess, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = guess
