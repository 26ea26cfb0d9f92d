"""chipper.manifest.planning: the plan of a data set is the sum of its parts, whoever plans them."""

from __future__ import annotations

from typing import Any

import pytest

import chipper.mining.parts
from chipper.coco.reading import read_coco
from chipper.manifest.planning import plan_dataset
from chipper.mining.options import NegativeOptions, PositiveOptions
from chipper.mining.plan import plan_chips
from chipper.parallel.workers import Workers


@pytest.mark.parametrize("jobs", [1, 3])
def test_parts_add_up_to_the_plan_of_all_images(drawn: Any, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    coco, options = read_coco(drawn.coco), PositiveOptions.parse()
    whole = plan_chips(coco.images, coco.annotations, options).report(options, NegativeOptions.per_image)
    monkeypatch.setattr(chipper.mining.parts, "PART_IMAGES", 3)
    report = plan_dataset(coco, options, workers=Workers(jobs))
    assert report.keys() == whole.keys()
    estimated = "estimated_shard_bytes"  # sums of floats, rounded
    assert abs(report.pop(estimated) - whole.pop(estimated)) <= 1
    assert report == whole
