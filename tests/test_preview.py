"""chipper.preview: a picture for each image that can be opened, whatever its size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chipper.columns import POSITIVE
from chipper.drawing import IGNORED, SCALE_COLOURS, VALID, beside, draw_detections, draw_image, draw_sample
from chipper.errors import OptionError, ShardError, WorkdirError
from chipper.preview import preview
from chipper.progress import Monitor
from chipper.shards import tar_path
from chipper.workdir import Workdir


class Listener(Monitor):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def workdir(own_drawn: Any, build: Callable[..., Workdir]) -> Workdir:
    return build(own_drawn.coco, own_drawn.folder / "chips")


def has_colour(picture: Image.Image, colour: tuple[int, int, int], tolerance: int = 40) -> bool:
    return bool((np.abs(np.asarray(picture).astype(int) - colour).max(axis=2) < tolerance).any())


def test_before_an_export_the_images_alone(workdir: Workdir, tmp_path: Path, own_drawn: Any) -> None:
    written = preview(workdir, (), 100, tmp_path / "out", None, Monitor())
    assert sorted(path.name for path in written) == sorted(f"{i['id']:012d}.jpg" for i in own_drawn.content["images"])
    for path in written:
        with Image.open(path) as picture:
            picture.load()
    assert not [path for path in (tmp_path / "out").iterdir() if path not in written]


def test_after_an_export_the_chips_stand_beside(
    workdir: Workdir, tmp_path: Path, own_drawn: Any, export: Any, mine: Any
) -> None:
    image_id, size = own_drawn.content["images"][0]["id"], (640, 480)
    (alone,) = preview(workdir, (image_id,), 1, tmp_path / "alone", None, Monitor())
    mine(workdir, own_drawn.proposals, min_proposals_finest=5, min_proposals=5)
    export(workdir)
    (path,) = preview(workdir, (image_id,), 1, tmp_path / "out", None, Monitor())
    with Image.open(alone) as before, Image.open(path) as picture:
        assert before.size == size
        assert picture.width > size[0]
        right = picture.convert("RGB").crop((size[0], 0, *picture.size))
    assert has_colour(right, VALID) or has_colour(right, (235, 60, 60))


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (3, 3), (8, 8), (99, 8)])
def test_count(workdir: Workdir, tmp_path: Path, count: int, expected: int) -> None:
    assert len(preview(workdir, (), count, tmp_path / "out", None, Monitor())) == expected


def test_unknown_image(workdir: Workdir, tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    with pytest.raises(
        OptionError, match=r"image 31337 is not in .*; give some of its ids, which begin with"
    ) as caught:
        preview(workdir, (31337, 1000), 1, tmp_path / "out", None, Monitor())
    is_one_line(caught.value)


def test_an_image_that_cannot_be_opened_is_left_out_with_a_warning(
    workdir: Workdir, tmp_path: Path, own_drawn: Any
) -> None:
    listener = Listener()
    (own_drawn.images / own_drawn.names[3]).write_bytes(b"")
    assert len(preview(workdir, (), 8, tmp_path / "out", None, listener)) == 7
    (warning,) = listener.warnings
    assert own_drawn.names[3] in warning
    assert "left out" in warning


def test_no_workdir_and_broken_shards(workdir: Workdir, tmp_path: Path, export: Any) -> None:
    with pytest.raises(WorkdirError, match="run `chipper build-positives"):
        preview(Workdir(tmp_path / "none"), (), 1, tmp_path / "out", None, Monitor())
    names = [receipt.name for receipt in export(workdir).receipts]
    tar_path(workdir.shards, names[0]).unlink()
    with pytest.raises(ShardError, match="run `chipper export-shards` again"):
        preview(workdir, (), 1, tmp_path / "out", None, Monitor())


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (9, 8), (20, 1), (3000, 1), (2, 2600), (2600, 900)])
def test_images_of_any_size(
    tmp_path: Path, size: tuple[int, int], write_coco: Callable[..., Path], build: Callable[..., Workdir], export: Any
) -> None:
    width, height = size
    coco = write_coco(
        tmp_path,
        images=[{"id": 1, "file_name": "a.png", "width": width, "height": height}],
        annotations=[{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, min(width, 60), min(height, 60)]}],
        categories=[{"id": 1, "name": "x"}],
    )
    Image.new("RGB", size, (90, 90, 90)).save(tmp_path / "a.png")
    workdir = build(coco, tmp_path / "chips")
    export(workdir)
    (path,) = preview(workdir, (), 1, tmp_path / "out", None, Monitor())
    with Image.open(path) as picture:
        assert picture.width >= 1


def test_small_chips_on_a_large_image(
    tmp_path: Path, write_coco: Callable[..., Path], build: Callable[..., Workdir]
) -> None:
    """Chips of 16 px at x3 span 5 source px, less than a px of a picture that is scaled down."""
    coco = write_coco(
        tmp_path,
        images=[{"id": 1, "file_name": "a.png", "width": 4000, "height": 300}],
        annotations=[{"id": 1, "image_id": 1, "category_id": 1, "bbox": [700, 50, 4, 4]}],
        categories=[{"id": 1, "name": "x"}],
    )
    Image.new("RGB", (4000, 300)).save(tmp_path / "a.png")
    workdir = build(coco, tmp_path / "chips", chip_size=16, stride="8")
    assert len(preview(workdir, (), 1, tmp_path / "out", None, Monitor())) == 1


# --- drawing ---


def test_each_scale_has_its_colour(workdir: Workdir) -> None:
    dataset = workdir.dataset()
    chips, annotations = workdir.all_chips(dataset, POSITIVE), workdir.annotations(dataset, 0)
    black = Image.new("RGB", (1300, 1300))
    for scale in set(chips.scale_index.tolist()):
        picture = draw_image(black, annotations[:0], chips[chips.scale_index == scale])
        assert has_colour(picture, SCALE_COLOURS[scale], 2)
        assert not has_colour(picture, SCALE_COLOURS[scale - 1], 2)
    boxes = draw_image(black, annotations, chips[:0])
    assert has_colour(boxes, (255, 255, 255), 2)
    assert has_colour(boxes, IGNORED, 2)


def test_a_sample_shows_its_labels() -> None:
    import io
    import json

    buffer = io.BytesIO()
    Image.new("RGB", (512, 512)).save(buffer, "JPEG")
    boxes = [{"bbox": [50, 50, 100, 100], "valid": True, "ignore": False}]
    boxes += [{"bbox": [200, 50, 100, 100], "valid": False, "ignore": True}]
    record = {"annotations": boxes, "chip": {"kind": "positive", "scale_index": 7}}
    chip = draw_sample(buffer.getvalue(), json.dumps(record).encode())
    assert chip.getpixel((50, 100)) == VALID
    assert chip.getpixel((200, 100)) == IGNORED


def test_detections_at_the_edges() -> None:
    pixels = Image.new("RGB", (40, 30))
    drawn = draw_detections(pixels, [(-5, -5, 80, 80), (0, 0, 1, 1), (39.5, 29.5, 0.2, 0.2)], ["all", "dot", "end"])
    assert drawn.size == (40, 30)
    assert not np.asarray(pixels).any(), "the image itself stays as it is"


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_thumbnails_fill_columns(count: int) -> None:
    sheet = beside(Image.new("RGB", (300, 400)), [Image.new("RGB", (512, 512), (200, 0, 0))] * count)
    assert sheet.size == (300 + 192 * -(-count // 2), 400)
