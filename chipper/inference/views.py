"""An image at each scale, as the chips it was trained on were resized, cut into windows and tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chipper.errors import OptionError
from chipper.inference.picture import Picture, opened
from chipper.mining.pyramid import canvas_size
from chipper.mining.scales import ValidRange

Window = tuple[int, int, int, int]  # left, top, right, bottom in canvas px
TILE = 2048  # px of a canvas that are looked at at once, on each side


@dataclass(frozen=True)
class View:
    """One scale of an image, or one tile of it."""

    scale_index: int
    pixels: npt.NDArray[np.uint8]  # (h, w, 3) RGB
    window: Window  # what it shows of its canvas
    to_source: npt.NDArray[np.float32]  # (4,) source px per canvas px, of x1 y1 x2 y2
    valid_range: ValidRange
    inner: tuple[bool, bool, bool, bool]  # whether the left, top, right, bottom edge is not that of the canvas

    def source_boxes(self, boxes: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp]]:
        """Boxes found in the view, (n, 4) in its px, in source px, and the indices of those that count.

        A box counts when it is of the right size and not cut by an edge of a tile.
        """
        height, width = self.pixels.shape[:2]
        cut = np.zeros(len(boxes), dtype=bool)
        for k, edge in enumerate((boxes[:, 0], boxes[:, 1], width - boxes[:, 2], height - boxes[:, 3])):
            cut |= self.inner[k] & (edge < 1)
        boxes = (boxes + np.array(self.window[:2] * 2, np.float32)) * self.to_source
        side = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
        return boxes, np.flatnonzero(self.valid_range.holds(side) & ~cut)


class Views:
    """An image at ``scales`` factors, each with the range of sizes that it is for.

    A canvas over ``tile`` px is seen tile by tile. Tiles overlap by the largest box that the scale is for (but by half a
    tile at most), so that every such box is whole in one.

    Raises:
        OptionError: there is not one range to each scale, or the image is of another kind than (H, W, 3) uint8.
    """

    def __init__(
        self, image: Picture, scales: Sequence[float], valid_ranges: Sequence[ValidRange], tile: int = TILE
    ) -> None:
        self._picture = opened(image)
        if not scales or len(scales) != len(valid_ranges):
            raise OptionError(
                f"{len(scales)} scales and {len(valid_ranges)} valid ranges: give one range to each scale"
            )
        self._scales, self._ranges, self._tile = scales, valid_ranges, tile

    def size(self, index: int) -> tuple[int, int]:
        """Width and height of a scale's canvas, as mining has it."""
        width, height = canvas_size([self._picture.width, self._picture.height], self._scales[index])
        return int(width), int(height)

    def whole(self, index: int) -> Window:
        """A window that is all of a scale's canvas."""
        return (0, 0, *self.size(index))

    def of(self, index: int, windows: Sequence[Window]) -> Iterator[View]:
        """The tiles of some windows of a scale's canvas."""
        size, valid_range = self.size(index), self._ranges[index]
        width, height = self._picture.width, self._picture.height
        across, down = width / size[0], height / size[1]  # source px per canvas px
        to_source = np.array([across, down] * 2, np.float32)
        largest = valid_range.high * self._scales[index]
        for window in windows:
            for top, bottom in tiles(window[3] - window[1], self._tile, largest):
                for left, right in tiles(window[2] - window[0], self._tile, largest):
                    x1, y1, x2, y2 = left + window[0], top + window[1], right + window[0], bottom + window[1]
                    # what is rounded may end a trifle beyond the image
                    box = (x1 * across, y1 * down, min(x2 * across, width), min(y2 * down, height))
                    pixels = np.array(self._picture.cut(box, (x2 - x1, y2 - y1)))
                    inner = x1 > 0, y1 > 0, x2 < size[0], y2 < size[1]
                    yield View(index, pixels, (x1, y1, x2, y2), to_source, valid_range, inner)


def tiles(length: int, tile: int, largest: float) -> list[tuple[int, int]]:
    """Begin and end of each tile along an axis of ``length`` px: even, and overlapping by ``largest`` px or half a tile."""
    if length <= tile:
        return [(0, length)]
    overlap = min(math.ceil(largest), tile // 2) if math.isfinite(largest) else tile // 2
    number = math.ceil((length - overlap) / (tile - overlap))
    starts = np.linspace(0, length - tile, number).round().astype(int).tolist()
    return [(start, start + tile) for start in starts]
