"""The workdir: dataset.json, tables and epochs that are missing, damaged, swapped, edited, or of another workdir."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from .case import Case
from .damage import (
    GONE,
    Damage,
    a_fifo,
    a_folder,
    a_link,
    both,
    column,
    content,
    copied,
    cut,
    edited,
    flip,
    gone,
    metadata,
    swapped,
    table,
)

DATASET = "chips/dataset.json"
MINE = "mine-negatives --proposals rpn.pkl --jobs 1 --min-proposals 3 3"
EXPORT = "export-shards --jobs 1"
IMAGES, ANNOTATIONS = "chips/images/part-00000.parquet", "chips/annotations/part-00000.parquet"
CHIPS, LABELS = "chips/chips/positive-00000.parquet", "chips/labels/positive-00000.parquet"
EPOCH = "chips/epochs/epoch-000.parquet"

DATASETS: dict[str, Damage] = {
    "missing": gone(DATASET),
    "zero bytes": content(DATASET, b""),
    "cut": cut(DATASET, 0.5),
    "no JSON": content(DATASET, "dataset"),
    "not UTF-8": content(DATASET, b'{"format_version": "\xff"}'),
    "UTF-16": content(DATASET, "{}".encode("utf-16")),
    "a list": content(DATASET, "[]"),
    "an empty object": content(DATASET, "{}"),
    "100,000 brackets": content(DATASET, "[" * 100_000),
    "nested deeply in its options": content(DATASET, '{"options": {"a": ' + "[" * 100_000),
    "a folder": a_folder(DATASET),
    "a named pipe": a_fifo(DATASET),
    "a link to itself": a_link(DATASET, "dataset.json"),
    "a version of the future": edited(DATASET, format_version="2.0"),
    "a version that is none": edited(DATASET, format_version=""),
    "a version that is a number": edited(DATASET, format_version=1.0),
    "another id": edited(DATASET, id="0" * 32),
    "an id that is a number": edited(DATASET, id=7),
    "no options": edited(DATASET, options={}),
    "options that nobody knows": edited(DATASET, options__turbo=True),
    "an option that is gone": edited(DATASET, options__scales=GONE),
    "an option of another type": edited(DATASET, options__chip_size="64"),
    "an option that is null": edited(DATASET, options__scales=None),
    "an option out of bounds": edited(DATASET, options__chip_size=-1),
    "scales that are none": edited(DATASET, options__scales="x"),
    "other ranges than scales": edited(DATASET, options__valid_ranges=":"),
    "parts that are none": edited(DATASET, parts=0),
    "parts that are negative": edited(DATASET, parts=-1),
    "more parts than there are": edited(DATASET, parts=2),
    "parts beyond all": edited(DATASET, parts=10**18),
    "no categories": edited(DATASET, categories=[]),
    "categories of another type": edited(DATASET, categories=[{"id": "x", "name": 1}]),
    "counts that are gone": edited(DATASET, counts={}),
    "a count that is gone": edited(DATASET, counts__images=GONE),
    "a count that is a word": edited(DATASET, counts__images="four"),
    "a count that is negative": edited(DATASET, counts__images=-4),
    "chips of other scales": edited(DATASET, counts__positive_chips={"7": 1}),
    "a source that is a word": edited(DATASET, source="coco.json"),
    "image records that are a word": edited(DATASET, source__image_records="four"),
    "an image folder that is a number": edited(DATASET, image_dir=7),
    "an image folder of an unknown protocol": edited(DATASET, image_dir="abc://bucket/images"),
    "negatives that are a word": edited(DATASET, negatives="yes"),
    "negatives without counts": edited(
        DATASET, negatives={"id": "x", "proposals_file": "", "proposals_hash": "", "options": {}, "counts": {}}
    ),
}


def other_workdir(name: str) -> Damage:
    """Replace a table by that of another workdir with other options."""

    def make(folder: Path) -> None:
        from .case import run

        done = run(folder, "build-positives coco.json --workdir other --jobs 1 --epochs 2")
        assert done.code == 0, done.err
        (folder / name).write_bytes((folder / name.replace("chips/", "other/", 1)).read_bytes())

    return make


def _repeat(old: pa.Table) -> pa.Table:
    return pa.concat_tables([old, old])


def _backwards(old: pa.Table) -> pa.Table:
    return old.take(list(range(len(old)))[::-1])


def _as_text(name: str) -> Any:
    def change(old: pa.Table) -> pa.Table:
        place = old.schema.get_field_index(name)
        made = old.set_column(place, name, pa.array([str(v) for v in old[name].to_pylist()]))
        return made.replace_schema_metadata(old.schema.metadata)

    return change


def _spoil(name: str) -> Damage:
    """Change the pages, and keep the footer."""

    def make(folder: Path) -> None:
        path = folder / name
        data = bytearray(path.read_bytes())
        end = len(data) - int.from_bytes(data[-8:-4], "little") - 8
        data[4:end] = bytes(b ^ 0x5A for b in data[4:end])
        path.write_bytes(bytes(data))

    return make


def _id_of(name: str) -> str:
    return "image_id" if name in (IMAGES, ANNOTATIONS) else "chip_id"


# of each table
TABLES: dict[str, Any] = {
    "missing": gone,
    "zero bytes": lambda name: content(name, b""),
    "text": lambda name: content(name, "PAR1" * 20),
    "cut": lambda name: cut(name, 0.5),
    "without its last byte": lambda name: cut(name, 0.999),
    "a byte of the footer": lambda name: flip(name, 0.9),
    "other pages": _spoil,
    "a footer of 4 GB": lambda name: both(content(name, b"PAR1" + bytes(100) + b"\xff\xff\xff\xffPAR1")),
    "a folder": a_folder,
    "a named pipe": a_fifo,
    "a version of the future": lambda name: metadata(name, b"chipper.format", b"7.0"),
    "of other options": lambda name: metadata(name, b"chipper.belongs_to", b"0" * 32),
    "metadata that are no text": lambda name: metadata(name, b"chipper.belongs_to", b"\xff\xfe\xfd"),
    "nobody's": lambda name: table(name, lambda old: old.replace_schema_metadata({})),
    "its id as text": lambda name: table(name, _as_text(_id_of(name))),
    "its id null": lambda name: column(name, _id_of(name), None, 0),
}
WHICH = {
    "images": (IMAGES, EXPORT, "built"),
    "annotations": (ANNOTATIONS, EXPORT, "built"),
    "chips": (CHIPS, MINE, "built"),
    "labels": (LABELS, EXPORT, "built"),
    "epoch": (EPOCH, "train --model tiny --device cpu --name new --max-steps 1", "exported"),
}
# rows with impossible values
ROWS: dict[str, tuple[Damage, str, str, str]] = {
    "images, for annotations": (copied(ANNOTATIONS, IMAGES), EXPORT, "built", "part-00000"),
    "labels, for chips": (swapped(CHIPS, LABELS), EXPORT, "built", "positive-00000"),
    "negatives, for positives": (
        swapped(CHIPS, "chips/chips/negative-00000.parquet"),
        EXPORT,
        "mined",
        "positive-00000",
    ),
    "one epoch, for another workdir's": (
        other_workdir(EPOCH),
        "train --model tiny --device cpu --name n",
        "exported",
        "epoch-000",
    ),
    "chips of another workdir": (other_workdir(CHIPS), EXPORT, "built", "positive-00000"),
    "epochs that are gone": (gone("chips/epochs"), "export-shards --layout epochs --jobs 1", "built", "epoch-000"),
    "chips twice": (table(CHIPS, _repeat), EXPORT, "built", "positive-00000"),
    "chips backwards": (table(CHIPS, _backwards), EXPORT, "built", "positive-00000"),
    "chips of an unknown image": (column(CHIPS, "image_id", 999, 0), EXPORT, "built", "positive-00000"),
    "chips of an unknown scale": (column(CHIPS, "scale_index", 99, 0), EXPORT, "built", "positive-00000"),
    "chips of a negative scale": (column(CHIPS, "scale_index", -1, 0), EXPORT, "built", "positive-00000"),
    "chips of scale 0": (column(CHIPS, "scale", 0.0, 0), EXPORT, "built", "positive-00000"),
    "chips of scale NaN": (column(CHIPS, "scale", float("nan"), 0), EXPORT, "built", "positive-00000"),
    "chips far outside": (column(CHIPS, "x", 10**8, 0), EXPORT, "built", "positive-00000"),
    "chips at negative places": (column(CHIPS, "y", -64, 0), EXPORT, "built", "positive-00000"),
    "chips larger than chips": (column(CHIPS, "content_width", 10**6, 0), EXPORT, "built", "positive-00000"),
    "chips of no content": (column(CHIPS, "content_height", 0, 0), EXPORT, "built", "positive-00000"),
    "chips of an unknown variant": (column(CHIPS, "variant", 9, 0), EXPORT, "built", "positive-00000"),
    "labels of an unknown annotation": (column(LABELS, "annotation_id", 999, 0), EXPORT, "built", "positive-00000"),
    "labels of an unknown chip": (column(LABELS, "chip_id", 2**60, 0), EXPORT, "built", "positive-00000"),
    "labels of an unknown category": (column(LABELS, "category_id", 999, 0), EXPORT, "built", "positive-00000"),
    "labels of NaN": (column(LABELS, "x1", float("nan"), 0), EXPORT, "built", "positive-00000"),
    "images twice": (table(IMAGES, _repeat), EXPORT, "built", "part-00000"),
    "images that lead out": (column(IMAGES, "file_name", "../coco.json", 0), EXPORT, "built", "part-00000"),
    "images with absolute names": (column(IMAGES, "file_name", "/etc/passwd", 0), EXPORT, "built", "part-00000"),
    "images of no size": (column(IMAGES, "width", 0, 0), EXPORT, "built", "part-00000"),
    "annotations of an unknown image": (column(ANNOTATIONS, "image_id", 999, 0), MINE, "built", "unknown image"),
    "annotations of NaN": (column(ANNOTATIONS, "x1", float("nan"), 0), MINE, "built", "part-00000"),
    "masks that are no JSON": (column(ANNOTATIONS, "segmentation", b"[[1, 2", 0), EXPORT, "built", ""),
    "keypoints that are no JSON": (column(ANNOTATIONS, "keypoints", b"\xff\xfe", 0), EXPORT, "built", ""),
    "an epoch of unknown chips": (
        column(EPOCH, "chip_id", 2**60, 0),
        "train --model tiny --device cpu --name n",
        "exported",
        "epoch 0",
    ),
    "an epoch of nothing": (
        table(EPOCH, lambda old: old.slice(0, 0)),
        "train --model tiny --device cpu --name n",
        "exported",
        "epoch 0",
    ),
}


def _spot(path: str) -> str:
    return Path(path).name


def _cases() -> list[Case]:
    cases = []
    for kind, make in DATASETS.items():
        cases.append(Case(f"dataset.json: {kind}", EXPORT, ("chips",), make, "built"))
    for kind in ("missing", "cut", "100,000 brackets", "a version of the future", "no options", "a count that is gone"):
        for words, start in (
            (MINE, "built"),
            ("preview", "built"),
            ("export-coco --out o --jobs 1", "exported"),
            ("export-yolo --out o --jobs 1", "exported"),
            ("train --model tiny --device cpu --name new --max-steps 1", "exported"),
            ("propose --device cpu --out o.pkl", "trained"),
        ):
            name = f"dataset.json, {words.split()[0]}: {kind}"
            cases.append(Case(name, words, ("dataset.json",), DATASETS[kind], start))
    for what, (path, words, start) in WHICH.items():
        cases += [
            Case(f"{what} table: {kind}", words, (_spot(path),), make(path), start) for kind, make in TABLES.items()
        ]
    for kind, (make, words, start, says) in ROWS.items():
        code = 1 if says else 0  # masks and keypoints that cannot be read are no masks and keypoints
        cases.append(Case(f"rows: {kind}", words, (says,), make, start, code, may_appear=("chips/shards/*",)))
    return cases


def _write_lock(folder: Path) -> None:
    (folder / "chips" / ".lock").unlink()
    (folder / "chips" / ".lock").mkdir()


CASES = [
    *_cases(),
    Case("workdir: never built", EXPORT, ("dataset.json", "build-positives"), start="data"),
    Case("workdir: only a run in it", EXPORT, ("dataset.json",), gone(DATASET), "trained"),
    Case("workdir: its lock is a folder", EXPORT, (".lock",), _write_lock, "built"),
    Case(
        "workdir: proposals of another data set leave what was mined",
        MINE,
        ("3 images",),
        lambda folder: (folder / "rpn.pkl").write_bytes(b"\x80\x02]q\x00(]]]e."),
        "exported",
    ),
]
