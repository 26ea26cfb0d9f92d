"""What importers have in common: files found and read, boxes clipped, file names that chipper finds again."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import strategies  # noqa: F401  (registers the hypothesis profile)
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from written_sets import draw, voc_file, voc_object, write

from chipper.cli.main import main
from chipper.coco.reading import read_coco
from chipper.errors import AnnotationError, ImageDirectoryError, StorageError
from chipper.formats.assembly import assemble, write_coco
from chipper.formats.files import (
    ImageIndex,
    ImportOptions,
    files_below,
    read_classes,
    read_each,
    read_lines,
    shorten,
    to_numbers,
)
from chipper.formats.items import EVERY_CATEGORY, AnnotatedImage, Item
from chipper.images.finding import find_image_dir
from chipper.parallel.progress import Monitor

NAMES = {"cat": "cat", "dog": "dog"}


def image_of(*items: Item, path: str = "set/images/a.jpg", size: tuple[int, int] = (200, 100)) -> AnnotatedImage:
    return AnnotatedImage(Path(path), Path(path).with_suffix(".txt"), *size, list(items))


def put(*images: AnnotatedImage, out: Path | str = "coco.json", **options: Any):
    return assemble(images, NAMES, Path(out), ImportOptions(**options), [])


_places = st.floats(-50, 250, width=32) | st.sampled_from([0.0, 1e-9, 100.0, 200.0, 200.00001, 99.9999999])


@given(st.lists(st.tuples(_places, _places, _places, _places), min_size=1, max_size=6))
def test_nothing_that_was_imported_is_dropped_by_the_reader(
    tmp_path_factory: pytest.TempPathFactory, boxes: Any
) -> None:
    """Each box is in the COCO file, clipped, or counted as left out; the reader uses all that are there."""
    out = tmp_path_factory.mktemp("coco") / "coco.json"
    whole = Item("dog", (0, 0, 200, 100), 1)
    made = put(image_of(whole, *(Item("cat", box, k) for k, box in enumerate(boxes, 2))), out=out)
    assert sum(entry.count for entry in made.left_out.values()) + made.objects == len(boxes) + 1
    write_coco(made, out)
    coco = read_coco(out)
    assert len(coco.skipped) == 0
    assert len(coco.annotations) == made.objects
    kept = [box for box in boxes if _has_area(box)]
    clipped = np.clip(np.array([(0, 0, 200, 100), *kept]), 0, [200, 100, 200, 100])
    np.testing.assert_allclose(coco.annotations.box, clipped, atol=2e-5)


def _has_area(box: tuple[float, ...]) -> bool:
    """As float32, which is how chipper keeps boxes, once written with six decimals."""
    x1, y1, x2, y2 = np.clip(box, 0, [200, 100, 200, 100])
    x, y, w, h = (round(float(value), 6) for value in (x1, y1, x2 - x1, y2 - y1))
    return bool(np.float32(x + w) > np.float32(x) and np.float32(y + h) > np.float32(y))


def test_images_are_in_the_order_of_their_names_whatever_the_order_they_come_in() -> None:
    images = [image_of(Item("cat", (k, 0, k + 5, 9), 1), path=f"set/{name}.jpg") for k, name in enumerate("cab")]
    made, again = put(*images), put(*reversed(images))
    assert made.coco == again.coco
    assert [image["file_name"] for image in made.coco["images"]] == ["set/a.jpg", "set/b.jpg", "set/c.jpg"]
    assert [annotation["id"] for annotation in made.coco["annotations"]] == [1, 2, 3]
    assert [annotation["bbox"][0] for annotation in made.coco["annotations"]] == [1, 2, 0]


def test_a_region_for_every_category_is_one_record_for_each() -> None:
    made = put(image_of(Item("dog", (0, 0, 9, 9), 1), Item(EVERY_CATEGORY, (5, 5, 20, 20), 2, difficult=True)))
    records = made.coco["annotations"]
    assert [(record["id"], record["category_id"], record["iscrowd"]) for record in records] == [
        (1, 2, 0),
        (2, 1, 1),
        (3, 2, 1),
    ]


@pytest.mark.parametrize(
    ("images", "out", "name", "beside"),
    [
        (["set/images/a.jpg"], "set/coco.json", "a.jpg", True),
        (["set/JPEGImages/a.jpg"], "set/coco.json", "a.jpg", True),
        (["set/JPEGImages/a.jpg"], "coco.json", "set/JPEGImages/a.jpg", True),
        (["set/photos/a.jpg"], "set/coco.json", "photos/a.jpg", True),
        (["set/images/train/a.jpg"], "set/instances_train.json", "a.jpg", True),
        (["set/images/a.jpg", "set/images/x/b.jpg"], "set/coco.json", "a.jpg", True),
        (["set/images/a.jpg"], "elsewhere/coco.json", "a.jpg", False),
        (["set/images/a.jpg"], "set/annotations/coco.json", "a.jpg", True),
    ],
)
def test_file_names_lead_to_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: list[str], out: str, name: str, beside: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in images:
        draw(tmp_path / path)
    made = put(*(image_of(Item("cat", (0, 0, 9, 9), 1), path=path) for path in images), out=out)
    names = [image["file_name"] for image in made.coco["images"]]
    assert names[0] == name
    assert made.found_beside is beside
    assert all((made.image_dir / entry).is_file() for entry in names)
    if beside:
        assert find_image_dir(tmp_path / out, names, None) == made.image_dir
    else:
        with pytest.raises(ImageDirectoryError):
            find_image_dir(tmp_path / out, names, None)


def test_images_of_the_same_name_in_a_usual_place_are_not_taken_for_them(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "JPEGImages" / "a.jpg")
    draw(tmp_path / "images" / "a.jpg")  # another image, where chipper looks first
    path = str(tmp_path / "train" / "JPEGImages" / "a.jpg")
    made = put(image_of(Item("cat", (0, 0, 9, 9), 1), path=path), out=tmp_path / "coco.json")
    assert [image["file_name"] for image in made.coco["images"]] == ["train/JPEGImages/a.jpg"]


@pytest.mark.parametrize("name", ["a\nb.jpg", "a\x07.jpg", "\udcff.jpg"])
def test_names_that_coco_cannot_hold(name: str, is_one_line: Any) -> None:
    good = image_of(Item("cat", (0, 0, 9, 9), 1))
    bad = image_of(Item("cat", (0, 0, 9, 9), 1), path=f"set/images/{name}")
    made = put(good, bad)
    assert len(made.coco["images"]) == 1
    assert "is not a valid file name in COCO" in made.problems[0]
    with pytest.raises(AnnotationError) as caught:
        put(good, bad, on_error="fail")
    assert is_one_line(caught.value) == made.problems[0]


@pytest.mark.parametrize("stem", ["a\nb", "a\x1b[31m", "\udcff"])
def test_paths_that_a_terminal_cannot_show_are_one_line(tmp_path: Path, stem: str, is_one_line: Any) -> None:
    voc_file(tmp_path, "good", voc_object() + voc_object(box=(9, 9, 2, 2)))
    write(tmp_path / "Annotations" / f"{stem}.xml", "<")
    draw(tmp_path / "JPEGImages" / f"{stem}x.png")
    words = ["import-voc", str(tmp_path), "--out", str(tmp_path / "coco.json")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 3, done.output
    assert "files not used  1" in done.stdout
    assert f"{ascii(stem)[1:-1]}.xml, line 1" in done.stdout.replace("\n", "").replace(" " * 16, "")
    done = CliRunner().invoke(main, [*words, "--on-error", "fail", "--overwrite"])
    assert isinstance(done.exception, AnnotationError)
    assert is_one_line(done.exception).isprintable()


def test_a_file_has_a_line_for_each_record(tmp_path: Path) -> None:
    made = put(image_of(Item("cat", (0, 0, 9, 9), 1), Item("dog", (1, 1, 9, 9), 2)))
    write_coco(made, tmp_path / "coco.json")
    text = (tmp_path / "coco.json").read_text()
    assert json.loads(text) == made.coco
    assert sum(line.startswith('{"id"') for line in text.splitlines()) == 1 + 2 + 2
    with pytest.raises(StorageError):
        write_coco(made, Path("/proc/coco.json"))


def test_files_are_sorted_and_hidden_ones_left_alone(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/z.jpg", "a/.hidden.jpg", ".git/c.jpg", "._b.jpg", "c.txt", "a.jpg"):
        write(tmp_path / name, "")
    assert files_below(tmp_path, [".jpg"]) == ["a.jpg", "a/z.jpg", "b.JPG"]


def test_the_index_looks_in_the_same_folder_first(tmp_path: Path) -> None:
    for name in ("a.jpg", "x/a.png", "x/b.jpg", "y/c.jpg", "z/c.jpg"):
        write(tmp_path / name, "")
    index = ImageIndex(tmp_path)
    assert index.find("a") == tmp_path / "a.jpg"
    assert index.find("x/a") == tmp_path / "x/a.png"
    assert index.find("b") == index.find("other/b") == tmp_path / "x/b.jpg"
    assert index.find("d") is None
    with pytest.raises(AnnotationError, match=r"y/c.jpg and z/c.jpg both exist"):
        index.find("c")
    with pytest.raises(AnnotationError, match="which image"):
        index.image_of(Path("c.txt"), "c")


def test_lines_keep_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\ufeffone\r\n\n  two \n\u2028three\x0cx\n".encode())
    assert read_lines(path) == [(1, "one"), (3, "two"), (4, "three\x0cx")]
    with pytest.raises(AnnotationError, match="is a folder"):
        read_lines(tmp_path)


def test_classes_are_given_once_each(tmp_path: Path) -> None:
    assert read_classes(write(tmp_path / "c.txt", "zebra crossing\ncat\n")) == ("zebra crossing", "cat")
    for text, says in (("", "is empty"), ("a\nb\na\n", "'a' twice")):
        with pytest.raises(AnnotationError, match=says):
            read_classes(write(tmp_path / "c.txt", text))


@pytest.mark.parametrize("word", ["x", "", "nan", "-inf", "1e12", "1,5", "0x10"])
def test_words_that_are_no_numbers(word: str) -> None:
    with pytest.raises(AnnotationError, match=r"a.txt, line 7: .* is not a usable number"):
        to_numbers(["1", word], Path("a.txt"), 7)
    assert len(shorten("x" * 10_000)) <= 82


def test_results_come_in_the_order_of_the_tasks_and_the_first_failure_ends_it() -> None:
    gate = threading.Event()

    def read(number: int) -> int:
        if number == 0:
            gate.wait(5)
        gate.set()
        if number % 50 == 49:
            raise AnnotationError(f"number {number}")
        return number

    tasks = [(number,) for number in range(200)]
    found, problems = read_each(read, tasks, "skip", Monitor())
    assert found == [number for number in range(200) if number % 50 != 49]
    assert problems == ["number 49", "number 99", "number 149", "number 199"]
    with pytest.raises(AnnotationError, match="number 49"):
        read_each(read, tasks, "fail", Monitor())


@pytest.mark.parametrize("on_error", ["skip", "fail"])
def test_exit_codes(tmp_path: Path, on_error: str) -> None:
    voc_file(tmp_path, "a", voc_object())
    out = tmp_path / "coco.json"
    words = ["import-voc", str(tmp_path), "--out", str(out), "--on-error", on_error]
    assert CliRunner().invoke(main, words).exit_code == 0
    out.unlink()
    write(tmp_path / "Annotations" / "b.xml", "<")
    done = CliRunner().invoke(main, words)
    if on_error == "skip":
        assert done.exit_code == 3
        assert "files not used  1" in done.stdout
        assert out.is_file()
    else:
        assert isinstance(done.exception, AnnotationError)
        assert not out.exists()


def test_a_dry_run_tells_the_same_and_writes_nothing(tmp_path: Path) -> None:
    voc_file(tmp_path, "a", voc_object() + voc_object(box=(150, 1, 300, 20)))
    words = ["import-voc", str(tmp_path), "--out", str(tmp_path / "coco.json")]
    before = sorted(tmp_path.rglob("*"))
    dry = CliRunner().invoke(main, [*words, "--dry-run"])
    assert dry.exit_code == 0
    assert sorted(tmp_path.rglob("*")) == before
    done = CliRunner().invoke(main, words)
    told = [
        [line.split() for line in run.stdout.splitlines()[1:] if not line.startswith("time")] for run in (dry, done)
    ]
    assert told[0] == told[1]
    assert len(told[0]) > 4
    assert ["clipped", "1", "boxes"] in [line[:3] for line in told[1]]
    assert "nothing written" in dry.stdout
