"""docs/bad-inputs.md, which counts the cases and shows some of them, and the table of all of them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from . import GROUPS
from .case import Case, Outcome, faults

PAGE = Path(__file__).parents[2] / "docs" / "bad-inputs.md"
ANSWERS = {2: "wrong usage (exit code 2)", 1: "an error (1)", 3: "done, items left out (3)", 0: "done (0)"}

# those of each group that the page shows: answers in chipper's own words, which are the same with any version of a library
EXAMPLES = {
    "Options": ("plan --chip-size: 15", "plan --jobs: fraction", "build-positives --stride: text"),
    "Paths and environment variables": (
        "demo --out: empty",
        "preview --image-dir: a file",
        "export-shards --image-dir: a URL of nothing",
    ),
    "Annotations": (
        "image record: a size that is a fraction",
        "annotations, plan: a list",
        "annotations, plan: a device that never ends",
    ),
    "Other formats": (
        "VOC: a box of NaN, stopping there",
        "YOLO: a polygon with half a point, stopping there",
        "VisDrone: no image",
    ),
    "Images": ("image: missing", "image: a link that leads out", "images: propose with none"),
    "Images by windows": ("windows: --bands 1,,2", "windows: --stretch 2-200", "windows, stopping there: zero bytes"),
    "Proposals": (
        "evil pickle: os.system, GLOBAL",
        "pickle: rows of other lengths",
        "pickle: a list that holds itself",
    ),
    "Workdirs": (
        "labels table: of other options",
        "chips table: a version of the future",
        "workdir: only a run in it",
    ),
    "Shards": (
        "shard, verify: a tar with a byte more",
        "record, export-coco: no JSON",
        "index, train: a negative offset",
    ),
    "Runs, checkpoints, weights": (
        "evil checkpoint, predict: os.system, GLOBAL",
        "checkpoint, predict: another model",
        "weights: a folder",
    ),
    "Detections": ("detections: missing", "detections: a category that is not there"),
    "Config files, reports, completion": ("config: a word", "preview: a scale that there is not"),
}

INTRODUCTION = """# Bad inputs, and what chipper answers

Made by `python -m tests.bad`; a test keeps it up to date. A *case* is a small data set with one thing wrong and the command line that
meets it (`tests/bad/`). `tests/test_bad.py` runs every case and checks

- the exit code;
- one line of error that names the file or option and says what to do about it;
- no traceback, and no warning of a library;
- every file that was there before: unchanged, byte for byte;
- that no code inside a file was run.

`python -m tests.bad --table build/bad-inputs.md` runs all cases and writes a table with one row for each: what was wrong, the
command, the expected answer, and the answer.
"""


def page(starts: dict[str, Path], folder: Path) -> str:
    """The page; its examples are run in ``folder``, which must not exist, on copies of ``starts``."""
    lines = [INTRODUCTION, _row(["kind of input", "cases", *ANSWERS.values()]), "|---|---|---|---|---|---|"]
    every = [case for cases in GROUPS.values() for case in cases]
    for title, cases in [*GROUPS.items(), ("**all**", every)]:
        codes = Counter(case.code for case in cases)
        assert codes.keys() <= ANSWERS.keys()
        lines.append(_row([title, f"{len(cases):,}", *(f"{codes[code]:,}" if codes[code] else "" for code in ANSWERS)]))
    lines += [
        "",
        "*Done* means that the input is unusual and can be used, like an image record that no annotation belongs to.",
    ]
    for title, cases in GROUPS.items():
        lines += ["", f"## {title}", "", "| case | command | answer |", "|---|---|---|"]
        named = {case.name: case for case in cases}
        for case in (named[name] for name in EXAMPLES[title]):
            outcome, _ = _run(case, starts, folder)
            # where the command goes on, the line of what it prints that names what it left out
            printed = next((line for line in (outcome.out + outcome.err).splitlines() if case.says[0] in line), "")
            said = _line(outcome) or " ".join(printed.split())
            lines.append(_row([case.name, _command(case, folder), _cell(f"{outcome.code}: {said}", folder)]))
    return "\n".join([*lines, ""])


def table(starts: dict[str, Path], folder: Path) -> Iterator[tuple[str, str]]:
    """The lines of the table of all cases, each with what was not as it must be."""
    for title, cases in GROUPS.items():
        for line in ("", f"## {title}", "", "| case | command | expected | got |", "|---|---|---|---|"):
            yield line, ""
        for case in cases:
            outcome, found = _run(case, starts, folder)
            wanted = f"{case.code}: {', '.join(text for text in case.says if text)}".removesuffix(": ")
            got = f"{outcome.code}: {_line(outcome)}".removesuffix(": ")
            row = _row([case.name, _command(case, folder), _cell(wanted, folder), _cell(got, folder)])
            yield row, f"{case.name}: {'; '.join(found)}\n{outcome.err}" if found else ""


def _run(case: Case, starts: dict[str, Path], folder: Path) -> tuple[Outcome, list[str]]:
    shutil.copytree(starts[case.start], folder, symlinks=True)
    try:
        return faults(case, folder)
    finally:
        shutil.rmtree(folder)


def _line(outcome: Outcome) -> str:
    return outcome.line.removeprefix("chipper: error: ")


def _command(case: Case, folder: Path) -> str:
    return f"`chipper {_cell(case.words, folder)}`"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str, folder: Path) -> str:
    """``text`` fit for a cell of a Markdown table."""
    text = text.replace(f"{folder}/", "").replace(str(folder), ".").replace("|", "\\|").replace("<", "&lt;")
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
