"""chipper.shards.export: every chip in some shard, the same bytes whoever renders, and bad images that cost only their chips."""

from __future__ import annotations

import json
import shutil
import tarfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import chipper.mining.parts
import chipper.shards.stripes
from chipper.columns import NEGATIVE, POSITIVE
from chipper.errors import ChipperError, ImageDirectoryError, ImageError, StorageError, WorkdirError
from chipper.manifest.tables import write_part
from chipper.manifest.workdir import CHIPS, Workdir
from chipper.shards.export import Exported
from chipper.shards.options import ExportOptions, RenderOptions
from chipper.shards.planning import plan_shards
from chipper.shards.render import PADDING
from chipper.shards.stripes import render_stripe
from chipper.shards.writing import index_path, read_receipt, receipt_path, tar_path
from chipper.storage.lock import locked

Build = Callable[..., Workdir]
Export = Callable[..., Exported]
EASY = {"min_proposals_finest": 5, "min_proposals": 5}


@pytest.fixture(scope="module")
def exported(drawn: Any, tmp_path_factory: pytest.TempPathFactory, build: Build, mine: Any, export: Export) -> Workdir:
    """A finished export with negatives, two variants and several parts; to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chipper.mining.parts, "PART_IMAGES", 3)
        workdir = build(drawn.coco, tmp_path_factory.mktemp("exported") / "chips", variants=2)
    mine(workdir, drawn.proposals, **EASY)
    export(workdir)
    return workdir


def shard_set(workdir: Workdir) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workdir.shards / "dataset.json").read_text())
    return found


def members(workdir: Workdir, name: str) -> dict[str, bytes]:
    with tarfile.open(tar_path(workdir.shards, name)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]


def records(workdir: Workdir) -> list[dict[str, Any]]:
    names = shard_set(workdir)["shards"]
    return [json.loads(v) for name in names for k, v in members(workdir, name).items() if k.endswith(".json")]


def times(folder: Path, pattern: str = "*-of-*") -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(pattern)}


# --- all chips, once ---


def test_every_chip_is_in_one_shard(exported: Workdir) -> None:
    manifest = exported.open()
    wanted = [manifest.all_chips(kind).chip_id.tolist() for kind in (POSITIVE, NEGATIVE)]
    found = Counter(record["chip"]["chip_id"] for record in records(exported))
    assert sorted(found) == sorted(wanted[0] + wanted[1])
    assert set(found.values()) == {1}
    assert shard_set(exported)["samples"] == len(found)
    assert len({name.rpartition("-0")[0] for name in shard_set(exported)["shards"]}) > 2


def test_kinds_are_in_separate_shards(exported: Workdir) -> None:
    for name in shard_set(exported)["shards"]:
        kinds = {json.loads(v)["chip"]["kind"] for k, v in members(exported, name).items() if k.endswith(".json")}
        assert kinds == {"positive" if name.startswith("positives") else "negative"}


def test_members_come_in_pairs_with_the_right_key(exported: Workdir) -> None:
    for name in shard_set(exported)["shards"]:
        found = members(exported, name)
        names = list(found)
        for image, record in zip(names[::2], names[1::2], strict=True):
            key = image.removesuffix(".jpg")
            assert record == f"{key}.json"
            content = json.loads(found[record])
            chip = content["chip"]
            place = f"{content['image_id']:012d}_{chip['scale_index']}_{chip['x']:05d}_{chip['y']:05d}"
            assert key == place


def test_chips_are_k_by_k_padded_right_and_below(exported: Workdir) -> None:
    import io

    for name in shard_set(exported)["shards"]:
        found = members(exported, name)
        for key in (k for k in found if k.endswith(".jpg")):
            chip = json.loads(found[key.replace(".jpg", ".json")])["chip"]
            with Image.open(io.BytesIO(found[key])) as image:
                assert image.format == "JPEG"
                pixels = np.asarray(image.convert("RGB")).astype(int)
            assert pixels.shape == (512, 512, 3)
            width, height = chip["content"]
            for padding in (pixels[height + 16 :], pixels[:, width + 16 :]):
                assert not padding.size or np.abs(padding - PADDING).max() <= 6


def test_a_chip_shows_its_source_box(exported: Workdir, drawn: Any) -> None:
    import io

    checked = 0
    for name in shard_set(exported)["shards"][::2]:
        found = members(exported, name)
        for key in [k for k in found if k.endswith(".jpg")][::3]:
            record = json.loads(found[key.replace(".jpg", ".json")])
            width, height = record["chip"]["content"]
            with Image.open(drawn.images / record["file_name"]) as source:
                expected = source.convert("RGB").resize(
                    (width, height), Image.Resampling.BILINEAR, box=record["chip"]["source_box"]
                )
            with Image.open(io.BytesIO(found[key])) as image:
                pixels = np.asarray(image.convert("RGB"))[:height, :width].astype(int)
            assert np.abs(pixels - np.asarray(expected)).mean() < 4
            checked += 1
    assert checked > 5


def test_webdataset_reads_the_shards(exported: Workdir) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import webdataset

        urls = [str(tar_path(exported.shards, name)) for name in shard_set(exported)["shards"]]
        found = list(
            webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)
            .decode("pil")
            .to_tuple("__key__", "jpg", "json")
        )
    assert len(found) == shard_set(exported)["samples"]
    for key, image, record in found:
        assert image.size == (512, 512)
        assert key.startswith(f"{record['image_id']:012d}_")


def test_indices_point_at_the_right_bytes(exported: Workdir) -> None:
    for name in shard_set(exported)["shards"]:
        data, found = tar_path(exported.shards, name).read_bytes(), members(exported, name)
        for row in pq.read_table(index_path(exported.shards, name)).to_pylist():
            assert data[row["image_offset"] :][: row["image_size"]] == found[f"{row['key']}.jpg"]
            assert data[row["json_offset"] :][: row["json_size"]] == found[f"{row['key']}.json"]
            assert json.loads(found[f"{row['key']}.json"])["chip"]["chip_id"] == row["chip_id"]


# --- the same bytes ---


def test_same_bytes_for_any_jobs(
    drawn: Any, exported: Workdir, tmp_path: Path, export: Export, hashes: Callable[..., Any]
) -> None:
    expected = hashes(exported.shards)
    for jobs in (2, 3):
        shutil.copytree(exported.path, tmp_path / f"chips{jobs}", ignore=shutil.ignore_patterns("shards"))
        workdir = Workdir(tmp_path / f"chips{jobs}")
        export(workdir, jobs, drawn.images)
        assert hashes(workdir.shards) == expected


def test_same_bytes_from_a_pool_made_later(
    drawn: Any, tmp_path: Path, build: Build, mine: Any, export: Export, hashes: Callable[..., Any]
) -> None:
    """Exported before and after mining, or after mining alone: the same."""
    a, b = (build(drawn.coco, tmp_path / name) for name in "ab")
    export(a)
    for workdir in (a, b):
        mine(workdir, drawn.proposals, **EASY)
        export(workdir)
    assert hashes(a.path) == hashes(b.path)


# --- resuming ---


@pytest.fixture
def workdir(own_drawn: Any, build: Build) -> Workdir:
    return build(own_drawn.coco, own_drawn.folder / "chips")


def test_rerun_renders_nothing(workdir: Workdir, export: Export) -> None:
    assert export(workdir).rendered > 1
    before = times(workdir.shards)
    assert export(workdir).rendered == 0
    assert times(workdir.shards) == before


@pytest.mark.parametrize("path", [tar_path, index_path, receipt_path])
def test_resume_renders_exactly_what_is_not_whole(
    workdir: Workdir, export: Export, path: Callable[..., Path], hashes: Callable[..., Any]
) -> None:
    names = [receipt.name for receipt in export(workdir).receipts]
    expected, before = hashes(workdir.shards), times(workdir.shards)
    path(workdir.shards, names[1]).unlink()
    assert export(workdir).rendered == 1
    assert hashes(workdir.shards) == expected
    after = times(workdir.shards)
    assert {n for n in after if after[n] != before[n]} == {
        p(workdir.shards, names[1]).name for p in (tar_path, index_path, receipt_path)
    }


class Crash(Exception):
    """The process ends here."""


def test_resume_after_a_crash(
    workdir: Workdir, export: Export, monkeypatch: pytest.MonkeyPatch, hashes: Callable[..., Any]
) -> None:
    render, calls = chipper.shards.stripes.render_chip, 0

    def crash(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 12:
            raise Crash
        return render(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(chipper.shards.stripes, "render_chip", crash)
        with pytest.raises(Crash):
            export(workdir)
    done = times(workdir.shards, "*.done.json")
    assert done
    assert not (workdir.shards / "dataset.json").exists()
    assert not list(workdir.shards.glob(".*partial"))
    again = export(workdir)
    assert again.rendered == len(again.receipts) - len(done)
    assert times(workdir.shards, "*.done.json").items() >= done.items()
    expected = hashes(workdir.shards)
    shutil.rmtree(workdir.shards)
    export(workdir)
    assert hashes(workdir.shards) == expected


SLOW_EXPORT = """
import sys, time
from pathlib import Path
import chipper.shards.stripes
from chipper.shards.export import export_shards
from chipper.shards.options import ExportOptions
from chipper.parallel.progress import Monitor
from chipper.manifest.workdir import Workdir
from chipper.parallel.workers import Workers

