"""Options: checked when made, and the same after a trip through dataset.json."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from strategies import positive_options

from chipper.errors import OptionError
from chipper.mining.options import NegativeOptions, PositiveOptions
from chipper.shards.options import ExportOptions, RenderOptions


@given(positive_options())
def test_options_survive_being_stored(options):
    stored = msgspec.json.decode(msgspec.json.encode(options.as_text()))
    assert PositiveOptions.from_text(stored) == options


def test_odd_factors_survive_being_stored():
    options = PositiveOptions.parse("0.1,0.30000000000000004,1.6666666666666667", "100.5:,3.3:200,:77.7")
    assert PositiveOptions.from_text(options.as_text()) == options


def test_defaults_are_the_paper_s():
    stored = PositiveOptions.parse().as_text()
    assert stored["scales"] == "512,1.667,3"
    assert stored["valid_ranges"] == "120:,32:150,:80"
    assert (stored["chip_size"], stored["stride"], stored["variants"], stored["epochs"]) == (512, "32", 1, 7)


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: PositiveOptions.parse(stride="x"), "stride"),
        (lambda: PositiveOptions.parse(stride="0"), "stride"),
        (lambda: PositiveOptions.parse(stride="9-8"), "stride"),
        (lambda: PositiveOptions.parse(stride="513"), "stride"),
        (lambda: PositiveOptions.parse(chip_size=8), "chip_size"),
        (lambda: PositiveOptions.parse(variants=0), "variants"),
        (lambda: PositiveOptions.parse(epochs=0), "epochs"),
        (lambda: PositiveOptions.parse("512,3"), "valid_ranges"),
        (lambda: NegativeOptions(nms=0), "nms"),
        (lambda: NegativeOptions(nms=float("nan")), "nms"),
        (lambda: NegativeOptions(max_proposals=0), "max_proposals"),
        (lambda: NegativeOptions(min_proposals=0), "min_proposals"),
        (lambda: NegativeOptions(per_image=-1), "per_image"),
        (lambda: RenderOptions(quality=0), "quality"),
        (lambda: ExportOptions(chips_per_shard=0), "chips_per_shard"),
        (lambda: ExportOptions(max_errors=-1), "max_errors"),
    ],
)
def test_a_bad_value_names_its_option_in_one_line(make, option):
    with pytest.raises(OptionError) as error:
        make()
    assert option in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize("variants", [1, 5])
def test_strides_of_variants_lie_in_the_range_and_differ(variants):
    options = PositiveOptions.parse(stride="56-59", variants=variants)
    strides = [options.stride(v) for v in range(40)]
    assert set(strides) == {56, 57, 58, 59}
    assert strides == [PositiveOptions.parse(stride="56-59").stride(v) for v in range(40)]
    assert PositiveOptions.parse().stride(3) == 32


@pytest.mark.parametrize("scales", ["3,1.667,512", "512,3,1.667", "2,1"])
def test_scales_go_from_coarse_to_fine(scales: str) -> None:
    ranges = "120:,32:150,:80" if scales.count(",") == 2 else "40:,:60"
    with pytest.raises(OptionError, match="from coarse to fine"):
        PositiveOptions.parse(scales, ranges)
