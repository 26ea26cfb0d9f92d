"""Drawing that is readable on bright and dark pictures: outlines with a halo, dots, captions, chips."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont, features

from chipper.pictures.palette import IGNORED, INVALID, NEGATIVE, VALID, Colour, scale_colour
from chipper.shards.samples import Record

Box = Sequence[float]  # x1 y1 x2 y2, px of the picture, x2 and y2 exclusive
SOLID, DASHED, DOTTED = (1, 0), (7, 5), (2, 3)  # lengths of dash and gap, in line widths
_DARK, _BRIGHT = (12, 12, 12), (255, 255, 255)
_SMALLEST = 10  # px, minimum side of an outline, so that small objects stay visible inside it
_LINED = 14  # px, minimum side for a dashed line
_NEEDS_BRIGHT = 0.08  # a colour darker than this needs a bright halo
_ELLIPSIS = "..."


def draw_detections(pixels: Image.Image, boxes: Sequence[Sequence[float]], names: Sequence[str]) -> Image.Image:
    """The image with detections (bbox x y w h in source px), each with its name."""
    canvas = pixels.copy()
    draw = ImageDraw.Draw(canvas)
    for (x, y, w, h), name in zip(boxes, names, strict=True):
        outline(draw, (x, y, x + w, y + h), VALID, 2)
        caption(draw, (x, y), name, VALID, 11, canvas.size)
    return canvas


def draw_sample(chip: Image.Image, sample: Record, side: int) -> Image.Image:
    """A chip of K x K px with its labels, ``side`` px wide and high; the frame has the colour of its scale.

    Valid labels are green, invalid ones red and dashed, ignored ones grey and dotted.
    """
    zoom = side / chip.width
    canvas = resized(chip, (side, side))
    draw = ImageDraw.Draw(canvas)
    for label in sorted(sample.annotations, key=lambda label: label.valid):  # valid ones on top
        x, y, w, h = (zoom * value for value in label.bbox)
        outline(draw, (x, y, x + w, y + h), *label_style(label.valid, label.ignore))
    frame = NEGATIVE if sample.chip.kind == "negative" else scale_colour(sample.chip.scale_index)
    draw.rectangle((0, 0, side - 1, side - 1), outline=frame, width=max(2, side // 64))
    return canvas


def label_style(valid: bool, ignore: bool) -> tuple[Colour, int, tuple[int, int]]:
    """Colour, width and line of a label's outline."""
    if ignore:
        return IGNORED, 1, DOTTED
    return (VALID, 2, SOLID) if valid else (INVALID, 2, DASHED)


def resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture resized; each side is at least 1 px."""
    width, height = (max(1, side) for side in size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def outline(draw: ImageDraw.ImageDraw, box: Box, colour: Colour, width: int, line: tuple[int, int] = SOLID) -> None:
    """Draw a rectangle with a line of ``width`` px and a halo, which is dark or, for a dark colour, bright."""
    x1, y1, x2, y2 = box[0], box[1], max(box[0], box[2] - 1), max(box[1], box[3] - 1)
    x1, x2 = _widened(x1, x2)
    y1, y2 = _widened(y1, y2)
    left, top, right, bottom = round(x1), round(y1), round(x2), round(y2)
    halo = _BRIGHT if brightness(colour) < _NEEDS_BRIGHT else _DARK
    if line is SOLID or min(right - left, bottom - top) < _LINED:
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=halo, width=width + 2)
        draw.rectangle((left, top, right, bottom), outline=colour, width=width)
        return
    on, off = (max(1, round(part * max(width, 1.4))) for part in line)
    for reach, paint in ((1, halo), (0, colour)):
        for start in range(left, right + 1, on + off):
            end = min(start + on - 1, right)
            draw.rectangle((start - reach, top - reach, end + reach, top + width - 1 + reach), fill=paint)
            draw.rectangle((start - reach, bottom - width + 1 - reach, end + reach, bottom + reach), fill=paint)
        for start in range(top, bottom + 1, on + off):
            end = min(start + on - 1, bottom)
            draw.rectangle((left - reach, start - reach, left + width - 1 + reach, end + reach), fill=paint)
            draw.rectangle((right - width + 1 - reach, start - reach, right + reach, end + reach), fill=paint)


def _widened(low: float, high: float) -> tuple[float, float]:
    """The span, extended to `_SMALLEST` px if it is shorter."""
    lacking = max(0.0, _SMALLEST - 1 - (high - low)) / 2
    return low - lacking, high + lacking


def dot(draw: ImageDraw.ImageDraw, centre: tuple[float, float], colour: Colour, radius: float) -> None:
    """Draw a disc with a dark rim."""
    x, y = centre
    draw.ellipse((x - radius - 1, y - radius - 1, x + radius + 1, y + radius + 1), fill=_DARK)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def caption(
    draw: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    words: str,
    colour: Colour,
    size: int,
    canvas: tuple[int, int],
) -> None:
    """Write words on a patch of ``colour`` above ``corner``, moved and shortened so that it fits into the canvas."""
    room = canvas[0] - 8
    shown = fitted(words, size, room)
    width, height = text_size(shown, size)
    x = min(max(corner[0], 0), max(canvas[0] - width - 7, 0))
    y = min(max(corner[1] - height - 5, 0), max(canvas[1] - height - 5, 0))
    draw.rectangle((x, y, x + width + 6, y + height + 4), fill=colour)
    write(draw, (x + 3, y + 2), shown, size, _DARK if brightness(colour) > 0.2 else _BRIGHT)


def write(draw: ImageDraw.ImageDraw, corner: tuple[float, float], words: str, size: int, colour: Colour) -> None:
    """Write words; ``corner`` is their top left corner."""
    draw.text(corner, _shown(words), fill=colour, font=font(size))


def text_size(words: str, size: int) -> tuple[int, int]:
    """Width of the words and height of a line, px."""
    used = font(size)
    _, top, _, bottom = used.getbbox("Agp|")
    return round(used.getlength(_shown(words))), round(bottom - min(top, 0))


def fitted(words: str, size: int, width: float) -> str:
    """The words, or if they are wider than ``width`` px, as many letters as fit, without the middle."""
    if text_size(words, size)[0] <= width:
        return words
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if text_size(_without_middle(words, middle), size)[0] <= width:
            low = middle
        else:
            high = middle - 1
    return _without_middle(words, low)


def _without_middle(words: str, letters: int) -> str:
    """``letters`` letters of the words, more from the end than from the beginning: names mostly differ at the end."""
    begin = letters // 3
    return words[:begin] + _ELLIPSIS + words[len(words) - (letters - begin) :]


def _shown(words: str) -> str:
    """The words on one line, with characters that the font has."""
    line = "".join(c if c.isprintable() else " " for c in words)
    return line if isinstance(font(12), ImageFont.FreeTypeFont) else line.encode("latin-1", "replace").decode("latin-1")


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """PIL's default font; if PIL was built without FreeType, its bitmap font, which has only one size."""
    if features.check("freetype2"):
        return ImageFont.load_default(size)
    return ImageFont.load_default_imagefont()


def brightness(colour: Colour) -> float:
    """Relative luminance, 0 to 1 (WCAG 2)."""
    linear = [(v / 255 / 12.92) if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