render = chipper.shards.stripes.render_chip

def slowly(*arguments):
    time.sleep(0.1)
    return render(*arguments)

chipper.shards.stripes.render_chip = slowly
export_shards(Workdir(Path(sys.argv[1])), ExportOptions(chips_per_shard=4), workers=Workers(1))
"""


def test_resume_after_a_kill(workdir: Workdir, export: Export, hashes: Callable[..., Any]) -> None:
    import subprocess
    import sys
    import time

    with subprocess.Popen([sys.executable, "-c", SLOW_EXPORT, str(workdir.path)]) as process:
        ends = time.monotonic() + 60
        while len(times(workdir.shards, "*.done.json")) < 2:
            assert time.monotonic() < ends
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    done = times(workdir.shards, "*.done.json")
    assert not (workdir.shards / "dataset.json").exists()
    again = export(workdir, chips_per_shard=4)
    assert 0 < again.rendered <= len(again.receipts) - len(done)
    assert times(workdir.shards, "*.done.json").items() >= done.items()
    resumed = hashes(workdir.shards)
    shutil.rmtree(workdir.shards)
    export(workdir, chips_per_shard=4)
    assert hashes(workdir.shards) == resumed


def test_two_writers_of_one_shard_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Workers of a killed export may live on for a moment, without its lock, while the next export runs."""
    from chipper.storage.files import atomic

    with atomic(tmp_path / "a.tar") as late:
        late.write(b"x" * 100)
        with atomic(tmp_path / "a.tar") as early:
            early.write(b"y" * 50)
        assert (tmp_path / "a.tar").read_bytes() == b"y" * 50
        late.write(b"x" * 100)
    assert (tmp_path / "a.tar").read_bytes() == b"x" * 200
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_mining_then_exporting_renders_only_negatives(
    own_drawn: Any, workdir: Workdir, export: Export, mine: Any
) -> None:
    export(workdir)
    positives = times(workdir.shards)
    mine(workdir, own_drawn.proposals, **EASY)
    found = export(workdir)
    assert found.rendered == sum(receipt.kind == NEGATIVE for receipt in found.receipts) > 0
    assert times(workdir.shards, "positives-*") == positives
    assert shard_set(workdir)["id"] == workdir.dataset().epochs_id


