"""Proposal files: pickles, COCO results, Parquet; damaged, of other images, or with invalid numbers."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .case import Case
from .damage import Damage, a_fifo, a_folder, both, content, cut, gone, metadata
from .pickles import malicious

MINE = "mine-negatives --jobs 1 --min-proposals 3 3 --proposals "
BOXES = np.array([[1, 2, 30, 40, 0.9], [5, 5, 20, 20, 0.1]], np.float32)
NAN, INF = float("nan"), float("inf")


def pickled(value: Any, protocol: int = 2) -> Damage:
    return content("rpn.pkl", pickle.dumps(value, protocol))


def box(**place: float) -> list[np.ndarray]:
    """Good proposals for four images, except for one number."""
    arrays = [BOXES.copy() for _ in range(4)]
    for side, value in place.items():
        arrays[1][0, ("x1", "y1", "x2", "y2", "score").index(side)] = value
    return arrays


def of(value: Any) -> list[Any]:
    """Good proposals for three images, and ``value`` for the second one."""
    return [BOXES, value, BOXES, BOXES]


PICKLES: dict[str, tuple[Damage, str]] = {
    "zero bytes": (content("rpn.pkl", b""), "not a readable pickle"),
    "text": (content("rpn.pkl", "proposals"), "not a readable pickle"),
    "a JPEG": (content("rpn.pkl", b"\xff\xd8\xff\xe0" + bytes(50)), "not a readable pickle"),
    "cut": (cut("rpn.pkl", 0.5), "not a readable pickle"),
    "cut at its last byte": (cut("rpn.pkl", 0.9999), "not a readable pickle"),
    "a protocol of the future": (content("rpn.pkl", b"\x80\x63."), "not a readable pickle"),
    "opcodes that nobody knows": (content("rpn.pkl", b"\x80\x02\xfe\xfd."), "not a readable pickle"),
    "a stack that is empty": (content("rpn.pkl", b"\x80\x02."), "not a readable pickle"),
    "a memo that is not there": (content("rpn.pkl", b"\x80\x02h\x63."), "not a readable pickle"),
    "a memo at 2^31": (content("rpn.pkl", b"\x80\x02K\x01r\xff\xff\xff\x7f."), "rpn.pkl"),
    "a memo of 11 GB": (content("rpn.pkl", b"\x80\x02K\x01r\x94\x94\x94\x28."), "refused"),
    "a memo of 11 GB, in decimals": (content("rpn.pkl", b"I1\np680825748\n."), "refused"),
    "a frame beyond the end": (
        content("rpn.pkl", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f]."),
        "not a readable pickle",
    ),
    "bytes of a terabyte": (
        content("rpn.pkl", b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"."),
        "not a readable pickle",
    ),
    "a text of a terabyte": (
        content("rpn.pkl", b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"."),
        "not a readable pickle",
    ),
    "100,000 lists in one another": (
        content("rpn.pkl", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."),
        "rpn.pkl",
    ),
    "a list that holds itself": (content("rpn.pkl", b"\x80\x02]q\x00h\x00a."), "rpn.pkl"),
    "100,000 marks": (content("rpn.pkl", b"\x80\x02" + b"(" * 100_000 + b"l."), "rpn.pkl"),
    "a number": (pickled(7), "int"),
    "a string": (pickled("proposals"), "str"),
    "None": (pickled(None), "NoneType"),
    "an array, not a list of them": (pickled(BOXES), "ndarray"),
    "an empty list": (pickled([]), "0 images"),
    "an empty dict": (pickled({}), "no proposals"),
    "for fewer images": (pickled([BOXES] * 3), "3 images"),
    "for more images": (pickled([BOXES] * 5), "5 images"),
    "a list of lists of lists": (pickled([[[BOXES]]] * 4), "rpn.pkl"),
    "three columns": (pickled(of(BOXES[:, :3])), "shape"),
    "six columns": (pickled(of(np.zeros((2, 6)))), "shape"),
    "one dimension": (pickled(of(BOXES[0])), "shape"),
    "three dimensions": (pickled(of(BOXES[None])), "shape"),
    "a number for an image": (pickled(of(3.5)), "shape"),
    "words": (pickled(of([["a", "b", "c", "d"]])), "not numbers"),
    "rows of other lengths": (pickled(of([[1, 2, 3, 4], [1, 2]])), "not numbers"),
    "a dict for an image": (pickled(of({"boxes": BOXES})), "not numbers"),
    "booleans": (pickled(of(np.ones((3, 4), bool))), "rpn.pkl"),
    "complex numbers": (pickled(of(BOXES.astype(np.complex64))), "refused"),
    "objects": (pickled(of(BOXES.astype(object))), "refused"),
    "texts in an array": (pickled(of(np.array([["a"] * 4]))), "refused"),
    "dates": (pickled(of(np.zeros((2, 4), "M8[D]"))), "refused"),
    "a structured array": (pickled(of(np.zeros(2, [("x", "f4")]))), "refused"),
    "integers of a thousand digits": (pickled(of([[10**1000] * 5])), "rpn.pkl"),
    "unknown ids in a dict": (pickled({99: BOXES, 98: BOXES}), "98"),
    "ids of other images beside good ones": (pickled({1: BOXES, 99: BOXES}), "99"),
    "words for ids": (pickled({"first": BOXES}), "first"),
    "fractions for ids": (pickled({1.5: BOXES}), "1.5"),
    "NaN for an id": (pickled({NAN: BOXES}), "nan"),
    "None for an id": (pickled({None: BOXES}), "None"),
    "a tuple for an id": (pickled({(1, 2): BOXES}), "(1, 2)"),
    "an id beyond 64 bits": (pickled({2**64: BOXES}), "not an image id"),
    "an id of a thousand letters": (pickled({"x" * 1000: BOXES}), "not an image id"),
    "an id with a newline": (pickled({"a\nb": BOXES}), "not an image id"),
    "an ordered dict of unknown ids": (pickled(OrderedDict([(77, BOXES)])), "77"),
    "infinity in a box": (pickled(box(x2=INF)), "rpn.pkl"),
    "numbers beyond all": (pickled(box(x2=3e38)), "outside"),
    "of another data set": (pickled([BOXES * 50 for _ in range(4)]), "outside"),
    "missing": (gone("rpn.pkl"), "does not exist"),
    "a folder": (a_folder("rpn.pkl"), "folder"),
    "a named pipe": (a_fifo("rpn.pkl"), "pipe"),
}
USED: dict[str, Damage] = {
    "none for any image": pickled([np.zeros((0, 5), np.float32)] * 4),
    "None for an image": pickled([None, BOXES, BOXES, BOXES]),
    "boxes without area": pickled(box(x2=1, y2=2)),
    "boxes upside down": pickled(box(x2=0, y2=0)),
    "four columns": pickled([BOXES[:, :4]] * 4),
    "lists of numbers": pickled([BOXES.tolist()] * 4),
    "integers": pickled([BOXES.astype(np.int16)] * 4),
    "big-endian": pickled([BOXES.astype(">f8")] * 4),
    "ids in quotes": pickled({"1": BOXES, "11": BOXES}),
    "NaN in a box": pickled(box(x1=NAN)),
    "minus infinity in a box": pickled(box(x1=-INF)),
    "NaN in a score": pickled(box(score=NAN)),
    "scores beyond 1": pickled(box(score=1e30)),
}


def results(*changes: dict[str, Any] | str) -> Damage:
    good = {"image_id": 1, "category_id": 3, "bbox": [1, 2, 30, 40], "score": 0.5}
    rows = [change if isinstance(change, str) else json.dumps(good | change) for change in changes]
    return content("rpn.json", f"[{', '.join(rows)}]")


JSONS: dict[str, tuple[Damage, str]] = {
    "zero bytes": (content("rpn.json", b""), "results file"),
    "no JSON": (content("rpn.json", "proposals"), "results file"),
    "not UTF-8": (content("rpn.json", b'[{"image_id": "\xff"}]'), "results file"),
    "an object": (content("rpn.json", "{}"), "results file"),
    "100,000 brackets": (content("rpn.json", "[" * 100_000), "rpn.json"),
    "nested deeply where nobody looks": (
        content("rpn.json", '[{"image_id": 1, "x": ' + "[" * 100_000 + "]" * 100_000 + "}]"),
        "rpn.json",
    ),
    "an empty list": (content("rpn.json", "[]"), "no proposals"),
    "a COCO file": (content("rpn.json", '{"images": []}'), "results file"),
    "NaN": (results({"bbox": [NAN] * 4}), "results file"),
    "1e999": (content("rpn.json", '[{"image_id": 1, "bbox": [1, 2, 1e999, 4], "score": 1}]'), "rpn.json"),
    "numbers at the end of doubles": (results({"bbox": [1e308, 0, 1e308, 1e308]}), "rpn.json"),
    "a box of three numbers": (results({"bbox": [1, 2, 3]}), "results file"),
    "a box of words": (results({"bbox": ["1", "2", "3", "4"]}), "results file"),
    "no score": (content("rpn.json", '[{"image_id": 1, "bbox": [1, 2, 3, 4]}]'), "score"),
    "a score that is null": (results({"score": None}), "results file"),
    "an unknown image": (results({"image_id": 99}), "99"),
    "an image id that is a word": (results({"image_id": "one"}), "results file"),
    "an image id beyond 64 bits": (results({"image_id": 2**70}), "results file"),
    "an image id that is true": (results({"image_id": True}), "results file"),
    "far outside": (results({"bbox": [500, 500, 50, 50]}), "outside"),
}


def parquet(change: Any = None, **columns: Any) -> Damage:
    """chipper's Parquet with one row, or another table."""

    def make(folder: Path) -> None:
        from chipper.schemas import PROPOSALS

        row = {"image_id": [1], "x1": [1.0], "y1": [2.0], "x2": [30.0], "y2": [40.0], "score": [0.5]} | columns
        schema = PROPOSALS.arrow_schema("")
        fields = [schema.field(name).with_nullable(True) for name in row]
        arrays = [pa.array(value, type=field.type) for value, field in zip(row.values(), fields, strict=True)]
        made = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=schema.metadata))
        pq.write_table(made if change is None else change(made), folder / "rpn.parquet")

    return make


