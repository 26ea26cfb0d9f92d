"""What inference looks at: an array of pixels, or an image that is read as it is looked at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from chipper.errors import OptionError
from chipper.images.decoded import DecodedImage
from chipper.images.source import Box, Cuttable

Picture = npt.NDArray[np.uint8] | Cuttable
"""(H, W, 3) RGB, or an image of which boxes can be cut."""


class Mirrored:
    """The mirror image of another one."""

    def __init__(self, picture: Cuttable) -> None:
        self._picture = picture
        self.width, self.height = picture.width, picture.height

    def cut(self, box: Box, size: tuple[int, int]) -> Image.Image:
        """A box of the mirror image resized to ``size``."""
        there = (self.width - box[2], box[1], self.width - box[0], box[3])
        return self._picture.cut(there, size).transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def opened(picture: Picture) -> Cuttable:
    """The picture as an image of which boxes can be cut. Raises OptionError for an array of another kind."""
    if not isinstance(picture, np.ndarray):
        return picture
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise OptionError(f"an image must be (H, W, 3) uint8, not {picture.shape} {picture.dtype}")
    height, width = picture.shape[:2]
    return DecodedImage(Image.fromarray(picture), width, height)


def mirrored(picture: Picture) -> Picture:
    """Its mirror image."""
    return np.ascontiguousarray(picture[:, ::-1]) if isinstance(picture, np.ndarray) else Mirrored(picture)
