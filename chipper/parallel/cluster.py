"""Sharing work out on a dask.distributed cluster, whose machines see the same files.

Tasks go to dask itself, one for each part or shard; what comes back is small. Dask starts a task again when its worker is lost,
maybe while the first attempt is still writing: files that appear whole or not at all make that safe. A task that keeps
killing its workers is reported. (joblib's own dask backend waits for such a task for ever.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from chipper import __version__
from chipper.errors import ClusterError, DependencyError, option
from chipper.parallel.workers import Workers

R = TypeVar("R")
_AHEAD = 4  # tasks waiting for each thread of the cluster, so that arguments do not pile up in the scheduler
_SECONDS = 60  # to reach the scheduler, and for its first worker to come


@dataclass(frozen=True)
class Cluster(Workers):
    """The workers of a dask scheduler, e.g. ``tcp://10.0.0.1:8786``; ``jobs`` counts for nothing here.

    Raises, when work is shared out:
        DependencyError: dask.distributed is not installed.
        ClusterError: the scheduler or its workers cannot be reached, cannot see the folder that is worked in, run another
            chipper, or a task was lost with its worker too often.
    """

    scheduler: str = ""
    folder: Path = Path()  # that every worker must see

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
                    # not pure: what a task leaves on disk counts, so a result that dask remembers is none
                    waiting.append(client.submit(function, *left.popleft(), pure=False))
                future = waiting.popleft()
                try:
                    result = future.result()
                except KilledWorker as error:
                    raise ClusterError(
                        f"{function.__name__.strip('_')} lost {error.allowed_failures + 1} workers of {self.scheduler}, the "
                        f"last {error.last_worker.address}; look into that worker's log: it may need more memory"
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
                f"no dask scheduler at {self.scheduler} ({str(error).splitlines()[0]}); start one with `dask scheduler`, or give "
                f"its address as {option('scheduler')} tcp://HOST:8786"
            ) from None
        try:
            client.wait_for_workers(1, timeout=_SECONDS)
            for address, (version, sees) in client.run(_probe, str(self.folder)).items():
                if version != __version__:
                    raise ClusterError(
                        f"worker {address} runs chipper {version}, this is {__version__}; install the same"
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
    """What a worker says of itself: chipper's version, and whether it sees ``folder``."""
    return __version__, Path(folder).is_dir()
