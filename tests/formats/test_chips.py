"""export-coco and export-yolo: every label arrives, no image is on both sides, and a folder is whole or not there."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from pycocotools.coco import COCO

from chipper.cli.main import main
from chipper.errors import ChipperError, OptionError, ShardError, WorkdirError
from chipper.formats.chips import export_coco, export_yolo
from chipper.manifest.workdir import Workdir
from chipper.parallel.progress import Monitor
from chipper.parallel.workers import Workers
from chipper.shards.pool import Pool


@pytest.fixture(scope="module")
def workdir(drawn: Any, tmp_path_factory: pytest.TempPathFactory, build: Any, mine: Any, export: Any) -> Workdir:
    """The drawn data set with masks, negatives and shards."""
    made: Workdir = build(
        drawn.coco, tmp_path_factory.mktemp("sets") / "chips", image_dir=drawn.images, masks=True, variants=2
    )
    mine(made, drawn.proposals, min_proposals=3, min_proposals_finest=3)
    export(made)
    return made


def loaded(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def run(way: Callable[..., Any], workdir: Workdir, out: Path, epoch: int | None = 0, val: float = 0.3) -> Any:
    return way(workdir, out, epoch=epoch, val_share=val, workers=Workers(2))


@pytest.mark.parametrize("epoch", [0, 1, None])
def test_a_coco_set_has_the_chips_of_the_epoch_with_all_their_labels(
    workdir: Workdir, tmp_path: Path, epoch: int | None
) -> None:
    copied = run(export_coco, workdir, tmp_path / "out", epoch)
    pool, manifest = Pool(workdir.shards), workdir.open()
    rows = pool.distinct() if epoch is None else pool.rows(manifest.epoch(epoch))
    expected = {pool.key(int(row)): pool.read(int(row)) for row in rows}
    assert sum(copied.chips.values()) == len(expected) > 20
    found, sides = {}, defaultdict(set)
    for split in ("train", "val"):
        coco = loaded(tmp_path / "out" / "annotations" / f"instances_{split}.json")
        assert [c["name"] for c in coco.dataset["categories"]] == [c.name for c in manifest.dataset.categories]
        assert len(coco.imgs) == copied.chips[split] > 0
        assert len(coco.anns) == copied.labels[split]
        for image in coco.imgs.values():
            sides[image["source_file_name"]].add(split)
            path = tmp_path / "out" / "images" / split / image["file_name"]
            jpeg, record = expected[path.stem]
            assert path.read_bytes() == jpeg
            labels = msgspec.json.decode(record)["annotations"]
            mine = coco.imgToAnns[image["id"]]
            for label, got in zip(labels, mine, strict=True):
                assert got["source_id"] == label["id"]
                for name in set(label) - {"id", "image_id"}:
                    assert got[name] == label[name], name
                assert "segmentation" in got
            found[path.stem] = len(mine)
    assert set(found) == set(expected)
    assert all(len(splits) == 1 for splits in sides.values())
    assert any(a["iscrowd"] for split in ("train", "val") for a in _annotations(tmp_path / "out", split))


def _annotations(out: Path, split: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / "annotations" / f"instances_{split}.json").read_text())[
        "annotations"
    ]
    return found


def test_from_coco_to_chips_to_coco_no_box_is_lost(drawn: Any, workdir: Workdir, tmp_path: Path) -> None:
    """Each box comes back from some chip to within a px of its scale."""
    run(export_coco, workdir, tmp_path / "out", None)
    back = defaultdict(list)
    for split in ("train", "val"):
        coco = loaded(tmp_path / "out" / "annotations" / f"instances_{split}.json")
        for label in coco.anns.values():
            chip = coco.imgs[label["image_id"]]["chip"]
            x, y, w, h = label["bbox"]
            corner = np.array([chip["x"], chip["y"]])
            box = np.array([x + corner[0], y + corner[1], w, h]) / chip["scale"]
            back[label["source_id"]].append((box, 1 / chip["scale"]))
    for annotation in drawn.content["annotations"]:
        if not annotation["iscrowd"]:
            nearest = min(np.abs(box - annotation["bbox"]).max() - px for box, px in back[annotation["id"]])
            assert nearest <= 0, annotation


def test_a_yolo_set_is_what_ultralytics_expects(workdir: Workdir, tmp_path: Path) -> None:
    copied = run(export_yolo, workdir, tmp_path / "out")
    dataset = workdir.dataset()
    text = (tmp_path / "out" / "data.yaml").read_text()
    assert text.splitlines()[:2] == ["train: images/train", "val: images/val"]
    assert (tmp_path / "out" / "classes.txt").read_text().split("\n")[:-1] == [c.name for c in dataset.categories]
    pool = Pool(workdir.shards)
    by_key = {pool.key(row): msgspec.json.decode(pool.read(row)[1]) for row in range(len(pool))}
    left_out = 0
    for split in ("train", "val"):
        images = sorted(path.stem for path in (tmp_path / "out" / "images" / split).iterdir())
        labels = sorted((tmp_path / "out" / "labels" / split).iterdir())
        assert images == [path.stem for path in labels]
        lines = 0
        for path in labels:
            table = np.array([line.split() for line in path.read_text().splitlines()], dtype=float).reshape(-1, 5)
            lines += len(table)
            wanted = [a for a in by_key[path.stem]["annotations"] if not a["ignore"]]
            left_out += len(by_key[path.stem]["annotations"]) - len(wanted)
            numbers = [[c.id for c in dataset.categories].index(a["category_id"]) for a in wanted]
            assert table[:, 0].tolist() == numbers
            corners = np.concatenate([table[:, 1:3] - table[:, 3:] / 2, table[:, 3:]], axis=1) * 512
            boxes = np.array([a["bbox"] for a in wanted]).reshape(-1, 4)
            np.testing.assert_allclose(corners, boxes, atol=1e-3)
            assert (table[:, 1:] >= 0).all()
            assert (table[:, 1:] <= 1).all()
        assert lines == copied.labels[split]
        with Image.open(tmp_path / "out" / "images" / split / f"{images[0]}.jpg") as image:
            assert image.size == (512, 512)
    assert copied.left_out == left_out > 0


@pytest.mark.parametrize("way", [export_coco, export_yolo])
def test_without_a_validation_share_all_is_for_training(workdir: Workdir, tmp_path: Path, way: Any) -> None:
    copied = run(way, workdir, tmp_path / "out", val=0)
    assert copied.chips["val"] == 0
    if way is export_yolo:
        assert "val: images/train" in (tmp_path / "out" / "data.yaml").read_text()
    else:
        assert _annotations(tmp_path / "out", "val") == []


@pytest.mark.parametrize("way", [export_coco, export_yolo])
def test_a_failure_leaves_nothing(
    workdir: Workdir, tmp_path: Path, way: Any, monkeypatch: pytest.MonkeyPatch, is_one_line: Any
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(ChipperError) as caught:
            run(way, workdir, tmp_path / "out")
    assert "cannot write" in is_one_line(caught.value)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    with pytest.raises(OptionError, match="already exists"):
        run(way, workdir, tmp_path / "out")


def test_a_killed_export_is_not_there_and_the_next_one_is_whole(
    workdir: Workdir, tmp_path: Path, hashes: Callable[[Path], dict[str, str]]
) -> None:
    code = """
