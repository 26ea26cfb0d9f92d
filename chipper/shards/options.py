"""How chips become JPEGs, and how shards are cut; checked when made."""

from __future__ import annotations

from dataclasses import dataclass, field

from chipper.checks import bounded, check_fields, one_of
from chipper.errors import OptionError, option
from chipper.images.options import PixelOptions


@dataclass(frozen=True)
class RenderOptions:
    """How chips become JPEGs."""

    quality: int = bounded(90, 1, 100)
    subsampling: str = one_of("4:2:0", "4:2:2", "4:4:4")
    exif: str = one_of("auto", "apply", "ignore")
    pixels: PixelOptions = field(default_factory=PixelOptions)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.exif == "apply" and self.pixels.given:
            raise OptionError(
                f"{option('exif')} apply does not go with {option('bands')} and {option('stretch')}, "
                "whose windows are those of the stored raster; "
                "leave one of them out"
            )

    def as_text(self) -> dict[str, str | int]:
        """As shards/dataset.json stores them, and as they count for a shard: what was not given of `pixels` is left out."""
        return {"quality": self.quality, "subsampling": self.subsampling, "exif": self.exif, **self.pixels.as_text()}


@dataclass(frozen=True)
class ExportOptions:
    """How shards are cut, and how many images may fail."""

    render: RenderOptions = field(default_factory=RenderOptions)
    chips_per_shard: int = bounded(1000, 1)
    on_error: str = one_of("skip", "fail")  # what to do with an image that cannot be rendered
    max_errors: int = bounded(100, 0)  # images; an export ends when more than these, and more than the share, fail
    max_error_share: float = bounded(0.1, 0, 1)
    retry_errors: bool = False  # render shards with failed images again
    overwrite: bool = False  # render complete shards again, too

    def __post_init__(self) -> None:
        check_fields(self)
