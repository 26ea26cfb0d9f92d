"""chipper propose, predict, evaluate."""

from __future__ import annotations

from pathlib import Path

import click

from chipper.cli.command import command
from chipper.cli.console import ConsoleMonitor, print_summary
from chipper.cli.options import (
    Place,
    coco_argument,
    device_option,
    dry_run_option,
    image_dir_option,
    pixel_options,
    run_option,
    scales_option,
    valid_ranges_option,
    workdir_option,
    workers_options,
)
from chipper.columns import Proposals
from chipper.detection.specs import PROPOSALS
from chipper.images.options import PixelOptions
from chipper.inference.planning import METHODS, plan_prediction, plan_proposals, require_results_place
from chipper.inference.scales import SCORE_FLOOR
from chipper.manifest.workdir import Workdir
from chipper.parallel.workers import Workers
from chipper.runs import find_run


@command()
@click.option(
    "--out",
    type=Place(dir_okay=False, path_type=Path),
    default="rpn.pkl",
    show_default=True,
    help="File to write: a .pkl in the format of SNIPER, or a .parquet.",
)
@click.option(
    "--per-scale",
    type=click.IntRange(1),
    default=PROPOSALS,
    show_default=True,
    help="Proposals per image and scale.",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default=METHODS[0],
    show_default=True,
    help="selective-search needs no training and ignores --run and --device.",
)
@pixel_options
@scales_option
@image_dir_option
@run_option
@device_option
@workers_options
@workdir_option
@dry_run_option
def propose(
    workdir: Workdir,
    run_name: str | None,
    out: Path,
    per_scale: int,
    method: str,
    scales: str | None,
    image_dir: Path | None,
    pixels: PixelOptions,
    device: str,
    workers: Workers,
    dry_run: bool,
) -> None:
    """Propose object boxes in the images of the workdir, for mine-negatives.

    \b
    Example: chipper propose --run rpn --out rpn.pkl
             chipper propose --method selective-search --out search.pkl
    """
    from chipper.proposals.writing import check_place, write_proposals

    check_place(out)
    plan = plan_proposals(workdir, method=method, run=run_name, scales=scales, image_dir=image_dir, pixels=pixels)
    images, monitor = plan.images, ConsoleMonitor()
    if dry_run:
        rows = [
            ("images", f"{len(images):,} in {plan.image_dir}"),
            ("proposals", f"{per_scale:,} per image and scale, at most"),
        ]
        print_summary(f"Proposals in {out} (dry run: nothing written)", rows, {"out": str(out), "images": len(images)})
        return
    records = workdir.dataset().source.image_records

    def save(found: Proposals) -> None:
        write_proposals(out, found, images, records)

    if plan.run_dir is None:
        from chipper.proposals.selective_search import selective_search

        limit = per_scale * len(plan.pyramid.scales)
        found = selective_search(
            images,
            plan.image_dir,
            limit,
            workers=workers,
            monitor=monitor,
            pixels=plan.pixels,
            out=out,
            save=save,
        )
    else:
        from chipper.detection.predict import propose as propose_all

        found = propose_all(
            plan.run_dir,
            images,
            plan.image_dir,
            plan.pyramid,
            device=device,
            per_scale=per_scale,
            pixels=plan.pixels,
            out=out,
            save=save,
            monitor=monitor,
        )
    rows = [
        ("images", f"{len(images):,}"),
        ("proposals", f"{len(found):,}"),
    ]
    print_summary(f"Proposals in {out}", rows, {"out": str(out), "images": len(images), "proposals": len(found)})