import os, signal, sys
from pathlib import Path
import chipper.formats.chips as sets
from chipper.parallel.progress import Monitor
from chipper.manifest.workdir import Workdir
from chipper.parallel.workers import Workers
class Killing(Monitor):
    pass
add, count = sets._CocoFile.add, []
def kill(self, *arguments):
    count.append(1)
    if len(count) == 15:
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, *arguments)
sets._CocoFile.add = kill
sets.export_coco(Workdir(Path(sys.argv[1])), Path(sys.argv[2]), val_share=0.3, workers=Workers(1))
"""
    done = subprocess.run([sys.executable, "-c", code, str(workdir.path), str(tmp_path / "out")])
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    run(export_coco, workdir, tmp_path / "out")
    run(export_coco, workdir, tmp_path / "again")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "again")
    assert sorted(os.listdir(tmp_path)) == ["again", "out"]


def test_two_exports_into_one_folder(workdir: Workdir, tmp_path: Path, is_one_line: Any) -> None:
    export_coco(workdir, tmp_path / "alone", workers=Workers(1))
    refused = []

    class Second(Monitor):
        """Starts another export into the same folder while the first one copies."""

        @contextlib.contextmanager
        def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
            with pytest.raises(WorkdirError) as caught:
                export_yolo(workdir, tmp_path / "out", workers=Workers(1))
            refused.append(is_one_line(caught.value))
            yield lambda done: None

    export_coco(workdir, tmp_path / "out", workers=Workers(1), monitor=Second())
    assert len(refused) == 1
    assert "is being filled by another process; wait for it to end, or give another out" in refused[0]
    names = [sorted(path.relative_to(tmp_path / k) for path in (tmp_path / k).rglob("*")) for k in ("alone", "out")]
    assert names[0] == names[1]


@pytest.mark.parametrize(("epoch", "val"), [(7, 0.1), (-1, 0.1), (0, 1.0), (0, -0.1)])
def test_options_that_make_no_sense(workdir: Workdir, tmp_path: Path, epoch: int, val: float, is_one_line: Any) -> None:
    with pytest.raises(OptionError) as caught:
        run(export_coco, workdir, tmp_path / "out", epoch, val)
    assert is_one_line(caught.value).startswith(("epoch is", "val_share is"))
    assert not (tmp_path / "out").exists()


def test_shards_of_other_epochs_are_refused(
    drawn: Any, tmp_path: Path, build: Any, mine: Any, export: Any, is_one_line: Any
) -> None:
    made = build(drawn.coco, tmp_path / "chips", image_dir=drawn.images)
    export(made)
    mine(made, drawn.proposals, min_proposals=3, min_proposals_finest=3)
    with pytest.raises(ShardError) as caught:
        run(export_coco, made, tmp_path / "out")
    assert "export-shards" in is_one_line(caught.value)


def test_the_commands(workdir: Workdir, tmp_path: Path) -> None:
    for command in ("export-coco", "export-yolo"):
        line = [command, "--out", str(tmp_path / command), "--workdir", str(workdir.path)]
        result = CliRunner().invoke(main, [*line, "--all-chips"])
        assert result.exit_code == 0, result.output
        assert "train" in result.stdout
        assert (tmp_path / command / "images" / "train").is_dir()


def test_the_train_index_is_that_of_rf_detr(workdir: Workdir) -> None:
    index = json.loads((workdir.shards / "train-index.json").read_text())
    pool = Pool(workdir.shards)
    assert index["version"] == 1
    assert index["split"] == "train"
    assert index["category_ids"] == "remap"
    assert [workdir.shards / name for name in index["shards"]] == sorted(
        workdir.shards.glob("*.tar"), key=lambda path: index["shards"].index(path.name)
    )
    assert sum(index["samples_per_shard"]) == index["num_samples"] == len(pool)
    used = {a["category_id"] for row in range(len(pool)) for a in msgspec.json.decode(pool.read(row)[1])["annotations"]}
    assert index["annotated_category_ids"] == sorted(used)
    assert [c["id"] for c in index["categories"]] == [c.id for c in workdir.dataset().categories]
