"""Whatever stands in a run's files, the report is written or the error is one line; the time has a limit."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chipper.report.svg
from chipper.errors import ChipperError
from chipper.manifest.workdir import Workdir
from chipper.report.page import write_report
from chipper.report.runs import SHOWN, read_runs
from chipper.report.svg import Chart

FILES = ("run.json", "metrics.jsonl", "evaluation.json")
NESTED = json.loads("[" * 60 + "]" * 60)
ODD = st.one_of(
    st.sampled_from(
        [None, True, -1, 0, 10**30, 10**400, 1e308, -1e308, float("inf"), float("nan"), "", "x" * 5000, [], {}, NESTED]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inside for place in places(part, (*path, key)))]


def changed(value: Any, place: tuple[Any, ...], new: Any, *, remove: bool) -> Any:
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(place) == 1 and remove:
        del copy[place[0]]
    else:
        copy[place[0]] = changed(copy[place[0]], place[1:], new, remove=remove)
    return copy


@pytest.fixture(scope="module")
def whole(drawn: Any, tmp_path_factory: pytest.TempPathFactory, write_run: Callable[..., Path]) -> Workdir:
    from chipper.manifest.build_positives import build_positives
    from chipper.mining.options import PositiveOptions

    workdir = Workdir(tmp_path_factory.mktemp("odd") / "chips")
    build_positives(drawn.coco, workdir, PositiveOptions.parse())
    write_run(workdir, "first", steps=4)
    return workdir


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_odd_values(whole: Workdir, data: st.DataObject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chipper.report.page.SECTIONS", SECTIONS_OF_RUNS)
    monkeypatch.setattr("chipper.report.charts.draw_chart", quick_chart)
    run = whole.runs / "first"
    name = data.draw(st.sampled_from(FILES))
    before = (run / name).read_bytes()
    lines = [json.loads(line) for line in before.splitlines()] if name == "metrics.jsonl" else [json.loads(before)]
    try:
        k = data.draw(st.integers(0, len(lines) - 1))
        place = data.draw(st.sampled_from(places(lines[k])))
        lines[k] = changed(lines[k], place, data.draw(ODD), remove=bool(place) and data.draw(st.booleans()))
        (run / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        try:
            write_report(whole, whole.path / "report.html")
        except ChipperError as error:
            assert "\n" not in str(error)
    finally:
        (run / name).write_bytes(before)


from chipper.report import page  # noqa: E402

SECTIONS_OF_RUNS = tuple(section for section in page.SECTIONS if section[0] == "runs")


def quick_chart(name: str, alt: str, height: Callable[[bool], float], draw: Callable[[Any, bool], None]) -> Chart:
    """Everything but the layout, which takes most of the time."""
    from matplotlib.figure import Figure

    figure = Figure()
    draw(figure, True)
    figure.draw_without_rendering()
    return Chart("", "", alt)


@pytest.mark.parametrize("name", [*FILES, "../../skipped.parquet"])
def test_a_pipe_is_no_file(
    drawn: Any, tmp_path: Path, build: Callable[..., Workdir], write_run: Callable[..., Path], name: str
) -> None:
    workdir = build(drawn.coco, tmp_path / "chips")
    path = write_run(workdir, "first", steps=4) / name
    path.unlink()
    os.mkfifo(path)
    started = time.monotonic()
    try:
        write_report(workdir, tmp_path / "report.html")
    except ChipperError as error:
        assert "skipped.parquet" in name
        assert "pipe or a device" in str(error)
    else:
        assert "pipe or a device" in (tmp_path / "report.html").read_text()
    assert time.monotonic() - started < 60


def test_of_many_runs_the_newest_are_shown(
    drawn: Any,
    tmp_path: Path,
    build: Callable[..., Workdir],
    write_run: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workdir = build(drawn.coco, tmp_path / "chips")
    first = write_run(workdir, "run-0000", steps=4)
    for k in range(1, 500):
        shutil.copytree(first, workdir.runs / f"run-{k:04d}")
        os.utime(workdir.runs / f"run-{k:04d}" / "metrics.jsonl", (k, k))
        os.utime(workdir.runs / f"run-{k:04d}" / "run.json", (k, k))
    os.utime(first / "metrics.jsonl", (1000, 1000))
    os.utime(first / "run.json", (1, 1))
    shown, others = read_runs(workdir.runs)
    assert [run.name for run in shown] == ["run-0000", *(f"run-{k:04d}" for k in range(500 - SHOWN + 1, 500))]
    assert len(others) == 500 - SHOWN
    drawn_charts = []
    draw = chipper.report.svg.draw_chart
    monkeypatch.setattr(
        "chipper.report.charts.draw_chart", lambda name, *rest: drawn_charts.append(name) or draw(name, *rest)
    )
    write_report(workdir, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert sum(name.startswith("run-") for name in drawn_charts) == SHOWN
    assert "The newest 12 runs are shown. Not shown: run-0001, run-0002," in page
    assert "and 438 more." in page
    assert "<b>500</b>" in page
