"""The log of one run, in the workdir: its options, what happened when, and how it ended.

``WORKDIR/logs/20261121T101500Z-export-shards-4711.log``, in UTC. A log never stops a run: if it cannot be
written, the run has no log.
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import shlex
import sys
import time
from pathlib import Path

from chipper import __version__
from chipper.errors import printable
from chipper.storage.files import open_in_place, write_all

LOGS = "logs"


class RunLog:
    """Lines with the time. They wait in memory until the workdir exists: a command that fails early creates no workdir."""

    def __init__(self, workdir: Path | None = None, command: str = "") -> None:
        # only the first of torchrun's processes writes a log
        self._workdir = workdir if os.environ.get("RANK", "0") == "0" else None
        started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._name = f"{started}-{command}-{os.getpid()}.log"
        self._waiting: list[str] = []
        self._file: io.FileIO | None = None

    @property
    def path(self) -> Path | None:
        """The path of the log, or None while it is not written."""
        return None if self._file is None or self._workdir is None else self._workdir / LOGS / self._name

    def begin(self, options: str) -> None:
        """Write the head: version, platform, command line and options (YAML, as ``--config`` reads it)."""
        self.write(f"chipper {__version__}, Python {platform.python_version()}, {platform.platform()}")
        self.write(f"in {Path.cwd()}: {shlex.join(['chipper', *sys.argv[1:]])}")
        self.write("options:\n" + options.rstrip("\n"))

    def write(self, message: str) -> None:
        """Write a message of one or more lines."""
        if self._workdir is None:
            return
        # later lines are indented, so that each entry can be told from the next
        text = "\n  ".join(map(printable, message.split("\n")))
        self._waiting.append(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")
        try:
            if self._file is None and self._workdir.is_dir():
                (self._workdir / LOGS).mkdir(exist_ok=True)
                self._file = open_in_place(self._workdir / LOGS / self._name, 0o600)  # paths are nobody else's business
                self._file.seek(0, os.SEEK_END)
            if self._file is not None:
                write_all(self._file, "".join(self._waiting).encode(errors="backslashreplace"))
                self._waiting = []
        except OSError:  # a read-only or a full disk
            self._workdir = None

    def close(self) -> None:
        """Close the log; later messages are dropped."""
        self._workdir = None
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
