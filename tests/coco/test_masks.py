"""chipper.coco.masks: polygons, RLE masks and keypoints as a chip shows them, held against masks drawn pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from chipper.coco.masks import (
    Window,
    clip_keypoints,
    clip_segmentation,
    mask_in_box,
    paste_mask,
    unpacked_runs,
)
from chipper.demo.data import run_lengths

SIZE = (400, 300)  # source px, width and height
FINE = 8  # the drawn truth has this many px for each chip px

# scale, x, y, content width and height
WINDOWS: dict[str, Window] = {
    "whole image": (1.0, 0, 0, 400, 300),
    "a corner at x3": (3.0, 64, 32, 128, 128),
    "the middle at x1.667": (1.667, 160, 96, 192, 160),
    "coarse": (0.32, 0, 0, 128, 96),
    "flush right": (1.667, 475, 308, 192, 192),
}
POLYGONS = {
    "triangle": [[100, 50, 300, 80, 150, 250]],
    "covers every window": [[-50, -50, 450, -50, 450, 350, -50, 350]],
    "concave comb": [[20, 20, 380, 20, 380, 280, 300, 280, 300, 60, 220, 60, 220, 280, 140, 280, 140, 60, 20, 60]],
    "two pieces": [[20, 20, 120, 20, 120, 120, 20, 120], [150, 100, 350, 100, 350, 260, 150, 260]],
    "ring with a slit": [
        [50, 50, 350, 50, 350, 250, 50, 250, 50, 50, 120, 100, 120, 200, 280, 200, 280, 100, 120, 100],
    ],
    "clockwise": [[150, 250, 300, 80, 100, 50]],
    "touches the window's side": [[0, 0, 400, 0, 400, 192, 0, 192]],
}


def truth(polygons: list[list[float]], window: Window) -> np.ndarray:
    """Share of each chip px (content height, content width) that the polygons cover."""
    scale, x, y, width, height = window
    fine = Image.new("1", (int(width) * FINE, int(height) * FINE))
    for flat in polygons:
        one = Image.new("1", fine.size)
        points = (np.asarray(flat, float).reshape(-1, 2) * scale - (x, y)) * FINE - 0.5
        ImageDraw.Draw(one).polygon([tuple(p) for p in points], fill=1)
        fine.paste(1, mask=one)
    return np.asarray(fine).reshape(int(height), FINE, int(width), FINE).mean(axis=(1, 3))


def drawn(polygons: list[list[float]], window: Window) -> np.ndarray:
    """The same of polygons in chip px."""
    return truth(polygons, (1.0, 0, 0, window[3], window[4]))


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("polygons", POLYGONS.values(), ids=POLYGONS)
def test_polygons_are_clipped_to_the_content(polygons: list[list[float]], window: Window) -> None:
    clipped, area = clip_segmentation(polygons, window, SIZE)
    expected = truth(polygons, window)
    tolerance = 0.004 * expected.size + 2
    assert area == pytest.approx(expected.sum(), abs=tolerance)
    assert np.abs(drawn(clipped, window) - expected).sum() < tolerance
    for flat in clipped:
        points = np.asarray(flat).reshape(-1, 2)
        assert len(points) >= 3
        assert (points >= 0).all()
        assert (points <= window[3:]).all()


def test_a_concave_polygon_may_fall_apart() -> None:
    clipped, _ = clip_segmentation(POLYGONS["concave comb"], (1.0, 100, 100, 250, 150), SIZE)
    assert len(clipped) == 2


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_self_crossing_polygons_keep_their_area(window: Window) -> None:
    """A bow tie: its signed halves cancel, but what pycocotools draws of it does not."""
    bow_tie = [[60.0, 60.0, 340.0, 240.0, 340.0, 60.0, 60.0, 240.0]]
    clipped, area = clip_segmentation(bow_tie, window, SIZE)
    expected = truth(bow_tie, window)
    assert area == pytest.approx(expected.sum(), abs=0.004 * expected.size + 2)
    assert np.abs(drawn(clipped, window) - expected).sum() < 0.006 * expected.size + 2


def test_overlapping_pieces_count_once() -> None:
    """One object in two polygons that overlap, as annotators draw them; pycocotools merges them."""
    pieces = [
        [10.0, 10.0, 110.0, 10.0, 110.0, 110.0, 10.0, 110.0],
        [60.0, 10.0, 160.0, 10.0, 160.0, 110.0, 60.0, 110.0],
    ]
    _, area = clip_segmentation(pieces, WINDOWS["whole image"], SIZE)
    assert area == pytest.approx(15_000, rel=0.01)


def test_ring_that_the_window_cuts_open() -> None:
    clipped, area = clip_segmentation(POLYGONS["ring with a slit"], (1.0, 60, 60, 280, 180), SIZE)
    assert area == pytest.approx(280 * 180 - 160 * 100, rel=0.01)
    assert drawn(clipped, (1.0, 60, 60, 280, 180)).sum() == pytest.approx(area, rel=0.02)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 300)), min_size=3, max_size=9),
    st.sampled_from(sorted(WINDOWS)),
)
def test_any_polygon_stays_within_the_content(points: list[tuple[int, int]], name: str) -> None:
    window = WINDOWS[name]
    clipped, area = clip_segmentation([[float(v) for p in points for v in p]], window, SIZE)
    assert 0 <= area <= window[3] * window[4] + 1e-6
    for flat in clipped:
        inside = np.asarray(flat).reshape(-1, 2)
        assert np.isfinite(inside).all()
        assert ((inside >= 0) & (inside <= window[3:])).all()


@pytest.mark.parametrize(
    "polygons",
    [[], [[]], [[1.0, 2.0]], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5]], [[5, 5, 5, 5, 5, 5]], [[1, 1, 9, 9, 5, 5]], ["x"]],
)
def test_specks_are_nothing(polygons: list[list[float]]) -> None:
    clipped, area = clip_segmentation(polygons, WINDOWS["whole image"], SIZE)
    assert clipped == []
    assert not area


@pytest.mark.parametrize("other", [None, 7, "polygon", {}, {"size": [1, 2]}])
def test_what_is_no_segmentation_has_no_area(other: object) -> None:
    assert clip_segmentation(other, WINDOWS["whole image"], SIZE) == ([], None)


def test_outside_the_window() -> None:
    assert clip_segmentation([[0, 0, 9, 0, 9, 9]], (1.0, 100, 100, 50, 50), SIZE) == ([], 0)


# --- RLE ---


def rle_mask() -> np.ndarray:
    """(300, 400) bool: an ellipse with a hole, and a bar at the right edge."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    ellipse = ((x - 200) / 120) ** 2 + ((y - 140) / 100) ** 2 < 1
    hole = (x - 220) ** 2 + (y - 150) ** 2 < 40**2
    return (ellipse & ~hole) | (x > 390)


