"""What inference looks at: an image in memory, or one that is read as it is looked at."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from chipper.errors import OptionError

Box = tuple[float, float, float, float]  # x1 y1 x2 y2 in source px


class Open(Protocol):
    """An image that gives its parts; `chipper.images.windowed.WindowedImage` is one."""

    width: int
    height: int

    def cut(self, box: Box, size: tuple[int, int]) -> Image.Image:
        """A box resized to ``size``, RGB."""
        ...


Picture = npt.NDArray[np.uint8] | Open
"""(H, W, 3) RGB, or an image that gives its parts."""


class InMemory:
    """Pixels (H, W, 3) uint8 RGB; OptionError where they are of another kind."""

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise OptionError(f"an image must be (H, W, 3) uint8, not {pixels.shape} {pixels.dtype}")
        self._picture = Image.fromarray(pixels)
        self.width, self.height = self._picture.size

    def cut(self, box: Box, size: tuple[int, int]) -> Image.Image:
        """A box resized to ``size``, as the chips were that the model was trained on."""
        picture = self._picture
        if size != picture.size or box != (0, 0, *picture.size):
            picture = picture.resize(size, Image.Resampling.BILINEAR, box=box)
        return picture


class Mirrored:
    """The mirror image of one that gives its parts."""

    def __init__(self, picture: Open) -> None:
        self._picture = picture
        self.width, self.height = picture.width, picture.height

    def cut(self, box: Box, size: tuple[int, int]) -> Image.Image:
        """A box of the mirror image resized to ``size``."""
        there = (self.width - box[2], box[1], self.width - box[0], box[3])
        return self._picture.cut(there, size).transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def opened(picture: Picture) -> Open:
    """The picture as one that gives its parts."""
    return InMemory(picture) if isinstance(picture, np.ndarray) else picture


def mirrored(picture: Picture) -> Picture:
    """Its mirror image."""
    return np.ascontiguousarray(picture[:, ::-1]) if isinstance(picture, np.ndarray) else Mirrored(picture)
