"""The page of a report in a browser: nothing is loaded, nothing sticks out, everything is seen. Screenshots are kept where
CHIPPER_SCREENSHOTS says.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chipper.demo.data import DemoOptions, draw_split
from chipper.manifest.workdir import Workdir
from chipper.report.page import SECTIONS, write_report

pytest.importorskip("matplotlib", reason="a report needs matplotlib")
sync_api = pytest.importorskip(
    "playwright.sync_api", reason="a browser is driven by playwright, which is not installed"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to open the page with")

STICKS_OUT = """
() => [...document.querySelectorAll('body *')].filter(e => {
  const box = e.getBoundingClientRect()
  return box.width && (box.right > innerWidth + 1 || box.left < -1) && !e.closest('.scroll')
}).map(e => e.tagName + ' ' + e.textContent.slice(0, 60))
"""
CONTRAST = """
() => {
  const light = c => {
    const v = c.match(/[0-9.]+/g).slice(0, 3).map(n => n / 255).map(n => n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4)
    return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]
  }
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor
      if (c != 'rgba(0, 0, 0, 0)') return c
    }
    return 'rgb(255, 255, 255)'
  }
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), low = []
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement
    if (!walk.currentNode.textContent.trim() || !e.getClientRects().length || e.closest('style')) continue
    const style = getComputedStyle(e), ink = light(e.closest('svg') ? style.fill : style.color), page = light(behind(e))
    const ratio = (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05)
    if (ratio < 4.5) low.push(ratio.toFixed(1) + ' ' + walk.currentNode.textContent.slice(0, 40))
  }
  return low
}
"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory, build: Any, mine: Any, export: Any, write_run: Any) -> Path:
    """The report of a drawn data set with everything that a page can have."""
    import json
    import pickle

    import numpy as np

    folder = tmp_path_factory.mktemp("browser")
    draw_split(folder / "train", "train", 24, DemoOptions())
    content = json.loads((folder / "train" / "coco.json").read_text())
    content["annotations"].append({"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]})
    (folder / "train" / "coco.json").write_text(json.dumps(content))
    rng = np.random.default_rng(0)
    boxes = [rng.uniform(0, 400, (300, 2)) for _ in content["images"]]
    arrays = [np.concatenate([b, b + rng.uniform(8, 40, b.shape), rng.random((300, 1))], axis=1) for b in boxes]
    (folder / "rpn.pkl").write_bytes(pickle.dumps([a[a[:, 2:4].max(axis=1) < 478] for a in arrays]))
    workdir: Workdir = build(folder / "train" / "coco.json", folder / "chips")
    mine(workdir, folder / "rpn.pkl")
    (folder / "train" / "images" / "train_00003.jpg").write_bytes(b"no image")
    export(workdir, chips_per_shard=20)
    write_run(workdir, "detector", steps=900)
    write_run(workdir, "a-run-with-a-very-long-name-that-goes-on-and-on-and-on-and-on", evaluated=False)
    write_report(workdir, folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "light"), (1280, "dark"), (400, "dark")])
def test_the_page(browser: Any, page_file: Path, tmp_path: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    shots = Path(os.environ.get("CHIPPER_SCREENSHOTS") or tmp_path)
    shots.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=shots / f"report-{width}-{scheme}.png", full_page=True)
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(STICKS_OUT) == []
    assert page.evaluate(CONTRAST) == []
    images = page.evaluate("[...document.images].map(i => [i.naturalWidth, i.alt])")
    assert len(images) == 32
    assert all(natural > 0 and alt for natural, alt in images)
    headings = page.evaluate("[...document.querySelectorAll('h2')].map(h => [h.innerText, h.checkVisibility()])")
    assert headings == [[heading, True] for _, heading, _ in SECTIONS]
    charts = page.evaluate(
        "[...document.querySelectorAll('svg.chart')].map(s => [s.checkVisibility(), s.getBoundingClientRect().width])"
    )
    shown = [size for visible, size in charts if visible]
    assert len(shown) == len(charts) / 2
    assert min(shown) > (600 if width > 640 else 300)
    letters = "[...document.querySelectorAll('svg.chart text')].filter(t => t.checkVisibility())"
    heights = page.evaluate(f"{letters}.map(t => t.getBoundingClientRect()).map(b => Math.min(b.width, b.height))")
    assert min(height for height in heights if height) > 5, "letters can be read, at their own size"
    page.close()


def test_tables_can_be_scrolled_by_keyboard(browser: Any, page_file: Path) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 900})
    page.goto(page_file.as_uri())
    wide = page.evaluate("[...document.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth).length")
    assert wide > 0
    page.evaluate("[...document.querySelectorAll('.scroll')].find(s => s.scrollWidth > s.clientWidth).focus()")
    page.keyboard.press("ArrowRight")
    for _ in range(100):  # it moves in steps; the page itself lets no other script wait for it
        if page.evaluate("document.activeElement.scrollLeft") > 0:
            break
        page.wait_for_timeout(100)
    assert page.evaluate("document.activeElement.scrollLeft") > 0
    page.close()
