"""chipper.images.stretch: values of any type become the 8 bits that the rule says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chipper.errors import OptionError
from chipper.images.stretch import Stretch, has_rule, table, to_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", Stretch()),
        ("2-98", Stretch("percentiles", 2, 98)),
        ("0.5-99.5", Stretch("percentiles", 0.5, 99.5)),
        ("0-100", Stretch("percentiles", 0, 100)),
        ("0:3000", Stretch("values", 0, 3000)),
        ("-1.5:2e3", Stretch("values", -1.5, 2000)),
        ("-20:-5", Stretch("values", -20, -5)),
    ],
)
def test_what_the_texts_say(text: str, expected: Stretch) -> None:
    assert Stretch.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "some", "2", "98-2", "2-2", "2-101", "-2-98", "5:5", "1:2:3", "nan:1", "0:inf", "a:b", "2-98-99"]
)
def test_what_is_no_stretch(text: str, is_one_line: Callable[..., str]) -> None:
    with pytest.raises(OptionError, match="stretch.*0:3000") as caught:
        Stretch.parse(text)
    is_one_line(caught.value)


def test_without_a_stretch_eight_bits_stay_and_sixteen_give_their_high_byte() -> None:
    low = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_bytes(low, Stretch(), (0, 0)), low)
    high = np.array([0, 255, 256, 0x1234, 65535], np.uint16)
    assert to_bytes(high, Stretch(), (0, 0)).tolist() == [0, 0, 1, 0x12, 255]


def test_values_by_hand() -> None:
    stretch = Stretch.parse("100:300")
    values = np.array([-5, 100, 101, 200, 299.9, 300, 1e9, np.nan, np.inf, -np.inf])
    limits = stretch.limits(values)
    assert limits == (100, 300)
    # 1/200 of 255 is 1.275, half is 127.5 (rounded up), 199.9/200 is 254.87
    assert to_bytes(values, stretch, limits).tolist() == [0, 0, 1, 128, 255, 255, 255, 0, 255, 0]


def test_percentiles_by_hand() -> None:
    stretch = Stretch.parse("10-90")
    limits = stretch.limits(np.arange(101, dtype=np.int16))
    assert limits == (10, 90)
    assert to_bytes(np.array([0, 10, 50, 90, 100]), stretch, limits).tolist() == [0, 0, 128, 255, 255]


def test_a_band_of_one_value_and_one_without_any() -> None:
    stretch = Stretch.parse("2-98")
    limits = stretch.limits(np.full(9, 7))
    assert to_bytes(np.array([6, 7, 8]), stretch, limits).tolist() == [0, 0, 255]
    assert stretch.limits(np.zeros(0)) == (0, 0)


@pytest.mark.parametrize(
    ("text", "kinds", "others"),
    [
        ("none", ("u1", "u2"), ("i1", "i2", "u4", "f4", "c8")),
        ("2-98", ("u1", "u2", "i1", "i2", "u4", "i4", "f4", "f8"), ("c8",)),
    ],
)
def test_types_that_have_a_rule(text: str, kinds: Any, others: Any) -> None:
    stretch = Stretch.parse(text)
    assert all(has_rule(stretch, np.dtype(kind)) for kind in kinds)
    assert not any(has_rule(stretch, np.dtype(kind)) for kind in others)


@given(
    st.sampled_from(["u1", "i1", "u2", "i2"]).flatmap(lambda kind: hnp.arrays(kind, st.integers(0, 60))),
    st.floats(-40_000, 70_000),
    st.floats(0, 70_000),
)
def test_tables_say_the_same(values: np.ndarray, low: float, span: float) -> None:
    stretch, limits = Stretch("values", low, low + span), (low, low + span)
    known = table(values.dtype, stretch, limits)
    assert known is not None
    np.testing.assert_array_equal(known[values.view(f"u{values.dtype.itemsize}")], to_bytes(values, stretch, limits))


def test_wide_types_have_no_table() -> None:
    assert all(table(np.dtype(kind), Stretch("values", 0, 1), (0, 1)) is None for kind in ("u4", "i4", "f4", "f8"))


@given(
    hnp.arrays(np.float64, st.integers(2, 40), elements=st.floats(-1e6, 1e6)), st.floats(-1e6, 1e6), st.floats(0, 1e6)
)
def test_brighter_stays_brighter(values: np.ndarray, low: float, span: float) -> None:
    found = to_bytes(np.sort(values), Stretch("values", low, low + span), (low, low + span))
    assert (np.diff(found.astype(int)) >= 0).all()
