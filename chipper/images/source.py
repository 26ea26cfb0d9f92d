"""The interface of an opened image: parts of it as 8-bit RGB, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from PIL import Image

Box = tuple[float, float, float, float]
"""x1 y1 x2 y2, in source px unless stated otherwise."""


@dataclass(frozen=True)
class Part:
    """RGB pixels of a part of an image; one px is ``across`` x ``down`` source px, ``left`` and ``top`` are in such px."""

    pixels: Image.Image
    across: float = 1
    down: float = 1
    left: int = 0
    top: int = 0

    def cut(
        self, box: Box, size: tuple[int, int], resample: Image.Resampling = Image.Resampling.BILINEAR
    ) -> Image.Image:
        """A box (source px) inside this part, resized to ``size`` px."""
        x2, y2 = box[2] / self.across - self.left, box[3] / self.down - self.top
        inside = (
            box[0] / self.across - self.left,
            box[1] / self.down - self.top,
            min(x2, self.pixels.width),
            min(y2, self.pixels.height),
        )
        return self.pixels.resize(size, resample, box=inside)


class Cuttable(Protocol):
    """An image from which boxes can be cut."""

    width: int  # source px
    height: int

    def cut(self, box: Box, size: tuple[int, int]) -> Image.Image:
        """A box (source px), resized to ``size`` px like a chip."""
        ...


class ImageSource(Cuttable, Protocol):
    """An opened image; a context manager that closes its file.

    Every method, including closing, raises ImageError if the file cannot be read or was written to meanwhile.
    """

    reduction: int  # decoded at ``1 / reduction`` of its resolution, which is enough for chips of at most that scale

    def __enter__(self) -> Self:
        """The image itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        ...

    def part(self, box: Box, scale: float) -> Part:
        """Pixels around ``box`` (source px), enough to resize the box by ``scale``."""
        ...

    def whole(self, size: tuple[int, int]) -> Image.Image:
        """The complete image, resized to ``size`` px, which must not be larger than the image."""
        ...
