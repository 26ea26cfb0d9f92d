"""The list of planted faults fits the code; `make faults` plants them."""

from __future__ import annotations

import ast

import pytest
from faults import FAULTS, ROOT, Fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_be_planted(fault: Fault) -> None:
    source = (ROOT / fault.path).read_text()
    assert source.count(fault.old) == 1
    changed = source.replace(fault.old, fault.new)
    ast.parse(changed)
    assert changed != source
    assert all((ROOT / path).is_file() for path in fault.seen_by.split())


def test_names_are_unique() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
