"""``python .ci/uv.py pip install ...`` runs uv on this environment, with the indexes, certificates, ... that pip is told of.

pip has its own files and variables for them, which uv does not read.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

# pip's setting, uv's variable, and what stands between several values there
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
    """What ``pip config list`` printed, by name; the section of a command stands over the global one, a variable over both."""
    found = {}
    for section in ("global", "install", ":env:"):
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{section}."):
                found[name.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    return found


def variables(pip: dict[str, str]) -> dict[str, str]:
    """Variables of the environment that tell uv the same."""
    told = {uv: between.join(pip[name].split()) for name, uv, between in SAME if pip.get(name)}
    # pip takes the best version of all indexes, uv by itself the first index that has the package
    return {"UV_INDEX_STRATEGY": "unsafe-best-match", **told}


def main() -> None:
    """Become uv. Its own variables stand over pip's settings."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    pip = settings_of(listed.stdout)
    only_links = ["--no-index"] if pip.get("no-index", "").lower() in ("1", "true", "yes", "on") else []
    uv = Path(sys.executable).with_name("uv")
    os.execve(uv, ["uv", *sys.argv[1:], *only_links], {**variables(pip), **os.environ, "VIRTUAL_ENV": sys.prefix})


if __name__ == "__main__":
    main()
