"""The image pyramid: the sizes of an image's canvases, and the conversion of source px to canvas px."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chipper.mining.scales import Scale

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pyramid:
    """Factors and canvas sizes of N images at S scales."""

    factor: Floats  # (S, N) canvas px per source px
    width: Ints  # (S, N) canvas px
    height: Ints  # (S, N) canvas px

    @classmethod
    def of(cls, scales: tuple[Scale, ...], width: Ints, height: Ints) -> Pyramid:
        """The pyramids of N images of the given sizes (source px)."""
        factor = np.stack([scale.factors(width, height) for scale in scales])
        return cls(factor, canvas_size(width, factor), canvas_size(height, factor))

    def boxes(self, scale_index: int, image: Ints, box: Floats) -> Floats:
        """(n, 4) boxes in canvas px from ``box`` (n, 4) in source px; ``image`` (n,) is the index of each box's image."""
        factor = self.factor[scale_index, image]
        across, down = self.width[scale_index, image], self.height[scale_index, image]
        return np.stack(
            [
                to_canvas(box[:, 0], factor, across),
                to_canvas(box[:, 1], factor, down),
                to_canvas(box[:, 2], factor, across),
                to_canvas(box[:, 3], factor, down),
            ],
            axis=1,
        )


def canvas_size(size: npt.ArrayLike, factor: npt.ArrayLike) -> Ints:
    """Length in px of an image side of ``size`` source px on the canvas: round half up, at least 1."""
    pixels = np.floor(np.asarray(size, dtype=np.float64) * np.asarray(factor, dtype=np.float64) + 0.5)
    return np.maximum(pixels, 1).astype(np.int64)


def to_canvas(coordinate: npt.ArrayLike, factor: npt.ArrayLike, canvas: npt.ArrayLike) -> Floats:
    """Convert source px to canvas px, with one factor for the complete canvas.

    The canvas is a whole number of px, so it can be up to half a px smaller than the image; coordinates are clipped to it.
    """
    scaled = np.asarray(coordinate, dtype=np.float64) * np.asarray(factor, dtype=np.float64)
    return np.minimum(scaled, np.asarray(canvas, dtype=np.float64))
