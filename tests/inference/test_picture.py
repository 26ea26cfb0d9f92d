"""chipper.inference.picture: what is looked at is the same whether it lies in memory or is read from a file meanwhile."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chipper.images.windowed
from chipper.detection.inference import detect_flipped_too, detect_image, propose_image
from chipper.detection.model import build_model
from chipper.images.options import PixelOptions
from chipper.images.windowed import WindowedImage
from chipper.inference.picture import mirrored, opened
from chipper.mining.scales import ValidRange

EVERYTHING = ValidRange()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """620 x 410 px of three bands of 8 bits, in tiles."""
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'sniper-chipper[raster]'")
    monkeypatch.setattr(chipper.images.windowed, "KEPT", 0)
    values = np.random.default_rng(0).integers(0, 255, (3, 410, 620)).astype(np.uint8)
    profile: dict[str, Any] = {"tiled": True, "blockxsize": 128, "blockysize": 128, "dtype": "uint8", "count": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=620, height=410, **profile) as out:
            out.write(values)
    np.save(tmp_path / "a.npy", np.moveaxis(values, 0, 2))
    return tmp_path / "a.tif"


@pytest.fixture(scope="module")
def tiny() -> Any:
    return build_model("tiny", 2, 128, weights=None, seed=6)


BOXES = [(0, 0, 620, 410), (100, 50, 300, 200), (419.5, 209.25, 620, 410)]


@pytest.mark.parametrize("box", BOXES, ids=str)
@pytest.mark.parametrize("size", [(620, 410), (200, 150), (500, 380)], ids=str)
def test_boxes_and_mirrored_boxes_are_those_in_memory(file: Path, box: Any, size: tuple[int, int]) -> None:
    pixels = np.load(file.with_suffix(".npy"))
    fine = min(size[0] / (box[2] - box[0]), size[1] / (box[3] - box[1])) > 0.5
    with WindowedImage(file, (620, 410), PixelOptions(None, "none")) as source:
        for there, here in ((source, pixels), (mirrored(source), mirrored(pixels))):
            found, expected = (np.asarray(opened(each).cut(box, size)).astype(int) for each in (there, here))
            assert found.shape == (size[1], size[0], 3)
            assert np.abs(found - expected).max() <= 1 if fine else np.abs(found - expected).mean() < 8


def test_an_image_in_memory_is_given_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(opened(pixels).cut((0, 0, 40, 30), (40, 30))), pixels)
    np.testing.assert_array_equal(mirrored(pixels), pixels[:, ::-1])


def test_a_detector_finds_the_same(file: Path, tiny: Any) -> None:
    pixels = np.load(file.with_suffix(".npy"))
    with WindowedImage(file, (620, 410), PixelOptions(None, "none")) as source:
        for look in (detect_image, detect_flipped_too):
            there, here = (look(tiny, each, [1.0], [EVERYTHING]) for each in (source, pixels))
            np.testing.assert_array_equal(there.boxes, here.boxes)
            np.testing.assert_array_equal(there.scores, here.scores)
        there, here = (propose_image(tiny, each, [1.0], tile=256) for each in (source, pixels))
        np.testing.assert_array_equal(there.boxes, here.boxes)
