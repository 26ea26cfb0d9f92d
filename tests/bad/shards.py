"""Shards: tars, indices, receipts and the set's dataset.json, damaged, renamed, edited, or of another export."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from .case import MARKER, Case
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
    found,
    gone,
    metadata,
    swapped,
    table,
)

SET = "chips/shards/dataset.json"
TAR, INDEX = "chips/shards/positives-00000-of-*.tar", "chips/shards/positives-00000-of-*.index.parquet"
RECEIPT = "chips/shards/positives-00000-of-*.done.json"
OTHER = "chips/shards/positives-00001-of-*.tar"
TRAIN = "train --model tiny --device cpu --name new --max-steps 1 --batch-size 2"
COCO = "export-coco --out o --all-chips --jobs 1"
YOLO = "export-yolo --out o --all-chips --jobs 1"
DAMAGED = "positives-00000"


def _a_byte_more(folder: Path) -> None:
    path = found(folder, TAR)
    path.write_bytes(path.read_bytes() + b"\0")


SETS: dict[str, Damage] = {
    "missing": gone(SET),
    "zero bytes": content(SET, b""),
    "cut": cut(SET, 0.5),
    "no JSON": content(SET, "shards"),
    "not UTF-8": content(SET, b'{"id": "\xff"}'),
    "a list": content(SET, "[]"),
    "100,000 brackets": content(SET, "[" * 100_000),
    "nested deeply": content(SET, '{"render": {"a": ' + "[" * 100_000),
    "a folder": a_folder(SET),
    "a named pipe": a_fifo(SET),
    "a version of the future": edited(SET, format_version="3.1"),
    "names that lead out": edited(SET, shards=["../../victim"]),
    "names that are absolute": edited(SET, shards=["/tmp/victim"]),
    "names that are numbers": edited(SET, shards=[1, 2]),
    "names that are no shards'": edited(SET, shards=["positives"]),
    "names with a newline": edited(SET, shards=["positives-00000-of-00001\n"]),
    "a list of shards that is gone": edited(SET, shards=GONE),
    "a chip size that is a word": edited(SET, chip_size="large"),
    "samples that are a fraction": edited(SET, samples=1.5),
    "categories that are null": edited(SET, categories=None),
}
# faults that both verify and readers must find
DAMAGES: dict[str, Damage] = {
    "no tar": gone(TAR),
    "no index": gone(INDEX),
    "no receipt": gone(RECEIPT),
    "a tar of zero bytes": content(TAR, b""),
    "a tar cut in the middle": cut(TAR, 0.5),
    "a tar without its last byte": cut(TAR, 0.99999),
    "a tar with a byte more": _a_byte_more,
    "a folder for a tar": a_folder(TAR),
    "a named pipe for a tar": a_fifo(TAR),
    "a link to itself for a tar": lambda folder: a_link(TAR, found(folder, TAR).name)(folder),
    "an index of zero bytes": content(INDEX, b""),
    "an index that is text": content(INDEX, "index" * 30),
    "an index that is cut": cut(INDEX, 0.6),
    "a byte of the index's footer": flip(INDEX, 0.95),
    "an index of another version": metadata(INDEX, b"chipper.format", b"8.0"),
    "an index that is another table": copied("chips/chips/positive-00000.parquet", INDEX),
    "an index without a key": column(INDEX, "key", None, 0),
    "an index without an offset": column(INDEX, "image_offset", None, 0),
    "an index with a column as text": table(INDEX, lambda old: old.drop_columns(["crc32"])),
    "a folder for an index": a_folder(INDEX),
    "a named pipe for an index": a_fifo(INDEX),
    "a receipt of zero bytes": content(RECEIPT, b""),
    "a receipt that is cut": cut(RECEIPT, 0.5),
    "a receipt that is no JSON": content(RECEIPT, "done"),
    "a receipt that is a list": content(RECEIPT, "[]"),
    "a receipt of 100,000 brackets": content(RECEIPT, "[" * 100_000),
    "a receipt nested deeply": content(RECEIPT, '{"faults": ' + "[" * 100_000),
    "a receipt that is not UTF-8": content(RECEIPT, b'{"name": "\xff"}'),
    "a receipt with bytes as a word": edited(RECEIPT, bytes="many"),
    "a receipt with other bytes": edited(RECEIPT, bytes=1),
    "a receipt with negative bytes": edited(RECEIPT, bytes=-1),
    "a receipt with samples that are null": edited(RECEIPT, samples=None),
    "a receipt of another shard": edited(RECEIPT, name="positives-00001-of-00002"),
    "a receipt without a hash": edited(RECEIPT, sha256=GONE),
    "a folder for a receipt": a_folder(RECEIPT),
    "a named pipe for a receipt": a_fifo(RECEIPT),
}
# faults that verify must find; readers may find them sample by sample
ALTERED: dict[str, Damage] = {
    "a byte of the tar's first header": flip(TAR, 0.0),
    "a byte of a picture": flip(TAR, 900),
    "a byte in the middle": flip(TAR, 0.5),
    "a byte of the padding at the end": flip(TAR, 0.9999),
    "two tars that changed places": swapped(TAR, OTHER),
    "a receipt with another sha256": edited(RECEIPT, sha256="0" * 64),
    "a receipt with other samples": edited(RECEIPT, samples=7777),
    "an index of other options": metadata(INDEX, b"chipper.belongs_to", b"0" * 64),
    "an index with a row less": table(INDEX, lambda old: old.slice(1)),
}
# rows of the index with byte ranges that do not exist
ROWS: dict[str, Damage] = {
    "a negative offset": column(INDEX, "image_offset", -512, 0),
    "an offset beyond the end": column(INDEX, "json_offset", 2**40, 0),
    "an offset at the end of 64 bits": column(INDEX, "json_offset", 2**63 - 1, 0),
    "a negative size": column(INDEX, "image_size", -1, 0),
    "a size beyond the end": column(INDEX, "json_size", 2**40, 0),
    "a record before its picture": column(INDEX, "json_offset", 0, 0),
    "a picture as large as the tar": column(INDEX, "image_size", 2**31, 0),
}


def _foreign_tar(folder: Path) -> None:
    """A tar whose members would be extracted to a place outside the folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in (f"../../{MARKER}", f"/tmp/{MARKER}"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    data = buffer.getvalue()
    size = json.loads(found(folder, RECEIPT).read_text())["bytes"]
    found(folder, TAR).write_bytes(data[:size].ljust(size, b"\0"))


def _with_receipt(make: Damage) -> Damage:
    """Change the tar, its index and its receipt alike, like somebody who edits a shard."""

    def both_changed(folder: Path) -> None:
        import hashlib

        make(folder)
        data = found(folder, TAR).read_bytes()
        index = hashlib.sha256(found(folder, INDEX).read_bytes()).hexdigest()
        edited(RECEIPT, bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), index_sha256=index)(folder)

    return both_changed


