"""Bounds and choices of options: written once, next to the default, and checked when the options object is created.

    quality: int = bounded(90, 1, 100)
    placement: str = one_of("grid", "slide")

The command line reads them from the fields (`chipper.cli.options.field_option`).
"""

from __future__ import annotations

import math
from dataclasses import field, fields
from typing import Any

from chipper.errors import OptionError, option


def bounded(default: Any, low: float, high: float = math.inf) -> Any:
    """A field whose value is from ``low`` to ``high``, both included; a default of None means no value."""
    return field(default=default, metadata={"low": low, "high": high})


def one_of(default: str, *others: str) -> Any:
    """A field whose value is ``default`` or one of ``others``."""
    return field(default=default, metadata={"choices": (default, *others)})


def check_fields(options: Any) -> None:
    """Raise OptionError if a field of the dataclass ``options`` breaks the rule that `bounded` or `one_of` gave it."""
    for f in fields(options):
        value, limits = getattr(options, f.name), f.metadata
        if value is None:
            continue
        if "low" in limits and math.isinf(limits["high"]):
            at_least(f.name, value, limits["low"])
        elif "low" in limits:
            between(f.name, value, limits["low"], limits["high"])
        elif "choices" in limits:
            among(f.name, value, limits["choices"])


def at_least(name: str, value: float, low: float) -> None:
    """Raise OptionError if an option is below its lower bound or not finite."""
    if not (math.isfinite(value) and value >= low):
        raise OptionError(f"{option(name)} is {value:g}; it must be at least {low:g}")


def between(name: str, value: float, low: float, high: float) -> None:
    """Raise OptionError if an option is outside its bounds (both are allowed values) or NaN."""
    if not low <= value <= high:
        raise OptionError(f"{option(name)} is {value:g}; it goes from {low:g} to {high:g}")


def among(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise OptionError if an option is not one of its choices."""
    if value not in choices:
        raise OptionError(f"{option(name)} is {value!r}; it is {', '.join(choices[:-1])} or {choices[-1]}")


def sixty_four_bits(name: str, value: int) -> None:
    """Raise OptionError if a seed does not fit into 64 bits; random generators need that."""
    if not -(2**63) <= value < 2**63:
        raise OptionError(f"{option(name)} is {value}; it must fit into 64 bits")
