"""OpenMP's threads do not spin long, unless the user says how they wait."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("said", "spins"),
    [({}, "1000"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
    ids=["nothing said", "a policy"],
)
def test_it_is_said_before_openmp_is_loaded(said: dict[str, str], spins: str) -> None:
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import chipper.detection, torch"
    environment = {**clean, **said, "OMP_DISPLAY_ENV": "VERBOSE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    found = re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)
    if not found:
        pytest.skip("torch comes with another OpenMP than GNU's here")
    assert set(found) == {spins}
