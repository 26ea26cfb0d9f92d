"""The expected result of mining, as a table in a notebook."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chipper.api.places import PathLike, place
from chipper.api.signatures import takes
from chipper.api.stages import POSITIVE_OPTIONS
from chipper.coco.reading import read_coco
from chipper.html import joined, table, two_columns
from chipper.manifest.planning import plan_dataset
from chipper.manifest.summary import data_rows
from chipper.mining.options import PositiveOptions
from chipper.mining.suggest import suggest as suggested_options
from chipper.parallel.progress import LOGGED, Monitor
from chipper.parallel.workers import Workers

_HEAD = ("scale", "for sqrt(w*h)", "boxes covered", "only here", "chips", "images", "sliding windows")


@dataclass(frozen=True)
class PlanTable:
    """The expected result of mining a COCO file; a notebook shows it scale by scale."""

    title: str
    report: dict[str, Any] = field(repr=False)  # see `chipper.mining.plan.Plan.report`
    reasons: tuple[str, ...] = ()  # the reasons for the suggested scales and ranges

    @property
    def scales(self) -> str:
        """The scales, in the notation of `build_positives`."""
        return str(self.report["options"]["scales"])

    @property
    def valid_ranges(self) -> str:
        """The valid ranges, in the notation of `build_positives`."""
        return str(self.report["options"]["valid_ranges"])

    def _repr_html_(self) -> str:
        rows = [
            (
                level["scale"],
                level["valid_range"],
                f"{level['boxes_covered']:,} ({level['share_of_boxes_covered']:.1%})",
                f"{level['boxes_covered_only_here']:,}",
                f"{level['chips']:,}",
                f"{level['images_with_chips']:,}",
                f"{level['sliding_windows']['windows']:,}",
            )
            for level in self.report["scales"]
        ]
        ratio = f"{self.report['pixels_against_whole_images']:.2f} x those of one 800x1333 image per source image"
        all_rows = [*data_rows(self.report), ("chips", f"{self.report['chips']:,}"), ("pixels", ratio)]
        all_rows += [("suggested because", reason) for reason in self.reasons]
        return joined([two_columns(all_rows, self.title), table(_HEAD, rows, "Scale by scale", words=2)])


@takes(POSITIVE_OPTIONS)
def plan(
    coco: PathLike, *, suggest: bool = False, jobs: int = -1, monitor: Monitor = LOGGED, **options: Any
) -> PlanTable:
    """Compute what mining a COCO file would produce: chips, pixels, coverage. Writes nothing and reads no image.

    Args:
        coco: the COCO file.
        suggest: plan with scales and valid ranges suggested from the box sizes, instead of the given ones.
        jobs: number of workers; -1 uses all cores.
        monitor: gets the progress.
        options: those of `build_positives`.

    Raises:
        OptionError: an option is invalid.
        AnnotationError: the COCO file cannot be used.
    """
    content, asked = read_coco(place(coco)), PositiveOptions.parse(**options)
    reasons: tuple[str, ...] = ()
    if suggest:
        found = suggested_options(content.images, content.annotations, asked.chip_size)
        reasons = tuple(found.reasons)
        asked = PositiveOptions.parse(**{**options, "scales": found.scales, "valid_ranges": found.valid_ranges})
    report = plan_dataset(content, asked, workers=Workers(jobs), monitor=monitor)
    return PlanTable(f"Plan for {coco}", report, reasons)
