"""One bad input: how it is made, the command line that reads it, and the expected result."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import io
import logging
import os
import re
import shlex
import signal
import stat
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

SECONDS = 60  # after which a command counts as hung, on a busy machine too
MARKER = "code-ran"  # what malicious files would make
CURE = re.compile(
    r"\b(give|run|make|check|correct|fix|write|choose|free|train|use|lower|raise|copy|move|delete|export|resume|name|put|wait|"
    r"install|build|take|remove|check|leave|see|goes|it is|must be|must fit|at least|at most|there is no|is older)\b"
)
_PROMISED = re.compile(r"chipper: error: .+")


@dataclass(frozen=True)
class Case:
    """A bad input and the expected result.

    ``words`` is the command line behind ``chipper``, run in a copy of the folder ``start`` (see `starts`) that ``make`` has
    damaged. ``says`` are texts of the one line of error (or of all output, if the command continues): what was
    found, and where. Existing files must stay unchanged, except those in ``may_change``.
    """

    name: str
    words: str
    says: tuple[str, ...]
    make: Callable[[Path], object] | None = None
    start: str = "data"
    code: int = 1
    may_change: tuple[str, ...] = ()
    may_appear: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The line of error, or what happened without one."""
        lines = [line for line in self.err.splitlines() if re.match("chipper: error: ", line)]
        return lines[0] if lines else ""


class _HungError(BaseException):
    pass


def _hung(*_: object) -> None:
    raise _HungError


def _forget() -> None:
    """Clear caches: they live as long as a process, and every command is a new process."""
    from chipper.proposals.files import _load_again
    from chipper.shards.epochs import _pool
    from chipper.shards.planning import read_part

    for function in (_pool, _load_again, read_part):
        function.cache_clear()


def run(folder: Path, words: str, environment: tuple[tuple[str, str], ...] = ()) -> Outcome:
    """Run ``chipper words`` in this process, in ``folder``, as the installed command would."""
    from chipper.cli.main import run as command

    out, err = io.StringIO(), io.StringIO()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHIPPER")}
    _forget()
    handlers, logging.root.handlers = logging.root.handlers, []  # the command sets up its own
    hung_before = signal.signal(signal.SIGALRM, _hung)
    signal.alarm(SECONDS)
    try:
        with (
            contextlib.chdir(folder),
            mock.patch.object(sys, "argv", ["chipper", *shlex.split(words)]),
            mock.patch.dict(os.environ, {**clean, "COLUMNS": "200", **dict(environment)}, clear=True),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("error")  # a user would see it
            warnings.simplefilter("ignore", DeprecationWarning)  # but not this one
            command()
            code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except _HungError:
        code = -1
        err.write(f"hung for {SECONDS} s\n")
    except BaseException:
        code = 1
        err.write(traceback.format_exc())
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, hung_before)
        logging.root.handlers = handlers
    return Outcome(code, out.getvalue(), err.getvalue())


def files(folder: Path) -> dict[str, str]:
    """SHA-256 of every plain file below ``folder`` except logs and options of runs; for other entries only their type."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = path.lstat().st_mode
        if path.name in (".lock", ".workdir.json", "options.yaml") or path.parent.name == "logs" or stat.S_ISDIR(kind):
            continue
        plain = stat.S_ISREG(kind)
        found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest() if plain else str(kind)
    return found


def faults(case: Case, folder: Path) -> tuple[Outcome, list[str]]:
    """Make the input in ``folder``, run the command, and list all differences from the expected result."""
    if case.make is not None:
        case.make(folder)
    before = files(folder)
    outcome = run(folder, case.words, case.environment)
    return outcome, list(_faults(case, outcome, before, files(folder)))


def _faults(case: Case, outcome: Outcome, before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    everything = outcome.out + outcome.err
    if outcome.code != case.code:
        yield f"exit code {outcome.code}, not {case.code}"
    if "Traceback" in everything or "Error (most recent" in everything:
        yield "a traceback"
    if "a bug in chipper" in everything:
        yield "an error that nobody foresaw"
    promised = [line for line in outcome.err.splitlines() if line.startswith("chipper: error:")]
    if case.code in (1, 2):
        if len(promised) != 1:
            yield f"{len(promised)} lines of error"
        elif promised and outcome.err.rstrip().splitlines()[-1] != promised[0]:
            yield "something follows the line of error"
        if promised and not CURE.search(promised[0]):
            yield "no cure in the line"
        if promised and len(promised[0]) > 700:
            yield f"a line of {len(promised[0])} characters"
        if any(ord(letter) < 32 or ord(letter) == 127 for line in promised for letter in line):
            yield "control characters in the line"
        yield from (f"{text!r} is not in the line" for text in case.says if text not in outcome.line)
    else:
        yield from (f"no line of error was due: {line}" for line in promised)
        yield from (f"{text!r} was not said" for text in case.says if text not in everything)
    for name, what in before.items():
        if after.get(name) != what and not _among(name, case.may_change):
            yield f"{name} was {'changed' if name in after else 'removed'}"
    if case.code in (1, 2):
        yield from (f"{name} was made" for name in after if name not in before and not _among(name, case.may_appear))
    yield from (f"{name}: code of the file ran" for name in after if MARKER in name and name not in before)


def _among(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
