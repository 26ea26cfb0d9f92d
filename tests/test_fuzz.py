"""The fuzz targets of tests/fuzz on their seeds, on simple damages of these and on past findings, without atheris."""

from __future__ import annotations

import importlib
import random
from pathlib import Path
from types import ModuleType

import pytest
from fuzz import TARGETS
from fuzz.images import SIZE, two_bands

from chipper.images.decoded import open_source
from chipper.images.windowed import WindowedImage

DAMAGES = 60  # of each seed
NOT_UTF_8 = (
    b'{"images": [{"id": 1, "file_name": "a", "width": 9, "height": 9}], "categories": [{"id": 3, "name": "x"}], "annotations": '
    b'[{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "segmentation": ["\xff"], "keypoints": "\xff"}]}'
)
NO_TEXT = (
    b'\6{"image_id": 1, "file_name": "a", "width": 16, "height": 16, "annotations": [], "\xb8": 0, '
    b'"chip": {"chip_id": 0, "content": [16, 16], "valid_range": [0, null]}}'
)
# inputs that once caused something other than an error of chipper
FOUND: dict[str, list[bytes]] = {
    "annotations": [b'{"images": [{"id": 1, "file_name": "a\x7f.jpg"}]}', b"[" * 100_000, NOT_UTF_8],
    "proposals": [
        b"\x01[" + b'{"image_id": 5, "x": ' + b"[" * 100_000,
        b"\x02PAR1\xff\xff\xff\xffPAR1",
        b"\0\x80\x02K\x01r\x94\x94\x94\x28.",
    ],
    "shards": [b"\x02" + b"[" * 100_000, b"\x00" + b'{"render": {"a": ' + b"[" * 100_000, b"\4\0\0", NO_TEXT],
    "runs": [
        b'\1{"step": Infinity}',
        b'\1{"step": 1, "total_steps": NaN}',
        b'\2{"per_class": {"x": {}}}',
        b"\0" + b"[" * 100_000,
    ],
    "yaml": [b"\1nc: 2000000000\ntrain: images\n", b"\1a: &a [*a]", b"\0a: \xff", b"\0" + b"[" * 5000],
    "images": [b"II*\0\x08\0\0\0\x01\0" + bytes(12) + b"\x08\0\0\0", two_bands()],
}


@pytest.fixture(params=TARGETS)
def fuzzed(request: pytest.FixtureRequest) -> tuple[str, ModuleType]:
    return request.param, importlib.import_module(f"fuzz.{request.param}")


def test_seeds_are_accepted(fuzzed: tuple[str, ModuleType]) -> None:
    name, module = fuzzed
    assert len(module.seeds()) >= 4, name
    for seed in module.seeds():
        module.target(seed)


def test_damaged_seeds_bring_about_nothing_else(fuzzed: tuple[str, ModuleType]) -> None:
    name, module = fuzzed
    rng = random.Random(name)
    for seed in module.seeds():
        for _ in range(DAMAGES // len(module.seeds()) + 1):
            data = bytearray(seed)
            for _ in range(rng.randint(1, 4)):
                place = rng.randrange(len(data))
                data[place : place + rng.choice((0, 1, 1, 8))] = rng.randbytes(rng.choice((0, 1, 1, 8)))
                data = data or bytearray(b"\0")
            module.target(bytes(data[: rng.randint(1, 2 * len(data))]))


def test_past_findings(fuzzed: tuple[str, ModuleType]) -> None:
    name, module = fuzzed
    assert FOUND[name]
    for data in FOUND[name]:
        module.target(data)


def test_images_are_read_by_windows_too(tmp_path: Path) -> None:
    pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'sniper-chipper[raster]'")
    path = tmp_path / "a.tif"
    path.write_bytes(two_bands())
    with open_source(path, SIZE) as source:
        assert isinstance(source, WindowedImage)
