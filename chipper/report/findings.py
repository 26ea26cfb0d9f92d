"""Sentences on what a user should check in a workdir."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chipper.evaluation.saved import SavedEvaluation
from chipper.html import Markup, tag
from chipper.report.collect import Report
from chipper.report.formatting import many, scale_names, share

LARGE_ENOUGH = 0.9
"""Share of the boxes that should have 32 px or more in a chip; `chipper plan --suggest` aims at it."""

NEXT_TO_NOTHING = 0.01
"""AP below which a run has learnt almost nothing."""
CLASSES_NAMED = 5


def findings(report: Report) -> list[Markup]:
    """Sentences on what a user should check."""
    plan, out = report.tally.plan, list[Markup]()

    def say(*words: object) -> None:
        out.append(tag("li", *words))

    uncovered = plan.boxes - int(report.tally.fates[:, 1].sum())
    if uncovered:
        say(
            f"{many(uncovered, 'box is', 'boxes are')} covered by no chip ({share(uncovered, plan.boxes)}): "
            f"{plan.in_no_range:,} in no valid range, {plan.unholdable:,} larger than any chip."
        )
    lost = sum(
        dropped.count
        for (_, reason), dropped in report.dropped.items()
        if reason not in ("in no valid range", "no chip can hold it")
    )
    if lost:
        say(f"{many(lost, 'record')} of the annotation file could not be used.")
    if plan.boxes and plan.large_enough < LARGE_ENOUGH * plan.boxes:
        say(
            f"Only {share(plan.large_enough, plan.boxes)} of the boxes have 32 px or more in a chip; "
            "a finer scale shows more of them, if the images have the detail."
        )
    idle = [name for name, count in zip(scale_names(report), plan.chips.tolist(), strict=True) if not count]
    if idle:
        say(f"No chip at scale {', '.join(idle)}.")
    if not plan.boxes:
        say("There are no boxes, so there are no positive chips.")
    if report.shards_problem is not None:
        say(report.shards_problem)
    if report.shards is not None:
        if report.shards.stale:
            say("The shards contain other chips than the workdir; run chipper export-shards again.")
        if report.shards.missing_count:
            say(f"{many(report.shards.missing_count, 'shard is', 'shards are')} missing or incomplete.")
        if report.shards.lost_images:
            say(
                f"{many(report.shards.lost_images, 'image')} could not be rendered, which loses "
                f"{many(report.shards.lost_chips, 'chip')}."
            )
    for run in report.runs:
        if run.problem:
            say(f"Run {run.name}: {run.problem}.")
        if "data_wait" in run.curves and float(np.nanmean(run.curves["data_wait"])) > 1 / 3:
            say(f"Run {run.name} waits for data {100 * float(np.nanmean(run.curves['data_wait'])):.0f} % of the time.")
        if run.steps < run.total_steps:
            say(
                f"Run {run.name} is at step {run.steps:,} of {run.total_steps:,}; if it was stopped, --resume continues it."
            )
        if run.evaluation is not None:
            for sentence in _of_evaluation(run.evaluation):
                say(f"Run {run.name} {sentence}")
        if run.dataset_id and run.dataset_id != report.dataset.id:
            say(f"Run {run.name} was trained on other chips than those now in the workdir.")
    return out


def _of_evaluation(found: SavedEvaluation) -> Iterator[str]:
    """Sentences on the AP of a run; AP is -1 without ground truth."""
    ap = found.numbers.get("AP", -1.0)
    if 0 <= ap < NEXT_TO_NOTHING:
        yield f"finds almost nothing: AP {100 * ap:.1f}. It may need more steps or pretrained weights."
        return
    per_class = {name: numbers.get("AP", -1.0) for name, numbers in found.per_class.items()}
    lost = [name for name, value in per_class.items() if 0 <= value < NEXT_TO_NOTHING]
    if lost:
        there = sum(value >= 0 for value in per_class.values())
        named = ", ".join(lost[:CLASSES_NAMED]) + (", ..." if len(lost) > CLASSES_NAMED else "")
        yield f"finds almost nothing of {len(lost):,} of {many(there, 'class', 'classes')}: {named}."
