"""numba's cache: many processes may start on it at once, and all compute the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    "NUMBA_DISABLE_JIT" in os.environ, reason="no kernel is compiled: NUMBA_DISABLE_JIT is set"
)

COVER = """
import numpy as np
from chipper.mining.cover import cover
rng = np.random.default_rng(0)
low = rng.uniform(0, 900, (40, 2))
boxes = np.concatenate([low, low + rng.uniform(5, 90, (40, 2))], axis=1)
found = cover(np.array([0, 15, 40]), boxes, np.full(2, 1000), np.full(2, 1000), np.array([1, 2], np.uint64), 256, 32)
print(found.x.tolist(), found.y.tolist())
"""


def start(cache: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", COVER], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def together(cache: Path, processes: int) -> set[str]:
    """What so many processes that start at once print; each must end well and print nothing else."""
    printed = set()
    for process in [start(cache) for _ in range(processes)]:
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert err == ""
        printed.add(out)
    return printed


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    cache = tmp_path_factory.mktemp("numba")
    return cache, together(cache, 4)


def test_processes_that_start_on_an_empty_cache_agree(warm: tuple[Path, set[str]]) -> None:
    cache, printed = warm
    assert len(printed) == 1
    assert list(cache.rglob("*.nbi"))


def test_a_warm_cache_gives_the_same(warm: tuple[Path, set[str]]) -> None:
    assert together(warm[0], 3) == warm[1]


def test_joblib_workers_share_the_cache(warm: tuple[Path, set[str]]) -> None:
    code = (
        "import joblib, subprocess, sys\n"
        f"code = {COVER!r}\n"
        "def once(k):\n"
        "    import io, contextlib\n"
        "    out = io.StringIO()\n"
        "    with contextlib.redirect_stdout(out):\n"
        "        exec(code, {})\n"
        "    return out.getvalue()\n"
        "print(*set(joblib.Parallel(n_jobs=3)(joblib.delayed(once)(k) for k in range(6))), end='')\n"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(warm[0] / "joblib")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {done.stdout} == warm[1]
