"""chipper report."""

from __future__ import annotations

from pathlib import Path

import click

from chipper.cli.command import command
from chipper.cli.console import ConsoleMonitor, human_bytes, print_summary
from chipper.cli.options import Place, dry_run_option, shards_option, workdir_option
from chipper.manifest.workdir import Workdir


@command()
@click.option(
    "--out",
    type=Place(dir_okay=False, path_type=Path),
    default=None,
    help="HTML page to write.  [default: WORKDIR/report.html]",
)
@shards_option
@workdir_option
@dry_run_option
def report(workdir: Workdir, out: Path | None, dry_run: bool) -> None:
    """Write an HTML page on a workdir: source data, sizes, chips, coverage, cost, shards, samples, training.

    Works at any stage. The page contains its charts and pictures and loads nothing.

    \b
    Example: chipper report --out report.html
    """
    path = out or workdir.path / "report.html"
    if dry_run:
        dataset = workdir.dataset()
        rows = [("images to read", f"{dataset.counts['images']:,}"), ("replaces one", "yes" if path.exists() else "no")]
        print_summary(f"Report in {path} (dry run: nothing written)", rows, {"out": str(path)})
        return

    from chipper.report.findings import findings
    from chipper.report.page import write_report

    made = write_report(workdir, path, monitor=ConsoleMonitor())
    rows = [("size", human_bytes(path.stat().st_size)), ("worth a look", f"{len(findings(made)):,}")]
    print_summary(f"Report in {path}", rows, {"out": str(path), "findings": len(findings(made))})