@pytest.mark.parametrize("changed", [{"render": RenderOptions(quality=70)}, {"chips_per_shard": 4}])
def test_other_options_leave_no_old_shards(workdir: Workdir, export: Export, changed: dict[str, Any]) -> None:
    before = export(workdir)
    after = export(workdir, **changed)
    assert after.rendered == len(after.receipts)
    names = {receipt.name for receipt in after.receipts}
    assert {path.name for path in workdir.shards.glob("*.tar")} == {f"{name}.tar" for name in names}
    if "render" in changed:
        assert after.receipts[0].sha256 != before.receipts[0].sha256
        assert shard_set(workdir)["render"]["quality"] == 70


def test_what_a_killed_run_left_is_swept(workdir: Workdir, export: Export) -> None:
    workdir.shards.mkdir()
    (workdir.shards / ".positives-00000-of-00999.tar.partial").write_bytes(b"x" * 1000)
    export(workdir)
    assert not list(workdir.shards.glob(".*.partial"))


def test_while_shards_are_missing_the_set_is_not_declared_whole(
    own_drawn: Any, workdir: Workdir, export: Export, mine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(workdir)
    mine(workdir, own_drawn.proposals, **EASY)

    def crash(*_: Any) -> None:
        raise Crash

    monkeypatch.setattr(chipper.shards.stripes, "render_chip", crash)
    with pytest.raises(Crash):
        export(workdir)
    assert not (workdir.shards / "dataset.json").exists()


# --- bad images ---

DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda p: p.unlink(), "does not exist"),
    "empty": (lambda p: p.write_bytes(b""), "not an image"),
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), "truncated"),
    "text": (lambda p: p.write_bytes(b"hello"), "not an image"),
    "another size": (lambda p: Image.new("RGB", (99, 44)).save(p), "99x44 px, the annotations say"),
    "folder": (lambda p: (p.unlink(), p.mkdir()), "directory"),
    "floating point": (lambda p: Image.new("F", size_of(p)).save(p, "TIFF"), "mode F"),
}


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize(("damage", "what"), DAMAGES.values(), ids=DAMAGES)
def test_a_bad_image_costs_only_its_chips(
    own_drawn: Any, workdir: Workdir, export: Export, damage: Callable[[Path], Any], what: str
) -> None:
    name, image_id = own_drawn.names[2], own_drawn.content["images"][2]["id"]
    damage(own_drawn.images / name)
    found = export(workdir)
    chips = workdir.open().all_chips(POSITIVE)
    lost = int((chips.image_id == image_id).sum())
    rows = pq.read_table(workdir.shards / "errors.parquet").to_pylist()
    assert [(r["image_id"], r["file_name"], r["chips"]) for r in rows] == [(image_id, name, lost)]
    assert what in rows[0]["error"]
    assert "\n" not in rows[0]["error"]
    assert rows[0]["shard"] in shard_set(workdir)["shards"]
    assert shard_set(workdir)["lost_chips"] == lost
    assert {r["chip"]["chip_id"] for r in records(workdir)} == set(chips.chip_id[chips.image_id != image_id].tolist())
    assert len(found.faults) == 1