PARQUETS: dict[str, tuple[Damage, str]] = {
    "zero bytes": (content("rpn.parquet", b""), "rpn.parquet"),
    "text": (content("rpn.parquet", "proposals" * 10), "rpn.parquet"),
    "a pickle": (content("rpn.parquet", pickle.dumps([BOXES])), "rpn.parquet"),
    "cut": (both(parquet(), cut("rpn.parquet", 0.7)), "rpn.parquet"),
    "cut in the footer": (both(parquet(), cut("rpn.parquet", 0.99)), "rpn.parquet"),
    "another table": (lambda folder: _copy(folder, "chips/chips/positive-00000.parquet"), "chips"),
    "nobody's table": (parquet(lambda t: t.replace_schema_metadata(None)), "no chipper table"),
    "a version of the future": (both(parquet(), metadata("rpn.parquet", b"chipper.format", b"9.0")), "9.0"),
    "no version": (both(parquet(), metadata("rpn.parquet", b"chipper.format", b"")), "version"),
    "metadata that are no text": (
        both(parquet(), metadata("rpn.parquet", b"chipper.table", b"\xff\xfe")),
        "rpn.parquet",
    ),
    "no column score": (parquet(lambda t: t.drop_columns(["score"])), "score"),
    "boxes as texts": (
        parquet(lambda t: t.set_column(1, "x1", pa.array(["1"])).replace_schema_metadata(t.schema.metadata)),
        "x1",
    ),
    "ids that are null": (parquet(image_id=[None]), "image_id"),
    "infinite boxes": (parquet(x2=[INF]), "rpn.parquet"),
    "no rows": (parquet(lambda t: t.slice(0, 0)), "no proposals"),
    "unknown images": (parquet(image_id=[99]), "99"),
    "far outside": (parquet(x1=[900.0], x2=[950.0]), "outside"),
    "a folder": (a_folder("rpn.parquet"), "rpn.parquet"),
    "a named pipe": (a_fifo("rpn.parquet"), "rpn.parquet"),
    "missing": (lambda _: None, "does not exist"),
    "pages that are not those written": (both(parquet(), lambda folder: _spoil(folder / "rpn.parquet")), "rpn.parquet"),
}


