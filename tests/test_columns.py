"""Columns: every table goes to Arrow and back unchanged."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import datasets, proposal_sets

from chipper.columns import Annotations, Chips, Images, Labels, Proposals, Skipped, concatenate
from chipper.mining.labels import label_chips
from chipper.mining.positives import mine_positives
from chipper.schemas import ANNOTATIONS, CHIPS, IMAGES, LABELS, PROPOSALS, SKIPPED, TABLES, SchemaMismatch


def same(got, expected):
    for name, values in vars(expected).items():
        found = getattr(got, name)
        if values.dtype == object or values.dtype != np.float64:
            assert found.tolist() == values.tolist(), name
        else:
            assert found == pytest.approx(values, rel=1e-6, abs=1e-6), name


@given(datasets())
def test_tables_survive_arrow(dataset):
    images, annotations, options = dataset
    mined = mine_positives(images, annotations, options)
    labels = label_chips(mined.chips, images, annotations, options, mined.assignments)
    for columns, table, kind in (
        (images, IMAGES, Images),
        (annotations, ANNOTATIONS, Annotations),
        (mined.chips, CHIPS, Chips),
        (labels, LABELS, Labels),
    ):
        stored = columns.to_arrow(table, "me")
        table.check(stored.schema, "me")
        assert stored.column_names == [column.name for column in table.columns]
        same(kind.from_arrow(stored), columns)


@given(st.data())
def test_proposals_survive_arrow(data):
    images, _, _ = data.draw(datasets())
    proposals = data.draw(proposal_sets(images))
    same(Proposals.from_arrow(proposals.to_arrow(PROPOSALS, "")), proposals)


@given(datasets())
def test_pieces_make_the_whole(dataset):
    _, annotations, _ = dataset
    cut = len(annotations) // 2
    same(concatenate([annotations[:cut], annotations[cut:]]), annotations)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_knows_itself_and_no_other(table):
    schema = table.arrow_schema("me")
    table.check(schema)
    table.check(schema, "me")
    for other in TABLES:
        if other is not table:
            with pytest.raises(SchemaMismatch, match=f"not {other.name}"):
                other.check(schema)
    with pytest.raises(SchemaMismatch, match="other inputs or with other options"):
        table.check(schema, "you")
    with pytest.raises(SchemaMismatch, match="no chipper table"):
        table.check(pa.schema([("x", pa.int64())]))


def changed(table, **metadata):
    schema = table.arrow_schema("me")
    return schema.with_metadata(schema.metadata | {f"chipper.{k}".encode(): v.encode() for k, v in metadata.items()})


def test_minor_versions_are_read_and_major_ones_refused():
    IMAGES.check(changed(IMAGES, format="1.9"), "me")
    for version in ("2.0", "0.9", ""):
        with pytest.raises(SchemaMismatch, match="format version"):
            IMAGES.check(changed(IMAGES, format=version))


def test_missing_and_mistyped_columns_are_named():
    schema = IMAGES.arrow_schema("me")
    with pytest.raises(SchemaMismatch, match="lacks the column width"):
        IMAGES.check(schema.remove(schema.get_field_index("width")))
    k = schema.get_field_index("width")
    with pytest.raises(SchemaMismatch, match="has width as double, not int32"):
        IMAGES.check(schema.set(k, pa.field("width", pa.float64())))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_says_what_it_means(table):
    names = [column.name for column in table.columns]
    assert len(set(names)) == len(names)
    assert all(column.meaning for column in table.columns)


def test_missing_ids_of_skipped_records_read_back() -> None:
    names = np.array(["image", "annotation"], dtype=object)
    ids = np.array([None, 2**60 + 1], dtype=object)
    skipped = Skipped(names, ids, np.array([None, None], dtype=object), names, names)
    again = Skipped.from_arrow(skipped.to_arrow(SKIPPED, "x"))
    assert again.image_id.tolist() == [None, 2**60 + 1]
    assert again.annotation_id.tolist() == [None, None]
