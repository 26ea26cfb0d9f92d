"""chipper.proposals.files: four formats give the same proposals; a file for other images is refused in one line."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipper.coco.reading import read_coco
from chipper.columns import Images, Proposals
from chipper.errors import OptionError, ProposalError
from chipper.proposals.files import open_proposals
from chipper.proposals.safe_pickle import load
from chipper.proposals.writing import write_parquet, write_pickle, write_proposals

RECORDS = 5  # in the COCO file; the one at position 2 cannot be used
IDS = np.array([30, 10, 40, 20])
POSITIONS = np.array([0, 1, 3, 4])


def images(ids: np.ndarray = IDS, positions: np.ndarray = POSITIONS) -> Images:
    names = np.array([f"{i}.jpg" for i in ids], dtype=object)
    return Images(ids, positions, names, np.full(ids.size, 640), np.full(ids.size, 480))


def drawn_arrays() -> dict[int, np.ndarray]:
    """(n, 5) float32 x1 y1 x2 y2 score for each image but id 40; whole numbers, so that no format rounds them."""
    rng = np.random.default_rng(3)
    arrays = {}
    for image_id, count in ((30, 4), (10, 7), (20, 1)):
        corner = rng.integers(0, 200, (count, 2))
        boxes = np.concatenate([corner, corner + rng.integers(1, 200, (count, 2))], axis=1)
        arrays[image_id] = np.column_stack([boxes, rng.permutation(count) / 8]).astype(np.float32)
    return arrays


def as_list(path: Path, arrays: dict[int, np.ndarray]) -> None:
    places = dict(zip(IDS.tolist(), POSITIONS.tolist(), strict=True))
    value = [np.zeros((0, 5), np.float32) for _ in range(RECORDS)]
    for image_id, array in arrays.items():
        value[places[image_id]] = array
    path.write_bytes(pickle.dumps(value, 2))


def as_dict(path: Path, arrays: dict[int, np.ndarray]) -> None:
    path.write_bytes(pickle.dumps({str(image_id): array for image_id, array in arrays.items()}))


def as_results(path: Path, arrays: dict[int, np.ndarray]) -> None:
    rows = [
        {"image_id": i, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
        for i, array in sorted(arrays.items())
        for x1, y1, x2, y2, score in array.tolist()
    ]
    path.write_text(json.dumps(rows))


def as_parquet(path: Path, arrays: dict[int, np.ndarray]) -> None:
    ids = np.repeat(list(arrays), [len(a) for a in arrays.values()])
    rows = np.concatenate(list(arrays.values())).astype(np.float64)
    write_parquet(path, Proposals(ids, rows[:, :4], rows[:, 4]))


FORMATS = {"list.pkl": as_list, "dict.pkl": as_dict, "results.json": as_results, "own.parquet": as_parquet}


def opened(path: Path) -> Any:
    return open_proposals(path, IDS, POSITIONS, RECORDS)


@pytest.fixture(params=FORMATS)
def file_of_each_format(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    FORMATS[request.param](path, drawn_arrays())
    return path


def test_all_formats_give_the_same_proposals(file_of_each_format: Path) -> None:
    arrays = drawn_arrays()
    found = opened(file_of_each_format).of(images())
    order = [i for i in IDS.tolist() if i in arrays]
    assert found.image_id.tolist() == [i for i in order for _ in arrays[i]]
    np.testing.assert_array_equal(found.box, np.concatenate([arrays[i][:, :4] for i in order]))
    np.testing.assert_array_equal(found.score, np.concatenate([arrays[i][:, 4] for i in order]))
    assert found.box.dtype == found.score.dtype == np.float64
    assert found.image_id.dtype == np.int64


def test_images_in_any_ranges_give_the_same(file_of_each_format: Path) -> None:
    file, everything = opened(file_of_each_format), images()
    whole = file.of(everything)
    pieces = [file.of(everything[start : start + 1]) for start in range(len(everything))]
    np.testing.assert_array_equal(np.concatenate([p.image_id for p in pieces]), whole.image_id)
    np.testing.assert_array_equal(np.concatenate([p.box for p in pieces]), whole.box)


def test_the_hash_speaks_of_the_bytes(file_of_each_format: Path) -> None:
    first = opened(file_of_each_format).hash
    assert opened(file_of_each_format).hash == first
    arrays = drawn_arrays()
    arrays[10][0, 0] += 1
    FORMATS[file_of_each_format.name](file_of_each_format, arrays)
    assert opened(file_of_each_format).hash != first


@pytest.mark.parametrize("value", [[], np.zeros(0), np.zeros((0, 4)), np.zeros((0, 5), np.float32), None, ()])
def test_image_without_proposals(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "rpn.pkl"
    path.write_bytes(pickle.dumps([value] * (RECORDS - 1) + [np.array([[1, 2, 3, 4, 0.5]])]))
    found = opened(path).of(images())
    assert found.image_id.tolist() == [20]
    assert opened(path).of(images()[:2]).box.shape == (0, 4)


def test_without_scores_the_order_is_the_rank(tmp_path: Path) -> None:
    path = tmp_path / "rpn.pkl"
    path.write_bytes(pickle.dumps({10: [[0, 0, 9, 9], [1, 1, 8, 8], [2, 2, 7, 7]]}))
    found = opened(path).of(images())
    assert np.argsort(-found.score).tolist() == [0, 1, 2]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_left_to_mining(tmp_path: Path, bad: float) -> None:
    from chipper.mining.negatives import best_proposals
    from chipper.mining.options import NegativeOptions

    path = tmp_path / "rpn.pkl"
    rows = np.tile(np.arange(100.0)[:, None], (1, 5)) + [0, 0, 9, 9, 0]
    rows[0, 0] = rows[1, 3] = rows[2, 4] = bad
    path.write_bytes(pickle.dumps({10: rows}))
    used = best_proposals(opened(path).of(images()), images(), NegativeOptions(nms=1.0))
    assert np.isfinite(used.box).all()
    assert np.isfinite(used.score).all()
    assert len(used) >= 97


def test_proposals_of_images_that_were_skipped_are_left_out(tmp_path: Path) -> None:
    """The COCO file has the image, chipper could not use it: another tool's proposals for it are no error."""
    path = tmp_path / "coco.json"
    entries = [{"id": i, "file_name": f"{i}.jpg", "width": 640 if i != 2 else 0, "height": 480} for i in (1, 2)]
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [0, 0, 9, 9]} for i in (1, 2)]
    path.write_text(json.dumps({"images": entries, "annotations": boxes, "categories": [{"id": 1, "name": "x"}]}))
    coco = read_coco(path)
    assert coco.images.image_id.tolist() == [1]
    (tmp_path / "rpn.pkl").write_bytes(pickle.dumps({1: [[0, 0, 9, 9]], 2: [[0, 0, 9, 9]]}))
    file = open_proposals(tmp_path / "rpn.pkl", coco.images.image_id, coco.images.position, coco.image_records)
    assert file.of(coco.images).image_id.tolist() == [1]


