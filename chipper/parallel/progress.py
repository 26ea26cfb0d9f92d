"""What a stage tells of itself while it works; the command line decides how to show it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chipper.errors import spelled

log = logging.getLogger("chipper")


class Monitor:
    """Hears of progress and says nothing; the base of what the command line uses.

    A message may hold names of options, which `chipper.errors.spelled` makes readable.
    """

    def note(self, message: str) -> None:
        """Something worth a line."""

    def detail(self, message: str) -> None:
        """Something that is worth a line to who asked for more, and in the log."""

    def warn(self, message: str) -> None:
        """Something that the user should look at."""

    def skip(self, message: str) -> None:
        """An item that had to be left out; the rest goes on."""
        self.warn(message)

    @contextmanager
    def stage(self, what: str) -> Iterator[None]:
        """While ``what`` goes on, which has no items to count."""
        yield

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """While ``what`` goes on: call the result with the number of items done since the last call."""
        yield lambda done: None


SILENT = Monitor()


class LoggingMonitor(Monitor):
    """Logs as Python's ``logging`` does: progress as information, which is not shown by default, and warnings, which are."""

    def note(self, message: str) -> None:
        log.info("%s", spelled(message))

    def detail(self, message: str) -> None:
        log.debug("%s", spelled(message))

    def warn(self, message: str) -> None:
        log.warning("%s", spelled(message))

    @contextmanager
    def stage(self, what: str) -> Iterator[None]:
        self.note(what)
        yield


LOGGED = LoggingMonitor()
