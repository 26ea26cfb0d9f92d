"""chipper plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from chipper.cli.command import command
from chipper.cli.console import ConsoleMonitor, console, human_bytes, print_table
from chipper.cli.options import coco_argument, jobs_option, positive_options
from chipper.cli.session import Session
from chipper.errors import printable
from chipper.manifest.summary import data_rows
from chipper.mining.options import PositiveOptions
from chipper.parallel.workers import Workers


@command()
@coco_argument
@positive_options
@click.option("--suggest", is_flag=True, help="Suggest scales and valid ranges from the box sizes, with reasons.")
@jobs_option
def plan(coco: Path, suggest: bool, jobs: int, **options: Any) -> None:
    """Show what mining COCO would produce: chips, pixels, coverage, disk space.

    Reads only annotations and writes nothing.

    \b
    Example: chipper plan coco.json --suggest
    """
    from chipper.coco.reading import read_coco
    from chipper.manifest.planning import plan_dataset
    from chipper.mining.suggest import suggest as suggested_options

    asked, workers = PositiveOptions.parse(**options), Workers(jobs)
    monitor = ConsoleMonitor()
    with monitor.stage(f"reading {coco}"):
        content = read_coco(coco)
    what = "the scales asked for" if suggest else "chips"
    report = plan_dataset(content, asked, workers=workers, monitor=monitor, what=what)
    report["records_left_out"] = len(content.skipped)
    suggestion = None
    if suggest:
        found = suggested_options(content.images, content.annotations, asked.chip_size)
        ranges = {"scales": found.scales, "valid_ranges": found.valid_ranges}
        suggested = PositiveOptions.parse(**{**options, **ranges})
        planned = plan_dataset(content, suggested, workers=workers, monitor=monitor, what="the scales suggested")
        suggestion = {**ranges, "reasons": list(found.reasons), "plan": planned}
    session = Session.current()
    session.data = {**report, "suggestion": suggestion}
    if session.as_json or session.quiet:
        return
    _print_report(f"Plan for {coco}", report)
    if suggestion is not None:
        _print_suggestion(coco, suggestion)


def _print_report(title: str, report: dict[str, Any]) -> None:
    chips, rows = report["chips"], data_rows(report)
    if report.get("records_left_out"):
        rows.append(
            ("left out", f"{report['records_left_out']:,} records that cannot be used (build-positives lists them)")
        )
    print_table(title, rows)

    table = Table(box=None, pad_edge=False, header_style="cyan")
    for name in ("scale", "for sqrt(w*h)", "boxes covered", "only here", "chips", "per image", "images", "Mpx"):
        table.add_column(name, justify="left" if name in ("scale", "for sqrt(w*h)") else "right")
    for level in report["scales"]:
        table.add_row(
            level["scale"],
            level["valid_range"],
            f"{level['boxes_covered']:,} ({level['share_of_boxes_covered']:.0%})",
            f"{level['boxes_covered_only_here']:,}",
            f"{level['chips']:,}",
            f"{level['chips'] / report['images']:.2f}",
            f"{level['images_with_chips']:,}",
            f"{level['chip_pixels'] / 1e6:,.1f}",
        )
    out = console()
    out.print()
    out.print(table)

    rivals = Table(box=None, pad_edge=False, header_style="cyan")
    for name in ("scale", "chips", "sliding window", "it covers", "for the same coverage"):
        rivals.add_column(name, justify="left" if name == "scale" else "right")
    for level in report["scales"]:
        usual, same = level["sliding_windows"], level["sliding_windows_same_coverage"]
        covered = usual["boxes_covered"] / max(level["boxes_covered"], 1)
        rivals.add_row(
            level["scale"],
            f"{level['chips']:,}",
            f"{usual['windows']:,} ({usual['overlap']:.0%} overlap)",
            f"{covered:.1%}" if level["boxes_covered"] else "",
            f"{same['windows']:,} ({same['overlap']:.0%} overlap)",
        )
    out.print()
    out.print(rivals)
    out.print()
    ratio, most = report["pixels_against_whole_images"], report["pixels_against_whole_images_with_negatives"]
    print_table(
        "In all",
        [
            (
                "chips",
                f"{chips:,} ({report['chips_per_image']:.2f} per image, at most {report['most_chips_of_an_image']:,})",
            ),
            (
                "sliding window",
                f"{report['sliding_windows']:,} windows ({_times(report['sliding_windows'], chips)}), for the same "
                f"coverage {report['sliding_windows_same_coverage']:,} "
                f"({_times(report['sliding_windows_same_coverage'], chips)})",
            ),
            (
                "pixels",
                f"{ratio:.2f} x those of one 800x1333 image per source image, at most {most:.2f} x with negative chips",
            ),
            (
                "boxes of 32 px or more",
                f"{report['share_of_boxes_large_enough']:.1%}, in the finest chip whose valid range has them",
            ),
            ("shards", f"about {human_bytes(report['estimated_shard_bytes'])} of positive chips at JPEG quality 90"),
        ],
    )


def _times(windows: int, chips: int) -> str:
    return f"{windows / max(chips, 1):,.0f} x the chips"


def _print_suggestion(coco: Path, suggestion: dict[str, Any]) -> None:
    out = console(soft_wrap=True)
    out.print()
    out.print("Suggested, because:", style="bold")
    for reason in suggestion["reasons"]:
        out.print(f"- {printable(reason)}")
    out.print()
    _print_report("With these", suggestion["plan"])
    out.print()
    command = (
        f"chipper build-positives {coco} --scales {suggestion['scales']} --valid-ranges {suggestion['valid_ranges']}"
    )
    out.print(printable(command), style="bold")