# --- refused in one line ---

FINE = [[1, 2, 3, 4, 0.5]]
REFUSED = {
    "too few images": ("a.pkl", pickle.dumps([FINE] * (RECORDS - 1)), "for 4 images, the COCO file 5"),
    "too many images": ("a.pkl", pickle.dumps([FINE] * (RECORDS + 1)), "for 6 images, the COCO file 5"),
    "an array for all images": ("a.pkl", pickle.dumps(np.zeros((9, 5))), "ndarray"),
    "a number": ("a.pkl", pickle.dumps(7), "int"),
    "unknown ids": ("a.pkl", pickle.dumps({10: FINE, 11: FINE, 12: FINE}), "2 images that the COCO file does not have"),
    "names for ids": ("a.pkl", pickle.dumps({"a.jpg": FINE}), "'a.jpg' is not an image id"),
    "broken ids": ("a.pkl", pickle.dumps({10.5: FINE}), "10.5 is not an image id"),
    "infinite id": ("a.pkl", pickle.dumps({math.inf: FINE}), "inf is not an image id"),
    "NaN as id": ("a.pkl", pickle.dumps({math.nan: FINE}), "nan is not an image id"),
    "id beyond 64 bits": ("a.pkl", pickle.dumps({2**70: FINE}), str(2**70)),
    "None as id": ("a.pkl", pickle.dumps({None: FINE}), "None is not an image id"),
    "empty dict": ("a.pkl", pickle.dumps({}), "no proposals"),
    "no JSON": ("a.json", b"hello", "not a COCO results file"),
    "a COCO file": ("a.json", b'{"images": []}', "not a COCO results file"),
    "results without score": ("a.json", b'[{"image_id": 10, "bbox": [1, 2, 3, 4]}]', "score"),
    "results with a short box": ("a.json", b'[{"image_id": 10, "bbox": [1, 2, 3], "score": 1}]', "length 4"),
    "results with an id beyond 64 bits": (
        "a.json",
        json.dumps([{"image_id": 2**70, "bbox": [1, 2, 3, 4], "score": 1}]).encode(),
        "image",
    ),
    "results for other images": ("a.json", b'[{"image_id": 7, "bbox": [1, 2, 3, 4], "score": 1}]', "the first: 7"),
    "no results": ("a.json", b"[]", "no proposals"),
    "cut results": ("a.json", b'[{"image_id": 10, "bbox": [1, 2', "not a COCO results file"),
    "no Parquet": ("a.parquet", b"hello", "not a proposal file"),
    "empty Parquet": ("a.parquet", b"", "not a proposal file"),
}


