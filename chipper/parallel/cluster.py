"""Distribute work on a dask.distributed cluster; all machines must have access to the same files.

Tasks are submitted to dask directly, one for each part or shard; results are small. Dask starts a task again if its worker is
lost, possibly while the first attempt is still writing; this is safe because files are written atomically. A task that
repeatedly kills its workers is reported. (joblib's own dask backend would wait forever for such a task.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from chipper import __version__
from chipper.errors import ClusterError, DependencyError, first_line, option
from chipper.parallel.workers import Workers

R = TypeVar("R")
_AHEAD = 4  # waiting tasks per thread of the cluster; the limit keeps arguments from accumulating in the scheduler
_SECONDS = 60  # timeout for reaching the scheduler, and for its first worker


@dataclass(frozen=True)
class Cluster(Workers):
    """The workers of a dask scheduler, e.g. ``tcp://10.0.0.1:8786``; ``jobs`` is ignored.

    Raises, when work is distributed:
        DependencyError: dask.distributed is not installed.
        ClusterError: the scheduler or its workers cannot be reached, workers cannot see the working folder or run another
            version of chipper, or a task has lost too many workers.
    """

    scheduler: str = ""
    folder: Path = Path()  # every worker must have access to it

    def threads(self, function: Callable[..., R], tasks: Sequence[tuple[Any, ...]]) -> Iterator[R]:
        """Results in the order of ``tasks``."""
        return self._results(function, tasks)

    def processes(self, function: Callable[..., R], tasks: Sequence[tuple[Any, ...]]) -> Generator[R, None, None]:
        """Results in the order of ``tasks``."""
        return self._results(function, tasks)

    def _results(self, function: Callable[..., R], tasks: Sequence[tuple[Any, ...]]) -> Generator[R, None, None]:
        try:
            from distributed import Client, KilledWorker
            from distributed.comm.core import CommClosedError
        except ModuleNotFoundError:
            raise DependencyError(
                f"{option('backend')} dask needs dask.distributed; "
                "run: pip install 'sniper-chipper[cluster]', here and on the workers"
            ) from None
        if not tasks:
            return
        client = self._client(Client)
        waiting: deque[Any] = deque()
        left = deque(tasks)
        try:
            ahead = _AHEAD * max(sum(client.nthreads().values()), 1)
            while left or waiting:
                while left and len(waiting) < ahead:
                    # not pure: a task writes files, so dask must not reuse an earlier result
                    waiting.append(client.submit(function, *left.popleft(), pure=False))
                future = waiting.popleft()
                try:
                    result = future.result()
                except KilledWorker as error:
                    raise ClusterError(
                        f"{function.__name__.strip('_')} lost {error.allowed_failures + 1} workers of {self.scheduler}, the "
                        f"last {error.last_worker.address}; check that worker's log: it may need more memory"
                    ) from None
                except (CancelledError, CommClosedError):
                    raise ClusterError(f"the scheduler {self.scheduler} was lost; run the same command again") from None
                future.release()
                yield result
        finally:
            client.cancel(list(waiting))
            client.close()

    def _client(self, connect: Callable[..., Any]) -> Any:
        try:
            client = connect(self.scheduler, timeout=_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"no dask scheduler at {self.scheduler} ({first_line(error)}); start one with `dask scheduler`, or give "
                f"its address as {option('scheduler')} tcp://HOST:8786"
            ) from None
        try:
            client.wait_for_workers(1, timeout=_SECONDS)
            for address, (version, sees) in client.run(_probe, str(self.folder)).items():
                if version != __version__:
                    raise ClusterError(
                        f"worker {address} runs chipper {version}, this is {__version__}; install the same version"
                    )
                if not sees:
                    raise ClusterError(
                        f"worker {address} does not see {self.folder}; put the workdir on a disk that all workers share"
                    )
        except TimeoutError:
            client.close()
            raise ClusterError(
                f"the scheduler {self.scheduler} has no workers; start some with `dask worker {self.scheduler}`"
            ) from None
        except BaseException:
            client.close()
            raise
        return client


def _probe(folder: str) -> tuple[str, bool]:
    """A worker's version of chipper, and whether it sees ``folder``."""
    return __version__, Path(folder).is_dir()
