"""The documents agree with the code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from architecture import modules

from chipper.api.__main__ import document as api
from chipper.cli.__main__ import document as commands
from chipper.schemas.__main__ import document

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"))]


def test_formats_page_is_made_from_the_schemas() -> None:
    assert (ROOT / "docs" / "formats.md").read_text() == document()


def test_api_page_is_made_from_the_public_names() -> None:
    assert (ROOT / "docs" / "api.md").read_text() == api()


def test_commands_page_is_made_from_the_commands() -> None:
    assert (ROOT / "docs" / "commands.md").read_text() == commands()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    # without network access, if the system allows that
    alone = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode == 0:
        words = [*alone, *words]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_page_and_fetches_nothing(site: Path) -> None:
    for page in PAGES[1:]:
        html = (site / f"{page.stem}.html").read_text()
        assert f"{page.stem}.html" in (site / "index.html").read_text()  # the navigation leads there
        fetched = re.findall(r"""<(?:link|script|img|iframe)\b[^>]*?(?:href|src)=["']?(https?:[^"' >]+)""", html)
        assert [url for url in fetched if not url.startswith("https://squidfunk")] == []
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:|@import ['\"]?https?:", style.read_text())


def test_the_site_can_be_searched(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    assert any("valid range" in entry["text"] for entry in index["docs"])


def test_readme_has_the_four_lines() -> None:
    lines = [
        "chipper build-positives coco.json --scales 512,1.667,3",
        "chipper mine-negatives --proposals rpn.pkl",
        "chipper export-shards",
        "chipper train --shards",
    ]
    assert "\n".join(f"    {line}" for line in lines) in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_files_and_modules_that_a_page_names_are_there(page: Path) -> None:
    """Files of this repository, and the modules in brackets behind a title, like [`mining.labels`, `coco.masks`]."""
    text = page.read_text()
    for name in re.findall(r"`((?:chipper|cli|schemas|tests|benchmarks|docs|\.ci)/[\w./-]+\.\w+)`", text):
        assert (ROOT / name).exists(), name
    for title in re.findall(r"^#+ .*\[(`.+`)\]$", text, re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", title):
            assert f"chipper.{name}" in modules(), name
