"""plan: the same figures as mining gives, and rivals counted window by window."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import assume, given
from strategies import datasets

from chipper.cli.main import main
from chipper.coco.reading import read_coco
from chipper.errors import AnnotationError, OptionError
from chipper.mining.labels import label_chips
from chipper.mining.options import PositiveOptions
from chipper.mining.plan import OVERLAPS, plan_chips
from chipper.mining.positives import mine_positives
from chipper.mining.pyramid import Pyramid


def plan_of(coco: Path, **options: Any) -> dict[str, Any]:
    content, parsed = read_coco(coco), PositiveOptions.parse(**options)
    return plan_chips(content.images, content.annotations, parsed).report(parsed, 2)


@pytest.mark.parametrize("options", [{}, {"placement": "slide"}, {"scales": "1,2", "valid_ranges": "40:,:30"}])
def test_the_plan_is_what_build_positives_does(
    drawn: Any, tmp_path: Path, build: Callable[..., Any], options: dict[str, str]
) -> None:
    report = plan_of(drawn.coco, **options)
    dataset = build(drawn.coco, tmp_path / "chips", **options).dataset()
    assert {level["scale"]: level["chips"] for level in report["scales"]} == dataset.counts["positive_chips"]
    same = ("images", "images_without_objects", "boxes", "crowds", "boxes_covered", "boxes_moved_to_coarser_scale")
    for name in (*same, "boxes_in_no_valid_range", "boxes_no_chip_can_hold", "labels"):
        assert report[name] == dataset.counts[name], name
    assert report["options"] == {**dataset.options}


def test_the_size_of_shards_is_about_what_export_writes(
    coco128: Path, tmp_path: Path, build: Callable[..., Any], export: Callable[..., Any]
) -> None:
    workdir = build(coco128 / "instances.json", tmp_path / "chips", image_dir=coco128 / "images")
    receipts = export(workdir, chips_per_shard=1000).receipts
    written = sum(receipt.bytes for receipt in receipts)
    assert plan_of(coco128 / "instances.json")["estimated_shard_bytes"] == pytest.approx(written, rel=0.15)


@given(datasets())
def test_plans_of_images_add_up(problem: Any) -> None:
    images, annotations, options = problem
    assume(len(images) > 1)
    halves = []
    for rows in (slice(0, 1), slice(1, None)):
        some = images[rows]
        halves.append(plan_chips(some, annotations[np.isin(annotations.image_id, some.image_id)], options))
    whole, added = plan_chips(images, annotations, options), halves[0] + halves[1]
    for f in fields(whole):
        np.testing.assert_allclose(getattr(added, f.name), getattr(whole, f.name), err_msg=f.name)


@given(datasets())
def test_counts_are_those_of_the_chips_themselves(problem: Any) -> None:
    images, annotations, options = problem
    assume(len(images) > 0)
    plan = plan_chips(images, annotations, options)
    first = PositiveOptions.from_text({**options.as_text(), "variants": 1})
    mined = mine_positives(images, annotations, first)
    targets = mined.assignments[0].targets
    chips = mined.chips
    assert plan.chips.tolist() == [int((chips.scale_index == s).sum()) for s in range(len(options.scales))]
    pyramid = Pyramid.of(options.scales, images.width, images.height)
    assert plan.canvas_pixels.tolist() == [
        sum(int(w * h) for w, h in zip(pyramid.width[s], pyramid.height[s])) for s in range(len(options.scales))
    ]
    assert plan.most_chips == max([0, *(int((chips.image_id == i).sum()) for i in images.image_id)])
    assert plan.labels == len(label_chips(chips, images, annotations, first, mined.assignments))
    of_box = [{s for s in range(len(targets)) if targets[s, b]} for b in range(len(annotations))]
    assert plan.covered == sum(bool(scales) for scales in of_box)
    assert plan.covered_at.tolist() == [sum(s in scales for scales in of_box) for s in range(len(targets))]
    assert plan.only_at.tolist() == [sum(scales == {s} for scales in of_box) for s in range(len(targets))]


@given(datasets(most_images=1, most_boxes=6))
def test_a_sliding_window_is_counted_window_by_window(problem: Any) -> None:
    images, annotations, options = problem
    assume(len(images) == 1)
    plan = plan_chips(images, annotations, options)
    first = PositiveOptions.from_text({**options.as_text(), "variants": 1})
    targets = mine_positives(images, annotations, first).assignments[0].targets
    pyramid = Pyramid.of(options.scales, images.width, images.height)
    for s in range(len(options.scales)):
        width, height = int(pyramid.width[s, 0]), int(pyramid.height[s, 0])
        boxes = pyramid.boxes(s, np.zeros(len(annotations), np.int64), annotations.box)[targets[s]]
        for o, overlap in enumerate(OVERLAPS):
            stride = max(round(options.chip_size * (1 - overlap)), 1)
            windows = list(naive.all_windows(width, height, options.chip_size, stride))
            assert plan.windows[s, o] == len(windows)
            held = [any(naive.holds(window, options.chip_size, box) for window in windows) for box in boxes.tolist()]
            assert plan.windows_cover[s, o] == sum(held)


def test_pixels_and_large_boxes_by_hand(tmp_path: Path, write_coco: Callable[..., Path]) -> None:
    """One 1000 x 500 image at 512 (x0.512) and 2: a box of 400 px is 205 px, one of 10 px is 20, one of 20 px is 40 px."""
    boxes = [[0, 0, 400, 400], [500, 5, 10, 10], [520, 5, 20, 20]]
    path = write_coco(
        tmp_path,
        images=[{"id": 1, "file_name": "a.jpg", "width": 1000, "height": 500}],
        annotations=[{"id": k, "image_id": 1, "category_id": 1, "bbox": box} for k, box in enumerate(boxes)],
        categories=[{"id": 1, "name": "thing"}],
    )
    report = plan_of(path, scales="512,2", valid_ranges="100:,:100")
    assert report["chips"] == 2
    assert report["pixels_against_whole_images"] == pytest.approx(2 * 512 * 512 / (800 * 1333))
    assert report["pixels_against_whole_images_with_negatives"] == pytest.approx(4 * 512 * 512 / (800 * 1333))
    assert report["boxes_large_enough"] == 2
    fine = report["scales"][1]
    assert fine["chip_pixels"] == fine["content_pixels"] == 512 * 512
    assert fine["sliding_windows"]["windows"] == 5 * 3  # 2000 x 1000 px at steps of 410


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["plan", *arguments])


def test_the_command_writes_nothing_and_needs_no_images(drawn: Any, tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_bytes(drawn.coco.read_bytes())
    result = invoke(str(path), "--suggest")
    assert result.exit_code == 0, result.output
    assert "build-positives" in result.stdout
    assert list(tmp_path.iterdir()) == [path]


def test_json_has_the_same_figures_for_any_number_of_jobs(drawn: Any) -> None:
    texts = [invoke(str(drawn.coco), "--json", "--suggest", "--jobs", jobs).stdout for jobs in ("1", "2")]
    found, other = ({name: v for name, v in json.loads(text).items() if name != "seconds"} for text in texts)
    assert found == other
    expected = plan_of(drawn.coco)
    assert {name: found[name] for name in expected} == json.loads(json.dumps(expected))
    again = found["suggestion"]
    chosen = {"scales": again["scales"], "valid_ranges": again["valid_ranges"]}
    assert again["plan"]["chips"] == plan_of(drawn.coco, **chosen)["chips"]


def test_what_cannot_be_planned(tmp_path: Path, drawn: Any) -> None:
    (tmp_path / "bad.json").write_text("[")
    scales = invoke(str(drawn.coco), "--scales", "nothing").exception
    assert isinstance(scales, OptionError)
    assert "'nothing'" in str(scales)
    bad = invoke(str(tmp_path / "bad.json")).exception
    assert isinstance(bad, AnnotationError)
    assert "bad.json" in str(bad)
    assert invoke(str(drawn.coco), "--placement", "diagonal").exit_code == 2