def _copy(folder: Path, source: str) -> None:
    (folder / "rpn.parquet").write_bytes((folder / source).read_bytes())


def _spoil(path: Path) -> None:
    """Overwrite the first pages, and leave the footer as it is."""
    data = bytearray(path.read_bytes())
    data[8:120] = b"\xff" * 112
    path.write_bytes(bytes(data))


def _evil(stream: bytes) -> Damage:
    return content("rpn.pkl", stream)


CASES = [
    *(
        Case(f"pickle: {kind}", f"{MINE}rpn.pkl", ("rpn.pkl", says), make, "built")
        for kind, (make, says) in PICKLES.items()
    ),
    *(
        Case(
            f"pickle used: {kind}",
            f"{MINE}rpn.pkl",
            ("negative chips in all",),
            make,
            "built",
            0,
            may_change=("chips/*",),
        )
        for kind, make in USED.items()
    ),
    *(
        Case(f"results: {kind}", f"{MINE}rpn.json", ("rpn.json", says), make, "built")
        for kind, (make, says) in JSONS.items()
    ),
    *(
        Case(f"Parquet: {kind}", f"{MINE}rpn.parquet", ("rpn.parquet", says), make, "built")
        for kind, (make, says) in PARQUETS.items()
    ),
    *(
        Case(f"evil pickle: {kind}", f"{MINE}rpn.pkl", ("rpn.pkl",), _evil(stream), "mined")
        for kind, stream in malicious().items()
    ),
    Case("pickle, evaluate: cut", "evaluate coco.json --proposals rpn.pkl", ("rpn.pkl",), cut("rpn.pkl", 0.5)),
    Case(
        "pickle, evaluate: for fewer images",
        "evaluate coco.json --proposals rpn.pkl",
        ("3 images",),
        pickled([BOXES] * 3),
    ),
    Case("pickle, evaluate: NaN", "evaluate coco.json --proposals rpn.pkl", ("AR1000",), pickled(box(x1=NAN)), code=0),
]
