"""chipper.report.page: one page that needs nothing else, from a workdir at any stage, always the same."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from chipper.cli.main import main
from chipper.errors import DependencyError, StorageError, WorkdirError
from chipper.manifest.tables import Manifest
from chipper.manifest.workdir import Workdir
from chipper.parallel.progress import Monitor
from chipper.report.collect import collect
from chipper.report.findings import findings
from chipper.report.page import SECTIONS, write_report
from chipper.shards.writing import receipt_path, tar_path

pytest.importorskip("matplotlib", reason="a report needs matplotlib")

_OPEN = ("img", "meta", "br", "link", "input")


class Page(HTMLParser):
    """Checks that elements are closed in order, and keeps headings, addresses, ids and words."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _OPEN:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, tag
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.stack and self.stack[-1] in ("h1", "h2"):
            self.headings.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def made(workdir: Workdir, out: Path) -> Page:
    """The page, after a look at what every page promises."""
    write_report(workdir, out)
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert page.headings[1:] == [heading for _, heading, _ in SECTIONS]
    names = [name for name, _ in page.tags]
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(names)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for name, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on")]
        if name == "img":
            assert attributes["alt"]
            assert str(attributes["src"]).startswith("data:image/jpeg;base64,")
        if name == "a":
            assert str(attributes["href"]).removeprefix("#") in ids
        if name == "svg":
            assert attributes["aria-label"]
    assert not re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:|#)[a-z]+:", text.replace("xmlns", ""))
    assert "@import" not in text
    assert "nan" not in re.findall(r"[a-z]+", page.text)
    return page


def test_at_every_stage(
    own_drawn: Any, tmp_path: Path, build: Any, mine: Any, export: Any, write_run: Any, hashes: Any
) -> None:
    workdir, out = build(own_drawn.coco, own_drawn.folder / "chips"), tmp_path / "report.html"
    before = hashes(workdir.path)
    page = made(workdir, out)
    assert hashes(workdir.path) == before, "it only reads"
    assert "None were mined." in page.text
    assert "Nothing was exported" in page.text
    assert "sample chips come from the shards" in page.text
    assert "None yet; chipper train --shards starts one." in page.text
    mine(workdir, own_drawn.proposals, min_proposals_finest=5, min_proposals=5)
    page = made(workdir, out)
    assert "proposals of rpn.pkl" in page.text
    export(workdir)
    page = made(workdir, out)
    assert "are complete" in page.text
    images = [attributes for name, attributes in page.tags if name == "img"]
    assert len(images) == 32
    for attributes in images:
        data = base64.b64decode(str(attributes["src"]).partition(",")[2])
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == (int(str(attributes["width"])), int(str(attributes["height"])))
    write_run(workdir, "detector")
    page = made(workdir, out)
    assert "average precision, mean over IoU 0.5 to 0.95 31.0" in page.text
    assert "Nothing stands out." in page.text


