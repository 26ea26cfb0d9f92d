"""``python -m tests.bad`` writes docs/bad-inputs.md; with ``--table FILE`` it runs every case and writes a table of them.

The exit code is 1 if any case of the table was not met as it must be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from .page import PAGE, page, table
from .starts import prepare


def main() -> int:
    """Write the page or the table; what is wrong goes to standard error."""
    parser = argparse.ArgumentParser(prog="python -m tests.bad")
    parser.add_argument("--table", type=Path, metavar="FILE")
    file = parser.parse_args().table
    with tempfile.TemporaryDirectory() as place:
        here = Path(place).resolve()
        starts, folder = prepare(here / "starts"), here / "w"
        if file is None:
            PAGE.write_text(page(starts, folder))
            return 0
        lines, wrong = ["# Bad inputs, and what chipper answers"], 0
        for line, fault in table(starts, folder):
            lines.append(line)
            if fault:
                wrong += 1
                print(fault, file=sys.stderr)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*lines, ""]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
