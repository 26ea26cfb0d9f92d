"""Data sets in other formats: VOC, YOLO, VisDrone, DOTA."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from .case import Case
from .damage import Damage, a_fifo, a_folder, a_link, content, gone

VOC, YOLO = "import-voc set --out o.json", "import-yolo set/data.yaml --out o.json"
DRONE, DOTA = "import-visdrone set --out o.json", "import-dota set --out o.json"
XML, TXT = "set/Annotations/a.xml", "set/labels/a.txt"


def _xml(objects: str = "", size: str = "<size><width>60</width><height>40</height></size>") -> str:
    return f"<annotation><filename>a.jpg</filename>{size}{objects}</annotation>"


def _object(
    box: str = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>", name: str = "<name>cat</name>"
) -> str:
    return f"<object>{name}<bndbox>{box}</bndbox></object>"


def _set(images: str, files: dict[str, str]) -> Damage:
    def make(folder: Path) -> None:
        (folder / images).mkdir(parents=True)
        Image.new("RGB", (60, 40)).save(folder / images / "a.jpg")
        for name, text in files.items():
            content(name, text)(folder)

    return make


def _then(first: Damage, second: Damage) -> Damage:
    def make(folder: Path) -> None:
        first(folder)
        second(folder)

    return make


voc = _set("set/JPEGImages", {XML: _xml(_object())})
yolo = _set("set/images", {TXT: "0 0.5 0.5 0.2 0.2\n", "set/data.yaml": "path: .\ntrain: images\nnames: [cat]\n"})
drone = _set("set/images", {"set/annotations/a.txt": "1,1,9,9,1,4,0,0\n"})
dota = _set("set/images", {"set/labelTxt/a.txt": "1 1 9 1 9 9 1 9 ship 0\n"})
LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><annotation>&b;</annotation>'

# what is wrong, the content, a text that the message must contain
VOC_FILES: tuple[tuple[str, str, str], ...] = (
    ("no XML", "not XML", "a.xml"),
    ("zero bytes", "", "a.xml"),
    ("cut", _xml(_object())[:80], "a.xml"),
    ("a document type", LAUGHS, "a.xml"),
    ("another root", "<html></html>", "a.xml"),
    ("a box of words", _xml(_object("<xmin>left</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>")), "a.xml"),
    ("a box of NaN", _xml(_object("<xmin>nan</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>")), "a.xml"),
    ("an infinite box", _xml(_object("<xmin>1</xmin><ymin>1</ymin><xmax>inf</xmax><ymax>9</ymax>")), "a.xml"),
    ("a box without an end", _xml(_object("<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax>")), "a.xml"),
    ("an object without a name", _xml(_object(name="")), "a.xml"),
    ("an object without a box", _xml("<object><name>cat</name></object>"), "a.xml"),
    ("another size", _xml(_object(), "<size><width>61</width><height>40</height></size>"), "a.xml"),
    ("a size of words", _xml(_object(), "<size><width>wide</width><height>40</height></size>"), "a.xml"),
)
YOLO_FILES: tuple[tuple[str, str, str], ...] = (
    ("words", "cat in the middle\n", "a.txt"),
    ("too few numbers", "0 0.5 0.5 0.2\n", "a.txt"),
    ("pixels", "0 30 20 12 8\n", "a.txt"),
    ("NaN", "0 nan 0.5 0.2 0.2\n", "a.txt"),
    ("a negative side", "0 0.5 0.5 -0.2 0.2\n", "a.txt"),
    ("a class that there is not", "7 0.5 0.5 0.2 0.2\n", "a.txt"),
    ("a class of a half", "0.5 0.5 0.5 0.2 0.2\n", "a.txt"),
    ("a negative class", "-1 0.5 0.5 0.2 0.2\n", "a.txt"),
    ("a polygon with half a point", "0 0.1 0.1 0.2 0.1 0.2 0.2 0.1\n", "a.txt"),
)
YOLO_SETS: tuple[tuple[str, str], ...] = (
    ("no YAML", "train: ["),
    ("a list", "- a\n"),
    ("a program", "!!python/object/apply:os.system ['touch code-ran']\n"),
    ("no names", "path: .\ntrain: images\n"),
    ("no images", "path: .\nnames: [cat]\n"),
    ("images elsewhere", "path: .\ntrain: nowhere\nnames: [cat]\n"),
    ("names that are one word", "path: .\ntrain: images\nnames: cat\n"),
    ("zero bytes", ""),
)
DRONE_FILES: tuple[tuple[str, str], ...] = (
    ("words", "a,b,c,d,e,f,g,h\n"),
    ("too few numbers", "1,1,9\n"),
    ("NaN", "nan,1,9,9,1,4,0,0\n"),
    ("a category that there is not", "1,1,9,9,1,44,0,0\n"),
)
DOTA_FILES: tuple[tuple[str, str], ...] = (
    ("words", "a b c d e f g h ship 0\n"),
    ("three corners", "1 1 9 1 9 9 ship 0\n"),
    ("NaN", "nan 1 9 1 9 9 1 9 ship 0\n"),
    ("no name", "1 1 9 1 9 9 1 9\n"),
    ("a difficult of words", "1 1 9 1 9 9 1 9 ship very\n"),
)


def _cases() -> list[Case]:
    cases = []
    kinds = (("VOC", VOC, voc, XML), ("YOLO", YOLO, yolo, TXT))
    for format_, words, whole, name in (
        *kinds,
        ("VisDrone", DRONE, drone, "set/annotations/a.txt"),
        ("DOTA", DOTA, dota, "set/labelTxt/a.txt"),
    ):
        place = words.split()[1]
        cases += [
            Case(f"{format_}: nothing there", words, (place.partition("/")[0],), start="empty"),
            Case(f"{format_}: a file for the folder", words, ("set",), content("set", "x"), "empty"),
            Case(f"{format_}: no image", words, ("set",), _then(whole, gone("set/images")), "empty")
            if format_ != "VOC"
            else Case("VOC: no image", words, ("set",), _then(whole, gone("set/JPEGImages")), "empty"),
            Case(
                f"{format_}: --out in a file",
                f"{words.split(' --out')[0]} --out f/o.json",
                ("f",),
                _then(whole, content("f", "")),
                "empty",
            ),
            Case(
                f"{format_}: --out a folder",
                f"{words.split(' --out')[0]} --out f",
                ("--out",),
                _then(whole, a_folder("f")),
                "empty",
                2,
            ),
            Case(f"{format_}: an option that there is not", f"{words} --nonsense", ("--nonsense",), whole, "empty", 2),
        ]
        bad: tuple[tuple[str, str, str], ...] = {
            "VOC": VOC_FILES,
            "YOLO": YOLO_FILES,
            "VisDrone": tuple((what, text, "a.txt") for what, text in DRONE_FILES),
            "DOTA": tuple((what, text, "a.txt") for what, text in DOTA_FILES),
        }[format_]
        for what, text, says in bad:
            make = _then(whole, content(name, text))
            cases.append(Case(f"{format_}: {what}, stopping there", f"{words} --on-error fail", (says,), make, "empty"))
        for what, damage in (
            ("not text", content(name, b"\xff\xfe\x00\xd8\x80")),
            ("a named pipe", _then(gone(name), a_fifo(name))),
            ("a link to itself", _then(gone(name), a_link(name, Path(name).name))),
            ("a folder", _then(gone(name), a_folder(name))),
        ):
            make = _then(whole, damage)
            cases.append(
                Case(f"{format_}: {what} for a label file", f"{words} --on-error fail", ("set",), make, "empty")
            )
    for what, text in YOLO_SETS:
        make = _then(yolo, content("set/data.yaml", text))
        cases.append(Case(f"YOLO, data.yaml: {what}", YOLO, ("set",), make, "empty", 2 if what == "no images" else 1))
    cases += [
        Case("VOC: a split that there is not", f"{VOC} --split test", ("test",), voc, "empty", 2),
        Case(
            "VOC: classes that lack one", f"{VOC} --classes c", ("cat",), _then(voc, content("c", "dog\n")), "empty", 1
        ),
        Case("VOC: no classes file", f"{VOC} --classes c", ("c",), voc, "empty"),
        Case(
            "VOC: a truncated image",
            f"{VOC} --on-error fail",
            ("a.jpg",),
            _then(voc, content("set/JPEGImages/a.jpg", b"\xff\xd8")),
            "empty",
        ),
        Case(
            "VOC: a box over the border",
            VOC,
            ("clipped",),
            _then(voc, content(XML, _xml(_object("<xmin>50</xmin><ymin>1</ymin><xmax>99</xmax><ymax>9</ymax>")))),
            "empty",
            0,
        ),
        Case("YOLO: a split that there is not", f"{YOLO} --split test", ("test",), yolo, "empty", 2),
    ]
    return cases


CASES = _cases()
