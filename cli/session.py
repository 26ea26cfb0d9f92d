"""The state of a running command: its verbosity, its warnings, the time of its stages, and its log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import click
import msgspec

from chipper.cli.run_log import RunLog
from chipper.errors import without_secrets


@dataclass
class Session:
    """Created by `chipper.cli.main.run`; code that prints gets the current one."""

    command: str = "chipper"
    quiet: bool = False
    verbose: bool = False
    as_json: bool = False
    debug: bool = False
    dry_run: bool = False
    log: RunLog = field(default_factory=RunLog)
    skipped: int = 0
    """Items left out so far."""
    warnings: list[str] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds of each stage, in the order they began."""
    data: dict[str, Any] = field(default_factory=dict)
    """What ``--json`` prints, without the fields that every command adds."""
    flags: dict[str, str] = field(default_factory=dict)
    """How the command line spells the options of the command, by name."""
    _started: float = field(default_factory=time.perf_counter)

    @staticmethod
    def current() -> Session:
        """The session of the running command; a new one if no command runs."""
        context = click.get_current_context(silent=True)
        return (context and context.find_object(Session)) or Session()

    def flag(self, name: str) -> str:
        """The flag of an option of the library: ``--image-dir`` of ``image_dir``."""
        return self.flags.get(name) or f"--{name.replace('_', '-')}"

    def seconds(self) -> float:
        """Seconds since the command began."""
        return time.perf_counter() - self._started

    def end(self, exit_code: int, error: dict[str, str] | None = None) -> None:
        """Close the log and, with ``--json``, print the result; ``error`` is the type and message of the error."""
        if error is not None:
            self.log.write(f"error: {error['message']}")
        self.log.write(f"ended with exit code {exit_code} after {self.seconds():.1f} s")
        self.log.close()
        if self.as_json:
            click.echo(msgspec.json.format(msgspec.json.encode(_plain(self._outcome(exit_code, error))), indent=2))

    def _outcome(self, exit_code: int, error: dict[str, str] | None) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        ended: dict[str, Any] = {"command": self.command, "exit_code": exit_code, "dry_run": self.dry_run}
        if error is not None:
            ended["error"] = error
        stages = {what: round(seconds, 3) for what, seconds in self.stages.items()}
        seconds = {"total": round(self.seconds(), 3), "stages": stages}
        return {**ended, **self.data, "warnings": self.warnings, "seconds": seconds}


def _plain(value: Any) -> Any:
    """``value`` with texts that can be written: no secrets, and bytes of file names that are not UTF-8 as escapes."""
    if isinstance(value, str):
        return without_secrets(value).encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
