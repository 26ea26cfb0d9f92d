"""The log of one run, in the workdir: what was asked for, what happened when, and how it ended.

``WORKDIR/logs/20261121T101500Z-export-shards-4711.log``, in UTC. A log never stops a run: where it cannot be written,
there is none.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import IO

from chipper import __version__

LOGS = "logs"


class RunLog:
    """Lines with the time. They wait in memory until ``folder`` exists: a command that fails early makes no workdir."""

    def __init__(self, workdir: Path | None = None, command: str = "") -> None:
        self._workdir = workdir if os.environ.get("RANK", "0") == "0" else None  # of torchrun's processes, the first
        started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._name = f"{started}-{command}-{os.getpid()}.log"
        self._waiting: list[str] = []
        self._file: IO[str] | None = None

    @property
    def path(self) -> Path | None:
        """Where the log lies, once it does."""
        return None if self._file is None or self._workdir is None else self._workdir / LOGS / self._name

    def begin(self, options: str) -> None:
        """The head: what runs where, and with which options (YAML, as ``--config`` reads it)."""
        self.write(f"chipper {__version__}, Python {platform.python_version()}, {platform.platform()}")
        self.write(f"in {Path.cwd()}: {shlex.join(['chipper', *sys.argv[1:]])}")
        self.write("options:\n" + options.rstrip("\n"))

    def write(self, message: str) -> None:
        """One line, or some."""
        if self._workdir is None:
            return
        # no line of the log can be taken for the next
        text = "\n  ".join("".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in message).split("\n"))
        self._waiting.append(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")
        try:
            if self._file is None and self._workdir.is_dir():
                (self._workdir / LOGS).mkdir(exist_ok=True)
                self._file = open(self._workdir / LOGS / self._name, "a", encoding="utf-8")  # noqa: SIM115, see close
            if self._file is not None:
                self._file.writelines(self._waiting)
                self._file.flush()
                self._waiting = []
        except OSError:  # a read-only or a full disk
            self._workdir = None

    def close(self) -> None:
        """No more lines."""
        self._workdir = None
        if self._file is not None:
            self._file.close()
