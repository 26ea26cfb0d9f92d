"""Images that are read by windows: chosen bands, stretched to 8 bits; a large image is never completely in memory.

Bands are numbered from 1. Pixels without data get the colour of the padding. Georeferencing is ignored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
from PIL import Image

from chipper.errors import ImageError
from chipper.images.gdal import RasterFile
from chipper.images.options import PADDING, PixelOptions
from chipper.images.source import Box, Part
from chipper.images.stretch import has_rule, table, to_bytes

PIECE = 1 << 22  # px that are read at once
KEPT = 1 << 24  # px; an image, or its reduced version, of up to this size is read once and kept in memory
_SIDE = 1 << 11  # px of a piece of a tiled image
_MARGIN = 4  # px around a box; bilinear filtering uses at most 2 of them
_SAMPLE_SIDE = 64  # px; percentiles are computed from up to 256 windows of this side
_SAMPLES = 16  # windows along each axis


class WindowedImage:
    """An opened image that is read when chips are cut from it, as an `ImageSource`.

    Raises:
        DependencyError: rasterio is not installed.
        ImageError: the file cannot be used, does not have the declared size or bands, or its values cannot be converted to
            8 bits. Reading may raise it too; closing raises it if the file was written to meanwhile.
    """

    reduction = 1  # chips of every scale can be cut

    def __init__(self, path: Path, declared: tuple[int, int], options: PixelOptions) -> None:
        self._file = RasterFile(path)
        try:
            self.width, self.height = self._file.width, self._file.height
            if (self.width, self.height) != declared:
                raise ImageError(
                    f"the file is {self.width}x{self.height} px, the annotations say {declared[0]}x{declared[1]}"
                )
            self._bands = self._chosen(options)
            self._kept: dict[int, Image.Image] = {}  # by reduction
            self._stretch = options.how
            if not has_rule(self._stretch, self._file.dtype):
                raise ImageError(
                    f"values of type {self._file.dtype} cannot be converted to 8 bits"
                    + ("; give a stretch, for example 2-98" if self._file.dtype.kind in "iuf" else "")
                )
            self._limits = [self._stretch.limits(values) for values in self._sample()]
            self._tables = [table(self._file.dtype, self._stretch, limits) for limits in self._limits]
        except BaseException:
            self._file.drop()
            raise

    def __enter__(self) -> WindowedImage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._file.drop()

    def close(self) -> None:
        """Close the file. Raises ImageError if it was written to meanwhile."""
        self._file.close()

    def part(self, box: Box, scale: float) -> Part:
        """The part of the image that is needed to resize ``box`` (source px) by ``scale``, or the complete image if it is small.

        The part is reduced by averaging, by the largest power of two that keeps at least the resolution of the result. An
        overview of the file is used if it has one.
        """
        reduction = 1 << max(0, math.floor(-math.log2(scale)))
        reduction = min(reduction, 1 << (min(self.width, self.height).bit_length() - 1))
        factor = max((f for f in self._file.overviews if reduction % f == 0), default=1)
        shrink = reduction // factor
        across, down = (side * shrink for side in self._file.step(factor))
        size = -(-self.width // reduction), -(-self.height // reduction)
        if size[0] * size[1] <= KEPT:
            if reduction not in self._kept:
                self._kept[reduction] = self._assembled((0, 0, *size), shrink, factor)
            return Part(self._kept[reduction], across, down)
        x1, y1 = max(math.floor(box[0] / across) - _MARGIN, 0), max(math.floor(box[1] / down) - _MARGIN, 0)
        x2 = min(math.ceil(box[2] / across) + _MARGIN, size[0])
        y2 = min(math.ceil(box[3] / down) + _MARGIN, size[1])
        return Part(self._assembled((x1, y1, x2, y2), shrink, factor), across, down, x1, y1)

    def cut(self, box: Box, size: tuple[int, int]) -> Image.Image:
        """A box (source px), resized to ``size`` like a chip."""
        return self.part(box, max(size[0] / (box[2] - box[0]), size[1] / (box[3] - box[1]))).cut(box, size)

    def whole(self, size: tuple[int, int]) -> Image.Image:
        """The complete image, resized to ``size``, which must not be larger than the image."""
        box = (0.0, 0.0, float(self.width), float(self.height))
        scale = max(size[0] / self.width, size[1] / self.height)
        return self.part(box, scale).cut(box, size, Image.Resampling.BICUBIC)

    def _chosen(self, options: PixelOptions) -> tuple[int, ...]:
        count = self._file.count
        if not options.numbers:
            return (1, 2, 3) if count >= 3 else (1,)
        if max(options.numbers) > count:
            raise ImageError(f"there is no band {max(options.numbers)}; the file has {count}")
        return options.numbers

    def _sample(self) -> list[npt.NDArray[np.generic]]:
        """Valid values of each band, from windows spread evenly over the image: about a million at most."""
        found: list[list[npt.NDArray[np.generic]]] = [[np.zeros(0, self._file.dtype)] for _ in self._bands]
        if self._stretch.kind == "percentiles":
            across, down = _spread(self.width), _spread(self.height)
            for y1, y2 in down:
                for x1, x2 in across:
                    values, valid = self._file.read(self._bands, (x1, y1, x2, y2))
                    for k, band in enumerate(found):
                        band.append(values[k].ravel() if valid is None else values[k][valid[k]])
        return [np.concatenate(band) for band in found]

    def _assembled(self, box: tuple[int, int, int, int], shrink: int, factor: int) -> Image.Image:
        """RGB of a box in px of ``1 / (shrink * factor)`` the resolution, read piece by piece."""
        pixels = Image.new("RGB", (box[2] - box[0], box[3] - box[1]))
        for piece in self._pieces(box, shrink):
            pixels.paste(self._read(piece, shrink, factor), (piece[0] - box[0], piece[1] - box[1]))
        return pixels

    def _pieces(self, box: tuple[int, int, int, int], shrink: int) -> Iterator[tuple[int, int, int, int]]:
        """Split ``box`` into boxes in reduced px that are read one at a time: squares, or rows if the file has no tiles."""
        x1, y1, x2, y2 = box
        width = height = max(1, _SIDE // shrink)
        if not self._file.tiled:
            width = x2
            height = max(1, PIECE // ((x2 - x1) * shrink) // shrink)
        for top in range(y1 // height * height, y2, height):
            for left in range(x1 // width * width, x2, width):
                yield max(left, x1), max(top, y1), min(left + width, x2), min(top + height, y2)

    def _read(self, box: tuple[int, int, int, int], shrink: int, factor: int) -> Image.Image:
        """RGB of a box in px of ``1 / (shrink * factor)`` the resolution, from the level ``factor``."""
        across, down = -(-self.width // factor), -(-self.height // factor)
        x1, y1, x2, y2 = (side * shrink for side in box)
        values, valid = self._file.read(self._bands, (x1, y1, min(x2, across), min(y2, down)), factor)
        pixels = np.empty((*values.shape[1:], 3), np.uint8)
        for k in range(3):
            band = min(k, len(values) - 1)  # a single band is repeated
            known = self._tables[band]
            if band < k:
                pixels[..., k] = pixels[..., band]
            elif known is None:
                pixels[..., k] = to_bytes(values[band], self._stretch, self._limits[band])
            else:
                pixels[..., k] = known[values[band].view(f"u{values.dtype.itemsize}")]
        if valid is not None:
            pixels[~valid.any(axis=0)] = PADDING
        picture = Image.fromarray(pixels)
        return picture.reduce(shrink) if shrink > 1 else picture


def _spread(length: int) -> list[tuple[int, int]]:
    """Begin and end of the sample windows along an axis: the complete axis if `_SAMPLES` windows cover it, else spread evenly.

    Windows begin at multiples of their side, so that each is inside one tile of the file.
    """
    last = -(-length // _SAMPLE_SIDE) - 1
    starts = sorted({_SAMPLE_SIDE * (last * k // (_SAMPLES - 1)) for k in range(_SAMPLES)})
    return [(start, min(start + _SAMPLE_SIDE, length)) for start in starts]