def as_rle(mask: np.ndarray, kind: str) -> dict[str, object]:
    if kind == "runs":
        return {"size": list(mask.shape), "counts": run_lengths(mask)}
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": packed["counts"].decode()}


def mask_truth(mask: np.ndarray, window: Window) -> np.ndarray:
    """(content height, content width) bool: the source px under the middle of each chip px."""
    scale, x, y, width, height = window
    columns = np.clip((x + np.arange(int(width)) + 0.5) / scale, 0, mask.shape[1] - 1).astype(int)
    rows = np.clip((y + np.arange(int(height)) + 0.5) / scale, 0, mask.shape[0] - 1).astype(int)
    return mask[np.ix_(rows, columns)]


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("kind", ["runs", "compressed"])
def test_rle_masks_are_cut_and_scaled(kind: str, window: Window) -> None:
    clipped, area = clip_segmentation(as_rle(rle_mask(), kind), window, SIZE)
    assert clipped["size"] == [window[4], window[3]]
    assert isinstance(clipped["counts"], str)
    found = coco_mask.decode(clipped).astype(bool)
    expected = mask_truth(rle_mask(), window)
    assert found.shape == expected.shape
    assert area == found.sum()
    edges = max(1.0, window[0]) * (np.abs(np.diff(expected, axis=0)).sum() + np.abs(np.diff(expected, axis=1)).sum())
    assert (found != expected).sum() <= 0.5 * edges + 2


def test_both_kinds_of_rle_give_the_same() -> None:
    for window in WINDOWS.values():
        assert clip_segmentation(as_rle(rle_mask(), "runs"), window, SIZE) == clip_segmentation(
            as_rle(rle_mask(), "compressed"), window, SIZE
        )


def test_at_scale_one_a_mask_is_only_cut() -> None:
    clipped, _ = clip_segmentation(as_rle(rle_mask(), "runs"), (1.0, 96, 64, 256, 192), SIZE)
    np.testing.assert_array_equal(coco_mask.decode(clipped).astype(bool), rle_mask()[64:256, 96:352])


def test_empty_and_full_masks() -> None:
    window = WINDOWS["a corner at x3"]
    assert clip_segmentation(as_rle(np.zeros(SIZE[::-1], bool), "runs"), window, SIZE)[1] == 0
    assert clip_segmentation(as_rle(np.ones(SIZE[::-1], bool), "runs"), window, SIZE)[1] == 128 * 128


# --- keypoints ---


def test_keypoints_move_with_the_chip() -> None:
    window = (2.0, 100, 60, 128, 64)
    points = [60, 40, 2, 70.5, 45.25, 1, 0, 0, 0, 49, 40, 2, 60, 62, 2, 114, 40, 2]
    moved, labelled = clip_keypoints(points, window)
    assert moved == [20, 20, 2, 41, 30.5, 1, *[0] * 12]
    assert labelled == 2


