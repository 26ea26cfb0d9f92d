"""Workers: results in order or as they come, and no worker goes on alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chipper.errors import OptionError
from chipper.parallel.workers import Workers

ORPHANS = """
import sys, time
from pathlib import Path
from chipper.parallel.workers import Workers
def work(folder, k):
    (Path(folder) / f"{k}").write_text("")
    time.sleep(0.3)
for _ in Workers(2).processes(work, [(sys.argv[1], k) for k in range(200)]):
    print("one", flush=True)
"""


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_threads_keep_the_order(jobs: int) -> None:
    assert list(Workers(jobs).threads(lambda k: k * k, [(k,) for k in range(20)])) == [k * k for k in range(20)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_processes_do_every_task_once(jobs: int) -> None:
    assert sorted(Workers(jobs).processes(divmod, [(k, 3) for k in range(20)])) == [divmod(k, 3) for k in range(20)]


def test_no_tasks() -> None:
    assert list(Workers(2).processes(divmod, [])) == []


@pytest.mark.parametrize("jobs", [0, -2])
def test_a_number_of_workers_that_is_none(jobs: int) -> None:
    with pytest.raises(OptionError, match="--jobs"):
        Workers(jobs)


def test_all_cores_are_those_that_this_process_may_use() -> None:
    assert Workers(-1).count == len(os.sched_getaffinity(0))


def test_workers_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHANS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        process.kill()
    time.sleep(1.5)
    done = len(list(tmp_path.iterdir()))
    time.sleep(1.5)
    assert len(list(tmp_path.iterdir())) == done < 50


def test_a_failed_thread_waits_for_those_under_way_and_starts_no_more() -> None:
    begun, ended = [], []

    def work(k: int) -> None:
        begun.append(k)
        if k == 0:
            raise ValueError("the first")
        time.sleep(0.2)
        ended.append(k)

    with pytest.raises(ValueError, match="the first"):
        list(Workers(2).threads(work, [(k,) for k in range(50)]))
    assert sorted(begun) == [0, *sorted(ended)]
    assert len(begun) < 10
