"""chipper.pictures.drawing: what is drawn lies where it should, on any picture, with and without FreeType."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont, features

from chipper.pictures import drawing
from chipper.pictures.drawing import (
    DASHED,
    DOTTED,
    SOLID,
    brightness,
    caption,
    dot,
    draw_detections,
    draw_sample,
    fitted,
    font,
    outline,
    text_size,
    write,
)
from chipper.pictures.palette import IGNORED, INVALID, NEGATIVE, SCALE_COLOURS, VALID, scale_colour
from chipper.shards.samples import Label, Record, RecordedChip


@pytest.fixture(params=["freetype", "bitmap"])
def either_font(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "bitmap":
        monkeypatch.setattr(features, "check", lambda name: False)
    elif not features.check("freetype2"):
        pytest.skip("PIL was built without FreeType here")
    font.cache_clear()
    yield request.param
    font.cache_clear()


def canvas(size: tuple[int, int] = (80, 60), colour: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    return Image.new("RGB", size, colour)


def places(picture: Image.Image, colour: tuple[int, int, int]) -> set[tuple[int, int]]:
    """x, y of the px of exactly that colour."""
    y, x = np.nonzero((np.asarray(picture) == colour).all(axis=2))
    return set(zip(x.tolist(), y.tolist()))


def test_an_outline_by_hand() -> None:
    picture = canvas(colour=(255, 255, 255))
    outline(ImageDraw.Draw(picture), (10, 20, 40, 50), VALID, 2)
    edge = {(x, y) for x in range(10, 40) for y in range(20, 50)}
    inside = {(x, y) for x in range(12, 38) for y in range(22, 48)}
    assert places(picture, VALID) == edge - inside
    assert places(picture, (12, 12, 12)) == {
        (x, y) for x in range(9, 41) for y in range(19, 51) if (x, y) not in edge
    } | {(x, y) for (x, y) in inside if not (13 <= x < 37 and 23 <= y < 47)}


@pytest.mark.parametrize("line", [DASHED, DOTTED])
def test_a_broken_line_has_gaps_and_corners(line: tuple[int, int]) -> None:
    picture = canvas((200, 150), (128, 128, 128))
    outline(ImageDraw.Draw(picture), (20, 20, 180, 130), INVALID, 2, line)
    drawn = places(picture, INVALID)
    assert {(20, 20), (20, 21), (21, 20)} <= drawn
    whole = canvas((200, 150), (128, 128, 128))
    outline(ImageDraw.Draw(whole), (20, 20, 180, 130), INVALID, 2, SOLID)
    assert drawn < places(whole, INVALID)
    assert 0.3 < len(drawn) / len(places(whole, INVALID)) < 0.8


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (128, 128, 128)])
@pytest.mark.parametrize("colour", [*SCALE_COLOURS, NEGATIVE, VALID, INVALID, IGNORED])
def test_outlines_are_seen_on_bright_and_dark(colour: tuple[int, int, int], background: tuple[int, int, int]) -> None:
    """Line or halo stand out of any background: 3 to 1 is what WCAG asks of graphics."""
    picture = canvas(colour=background)
    outline(ImageDraw.Draw(picture), (10, 10, 60, 50), colour, 2)
    contrast = [
        (max(a, b) + 0.05) / (min(a, b) + 0.05)
        for other in {tuple(px) for px in np.asarray(picture).reshape(-1, 3).tolist()}
        for a, b in [(brightness(other), brightness(background))]  # type: ignore[arg-type]
    ]
    assert max(contrast) > 3


@given(
    st.tuples(*[st.floats(-50, 150, width=32)] * 2),
    st.tuples(*[st.floats(0, 40, width=32)] * 2),
    st.sampled_from([SOLID, DASHED, DOTTED]),
)
def test_small_boxes_are_seen_wherever_they_lie(
    corner: tuple[float, float], sides: tuple[float, float], line: tuple[int, int]
) -> None:
    picture = canvas((100, 100), (90, 90, 90))
    outline(ImageDraw.Draw(picture), (*corner, corner[0] + sides[0], corner[1] + sides[1]), VALID, 2, line)
    centre = corner[0] + sides[0] / 2, corner[1] + sides[1] / 2
    if all(10 <= c <= 90 for c in centre) and max(sides) < 6:
        drawn = places(picture, VALID)
        assert len(drawn) >= 12
        assert all(abs(x - centre[0]) < 7 and abs(y - centre[1]) < 7 for x, y in drawn)


def test_a_dot_by_hand() -> None:
    picture = canvas(colour=(200, 200, 200))
    dot(ImageDraw.Draw(picture), (30, 20), NEGATIVE, 2)
    assert places(picture, NEGATIVE) >= {(30, 20), (29, 20), (31, 20), (30, 19), (30, 21)}
    assert all(abs(x - 30) <= 2 and abs(y - 20) <= 2 for x, y in places(picture, NEGATIVE))


# --- words ---


def test_words_are_written(either_font: str) -> None:
    assert isinstance(font(14), ImageFont.FreeTypeFont) == (either_font == "freetype")
    picture = canvas((200, 40))
    write(ImageDraw.Draw(picture), (4, 4), "scale 1.667: 3", 14, (255, 255, 255))
    width, height = text_size("scale 1.667: 3", 14)
    written = np.asarray(picture).max(axis=2) > 100
    assert written.sum() > 60
    assert not written[:, 4 + width + 2 :].any()
    assert not written[4 + height + 2 :].any()


@pytest.mark.parametrize("words", ["", "a\nb\x00c", "größe", "猫 und 犬", "x" * 400, "<script>"])
def test_any_words_can_be_written(either_font: str, words: str) -> None:
    picture = canvas((60, 30))
    caption(ImageDraw.Draw(picture), (50, 25), words, VALID, 12, picture.size)
    assert picture.size == (60, 30)


@given(st.text(max_size=60), st.integers(30, 300))
def test_words_are_fitted(words: str, width: int) -> None:
    shown = fitted(words, 13, width)
    assert shown == words or (text_size(shown, 13)[0] <= width and "..." in shown)
    assert shown == words or text_size(words, 13)[0] > width


def test_fitted_words_keep_their_end() -> None:
    shown = fitted("folder/with/a/long/name/000000000139.jpg", 13, 150)
    assert shown.endswith("139.jpg")
    assert shown.startswith("fo")


def test_a_caption_stays_in_the_picture(either_font: str) -> None:
    for corner in ((-20, -20), (0, 0), (75, 59), (500, 500)):
        picture = canvas()
        caption(ImageDraw.Draw(picture), corner, "cat 0.93", VALID, 11, picture.size)
        x, y = zip(*places(picture, VALID))
        assert len(x) > 100
        assert min(x) >= 0
        assert max(x) < 80
        assert max(y) < 60


# --- chips and detections ---


def test_a_sample_shows_its_labels() -> None:
    labels = [
        Label(1, 3, (50, 50, 100, 100), valid=True, ignore=False),
        Label(2, 3, (200, 50, 100, 100), valid=False, ignore=True),
        Label(3, 3, (50, 300, 100, 100), valid=False, ignore=False),
    ]

    def record(kind: str, scale_index: int) -> Record:
        chip = RecordedChip(0, kind, scale_index, 1.0, 0, 0, (512, 512), (0, None))
        return Record(7, "a.jpg", 512, 512, labels, chip)

    chip = draw_sample(canvas((512, 512)), record("positive", 7), 256)
    assert chip.size == (256, 256)
    assert chip.getpixel((25, 50)) == VALID
    assert {(100, 25)} <= places(chip, IGNORED)
    assert {(25, 150)} <= places(chip, INVALID)
    assert chip.getpixel((0, 128)) == scale_colour(7)
    negative = draw_sample(canvas((512, 512)), record("negative", 0), 128)
    assert negative.getpixel((0, 64)) == NEGATIVE


def test_detections_at_the_edges() -> None:
    pixels = Image.new("RGB", (40, 30))
    drawn = draw_detections(pixels, [(-5, -5, 80, 80), (0, 0, 1, 1), (39.5, 29.5, 0.2, 0.2)], ["all", "dot", "end"])
    assert drawn.size == (40, 30)
    assert not np.asarray(pixels).any(), "the image itself stays as it is"
    assert drawing.VALID in {tuple(px) for px in np.asarray(drawn).reshape(-1, 3).tolist()}
