"""Layout epochs: each epoch's chips in its order, copied from the pool, resumed shard by shard."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

import chipper.shards.epochs
from chipper.cli.main import main
from chipper.errors import ShardError
from chipper.manifest.workdir import Workdir
from chipper.parallel.workers import Workers
from chipper.shards.epochs import epoch_folder, export_epochs
from chipper.shards.pool import Pool
from chipper.shards.verify import verify_shards


@pytest.fixture
def workdir(drawn: Any, tmp_path: Path, build: Any, mine: Any, export: Any) -> Workdir:
    made: Workdir = build(drawn.coco, tmp_path / "chips", image_dir=drawn.images, epochs=3)
    mine(made, drawn.proposals, min_proposals=3, min_proposals_finest=3)
    export(made)
    return made


def run(workdir: Workdir, jobs: int = 1, each: int = 10) -> Any:
    return export_epochs(workdir, each, workers=Workers(jobs))


# webdataset leaves its files to the collector
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_streams_an_epoch_in_its_order(workdir: Workdir) -> None:
    import webdataset

    run(workdir)
    pool, manifest = Pool(workdir.shards), workdir.open()
    for epoch in range(3):
        tars = sorted(map(str, epoch_folder(workdir.shards, epoch).glob("*.tar")))
        assert len(tars) > 2
        samples = list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False))
        gc.collect()
        ids = [msgspec.json.decode(sample["json"])["chip"]["chip_id"] for sample in samples]
        assert ids == manifest.epoch(epoch).tolist()
        for sample, row in zip(samples, pool.rows(manifest.epoch(epoch)), strict=True):
            assert (sample["jpg"], sample["json"]) == pool.read(int(row))


def test_each_epoch_is_a_whole_set_of_its_own(workdir: Workdir) -> None:
    run(workdir)
    for epoch in range(3):
        folder = epoch_folder(workdir.shards, epoch)
        assert verify_shards(folder, deep=True, workers=Workers(1)).faults == []
        index = msgspec.json.decode((folder / "train-index.json").read_bytes())
        assert index["num_samples"] == len(workdir.open().epoch(epoch)) == len(Pool(folder))
    assert verify_shards(workdir.shards, deep=True, workers=Workers(1)).faults == []


def test_same_bytes_for_any_jobs_and_nothing_is_copied_twice(
    workdir: Workdir, hashes: Callable[[Path], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(workdir)
    before = hashes(workdir.path)
    for path in epoch_folder(workdir.shards, 1).iterdir():
        path.unlink()
    run(workdir, 2)
    assert hashes(workdir.path) == before
    copied = []
    write = chipper.shards.epochs.open_shard

    def counted(folder: Path, name: str, *rest: Any) -> Any:
        copied.append(name)
        return write(folder, name, *rest)

    monkeypatch.setattr(chipper.shards.epochs, "open_shard", counted)
    tar = next(epoch_folder(workdir.shards, 2).glob("*-00001-of-*.tar"))
    tar.write_bytes(tar.read_bytes()[:-512])
    run(workdir)
    assert copied == [tar.stem]
    assert hashes(workdir.path) == before
    run(workdir, each=1000)
    assert len(list(epoch_folder(workdir.shards, 0).glob("*.tar"))) == 1


def test_without_a_pool(drawn: Any, tmp_path: Path, build: Any, is_one_line: Any) -> None:
    made = build(drawn.coco, tmp_path / "chips", image_dir=drawn.images)
    with pytest.raises(ShardError) as caught:
        run(made)
    assert "export-shards" in is_one_line(caught.value)


def test_the_command(workdir: Workdir) -> None:
    result = CliRunner().invoke(main, ["export-shards", "--layout", "epochs", "--workdir", str(workdir.path)])
    assert result.exit_code == 0, result.output
    assert "epochs" in result.stdout
    assert (epoch_folder(workdir.shards, 0) / "dataset.json").exists()
