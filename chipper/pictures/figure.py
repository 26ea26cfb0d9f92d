"""Pictures of images and their chips as in SNIPER's figures 1 and 2, and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from chipper.columns import Bools, Chips, Floats
from chipper.mining.scales import Scale, ValidRange
from chipper.pictures.drawing import dot, draw_sample, fitted, label_style, outline, resized, text_size, write
from chipper.pictures.palette import IGNORED, INVALID, NEGATIVE, VALID, Colour, scale_colour
from chipper.shards.samples import Record

INK, MUTED, PAGE = (27, 31, 36), (89, 99, 110), (255, 255, 255)
_MARGIN, _GAP = 16, 8  # px
_TITLE, _HEAD, _TEXT = 20, 15, 13  # px, font sizes
PANEL = (960, 720)  # px, at most; a larger image is shrunk
_SMALL_PANEL, _MOST_ENLARGED = 480, 8  # px of the long side to which a small image is enlarged, and the largest factor
_LEGEND_WIDTH = 420  # px, at least
THUMBNAIL = 176  # px, of a chip
_COLUMNS = (2, 8)
CHIPS_SHOWN = 16  # of a group
SHEET = (5, 4)  # columns, rows
_CELL, _CELL_TEXT = (300, 225), 40  # px


@dataclass(frozen=True)
class PreviewImage:
    """One image and everything to draw for it."""

    name: str
    image_id: int
    size: tuple[int, int]  # width and height, source px
    pixels: Image.Image  # of the complete image, in its size or smaller
    box: Floats  # (n, 4) source px
    valid: Bools  # (n,) at some scale
    ignore: Bools  # (n,) crowds, and objects that are ignored in all their chips
    scales: tuple[Scale, ...]
    valid_ranges: tuple[ValidRange, ...]
    positives: Chips
    negatives: Chips
    mined: bool  # negatives were mined
    dots: Floats | None  # (m, 2) source px, centres of the proposals that the negatives were chosen for
    only: int | None = None  # index of the only scale to show


def figure(shown: PreviewImage, samples: Sequence[tuple[Image.Image, Record]]) -> Image.Image:
    """The image with boxes and positive chips; below it, again with negative chips; at the right, the chips themselves.

    ``samples`` are the pixels and records of the chips; they are grouped by kind and scale.
    """
    panels = [(_heading(shown, "Positive chips"), draw_positives(shown), _positive_legend(shown))]
    if shown.mined:
        panels.append((_heading(shown, "Negative chips"), draw_negatives(shown), _negative_legend(shown)))
    width = max(_LEGEND_WIDTH, *(panel.width for _, panel, _ in panels))
    legends = [_legend_rows(legend, width) for _, _, legend in panels]
    top = _MARGIN + _line(_TITLE) + _line(_TEXT) + _GAP
    heights = [
        _line(_HEAD) + panel.height + _GAP + len(rows) * _line(_TEXT) + 2 * _GAP
        for (_, panel, _), rows in zip(panels, legends, strict=True)
    ]
    groups = _groups(shown, samples)
    columns = next((c for c in range(*_COLUMNS) if _height(groups, c) <= sum(heights)), _COLUMNS[1]) if groups else 0
    right = columns * (THUMBNAIL + _GAP) - _GAP + 2 * _MARGIN if groups else 0
    size = 2 * _MARGIN + width + right, top + max(sum(heights), _height(groups, columns) if groups else 0) + _MARGIN
    page = Image.new("RGB", size, PAGE)
    draw = ImageDraw.Draw(page)
    write(draw, (_MARGIN, _MARGIN), fitted(shown.name, _TITLE, size[0] - 2 * _MARGIN), _TITLE, INK)
    source = f"image {shown.image_id}, {shown.size[0]} x {shown.size[1]} px"
    write(draw, (_MARGIN, _MARGIN + _line(_TITLE)), fitted(source, _TEXT, size[0] - 2 * _MARGIN), _TEXT, MUTED)
    y = top
    for (heading, panel, _), rows, height in zip(panels, legends, heights, strict=True):
        write(draw, (_MARGIN, y), heading, _HEAD, INK)
        page.paste(panel, (_MARGIN, y + _line(_HEAD)))
        below = y + _line(_HEAD) + panel.height + _GAP
        for k, row in enumerate(rows):
            _write_keys(draw, (_MARGIN, below + k * _line(_TEXT)), row)
        y += height
    if groups:
        _paste_groups(page, draw, (_MARGIN + width + 2 * _MARGIN, top), groups, columns)
    return page


def draw_positives(shown: PreviewImage) -> Image.Image:
    """The image with its boxes and its positive chips, one colour per scale."""
    panel, zoom = _panel(shown)
    draw = ImageDraw.Draw(panel)
    width = _line_width(panel)
    draw_boxes(draw, shown, zoom)
    for k in np.argsort(shown.positives.scale_index, kind="stable"):
        scale = int(shown.positives.scale_index[k])
        _draw_chip(draw, shown.positives.source_box[k] * zoom, scale_colour(scale), width, scale)
    return panel


def draw_negatives(shown: PreviewImage) -> Image.Image:
    """The image with its boxes, its negative chips and, if known, the proposals that the negative chips were chosen for."""
    panel, zoom = _panel(shown)
    draw = ImageDraw.Draw(panel)
    draw_boxes(draw, shown, zoom)
    for k in np.argsort(shown.negatives.scale_index, kind="stable"):
        scale = int(shown.negatives.scale_index[k])
        _draw_chip(draw, shown.negatives.source_box[k] * zoom, NEGATIVE, _line_width(panel), scale)
    for x, y in shown.dots * zoom if shown.dots is not None else ():
        dot(draw, (x, y), NEGATIVE, max(1.5, _line_width(panel) * 0.8))
    return panel


def draw_boxes(draw: ImageDraw.ImageDraw, shown: PreviewImage, zoom: float) -> None:
    """The boxes: valid ones green and on top, invalid ones red, ignored ones grey."""
    for k in np.lexsort((shown.valid, ~shown.ignore)):
        outline(draw, shown.box[k] * zoom, *label_style(bool(shown.valid[k]), bool(shown.ignore[k])))


def sheet(cells: Sequence[PreviewImage]) -> Image.Image:
    """Up to 20 images, each with its boxes and positive chips, its name and the number of its chips."""
    columns, rows = SHEET[0], -(-len(cells) // SHEET[0])
    width, height = _CELL[0] + _GAP, _CELL[1] + _CELL_TEXT + _GAP
    page = Image.new("RGB", (columns * width - _GAP + 2 * _MARGIN, rows * height - _GAP + 2 * _MARGIN), PAGE)
    draw = ImageDraw.Draw(page)
    for k, shown in enumerate(cells):
        x, y = _MARGIN + k % columns * width, _MARGIN + k // columns * height
        zoom = min(_CELL[0] / shown.size[0], _CELL[1] / shown.size[1])
        thumbnail = resized(shown.pixels, (round(shown.size[0] * zoom), round(shown.size[1] * zoom)))
        inside = ImageDraw.Draw(thumbnail)
        draw_boxes(inside, shown, zoom)
        for chip in np.argsort(shown.positives.scale_index, kind="stable"):
            scale = int(shown.positives.scale_index[chip])
            _draw_chip(inside, shown.positives.source_box[chip] * zoom, scale_colour(scale), 2, scale)
        page.paste(thumbnail, (x, y + _CELL[1] - thumbnail.height))
        name = fitted(f"{shown.image_id}  {shown.name}", _TEXT, _CELL[0])
        write(draw, (x, y + _CELL[1] + 2), name, _TEXT, INK)
        _write_keys(draw, (x, y + _CELL[1] + 2 + _line(_TEXT)), _counts(shown))
    return page


# --- parts ---

_Key = tuple[Colour, str]
_Group = tuple[str, Colour, list[Image.Image]]


def panel_size(size: tuple[int, int]) -> tuple[tuple[int, int], float]:
    """Size of the panel of an image of ``size`` source px, and picture px per source px."""
    zoom = min(PANEL[0] / size[0], PANEL[1] / size[1])
    if zoom > 1:
        zoom = min(zoom, max(1.0, _SMALL_PANEL / max(size)), _MOST_ENLARGED)
    return (max(1, round(size[0] * zoom)), max(1, round(size[1] * zoom))), zoom


def _panel(shown: PreviewImage) -> tuple[Image.Image, float]:
    """The image in the size of a panel, and picture px per source px."""
    size, zoom = panel_size(shown.size)
    return shown.pixels.copy() if shown.pixels.size == size else resized(shown.pixels, size), zoom


def _line_width(panel: Image.Image) -> int:
    return max(2, round(max(panel.size) / 320))


def _draw_chip(draw: ImageDraw.ImageDraw, box: Any, colour: Colour, width: int, scale: int) -> None:
    inset = scale * (width + 2)  # so that chips of the same outline stay apart
    x1, y1, x2, y2 = (float(v) for v in box)
    inset = int(max(0, min(inset, (x2 - x1 - 6) / 2, (y2 - y1 - 6) / 2)))
    outline(draw, (x1 + inset, y1 + inset, x2 - inset, y2 - inset), colour, width)


def _heading(shown: PreviewImage, words: str) -> str:
    return words if shown.only is None else f"{words}, scale {shown.scales[shown.only]} alone"


def _scales(shown: PreviewImage) -> Sequence[int]:
    return range(len(shown.scales)) if shown.only is None else [shown.only]


def _positive_legend(shown: PreviewImage) -> list[_Key]:
    counts = np.bincount(shown.positives.scale_index, minlength=len(shown.scales))
    keys = [
        (scale_colour(s), f"scale {shown.scales[s]}, boxes {_range(shown, s)}: {_chips(int(counts[s]))}")
        for s in _scales(shown)
    ]
    return [*keys, *_box_keys(shown)]


def _negative_legend(shown: PreviewImage) -> list[_Key]:
    counts = np.bincount(shown.negatives.scale_index, minlength=len(shown.scales))
    each = ", ".join(f"{counts[s]} at scale {shown.scales[s]}" for s in _scales(shown))
    keys = [(NEGATIVE, f"{_chips(len(shown.negatives))}: {each}")]
    if shown.dots is not None:
        keys.append((NEGATIVE, f"dots: centres of the {len(shown.dots)} proposals they were chosen for"))
    return [*keys, *_box_keys(shown)]


def _box_keys(shown: PreviewImage) -> list[_Key]:
    where = "at some scale" if shown.only is None else "at this scale"
    which = (
        (VALID, f"valid {where}", shown.valid & ~shown.ignore),
        (INVALID, "invalid (dashed)", ~shown.valid & ~shown.ignore),
        (IGNORED, "ignored (dotted)", shown.ignore),
    )
    return [(colour, f"{words}: {int(rows.sum())}") for colour, words, rows in which if rows.any()]


def _range(shown: PreviewImage, s: int) -> str:
    return "of " + words if (words := shown.valid_ranges[s].words)[0].isdigit() or words == "all sizes" else words


def _chips(number: int) -> str:
    return f"{number} chip{'' if number == 1 else 's'}"


def _counts(shown: PreviewImage) -> list[_Key]:
    counts = np.bincount(shown.positives.scale_index, minlength=len(shown.scales))
    keys = [(scale_colour(s), f"{shown.scales[s]}: {counts[s]}") for s in _scales(shown)]
    return [*keys, (NEGATIVE, f"neg.: {len(shown.negatives)}")] if shown.mined else keys


def _line(size: int) -> int:
    return text_size("Ag", size)[1] + size // 3 + 2


def _key_width(key: _Key) -> int:
    return _TEXT + 6 + text_size(key[1], _TEXT)[0] + 14


def _legend_rows(keys: list[_Key], width: int) -> list[list[_Key]]:
    """The keys in rows that fit."""
    rows: list[list[_Key]] = [[]]
    for key in keys:
        if rows[-1] and sum(map(_key_width, rows[-1])) + _key_width(key) > width:
            rows.append([])
        rows[-1].append(key)
    return rows


def _write_keys(draw: ImageDraw.ImageDraw, corner: tuple[int, int], keys: list[_Key]) -> None:
    x, y = corner
    for colour, words in keys:
        draw.rectangle((x, y + 2, x + _TEXT - 1, y + 1 + _TEXT), fill=colour, outline=INK)
        write(draw, (x + _TEXT + 6, y), words, _TEXT, INK)
        x += _key_width((colour, words))


def _groups(shown: PreviewImage, samples: Sequence[tuple[Image.Image, Record]]) -> list[_Group]:
    """Chips by kind and scale: heading, colour and thumbnails."""
    groups = []
    for kind, total in (("positive", shown.positives), ("negative", shown.negatives)):
        for s in _scales(shown):
            some = [
                (chip, record) for chip, record in samples if (record.chip.kind, record.chip.scale_index) == (kind, s)
            ]
            number = int((total.scale_index == s).sum())
            if some:
                more = f" of {number}" if number > len(some) else ""
                heading = f"{'Negatives, s' if kind == 'negative' else 'S'}cale {shown.scales[s]}: {len(some)}{more}"
                colour = NEGATIVE if kind == "negative" else scale_colour(s)
                groups.append((heading, colour, [draw_sample(chip, record, THUMBNAIL) for chip, record in some]))
    return groups


def _height(groups: list[_Group], columns: int) -> int:
    return sum(_line(_HEAD) + -(-len(chips) // columns) * (THUMBNAIL + _GAP) + _GAP for _, _, chips in groups)


def _paste_groups(
    page: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], groups: list[_Group], columns: int
) -> None:
    x, y = corner
    for heading, colour, chips in groups:
        draw.rectangle((x, y + 3, x + _TEXT - 1, y + 2 + _TEXT), fill=colour, outline=INK)
        write(draw, (x + _TEXT + 6, y), heading, _HEAD, INK)
        y += _line(_HEAD)
        for k, chip in enumerate(chips):
            page.paste(chip, (x + k % columns * (THUMBNAIL + _GAP), y + k // columns * (THUMBNAIL + _GAP)))
        y += -(-len(chips) // columns) * (THUMBNAIL + _GAP) + _GAP
