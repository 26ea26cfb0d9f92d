"""Render chips: an exact scaling and shift from source px to chip px, at sub-pixel source coordinates."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from chipper.images.options import PADDING
from chipper.images.source import ImageSource
from chipper.shards.options import RenderOptions


def render_chip(
    source: ImageSource, scale: float, x: int, y: int, content: tuple[int, int], chip_size: int
) -> Image.Image:
    """Cut one chip out of an image.

    Args:
        source: the image, decoded or opened.
        scale: canvas px per source px.
        x: left edge of the chip, canvas px.
        y: top edge of the chip, canvas px.
        content: width and height of the part of the chip that shows the image, chip px.
        chip_size: K, px.

    Returns:
        K x K RGB; chip px (u, v) shows source px ((x + u) / scale, (y + v) / scale); the rest is `PADDING`.

    Raises:
        ImageError: a part of an opened image cannot be read.
    """
    part = source.part((x / scale, y / scale, (x + content[0]) / scale, (y + content[1]) / scale), scale)
    across, down = scale * part.across, scale * part.down  # chip px per px of the part
    box = (
        x / across - part.left,
        y / down - part.top,
        (x + content[0]) / across - part.left,
        (y + content[1]) / down - part.top,
    )
    pixels = part.pixels
    if box[2] > pixels.width or box[3] > pixels.height:
        # the canvas was rounded up to whole px, so the last chip px can extend up to half a px beyond the image
        pixels, box = _extended(pixels, box)
    cut = pixels.resize(content, Image.Resampling.BILINEAR, box=box)
    if content == (chip_size, chip_size):
        return cut
    chip = Image.new("RGB", (chip_size, chip_size), PADDING)
    chip.paste(cut)
    return chip


def _extended(
    pixels: Image.Image, box: tuple[float, float, float, float]
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """The part of the image around ``box``, with its last row and column repeated up to the end of ``box``."""
    margin = 2  # px outside the box that bilinear filtering may read when enlarging
    reach = int(np.ceil(margin * max(1.0, *((b - a) / 64 for a, b in ((box[0], box[2]), (box[1], box[3]))))))
    left, top = max(int(box[0]) - reach, 0), max(int(box[1]) - reach, 0)
    array = np.asarray(pixels.crop((left, top, pixels.width, pixels.height)))
    right, bottom = max(int(np.ceil(box[2])) - pixels.width, 0), max(int(np.ceil(box[3])) - pixels.height, 0)
    padded = np.pad(array, ((0, bottom), (0, right), (0, 0)), mode="edge")
    return Image.fromarray(padded), (box[0] - left, box[1] - top, box[2] - left, box[3] - top)


def encode_jpeg(chip: Image.Image, options: RenderOptions) -> bytes:
    """The chip as a baseline JPEG."""
    buffer = io.BytesIO()
    chip.save(buffer, "JPEG", quality=options.quality, subsampling=options.subsampling)
    return buffer.getvalue()
