"""Options: which bands of an image are read, and how their values become 8 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chipper.errors import OptionError, option
from chipper.images.stretch import Stretch

MOST_BANDS = 65_535  # TIFF's limit
PADDING = (124, 116, 104)
"""RGB of the part of a chip without image: ImageNet's mean, which becomes zero when a network normalises its input."""


@dataclass(frozen=True)
class PixelOptions:
    """Which bands of an image are red, green and blue, and how their values become 8 bits.

    If one of them is given, images are read by windows (`chipper.images.windowed`).
    """

    bands: str | None = None  # "3,2,1" or "1"; numbers from 1
    stretch: str | None = None  # see `Stretch`

    def __post_init__(self) -> None:
        words = [] if self.bands is None else self.bands.split(",")
        if self.bands is not None and not (
            len(words) in (1, 3) and all(word.isdecimal() and 1 <= int(word[:9]) <= MOST_BANDS for word in words)
        ):
            raise OptionError(
                f"{option('bands')} is {self.bands!r}; give one band or three, numbered from 1, like 4 or 3,2,1"
            )
        self.how  # noqa: B018, checks the text

    @property
    def given(self) -> bool:
        """Whether bands or a stretch are given, which PIL does not support."""
        return self.bands is not None or self.stretch is not None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The bands, one or three; empty if not given."""
        return () if self.bands is None else tuple(map(int, self.bands.split(",")))

    @property
    def how(self) -> Stretch:
        """The stretch; ``none`` if not given."""
        return Stretch() if self.stretch is None else Stretch.parse(self.stretch)

    def over(self, remembered: PixelOptions) -> PixelOptions:
        """These options; an option that is not given comes from ``remembered``."""
        return PixelOptions(
            remembered.bands if self.bands is None else self.bands,
            remembered.stretch if self.stretch is None else self.stretch,
        )

    def as_text(self) -> dict[str, str]:
        """The given options as files store them; `from_text` reads them back and ignores other keys."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_text(cls, stored: dict[str, Any]) -> PixelOptions:
        """The options that `as_text` wrote."""
        return cls(stored.get("bands"), stored.get("stretch"))
