"""import-voc: the boxes of the XML files as COCO has them, and one line for everything that is wrong."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import strategies  # noqa: F401  (registers the hypothesis profile)
from hypothesis import given
from PIL import Image
from written_sets import boxes_of, draw, expected, pixel_sets, run, voc_file, voc_object, voc_text, write

from chipper.coco.reading import read_coco
from chipper.errors import AnnotationError, OptionError, spelled
from chipper.formats.assembly import write_coco
from chipper.formats.voc import import_voc


def read(folder: Path, split: str | None = None, coordinates: str = "voc", out: Path | None = None, **options: Any):
    return run(import_voc, folder, out or folder / "coco.json", split, coordinates, **options)


def problem(folder: Path, is_one_line: Any, **options: Any) -> str:
    """The line of the one bad file, which is the same whether it is skipped or ends the run."""
    imported = read(folder, **options)
    [line] = imported.problems
    with pytest.raises(AnnotationError) as caught:
        read(folder, on_error="fail", **options)
    assert is_one_line(caught.value) == line
    return line


@pytest.fixture
def bccd(shared: Path) -> Path:
    folder = shared / "data" / "bccd"
    if not (folder / "Annotations").is_dir():
        pytest.skip(f"the blood cells are not there: {folder}")
    return folder


def test_a_box_around_the_whole_image_is_the_whole_image(tmp_path: Path) -> None:
    voc_file(tmp_path, "a", voc_object("cat", (1, 1, 200, 100)) + voc_object("dog", (11, 21, 11, 21)))
    assert boxes_of(read(tmp_path).coco) == {
        "a.jpg": [("cat", (0, 0, 200, 100), 0), ("dog", (10, 20, 11, 21), 0)]  # one pixel has a side of 1
    }


def test_continuous_coordinates_are_taken_as_they_are(tmp_path: Path) -> None:
    voc_file(tmp_path, "a", voc_object("cat", (0.0, 1.5, 200.0, 99.25)))
    assert boxes_of(read(tmp_path, coordinates="continuous").coco) == {"a.jpg": [("cat", (0, 1.5, 200, 99.25), 0)]}
    [note] = read(tmp_path).notes
    assert "1 boxes begin at pixel 0" in note
    assert "give coordinates continuous" in spelled(note)
    assert read(tmp_path, coordinates="continuous").notes == []


@given(pixel_sets())
def test_boxes_written_as_voc_come_back(tmp_path_factory: pytest.TempPathFactory, images: Any) -> None:
    folder = tmp_path_factory.mktemp("voc")
    for stem, size, objects in images:
        text = "".join(
            voc_object(name, (x1 + 1, y1 + 1, x2, y2), int(difficult)) for name, (x1, y1, x2, y2), difficult in objects
        )
        voc_file(folder, stem, text, size, ".png")
    imported = read(folder)
    assert boxes_of(imported.coco) == expected(images)
    assert imported.clipped == 0
    assert imported.left_out == {}
    names = {name for _, _, objects in images for name, _, _ in objects}
    assert [category["name"] for category in imported.coco["categories"]] == sorted(names)
    write_coco(imported, folder / "coco.json")
    coco = read_coco(folder / "coco.json")
    assert len(coco.skipped) == 0
    assert len(coco.annotations) == sum(len(objects) for _, _, objects in images)


def test_blood_cells_against_an_independent_count(bccd: Path, tmp_path: Path, build: Any) -> None:
    files = sorted((bccd / "Annotations").glob("*.xml"))
    counted = Counter(entry.text for path in files for entry in ET.parse(path).iterfind("object/name"))
    imported = read(bccd, out=tmp_path / "coco.json")
    coco = imported.coco
    names = {category["id"]: category["name"] for category in coco["categories"]}
    assert Counter(names[annotation["category_id"]] for annotation in coco["annotations"]) == counted
    assert counted == {"RBC": 4155, "WBC": 372, "Platelets": 361}  # as the data set's own page says
    assert len(coco["images"]) == len(files) == 364
    assert coco["annotations"][0]["bbox"] == [259, 176, 232, 200]  # 260 177 491 376 in the file
    assert imported.problems == []
    write_coco(imported, tmp_path / "coco.json")
    dataset = build(tmp_path / "coco.json", tmp_path / "chips", image_dir=imported.image_dir).dataset()
    assert dataset.counts["boxes_covered"] == dataset.counts["boxes"] == 4888
    assert dataset.counts["skipped"] == {}


def test_splits_share_their_category_ids(bccd: Path, tmp_path: Path) -> None:
    sizes = {}
    for split in ("train", "val", "trainval", "test"):
        coco = read(bccd, split, out=tmp_path / "coco.json").coco
        assert [category["name"] for category in coco["categories"]] == ["Platelets", "RBC", "WBC"]
        sizes[split] = len(coco["images"])
    assert sizes == {"train": 205, "val": 87, "trainval": 292, "test": 72}


def test_a_split_without_a_category_still_has_its_id(tmp_path: Path) -> None:
    voc_file(tmp_path, "a", voc_object("ant"))
    voc_file(tmp_path, "b", voc_object("bee"))
    write(tmp_path / "ImageSets" / "Main" / "val.txt", "b\n")
    coco = read(tmp_path, "val").coco
    assert coco["categories"] == [{"id": 1, "name": "ant"}, {"id": 2, "name": "bee"}]
    assert [annotation["category_id"] for annotation in coco["annotations"]] == [2]


def test_lists_of_a_class_and_names_with_spaces(tmp_path: Path) -> None:
    voc_file(tmp_path, "old car 1", voc_object())
    voc_file(tmp_path, "b", voc_object())
    voc_file(tmp_path, "c", voc_object())
    write(tmp_path / "ImageSets" / "Main" / "cat_train.txt", "old car 1\r\nb  -1\r\n\r\n")
    assert [image["file_name"] for image in read(tmp_path, "cat_train").coco["images"]] == ["b.jpg", "old car 1.jpg"]


def test_names_in_a_split_without_a_file_are_told_with_their_line(tmp_path: Path, is_one_line: Any) -> None:
    voc_file(tmp_path, "a", voc_object())
    write(tmp_path / "ImageSets" / "Main" / "train.txt", "a\nlost\n")
    assert "train.txt, line 2: 'lost'" in problem(tmp_path, is_one_line, split="train")
    with pytest.raises(OptionError, match=r"split val: .*there are train"):
        read(tmp_path, "val")


@pytest.mark.parametrize(("way", "crowds"), [("ignore", [0, 1]), ("keep", [0, 0]), ("drop", [0])])
def test_difficult_objects(tmp_path: Path, way: str, crowds: list[int]) -> None:
    voc_file(tmp_path, "a", voc_object() + voc_object(difficult=1))
    imported = read(tmp_path, difficult=way)
    assert [annotation["iscrowd"] for annotation in imported.coco["annotations"]] == crowds
    assert [annotation.get("difficult", 0) for annotation in imported.coco["annotations"]] == [0, 1][: len(crowds)]
    assert {reason: entry.count for reason, entry in imported.left_out.items()} == (
        {"difficult": 1} if way == "drop" else {}
    )


def test_parts_of_an_object_are_no_objects(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></part>"
    voc_file(tmp_path, "a", voc_object("person", (1, 1, 50, 60), more=part))
    assert boxes_of(read(tmp_path).coco) == {"a.jpg": [("person", (0, 0, 50, 60), 0)]}


def test_boxes_over_the_border_and_without_area(tmp_path: Path) -> None:
    objects = [(0, -3, 20, 30), (150, 50, 230, 100), (40, 40, 38, 60), (210, 10, 220, 20), (5, 5, 9, 9)]
    voc_file(tmp_path, "a", "".join(voc_object("cat", box) for box in objects))
    imported = read(tmp_path)
    boxes = [box for _, box, _ in boxes_of(imported.coco)["a.jpg"]]
    assert boxes == [(0, 0, 20, 30), (149, 49, 200, 100), (4, 4, 9, 9)]
    assert imported.clipped == 2
    assert {reason: entry.count for reason, entry in imported.left_out.items()} == {
        "box without area": 1,
        "box outside the image": 1,
    }
    assert "a.xml, line 4" in imported.left_out["box without area"].first[0]


def test_classes_give_the_ids_and_what_else_there_is_is_left_out(tmp_path: Path) -> None:
    voc_file(tmp_path, "a", voc_object("cat") + voc_object("dog") + voc_object("emu"))
    imported = read(tmp_path, classes=("dog", "cat", "cow"))
    assert [category["name"] for category in imported.coco["categories"]] == ["dog", "cat", "cow"]
    assert [annotation["category_id"] for annotation in imported.coco["annotations"]] == [2, 1]
    assert {reason: entry.count for reason, entry in imported.left_out.items()} == {"category not asked for: emu": 1}


@pytest.mark.parametrize("size", ["<size><width>0</width><height>0</height></size>", "<size/>", ""])
def test_a_size_that_is_not_there_is_read_from_the_image(tmp_path: Path, size: str) -> None:
    draw(tmp_path / "JPEGImages" / "a.jpg", (120, 80))
    write(tmp_path / "Annotations" / "a.xml", f"<annotation>{size}{voc_object()}</annotation>")
    [image] = read(tmp_path).coco["images"]
    assert (image["width"], image["height"]) == (120, 80)


def test_a_turned_image_may_be_annotated_either_way(tmp_path: Path, is_one_line: Any) -> None:
    draw(tmp_path / "JPEGImages" / "a.jpg", (200, 100), orientation=6)
    for size in ((200, 100), (100, 200)):
        write(tmp_path / "Annotations" / "a.xml", voc_text(voc_object(), size))
        [image] = read(tmp_path).coco["images"]
        assert (image["width"], image["height"]) == size
    voc_file(tmp_path, "b", voc_object())
    write(tmp_path / "Annotations" / "a.xml", voc_text("\n" + voc_object(), (201, 100)))
    line = problem(tmp_path, is_one_line)
    assert "a.xml, line 1: the size is 201x100 px, but a.jpg is 200x100 px" in line


def test_names_with_spaces_unicode_and_folders(tmp_path: Path) -> None:
    for stem in ("my cell 1", "größe/斑马", "größe/b"):
        voc_file(tmp_path, stem, voc_object(), suffix=".PNG")
    imported = read(tmp_path)
    assert [image["file_name"] for image in imported.coco["images"]] == [
        "größe/b.PNG",
        "größe/斑马.PNG",
        "my cell 1.PNG",
    ]
    write_coco(imported, tmp_path / "coco.json")
    assert read_coco(tmp_path / "coco.json").images.file_name.tolist()[1] == "größe/斑马.PNG"


def test_the_image_with_the_files_own_name_comes_before_filename(tmp_path: Path, is_one_line: Any) -> None:
    for name in ("a.jpg", "b.jpg"):
        draw(tmp_path / "JPEGImages" / name)
    write(tmp_path / "Annotations" / "a.xml", voc_text(voc_object(), filename="b.jpg"))  # a stale copy
    assert [image["file_name"] for image in read(tmp_path).coco["images"]] == ["a.jpg"]
    write(tmp_path / "Annotations" / "c.xml", voc_text(voc_object(), filename="b.png"))  # only filename leads anywhere
    assert [image["file_name"] for image in read(tmp_path).coco["images"]] == ["a.jpg", "b.jpg"]
    write(tmp_path / "Annotations" / "d.xml", voc_text(voc_object(), filename="b.jpg"))
    line = problem(tmp_path, is_one_line)
    assert "d.xml: its image" in line
    assert "c.xml" in line
    (tmp_path / "Annotations" / "d.xml").unlink()
    draw(tmp_path / "JPEGImages" / "c.bmp")
    draw(tmp_path / "JPEGImages" / "c.png")
    assert "c.bmp and c.png" in problem(tmp_path, is_one_line)


def test_images_without_a_file_are_counted(tmp_path: Path) -> None:
    voc_file(tmp_path, "a", voc_object())
    draw(tmp_path / "JPEGImages" / "b.jpg")
    imported = read(tmp_path)
    assert imported.left_out["image without annotation file"].count == 1
    assert len(imported.coco["images"]) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: not XML"),
        ("<annotation>\n<object>", "line 2: not XML"),
        ("<svg/>", "line 1: <svg> is not VOC's <annotation>"),
        (b"\xff\xfe\x00", "not XML"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "not XML"),
        (voc_text("\n\n<object><name>cat</name></object>"), "line 3: the object 'cat' has no <bndbox>"),
        (voc_text(voc_object("")), "line 2: an object without a name"),
        (voc_text(voc_object(box=("1", "x", "2", "3"))), "line 2: 'x' is not a usable number"),
        (voc_text(voc_object(box=("nan", 1, 2, 3))), "'nan' is not a usable number"),
        (voc_text(voc_object(box=("1e300", 1, 2, 3))), "'1e300' is not a usable number"),
        (voc_text(voc_object(box=("", 1, 2, 3))), "the box of 'cat' has no xmin"),
        (voc_text(voc_object(difficult=7)), "line 2: difficult is '7'"),
        (voc_text(voc_object(), (640, "many")), "'many' is not a usable number"),
        (voc_text(voc_object(), (640, 480)), "the size is 640x480 px, but bad.jpg is 200x100 px"),
    ],
)
def test_a_bad_file_is_one_line_and_the_others_are_used(
    tmp_path: Path, is_one_line: Any, text: str | bytes, says: str
) -> None:
    voc_file(tmp_path, "good", voc_object())
    draw(tmp_path / "JPEGImages" / "bad.jpg")
    write(tmp_path / "Annotations" / "bad.xml", text)
    line = problem(tmp_path, is_one_line)
    assert line.startswith(str(tmp_path / "Annotations" / "bad.xml"))
    assert says in line
    assert [image["file_name"] for image in read(tmp_path).coco["images"]] == ["good.jpg"]


def test_an_image_that_is_lost_or_damaged_is_one_line(tmp_path: Path, is_one_line: Any) -> None:
    voc_file(tmp_path, "good", voc_object())
    voc_file(tmp_path, "bad", voc_object())
    image = tmp_path / "JPEGImages" / "bad.jpg"
    write(image, b"no image")
    assert "bad.jpg: the file is not an image" in problem(tmp_path, is_one_line)
    image.unlink()
    assert "no image 'bad' in" in problem(tmp_path, is_one_line)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_billion_laughs_are_one_line_at_once(tmp_path: Path, is_one_line: Any, encoding: str) -> None:
    laughs = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))
    text = f'<?xml version="1.0"?>\n<!DOCTYPE annotation [<!ENTITY l0 "ha">{laughs}]>\n{voc_text(voc_object("&l9;"))}'
    voc_file(tmp_path, "good", voc_object())
    draw(tmp_path / "JPEGImages" / "bad.jpg")
    write(tmp_path / "Annotations" / "bad.xml", text.replace("&amp;", "&").encode(encoding))
    started = time.perf_counter()
    assert "line 2: VOC files have no document type" in problem(tmp_path, is_one_line)
    assert time.perf_counter() - started < 2


def test_external_entities_are_not_read(tmp_path: Path, is_one_line: Any) -> None:
    secret = write(tmp_path / "secret.txt", "secret")
    voc_file(tmp_path, "good", voc_object())
    text = f'<!DOCTYPE a [<!ENTITY x SYSTEM "{secret.as_uri()}">]>{voc_text(voc_object("X"))}'.replace(">X<", ">&x;<")
    write(tmp_path / "Annotations" / "bad.xml", text)
    assert "VOC files have no document type" in problem(tmp_path, is_one_line)


def test_elements_nested_without_end_do_no_harm(tmp_path: Path) -> None:
    voc_file(tmp_path, "a", voc_object() + "<a>" * 100_000 + "</a>" * 100_000)
    assert len(read(tmp_path).coco["annotations"]) == 1


def test_bad_files_of_other_splits_are_not_complained_of(tmp_path: Path) -> None:
    voc_file(tmp_path, "a", voc_object())
    write(tmp_path / "Annotations" / "b.xml", "<annotation>")
    write(tmp_path / "ImageSets" / "Main" / "train.txt", "a\n")
    assert read(tmp_path, "train", on_error="fail").problems == []


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: None, "does not exist"),
        (lambda folder: folder.write_text("x"), "is a file"),
        (lambda folder: folder.mkdir(), "has no .xml file"),
        (lambda folder: voc_file(folder, "a"), "none of the 1 images has an object"),
        (lambda folder: voc_file(folder, "a", voc_object(box=(9, 9, 2, 2))), "1 x box without area"),
        (lambda folder: write(folder / "Annotations" / "a.xml", "<"), "1 files are bad, the first:"),
    ],
)
def test_nothing_to_import_is_one_line(tmp_path: Path, is_one_line: Any, make: Any, says: str) -> None:
    make(tmp_path / "set")
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path / "set")
    assert says in is_one_line(caught.value)


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    voc_file(tmp_path, "a", voc_object())
    for options in ({"coordinates": "polar"}, {"difficult": "hide"}, {"on_error": "pray"}, {"images": tmp_path / "no"}):
        with pytest.raises(OptionError, match=next(iter(options))):
            read(tmp_path, **options)


def test_everything_may_lie_in_one_folder(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    write(tmp_path / "a.xml", voc_text(voc_object()))
    imported = read(tmp_path)
    assert [image["file_name"] for image in imported.coco["images"]] == ["a.jpg"]
    assert imported.left_out == {}


def test_a_huge_image_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    voc_file(tmp_path, "a", voc_object())
    assert len(read(tmp_path).coco["images"]) == 1
    assert Image.MAX_IMAGE_PIXELS == 100


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    for stem in "cab":
        voc_file(tmp_path, stem, voc_object(stem))
    made = []
    for number in range(2):
        write_coco(read(tmp_path), tmp_path / "coco.json")
        made.append((tmp_path / "coco.json").read_bytes())
        if number == 0:
            path = tmp_path / "Annotations" / "a.xml"
            path.rename(tmp_path / "x")
            (tmp_path / "x").rename(path)  # another order in the folder
    assert made[0] == made[1]
    assert [image["file_name"] for image in json.loads(made[0])["images"]] == ["a.jpg", "b.jpg", "c.jpg"]
