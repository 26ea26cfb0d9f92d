"""The output of commands: progress and notes on standard error, the summary on standard output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from chipper.cli.session import Session
from chipper.errors import printable, spelled
from chipper.parallel.progress import Monitor
from chipper.quantities import human_bytes, human_seconds

__all__ = ["ConsoleMonitor", "console", "human_bytes", "human_seconds", "print_summary"]

_LOG_SECONDS = 5.0  # between two log lines of one progress, without a terminal


def console(**options: Any) -> Console:
    """A console of rich that prints text as it is: names in it may look like rich's markup, or like its names of emojis."""
    return Console(highlight=False, markup=False, emoji=False, **options)


class ConsoleMonitor(Monitor):
    """Shows progress bars on a terminal and timestamped lines elsewhere; writes messages and stage times to the run's log."""

    def __init__(self, session: Session | None = None) -> None:
        self._session = session or Session.current()
        self._console = console(stderr=True, soft_wrap=True, quiet=self._session.quiet)

    def note(self, message: str) -> None:
        message = self._spelled(message)
        self._session.log.write(message)
        self._console.print(self._stamp(message))

    def detail(self, message: str) -> None:
        message = self._spelled(message)
        self._session.log.write(message)
        if self._session.verbose:
            self._console.print(self._stamp(message))

    def warn(self, message: str) -> None:
        message = self._spelled(message)
        self._session.warnings.append(message)
        self._session.log.write(f"warning: {message}")
        console(stderr=True, soft_wrap=True).print(self._stamp(f"warning: {message}"))

    def skip(self, message: str) -> None:
        self._session.skipped += 1
        self.warn(message)

    def _spelled(self, message: str) -> str:
        """The message, with option names spelled as on the command line, and harmless for a terminal."""
        return printable(spelled(message, self._session.flag))

    def _stamp(self, message: str) -> str:
        return message if self._console.is_terminal else f"{time.strftime('%H:%M:%S')} {message}"

    @contextmanager
    def stage(self, what: str) -> Iterator[None]:
        self.note(what)
        with self._timed(what):
            yield

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        with self._timed(what):
            if self._console.is_terminal and not self._session.quiet:
                columns = [
                    TextColumn("{task.description}", markup=False),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TimeElapsedColumn(),
                ]
                with Progress(*columns, TimeRemainingColumn(), console=self._console) as bar:
                    task = bar.add_task(printable(what), total=total)
                    yield lambda done: bar.advance(task, done)
            else:
                yield self._logged(what, total)

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        self._session.stages[what] = self._session.stages.get(what, 0.0) + seconds
        self.detail(f"{what}: took {human_seconds(seconds)}")

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
                left = f", {human_seconds((total - count) / rate)} left" if 0 < count < total else ""
                self.note(f"{what}: {count} of {total}, {rate:.{1 if rate < 10 else 0}f}/s{left}")

        return advance


def print_summary(title: str, rows: list[tuple[str, str]], data: dict[str, Any]) -> None:
    """Print the result of a command: a table that ends with the time, or only ``data`` with ``--json``.

    Args:
        title: of the table.
        rows: name and text, for people.
        data: the same as plain values, for scripts.
    """
    session = Session.current()
    session.data.update(data)
    rows = [*rows, ("time", _time_by_stage(session))]
    for name, value in rows:
        session.log.write(f"{name}: {value}")
    if not session.quiet and not session.as_json:
        print_table(title, rows)


def print_table(title: str, rows: list[tuple[str, str]]) -> None:
    """A two-column table."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(printable(name), printable(value))
    out = console()
    out.print(printable(title), style="bold", soft_wrap=True)
    out.print(table)


def _time_by_stage(session: Session) -> str:
    total = session.seconds()
    stages = [f"{what} {human_seconds(s)}" for what, s in session.stages.items() if s >= 0.05 and s >= total / 100]
    return human_seconds(total) + (f" ({', '.join(stages)})" if stages else "")