def test_faults_are_kept_until_a_retry(own_drawn: Any, workdir: Workdir, export: Export, hashes: Any) -> None:
    path = own_drawn.images / own_drawn.names[2]
    good = path.read_bytes()
    path.unlink()
    export(workdir)
    path.write_bytes(good)
    assert export(workdir).rendered == 0
    again = export(workdir, retry_errors=True)
    assert again.rendered == 1
    assert again.faults == []
    assert pq.read_table(workdir.shards / "errors.parquet").num_rows == 0
    expected = hashes(workdir.shards)
    shutil.rmtree(workdir.shards)
    export(workdir)
    assert hashes(workdir.shards) == expected


@pytest.mark.parametrize("jobs", [1, 2])
def test_on_error_fail_stops(
    own_drawn: Any, workdir: Workdir, export: Export, jobs: int, is_one_line: Callable[..., str]
) -> None:
    path = own_drawn.images / own_drawn.names[4]
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ImageError, match="on_error fail") as caught:
        export(workdir, jobs, on_error="fail")
    assert str(path) in is_one_line(caught.value)
    assert not (workdir.shards / "dataset.json").exists()
    assert not list(workdir.shards.glob(".*partial"))


def test_all_images_missing(own_drawn: Any, workdir: Workdir, export: Export, is_one_line: Callable[..., str]) -> None:
    shutil.rmtree(own_drawn.images)
    with pytest.raises(ImageDirectoryError, match="image_dir") as caught:
        export(workdir)
    is_one_line(caught.value)
    assert not (workdir.shards / "dataset.json").exists()


def test_all_images_bad_and_mended(
    own_drawn: Any, workdir: Workdir, export: Export, is_one_line: Callable[..., str]
) -> None:
    """An export that came to nothing is no reason to come to nothing again once the images are there."""
    good = {name: (own_drawn.images / name).read_bytes() for name in own_drawn.names}
    for name in good:
        (own_drawn.images / name).write_bytes(b"")
    with pytest.raises(ImageError, match="could not be rendered, too many to continue") as caught:
        export(workdir)
    is_one_line(caught.value)
    assert not (workdir.shards / "dataset.json").exists()
    for name, data in good.items():
        (own_drawn.images / name).write_bytes(data)
    message = str(caught.value)
    assert export(workdir, retry_errors="retry_errors" in message).faults == []


