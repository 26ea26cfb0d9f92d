"""chipper.pictures.preview: a picture for each image that can be opened, whatever its size, before an export and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chipper.columns import NEGATIVE, POSITIVE
from chipper.errors import OptionError, ProposalError, ShardError, WorkdirError, spelled
from chipper.manifest.tables import Manifest
from chipper.manifest.workdir import Workdir
from chipper.parallel.progress import Monitor
from chipper.pictures import preview as module
from chipper.pictures.figure import PreviewImage
from chipper.pictures.preview import PreviewOptions, planned, preview
from chipper.shards.writing import tar_path


class Listener(Monitor):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.notes: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def workdir(own_drawn: Any, build: Callable[..., Workdir]) -> Workdir:
    return build(own_drawn.coco, own_drawn.folder / "chips")


@pytest.fixture
def mined(workdir: Workdir, own_drawn: Any, mine: Any) -> Workdir:
    mine(workdir, own_drawn.proposals, min_proposals_finest=5, min_proposals=5)
    return workdir


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[tuple[PreviewImage, list[Any]]]:
    """What was drawn: the image's columns and its sample chips."""
    drawn: list[tuple[PreviewImage, list[Any]]] = []
    figure = module.figure

    def keep(shown: PreviewImage, samples: list[Any]) -> Image.Image:
        drawn.append((shown, samples))
        return figure(shown, samples)

    monkeypatch.setattr(module, "figure", keep)
    return drawn


def draw(workdir: Workdir, out: Path, monitor: Monitor | None = None, **options: Any) -> list[Path]:
    return preview(workdir, PreviewOptions(**options), out, monitor=monitor or Monitor())


def test_a_picture_of_each_image(workdir: Workdir, tmp_path: Path, own_drawn: Any) -> None:
    written = draw(workdir, tmp_path / "out", count=100)
    assert sorted(path.name for path in written) == sorted(f"{i['id']:012d}.jpg" for i in own_drawn.content["images"])
    for path in written:
        with Image.open(path) as picture:
            picture.load()
    assert not [path for path in (tmp_path / "out").iterdir() if path not in written]


def test_chips_are_the_same_with_shards_and_without(
    mined: Workdir, tmp_path: Path, export: Any, figures: list[Any]
) -> None:
    """Cut from the image, or read from the shards: the same windows and labels, and pixels but for JPEG's loss."""
    draw(mined, tmp_path / "before", count=8)
    before = figures[:]
    figures.clear()
    export(mined, chips_per_shard=3)
    draw(mined, tmp_path / "after", count=8)
    assert len(figures) == len(before) == 8
    number = 0
    for (_, cut), (_, read) in zip(before, figures):
        assert len(cut) == len(read)
        for (pixels, record), (other, same) in zip(cut, read):
            assert record.chip == same.chip
            assert [label.bbox for label in record.annotations] == [label.bbox for label in same.annotations]
            assert pixels.size == other.size == (512, 512)
            assert np.abs(np.asarray(pixels).astype(int) - np.asarray(other)).mean() < 4
            number += 1
    assert number > 20


def test_boxes_have_the_state_of_their_labels(workdir: Workdir, tmp_path: Path, figures: list[Any]) -> None:
    draw(workdir, tmp_path / "out", count=8)
    manifest = workdir.open()
    labels, annotations = manifest.labels(0, POSITIVE), manifest.annotations(0)
    valid = set(labels.annotation_id[labels.valid].tolist())
    for shown, _ in figures:
        mine = annotations[annotations.image_id == shown.image_id]
        assert shown.valid.tolist() == [k in valid for k in mine.annotation_id.tolist()]
        assert shown.ignore[mine.iscrowd].all()
        assert not (shown.ignore & shown.valid).any()
        np.testing.assert_array_equal(shown.box, mine.box)


