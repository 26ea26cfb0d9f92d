"""The section of the report on training runs and their evaluations by `chipper evaluate`."""

from __future__ import annotations

import math

import numpy as np

from chipper.evaluation.saved import SavedEvaluation
from chipper.evaluation.scores import METRICS
from chipper.html import Markup, code, joined, paragraph, table, tag
from chipper.report.charts import LINES, precision_chart, training_chart
from chipper.report.collect import Report
from chipper.report.formatting import CLASSES_SHOWN, chart, folded, many, swatch, word
from chipper.report.runs import Run

OTHERS_NAMED = 50  # runs that are not shown
CURVES_NAMED = 6  # classes whose precision is drawn
_AREAS = {"s": "small", "m": "medium", "l": "large"}


def runs(report: Report) -> Markup:
    """Every training run."""
    if not report.runs:
        return paragraph("None yet; ", code("chipper train --shards"), " starts one.")
    parts = [
        paragraph(
            "Losses should fall and flatten. If the share of time waiting for data is above a third, use more ",
            code("--workers"),
            " or a faster disk. Points are means of consecutive steps.",
        )
    ]
    if report.other_runs:
        named = ", ".join(report.other_runs[:OTHERS_NAMED])
        more = len(report.other_runs) - OTHERS_NAMED
        parts.append(
            paragraph(
                f"The newest {len(report.runs)} runs are shown. Not shown: {named}"
                + (f" and {more:,} more." if more > 0 else ".")
            )
        )
    for position, run in enumerate(report.runs):
        parts += [tag("h3", run.name), _run(report, run, position)]
    return joined(parts)


def _run(report: Report, run: Run, position: int) -> Markup:
    parts: list[Markup] = []
    if run.problem:
        parts.append(paragraph(run.problem))
    if run.dataset_id and run.dataset_id != report.dataset.id:
        parts.append(paragraph("It was trained on other chips than those now in the workdir."))
    last = run.last.get("loss", math.nan)
    rows = [
        ("steps", f"{run.steps:,} of {run.total_steps:,}" + (f", {run.block:,} per point" if run.block > 1 else ""))
    ]
    if "loss" in run.curves:
        rows += [("loss", f"{run.curves['loss'][0]:.3f} at first, {last:.3f} at last")]
        for name, unit in (("chips_per_s", "chips per second"), ("data_wait", "of the time waiting for data")):
            if name in run.curves:
                mean = float(np.nanmean(run.curves[name]))
                rows.append((name, f"{100 * mean:.0f} % {unit}" if name == "data_wait" else f"{mean:.1f} {unit}"))
    rows += [(key.replace("_", "-"), word(value)) for key, value in sorted(run.training.items())]
    rows.append(("chipper", run.chipper_version))
    if run.steps > 1 and "loss" in run.curves:
        alt = f"Training curves over {run.steps:,} steps: loss from {run.curves['loss'][0]:.3f} to {last:.3f}."
        parts.append(chart(training_chart(str(position), run.curves, run.losses, alt)))
    parts.append(folded("Options and figures", table(("what", "value"), rows, "Run", words=2)))
    if run.evaluation is not None:
        parts.append(_evaluation(run.evaluation, position))
    else:
        parts.append(
            paragraph(
                "Not evaluated; ",
                code(f"chipper evaluate val.json detections.json --run {run.name}"),
                " adds its result here.",
            )
        )
    return joined(parts)


def _evaluation(found: SavedEvaluation, position: int) -> Markup:
    numbers = [(name, _metric(name), _percent(found.numbers[name])) for name in METRICS if name in found.numbers]
    names = sorted(
        (n for n in found.per_class if found.per_class[n]["AP"] >= 0), key=lambda n: (-found.per_class[n]["AP"], n)
    )
    columns = ("AP", "AP50", "AP75", "AR100")
    rows = [(name, *(_percent(found.per_class[name][column]) for column in columns)) for name in names]
    head = ("class", *columns)
    kind = "masks" if found.masks else "boxes"
    parts = [
        tag("h4", f"Evaluation of {kind}: {found.detections} against {found.coco}"),
        table(("", "what", "%"), numbers, "COCO's numbers", words=2),
        paragraph(
            "Classes, best first. If only the AP75 of a class is low and not its AP50, its boxes are imprecise. If its AR100 is "
            "low, many of its objects are not found."
        ),
        table(head, rows[:CLASSES_SHOWN], "AP by class"),
    ]
    if rows[CLASSES_SHOWN:]:
        parts.append(
            folded(
                many(len(rows) - CLASSES_SHOWN, "more class", "more classes"),
                table(head, rows[CLASSES_SHOWN:], "AP by class, the rest"),
            )
        )
    drawn = [name for name in names if name in found.curves]
    if drawn:
        spread = [drawn[k] for k in np.unique(np.linspace(0, len(drawn) - 1, CURVES_NAMED).round().astype(int))]
        curves = np.array([found.curves[name] for name in drawn])
        mean = curves.mean(axis=0)
        alt = (
            f"Precision over recall at IoU 0.5: mean of {many(len(drawn), 'class', 'classes')}, {100 * mean.mean():.1f} % on "
            f"average, and {len(spread)} of them from best to worst."
        )
        legend = [tag("span", swatch("var(--ink)"), f"mean of {many(len(drawn), 'class', 'classes')}", class_="key")]
        legend += [
            tag(
                "span",
                swatch(LINES[k % len(LINES)]),
                f"{name} (AP50 {_percent(found.per_class[name]['AP50'])})",
                class_="key",
            )
            for k, name in enumerate(spread)
        ]
        lines = [found.curves[name] for name in spread]
        parts += [
            paragraph("Precision over recall at IoU 0.5, of the mean and of some classes from best to worst."),
            chart(precision_chart(str(position), found.recall, lines, mean.tolist(), alt)),
            tag("p", *legend, class_="legend"),
        ]
    return joined(parts)


def _metric(name: str) -> str:
    """The meaning of one of pycocotools' numbers."""
    what, rest = ("average precision", name[2:]) if name.startswith("AP") else ("average recall", name[2:])
    if rest in _AREAS:
        return f"{what}, {_AREAS[rest]} objects"
    if not rest:
        return f"{what}, mean over IoU 0.5 to 0.95"
    return f"{what} at IoU 0.{rest}" if name.startswith("AP") else f"{what}, {rest} detections per image"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}" if value >= 0 else "–"  # noqa: RUF001
