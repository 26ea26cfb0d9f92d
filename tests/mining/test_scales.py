from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chipper.errors import OptionError
from chipper.mining.scales import DEFAULT_SCALES, Scale, ValidRange, parse_scales, parse_valid_ranges

positive = st.floats(1e-3, 1e5).map(lambda v: round(v, 3)).filter(bool)
scale_texts = st.one_of(
    positive.map(str), st.integers(1, 9999).map(str), st.tuples(positive, positive).map(lambda p: f"{min(p)}:{max(p)}")
)
bounds = st.floats(0, 1e4).map(lambda v: round(v, 2))
range_texts = st.one_of(
    bounds.map(lambda v: f"{v}:"),
    bounds.filter(bool).map(lambda v: f":{v}"),
    st.tuples(bounds, bounds).filter(lambda p: p[0] != p[1]).map(lambda p: f"{min(p)}:{max(p)}"),
    st.just(":"),
)


@pytest.mark.parametrize(
    ("text", "size", "factor"),
    [
        ("512", (640, 480), 0.8),
        ("512", (480, 640), 0.8),
        ("512", (100, 64), 5.12),  # small images are up-sampled
        ("32", (64, 10), 0.5),  # the smallest long side
        ("31.5", (64, 10), 31.5),  # still a factor
        ("1.667", (640, 480), 1.667),
        ("3", (1, 1), 3),
        ("800:1280", (640, 480), 800 / 480),
        ("800:1280", (480, 640), 800 / 480),
        ("800:1280", (1920, 640), 1280 / 1920),  # the cap on the long side binds
        ("800:800", (100, 200), 4),
    ],
)
def test_a_scale_is_a_long_side_a_factor_or_a_short_side_with_a_cap(text, size, factor):
    assert Scale.parse(text).factors(*size) == pytest.approx(factor, rel=1e-15)


@given(scale_texts, st.integers(1, 10_000), st.integers(1, 10_000))
def test_both_axes_share_one_factor_whichever_is_longer(text, width, height):
    scale = Scale.parse(text)
    assert scale.factors(width, height) == scale.factors(height, width) > 0


@given(scale_texts)
def test_a_scale_reads_back_from_its_text(text):
    scale = Scale.parse(text)
    assert Scale.parse(str(scale)) == scale


@given(st.lists(scale_texts, min_size=1, max_size=4))
def test_a_list_of_scales_reads_back_and_may_hold_spaces(texts):
    scales = parse_scales(" , ".join(texts))
    assert parse_scales(",".join(map(str, scales))) == scales


@pytest.mark.parametrize(
    "text", ["", "0", "-3", "nan", "inf", "-inf", "x", "800:", ":1280", "1:2:3", "800:0", "1280:800", "800:inf", "5 12"]
)
def test_what_is_no_scale_is_refused_with_the_option_and_the_text(text):
    with pytest.raises(OptionError, match="^scales: ") as error:
        Scale.parse(text)
    assert repr(text) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "512,,3", "512,1.667,", "512;3"])
def test_a_list_with_an_empty_or_broken_scale_is_refused(text):
    with pytest.raises(OptionError, match="scales"):
        parse_scales(text)


def test_a_range_holds_its_lower_bound_and_not_its_upper_one():
    assert ValidRange.parse("32:150").holds([31.999, 32, 80, 149.999, 150]).tolist() == [False, True, True, True, False]
    assert ValidRange.parse("120:").holds([119.9, 120, 1e9]).tolist() == [False, True, True]
    assert ValidRange.parse(":80").holds([0, 79.9, 80]).tolist() == [True, True, False]


@given(range_texts)
def test_a_range_reads_back_from_its_text(text):
    valid_range = ValidRange.parse(text)
    assert ValidRange.parse(str(valid_range)) == valid_range


def test_a_bound_left_out_is_zero_or_infinity():
    assert ValidRange.parse(":") == ValidRange(0, math.inf)


@pytest.mark.parametrize("text", ["", "80", "150:32", "32:32", "-1:5", "a:b", "32:150:200", "nan:", ":nan", "inf:"])
def test_what_is_no_range_is_refused_with_the_option_and_the_text(text):
    with pytest.raises(OptionError, match="^valid_ranges: ") as error:
        ValidRange.parse(text)
    assert repr(text) in str(error.value)
    assert "\n" not in str(error.value)


def test_three_scales_have_default_ranges_and_other_numbers_need_their_own():
    scales = parse_scales(DEFAULT_SCALES)
    assert [str(r) for r in parse_valid_ranges(None, scales)] == ["120:", "32:150", ":80"]
    with pytest.raises(OptionError, match="2 scales"):
        parse_valid_ranges(None, scales[:2])


@pytest.mark.parametrize("text", ["120:", "120:,32:150,:80,:40", "120:,32:150,"])
def test_the_number_of_ranges_must_be_that_of_the_scales(text):
    with pytest.raises(OptionError, match="valid_ranges"):
        parse_valid_ranges(text, parse_scales(DEFAULT_SCALES))


@pytest.mark.parametrize("text", [":80,32:150,120:", "32:,40:150,:80", "120:200,32:150,:160"])
def test_ranges_that_do_not_go_from_large_to_small_are_refused(text):
    with pytest.raises(OptionError, match="valid_ranges"):
        parse_valid_ranges(text, parse_scales(DEFAULT_SCALES))


@pytest.mark.parametrize(
    ("text", "words"),
    [("32:150", "32 to 150 px"), ("120:", "120 px and more"), (":80", "under 80 px"), (":", "all sizes")],
)
def test_ranges_in_words(text, words):
    assert ValidRange.parse(text).words == words