@command()
@coco_argument
@click.option(
    "--out",
    type=Place(dir_okay=False, path_type=Path),
    default="detections.json",
    show_default=True,
    help="COCO results file to write.",
)
@click.option("--score-floor", type=float, default=SCORE_FLOOR, show_default=True, help="Lowest score to keep.")
@click.option("--single-scale", is_flag=True, help="Use only the middle scale, for objects of every size.")
@click.option("--flip", is_flag=True, help="Also detect in the mirrored image.")
@click.option(
    "--focus",
    type=float,
    default=None,
    help="At finer scales, look only where the focus branch expects small objects with at least this probability, e.g. 0.3.",
)
@pixel_options
@scales_option
@valid_ranges_option
@image_dir_option
@run_option
@device_option
@workdir_option
@dry_run_option
def predict(
    coco: Path,
    workdir: Workdir,
    run_name: str | None,
    out: Path,
    score_floor: float,
    single_scale: bool,
    flip: bool,
    focus: float | None,
    scales: str | None,
    valid_ranges: str | None,
    image_dir: Path | None,
    pixels: PixelOptions,
    device: str,
    dry_run: bool,
) -> None:
    """Detect objects in the images that COCO lists, at every scale, and merge them by Soft-NMS.

    A stopped run goes on where it stopped if it is started again in the same way.

    \b
    Example: chipper predict val.json --out detections.json
    """
    from chipper.detection.predict import predict as predict_all

    require_results_place(out)
    plan = plan_prediction(
        workdir,
        coco,
        run=run_name,
        scales=scales,
        valid_ranges=valid_ranges,
        single_scale=single_scale,
        image_dir=image_dir,
        pixels=pixels,
    )
    images, pyramid = plan.images, plan.pyramid
    if dry_run:
        rows = [
            ("images", f"{len(images):,} in {plan.image_dir}"),
            ("scales", ", ".join(f"{s} for {r}" for s, r in zip(pyramid.scales, pyramid.valid_ranges, strict=True))),
        ]
        print_summary(f"Detections in {out} (dry run: nothing written)", rows, {"out": str(out), "images": len(images)})
        return
    assert plan.run_dir is not None
    results = predict_all(
        plan.run_dir,
        images,
        plan.image_dir,
        pyramid,
        device=device,
        score_floor=score_floor,
        flip=flip,
        focus=focus,
        pixels=plan.pixels,
        out=out,
        monitor=ConsoleMonitor(),
    )
    rows = [
        ("images", f"{len(images):,}"),
        ("detections", f"{len(results):,}"),
    ]
    print_summary(f"Detections in {out}", rows, {"out": str(out), "images": len(images), "detections": len(results)})


@command()
@coco_argument
@click.argument("detections", type=Place(path_type=Path), default="detections.json")
@click.option(
    "--proposals",
    type=Place(dir_okay=False, path_type=Path),
    default=None,
    help="Evaluate the recall of a proposal file instead.",
)
@click.option(
    "--curves",
    type=Place(dir_okay=False, path_type=Path),
    default=None,
    help="Draw precision over recall in this .png.",
)
@click.option("--masks", is_flag=True, help="Compare masks instead of boxes.")
@click.option(
    "--run",
    "run_name",
    default=None,
    metavar="NAME",
    help="Keep the result in WORKDIR/runs/NAME/evaluation.json, for `chipper report`.",
)
@workdir_option
@dry_run_option
def evaluate(
    workdir: Workdir,
    coco: Path,
    detections: Path,
    proposals: Path | None,
    curves: Path | None,
    masks: bool,
    run_name: str | None,
    dry_run: bool,
) -> None:
    """Compute the COCO AP and AR of DETECTIONS against the ground truth in COCO, with pycocotools.

    \b
    Example: chipper evaluate val.json detections.json --run detector
             chipper evaluate coco.json --proposals rpn.pkl
    """
    from chipper.evaluation.curves import draw_curves, require_curves_place
    from chipper.evaluation.saved import require_run, save_evaluation
    from chipper.evaluation.scores import evaluate as evaluate_file
    from chipper.evaluation.scores import evaluate_proposals

    run_dir = None if run_name is None else find_run(workdir, run_name)
    if run_dir is not None:
        require_run(run_dir)
    if proposals is not None:
        recall = evaluate_proposals(coco, proposals)
        print_summary(
            f"Recall of {proposals}", [(name, f"{value:.4f}") for name, value in recall.items()], dict(recall)
        )
        return
    if curves is not None:
        require_curves_place(curves)
    result = evaluate_file(coco, detections, masks, ConsoleMonitor())
    if curves is not None and not dry_run:
        draw_curves(result, curves)
    rows = [(name, f"{value:.4f}") for name, value in result.numbers.items()]
    seen = {name: numbers for name, numbers in result.per_class.items() if numbers["AP"] >= 0}
    rows += [
        (name, "  ".join(f"{what} {value:.4f}" for what, value in numbers.items())) for name, numbers in seen.items()
    ]
    if len(seen) < len(result.per_class):
        rows.append(("without objects", f"{len(result.per_class) - len(seen):,} more classes"))
    data = {"numbers": result.numbers, "per_class": result.per_class}
    if run_dir is not None and not dry_run:
        kept = save_evaluation(result, coco, detections, masks, run_dir)
        rows.append(("kept in", str(kept)))
    print_summary(f"Evaluation of {detections}", rows, data)
