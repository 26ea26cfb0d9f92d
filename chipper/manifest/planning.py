"""Plan a complete data set, part by part, in threads."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import add
from typing import Any

from chipper.coco.reading import Coco
from chipper.mining.options import NegativeOptions, PositiveOptions
from chipper.mining.parts import parts_of
from chipper.mining.plan import Plan, plan_chips
from chipper.parallel.progress import SILENT, Monitor
from chipper.parallel.workers import Workers


def plan_dataset(
    coco: Coco,
    options: PositiveOptions,
    *,
    workers: Workers = Workers(),  # noqa: B008, it is frozen
    monitor: Monitor = SILENT,
    what: str = "chips",
) -> dict[str, Any]:
    """`chipper.mining.plan.Plan.report` for all images of ``coco``; ``what`` names the plan in the progress messages."""

    def plans() -> Iterator[Plan]:
        tasks = [(*part, options) for part in parts_of(coco.images, coco.annotations)]
        with monitor.progress(f"planning {what} (images)", len(coco.images)) as advance:
            for plan in workers.threads(plan_chips, tasks):
                yield plan
                advance(plan.images)

    return reduce(add, plans()).report(options, NegativeOptions.per_image)
