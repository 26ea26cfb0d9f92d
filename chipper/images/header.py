"""What an image file says of itself before its pixels are decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from chipper.errors import ImageError

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


def read_header(path: Path) -> Header:
    """The header of an image; to be called inside `own_limit`, as a header alone costs no memory.

    Raises:
        ImageError: the file is missing, or no image that PIL knows.
    """
    try:
        with Image.open(path) as image:
            # asked for only where it stands ahead of the pixels, which would be decoded to find it
            flag = image.getexif().get(ExifTags.Base.Orientation, 1) if "exif" in image.info else 1
            return Header(*image.size, flag if flag in UPRIGHT else 1)
    except FileNotFoundError:
        raise ImageError("the file does not exist") from None
    except UnidentifiedImageError:
        raise ImageError("the file is no image that PIL knows") from None
    except Exception as error:  # PIL's readers raise many kinds for a damaged file
        raise ImageError(f"its header cannot be read: {error}") from None


@contextmanager
def own_limit() -> Iterator[None]:
    """PIL's guess at decompression bombs is off: sizes are held against the annotations and `LARGEST_IMAGE` instead."""
    guess, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = guess
