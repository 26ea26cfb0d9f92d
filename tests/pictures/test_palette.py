"""Colours stay apart for everybody: the three kinds of colour blindness are simulated."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from chipper.pictures.palette import IGNORED, INVALID, NEGATIVE, SCALE_COLOURS, VALID, hex_colour, scale_colour

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
SIGHT = {
    "all colours": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def lab(colour: tuple[int, int, int], sight: str) -> np.ndarray:
    value = np.array(colour) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    seen = np.clip(SIGHT[sight] @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    f = np.where((t := xyz / [0.9505, 1, 1.089]) > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
def test_scales_and_negatives_look_different(sight: str) -> None:
    """A difference of 2 can be seen side by side; 20 is another colour."""
    for one, other in combinations((*SCALE_COLOURS, NEGATIVE), 2):
        assert np.linalg.norm(lab(one, sight) - lab(other, sight)) > 20, (one, other)


@pytest.mark.parametrize("sight", SIGHT)
def test_labels_look_different(sight: str) -> None:
    for one, other in combinations((VALID, INVALID, IGNORED), 2):
        assert np.linalg.norm(lab(one, sight) - lab(other, sight)) > 20, (one, other)


def test_a_sixth_scale_begins_again() -> None:
    assert scale_colour(5) == scale_colour(0) != scale_colour(4)
    assert hex_colour((1, 171, 255)) == "#01abff"