def test_keypoints_on_the_sides_of_the_content() -> None:
    window = (1.0, 10, 10, 20, 20)
    assert clip_keypoints([10, 10, 2], window) == ([0, 0, 2], 1)
    assert clip_keypoints([30, 15, 2], window) == ([0, 0, 0], 0)
    assert clip_keypoints([29.999, 29.999, 1], window) == ([19.999, 19.999, 1], 1)


def test_no_keypoints() -> None:
    assert clip_keypoints([], WINDOWS["coarse"]) == ([], 0)


# --- in boxes, for training and from inference ---


def test_a_mask_within_a_box_worked_out_by_hand() -> None:
    """The left half of the box, as a polygon and as RLE; half a box beside the mask is empty."""
    polygon = [[10.0, 20.0, 20.0, 20.0, 20.0, 60.0, 10.0, 60.0]]
    pixels = np.zeros((100, 100), np.uint8, order="F")
    pixels[20:60, 10:20] = 1
    encoded = coco_mask.encode(pixels)
    rle = {"size": encoded["size"], "counts": encoded["counts"].decode()}
    wanted = np.zeros((8, 8), np.uint8)
    wanted[:, :4] = 1
    for segmentation in (polygon, rle):
        np.testing.assert_array_equal(mask_in_box(segmentation, [10, 20, 30, 60], 8), wanted)
        assert not mask_in_box(segmentation, [40, 20, 60, 60], 8).any()
        assert mask_in_box(segmentation, [10, 20, 20, 60], 8).all()
    for nothing in ([], None):
        assert not mask_in_box(nothing, [10, 20, 30, 60], 8).any()
    assert not mask_in_box(polygon, [10, 20, 10, 60], 8).any()


def test_a_pasted_mask_is_the_part_of_the_box_over_one_half() -> None:
    mask = np.zeros((28, 28), np.float32)
    mask[:, :14] = 1.0
    pasted = paste_mask(mask, [10, 20, 38, 48], (100, 80))
    found = coco_mask.decode(pasted | {"counts": pasted["counts"].encode()})
    wanted = np.zeros((80, 100), np.uint8)
    wanted[20:48, 10:24] = 1
    np.testing.assert_array_equal(found, wanted)
    beyond = paste_mask(np.ones((28, 28), np.float32), [-5.5, 70, 4.4, 95], (100, 80))
    found = coco_mask.decode(beyond | {"counts": beyond["counts"].encode()})
    assert found.sum() == found[70:, :4].sum() == 40
    empty = paste_mask(mask, [10, 20, 10, 48], (100, 80))
    assert coco_mask.area(empty | {"counts": empty["counts"].encode()}) == 0


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_a_mask_taken_out_of_a_box_and_pasted_back_is_nearly_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, w, h = *rng.integers(0, 60, 2), *rng.integers(20, 100, 2)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    radius = rng.uniform(0.6, 1, 9)
    points = np.column_stack((np.cos(angles) * radius * w / 2 + x + w / 2, np.sin(angles) * radius * h / 2 + y + h / 2))
    polygon = [points.ravel().tolist()]
    box = [*points.min(axis=0), *points.max(axis=0)]
    whole = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygon, 200, 200)))
    pasted = paste_mask(mask_in_box(polygon, box, 56).astype(np.float32), box, (200, 200))
    found = coco_mask.decode(pasted | {"counts": pasted["counts"].encode()})
    assert (found & whole).sum() >= 0.85 * (found | whole).sum()


@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=12))
def test_run_lengths_are_those_that_pycocotools_packed(runs):
    size = [1, sum(runs)]
    packed = coco_mask.frPyObjects({"size": size, "counts": runs}, *size)
    assert unpacked_runs(packed["counts"].decode()) == runs


@pytest.mark.parametrize("counts", ["~~~~~~~~", "o", "0~", "/", "\u00e9", "o" * 40])
def test_compressed_runs_that_are_none_are_refused(counts):
    with pytest.raises(ValueError, match="compressed mask"):
        unpacked_runs(counts)


def test_the_mask_of_a_sliver_of_a_large_object() -> None:
    """Whose outline would be 10^9 cells long on the sliver's grid."""
    square = [[0, 0, 512, 0, 512, 512, 0, 512]]
    assert mask_in_box(square, [100, 100, 100.00001, 300], 56).all()
    assert not mask_in_box(square, [600, 100, 600.00001, 300], 56).any()
    upper = mask_in_box([[0, 0, 512, 0, 512, 200, 0, 200]], [100, 100, 100.00001, 300], 56)
    assert upper[:28].all()
    assert not upper[28:].any()
