"""chipper.proposals.selective_search: proposals without training."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from chipper.cli.main import main
from chipper.coco.reading import read_images
from chipper.columns import Proposals
from chipper.errors import DependencyError, ImageError
from chipper.evaluation.scores import evaluate_proposals
from chipper.manifest.workdir import Workdir
from chipper.parallel.progress import SILENT, Monitor
from chipper.parallel.workers import Workers
from chipper.proposals.selective_search import selective_search


def test_a_bright_square_is_proposed_where_it_lies_at_any_size(tmp_path: Path, write_coco: Any) -> None:
    for k, size in enumerate(((300, 200), (2000, 1500))):
        pixels = np.full((size[1], size[0], 3), 90, np.uint8)
        pixels[size[1] // 4 : size[1] // 2, size[0] // 2 : 3 * size[0] // 4] = (250, 40, 40)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
        images = [{"id": 5, "file_name": f"{k}.png", "width": size[0], "height": size[1]}]
        coco = write_coco(tmp_path / str(k), images=images, annotations=[], categories=[{"id": 1, "name": "x"}])
        found = selective_search(read_images(coco), tmp_path, 100, workers=Workers(1))
        wanted = np.array([size[0] / 2, size[1] / 4, 3 * size[0] / 4, size[1] / 2])
        assert np.abs(found.box - wanted).max(axis=1).min() <= 2 * max(1, max(size) / 640)
        assert set(found.image_id.tolist()) == {5}
        assert found.score.max() == 1
        assert found.score.min() > 0


def test_any_number_of_workers_and_a_bad_image(own_drawn: Any) -> None:
    images = read_images(own_drawn.coco)
    (own_drawn.images / own_drawn.names[3]).write_bytes(b"no image")
    warnings: list[str] = []

    class Listening(Monitor):
        def warn(self, message: str) -> None:
            warnings.append(message)

    one = selective_search(images, own_drawn.images, 50, workers=Workers(1), monitor=Listening())
    assert len(warnings) == 1
    assert own_drawn.names[3] in warnings[0]
    two = selective_search(images, own_drawn.images, 50, workers=Workers(2))
    np.testing.assert_array_equal(one.box, two.box)
    np.testing.assert_array_equal(one.image_id, two.image_id)
    assert np.unique(one.image_id, return_counts=True)[1].max() <= 50
    assert set(one.image_id.tolist()) <= set(images.image_id.tolist()) - {int(images.image_id[3])}
    for name in own_drawn.names:
        (own_drawn.images / name).unlink()
    with pytest.raises(ImageError, match="none of the"):
        selective_search(images, own_drawn.images, 50, workers=Workers(1))


def test_the_command_makes_what_mine_negatives_reads(own_drawn: Any, tmp_path: Path, build: Any) -> None:
    workdir: Workdir = build(own_drawn.coco, tmp_path / "chips", image_dir=own_drawn.images)
    out = tmp_path / "search.pkl"
    words = [
        "propose",
        "--method",
        "selective-search",
        "--out",
        str(out),
        "--workdir",
        str(workdir.path),
        "--jobs",
        "1",
    ]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    mined = CliRunner().invoke(main, ["mine-negatives", "--proposals", str(out), "--workdir", str(workdir.path)])
    assert mined.exit_code == 0, mined.output
    assert 0 < evaluate_proposals(own_drawn.coco, out)["AR1000"] <= 1


def test_it_goes_on_after_a_stop(own_drawn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chipper.proposals.selective_search._TOGETHER", 2)
    images, out, saved = read_images(own_drawn.coco), tmp_path / "search.pkl", list[Proposals]()

    class Stopping(Monitor):
        done = 0

        @contextmanager
        def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
            def advance(count: int) -> None:
                self.done += count
                if self.done >= 4:
                    raise KeyboardInterrupt

            yield advance

    def run(limit: int = 50, monitor: Monitor = SILENT) -> Proposals:
        return selective_search(
            images, own_drawn.images, limit, workers=Workers(1), out=out, save=saved.append, monitor=monitor
        )

    whole = selective_search(images, own_drawn.images, 50, workers=Workers(1))
    with pytest.raises(KeyboardInterrupt):
        run(monitor=Stopping())
    assert saved == []
    left = (tmp_path / "search.pkl.partial").read_bytes()
    for name in own_drawn.names[:4]:  # it does not look at these again
        (own_drawn.images / name).rename(own_drawn.images / f"{name}.gone")
    again = run()
    for column in ("image_id", "box", "score"):
        np.testing.assert_array_equal(getattr(again, column), getattr(whole, column))
    assert saved == [again]
    assert [path.name for path in tmp_path.glob("search*")] == []
    for name in own_drawn.names[:4]:
        (own_drawn.images / f"{name}.gone").rename(own_drawn.images / name)
    (tmp_path / "search.pkl.partial").write_bytes(left)
    fewer = run(30)
    assert len(fewer) < len(whole)  # what was found with another limit is not used
    assert np.unique(fewer.image_id, return_counts=True)[1].max() == 30


def test_without_opencv(own_drawn: Any, monkeypatch: pytest.MonkeyPatch, is_one_line: Any) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DependencyError) as caught:
        selective_search(read_images(own_drawn.coco), own_drawn.images, 50, workers=Workers(1))
    assert "selective-search]" in is_one_line(caught.value)
