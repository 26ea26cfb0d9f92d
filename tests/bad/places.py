"""Paths and environment variables: missing, of another kind, read-only, empty, or URLs with an unknown protocol."""

from __future__ import annotations

from pathlib import Path

from .case import Case
from .damage import Damage, a_fifo, a_folder, a_link, both, content, gone

BUILD = "build-positives coco.json --jobs 1"
TRAIN = "train --model tiny --device cpu --name new --max-steps 1 --batch-size 2"
PREDICT = "predict coco.json --device cpu --score-floor 0.9 --single-scale"
LONG = "x" * 300

# option that names a folder to write in: command, start
FOLDERS: tuple[tuple[str, str, str], ...] = (
    (BUILD, "--workdir", "data"),
    ("export-shards --jobs 1", "--shards", "built"),
    ("preview", "--out", "built"),
    ("export-coco --all-chips --jobs 1", "--out", "exported"),
    ("export-yolo --all-chips --jobs 1", "--out", "exported"),
    ("demo", "--out", "data"),
)
FILES: tuple[tuple[str, str, str], ...] = (
    (PREDICT, "--out", "trained"),
    ("propose --device cpu", "--out", "trained"),
    ("evaluate coco.json detections.json", "--curves", "trained"),
)
READ: tuple[tuple[str, str, str], ...] = (
    ("export-shards --jobs 1", "--image-dir", "built"),
    ("preview", "--image-dir", "built"),
    (PREDICT, "--image-dir", "trained"),
    ("verify --jobs 1", "--shards", "exported"),
    (TRAIN, "--shards", "exported"),
    ("export-coco --out o --all-chips --jobs 1", "--shards", "exported"),
    ("export-shards --jobs 1", "--workdir", "built"),
    ("mine-negatives --proposals rpn.pkl --jobs 1", "--workdir", "built"),
    ("verify --jobs 1", "--workdir", "exported"),
    ("preview", "--workdir", "built"),
    (TRAIN, "--workdir", "exported"),
    ("propose --device cpu --out o.pkl", "--workdir", "trained"),
)


def _folders() -> list[Case]:
    cases = []
    for words, option, start in FOLDERS:
        name = f"{words.split()[0]} {option}"
        below = f"{words} {option} coco.json/sub"
        cases += [
            Case(
                f"{name}: a file",
                f"{words} {option} coco.json",
                ("coco.json",),
                None,
                start,
                2,
            ),
            Case(f"{name}: below a file", below, ("coco.json/sub",), None, start),
            Case(
                f"{name}: a name too long",
                f"{words} {option} {LONG}",
                (LONG[:100],),
                None,
                start,
                2 if option == "--shards" else 1,
            ),
            Case(
                f"{name}: where nothing can be written",
                f"{words} {option} /proc/chipper",
                ("/proc/chipper",),
                None,
                start,
            ),
            Case(f"{name}: empty", f'{words} {option} ""', (option,), None, start, 2),
            Case(f"{name}: a link to itself", f"{words} {option} loop", ("loop",), a_link("loop", "loop"), start),
        ]
    return cases


def _files() -> list[Case]:
    cases = []
    for words, option, start in FILES:
        name = f"{words.split()[0]} {option}"
        cases += [
            Case(f"{name}: a folder", f"{words} {option} images", (option,), None, start, 2),
            Case(f"{name}: below a file", f"{words} {option} coco.json/o", ("coco.json/o",), None, start),
            Case(f"{name}: a name too long", f"{words} {option} {LONG}", (LONG[:100],), None, start),
            Case(
                f"{name}: where nothing can be written",
                f"{words} {option} /proc/o",
                ("/proc/o",),
                None,
                start,
            ),
            Case(f"{name}: empty", f'{words} {option} ""', (option,), None, start, 2),
        ]
    return cases


def _read() -> list[Case]:
    cases = []
    for words, option, start in READ:
        name = f"{words.split()[0]} {option}"
        cases += [
            Case(f"{name}: missing", f"{words} {option} nowhere", ("nowhere",), None, start),
            Case(f"{name}: a file", f"{words} {option} coco.json", ("coco.json",), None, start, 2),
            Case(f"{name}: a link to itself", f"{words} {option} loop", ("loop",), a_link("loop", "loop"), start),
        ]
        if option != "--workdir":
            cases += [
                Case(
                    f"{name}: a protocol that nobody knows",
                    f"{words} {option} abc://bucket/x",
                    ("abc://bucket/x",),
                    None,
                    start,
                    2,
                ),
                Case(f"{name}: a URL of nothing", f"{words} {option} ://", ("://",), None, start, 2),
            ]
    return cases


