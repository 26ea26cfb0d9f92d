"""Progress messages of a stage; the command line decides how to show them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chipper.errors import spelled

log = logging.getLogger("chipper")


class Monitor:
    """Receives progress messages and shows nothing; the base class of the command line's monitor.

    A message can contain placeholders of options; `chipper.errors.spelled` replaces them.
    """

    def note(self, message: str) -> None:
        """A message of one line."""

    def detail(self, message: str) -> None:
        """A detail, shown only with more verbose output and in the log."""

    def warn(self, message: str) -> None:
        """A warning that the user should read."""

    def skip(self, message: str) -> None:
        """A warning that one item was left out; the work continues."""
        self.warn(message)

    @contextmanager
    def stage(self, what: str) -> Iterator[None]:
        """A context manager for the duration of ``what``, a step without countable items."""
        yield

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A context manager for ``what``; call the function it returns with the number of items done since the last call."""
        yield lambda done: None


SILENT = Monitor()


class LoggingMonitor(Monitor):
    """Logs with Python's ``logging``: progress at level INFO, which is hidden by default, and warnings at level WARNING."""

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
