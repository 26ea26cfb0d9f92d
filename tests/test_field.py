"""Situations from the field: small inputs that tools really write, with what is right for each (../shared/field).

`KNOWN` names the cases that are still wrong; one that becomes right must be taken off it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

FIELD = Path(__file__).parents[2] / "shared" / "field" / "annotations"
KNOWN = {
    "04-box-against-shape/3",
    "05-every-mask-a-crowd/2",
    "22-exif/1",
    "22-exif/2",
    "04-box-against-shape/0",
    "04-box-against-shape/1",
    "04-box-against-shape/2",
    "05-every-mask-a-crowd/0",
    "05-every-mask-a-crowd/1",
    "05-every-mask-a-crowd/3",
    "06-ignore-flag/1",
    "07-boxes-in-shares/1",
    "08-root-category/0",
    "08-root-category/1",
    "11-no-bbox/2",
    "13-voc-many-bndbox/0",
    "14-fair1m-among-voc/0",
    "15-odd-polygons/0",
    "16-cvat-rotation/1",
    "19-labels-missing-for-half/0",
    "20-yolo-other-lines/0",
    "20-yolo-other-lines/1",
    "21-yolo-obb-as-dota/0",
    "23-small-variants/2",
    "23-small-variants/3",
    "23-small-variants/4",
    "23-small-variants/5",
}


def cases() -> list[tuple[str, Path, dict[str, Any]]]:
    found = []
    for path in sorted(FIELD.glob("*/expected.json")):
        first = json.loads(path.read_text())
        for k, case in enumerate([first, *first.get("more", [])]):
            found.append((f"{path.parent.name}/{k}", path.parent, case))
    return found


CASES = cases()
SAID = {"clipped": "clipped", "flags_not_applied": "orientation", "masks_lost": "mask"}
"""A word of the line that says the count."""


def chipper(folder: Path, words: list[str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "chipper.cli.main", *words]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout + result.stderr


def annotations_of(folder: Path, case: dict[str, Any]) -> tuple[list[Any], list[Any], list[str]]:
    """Images, annotations (bbox x y w h, ignored) and category names, of the workdir or of the file that was written."""
    if case["command"][0] == "build-positives":
        tables = {
            name: [
                row
                for path in sorted((folder / "chips" / name).glob("*.parquet"))
                for row in pq.read_table(path).to_pylist()
            ]
            for name in ("images", "annotations")
        }
        rows = [
            (
                [row["x1"], row["y1"], row["x2"] - row["x1"], row["y2"] - row["y1"]],
                row["iscrowd"],
                row["segmentation"],
            )
            for row in sorted(tables["annotations"], key=lambda row: row["annotation_id"])
        ]
        dataset = json.loads((folder / "chips" / "dataset.json").read_text())
        return tables["images"], rows, [category["name"] for category in dataset["categories"]]
    content = json.loads((folder / case.get("out", "coco.json")).read_text())
    rows = [
        (a["bbox"], bool(a.get("iscrowd") or a.get("ignore")), a.get("segmentation")) for a in content["annotations"]
    ]
    return content["images"], rows, [category["name"] for category in content["categories"]]


def faults(folder: Path, case: dict[str, Any], keys: dict[str, Any], code: int, said: str) -> list[str]:
    """What is not as ``keys`` want it."""
    wrong = []
    if "a bug in chipper" in said or "Traceback" in said:
        wrong.append(said[-300:])
    if code not in keys["exit"]:
        wrong.append(f"exit {code}, not {keys['exit']}")
    if code not in (0, 3):
        return wrong
    images, rows, names = annotations_of(folder, case)
    objects = [row for row in rows if not row[1]]
    found = {
        "images": len(images),
        "boxes": len(objects),
        "ignored": len(rows) - len(objects),
        "classes": names,
        "segmentations": sum(bool(row[2]) for row in objects),
    }
    wrong += [f"{key} {value}, not {keys[key]}" for key, value in found.items() if key in keys and value != keys[key]]
    for key, some in (("boxes_xywh", objects), ("first_box", objects[:1])):
        wanted = keys.get(key, [])
        wanted = [wanted] if key == "first_box" and wanted else wanted
        if wanted and [box for box, *_ in some] != [pytest.approx(box, abs=0.11) for box in wanted]:
            wrong.append(f"{key} {[box for box, *_ in some]}, not {wanted}")
    for words in case.get("then", []):
        then_code, then_said = chipper(folder, words)
        said += then_said
        if then_code not in (0, 3) or "a bug in chipper" in then_said:
            wrong.append(f"{words}: exit {then_code}: {then_said[-200:]}")
    for key, word in SAID.items():
        if key in keys and not any(word in line and str(keys[key]) in line for line in said.splitlines()):
            wrong.append(f"{keys[key]} {key} are not said")
    if said.count("warning:") < keys.get("warnings", 0):
        wrong.append(f"not {keys['warnings']} warnings")
    if "classes_back" in keys:
        back = json.loads((folder / "back.json").read_text())
        if (names := [category["name"] for category in back["categories"]]) != keys["classes_back"]:
            wrong.append(f"names back {names}")
    if keys.get("no_empty_segmentation"):
        for path in (folder / "c" / "annotations").glob("*.json"):
            if b'"segmentation":[]' in path.read_bytes().replace(b" ", b""):
                wrong.append(f"an empty segmentation in {path.name}")
    if "rendered_images" in keys:
        rendered = {json.loads(text)["image_id"] for text in records(folder)}
        if len(rendered) != keys["rendered_images"]:
            wrong.append(f"{len(rendered)} images rendered, not {keys['rendered_images']}")
    for image_id, count in keys.get("negatives_of_image", {}).items():
        chips = [r for p in (folder / "chips" / "chips").glob("negative*") for r in pq.read_table(p).to_pylist()]
        if (mined := sum(row["image_id"] == int(image_id) for row in chips)) != count:
            wrong.append(f"{mined} negatives of image {image_id}")
    return wrong


def records(folder: Path) -> list[bytes]:
    import tarfile

    found = []
    for path in (folder / "chips" / "shards").glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    file = tar.extractfile(member)
                    assert file is not None
                    found.append(file.read())
    return found


@pytest.mark.skipif(not CASES, reason="the situations from the field are not beside this checkout (../shared/field)")
@pytest.mark.parametrize(("name", "source", "case"), CASES, ids=[name for name, *_ in CASES])
def test_what_tools_write_is_taken_as_meant(name: str, source: Path, case: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "case"
    shutil.copytree(source, folder)
    code, said = chipper(folder, case["command"])
    wrong = faults(folder, case, case, code, said)
    if wrong and "or" in case:
        shutil.rmtree(folder)
        shutil.copytree(source, folder)
        code, said = chipper(folder, case["command"])
        wrong = faults(folder, case, case["or"], code, said)
    if name in KNOWN:
        assert wrong, f"{name} is right now: take it off the list"
        pytest.xfail("known: " + "; ".join(wrong)[:200])
    assert wrong == [], said[-800:]