def _record(change: Any) -> Damage:
    """Replace the JSON of the first sample by another one of the same length, with matching checksums."""

    def make(folder: Path) -> None:
        import zlib

        import pyarrow.parquet as pq

        path = found(folder, INDEX)
        row = pq.read_table(path).to_pylist()[0]
        data = bytearray(found(folder, TAR).read_bytes())
        start, size = row["json_offset"], row["json_size"]
        new = change(bytes(data[start : start + size]))
        data[start : start + size] = new[:size].ljust(size)
        found(folder, TAR).write_bytes(bytes(data))
        picture = bytes(data[row["image_offset"] : row["image_offset"] + row["image_size"]])
        column(INDEX, "crc32", zlib.crc32(bytes(data[start : start + size]), zlib.crc32(picture)), 0)(folder)

    return _with_receipt(make)


def _stranger(folder: Path) -> None:
    (folder / "chips" / "shards" / "holiday.tar").write_bytes(b"mine")


def _cases() -> list[Case]:
    cases = []
    for kind, make in SETS.items():
        for words in ("verify --jobs 1", COCO):
            cases.append(
                Case(f"shards/dataset.json, {words.split()[0]}: {kind}", words, ("dataset.json",), make, "exported")
            )
    for kind, make in DAMAGES.items():
        cases.append(
            Case(
                f"shard, verify: {kind}",
                "verify --jobs 1",
                ("1 faults", "export-shards"),
                make,
                "exported",
            )
        )
        cases.append(Case(f"shard, export-coco: {kind}", COCO, (DAMAGED,), make, "exported"))
    for kind in ("no tar", "a tar cut in the middle", "an index that is cut", "a receipt nested deeply"):
        cases.append(Case(f"shard, export-yolo: {kind}", YOLO, (DAMAGED,), DAMAGES[kind], "exported"))
        cases.append(Case(f"shard, train: {kind}", TRAIN, (DAMAGED,), DAMAGES[kind], "exported"))
        cases.append(Case(f"shard, preview: {kind}", "preview", (DAMAGED,), DAMAGES[kind], "exported"))
    for kind, make in ALTERED.items():
        says = ("faults", "export-shards")
        cases.append(Case(f"shard, verify: {kind}", "verify --jobs 1", says, make, "exported"))
        cases.append(Case(f"shard, verify --deep: {kind}", "verify --deep --jobs 1", says, make, "exported"))
    for kind, make in ROWS.items():
        cases.append(Case(f"index, export-coco: {kind}", COCO, (DAMAGED,), make, "exported"))
        cases.append(Case(f"index, train: {kind}", TRAIN, (DAMAGED,), make, "exported"))
        cases.append(
            Case(
                f"index, verify --deep: {kind}",
                "verify --deep --jobs 1",
                ("1 faults",),
                make,
                "exported",
            )
        )
    return cases