def test_too_many_errors_and_mended(own_drawn: Any, workdir: Workdir, export: Export, is_one_line: Any) -> None:
    good = {name: (own_drawn.images / name).read_bytes() for name in own_drawn.names[:4]}
    for name in good:
        (own_drawn.images / name).unlink()
    with pytest.raises(ImageError, match="raise max_errors") as caught:
        export(workdir, max_errors=2, chips_per_shard=1)
    message = is_one_line(caught.value)
    assert not (workdir.shards / "dataset.json").exists()
    for name, data in good.items():
        (own_drawn.images / name).write_bytes(data)
    assert export(workdir, max_errors=2, chips_per_shard=1, retry_errors="retry_errors" in message).faults == []


def test_too_many_errors_stay_too_many(own_drawn: Any, workdir: Workdir, export: Export) -> None:
    """Running the same command again does not slip past --max-errors."""
    for name in own_drawn.names[:4]:
        (own_drawn.images / name).unlink()
    for _ in range(3):
        with pytest.raises(ImageError, match="too many to continue"):
            export(workdir, max_errors=2, chips_per_shard=1)


def test_too_many_in_a_row(own_drawn: Any, workdir: Workdir, export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chipper.shards.stripes, "IN_A_ROW", 3)
    for name in own_drawn.names[1:4]:
        (own_drawn.images / name).unlink()
    with pytest.raises(ImageError, match="3 images could not be rendered"):
        export(workdir, chips_per_shard=1000)


def test_names_that_leave_the_folder_are_never_opened(
    own_drawn: Any, tmp_path: Path, build: Build, export: Export
) -> None:
    secret = own_drawn.folder / "secret.jpg"
    Image.new("RGB", (640, 480)).save(secret)
    images = own_drawn.content["images"]
    names = ["../secret.jpg", str(secret), "a/../../secret.jpg", "..\\secret.jpg"]
    evil = [{**images[0], "id": 5000 + k, "file_name": name} for k, name in enumerate(names)]
    boxes = [{**own_drawn.content["annotations"][0], "id": 6000 + k, "image_id": 5000 + k} for k in range(len(names))]
    content = own_drawn.content | {
        "images": [*images, *evil],
        "annotations": [*own_drawn.content["annotations"], *boxes],
    }
    own_drawn.coco.write_text(json.dumps(content))
    workdir = build(own_drawn.coco, tmp_path / "chips")
    export(workdir)
    assert not {record["image_id"] for record in records(workdir)} & {image["id"] for image in evil}
    skipped = pq.read_table(workdir.path / "skipped.parquet").to_pylist()
    assert sum(row["reason"] == "bad file name" for row in skipped) == len(names)


# --- before and around ---


def test_before_build_positives(tmp_path: Path, export: Export) -> None:
    with pytest.raises(WorkdirError, match="run `chipper build-positives"):
        export(Workdir(tmp_path / "chips"))


def test_second_exporter_is_refused(workdir: Workdir, export: Export) -> None:
    with locked(workdir.path, "export-shards"), pytest.raises(WorkdirError, match="in use by chipper export-shards"):
        export(workdir)


def test_image_dir_beats_what_is_recorded(own_drawn: Any, workdir: Workdir, export: Export, tmp_path: Path) -> None:
    shutil.copytree(own_drawn.images, tmp_path / "copies")
    assert export(workdir, image_dir=tmp_path / "copies").image_dir == (tmp_path / "copies").resolve()


