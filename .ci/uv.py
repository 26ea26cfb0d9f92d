"""``python .ci/uv.py pip install ...`` runs uv in this environment with pip's settings for indexes, certificates and so on.

uv does not read the configuration files and variables of pip.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

# pip's setting, uv's variable, and the separator of several values in it
SAME = (
    ("index-url", "UV_DEFAULT_INDEX", ""),
    ("extra-index-url", "UV_INDEX", " "),
    ("find-links", "UV_FIND_LINKS", ","),
    ("trusted-host", "UV_INSECURE_HOST", " "),
    ("cert", "SSL_CERT_FILE", ""),
    ("client-cert", "SSL_CLIENT_CERT", ""),
    ("proxy", "ALL_PROXY", ""),
    ("timeout", "UV_HTTP_TIMEOUT", ""),
    ("default-timeout", "UV_HTTP_TIMEOUT", ""),
)


def settings_of(listed: str) -> dict[str, str]:
    """The output of ``pip config list``, by name. A command section overrides the global one; a variable overrides both."""
    found = {}
    for section in ("global", "install", ":env:"):
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{section}."):
                found[name.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    return found


def variables(pip: dict[str, str]) -> dict[str, str]:
    """The environment variables that give uv the same settings."""
    told = {uv: between.join(pip[name].split()) for name, uv, between in SAME if pip.get(name)}
    # pip uses the best version of all indexes; uv by default uses the first index that has the package
    return {"UV_INDEX_STRATEGY": "unsafe-best-match", **told}


def main() -> None:
    """Replace this process by uv. uv's own variables override pip's settings."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    pip = settings_of(listed.stdout)
    only_links = ["--no-index"] if pip.get("no-index", "").lower() in ("1", "true", "yes", "on") else []
    uv = Path(sys.executable).with_name("uv")
    os.execve(uv, ["uv", *sys.argv[1:], *only_links], {**variables(pip), **os.environ, "VIRTUAL_ENV": sys.prefix})


if __name__ == "__main__":
    main()
