"""chipper.manifest.mine_negatives: negatives for any format and any number of workers, and a crash that costs nothing."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chipper.manifest.mine_negatives
import chipper.mining.parts
from chipper.columns import CHIPS_PER_IMAGE, FIRST_NEGATIVE, NEGATIVE, POSITIVE
from chipper.errors import ChipperError, ProposalError, WorkdirError
from chipper.manifest.workdir import Workdir
from chipper.storage.lock import locked

Build = Callable[..., Workdir]
EASY = {"min_proposals_finest": 5, "min_proposals": 5}


@pytest.fixture(scope="module")
def mined(drawn: Any, tmp_path_factory: pytest.TempPathFactory, build: Build, mine: Any) -> Workdir:
    workdir = build(drawn.coco, tmp_path_factory.mktemp("mined") / "chips")
    mine(workdir, drawn.proposals, **EASY)
    return workdir


def test_same_bytes_for_any_jobs_and_parts(
    drawn: Any, tmp_path: Path, build: Build, mine: Any, hashes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chipper.mining.parts, "PART_IMAGES", 3)
    found = []
    for jobs in (1, 2, 3):
        workdir = build(drawn.coco, tmp_path / f"chips{jobs}", variants=2)
        mine(workdir, drawn.proposals, jobs, **EASY)
        found.append(hashes(workdir.path))
    assert "chips/negative-00002.parquet" in found[0]
    assert found[0] == found[1] == found[2]


def test_again_gives_the_same(drawn: Any, mined: Workdir, mine: Any, hashes: Any) -> None:
    before = hashes(mined.path)
    mine(mined, drawn.proposals, **EASY)
    assert hashes(mined.path) == before


def test_positive_tables_are_left_alone(drawn: Any, tmp_path: Path, build: Build, mine: Any, hashes: Any) -> None:
    workdir = build(drawn.coco, tmp_path / "chips")
    before = hashes(workdir.path)
    mine(workdir, drawn.proposals, **EASY)
    after = hashes(workdir.path)
    changed = {name for name in before if after[name] != before[name]}
    assert changed <= {"dataset.json", *(f"epochs/epoch-{e:03d}.parquet" for e in range(7))}
    assert set(after) - set(before) == {"chips/negative-00000.parquet", "labels/negative-00000.parquet"}


def test_epochs_take_a_few_negatives_of_each_image(mined: Workdir) -> None:
    manifest = mined.open()
    positives = set(manifest.all_chips(POSITIVE).chip_id.tolist())
    negatives = set(manifest.all_chips(NEGATIVE).chip_id.tolist())
    assert negatives
    drawn_sets = []
    for epoch in range(7):
        ids = manifest.epoch(epoch)
        assert len(set(ids.tolist())) == ids.size
        taken = set(ids.tolist()) - positives
        assert positives <= set(ids.tolist())
        assert taken <= negatives
        per_image = np.bincount(np.array(sorted(taken)) // CHIPS_PER_IMAGE)
        assert per_image.max() <= 2
        available = np.bincount(np.array(sorted(negatives)) // CHIPS_PER_IMAGE)
        np.testing.assert_array_equal(per_image, np.minimum(available, 2))
        drawn_sets.append(frozenset(taken))
    assert len(set(drawn_sets)) > 1


def test_negative_ids_and_counts(mined: Workdir) -> None:
    manifest = mined.open()
    chips = manifest.all_chips(NEGATIVE)
    assert (chips.chip_id % CHIPS_PER_IMAGE >= FIRST_NEGATIVE).all()
    assert manifest.dataset.negatives is not None
    assert sum(manifest.dataset.negatives.counts["negative_chips"].values()) == len(chips)
    assert (chips.proposals >= 5).all()
    assert set(chips.kind) == {"negative"}


def test_formats_give_the_same_chips(drawn: Any, tmp_path: Path, build: Build, mine: Any, mined: Workdir) -> None:
    arrays = pickle.loads(drawn.proposals.read_bytes())
    by_id = {image["id"]: a for image, a in zip(drawn.content["images"], arrays, strict=True)}
    (tmp_path / "rpn.pkl").write_bytes(pickle.dumps(by_id))
    workdir = build(drawn.coco, tmp_path / "chips")
    mine(workdir, tmp_path / "rpn.pkl", **EASY)
    a, b = mined.open().all_chips(NEGATIVE), workdir.open().all_chips(NEGATIVE)
    for name, column in vars(a).items():
        np.testing.assert_array_equal(column, getattr(b, name))


def test_proposals_of_other_options_change_the_id(drawn: Any, tmp_path: Path, build: Build, mine: Any) -> None:
    workdir = build(drawn.coco, tmp_path / "chips")
    ids = [
        mine(workdir, drawn.proposals, **EASY, **other).negatives.id
        for other in ({}, {"nms": 0.5}, {"max_proposals": 50}, {"per_image": 1})
    ]
    assert len(set(ids)) == 4


def test_no_negatives_found(drawn: Any, tmp_path: Path, build: Build, mine: Any, export: Any) -> None:
    workdir = build(drawn.coco, tmp_path / "chips")
    dataset = mine(workdir, drawn.proposals, min_proposals_finest=10_000, min_proposals=10_000)
    assert sum(dataset.negatives.counts["negative_chips"].values()) == 0
    assert workdir.open().epoch(0).size == len(workdir.open().all_chips(POSITIVE))
    assert {receipt.kind for receipt in export(workdir).receipts} == {"positive"}


def test_before_build_positives(tmp_path: Path, drawn: Any, mine: Any, is_one_line: Callable[..., str]) -> None:
    with pytest.raises(WorkdirError, match="run `chipper build-positives") as caught:
        mine(Workdir(tmp_path / "chips"), drawn.proposals)
    is_one_line(caught.value)


def test_a_workdir_that_is_not_there_is_not_made(tmp_path: Path, drawn: Any, mine: Any, export: Any) -> None:
    """A slip in --workdir leaves no folder behind."""
    for command in (lambda w: mine(w, drawn.proposals), export):
        with pytest.raises(WorkdirError):
            command(Workdir(tmp_path / "chisp"))
    assert list(tmp_path.iterdir()) == []


def test_wrong_proposals_change_nothing(drawn: Any, mined: Workdir, tmp_path: Path, mine: Any, hashes: Any) -> None:
    before = hashes(mined.path)
    (tmp_path / "rpn.pkl").write_bytes(pickle.dumps([np.zeros((0, 5))] * 3))
    with pytest.raises(ProposalError, match="for 3 images, the COCO file 8"):
        mine(mined, tmp_path / "rpn.pkl")
    assert hashes(mined.path) == before


def test_second_miner_is_refused(drawn: Any, mined: Workdir, mine: Any) -> None:
    with locked(mined.path, "export-shards"), pytest.raises(WorkdirError, match="in use by chipper export-shards"):
        mine(mined, drawn.proposals)


class Crash(Exception):
    """The process ends here."""


@pytest.mark.parametrize("before", ["nothing", "negatives"])
@pytest.mark.parametrize("step", ["write_epochs", "count_by_scale", "commit"])
def test_after_a_crash_the_workdir_is_whole_or_says_what_helps(
    drawn: Any,
    tmp_path: Path,
    build: Build,
    mine: Any,
    hashes: Any,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    before: str,
    is_one_line: Callable[..., str],
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise Crash

    workdir = build(drawn.coco, tmp_path / "chips")
    if before == "negatives":
        mine(workdir, drawn.proposals, **EASY, nms=0.6)
    with monkeypatch.context() as patch:
        patch.setattr(Workdir if step == "commit" else chipper.manifest.mine_negatives, step, crash)
        with pytest.raises(Crash):
            mine(workdir, drawn.proposals, **EASY)
    try:
        manifest = workdir.open()
        for kind in manifest.kinds:
            manifest.all_chips(kind)
        for epoch in range(7):
            manifest.epoch(epoch)
    except ChipperError as error:
        assert "mine-negatives" in is_one_line(error)
    mine(workdir, drawn.proposals, **EASY)
    fresh = build(drawn.coco, tmp_path / "fresh")
    mine(fresh, drawn.proposals, **EASY)
    assert hashes(workdir.path) == hashes(fresh.path)
