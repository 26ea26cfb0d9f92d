"""chipper.inference.planning: which images are looked at, at which scales, by which run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chipper.errors import CheckpointError, OptionError
from chipper.images.options import PixelOptions
from chipper.inference.planning import plan_prediction, plan_proposals
from chipper.manifest.workdir import Workdir
from chipper.runs import CONFIG, RunConfig
from chipper.storage.files import write_json


@pytest.fixture
def workdir(drawn: Any, build: Any, tmp_path: Path) -> Workdir:
    made: Workdir = build(drawn.coco, tmp_path / "chips")
    for name, training in (("detector", {}), ("rpn", {"rpn_only": True})):
        folder = made.runs / name
        write_json(folder / CONFIG, RunConfig("1", "x", made.dataset().options, training, {"bands": "3,2,1"}))
        (folder / "checkpoint-00000001.pt").touch()
    return made


def test_a_detector_looks_at_the_images_of_the_file(workdir: Workdir, drawn: Any) -> None:
    plan = plan_prediction(workdir, drawn.coco, pixels=PixelOptions(stretch="2-98"))
    assert plan.run_dir == workdir.runs / "detector"
    assert len(plan.images) == len(workdir.open().all_images())
    assert plan.pixels == PixelOptions("3,2,1", "2-98")
    assert len(plan.pyramid.scales) == 3
    single = plan_prediction(workdir, drawn.coco, single_scale=True)
    assert single.pyramid == plan.pyramid.single()
    with pytest.raises(CheckpointError, match="no training run lies there"):
        plan_prediction(workdir, drawn.coco, run="another")


def test_a_search_needs_no_run_and_has_the_scales_of_the_chips(workdir: Workdir) -> None:
    plan = plan_proposals(workdir, method="selective-search")
    assert plan.run_dir is None
    assert plan.pyramid.scales == workdir.dataset().positive_options.scales
    assert plan.pixels == PixelOptions()
    assert len(plan_proposals(workdir, method="selective-search", scales="512,2").pyramid.scales) == 2
    assert plan_proposals(workdir, run="rpn").run_dir == workdir.runs / "rpn"
    with pytest.raises(OptionError, match="method is 'guess'; it is rpn or selective-search"):
        plan_proposals(workdir, method="guess")