@pytest.mark.parametrize(("name", "data", "what"), REFUSED.values(), ids=REFUSED)
def test_refused_in_one_line(
    tmp_path: Path, name: str, data: bytes, what: str, is_one_line: Callable[..., str]
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ProposalError) as caught:
        opened(path).of(images())
    message = is_one_line(caught.value)
    assert str(path) in message
    assert what in message
    assert any(cure in message for cure in ("give ", "write ", "it is a list of")), "no cure"


BAD_ROWS = {
    "texts": ([["a", "b", "c", "d"]], "not numbers"),
    "a text": ("abcd", "not numbers"),
    "three columns": (np.zeros((2, 3)), r"shape \(2, 3\)"),
    "six columns": (np.zeros((2, 6)), r"shape \(2, 6\)"),
    "flat": (np.zeros(5), r"shape \(5,\)"),
    "deep": (np.zeros((1, 2, 5)), r"shape \(1, 2, 5\)"),
    "ragged": ([[1, 2, 3, 4], [1, 2]], "not numbers"),
    "a dict": ({"boxes": FINE}, "not numbers"),
    "a deep list": ([[[1.0]]], r"shape \(1, 1, 1\)"),
}


@pytest.mark.parametrize(("value", "what"), BAD_ROWS.values(), ids=BAD_ROWS)
@pytest.mark.parametrize("keyed", [False, True])
def test_bad_rows_are_refused_with_their_image(
    tmp_path: Path, value: Any, what: str, keyed: bool, is_one_line: Callable[..., str]
) -> None:
    path = tmp_path / "rpn.pkl"
    path.write_bytes(pickle.dumps({10: value} if keyed else [FINE, value, FINE, FINE, FINE]))
    with pytest.raises(ProposalError, match=what) as caught:
        opened(path).of(images())
    assert "image 10" in is_one_line(caught.value)


