"""Pictures of what was chosen: an image with its chips, and the chips beside it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import msgspec
from PIL import Image, ImageDraw

from chipper.columns import Annotations, Chips
from chipper.images import AnySource

SCALE_COLOURS = ((66, 133, 244), (255, 196, 0), (186, 85, 211), (0, 200, 200), (255, 105, 180))
NEGATIVE, VALID, INVALID, IGNORED = (255, 140, 0), (60, 220, 60), (235, 60, 60), (170, 170, 170)
_THUMBNAIL = 192  # px, of a chip beside the image
_WIDEST = 1280  # px, of the image


def draw_image(source: AnySource, width: int, height: int, annotations: Annotations, chips: Chips) -> Image.Image:
    """The image, ``width`` x ``height`` px, with its boxes (white, crowds grey) and its chips, one colour a scale, negatives
    orange.
    """
    zoom = min(1.0, _WIDEST / width)
    canvas = source.whole((max(1, round(width * zoom)), max(1, round(height * zoom))))
    draw = ImageDraw.Draw(canvas)
    for k in range(len(annotations)):
        colour = IGNORED if annotations.iscrowd[k] else (255, 255, 255)
        draw.rectangle((annotations.box[k] * zoom).tolist(), outline=colour)
    for k in range(len(chips)):
        negative = chips.kind[k] == "negative"
        scale = int(chips.scale_index[k])
        colour = NEGATIVE if negative else SCALE_COLOURS[scale % len(SCALE_COLOURS)]
        x1, y1, x2, y2 = chips.source_box[k] * zoom
        inset = 2 * scale  # so that chips of the same outline stay apart
        left, top = x1 + inset, y1 + inset
        draw.rectangle((left, top, max(left, x2 - 1 - inset), max(top, y2 - 1 - inset)), outline=colour, width=2)
    return canvas


def draw_sample(jpeg: bytes, record: bytes) -> Image.Image:
    """One sample of a shard with its labels: valid green, invalid red, ignored grey."""
    sample = msgspec.json.decode(record)
    with Image.open(io.BytesIO(jpeg)) as image:
        chip = image.convert("RGB")
    draw = ImageDraw.Draw(chip)
    for annotation in sample["annotations"]:
        x, y, w, h = annotation["bbox"]
        colour = IGNORED if annotation["ignore"] else VALID if annotation["valid"] else INVALID
        draw.rectangle((x, y, x + w, y + h), outline=colour, width=2)
    colour = NEGATIVE if sample["chip"]["kind"] == "negative" else SCALE_COLOURS[sample["chip"]["scale_index"] % 5]
    draw.rectangle((0, 0, chip.width - 1, chip.height - 1), outline=colour, width=4)
    return chip


def draw_detections(pixels: Image.Image, boxes: Sequence[Sequence[float]], names: Sequence[str]) -> Image.Image:
    """The image with detections, bbox xywh in source px, each with its name."""
    canvas = pixels.copy()
    draw = ImageDraw.Draw(canvas)
    for (x, y, w, h), name in zip(boxes, names, strict=True):
        draw.rectangle((x, y, x + w, y + h), outline=VALID, width=2)
        draw.text((x + 2, max(y - 11, 0)), name, fill=VALID)
    return canvas


def beside(image: Image.Image, chips: Sequence[Image.Image]) -> Image.Image:
    """The image with thumbnails of chips in columns at its right."""
    rows = max(1, image.height // _THUMBNAIL)
    columns = -(-len(chips) // rows)
    sheet = Image.new("RGB", (image.width + columns * _THUMBNAIL, max(image.height, rows * _THUMBNAIL)), (32, 32, 32))
    sheet.paste(image)
    for k, chip in enumerate(chips):
        place = image.width + (k // rows) * _THUMBNAIL, (k % rows) * _THUMBNAIL
        sheet.paste(chip.resize((_THUMBNAIL - 4, _THUMBNAIL - 4)), (place[0] + 2, place[1] + 2))
    return sheet
