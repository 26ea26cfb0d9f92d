"""chipper.pictures.figure: what stands where, in which colour."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chipper.columns import NEGATIVE as NEGATIVE_KIND
from chipper.columns import POSITIVE, Chips
from chipper.mining.scales import parse_scales, parse_valid_ranges
from chipper.pictures import figure as module
from chipper.pictures.figure import PANEL, THUMBNAIL, PreviewImage, draw_negatives, draw_positives, figure, sheet
from chipper.pictures.palette import IGNORED, INVALID, NEGATIVE, SCALE_COLOURS, VALID
from chipper.shards.samples import Record, RecordedChip

SCALES = parse_scales("512,1.667,3")
RANGES = parse_valid_ranges(None, SCALES)


def chips(kind: str, *windows: tuple[int, tuple[float, float, float, float]]) -> Chips:
    """Chips at (scale index, source box)."""
    n = len(windows)
    numbers = np.arange(n)
    kinds = np.empty(n, dtype=object)
    kinds[:] = kind
    whole = np.full(n, 512)
    boxes = np.array([box for _, box in windows], dtype=float).reshape(n, 4)
    scale = np.array([s for s, _ in windows], dtype=np.int64)
    return Chips(numbers, numbers * 0, kinds, numbers * 0, scale, scale + 1.0, whole, whole, whole, whole, boxes, whole)


def shown(**changes: Any) -> PreviewImage:
    """An image of 800 x 600 grey px with a valid, an invalid and an ignored box."""
    value = PreviewImage(
        name="a.jpg",
        image_id=7,
        size=(800, 600),
        pixels=Image.new("RGB", (800, 600), (120, 120, 120)),
        box=np.array([[100, 100, 200, 200], [300, 100, 420, 220], [500, 100, 600, 200]], dtype=float),
        valid=np.array([True, False, False]),
        ignore=np.array([False, False, True]),
        scales=SCALES,
        valid_ranges=RANGES,
        positives=chips(POSITIVE, (0, (0, 0, 800, 600)), (2, (90, 300, 260, 470))),
        negatives=chips(NEGATIVE_KIND, (2, (500, 300, 670, 470))),
        mined=True,
        dots=np.array([[520.0, 320.0], [600, 400]]),
    )
    if "pixels" in changes:
        changes.setdefault("size", changes["pixels"].size)
    return replace(value, **changes)


def at(picture: Image.Image, x: float, y: float) -> Any:
    return picture.getpixel((round(x), round(y)))


def colours(picture: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(px) for px in np.unique(np.asarray(picture).reshape(-1, 3), axis=0).tolist()}


def test_boxes_and_chips_by_hand() -> None:
    panel = draw_positives(shown())
    assert panel.size == (800, 600)
    assert at(panel, 100, 150) == VALID
    assert {VALID, INVALID, IGNORED, SCALE_COLOURS[0], SCALE_COLOURS[2]} <= colours(panel)
    assert {at(panel, 300, y) for y in range(110, 210)} >= {INVALID}
    assert {at(panel, 500, y) for y in range(110, 190)} >= {IGNORED}
    assert at(panel, 0, 300) == SCALE_COLOURS[0]
    inset = 2 * (2 + 2)  # the line is 2 px wide; scale 2 stands twice as far inside
    assert at(panel, 90 + inset, 400) == SCALE_COLOURS[2]
    assert NEGATIVE not in colours(panel)
    assert SCALE_COLOURS[1] not in colours(panel)


def test_negatives_and_their_dots_by_hand() -> None:
    panel = draw_negatives(shown())
    assert at(panel, 508, 400) == NEGATIVE
    assert at(panel, 520, 320) == at(panel, 600, 400) == NEGATIVE
    assert SCALE_COLOURS[2] not in colours(panel)
    without = draw_negatives(shown(dots=None))
    assert at(without, 600, 400) == (120, 120, 120)
    changed = (np.asarray(panel) != np.asarray(without)).any(axis=2)
    y, x = np.nonzero(changed)
    assert set(zip((x // 50).tolist(), (y // 50).tolist())) <= {(10, 6), (11, 7), (12, 7), (11, 8), (12, 8)}


@pytest.mark.parametrize("size", [(8000, 6000), (12000, 500), (900, 9000)])
def test_large_images_are_made_smaller(size: tuple[int, int]) -> None:
    large = shown(pixels=Image.new("RGB", size, (120, 120, 120)), box=shown().box * 10)
    panel = draw_positives(large)
    assert panel.width <= PANEL[0]
    assert panel.height <= PANEL[1]
    assert panel.width / panel.height == pytest.approx(size[0] / size[1], rel=0.02)
    zoom = panel.width / size[0]
    if size == (8000, 6000):
        assert at(panel, 1000 * zoom, 1500 * zoom) == VALID


def test_small_images_are_enlarged() -> None:
    small = shown(pixels=Image.new("RGB", (64, 48), (120, 120, 120)), box=np.array([[1, 1, 3, 3]] * 3, dtype=float))
    assert draw_positives(small).size == (480, 360)
    assert draw_positives(replace(small, size=(4, 3), pixels=Image.new("RGB", (4, 3)))).size == (32, 24), (
        "not more than 8 times"
    )


def sample(kind: str, scale: int) -> tuple[Image.Image, Record]:
    record = Record(7, "a.jpg", 512, 512, [], RecordedChip(0, kind, scale, 1.0, 0, 0, (512, 512), (0, None)))
    return Image.new("RGB", (512, 512), (10 * scale, 200, 77)), record


def test_chips_stand_beside_grouped_by_kind_and_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = module.write
    monkeypatch.setattr(module, "write", lambda d, c, words, *rest: written.append(words) or write(d, c, words, *rest))
    samples = [sample(NEGATIVE_KIND, 2), sample(POSITIVE, 2), sample(POSITIVE, 0)]
    page = figure(shown(), samples)
    headings = [words for words in written if words.startswith(("Scale", "Negatives, scale"))]
    assert headings == ["Scale 512: 1", "Scale 3: 1", "Negatives, scale 3: 1"]
    legend = [words for words in written if words.startswith("scale ")]
    assert legend == [
        "scale 512, boxes of 120 px and more: 1 chip",
        "scale 1.667, boxes of 32 to 150 px: 0 chips",
        "scale 3, boxes under 80 px: 1 chip",
    ]
    assert "dots: centres of the 2 proposals they were chosen for" in written
    assert {"Positive chips", "Negative chips", "a.jpg", "image 7, 800 x 600 px"} <= set(written)
    assert {"valid at some scale: 1", "invalid (dashed): 1", "ignored (dotted): 1"} <= set(written)
    # 2 of the thumbnails are green with a hint of the scale's number
    pixels = np.asarray(page)
    for colour, number in (((0, 200, 77), 1), ((20, 200, 77), 2)):
        assert (pixels == colour).all(axis=2).sum() == pytest.approx(number * (THUMBNAIL - 4) ** 2, rel=0.02)


def test_without_negatives_there_is_one_panel() -> None:
    both, one = figure(shown(), []), figure(shown(mined=False, negatives=shown().negatives[:0], dots=None), [])
    assert one.width == both.width
    assert 1.8 < both.height / one.height < 2.1


def test_a_scale_alone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = module.write
    monkeypatch.setattr(module, "write", lambda d, c, words, *rest: written.append(words) or write(d, c, words, *rest))
    figure(shown(only=2, positives=shown().positives[1:]), [])
    assert "Positive chips, scale 3 alone" in written
    assert [words for words in written if words.startswith("scale ")] == ["scale 3, boxes under 80 px: 1 chip"]
    assert "valid at this scale: 1" in written


@pytest.mark.parametrize(("number", "rows"), [(1, 1), (5, 1), (6, 2), (20, 4)])
def test_a_sheet_has_five_columns(number: int, rows: int) -> None:
    page, one = sheet([shown()] * number), sheet([shown()])
    assert page.width == one.width == 5 * 300 + 4 * 8 + 2 * 16
    assert page.height == rows * (225 + 40) + (rows - 1) * 8 + 2 * 16
    last = (number - 1) % 5, (number - 1) // 5
    thumbnail = page.crop((16 + last[0] * 308, 16 + last[1] * 273, 316 + last[0] * 308, 241 + last[1] * 273))
    assert {VALID, SCALE_COLOURS[0], SCALE_COLOURS[2]} <= colours(thumbnail)
    if number % 5:
        empty = page.crop((16 + (last[0] + 1) * 308, 16 + last[1] * 273, page.width, page.height))
        assert colours(empty) == {(255, 255, 255)}
