"""chipper.proposals.selective_search: proposals without training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from chipper.cli.main import main
from chipper.coco.reading import read_images
from chipper.errors import DependencyError, ImageError
from chipper.evaluation.scores import evaluate_proposals
from chipper.manifest.workdir import Workdir
from chipper.parallel.progress import Monitor
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


def test_without_opencv(own_drawn: Any, monkeypatch: pytest.MonkeyPatch, is_one_line: Any) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DependencyError) as caught:
        selective_search(read_images(own_drawn.coco), own_drawn.images, 50, workers=Workers(1))
    assert "selective-search]" in is_one_line(caught.value)
