"""The colours of pictures and charts.

The colours of scales and negatives are distinguishable for colour-blind people (a test simulates the three kinds of colour
blindness). Labels also differ in their line: valid labels are solid, invalid ones dashed, ignored ones dotted.
"""

from __future__ import annotations

Colour = tuple[int, int, int]  # RGB, 0..255

SCALE_COLOURS: tuple[Colour, ...] = (
    (43, 107, 255),  # blue
    (250, 222, 30),  # yellow
    (190, 40, 130),  # plum
    (87, 204, 204),  # cyan
    (70, 30, 150),  # indigo
)
"""Coarse to fine; a sixth scale uses the first colour again."""

NEGATIVE: Colour = (245, 95, 0)
VALID: Colour = (60, 220, 60)
INVALID: Colour = (225, 35, 60)
IGNORED: Colour = (165, 165, 165)


def scale_colour(scale_index: int) -> Colour:
    """The colour of a scale."""
    return SCALE_COLOURS[scale_index % len(SCALE_COLOURS)]


def hex_colour(colour: Colour) -> str:
    """The colour in the notation of HTML and matplotlib."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
