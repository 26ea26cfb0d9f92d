"""Options of rendering and of shards; they are checked when they are created."""

from __future__ import annotations

from dataclasses import dataclass, field

from chipper.checks import bounded, check_fields, one_of
from chipper.errors import OptionError, option
from chipper.images.options import PixelOptions


@dataclass(frozen=True)
class RenderOptions:
    """How chips are rendered and encoded as JPEG."""

    quality: int = bounded(90, 1, 100)
    subsampling: str = one_of("4:2:0", "4:2:2", "4:4:4")
    exif: str = one_of("auto", "apply", "ignore")
    pixels: PixelOptions = field(default_factory=PixelOptions)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.exif == "apply" and self.pixels.given:
            raise OptionError(
                f"{option('exif')} apply cannot be combined with {option('bands')} or {option('stretch')}, "
                "which read windows of the stored raster; "
                "leave one of them out"
            )

    def as_text(self) -> dict[str, str | int]:
        """The options as shards/dataset.json stores them and as a plan hashes them; default values of `pixels` are left out."""
        return {"quality": self.quality, "subsampling": self.subsampling, "exif": self.exif, **self.pixels.as_text()}


@dataclass(frozen=True)
class ExportOptions:
    """How chips are split into shards, and how many images may fail."""

    render: RenderOptions = field(default_factory=RenderOptions)
    chips_per_shard: int = bounded(1000, 1)
    on_error: str = one_of("skip", "fail")  # what to do with an image that cannot be rendered
    max_errors: int = bounded(100, 0)  # images; an export stops if more images than this, and more than the share, fail
    max_error_share: float = bounded(0.1, 0, 1)
    retry_errors: bool = False  # render shards with failed images again
    overwrite: bool = False  # also render complete shards again

    def __post_init__(self) -> None:
        check_fields(self)
