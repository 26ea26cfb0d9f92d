"""chipper propose, predict, evaluate."""

from __future__ import annotations

import time
from pathlib import Path

import click

from chipper.cli.console import ConsoleMonitor, human_seconds, print_summary
from chipper.cli.options import (
    Place,
    coco_argument,
    device_option,
    image_dir_option,
    run_option,
    scales_option,
    valid_ranges_option,
    workdir_option,
    workers_options,
)
from chipper.errors import CheckpointError
from chipper.scales import parse_scales
from chipper.workdir import Workdir
from chipper.workers import Workers


@click.command()
@click.option(
    "--out",
    type=Place(dir_okay=False, path_type=Path),
    default="rpn.pkl",
    show_default=True,
    help="A .pkl as SNIPER reads it, or a .parquet.",
)
@click.option(
    "--per-scale", type=click.IntRange(1), default=300, show_default=True, help="Proposals of an image at each scale."
)
@click.option(
    "--method",
    type=click.Choice(["rpn", "selective-search"]),
    default="rpn",
    show_default=True,
    help="selective-search needs no training; --run and --device count for nothing then.",
)
@scales_option
@image_dir_option
@run_option
@device_option
@workers_options
@workdir_option
def propose(
    workdir: Workdir,
    run_name: str | None,
    out: Path,
    per_scale: int,
    method: str,
    scales: str | None,
    image_dir: Path | None,
    device: str,
    workers: Workers,
) -> None:
    """Propose object boxes in the images of the workdir, for mine-negatives.

    \b
    Example: chipper propose --run rpn --out rpn.pkl
             chipper propose --method selective-search --out search.pkl
    """
    from chipper.proposals import write_pickle, write_proposals

    started = time.perf_counter()
    if method == "rpn":
        from chipper.detection.predict import Pyramid
        from chipper.detection.predict import propose as propose_all

        run_dir = _run_dir(workdir, run_name)
        pyramid = Pyramid.of(run_dir, scales, None)
    dataset = workdir.dataset()
    images = workdir.all_images(dataset)
    folder = workdir.image_dir(dataset, image_dir)
    if method == "rpn":
        found = propose_all(run_dir, images, folder, pyramid, device, per_scale, ConsoleMonitor())
    else:
        from chipper.selective_search import selective_search

        number = len(dataset.positive_options.scales if scales is None else parse_scales(scales))
        found = selective_search(images, folder, per_scale * number, workers, ConsoleMonitor())
    if out.suffix == ".parquet":
        write_proposals(out, found)
    else:
        write_pickle(out, found, images.image_id, images.position, dataset.source.image_records)
    rows = [
        ("images", f"{len(images):,}"),
        ("proposals", f"{len(found):,}"),
        ("time", human_seconds(time.perf_counter() - started)),
    ]
    print_summary(f"Proposals in {out}", rows)


@click.command()
@coco_argument
@click.option(
    "--out",
    type=Place(dir_okay=False, path_type=Path),
    default="detections.json",
    show_default=True,
    help="COCO results file.",
)
@click.option("--score-floor", type=float, default=0.001, show_default=True, help="Lowest score to keep.")
@click.option("--single-scale", is_flag=True, help="Look at the middle scale alone, for objects of every size.")
@click.option("--flip", is_flag=True, help="Look at the mirror image as well.")
@click.option(
    "--focus",
    type=click.FloatRange(0, 1),
    default=None,
    help="Look at finer scales only where the focus branch is so sure of small objects, e.g. 0.3.",
)
@scales_option
@valid_ranges_option
@image_dir_option
@run_option
@device_option
@workdir_option
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
    device: str,
) -> None:
    """Detect objects in the images that COCO lists, at every scale, and merge them by Soft-NMS.

    \b
    Example: chipper predict val.json --out detections.json
    """
    from chipper.coco import read_images
    from chipper.detection.predict import Pyramid
    from chipper.detection.predict import predict as predict_all
    from chipper.files import write_json
    from chipper.images import find_image_dir

    started = time.perf_counter()
    run_dir = _run_dir(workdir, run_name)
    images = read_images(coco)
    folder = find_image_dir(coco, [str(n) for n in images.file_name], image_dir)
    pyramid = Pyramid.of(run_dir, scales, valid_ranges)
    if single_scale:
        pyramid = pyramid.single()
    results = predict_all(run_dir, images, folder, pyramid, device, score_floor, ConsoleMonitor(), flip, focus)
    write_json(out, results)
    rows = [
        ("images", f"{len(images):,}"),
        ("detections", f"{len(results):,}"),
        ("time", human_seconds(time.perf_counter() - started)),
    ]
    print_summary(f"Detections in {out}", rows)


@click.command()
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
    help="Draw precision over recall: a .png.",
)
@click.option("--masks", is_flag=True, help="Compare masks, not boxes.")
def evaluate(coco: Path, detections: Path, proposals: Path | None, curves: Path | None, masks: bool) -> None:
    """Compute COCO's box AP and AR of DETECTIONS against the boxes of COCO, by pycocotools.

    \b
    Example: chipper evaluate val.json detections.json
             chipper evaluate train.json --proposals rpn.pkl
    """
    from chipper.evaluation import draw_curves, evaluate_proposals
    from chipper.evaluation import evaluate as evaluate_file

    if proposals is not None:
        recall = evaluate_proposals(coco, proposals)
        print_summary(f"Recall of {proposals}", [(name, f"{value:.4f}") for name, value in recall.items()])
        return
    result = evaluate_file(coco, detections, masks)
    if curves is not None:
        draw_curves(result, curves)
    rows = [(name, f"{value:.4f}") for name, value in result.numbers.items()]
    rows += [
        (name, "  ".join(f"{what} {value:.4f}" for what, value in numbers.items()))
        for name, numbers in result.per_class.items()
    ]
    print_summary(f"Evaluation of {detections}", rows)


def _run_dir(workdir: Workdir, name: str | None) -> Path:
    """The run of that name, or the newest."""
    if name is not None:
        return workdir.runs / name
    runs = sorted(workdir.runs.glob("*/checkpoint-*.pt"), key=lambda path: path.stat().st_mtime)
    if not runs:
        raise CheckpointError(
            f"no training run in {workdir.runs}; run `chipper train --shards` first, or give --workdir"
        )
    return runs[-1].parent