def test_the_same_workdir_gives_the_same_bytes(whole: Workdir, tmp_path: Path) -> None:
    """Wherever it lies, and whenever it is made."""
    write_report(whole, tmp_path / "one.html")
    shutil.copytree(whole.path, tmp_path / "elsewhere" / "chips")
    for path in (tmp_path / "elsewhere").rglob("*"):
        os.utime(path, (1, 1))
    write_report(Workdir(tmp_path / "elsewhere" / "chips"), tmp_path / "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_parts_make_no_difference(
    drawn: Any, tmp_path: Path, build: Any, mine: Any, export: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = []
    for number, size in enumerate((3, 100)):
        monkeypatch.setattr("chipper.mining.parts.PART_IMAGES", size)
        folder = tmp_path / f"{number}" / "chips"
        workdir = build(drawn.coco, folder)
        mine(workdir, drawn.proposals, min_proposals_finest=5, min_proposals=5)
        assert workdir.dataset().parts == (3 if size == 3 else 1)
        pages.append(made(workdir, tmp_path / f"{number}.html").text)
    assert pages[0] == pages[1]


def test_one_part_is_read_at_a_time(drawn: Any, tmp_path: Path, build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chipper.mining.parts.PART_IMAGES", 2)
    workdir = build(drawn.coco, tmp_path / "chips")
    order: list[str] = []
    for name in ("images", "labels"):
        read = getattr(Manifest, name)

        def spy(self: Manifest, part: int, *rest: Any, name: str = name, read: Any = read) -> Any:
            order.append(f"{name} {part}")
            return read(self, part, *rest)

        monkeypatch.setattr(Manifest, name, spy)
    collect(workdir, Monitor())
    assert order == [f"{name} {part}" for part in range(4) for name in ("images", "labels")]


# --- what users' files may hold ---

NASTY = ("<script>alert(1)</script>.png", "a\"b' onerror='x.png", "größe 猫 犬.png", "&amp;<!--.png", "</title><b>.png")


@pytest.fixture
def nasty(tmp_path: Path, build: Any, mine: Any, export: Any, write_run: Any) -> Workdir:
    """File names and classes that would break a careless page, and lost images; 120 categories."""
    import pickle

    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(1)
    images, annotations, proposals = [], [], []
    for k, name in enumerate(NASTY):
        if "/" not in name:
            Image.fromarray(rng.integers(0, 255, (300, 400, 3)).astype(np.uint8)).save(folder / name)
        images.append({"id": k + 1, "file_name": name, "width": 400, "height": 300})
        for j in range(30):
            side = float(rng.uniform(6, 150))
            x, y = float(rng.uniform(0, 400 - side)), float(rng.uniform(0, 300 - side))
            annotations.append({"id": len(annotations) + 1, "image_id": k + 1, "category_id": (7 * j + k) % 121})
            annotations[-1]["bbox"] = [x, y, side, side]
        corner = rng.uniform(0, 250, (60, 2))
        proposals.append(np.concatenate([corner, corner + 15, np.ones((60, 1))], axis=1))
    annotations.append({"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5]})
    annotations.append({"id": 5000, "image_id": 1, "category_id": 1, "bbox": [0, 0, -5, 5]})
    categories = [{"id": k, "name": f"<b onclick='x'>class {k}</b> 猫"} for k in range(121)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "<i>coco.json").write_text(json.dumps(content))
    (folder / "<u>rpn.pkl").write_bytes(pickle.dumps(proposals))
    workdir: Workdir = build(folder / "<i>coco.json", folder / "chips", image_dir=folder)
    mine(workdir, folder / "<u>rpn.pkl", min_proposals_finest=5, min_proposals=5)
    (folder / NASTY[3]).unlink()
    export(workdir)
    write_run(workdir, "<script>run")
    return workdir


def test_names_stay_text(nasty: Workdir, tmp_path: Path) -> None:
    page = made(nasty, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "<b" not in text.replace("<body", "").replace("<b>", "", text.count("<li><b>"))
    for name in (NASTY[0], NASTY[1], NASTY[2]):
        assert any(name in word for word in page.words), name
    assert page.headings[0] == "Chips of <i>coco.json"
    assert not {"i", "u"} & {name for name, _ in page.tags}
    assert "Run <script>run" not in text
    assert "box without area" in page.text


def test_hundreds_of_categories_are_cut(nasty: Workdir, tmp_path: Path) -> None:
    page = made(nasty, tmp_path / "report.html")
    assert "91 other categories" in page.text
    assert "91 more classes" in page.text


def test_what_is_worth_a_look(nasty: Workdir) -> None:
    report = collect(nasty, Monitor())
    found = " ".join(findings(report))
    assert "1 record of the annotation file could not be used" in found
    assert "could not be rendered" in found
    assert report.shards is not None
    assert report.shards.lost_images == len(report.shards.lost) > 0
    assert sum(chips for _, _, chips in report.shards.lost) == report.shards.lost_chips


def test_runs_that_are_worth_a_look(drawn: Any, tmp_path: Path, build: Any, write_run: Any) -> None:
    workdir = build(drawn.coco, tmp_path / "chips")

    def said() -> str:
        return " ".join(findings(collect(workdir, Monitor())))

    assert said() == ""
    folder = write_run(workdir, "detector")
    assert said() == ""
    kept = json.loads((folder / "evaluation.json").read_text())
    numbers = {"AP50": 0.0, "AP75": 0.0, "AR100": 0.0}
    kept["per_class"] = {
        "square": numbers | {"AP": 0.3},
        "block": numbers | {"AP": 0.004},
        "none": numbers | {"AP": -1},
    }
    (folder / "evaluation.json").write_text(json.dumps(kept))
    assert "Run detector finds almost nothing of 1 of 2 classes: block." in said()
    kept["numbers"]["AP"] = 0.001
    (folder / "evaluation.json").write_text(json.dumps(kept))
    assert "Run detector finds almost nothing: AP 0.1." in said()
    assert "of 2 classes" not in said()
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join(lines[:30]) + "\n")
    assert "Run detector is at step 30 of 40; if it was stopped, --resume continues it." in said()


def test_boxes_that_no_chip_covers(drawn: Any, tmp_path: Path, build: Any) -> None:
    workdir = build(drawn.coco, tmp_path / "chips", scales="512,3", valid_ranges="120:,:20")
    page = made(workdir, tmp_path / "report.html")
    counts = workdir.dataset().counts
    uncovered = counts["boxes"] - counts["boxes_covered"]
    assert uncovered > 5
    assert f"{uncovered:,} boxes are covered by no chip" in page.text
    assert re.search(rf"annotation in no valid range image \d+, annotation \d+: box .* {uncovered:,} ", page.text)


@pytest.mark.parametrize(
    "content",
    [
        {"bbox": [1, 1, 3, 3]},
        {"bbox": [0, 0, 60, 40]},
        {"bbox": [0, 0, 60, 40], "iscrowd": 1},
    ],
)
def test_one_image(tmp_path: Path, write_coco: Any, build: Any, export: Any, content: dict[str, Any]) -> None:
    """Scales without a chip, and no box at all."""
    coco = write_coco(
        tmp_path,
        images=[{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        annotations=[{"id": 1, "image_id": 1, "category_id": 1} | content],
        categories=[{"id": 1, "name": "x"}],
    )
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    workdir = build(coco, tmp_path / "chips")
    page = made(workdir, tmp_path / "report.html")
    assert ("There are no boxes" in page.text) == ("iscrowd" in content)
    assert "No chip at scale" in page.text
    if "iscrowd" not in content:
        export(workdir)
        made(workdir, tmp_path / "report.html")


def test_variants_and_a_scale_by_its_short_side(drawn: Any, tmp_path: Path, build: Any, export: Any) -> None:
    workdir = build(
        drawn.coco, tmp_path / "chips", scales="480:640,2", valid_ranges="60:,:90", variants=3, stride="40-50"
    )
    export(workdir)
    page = made(workdir, tmp_path / "report.html")
    assert "Figures are those of the first variant." in page.text
    assert "480:640" in page.text


# --- shards and runs that are not as they should be ---


@pytest.fixture
def own(whole: Workdir, tmp_path: Path) -> Workdir:
    shutil.copytree(whole.path, tmp_path / "own" / "chips")
    return Workdir(tmp_path / "own" / "chips")


def test_missing_and_damaged_shards(own: Workdir, tmp_path: Path) -> None:
    names = collect(own, Monitor()).shards
    assert names is not None
    first = sorted(path.name for path in own.shards.glob("positives-*.tar"))[0].removesuffix(".tar")
    receipt_path(own.shards, first).unlink()
    page = made(own, tmp_path / "report.html")
    assert f"1 shard is missing or incomplete: {first}." in page.text
    assert "1 shard is missing or incomplete." in page.text
    for path in own.shards.glob("negatives-*.tar"):
        path.write_bytes(bytes(path.stat().st_size))
    page = made(own, tmp_path / "report.html")
    assert "is damaged; delete the shard" in page.text
    for path in own.shards.glob("*.tar"):
        tar_path(own.shards, path.stem).unlink()
    page = made(own, tmp_path / "report.html")
    assert "They could not be read from the shards" in page.text
    (own.shards / "dataset.json").write_text("{")
    page = made(own, tmp_path / "report.html")
    assert "cannot be used" in page.text


def test_shards_and_runs_of_other_chips(own: Workdir, tmp_path: Path, drawn: Any, mine: Any) -> None:
    mine(own, drawn.proposals, min_proposals_finest=9, min_proposals=9)
    config = json.loads((own.runs / "detector" / "run.json").read_text()) | {"dataset_id": "another"}
    (own.runs / "detector" / "run.json").write_text(json.dumps(config))
    page = made(own, tmp_path / "report.html")
    assert "These shards contain other chips than the workdir" in page.text
    assert "Run detector was trained on other chips" in page.text


def test_odd_runs(own: Workdir, tmp_path: Path, write_run: Any) -> None:
    write_run(own, "empty", steps=0)
    write_run(own, "one", steps=1, evaluated=False)
    (write_run(own, "nan") / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\n{"step": 2, "loss": Infinity}\n')
    (write_run(own, "broken") / "run.json").write_text("{")
    (write_run(own, "slow", wanted="<b>") / "metrics.jsonl").write_text(
        "".join(f'{{"step": {k}, "total_steps": 9, "loss": 1, "data_wait": 0.6}}\n' for k in range(1, 9))
    )
    write_report(own, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "Run slow waits for data 60 % of the time." in text
    assert "Run broken: run.json cannot be read" in text
    Page(text)


# --- errors and the command ---


def test_no_workdir_no_place_no_matplotlib(
    whole: Workdir, tmp_path: Path, is_one_line: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WorkdirError, match="build-positives"):
        write_report(Workdir(tmp_path / "none"), tmp_path / "r.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        write_report(whole, tmp_path / "file" / "r.html")
    is_one_line(caught.value)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(DependencyError, match=re.escape("pip install 'sniper-chipper[report]'")):
        write_report(whole, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("name", ["skipped.parquet", "epochs/epoch-000.parquet", "labels/positive-00000.parquet"])
def test_a_missing_table_is_named(own: Workdir, tmp_path: Path, name: str, is_one_line: Callable[..., str]) -> None:
    for damage in (lambda p: p.write_bytes(b"PAR1"), lambda p: p.unlink()):
        damage(own.path / name)
        with pytest.raises(WorkdirError, match=Path(name).name) as caught:
            write_report(own, tmp_path / "r.html")
        is_one_line(caught.value)


def test_the_command(own: Workdir, tmp_path: Path) -> None:
    runner = CliRunner()
    words = ["report", "--workdir", str(own.path)]
    done = runner.invoke(main, [*words, "--dry-run"], catch_exceptions=False)
    assert "dry run: nothing written" in done.output
    assert not (own.path / "report.html").exists()
    done = runner.invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "worth a look" in done.output
    assert (own.path / "report.html").stat().st_size > 100_000
    done = runner.invoke(main, [*words, "--out", str(tmp_path / "r.html")], catch_exceptions=False)
    assert (tmp_path / "r.html").read_bytes() == (own.path / "report.html").read_bytes()
    preview = ["preview", "--workdir", str(own.path), "--count", "2", "--out", str(tmp_path / "pictures")]
    done = runner.invoke(main, [*preview, "--dry-run"], catch_exceptions=False)
    assert "dry run: nothing written" in done.output
    assert not (tmp_path / "pictures").exists()