CASES = [
    *_cases(),
    Case("shard, export-coco: a byte of a picture", COCO, (DAMAGED, "damaged"), flip(TAR, 900), "exported"),
    Case("shard, export-coco: two tars that changed places", COCO, ("shards",), swapped(TAR, OTHER), "exported"),
    Case(
        "shard, verify: members that lead out",
        "verify --jobs 1",
        ("1 faults",),
        _foreign_tar,
        "exported",
    ),
    Case(
        "shard, verify --deep: members that lead out, with a receipt to fit",
        "verify --deep --jobs 1",
        ("1 faults",),
        _with_receipt(_foreign_tar),
        "exported",
    ),
    Case("shard, export-coco: members that lead out", COCO, (DAMAGED,), _with_receipt(_foreign_tar), "exported"),
    Case("record, export-coco: no JSON", COCO, (DAMAGED,), _record(lambda old: b"{" * len(old)), "exported"),
    Case("record, export-yolo: no JSON", YOLO, (DAMAGED,), _record(lambda old: b"{" * len(old)), "exported"),
    Case("record, export-coco: a list", COCO, (DAMAGED,), _record(lambda old: b"[]"), "exported"),
    Case("record, export-coco: not UTF-8", COCO, (DAMAGED,), _record(lambda old: b'{"a": "\xff"}'), "exported"),
    Case("record, export-coco: nothing in it", COCO, (DAMAGED,), _record(lambda old: b"{}"), "exported"),
    Case(
        "record, export-yolo: a box of words",
        YOLO,
        (DAMAGED,),
        _record(lambda old: old.replace(b'"bbox":[', b'"bbox":{')),
        "exported",
    ),
    Case(
        "record, export-yolo: an unknown category",
        YOLO,
        (DAMAGED,),
        _record(
            lambda old: old.replace(b'"category_id":3', b'"category_id":5').replace(
                b'"category_id":7', b'"category_id":5'
            )
        ),
        "exported",
    ),
    Case(
        "record, train: no JSON",
        f"{TRAIN} --batch-size 20",
        (DAMAGED,),
        _record(lambda old: b"{" * len(old)),
        "exported",
        code=0,
    ),
    Case(
        "record, train: nothing in it",
        f"{TRAIN} --batch-size 20",
        (DAMAGED,),
        _record(lambda old: b"{}"),
        "exported",
        code=0,
    ),
    Case("record, preview: no JSON", "preview", (DAMAGED,), _record(lambda old: b"{" * len(old)), "exported"),
    Case(
        "record, verify --deep: no JSON",
        "verify --deep --jobs 1",
        ("1 faults",),
        _record(lambda old: b"{" * len(old)),
        "exported",
    ),
    Case("shards: a stranger's tar", "verify --jobs 1", ("1 faults",), _stranger, "exported"),
    Case("shards: of another workdir", TRAIN, ("do not belong to the epochs",), edited(SET, id="0" * 32), "exported"),
    Case(
        "shards: of another workdir, export-coco",
        COCO,
        ("do not belong to the epochs",),
        edited(SET, id="0" * 32),
        "exported",
    ),
    Case("shards: none there", TRAIN, ("export-shards",), gone("chips/shards"), "exported"),
    Case(
        "shards: the folder is a file",
        TRAIN,
        ("shards",),
        both(gone("chips/shards"), content("chips/shards", "")),
        "exported",
    ),
    Case("shards: no epochs' own", f"{TRAIN} --stream", ("--layout epochs",), None, "exported"),
    Case("shards: a named pipe among them", "verify --jobs 1", ("faults",), a_fifo(TAR), "exported"),
    Case("shards: a deep check of good ones", "verify --deep --jobs 1", ("0 with faults",), None, "exported", code=0),
]
