"""Distribute work on one machine. The number of workers changes only the time, never the results."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from chipper.errors import OptionError, option

R = TypeVar("R")


@dataclass(frozen=True)
class _Owned:
    """A function for worker processes; it ends the worker if the main process has been killed."""

    function: Callable[..., Any]
    owner: int

    def __call__(self, *task: Any) -> Any:
        if self.owner not in (os.getpid(), os.getppid()):
            os._exit(1)
        return self.function(*task)


@dataclass(frozen=True)
class Workers:
    """``jobs`` workers; -1 means one for each core that this process may use."""

    jobs: int = -1

    def __post_init__(self) -> None:
        if self.jobs == 0 or self.jobs < -1:
            raise OptionError(f"{option('jobs')} is {self.jobs}; give a number of workers, or -1 for all cores")

    @property
    def count(self) -> int:
        """Number of workers."""
        if self.jobs != -1:
            return self.jobs
        if hasattr(os, "sched_getaffinity"):  # not on macOS
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    def sharing(self, written: Sequence[Path] = (), read: Sequence[Path] = ()) -> Workers:
        """The workers for tasks that write to the folders ``written`` and read ``read``. On one machine all see the same."""
        return self

    def threads(self, function: Callable[..., R], tasks: Sequence[tuple[Any, ...]]) -> Iterator[R]:
        """Results in the order of ``tasks``, for functions whose loops release the GIL.

        If a task fails, its error is raised after the running tasks have ended, so that no task writes after the error.
        """
        workers = min(self.count, len(tasks))
        if workers <= 1:
            yield from (function(*task) for task in tasks)
            return
        with ThreadPoolExecutor(workers) as pool:
            waiting = deque(pool.submit(function, *task) for task in tasks)
            try:
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def processes(self, function: Callable[..., R], tasks: Sequence[tuple[Any, ...]]) -> Generator[R, None, None]:
        """Results in the order in which tasks finish; ``function`` and the tasks are sent to worker processes."""
        workers = min(self.count, len(tasks))
        if workers <= 1:
            return (function(*task) for task in tasks)
        import multiprocessing.resource_tracker

        import joblib  # imported only when needed, because the import starts multiprocessing's helper processes

        multiprocessing.resource_tracker.ensure_running()  # its start unblocks SIGINT, so it must start before the workers
        own = _Owned(function, os.getpid())
        # memmapping of large arguments is off: a worker must not see files that another run may remove
        parallel = joblib.Parallel(
            n_jobs=workers, batch_size=1, pre_dispatch="2*n_jobs", max_nbytes=None, return_as="generator_unordered"
        )
        with _deaf_to_interrupts():
            results: Generator[R, None, None] = parallel(joblib.delayed(own)(*task) for task in tasks)
        return results


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes and threads that are started inside the block ignore Ctrl-C; the main process stops them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
