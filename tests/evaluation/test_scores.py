"""chipper.evaluation.scores: pycocotools' numbers, for the files that people have."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from chipper.cli.main import main
from chipper.coco.reading import read_coco
from chipper.errors import (
    AnnotationError,
    CheckpointError,
    ChipperError,
    OptionError,
    ProposalError,
    ResultsError,
)
from chipper.evaluation.scores import METRICS, evaluate, evaluate_proposals
from chipper.parallel.progress import Monitor

CONTENT = {
    "images": [{"id": i, "file_name": f"{i}.jpg", "width": 400, "height": 300} for i in (1, 2)],
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 9, "name": "emu"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 10, 100, 100], "area": 10000, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [200, 50, 20, 20], "area": 400, "iscrowd": 0},
        {"id": 3, "image_id": 2, "category_id": 7, "bbox": [50, 60, 80, 40], "area": 3200, "iscrowd": 0},
        {"id": 4, "image_id": 2, "category_id": 7, "bbox": [0, 200, 300, 90], "area": 27000, "iscrowd": 1},
    ],
}
RESULTS = [
    {"image_id": 1, "category_id": 3, "bbox": [12, 11, 98, 100], "score": 0.9},
    {"image_id": 1, "category_id": 3, "bbox": [300, 200, 50, 50], "score": 0.8},
    {"image_id": 1, "category_id": 3, "bbox": [203, 52, 20, 20], "score": 0.7},
    {"image_id": 2, "category_id": 7, "bbox": [50, 60, 80, 60], "score": 0.6},
    {"image_id": 2, "category_id": 7, "bbox": [10, 210, 50, 50], "score": 0.95},
]
PERFECT = [
    {**{k: a[k] for k in ("image_id", "category_id", "bbox")}, "score": 1.0}
    for a in CONTENT["annotations"]
    if not a["iscrowd"]
]


def files(folder: Path, content: Any = CONTENT, results: Any = RESULTS) -> tuple[Path, Path]:
    (folder / "coco.json").write_text(json.dumps(content))
    (folder / "found.json").write_text(json.dumps(results))
    return folder / "coco.json", folder / "found.json"


def by_hand(content: Any, results: Any, folder: Path) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        (folder / "by_hand.json").write_text(json.dumps(content))
        truth = COCO(str(folder / "by_hand.json"))
        run = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def test_numbers_are_pycocotools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluate(*files(tmp_path))
    expected = by_hand(CONTENT, RESULTS, tmp_path)
    assert tuple(found.numbers) == METRICS
    assert list(found.numbers.values()) == pytest.approx(expected.stats.tolist())
    assert 0 < found.numbers["AP"] < 1
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("found", "perfect", "missed"),
    [
        ("small", {"APs", "ARs"}, {"APm", "APl", "ARm", "ARl"}),
        ("medium", {"APm", "ARm"}, {"APs", "APl", "ARs", "ARl"}),
        ("large", {"APl", "ARl"}, {"APs", "APm", "ARs", "ARm"}),
    ],
)
def test_sizes_have_their_own_numbers(tmp_path: Path, found: str, perfect: set[str], missed: set[str]) -> None:
    """One object each of 20, 60 and 200 px; only one of them is found, and exactly."""
    boxes = {"small": [10, 10, 20, 20], "medium": [100, 100, 60, 60], "large": [300, 300, 200, 200]}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 600, "height": 600}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": k, "image_id": 1, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for k, box in enumerate(boxes.values(), 1)
        ],
    }
    results = [{"image_id": 1, "category_id": 1, "bbox": boxes[found], "score": 0.9}]
    numbers = evaluate(*files(tmp_path, content, results)).numbers
    assert {name: numbers[name] for name in perfect} == pytest.approx(dict.fromkeys(perfect, 1.0))
    assert {name: numbers[name] for name in missed} == dict.fromkeys(missed, 0.0)
    assert numbers["AR1"] == pytest.approx(1 / 3)
    assert numbers["AP50"] == pytest.approx(34 / 101)  # recall of 0 to 0.33 at precision 1, at 101 points


def test_a_box_of_iou_072_is_right_at_050_and_wrong_at_075(tmp_path: Path) -> None:
    """It is right at the thresholds 0.5, 0.55, 0.6, 0.65 and 0.7, five of ten."""
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 200, "height": 200}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 100, 100], "area": 10_000, "iscrowd": 0}
        ],
    }
    results = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 100, 72], "score": 0.9}]
    found = evaluate(*files(tmp_path, content, results))
    wanted = {"AP": 0.5, "AP50": 1.0, "AP75": 0.0, "AR100": 0.5}
    assert found.per_class["cat"] == pytest.approx(wanted)
    assert {name: found.numbers[name] for name in wanted} == pytest.approx(wanted)


def test_classes(tmp_path: Path) -> None:
    found = evaluate(*files(tmp_path))
    expected = by_hand(CONTENT, RESULTS, tmp_path).eval
    precision, recall = expected["precision"][:, :, :, 0, 2], expected["recall"][:, :, 0, 2]
    assert list(found.per_class) == ["cat", "dog", "emu"]
    for k, name in enumerate(("cat", "dog")):
        values = precision[:, :, k]
        assert found.per_class[name] == pytest.approx(
            {"AP": values.mean(), "AP50": values[0].mean(), "AP75": values[5].mean(), "AR100": recall[:, k].mean()}
        )
        np.testing.assert_array_equal(found.curves[name], values[0])
    assert set(found.per_class["emu"].values()) == {-1}
    assert found.recall.tolist() == np.linspace(0, 1, 101).tolist()
    assert np.mean([found.per_class[name]["AP"] for name in ("cat", "dog")]) == pytest.approx(found.numbers["AP"])


def test_detections_of_unknown_categories_are_counted_aloud(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    heard: list[str] = []
    monitor = Monitor()
    monitor.warn = heard.append  # type: ignore[method-assign]
    strange = [{**entry, "category_id": 50 + k} for k, entry in enumerate(RESULTS[:2])]
    coco, found = files(tmp_path, results=RESULTS + strange)
    assert evaluate(coco, found, monitor=monitor) == evaluate(*files(tmp_path), monitor=monitor)
    assert heard == [
        f"{found}: 2 of 7 detections have the category ids 50, 51, but the annotations have 3, 7, 9; they are ignored"
    ]
    with pytest.raises(ResultsError) as caught:
        evaluate(*files(tmp_path, results=strange))
    assert "all detections have the category ids 50, 51" in is_one_line(caught.value)


def test_categories_that_share_a_name_or_an_id(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    content["categories"] += [{"id": 12, "name": "cat"}, {"id": 3, "name": "once more"}]
    found, plain = evaluate(*files(tmp_path, content)), evaluate(*files(tmp_path))
    assert list(found.per_class) == ["cat (3)", "dog", "emu", "cat (12)"]
    assert found.numbers == plain.numbers
    assert found.per_class["cat (3)"] == plain.per_class["cat"]


def test_the_truth_itself_is_perfect(tmp_path: Path) -> None:
    found = evaluate(*files(tmp_path, results=PERFECT))
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")
    assert [found.numbers[name] for name in names] == pytest.approx([1] * 7)


def test_on_coco128(coco128: Path, tmp_path: Path) -> None:
    content = json.loads((coco128 / "instances.json").read_text())
    rng = np.random.default_rng(0)
    results = [
        {
            "image_id": a["image_id"],
            "category_id": a["category_id"],
            "bbox": (np.array(a["bbox"]) + rng.normal(0, 2, 4) * [1, 1, 0, 0]).tolist(),
            "score": float(rng.random()),
        }
        for a in content["annotations"][::2]
    ]
    (tmp_path / "found.json").write_text(json.dumps(results))
    found = evaluate(coco128 / "instances.json", tmp_path / "found.json")
    assert list(found.numbers.values()) == pytest.approx(by_hand(content, results, tmp_path).stats.tolist())


def test_no_detections(tmp_path: Path) -> None:
    found = evaluate(*files(tmp_path, results=[]))
    assert found.numbers["AP"] == found.numbers["AR100"] == 0
    assert found.per_class["cat"]["AP"] == 0
    assert found.per_class["emu"]["AP"] == -1, "no ground truth is no failure"


@pytest.mark.parametrize("field", ["area", "iscrowd"])
def test_annotations_without_what_build_positives_does_not_need(tmp_path: Path, field: str) -> None:
    """build-positives takes files without area and iscrowd; what it trained on can be evaluated."""
    content = copy.deepcopy(CONTENT)
    content["annotations"] = [a for a in content["annotations"] if not a["iscrowd"]]
    expected = evaluate(*files(tmp_path, content)).numbers
    for annotation in content["annotations"]:
        del annotation[field]
    assert evaluate(*files(tmp_path, content)).numbers == expected


def test_bad_records_in_the_annotations_are_left_out(tmp_path: Path) -> None:
    """As build-positives leaves them out."""
    expected = evaluate(*files(tmp_path)).numbers
    content = copy.deepcopy(CONTENT)
    bad = content["annotations"][0]
    content["annotations"] += [{**bad, "id": 50, "bbox": None}, {**bad, "id": 51, "bbox": [math.nan] * 4}, {"id": 52}]
    assert evaluate(*files(tmp_path, content)).numbers == expected


def test_boxes_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    bad = [{**RESULTS[0], "bbox": [math.nan, 0, 1, 1]}, {**RESULTS[0], "bbox": [0, 0, math.inf, 1]}]
    assert evaluate(*files(tmp_path, results=RESULTS + bad)) == evaluate(*files(tmp_path))


BAD_RESULTS = {
    "not JSON": b"hello",
    "cut": json.dumps(RESULTS).encode()[:-9],
    "an object": b"{}",
    "numbers": b"[1, 2]",
    "no score": json.dumps([{k: v for k, v in RESULTS[0].items() if k != "score"}]).encode(),
    "no category": json.dumps([{k: v for k, v in RESULTS[0].items() if k != "category_id"}]).encode(),
    "box of three": json.dumps([{**RESULTS[0], "bbox": [1, 2, 3]}]).encode(),
    "box of texts": json.dumps([{**RESULTS[0], "bbox": ["1", "2", "3", "4"]}]).encode(),
    "null box": json.dumps([{**RESULTS[0], "bbox": None}]).encode(),
    "null score": json.dumps([{**RESULTS[0], "score": None}]).encode(),
    "image id is a list": json.dumps([{**RESULTS[0], "image_id": [1]}]).encode(),
    "image id is a text": json.dumps([{**RESULTS[0], "image_id": "x"}]).encode(),
    "invalid UTF-8": b'[{"image_id": "\xff"}]',
    "other images": json.dumps([{**RESULTS[0], "image_id": 99}]).encode(),
    "deep": b"[" * 100_000 + b"]" * 100_000,
}


@pytest.mark.parametrize("data", BAD_RESULTS.values(), ids=BAD_RESULTS)
def test_bad_results_are_refused_in_one_line(tmp_path: Path, data: bytes, is_one_line: Callable[..., str]) -> None:
    coco, found = files(tmp_path)
    found.write_bytes(data)
    with pytest.raises(ChipperError) as caught:
        evaluate(coco, found)
    message = is_one_line(caught.value)
    assert str(found) in message
    assert "chipper predict" in message or "it is a list of image_id" in message, "no cure"


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("how", ["missing", "folder"])
def test_files_that_are_not_there(tmp_path: Path, which: int, how: str, is_one_line: Callable[..., str]) -> None:
    paths = files(tmp_path)
    paths[which].unlink()
    if how == "folder":
        paths[which].mkdir()
    with pytest.raises(ChipperError) as caught:
        evaluate(*paths)
    assert str(paths[which]) in is_one_line(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"7", b'{"images": []}', b"\xff"])
def test_bad_annotation_files(tmp_path: Path, content: bytes, is_one_line: Callable[..., str]) -> None:
    coco, found = files(tmp_path)
    coco.write_bytes(content)
    with pytest.raises(ChipperError) as caught:
        evaluate(coco, found)
    assert str(coco) in is_one_line(caught.value)


@pytest.mark.parametrize(
    "record",
    [
        {"bbox": [10, 10, 0, 50]},
        {"bbox": [10, 10, -5, 50]},
        {"bbox": [5000, 10, 50, 50]},
        {"id": 1},
        {"image_id": [1]},
        {"category_id": None},
    ],
)
def test_what_build_positives_leaves_out_does_not_count(tmp_path: Path, record: dict[str, Any]) -> None:
    expected = evaluate(*files(tmp_path)).numbers
    content = copy.deepcopy(CONTENT)
    content["annotations"].append({**content["annotations"][0], "id": 900, **record})
    assert evaluate(*files(tmp_path, content)).numbers == expected


def with_image_ids_in_quotes(content: Any) -> None:
    for image in content["images"]:
        image["id"] = str(image["id"])
    for a in content["annotations"]:
        a["image_id"] = str(a["image_id"])


LAX: dict[str, Callable[[Any], object]] = {
    "categories as floats": lambda content: [
        a.update(category_id=float(a["category_id"])) for a in content["annotations"]
    ],
    "categories in quotes": lambda content: [
        a.update(category_id=str(a["category_id"])) for a in content["annotations"]
    ],
    "boxes in quotes": lambda content: [a.update(bbox=[str(v) for v in a["bbox"]]) for a in content["annotations"]],
    "crowd flags in quotes": lambda content: [a.update(iscrowd=str(a["iscrowd"])) for a in content["annotations"]],
    "image ids in quotes": with_image_ids_in_quotes,
}


@pytest.mark.parametrize("change", LAX.values(), ids=LAX)
def test_what_build_positives_takes_counts(tmp_path: Path, change: Callable[[Any], object]) -> None:
    expected = evaluate(*files(tmp_path))
    content = copy.deepcopy(CONTENT)
    change(content)
    assert len(read_coco(files(tmp_path, content)[0]).annotations) == len(CONTENT["annotations"])
    assert evaluate(*files(tmp_path, content)) == expected
    assert evaluate(*files(tmp_path, content, PERFECT)).numbers["AP"] == pytest.approx(1)


def test_boxes_that_stick_out_are_those_of_pycocotools(tmp_path: Path) -> None:
    content = copy.deepcopy(CONTENT)
    content["annotations"][0]["bbox"] = [-60, 10.1, 170.3, 100]
    found = evaluate(*files(tmp_path, content))
    assert list(found.numbers.values()) == pytest.approx(by_hand(content, RESULTS, tmp_path).stats.tolist())
    content["annotations"][0]["bbox"] = [-1e200, -1e200, 1e300, 1e300]
    assert found.numbers != evaluate(*files(tmp_path, content)).numbers


@pytest.mark.parametrize("empty", [{"annotations": []}, {"annotations": [{"id": 1}]}, {"categories": []}])
def test_a_file_without_objects(tmp_path: Path, empty: dict[str, Any]) -> None:
    found = evaluate(*files(tmp_path, CONTENT | empty, []))
    assert set(found.numbers.values()) == {-1}


@pytest.mark.parametrize("masks", [False, True])
def test_images_need_a_size(tmp_path: Path, masks: bool, is_one_line: Callable[..., str]) -> None:
    content = copy.deepcopy(CONTENT)
    for image in content["images"]:
        image.update(width=str(image["width"]), height=str(image["height"]))
    assert evaluate(*files(tmp_path, content, []), masks).numbers["AP"] == 0
    del content["images"][0]["height"]
    coco, found = files(tmp_path, content)
    if not masks:
        with pytest.raises(ResultsError, match="in 1 images that .* in no usable form"):
            evaluate(coco, found)
    del content["images"][1]["width"]
    with pytest.raises(AnnotationError) as caught:
        evaluate(*files(tmp_path, content, []), masks)
    assert str(coco) in is_one_line(caught.value)
    assert "no usable size" in str(caught.value)


def test_masks_of_the_truth(tmp_path: Path) -> None:
    """Polygons, in quotes too, count as they are; no mask, and one that is none, as the box."""
    content = copy.deepcopy(CONTENT)
    del content["annotations"][3]
    triangle = [10, 10, 110, 10, 10, 110]
    corners = [[50, 60, 130, 60, 130, 100, 50, 100], [200, 50, 220, 50, 220, 70, 200, 70]]
    polygons = [triangle, corners[1], corners[0]]
    for annotation, given in zip(content["annotations"], ([list(map(str, triangle))], None, [[1, 2]]), strict=True):
        annotation["segmentation"] = given
    results = [
        {**entry, "segmentation": coco_mask.frPyObjects([polygon], 300, 400)[0]}
        for entry, polygon in zip(PERFECT, polygons, strict=True)
    ]
    for entry in results:
        entry["segmentation"]["counts"] = entry["segmentation"]["counts"].decode()
    assert evaluate(*files(tmp_path, content, results), masks=True).numbers["AP"] == pytest.approx(1)


# --- proposals ---


def test_recall_of_proposals_worked_out_by_hand(tmp_path: Path) -> None:
    """Three objects that are no crowd: one found exactly, one by a box of IoU 0.7 that is the second best, one by the 150th."""
    coco, _ = files(tmp_path)
    exact, shifted = [10, 10, 110, 110, 0.9], [50, 60, 130, 88, 0.5]
    noise = [[300.0 + k % 90, 280, 303.0 + k % 90, 283, 0.8 - k * 1e-3] for k in range(149)]
    late = [200, 50, 220, 70, 0.01]
    rows = {1: np.array([exact, *noise, late]), 2: np.array([[390, 290, 399, 299, 0.9], shifted])}
    (tmp_path / "rpn.pkl").write_bytes(pickle.dumps(rows))
    found = evaluate_proposals(coco, tmp_path / "rpn.pkl")
    exactly, second = 1.0, 5 / 10  # of the IoUs 0.5, 0.55 ... 0.95, 0.7 reaches five
    assert found["AR100"] == pytest.approx((exactly + second) / 3, abs=1e-6)
    assert found["AR300"] == found["AR1000"] == pytest.approx((exactly + second + 1) / 3, abs=1e-6)
    assert found["AR1000s"] == pytest.approx(1.0)
    assert found["AR1000m"] == pytest.approx(second)
    assert found["AR1000l"] == pytest.approx(exactly)


def test_proposals_of_other_images_or_none(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    coco, _ = files(tmp_path)
    (tmp_path / "rpn.pkl").write_bytes(pickle.dumps({9: np.zeros((1, 5))}))
    with pytest.raises(ProposalError) as caught:
        evaluate_proposals(coco, tmp_path / "rpn.pkl")
    is_one_line(caught.value)
    (tmp_path / "none.pkl").write_bytes(pickle.dumps({1: np.zeros((0, 5)), 2: np.zeros((0, 5))}))
    assert evaluate_proposals(coco, tmp_path / "none.pkl")["AR1000"] == 0


def test_a_pickle_has_an_array_for_each_record_of_an_image(tmp_path: Path) -> None:
    """For those that cannot be used as well, and the last one can be such."""
    content = copy.deepcopy(CONTENT)
    content["images"].append({"id": 3, "file_name": "3.jpg", "width": 0, "height": 300})
    coco, _ = files(tmp_path, content)
    rows = [np.array([[10, 10, 110, 110, 0.9]]), np.array([[50, 60, 130, 100, 0.5]]), np.zeros((0, 5))]
    (tmp_path / "rpn.pkl").write_bytes(pickle.dumps(rows))
    assert evaluate_proposals(coco, tmp_path / "rpn.pkl")["AR100"] == pytest.approx(2 / 3)
    (tmp_path / "short.pkl").write_bytes(pickle.dumps(rows[:2]))
    with pytest.raises(ProposalError, match="2 images, the COCO file 3"):
        evaluate_proposals(coco, tmp_path / "short.pkl")


def test_the_command_draws_curves_and_evaluates_proposals(tmp_path: Path) -> None:
    coco, found = files(tmp_path)
    words = ["evaluate", str(coco), str(found), "--curves", str(tmp_path / "curves.png")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0
    assert "AP50" in result.output
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (840, 600)
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50
    (tmp_path / "rpn.pkl").write_bytes(pickle.dumps({1: np.array([[10, 10, 110, 110, 0.9]])}))
    result = CliRunner().invoke(main, ["evaluate", str(coco), "--proposals", str(tmp_path / "rpn.pkl")])
    assert result.exit_code == 0
    assert "AR100" in result.output
    assert "0.3333" in result.output


def test_a_run_keeps_its_evaluation(tmp_path: Path) -> None:
    """`evaluate --run` writes what it says, where the report finds it."""
    coco, found = files(tmp_path)
    run = tmp_path / "chips" / "runs" / "detector"
    words = ["evaluate", str(coco), str(found), "--workdir", str(tmp_path / "chips"), "--run", "detector"]
    with pytest.raises(ChipperError, match="there is no training run"):
        CliRunner().invoke(main, words, catch_exceptions=False)
    run.mkdir(parents=True)
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    saved = json.loads((run / "evaluation.json").read_text())
    evaluation = evaluate(coco, found)
    assert (saved["coco"], saved["detections"], saved["masks"]) == ("coco.json", "found.json", False)
    assert saved["numbers"] == evaluation.numbers
    assert saved["per_class"] == evaluation.per_class
    assert saved["recall"] == evaluation.recall.tolist()
    assert saved["curves"]["cat"] == evaluation.curves["cat"].tolist()
    del words[-2:]
    (run / "evaluation.json").unlink()
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    assert not (run / "evaluation.json").exists()


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize("name", ["", "../../val", "/tmp", ".", "a/b"])
@pytest.mark.parametrize("words", ["evaluate coco.json found.json", "predict coco.json", "propose"])
def test_a_run_is_a_plain_name(
    tmp_path: Path, words: str, name: str, dry: list[str], is_one_line: Callable[..., str]
) -> None:
    """Said before anything is read: no COCO file lies there, nor a workdir."""
    if not words.startswith("evaluate"):
        pytest.importorskip("torch", reason="the detector needs torch")
    words = words.replace("coco.json", str(tmp_path / "coco.json"))
    place = ["--workdir", str(tmp_path / "chips"), "--run", name, *dry]
    with pytest.raises(OptionError) as caught:
        CliRunner().invoke(main, [*words.split(), *place], catch_exceptions=False)
    assert is_one_line(caught.value).startswith(f"run: {name!r} is not a plain name")


def test_a_run_must_be_there_before_the_evaluation(tmp_path: Path) -> None:
    """In a dry run as well."""
    coco, _ = files(tmp_path)
    words = [
        "evaluate",
        str(coco),
        "missing.json",
        "--workdir",
        str(tmp_path / "chips"),
        "--run",
        "nobody",
        "--dry-run",
    ]
    with pytest.raises(CheckpointError, match="nobody does not exist"):
        CliRunner().invoke(main, words, catch_exceptions=False)
