"""Small YAML that stands for a lot, and YAML that people write."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from chipper.cli.main import main
from chipper.errors import AnnotationError, OptionError
from chipper.formats.files import ImportOptions
from chipper.formats.yolo_layout import find_yolo_set
from chipper.storage.yaml_files import YamlError, read_yaml

BOMB = "a0: &a0 [" + ", ".join(["lol"] * 9) + "]\n"
BOMB += "".join(f"a{k}: &a{k} [" + ", ".join([f"*a{k - 1}"] * 9) + "]\n" for k in range(1, 10))
ENDLESS = "names: &a [x, *a]\ntrain: images\n"


@pytest.mark.parametrize("as_text", [False, True])
def test_aliases_that_stand_for_too_much(as_text: bool) -> None:
    started = time.monotonic()
    with pytest.raises(YamlError, match="too many values"):
        read_yaml(BOMB.encode(), as_text=as_text)
    with pytest.raises(YamlError, match="a part of"):
        read_yaml(ENDLESS.encode(), as_text=as_text)
    assert time.monotonic() - started < 10


def test_aliases_of_people_are_taken() -> None:
    text = b"common: &c {a: 1}\none: {<<: *c, b: 2}\nval: &v images\ntest: *v\n"
    assert read_yaml(text) == {"common": {"a": 1}, "one": {"a": 1, "b": 2}, "val": "images", "test": "images"}
    names = b"names: [" + b", ".join(b"n%d" % k for k in range(150_000)) + b"]"
    assert len(read_yaml(names)["names"]) == 150_000
    assert read_yaml(b"range: 32:50", as_text=True) == {"range": "32:50"}
    assert read_yaml(b"") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: [1", "line 1: expected"),
        (b"a: \xff", "invalid start byte"),
        (b"[" * 3000, "nested too deeply"),
        (b"a: !!python/object:os.system x", "could not determine a constructor"),
        (b"a: 2026-99-99", "month"),
        (b"- a\nb", "line 2"),
    ],
)
def test_what_is_not_yaml(text: bytes, said: str) -> None:
    with pytest.raises(YamlError, match=said):
        read_yaml(text)


@pytest.mark.parametrize("text", [BOMB + "names: *a9\ntrain: images\n", ENDLESS, "nc: 2000000000\ntrain: images\n"])
def test_a_data_yaml_of_that_kind(tmp_path: Path, text: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(AnnotationError) as caught:
        find_yolo_set(tmp_path / "data.yaml", None, ImportOptions())
    assert len(str(caught.value)) < 600


def test_a_config_of_that_kind(tmp_path: Path) -> None:
    config = tmp_path / "chipper.yaml"
    config.write_text(BOMB + "jobs: *a9\n")
    result = CliRunner().invoke(main, ["build-positives", "coco.json", "--config", str(config)])
    assert isinstance(result.exception, OptionError)
    assert "too many values" in str(result.exception)
