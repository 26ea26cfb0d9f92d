"""COCO files: not JSON, JSON but not COCO, and unusable records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .case import Case
from .damage import Damage, a_fifo, a_folder, a_link, content, gone

BUILD = "build-positives coco.json --jobs 1"
IMAGE = '{"id": 1, "file_name": "0.jpg", "width": 200, "height": 150}'
BOX = '{"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 10, 30, 30], "iscrowd": 0}'
CATEGORY = '{"id": 3, "name": "square"}'


def coco(images: str = IMAGE, annotations: str = BOX, categories: str = CATEGORY) -> str:
    return f'{{"images": [{images}], "annotations": [{annotations}], "categories": [{categories}]}}'


def whole(text: str | bytes) -> Damage:
    return content("coco.json", text)


FILES: dict[str, tuple[str | bytes, str]] = {
    "zero bytes": (b"", "not JSON"),
    "white space": (" \n\t ", "not JSON"),
    "NUL bytes": (bytes(4096), "not JSON"),
    "cut in the middle": (coco()[:120], "not JSON"),
    "a JPEG": (b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01" + bytes(range(256)), "not JSON"),
    "a ZIP": (b"PK\x03\x04" + bytes(60), "not JSON"),
    "gzip": (b"\x1f\x8b\x08\0" + bytes(60), "not JSON"),
    "an XML file": ("<annotation><object/></annotation>", "not JSON"),
    "Python's repr": ("{'images': []}", "not JSON"),
    "a comma at the end": (coco()[:-1] + ",}", "not JSON"),
    "two documents": (coco() + coco(), "not JSON"),
    "JSON lines": (IMAGE + "\n" + BOX, "not JSON"),
    "a comment": ("// coco\n" + coco(), "not JSON"),
    "half a surrogate in bytes": (coco().replace("square", "\ud800"), "not JSON"),
    "Latin-1": (coco().replace("square", "carr\xe9").encode("latin-1"), "not JSON"),
    "a control character in a string": (coco().replace("square", "sq\x01uare"), "not JSON"),
    "a bad escape": (coco().replace("square", "\\x41"), "not JSON"),
    "100,000 brackets": ("[" * 100_000, "coco.json"),
    "100,000 brackets inside a list": ('{"images": ' + "[" * 100_000 + "]" * 100_000 + "}", "coco.json"),
    "100,000 braces": ('{"images":' * 100_000, "coco.json"),
    "null": ("null", "not COCO"),
    "a number": ("1", "not COCO"),
    "a string": ('"coco"', "not COCO"),
    "true": ("true", "not COCO"),
    "NaN": ("NaN", "not COCO"),
    "a list": (f"[{IMAGE}]", "not COCO"),
    "an empty object": ("{}", '"images"'),
    "lists that are objects": ('{"images": {}, "annotations": {}, "categories": {}}', "not COCO"),
    "lists that are strings": ('{"images": "a", "annotations": "b", "categories": "c"}', "not COCO"),
    "lists that are null": ('{"images": null, "annotations": null, "categories": null}', '"images"'),
    "no images": (coco(images=""), '"images"'),
    "no annotations": (coco(annotations=""), '"annotations"'),
    "no categories": (coco(categories=""), '"categories"'),
    "categories left out": (f'{{"images": [{IMAGE}], "annotations": [{BOX}]}}', '"categories"'),
    "a results file": ('[{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}]', "not COCO"),
    "the same list twice, the last one empty": (coco()[:-1] + ', "images": []}', '"images"'),
    "category ids that are strings": (coco(categories='{"id": "x", "name": "a"}'), "category"),
    "category ids that are fractions": (coco(categories='{"id": 1.5, "name": "a"}'), "category"),
    "category ids that are null": (coco(categories='{"id": null, "name": "a"}'), "category"),
    "category ids beyond 64 bits": (coco(categories=f'{{"id": {2**70}, "name": "a"}}'), "category"),
    "categories without names": (coco(categories='{"id": 3}'), "category"),
    "category names that are numbers": (coco(categories='{"id": 3, "name": 7}'), "category"),
    "categories that are strings": (coco(categories='"square"'), "category"),
    "categories with one id": (coco(categories=CATEGORY + ', {"id": 3, "name": "block"}'), "category id 3"),
    "categories that are nested": (coco(categories="[" * 50 + "]" * 50), "category"),
}

# one bad image record, without which the file is empty
IMAGES: dict[str, tuple[dict[str, Any] | str, str]] = {
    "an id that is a string": ({"id": "one"}, "unknown image"),
    "an id that is a list": ({"id": [1]}, "malformed"),
    "an id that is a fraction": ({"id": 1.5}, "id"),
    "an id that is null": ({"id": None}, "id"),
    "an id beyond 64 bits": ({"id": 2**64}, "malformed"),
    "an id that is NaN": ({"id": float("nan")}, "id"),
    "an id that is true": ({"id": True}, "malformed"),
    "zero wide": ({"width": 0}, "size"),
    "negative height": ({"height": -150}, "size"),
    "a size that is infinite": ({"width": float("inf")}, "size"),
    "a size of 1e999": (IMAGE.replace("200", "1e999"), "s"),
    "a size that is a fraction": ({"width": 200.5}, "size"),
    "a size that is a word": ({"width": "wide"}, "malformed"),
    "a size that is null": ({"width": None}, "size"),
    "a size beyond all": ({"width": 2**31}, "size"),
    "a size with a thousand digits": (IMAGE.replace("200", "9" * 1000), "malformed"),
    "no file name": ({"file_name": None}, "file name"),
    "an empty file name": ({"file_name": ""}, "file name"),
    "a file name that is a number": ({"file_name": 7}, "malformed"),
    "a file name that leads out": ({"file_name": "../../etc/passwd"}, "file name"),
    "a file name that leads out later": ({"file_name": "a/../../b.jpg"}, "file name"),
    "an absolute file name": ({"file_name": "/etc/passwd"}, "file name"),
    "a file name of Windows without a name": ({"file_name": "C:\\"}, "file name"),
    "a file name with backslashes that leads out": ({"file_name": "..\\.."}, "file name"),
    "a file name with a newline": ({"file_name": "a\nb.jpg"}, "file name"),
    "a file name with NUL": ({"file_name": "a\0.jpg"}, "file name"),
    "a file name with an escape sequence": ({"file_name": "\x1b[31mred.jpg"}, "file name"),
    "a file name with half a surrogate": ({"file_name": "\ud800.jpg"}, "file name"),
    "a file name with DEL": ({"file_name": "a\x7f.jpg"}, "file name"),
    "a file name with a C1 control character": ({"file_name": "a\x9b31m.jpg"}, "file name"),
    "a file name with a line separator": ({"file_name": "a\u2028b.jpg"}, "file name"),
    "a file name that turns the line around": ({"file_name": "a\u202egpj.exe"}, "file name"),
    "a file name of dots": ({"file_name": "././."}, "file name"),
    "a URL for a file name": ({"file_name": "http://example.com/a.jpg"}, "file name"),
    "a record that is a list": ("[]", "malformed"),
    "a record that is null": ("null", "malformed"),
    "a record that is deeply nested": ('{"id": ' + "[" * 5000 + "]" * 5000 + "}", "coco.json"),
}
# one bad annotation, without which the file has no annotations
ANNOTATIONS: dict[str, tuple[dict[str, Any] | str, str]] = {
    "a box of NaN": ({"bbox": [float("nan")] * 4}, "finite"),
    "an infinite box": ({"bbox": [0, 0, float("inf"), 10]}, "finite"),
    "a box of 1e999": (BOX.replace("30, 30", "1e999, 30"), "s"),
    "a box of 1e308 twice": ({"bbox": [1e308, 1e308, 1e308, 1e308]}, "box"),
    "a negative box": ({"bbox": [10, 10, -5, 20]}, "area"),
    "a box without area": ({"bbox": [10, 10, 0, 20]}, "area"),
    "a box beyond the image": ({"bbox": [300, 300, 20, 20]}, "outside"),
    "a box left of the image": ({"bbox": [-30, 0, 20, 20]}, "outside"),
    "a box of three numbers": ({"bbox": [1, 2, 3]}, "malformed"),
    "a box of words": ({"bbox": ["a", "b", "c", "d"]}, "malformed"),
    "a box that is an object": ({"bbox": {"x": 1}}, "malformed"),
    "no box": ({"bbox": None}, "box"),
    "an image that is not there": ({"image_id": 99}, "unknown image"),
    "an image id that is a word": ({"image_id": "x"}, "image id"),
    "an image id that is a fraction": ({"image_id": 1.25}, "image id"),
    "an image id that is null": ({"image_id": None}, "image id"),
    "a category that is not there": ({"category_id": 99}, "category"),
    "a category that is null": ({"category_id": None}, "category"),
    "a crowd flag that is a word": ({"iscrowd": "maybe"}, "malformed"),
    "an area with a thousand digits": (BOX.replace('"iscrowd": 0', f'"area": {"9" * 1000}'), "malformed"),
    "a record that is a number": ("7", "malformed"),
    "keypoints nested deeply": (BOX[:-1] + ', "keypoints": ' + "[" * 5000 + "]" * 5000 + "}", "coco.json"),
}

# files that are partly or completely usable: the command continues
USED: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "a byte order mark": (b"\xef\xbb\xbf" + coco().encode(), ("chips in all",)),
    "UTF-16": (coco().encode("utf-16"), ("chips in all",)),
    "NaN beside a good record": (
        coco(annotations=f"{BOX}, {BOX.replace('30, 30', 'NaN, 30').replace('1,', '2,', 1)}"),
        ("box not finite",),
    ),
    "the same key twice": (coco(images=IMAGE[:-1] + ', "width": 200}'), ("chips in all",)),
    "ids that are floats": (coco(images=IMAGE.replace("1,", "1.0,", 1)), ("chips in all",)),
    "numbers in quotes": (coco(images=IMAGE.replace("200", '"200"')), ("chips in all",)),
    "the same image twice": (coco(images=f"{IMAGE}, {IMAGE}"), ("the same record twice",)),
    "the same annotation twice": (coco(annotations=f"{BOX}, {BOX}"), ("the same record twice",)),
    "an image that leads out beside a good one": (
        coco(images=IMAGE + ", " + IMAGE.replace("1,", "2,", 1).replace("0.jpg", "../0.jpg")),
        ("bad file name",),
    ),
    "a box that sticks out": (coco(annotations=BOX.replace("30, 30", "3000, 30")), ("chips in all",)),
    "a file name of 5,000 letters": (coco(images=IMAGE.replace("0.jpg", "x" * 5000 + ".jpg")), ("chips in all",)),
    "keys that nobody knows": (coco(images=IMAGE[:-1] + ', "x": [[[[1]]]], "y": NaN}'), ("chips in all",)),
    "a mask of nonsense": (coco(annotations=BOX[:-1] + ', "segmentation": {"counts": [-1, 1e9]}}'), ("chips in all",)),
    "a category name with a newline": (coco(categories='{"id": 3, "name": "a\\nb\\u001b[31m"}'), ("chips in all",)),
    "an annotation without an id": (coco(annotations=BOX.replace('"id": 1, ', "", 1)), ("chips in all",)),
    "an id at the end of 64 bits": (
        coco(
            images=IMAGE.replace("1,", f"{2**63 - 1},", 1),
            annotations=BOX.replace('"image_id": 1', f'"image_id": {2**63 - 1}'),
        ),
        ("chips in all",),
    ),
    "an image of one pixel": (
        coco(
            images=IMAGE.replace("200", "1").replace("150", "1"),
            annotations=BOX.replace("10, 10, 30, 30", "0, 0, 1, 1"),
        ),
        ("chips in all",),
    ),
    "the largest image": (
        coco(images=IMAGE.replace("200", str(2**24)).replace("150", "1"), annotations=BOX.replace("10, 10,", "0, 0,")),
        ("1",),
    ),
}
OTHER: dict[str, tuple[Damage, str]] = {
    "missing": (gone("coco.json"), "does not exist"),
    "a folder": (a_folder("coco.json"), "folder"),
    "a named pipe": (a_fifo("coco.json"), "coco.json"),
    "a link to itself": (a_link("coco.json", "coco.json"), "coco.json"),
    "a link to nowhere": (a_link("coco.json", "nowhere.json"), "does not exist"),
    "a device that never ends": (a_link("coco.json", "/dev/zero"), "coco.json"),
}


def _record(good: str, change: dict[str, Any] | str) -> str:
    return change if isinstance(change, str) else json.dumps(json.loads(good) | change)


def _cases() -> list[Case]:
    cases = []
    for kind, (text, says) in FILES.items():
        cases.append(Case(f"annotations: {kind}", BUILD, ("coco.json", says), whole(text)))
    for kind, (change, says) in IMAGES.items():
        text = coco(images=_record(IMAGE, change))
        cases.append(Case(f"image record: {kind}", BUILD, ("coco.json", says), whole(text)))
    for kind, (change, says) in ANNOTATIONS.items():
        text = coco(annotations=_record(BOX, change))
        cases.append(Case(f"annotation record: {kind}", BUILD, ("coco.json", says), whole(text)))
    for kind, (text, said) in USED.items():
        lost = said[0] in ("box not finite", "bad file name")
        cases.append(Case(f"annotations used: {kind}", BUILD, said, whole(text), code=3 if lost else 0))
    for kind, (make, says) in OTHER.items():
        for words in (BUILD, "plan coco.json"):
            cases.append(Case(f"annotations, {words.split()[0]}: {kind}", words, ("coco.json", says), make))
    for words, start in (
        ("plan coco.json", "data"),
        ("plan coco.json --suggest", "data"),
        ("predict coco.json --device cpu --out o.json", "trained"),
        ("evaluate coco.json detections.json", "trained"),
        ("evaluate coco.json --proposals rpn.pkl", "trained"),
        ("build-positives coco.json --jobs 1 --overwrite", "exported"),
    ):
        for kind in ("zero bytes", "100,000 brackets", "a list", "no images"):
            name = f"annotations, {' '.join(w for w in words.split() if not w.endswith('json'))}: {kind}"
            cases.append(Case(name, words, ("coco.json",), whole(FILES[kind][0]), start=start))
    return cases


def _another(folder: Path) -> None:
    path = folder / "coco.json"
    path.write_text(path.read_text().replace('"square"', '"circle"'))


CASES = [
    *_cases(),
    Case(
        "annotations: changed since the workdir was made",
        BUILD,
        ("coco.json", "another annotation file"),
        _another,
        "mined",
    ),
    Case("other options than the workdir's", f"{BUILD} --stride 16", ("--stride 32", "--overwrite"), start="mined"),
]
