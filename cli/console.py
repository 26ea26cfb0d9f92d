"""How commands speak: progress and notes on standard error, the summary on standard output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from chipper.progress import Monitor
from chipper.quantities import human_bytes, human_seconds

__all__ = ["ConsoleMonitor", "human_bytes", "human_seconds", "print_summary"]

_LOG_SECONDS = 5.0  # between two log lines of one progress, where there is no terminal


class ConsoleMonitor(Monitor):
    """Bars on a terminal, log lines with the time elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def note(self, message: str) -> None:
        self._console.print(self._stamp(message), markup=False)

    def warn(self, message: str) -> None:
        self._console.print(self._stamp(f"warning: {message}"), markup=False)

    def _stamp(self, message: str) -> str:
        return message if self._console.is_terminal else f"{time.strftime('%H:%M:%S')} {message}"

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        if self._console.is_terminal:
            columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
            with Progress(*columns, TimeRemainingColumn(), console=self._console) as bar:
                task = bar.add_task(what, total=total)
                yield lambda done: bar.advance(task, done)
        else:
            yield self._logged(what, total)

    def _logged(self, what: str, total: int) -> Callable[[int], None]:
        started = said = time.monotonic()
        count = 0

        def advance(done: int) -> None:
            nonlocal count, said
            count += done
            now = time.monotonic()
            if now - said >= _LOG_SECONDS or count == total:
                said = now
                rate = count / max(now - started, 1e-9)
                self.note(f"{what}: {count} of {total}, {rate:.0f}/s")

        return advance


def print_summary(title: str, rows: list[tuple[str, str]]) -> None:
    """A two-column table."""
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    Console(highlight=False).print(table)