def test_one_scale_alone(mined: Workdir, tmp_path: Path, figures: list[Any]) -> None:
    draw(mined, tmp_path / "out", count=8, scale="1.667")
    assert figures
    for shown, samples in figures:
        assert shown.only == 1
        assert set(shown.positives.scale_index.tolist()) | set(shown.negatives.scale_index.tolist()) <= {1}
        assert {record.chip.scale_index for _, record in samples} <= {1}
    with pytest.raises(OptionError, match=r"scale is 2; give one of the scales of the workdir: 512, 1\.667, 3"):
        draw(mined, tmp_path / "out", scale="2")


# --- proposals ---


def test_dots_are_the_proposals_of_the_negatives(mined: Workdir, tmp_path: Path, figures: list[Any]) -> None:
    """As many as the chips were chosen for, each in a negative chip. The file is found beside the workdir."""
    listener = Listener()
    total = 0
    for scale in ("512", "1.667", "3"):
        figures.clear()
        draw(mined, tmp_path / "out", listener, count=8, scale=scale)
        for shown, _ in figures:
            assert len(shown.dots) == shown.negatives.proposals.sum()
            boxes = shown.negatives.source_box
            for x, y in shown.dots:
                assert ((boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])).any()
            total += len(shown.dots)
    assert listener.notes == listener.warnings == []
    assert total == mined.open().chips(0, NEGATIVE).proposals.sum() > 50


def test_proposals_that_are_gone_or_changed(mined: Workdir, tmp_path: Path, own_drawn: Any, figures: list[Any]) -> None:
    given = own_drawn.proposals.rename(tmp_path / "elsewhere.pkl")
    listener = Listener()
    draw(mined, tmp_path / "out", listener, count=1)
    assert [spelled(note) for note in listener.notes] == [
        "rpn.pkl was not found, so no proposals are drawn; give them with proposals rpn.pkl"
    ]
    assert figures[-1][0].dots is None
    listener = Listener()
    draw(mined, tmp_path / "out", listener, count=1, proposals=given)
    assert len(figures[-1][0].dots) > 0
    assert listener.notes == listener.warnings == []

    import pickle

    arrays = pickle.loads(given.read_bytes())
    own_drawn.proposals.write_bytes(pickle.dumps([array[::2] for array in arrays]))
    listener = Listener()
    draw(mined, tmp_path / "out", listener, count=1)
    assert "was changed since the negatives were mined" in listener.notes[0]
    assert figures[-1][0].dots is None
    listener = Listener()
    draw(mined, tmp_path / "out", listener, count=1, proposals=own_drawn.proposals)
    assert "is not the file that the negatives were mined from" in listener.warnings[0]
    assert figures[-1][0].dots is not None
    with pytest.raises(ProposalError, match="does not exist"):
        draw(mined, tmp_path / "out", count=1, proposals=tmp_path / "none.pkl")


# --- which images ---


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (3, 3), (8, 8), (99, 8), (None, 8)])
def test_count(workdir: Workdir, tmp_path: Path, count: int | None, expected: int) -> None:
    assert len(draw(workdir, tmp_path / "out", count=count)) == expected


