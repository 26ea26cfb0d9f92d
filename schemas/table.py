"""Definition of a table: named, typed columns, a format version and the id of its inputs and options."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

FORMAT_VERSION = "1.0"
"""Version of all files. A reader accepts any minor version of its own major version."""

_TABLE, _VERSION, _BELONGS = b"chipper.table", b"chipper.format", b"chipper.belongs_to"


class SchemaMismatch(Exception):  # noqa: N818, it states a fact; callers turn it into their own error
    """The file is not the expected table; the message says why."""


@dataclass(frozen=True)
class Column:
    """One column: its name, Arrow type, unit ("" without one) and meaning."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """One kind of table; the order of ``columns`` is the order in the file."""

    name: str
    meaning: str
    columns: tuple[Column, ...]

    def arrow_schema(self, belongs_to: str) -> pa.Schema:
        """The Arrow schema of a file of this table; ``belongs_to`` is the id of its inputs and options."""
        fields = [pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns]
        metadata = {_TABLE: self.name.encode(), _VERSION: FORMAT_VERSION.encode(), _BELONGS: belongs_to.encode()}
        return pa.schema(fields, metadata=metadata)

    def check(self, schema: pa.Schema, belongs_to: str | None = None) -> None:
        """Raise SchemaMismatch unless ``schema`` is this table, readable by this version, and belongs to ``belongs_to``."""
        metadata = schema.metadata or {}
        name = metadata.get(_TABLE, b"").decode()
        if name != self.name:
            raise SchemaMismatch(f"holds {name or 'no chipper table'}, not {self.name}")
        check_version(metadata.get(_VERSION, b"").decode())
        missing = [c.name for c in self.columns if c.name not in schema.names]
        if missing:
            raise SchemaMismatch(f"lacks the column {missing[0]}")
        for column in self.columns:
            if schema.field(column.name).type != column.type:
                found = schema.field(column.name).type
                raise SchemaMismatch(f"has {column.name} as {found}, not {column.type}")
        if belongs_to is not None and metadata.get(_BELONGS, b"").decode() != belongs_to:
            raise SchemaMismatch("was made from other inputs or with other options")


def check_version(version: str) -> None:
    """Raise SchemaMismatch unless this version of chipper reads files of ``version``."""
    if version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise SchemaMismatch(f"has format version {version or 'unknown'}; this chipper reads {FORMAT_VERSION}")
