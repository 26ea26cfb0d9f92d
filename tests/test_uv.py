""".ci/uv.py: uv gets the indexes and certificates of pip."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

LISTED = """\
:env:.cert='/env.pem'
global.cert='/global.pem'
global.extra-index-url='\\nhttps://one/simple\\nhttps://two/simple'
global.timeout='60'
install.find-links='/wheels /more'
install.timeout='90'
list.format='columns'
"""


@pytest.fixture(scope="module")
def uv() -> ModuleType:
    path = Path(__file__).parents[1] / ".ci" / "uv.py"
    spec = importlib.util.spec_from_file_location("uv_as_pip", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_settings_become_variables(uv: ModuleType) -> None:
    pip = uv.settings_of(LISTED)
    assert (pip["cert"], pip["timeout"]) == ("/env.pem", "90")
    assert uv.variables(pip) == {
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INDEX": "https://one/simple https://two/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "SSL_CERT_FILE": "/env.pem",
        "UV_HTTP_TIMEOUT": "90",
    }


def test_no_settings(uv: ModuleType) -> None:
    assert uv.variables(uv.settings_of("")) == {"UV_INDEX_STRATEGY": "unsafe-best-match"}