def test_unknown_image(workdir: Workdir, tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    with pytest.raises(OptionError, match=r"image 1001 is not in .*; give ids that are in it; the first are") as caught:
        draw(workdir, tmp_path / "out", image_ids=(31337, 1000, 1001))
    is_one_line(caught.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(OptionError, match="count is 0"):
        PreviewOptions(count=0)


def test_parts_are_read_one_after_the_other(
    own_drawn: Any, build: Callable[..., Workdir], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a workdir in many parts, those of the images asked for."""
    for name in ("chipper.mining.parts", "chipper.pictures.preview"):
        monkeypatch.setattr(f"{name}.PART_IMAGES", 3)
    workdir = build(own_drawn.coco, tmp_path / "chips", image_dir=own_drawn.images)
    assert workdir.dataset().parts == 3
    ids = [image["id"] for image in own_drawn.content["images"]]
    wanted = (ids[7], ids[1], ids[3])
    read: list[int] = []
    labels = Manifest.labels
    monkeypatch.setattr(Manifest, "labels", lambda self, part, kind: read.append(part) or labels(self, part, kind))
    written = draw(workdir, tmp_path / "out", image_ids=wanted)
    assert {path.name for path in written} == {f"{k:012d}.jpg" for k in wanted}
    assert read == [0, 1, 2]
    read.clear()
    assert len(draw(workdir, tmp_path / "out", image_ids=wanted[:1])) == 1
    assert read == [2]


def test_an_image_that_cannot_be_opened_is_left_out_with_a_warning(
    workdir: Workdir, tmp_path: Path, own_drawn: Any
) -> None:
    listener = Listener()
    (own_drawn.images / own_drawn.names[3]).write_bytes(b"")
    assert len(draw(workdir, tmp_path / "out", listener, count=8)) == 7
    (warning,) = listener.warnings
    assert own_drawn.names[3] in warning
    assert "left out" in warning


def test_no_workdir_and_broken_shards(workdir: Workdir, tmp_path: Path, export: Any) -> None:
    with pytest.raises(WorkdirError, match="run `chipper build-positives"):
        draw(Workdir(tmp_path / "none"), tmp_path / "out")
    names = [receipt.name for receipt in export(workdir).receipts]
    tar_path(workdir.shards, names[0]).unlink()
    with pytest.raises(ShardError, match="run `chipper export-shards` again"):
        draw(workdir, tmp_path / "out")


def test_shards_of_other_chips_are_not_shown(
    mined: Workdir, tmp_path: Path, own_drawn: Any, mine: Any, export: Any, figures: list[Any]
) -> None:
    export(mined)
    mine(mined, own_drawn.proposals, min_proposals_finest=9, min_proposals=9)
    listener = Listener()
    draw(mined, tmp_path / "out", listener, count=2)
    assert "contain other chips, so chips are cut from the images" in listener.warnings[0]
    assert all(samples for _, samples in figures)


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
    for sheet in (False, True):
        (path,) = draw(workdir, tmp_path / "out", sheet=sheet)
        with Image.open(path) as picture:
            assert 300 < picture.width < 3000
            assert picture.height < 2000
    export(workdir)
    assert len(draw(workdir, tmp_path / "out")) == 1


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
    assert len(draw(workdir, tmp_path / "out")) == 1


# --- sheets and dry runs ---


def test_many_images_make_several_sheets(
    tmp_path: Path, write_coco: Callable[..., Path], build: Callable[..., Workdir]
) -> None:
    images = [{"id": k + 1, "file_name": f"{k}.png", "width": 64, "height": 48} for k in range(23)]
    for image in images:
        Image.new("RGB", (64, 48)).save(tmp_path / image["file_name"])
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 30, 30]}
    categories = [{"id": 1, "name": "x"}]
    coco = write_coco(tmp_path, images=images, annotations=[box], categories=categories)
    workdir = build(coco, tmp_path / "chips")
    written = draw(workdir, tmp_path / "out", sheet=True, count=23)
    assert [path.name for path in written] == ["sheet-000.jpg", "sheet-001.jpg"]
    with Image.open(written[0]) as whole, Image.open(written[1]) as rest:
        assert whole.width == rest.width
        assert whole.height > 3 * rest.height


@pytest.mark.parametrize("options", [{}, {"count": 3}, {"image_ids": (1000, 951)}, {"sheet": True}])
def test_what_is_planned_is_what_is_written(workdir: Workdir, tmp_path: Path, options: dict[str, Any]) -> None:
    paths = planned(workdir, PreviewOptions(**options), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert paths == draw(workdir, tmp_path / "out", **options)
    with pytest.raises(OptionError):
        planned(workdir, replace(PreviewOptions(**options), scale="7"), tmp_path / "out")