@pytest.mark.parametrize(
    "array",
    [np.ones((1, 5), complex), np.zeros((1, 5), "M8[s]"), np.array([["a"] * 5]), np.zeros((2, 5), [("a", "f4")])],
    ids=["complex", "times", "texts", "a structure"],
)
def test_arrays_of_anything_but_numbers_are_refused(
    tmp_path: Path, array: Any, is_one_line: Callable[..., str]
) -> None:
    path = tmp_path / "rpn.pkl"
    path.write_bytes(pickle.dumps([FINE, array, FINE, FINE, FINE]))
    with pytest.raises(ProposalError, match="is refused: it holds an array of type") as caught:
        opened(path)
    assert str(path) in is_one_line(caught.value)


@pytest.mark.parametrize("name", ["rpn.pkl", "rpn.json", "rpn.parquet"])
def test_missing_file_and_folder(tmp_path: Path, name: str, is_one_line: Callable[..., str]) -> None:
    with pytest.raises(ProposalError, match="does not exist; make one with `chipper propose`") as caught:
        opened(tmp_path / name)
    is_one_line(caught.value)
    (tmp_path / name).mkdir()
    with pytest.raises(ProposalError, match=str(tmp_path / name)) as caught:
        opened(tmp_path / name)
    is_one_line(caught.value)


def test_another_table_is_refused(tmp_path: Path) -> None:
    from chipper.schemas import IMAGES
    from chipper.storage.files import write_table

    path = tmp_path / "images.parquet"
    write_table(path, images().to_arrow(IMAGES, ""))
    with pytest.raises(ProposalError, match="holds images, not proposals"):
        opened(path)


def test_proposals_of_another_data_set_are_refused(tmp_path: Path, is_one_line: Callable[..., str]) -> None:
    path = tmp_path / "rpn.pkl"
    far = np.array([[600, 100, 900, 200, 0.5]])
    path.write_bytes(pickle.dumps({30: FINE * 9, 10: far}))
    with pytest.raises(
        ProposalError, match=r"10% of the proposals are outside their image \(the first: image 10\)"
    ) as caught:
        opened(path).of(images())
    is_one_line(caught.value)
    path.write_bytes(pickle.dumps({30: FINE * 99, 10: far}))
    assert len(opened(path).of(images())) == 100


def test_coco128_pickle(coco128: Path) -> None:
    coco = read_coco(coco128 / "instances.json")
    found = open_proposals(
        coco128 / "proposals.pkl", coco.images.image_id, coco.images.position, coco.image_records
    ).of(coco.images)
    arrays = [np.asarray(a) for a in load((coco128 / "proposals.pkl").read_bytes(), "")]
    assert len(arrays) == len(coco.images)
    assert len(found) == sum(len(a) for a in arrays)
    for k in (0, 64, 127):
        mine = found.image_id == coco.images.image_id[k]
        np.testing.assert_array_equal(found.box[mine], arrays[k][:, :4])


# --- writing ---


@pytest.mark.parametrize("name", ["rpn.pkl", "rpn.parquet", "rpn"])
def test_the_name_says_the_format(tmp_path: Path, name: str) -> None:
    as_parquet(tmp_path / "own.parquet", drawn_arrays())
    found = opened(tmp_path / "own.parquet").of(images())
    write_proposals(tmp_path / name, found, images(), RECORDS)
    np.testing.assert_array_equal(opened(tmp_path / name).of(images()).box, found.box)
    assert (tmp_path / name).read_bytes()[:4] == (b"PAR1" if name == "rpn.parquet" else b"\x80\x02]q")


def test_a_name_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"out: .*rpn\.json would be read as COCO results"):
        write_proposals(tmp_path / "rpn.json", Proposals(IDS, np.zeros((IDS.size, 4)), np.zeros(IDS.size)), images(), 9)


