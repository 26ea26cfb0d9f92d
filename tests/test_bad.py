"""Every bad input of tests/bad through the real command line: the exit code, one line that says what and where, nothing lost.

Commands run in this process, each in a folder of its own; docs/bad-inputs.md counts them and shows some.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from bad import GROUPS
from bad.case import Case, faults
from bad.page import PAGE, page
from bad.starts import prepare

CASES = [case for cases in GROUPS.values() for case in cases]


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("torch", reason="the folder of a trained run needs torch")
    return prepare(tmp_path_factory.mktemp("starts"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(case: Case, starts: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "w"
    shutil.copytree(starts[case.start], folder, symlinks=True)
    outcome, found = faults(case, folder)
    assert not found, f"chipper {case.words}: {'; '.join(found)}\n{outcome.err}"


def test_names_are_unique() -> None:
    assert [name for name, number in Counter(case.name for case in CASES).items() if number > 1] == []


def test_page_is_made_from_the_cases(starts: dict[str, Path], tmp_path: Path) -> None:
    assert PAGE.read_text() == page(starts, tmp_path / "w")
