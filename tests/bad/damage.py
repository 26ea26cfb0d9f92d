"""Small functions that make and damage files; each takes the folder of the case."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Damage = Callable[[Path], object]


def found(folder: Path, name: str) -> Path:
    """The first file that matches ``name``, which may contain wildcards."""
    return sorted(folder.glob(name))[0] if "*" in name else folder / name


def content(name: str, data: bytes | str) -> Damage:
    """Write ``data`` to the file."""

    def make(folder: Path) -> None:
        path = found(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))

    return make


def cut(name: str, keep: float) -> Damage:
    """Cut the file after a fraction of its bytes."""

    def make(folder: Path) -> None:
        path = found(folder, name)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])

    return make


def flip(name: str, place: float) -> Damage:
    """Change one byte of the file: at a fraction of its length or, from 1 on, at this offset."""

    def make(folder: Path) -> None:
        path = found(folder, name)
        data = bytearray(path.read_bytes())
        data[int(place if place >= 1 else (len(data) - 1) * place)] ^= 0xFF
        path.write_bytes(bytes(data))

    return make


def gone(name: str) -> Damage:
    """Remove the file or folder."""

    def make(folder: Path) -> None:
        path = found(folder, name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return make


def a_folder(name: str) -> Damage:
    """Replace the file by a folder."""

    def make(folder: Path) -> None:
        path = found(folder, name)
        path.unlink(missing_ok=True)
        path.mkdir(parents=True)

    return make


def a_fifo(name: str) -> Damage:
    """Replace the file by a named pipe that nobody writes to."""

    def make(folder: Path) -> None:
        path = found(folder, name)
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    return make


def a_link(name: str, target: str) -> Damage:
    """Replace the file by a symbolic link."""

    def make(folder: Path) -> None:
        path = found(folder, name)
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return make


def swapped(one: str, other: str) -> Damage:
    """Exchange two files."""

    def make(folder: Path) -> None:
        first, second = found(folder, one), found(folder, other)
        data = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(data)

    return make


def copied(source: str, name: str) -> Damage:
    """Replace the content of the file by that of another one."""
    return lambda folder: found(folder, name).write_bytes(found(folder, source).read_bytes())


def edited(name: str, /, **values: Any) -> Damage:
    """Change values of the JSON file; a key like ``source__hash`` leads into objects, and `GONE` removes."""

    def make(folder: Path) -> None:
        path = found(folder, name)
        whole = json.loads(path.read_text())
        for key, value in values.items():
            *ways, last = key.split("__")
            place = whole
            for way in ways:
                place = place[way]
            if value is GONE:
                del place[last]
            else:
                place[last] = value
        path.write_text(json.dumps(whole))

    return make


GONE = object()


def table(name: str, change: Callable[[pa.Table], pa.Table]) -> Damage:
    """Change the table of the Parquet file, and keep its metadata."""

    def make(folder: Path) -> None:
        path = found(folder, name)
        old = pq.read_table(path)
        new = change(old)
        if new.schema.metadata is None:
            new = new.replace_schema_metadata(old.schema.metadata)
        pq.write_table(new, path)

    return make


def column(name: str, column_name: str, value: Any, row: int | None = None) -> Damage:
    """Set one column of a Parquet file to ``value``, in every row or in one."""

    def change(old: pa.Table) -> pa.Table:
        place = old.schema.get_field_index(column_name)
        values = old[column_name].to_pylist()
        values = [value if row is None or row == k else v for k, v in enumerate(values)]
        field = old.schema.field(column_name).with_nullable(True)
        return old.set_column(place, field, pa.array(values, field.type))

    return table(name, change)


def metadata(name: str, key: bytes, value: bytes) -> Damage:
    """Change the metadata of a Parquet file."""
    return table(name, lambda old: old.replace_schema_metadata({**old.schema.metadata, key: value}))


def both(*damages: Damage) -> Damage:
    """Apply several changes, one after the other."""

    def make(folder: Path) -> None:
        for damage in damages:
            damage(folder)

    return make