def _environment() -> list[Case]:
    export, one = "export-shards --jobs 1", (("CHIPPER_WORKDIR", ""),)
    return [
        Case("CHIPPER_WORKDIR: empty", BUILD, ("chips in all",), None, "data", 0, environment=one),
        Case(
            "CHIPPER_WORKDIR: a file",
            export,
            ("coco.json",),
            None,
            "built",
            2,
            environment=(("CHIPPER_WORKDIR", "coco.json"),),
        ),
        Case(
            "CHIPPER_WORKDIR: missing",
            export,
            ("nowhere",),
            None,
            "built",
            environment=(("CHIPPER_WORKDIR", "nowhere"),),
        ),
        Case(
            "CHIPPER_SHARDS: a file",
            export,
            ("coco.json",),
            None,
            "built",
            2,
            environment=(("CHIPPER_SHARDS", "coco.json"),),
        ),
        Case(
            "CHIPPER_SHARDS: a protocol that nobody knows",
            export,
            ("abc://x",),
            None,
            "built",
            2,
            environment=(("CHIPPER_SHARDS", "abc://x"),),
        ),
        Case("CHIPPER_SHARDS: empty", export, ("Shards in",), None, "built", 0, environment=(("CHIPPER_SHARDS", ""),)),
        Case(
            "CHIPPER_DEBUG: no boolean",
            "plan coco.json",
            ("--debug",),
            None,
            "data",
            2,
            environment=(("CHIPPER_DEBUG", "maybe"),),
        ),
        Case("WORLD_SIZE: a word", TRAIN, ("WORLD_SIZE",), None, "exported", 2, environment=(("WORLD_SIZE", "two"),)),
        Case("WORLD_SIZE: alone", TRAIN, ("torchrun",), None, "exported", 2, environment=(("WORLD_SIZE", "2"),)),
        Case("WORLD_SIZE: negative", TRAIN, ("WORLD_SIZE",), None, "exported", 2, environment=(("WORLD_SIZE", "-1"),)),
        Case("COLUMNS: no number", "plan coco.json", ("chips",), None, "data", 0, environment=(("COLUMNS", "wide"),)),
    ]


def _images_are_a_file(folder: Path) -> None:
    gone("images")(folder)
    (folder / "images").write_text("")


UNWRITABLE: Damage = lambda folder: (folder / "chips").write_text("mine")  # noqa: E731
CASES = [
    *_folders(),
    *_files(),
    *_read(),
    *_environment(),
    Case("build-positives: the default workdir is a file", BUILD, ("chips",), UNWRITABLE, "data", 2),
    Case(
        "build-positives: the images table's folder is a file",
        BUILD,
        ("chips/images",),
        content("chips/images", ""),
        "data",
    ),
    Case(
        "build-positives: the epochs' folder is a link to nowhere",
        BUILD,
        ("chips/epochs",),
        both(content("chips/x", ""), a_link("chips/epochs", "nowhere/at/all")),
        "data",
        may_appear=("chips/*",),
    ),
    Case("build-positives --image-dir: a file", f"{BUILD} --image-dir coco.json", ("--image-dir",), None, "data", 2),
    Case(
        "export-shards: the shards' folder is a file",
        "export-shards --jobs 1",
        ("chips/shards",),
        content("chips/shards", ""),
        "built",
    ),
    Case(
        "export-coco --out: there already",
        "export-coco --out o --all-chips --jobs 1",
        ("--out", "already exists"),
        a_folder("o"),
        "exported",
        2,
    ),
    Case(
        "export-coco --out: a named pipe",
        "export-coco --out o --all-chips --jobs 1",
        ("--out", "already exists"),
        a_fifo("o"),
        "exported",
        2,
    ),
    Case("demo --out: something else in it", "demo --out images", ("images",), None, "data", 2),
    Case(
        "mine-negatives --proposals: empty",
        'mine-negatives --jobs 1 --proposals ""',
        ("--proposals",),
        None,
        "built",
        2,
    ),
    Case("plan: an empty name", 'plan ""', ("COCO",), None, "data", 2),
    Case("plan: a name too long", f"plan {LONG}.json", (LONG[:100],), None, "data"),
    Case("plan: a name of slashes", "plan ///", ("/",), None, "data"),
    Case("plan: a URL", "plan http://127.0.0.1:9/coco.json", ("does not exist",), None, "data"),
    Case("plan: the user's folder by its sign", "plan '~/coco.json'", ("~/coco.json",), None, "data"),
]
