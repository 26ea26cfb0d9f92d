"""Ctrl-C: the first one stops the command in order, the second one at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

INTERRUPTED = 130
"""Exit code of a command that was interrupted, as in shells."""


def stop_in_order_then_at_once() -> None:
    """Install the handler: the first SIGINT raises KeyboardInterrupt, so that files are closed; the second ends the process."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return  # ignored, as in a shell's background job, or handled by other code

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGINT, _at_once)
        _say("stopping; Ctrl-C again stops at once")
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)


@contextlib.contextmanager
def heard_between_steps() -> Iterator[Callable[[], bool]]:
    """In this context the first SIGINT raises nothing; the yielded function returns whether it has arrived."""
    before = signal.getsignal(signal.SIGINT)
    heard = False

    def hear(*_: Any) -> None:
        nonlocal heard
        heard = True
        signal.signal(signal.SIGINT, _at_once)
        _say("stopping after this step; Ctrl-C again stops at once")

    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, hear)
    try:
        yield lambda: heard
    finally:
        signal.signal(signal.SIGINT, before)


def _at_once(*_: Any) -> None:
    for child in _children():
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)
    _say("stopped at once")
    os._exit(INTERRUPTED)


def _children() -> list[int]:
    """Ids of the worker processes, without the semaphore tracker: it cleans up and ends by itself."""
    try:
        threads = list(Path("/proc/self/task").iterdir())
        found = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
        return [pid for pid in found if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
    except OSError:  # not on macOS
        return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


def _say(message: str) -> None:
    os.write(2, f"chipper: {message}\n".encode())  # print is not safe inside a signal