def test_pickle_is_sniper_s(tmp_path: Path) -> None:
    as_parquet(tmp_path / "own.parquet", drawn_arrays())
    found = opened(tmp_path / "own.parquet").of(images())
    write_pickle(tmp_path / "rpn.pkl", found, IDS, POSITIONS, RECORDS)
    data = (tmp_path / "rpn.pkl").read_bytes()
    assert data[:2] == b"\x80\x02"  # protocol 2, for the published code's Python 2
    arrays = pickle.loads(data)
    assert [a.shape for a in arrays] == [(4, 5), (7, 5), (0, 5), (0, 5), (1, 5)]
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}
    again = opened(tmp_path / "rpn.pkl").of(images())
    np.testing.assert_array_equal(again.box, found.box)


def test_a_pickle_holds_the_rows_of_each_image_in_their_order(tmp_path: Path) -> None:
    """Whatever the order of the images in the file and among the rows; ids may be far apart, and images without rows."""
    rng = np.random.default_rng(3)
    ids = rng.choice(2**40, 300, replace=False)
    image_id = rng.choice(ids[:250], 5000)
    found = Proposals(image_id, rng.uniform(0, 400, (5000, 4)), rng.random(5000))
    positions = rng.permutation(350)[:300]
    write_pickle(tmp_path / "rpn.pkl", found, ids, positions, 350)
    arrays = pickle.loads((tmp_path / "rpn.pkl").read_bytes())
    rows = np.hstack([found.box, found.score[:, None]]).astype(np.float32)
    wanted = {int(p): rows[image_id == k] for k, p in zip(ids, positions, strict=True)}
    for position, array in enumerate(arrays):
        np.testing.assert_array_equal(array, wanted.get(position, np.zeros((0, 5), np.float32)))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=4, max_size=4), st.integers(0, 2**32))
def test_parquet_round_trip(tmp_path_factory: pytest.TempPathFactory, counts: list[int], seed: int) -> None:
    if not sum(counts):
        return
    rng = np.random.default_rng(seed)
    ids = np.repeat(IDS, counts)
    boxes = np.sort(rng.uniform(0, 400, (ids.size, 2, 2)), axis=1).reshape(-1, 4).astype(np.float32)
    written = Proposals(ids, boxes.astype(np.float64), rng.random(ids.size).astype(np.float32).astype(np.float64))
    path = tmp_path_factory.getbasetemp() / "own.parquet"
    write_parquet(path, written)
    found = opened(path).of(images())
    np.testing.assert_array_equal(found.image_id, written.image_id)
    np.testing.assert_array_equal(found.box, written.box)
    np.testing.assert_array_equal(found.score, written.score)


def test_parquet_is_read_in_groups_by_many_threads(tmp_path: Path) -> None:
    """Parts are mined in threads that share one open file."""
    from concurrent.futures import ThreadPoolExecutor

    import pyarrow.parquet as pq

    from chipper.schemas import PROPOSALS

    ids = np.arange(400)
    rng = np.random.default_rng(0)
    rows = np.repeat(ids, 50)
    corner = rng.integers(0, 100, (rows.size, 2)).astype(float)
    table = Proposals(rows, np.concatenate([corner, corner + 9], axis=1), rng.random(rows.size)).to_arrow(PROPOSALS, "")
    path = tmp_path / "own.parquet"
    pq.write_table(table, path, row_group_size=500)
    everything = images(ids, ids)
    file = open_proposals(path, ids, ids, 400)
    whole = file.of(everything)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda start: file.of(everything[start : start + 20]), range(0, 400, 20)))
    np.testing.assert_array_equal(np.concatenate([p.box for p in parts]), whole.box)


@pytest.mark.parametrize("key", [10**5000, -(10**5000), "1" * 6000, "1e999", (1,) * 1000], ids=[*"abcde"])
def test_keys_that_are_no_ids_are_one_short_line(tmp_path: Path, key: Any, is_one_line: Callable[..., str]) -> None:
    path = tmp_path / "rpn.pkl"
    path.write_bytes(pickle.dumps({key: FINE}))
    with pytest.raises(ProposalError, match="is not an image id") as caught:
        opened(path)
    assert len(is_one_line(caught.value)) < 300
