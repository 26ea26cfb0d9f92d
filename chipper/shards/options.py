"""How chips become JPEGs, and how shards are cut; checked when made."""

from __future__ import annotations

from dataclasses import dataclass, field

from chipper.checks import at_least, between
from chipper.errors import OptionError
from chipper.images.options import PixelOptions


@dataclass(frozen=True)
class RenderOptions:
    """How chips become JPEGs."""

    quality: int = 90
    subsampling: str = "4:2:0"
    exif: str = "auto"
    pixels: PixelOptions = field(default_factory=PixelOptions)

    def __post_init__(self) -> None:
        between("--quality", self.quality, 1, 100)
        if self.subsampling not in ("4:4:4", "4:2:2", "4:2:0"):
            raise OptionError(f"--subsampling is {self.subsampling}; it is 4:4:4, 4:2:2 or 4:2:0")
        if self.exif not in ("auto", "apply", "ignore"):
            raise OptionError(f"--exif is {self.exif}; it is auto, apply or ignore")
        if self.exif == "apply" and self.pixels.given:
            raise OptionError(
                "--exif apply does not go with --bands and --stretch, whose windows are those of the stored raster; "
                "leave one of them out"
            )

    def as_text(self) -> dict[str, str | int]:
        """As shards/dataset.json stores them, and as they count for a shard: what was not given of `pixels` is left out."""
        return {"quality": self.quality, "subsampling": self.subsampling, "exif": self.exif, **self.pixels.as_text()}


@dataclass(frozen=True)
class ExportOptions:
    """How shards are cut, and how many images may fail."""

    render: RenderOptions = RenderOptions()
    chips_per_shard: int = 1000
    on_error: str = "skip"
    max_errors: int = 100
    max_error_share: float = 0.1
    retry_errors: bool = False
    overwrite: bool = False  # render what is whole, too

    def __post_init__(self) -> None:
        at_least("--chips-per-shard", self.chips_per_shard, 1)
        at_least("--max-errors", self.max_errors, 0)
        between("max_error_share", self.max_error_share, 0, 1)
        if self.on_error not in ("skip", "fail"):
            raise OptionError(f"--on-error is {self.on_error}; it is skip or fail")
