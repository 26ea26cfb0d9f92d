"""A journal keeps what was found, whichever byte a run was killed at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chipper.errors import StorageError
from chipper.storage.journal import Journal

FOUND: dict[int, list[dict[str, Any]]] = {
    7: [{"score": 0.5, "bbox": [1.25, 2, 3, 4]}],
    3: [],
    900: [{"score": 1.0}] * 2,
}


def written(path: Path, belongs_to: str = "a") -> Path:
    with Journal(path, belongs_to) as journal:
        for image_id, found in FOUND.items():
            journal.add(image_id, found)
    return path


def test_another_run_of_the_same_kind_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path / "journal")
    with Journal(path, "a") as journal:
        assert journal.found == FOUND
        journal.add(5, [{"score": 0.1}])
    with Journal(path, "a") as journal:
        assert journal.found == {**FOUND, 5: [{"score": 0.1}]}


def test_cut_at_any_byte_it_holds_whole_lines_and_goes_on(tmp_path: Path) -> None:
    whole = written(tmp_path / "journal").read_bytes()
    ends = [k + 1 for k, byte in enumerate(whole) if byte == ord("\n")]  # of the first line, and of each image
    for cut in range(len(whole) + 1):
        path = tmp_path / "cut"
        path.write_bytes(whole[:cut])
        with Journal(path, "a") as journal:
            kept = max(sum(end <= cut for end in ends) - 1, 0)
            assert list(journal.found.items()) == list(FOUND.items())[:kept]
            for image_id in list(FOUND)[kept:]:
                journal.add(image_id, FOUND[image_id])
        assert path.read_bytes() == whole


@pytest.mark.parametrize("left", [b"\n", b"not JSON\n", b"\xff" * 100, b'[{"image_id":1}]', b'{"belongs":1}'])
def test_a_file_of_somebody_else_is_refused_and_stays(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(left)
    with pytest.raises(StorageError, match="not written by chipper; move or rename it"), Journal(path, "a"):
        pass
    assert path.read_bytes() == left


@pytest.mark.parametrize("left", [b"", b'{"belo', b'{"belongs_to":"b"}\n[7,[]]\n', b'{"belongs_to":"a'])
def test_what_is_not_of_this_run_is_replaced(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(left)
    with Journal(path, "a") as journal:
        assert journal.found == {}
        assert path.read_bytes() == b'{"belongs_to":"a"}\n'
    assert not path.exists(), "there is nothing to go on with"


@pytest.mark.parametrize("line", [b"[7]\n", b'{"a":1}\n', b'["7",[]]\n', b"[7,[1]]\n", b"[7,[]\n", b"\xff\n"])
def test_a_bad_line_and_all_after_it_are_cut_off(tmp_path: Path, line: bytes) -> None:
    path = written(tmp_path / "journal")
    whole = path.read_bytes()
    path.write_bytes(whole + line + b"[8,[]]\n")
    with Journal(path, "a") as journal:
        assert journal.found == FOUND
    assert path.read_bytes() == whole


def test_without_a_file_it_only_remembers(tmp_path: Path) -> None:
    with Journal(None, "a") as journal:
        journal.add(1, [])
        journal.remove()
    assert journal.found == {1: []}
