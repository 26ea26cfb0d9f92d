"""All tables that chipper writes, with type, unit and meaning of each column, and the format version."""

from chipper.schemas.table import FORMAT_VERSION, Column, SchemaMismatch, Table
from chipper.schemas.tables import (
    ANNOTATIONS,
    CHIPS,
    EPOCH,
    IMAGE_ERRORS,
    IMAGES,
    LABELS,
    PROPOSALS,
    SHARD_INDEX,
    SKIPPED,
    TABLES,
)

__all__ = [
    "ANNOTATIONS",
    "CHIPS",
    "EPOCH",
    "FORMAT_VERSION",
    "IMAGES",
    "IMAGE_ERRORS",
    "LABELS",
    "PROPOSALS",
    "SHARD_INDEX",
    "SKIPPED",
    "TABLES",
    "Column",
    "SchemaMismatch",
    "Table",
]
