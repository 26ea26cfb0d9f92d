"""``python -m tests.bad`` runs every case and prints docs/bad-inputs.md; exit code 1 if any was not met as it must be."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from . import GROUPS
from .case import Case, Outcome, faults
from .starts import prepare

INTRODUCTION = """# Bad inputs, and what chipper says

Made by `python -m tests.bad` from a real run; a test keeps the list of cases up to date, and `tests/test_bad.py` runs each. A case is
a small data set with one thing wrong and the command line that meets it (builders in `tests/bad/`). What is asked of each: the exit
code (0 done, 1 an error, 2 wrong usage, 3 done with skipped items); one line of error that names the file or option and has a cure; no
traceback, no warning of a library; and every file that was there before, byte for byte.
"""
LONGEST = 150  # characters of a line of error in the table


def _cell(text: str, folder: Path) -> str:
    """``text`` fit for a cell of a Markdown table."""
    text = text.replace(f"{folder}/", "").replace(str(folder), ".").replace("|", "\\|").replace("<", "&lt;")
    text = text.removeprefix("chipper: error: ")
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 40]} ... {text[-35:]}"
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _row(case: Case, outcome: Outcome, folder: Path) -> str:
    says = ", ".join(text for text in case.says if text)
    wanted = f"{case.code}: {says}" if says else str(case.code)
    got = f"{outcome.code}: {outcome.line}" if outcome.line else str(outcome.code)
    return f"| {case.name} | `{_cell(case.words, folder)}` | {_cell(wanted, folder)} | {_cell(got, folder)} |"


def main() -> int:
    """Run all cases; the page goes to standard output, what is wrong to standard error."""
    lines, good, total = [], 0, 0
    with tempfile.TemporaryDirectory() as place:
        starts = prepare(Path(place).resolve() / "starts")
        for title, cases in GROUPS.items():
            lines += [f"## {title}", "", "| case | chipper | expected | got |", "|---|---|---|---|"]
            for case in cases:
                folder = Path(place).resolve() / "w"
                shutil.copytree(starts[case.start], folder, symlinks=True)
                outcome, found = faults(case, folder)
                total, good = total + 1, good + (not found)
                if found:
                    print(f"{case.name}: {'; '.join(found)}\n{outcome.err}", file=sys.stderr)
                lines.append(_row(case, outcome, folder))
                shutil.rmtree(folder)
            lines.append("")
    print(INTRODUCTION)
    print(f"**{good} of {total} as they must be, and no traceback.**\n")
    print("\n".join(lines))
    return 0 if good == total else 1


if __name__ == "__main__":
    sys.exit(main())
