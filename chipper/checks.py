"""Bounds of numeric options."""

from __future__ import annotations

import math

from chipper.errors import OptionError


def at_least(name: str, value: float, low: float) -> None:
    """Raise OptionError where an option is under its lower bound, or not finite."""
    if not (math.isfinite(value) and value >= low):
        raise OptionError(f"{name} is {value:g}; it must be at least {low:g}")


def between(name: str, value: float, low: float, high: float) -> None:
    """Raise OptionError where an option is not between its bounds, both included, or is no number."""
    if not low <= value <= high:
        raise OptionError(f"{name} is {value:g}; it goes from {low:g} to {high:g}")


def sixty_four_bits(name: str, value: int) -> None:
    """Raise OptionError where a seed is beyond what generators take."""
    if not -(2**63) <= value < 2**63:
        raise OptionError(f"{name} is {value}; it must fit into 64 bits")
