"""The documents say what is so."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from chipper.cli.main import COMMANDS, main
from chipper.schemas.__main__ import document

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_formats_page_is_made_from_the_schemas() -> None:
    assert (ROOT / "docs" / "formats.md").read_text() == document()


def test_readme_has_the_four_lines() -> None:
    lines = [
        "chipper build-positives coco.json --scales 512,1.667,3",
        "chipper mine-negatives --proposals rpn.pkl",
        "chipper export-shards",
        "chipper train --shards",
    ]
    assert "\n".join(f"    {line}" for line in lines) in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_parses(page: Path) -> None:
    """Command and options of each line that starts with chipper are known ones."""
    for line in re.findall(r"^ {4}chipper (.+?)(?: +#.*)?$", page.read_text(), re.MULTILINE):
        name, *words = line.split()
        assert name in COMMANDS, line
        context = click.Context(main, info_name="chipper")
        command = main.get_command(context, name)
        assert command is not None
        command.make_context(name, words, parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