def test_full_disk(workdir: Workdir, export: Export, is_one_line: Callable[..., str]) -> None:
    """A limit on file sizes stands in for a full disk."""
    import resource
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(StorageError, match=r"cannot write .*\.tar: ") as caught:
            export(workdir, chips_per_shard=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    is_one_line(caught.value)
    assert not (workdir.shards / "dataset.json").exists()
    assert not list(workdir.shards.glob("*.done.json"))
    assert not list(workdir.shards.glob(".*partial"))
    assert export(workdir).faults == []


def test_receipts_name_their_plan(exported: Workdir) -> None:
    for name in shard_set(exported)["shards"]:
        receipt = read_receipt(exported.shards, name)
        assert receipt is not None
        assert receipt.name == name
        assert receipt.bytes == tar_path(exported.shards, name).stat().st_size


def test_errors_are_chipper_errors_across_processes() -> None:
    import pickle

    for kind in (ImageError, StorageError, WorkdirError):
        again = pickle.loads(pickle.dumps(kind("one line")))
        assert isinstance(again, ChipperError)
        assert str(again) == "one line"


def test_files_of_others_in_the_shards_folder_are_left_alone(workdir: Workdir, export: Export) -> None:
    names = ["copy-of-data.tar", "backup-of-2024.tar", "2-of-3.done.json", "positives-00000-of-00001.tar.bak"]
    workdir.shards.mkdir()
    for name in names:
        (workdir.shards / name).write_bytes(b"years of work")
    export(workdir)
    assert all((workdir.shards / name).read_bytes() == b"years of work" for name in names)


def test_on_error_fail_does_not_pass_over_faults_of_a_run_before(
    own_drawn: Any, workdir: Workdir, export: Export
) -> None:
    (own_drawn.images / own_drawn.names[4]).unlink()
    assert export(workdir).faults
    with pytest.raises(ImageError, match="on_error fail"):
        export(workdir, on_error="fail")


def test_after_nothing_could_be_rendered_the_same_command_renders_all(
    own_drawn: Any, workdir: Workdir, export: Export
) -> None:
    good = {name: (own_drawn.images / name).read_bytes() for name in own_drawn.names}
    for name in good:
        (own_drawn.images / name).write_bytes(b"")
    with pytest.raises(ImageError):
        export(workdir)
    for name, data in good.items():
        (own_drawn.images / name).write_bytes(data)
    assert export(workdir).faults == []


# --- one decode an image ---


def test_an_image_is_decoded_once_for_all_its_shards(
    own_drawn: Any, tmp_path: Path, build: Build, mine: Any, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir = build(own_drawn.coco, tmp_path / "chips", image_dir=own_drawn.images, variants=3)
    mine(workdir, own_drawn.proposals, **EASY)
    opened, seen = chipper.shards.stripes.open_source, Counter[str]()

    def counted(path: Path, *rest: Any) -> Any:
        seen[path.name] += 1
        return opened(path, *rest)

    monkeypatch.setattr(chipper.shards.stripes, "open_source", counted)
    done = export(workdir, chips_per_shard=1000)
    stems = {f"{kind}{variant}" for kind in ("positives", "negatives") for variant in ("", "-v1", "-v2")}
    assert {receipt.name for receipt in done.receipts} == {f"{stem}-00000-of-00001" for stem in stems}
    assert set(seen) == set(own_drawn.names)
    assert set(seen.values()) == {1}


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_chips_are_the_same_whatever_else_is_rendered_beside_them(
    tmp_path: Path, write_coco: Any, build: Build, export: Export, kind: str
) -> None:
    """One variant's chips are coarse, and may be cut from a reduced decoding, when the other's are not."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (75, 100, 3), dtype=np.uint8))
    small.resize((1600, 1200), Image.Resampling.BILINEAR).save(tmp_path / "a.img", kind)
    coco = write_coco(
        tmp_path,
        images=[{"id": 1, "file_name": "a.img", "width": 1600, "height": 1200}],
        annotations=[
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [100, 100, 900, 700]},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [800, 300, 40, 40]},
        ],
        categories=[{"id": 1, "name": "x"}],
    )
    workdir = build(coco, tmp_path / "chips", scales="512,1", valid_ranges="500:,:100", variants=2, image_dir=tmp_path)
    manifest = workdir.open()
    chips = manifest.chips(0, POSITIVE)
    coarse = (chips.variant == 0) & (chips.scale < 0.5) | (chips.variant == 1)
    assert 0 < coarse.sum() < len(chips)
    write_part(workdir.path, CHIPS, 0, chips[coarse], manifest.dataset.epochs_id, POSITIVE)
    export(workdir)
    together = {name: tar_path(workdir.shards, name).read_bytes() for name in shard_set(workdir)["shards"]}
    assert len(together) == 2
    for name, data in together.items():
        shutil.rmtree(workdir.shards)
        for plan in plan_shards(manifest, 1000, RenderOptions()):
            if plan.name == name:
                render_stripe(
                    workdir.path, workdir.shards, manifest.dataset.epochs_id, tmp_path, [plan], ExportOptions()
                )
        assert tar_path(workdir.shards, name).read_bytes() == data
