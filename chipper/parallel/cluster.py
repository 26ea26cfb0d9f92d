"""Distribute work on a dask.distributed cluster; all machines must have access to the same files.

Tasks are submitted to dask directly, one for each part or shard; results are small. Dask starts a task again if its worker is
lost, possibly while the first attempt is still writing; this is safe because files are written atomically. A task that
repeatedly kills its workers is reported. (joblib's own dask backend would wait forever for such a task.)
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from chipper import __version__
from chipper.errors import ChipperError, ClusterError, DependencyError, first_line, option
from chipper.parallel.view import View
from chipper.parallel.workers import Workers

R = TypeVar("R")
_AHEAD = 4  # waiting tasks per thread of the cluster; the limit keeps arguments from accumulating in the scheduler
_SECONDS = 60  # timeout for reaching the scheduler, and for its first worker


@dataclass(frozen=True)
class Cluster(Workers):
    """The workers of a dask scheduler, e.g. ``tcp://10.0.0.1:8786``; ``jobs`` is ignored.

    Raises, when work is distributed:
        DependencyError: dask.distributed is not installed.
        ClusterError: the scheduler or its workers cannot be reached, a worker sees other files or runs another version of
            chipper, or a task has lost too many workers.
    """

    scheduler: str = ""
    written: tuple[Path, ...] = ()  # folders that tasks write to
    read: tuple[Path, ...] = ()  # files and folders that tasks read

    def sharing(self, written: Sequence[Path] = (), read: Sequence[Path] = ()) -> Cluster:
        """The cluster, whose workers have to see these files as this process does."""
        return replace(self, written=tuple(written), read=tuple(read))

    def threads(self, function: Callable[..., R], tasks: Sequence[tuple[Any, ...]]) -> Iterator[R]:
        """Results in the order of ``tasks``."""
        return self._results(function, tasks)

    def processes(self, function: Callable[..., R], tasks: Sequence[tuple[Any, ...]]) -> Generator[R, None, None]:
        """Results in the order of ``tasks``."""
        return self._results(function, tasks)

    def _results(self, function: Callable[..., R], tasks: Sequence[tuple[Any, ...]]) -> Generator[R, None, None]:
        try:
            import cloudpickle
            from distributed import Client, KilledWorker
            from distributed.comm.core import CommClosedError
        except ModuleNotFoundError:
            raise DependencyError(
                f"{option('backend')} dask needs dask.distributed; "
                "run: pip install 'sniper-chipper[cluster]', here and on the workers"
            ) from None
        if not tasks:
            return
        waiting: deque[Any] = deque()
        left = deque(tasks)
        with self._client(Client) as client, View.of(self.written, self.read) as view:
            answered: set[str] = set()
            shared = _Shared(view)
            try:
                ahead = _AHEAD * max(sum(client.nthreads().values()), 1)
                while left or waiting:
                    while left and len(waiting) < ahead:
                        # not pure: a task writes files, so dask must not reuse an earlier result
                        task = cloudpickle.dumps((function, left.popleft()))
                        waiting.append(client.submit(shared, task, pure=False))
                    future = waiting.popleft()
                    try:
                        worker, answer, result = future.result()
                    except KilledWorker as error:
                        raise ClusterError(
                            f"{function.__name__.strip('_')} lost {error.allowed_failures + 1} workers of "
                            f"{self.scheduler}, the last {error.last_worker.address}; check that worker's log: it may need "
                            "more memory"
                        ) from None
                    except (CancelledError, CommClosedError):
                        raise ClusterError(
                            f"the scheduler {self.scheduler} was lost; run the same command again"
                        ) from None
                    except ChipperError:
                        raise
                    except Exception:
                        _require_same_version(client)  # also of workers that joined late
                        raise
                    if answer not in answered and (folder := view.without(answer)) is not None:
                        raise _sees_other(worker, folder)
                    answered.add(answer)
                    future.release()
                    yield result
            finally:
                client.cancel(list(waiting))

    @contextlib.contextmanager
    def _client(self, connect: Callable[..., Any]) -> Iterator[Any]:
        try:
            client = connect(self.scheduler, timeout=_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"no dask scheduler at {self.scheduler} ({first_line(error)}); start one with `dask scheduler`, or give "
                f"its address as {option('scheduler')} tcp://HOST:8786"
            ) from None
        try:
            try:
                client.wait_for_workers(1, timeout=_SECONDS)
            except TimeoutError:
                raise ClusterError(
                    f"the scheduler {self.scheduler} has no workers; start some with `dask worker {self.scheduler}`"
                ) from None
            _require_same_version(client)
            yield client
        finally:
            client.close()


@dataclass(frozen=True)
class _Shared:
    """A task on a worker, which first looks whether it sees the same files."""

    view: View

    def __call__(self, pickled: bytes) -> tuple[str, str, Any]:
        """The worker's address, the name of its answers, and the result of the pickled function and arguments.

        Arguments can be open files. Dask would open them before the task begins, and a worker that cannot does not answer.
        """
        import cloudpickle
        from distributed import get_worker

        worker = get_worker().address
        if (path := self.view.other_here()) is not None:
            raise _sees_other(worker, path)
        function, arguments = cloudpickle.loads(pickled)
        return worker, self.view.answer(), function(*arguments)


def _sees_other(worker: str, path: Path) -> ClusterError:
    return ClusterError(
        f"worker {worker} does not see {path} as this process does; put it on a disk that all workers share under one path"
    )


def _require_same_version(client: Any) -> None:
    def version() -> str:  # a local function is sent as code, which needs no chipper on the worker
        try:
            import chipper
        except ImportError:
            return "no chipper"
        return f"chipper {chipper.__version__}"

    for address, found in client.run(version).items():
        if found != f"chipper {__version__}":
            raise ClusterError(
                f"worker {address} runs {found}, this is chipper {__version__}; install the same version everywhere"
            )
