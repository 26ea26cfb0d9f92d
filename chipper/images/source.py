"""What an open image gives, however it is stored: parts of it, as 8-bit RGB."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from PIL import Image

Box = tuple[float, float, float, float]
"""x1 y1 x2 y2, in source px unless said otherwise."""


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
        """A box (source px) that the part holds, resized to ``size`` px."""
        x2, y2 = box[2] / self.across - self.left, box[3] / self.down - self.top
        inside = (
            box[0] / self.across - self.left,
            box[1] / self.down - self.top,
            min(x2, self.pixels.width),
            min(y2, self.pixels.height),
        )
        return self.pixels.resize(size, resample, box=inside)


class Cuttable(Protocol):
    """An image of which boxes can be cut."""

    width: int  # source px
    height: int

    def cut(self, box: Box, size: tuple[int, int]) -> Image.Image:
        """A box (source px) resized to ``size`` px, as chips are."""
        ...


class ImageSource(Cuttable, Protocol):
    """An open image; a context manager, which closes what is open.

    Every method, closing too, raises ImageError where the file cannot be read or was written to meanwhile.
    """

    reduction: int  # it was decoded at ``1 / reduction`` of its resolution, and is good for chips of at most that scale

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
        """All of it, resized to ``size`` px, which is no larger."""
        ...
