"""Options of every command: invalid numbers, invalid choices, missing arguments."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import starmap

from .case import Case

HUGE = "9" * 25
NOT_NUMBERS = {"text": "ten", "empty": '""'}
# command that would work, folder it starts from
PLAN = ("plan coco.json", "data")
BUILD = ("build-positives coco.json --jobs 1", "data")
MINE = ("mine-negatives --proposals rpn.pkl --jobs 1", "built")
EXPORT = ("export-shards --jobs 1", "built")
VERIFY = ("verify", "exported")
COCO = ("export-coco --out o --jobs 1", "exported")
YOLO = ("export-yolo --out o --jobs 1", "exported")
TRAIN = ("train --model tiny --device cpu --name new --max-steps 1", "exported")
PROPOSE = ("propose --device cpu --out o.pkl", "trained")
PREDICT = ("predict coco.json --device cpu --out o.json", "trained")
PREVIEW = ("preview", "exported")

INTEGERS: tuple[tuple[tuple[str, str], str, tuple[str, ...]], ...] = (
    (PLAN, "--chip-size", ("-1", "0", "15", HUGE)),
    (PLAN, "--jobs", ("0", "-2", f"-{HUGE}")),
    (BUILD, "--chip-size", ("-512", "0", "1", "1000000", HUGE)),
    (BUILD, "--variants", ("-1", "0", "40000", HUGE)),
    (BUILD, "--epochs", ("-1", "0", "1000000000", HUGE)),
    (BUILD, "--seed", (HUGE, f"-{HUGE}")),
    (BUILD, "--jobs", ("0", "-2")),
    (MINE, "--max-proposals", ("-1", "0")),
    (MINE, "--negatives-per-image", ("-1", f"-{HUGE}")),
    (MINE, "--jobs", ("0", "-5")),
    (EXPORT, "--quality", ("-1", "0", "101", HUGE)),
    (EXPORT, "--chips-per-shard", ("-1", "0")),
    (EXPORT, "--max-errors", ("-1",)),
    (EXPORT, "--jobs", ("0", "-3")),
    (VERIFY, "--jobs", ("0", "-2")),
    (COCO, "--epoch", ("-1", "2", HUGE)),
    (YOLO, "--epoch", ("-1", "2", HUGE)),
    (COCO, "--jobs", ("0", "-2")),
    (TRAIN, "--epochs", ("-1", "0", "1000000000", HUGE)),
    (TRAIN, "--batch-size", ("-1", "0", "1000000000", HUGE)),
    (TRAIN, "--max-steps", ("-1", "0")),
    (TRAIN, "--workers", ("-1", "100000", HUGE)),
    (TRAIN, "--accumulate", ("-1", "0")),
    (TRAIN, "--seed", (HUGE, f"-{HUGE}")),
    (PROPOSE, "--per-scale", ("-1", "0")),
    (PREVIEW, "--count", ("-1", "0")),
    (("demo --out d", "empty"), "--seed", ("-1", HUGE)),
)
REALS: tuple[tuple[tuple[str, str], str, tuple[str, ...]], ...] = (
    (MINE, "--nms", ("-0.1", "0", "1.01", "1e999", "nan", "inf", "-inf")),
    (COCO, "--val-share", ("-0.1", "1", "1e999", "nan", "inf", "-inf")),
    (YOLO, "--val-share", ("-0.1", "1", "nan")),
    (TRAIN, "--lr", ("-0.1", "0", "nan", "inf", "-inf", "1e999")),
    (TRAIN, "--ema", ("-0.1", "0", "1", "nan", "inf", "-inf")),
    (PREDICT, "--score-floor", ("-0.1", "1.5", "nan", "inf", "-inf")),
    (PREDICT, "--focus", ("-0.1", "1.5", "nan", "inf")),
)
TEXTS: tuple[tuple[tuple[str, str], str, dict[str, str]], ...] = (
    (
        BUILD,
        "--scales",
        {
            "empty": '""',
            "text": "big",
            "zero": "0,1,2",
            "negative": "'-512,1,2'",
            "nan": "nan,1,2",
            "infinite": "inf,1,2",
            "overflow": "1e999,1,2",
            "beyond the largest canvas": "1e9,1,2",
            "a comma too many": "512,,3",
            "three parts": "800:1280:2,1,2",
            "cap below the side": "800:600,1,2",
            "NUL-like": "512%00,1,2",
        },
    ),
    (
        BUILD,
        "--valid-ranges",
        {
            "empty": '""',
            "text": "a:b,c:d,e:f",
            "no colon": "120,32,80",
            "too few": "120:,32:150",
            "too many": "120:,32:150,:80,:40",
            "backwards": "120:,150:32,:80",
            "negative": "'-5:,32:150,:80'",
            "nan": "nan:,32:150,:80",
            "fine to coarse": ":80,32:150,120:",
        },
    ),
    (
        BUILD,
        "--stride",
        {
            "empty": '""',
            "text": "wide",
            "zero": "0",
            "negative": "'-32'",
            "backwards": "59-56",
            "half a range": "56-",
            "fraction": "32.5",
            "over the chip": "600",
            "nan": "nan",
            "huge": HUGE,
        },
    ),
    (BUILD, "--placement", {"unknown": "spiral", "empty": '""'}),
    (BUILD, "--backend", {"unknown": "spark", "dask without a scheduler": "dask"}),
    (BUILD, "--scheduler", {"without dask": "tcp://127.0.0.1:1"}),
    (MINE, "--min-proposals", {"zero": "0 0", "negative": "'-1' 3", "one number": "3", "text": "a b"}),
    (EXPORT, "--subsampling", {"unknown": "4:1:1", "empty": '""'}),
    (EXPORT, "--exif", {"unknown": "maybe"}),
    (EXPORT, "--layout", {"unknown": "heap"}),
    (EXPORT, "--on-error", {"unknown": "ignore"}),
    (TRAIN, "--model", {"unknown": "yolo", "empty": '""'}),
    (TRAIN, "--precision", {"unknown": "int8"}),
    (
        TRAIN,
        "--device",
        {
            "unknown": "toaster",
            "empty": '""',
            "no GPU": "cuda",
            "not a number": "cuda:x",
            "without memory": "meta",
            "nul": "cpu%00",
        },
    ),
    (
        TRAIN,
        "--name",
        {
            "empty": '""',
            "leads out": "../../../out",
            "absolute": "/tmp/chipper-bad-run",
            "a dot": ".",
            "two dots": "..",
            "with a slash": "a/b",
            "with a newline": "'a\nb'",
        },
    ),
    (PREDICT, "--device", {"unknown": "toaster", "empty": '""', "without memory": "meta"}),
    (PREDICT, "--scales", {"empty": '""', "text": "x", "two for three ranges": "512,1"}),
    (PREDICT, "--valid-ranges", {"empty": '""', "text": "x", "two for three scales": "40:,:80"}),
    (PROPOSE, "--method", {"unknown": "oracle"}),
    (PROPOSE, "--scales", {"empty": '""', "text": "x"}),
    (PREVIEW, "IMAGE_IDS", {"text for an id": "first", "an id that is not there": "12345", "a huge id": HUGE}),
)
USAGE = (
    ("unknown command", "build-chips coco.json", ("build-chips",)),
    ("unknown option", "plan coco.json --turbo", ("--turbo",)),
    ("option without its value", "plan coco.json --scales", ("--scales",)),
    ("flag with a value", "plan coco.json --suggest=yes", ("--suggest",)),
    ("too many arguments", "plan coco.json other.json", ("other.json",)),
    ("no COCO file named, plan", "plan", ("COCO",)),
    ("no COCO file named, build-positives", "build-positives", ("COCO",)),
    ("no COCO file named, predict", "predict", ("COCO",)),
    ("no COCO file named, evaluate", "evaluate", ("COCO",)),
    ("no proposals named", "mine-negatives", ("--proposals",)),
    ("no folder named, export-coco", "export-coco", ("--out",)),
    ("no folder named, export-yolo", "export-yolo", ("--out",)),
    ("an option of another command", "verify --quality 90", ("--quality",)),
    ("a shortened option", "export-shards --qualit 90", ("--qualit",)),
    ("a dash too few", "build-positives coco.json -scales 512", ("-s",)),
)


def _numbers() -> Iterator[Case]:
    for integer, table in ((True, INTEGERS), (False, REALS)):
        for (words, start), option, values in table:
            kinds = {value: value for value in values} | NOT_NUMBERS
            if integer:
                kinds |= {"nan": "nan", "fraction": "1.5"}
            for kind, value in kinds.items():
                yield _case(words, start, option, kind, value)


def _texts() -> Iterator[Case]:
    for (words, start), option, values in TEXTS:
        for kind, value in values.items():
            yield _case(words, start, option, kind, value)


def _case(words: str, start: str, option: str, kind: str, value: str) -> Case:
    command = words.split()[0]
    shown = "huge" if kind == HUGE else "hugely negative" if kind == f"-{HUGE}" else kind
    if option == "IMAGE_IDS":
        return Case(
            f"{command} {option}: {shown}",
            f"{words} {value}",
            ("mage",) if not kind.startswith("text") else (option,),
            start=start,
            code=2,
        )
    name = f"{command} {option}: {shown}"
    written = f"{option}={value}" if len(value.split()) < 2 or "'" in value[:1] else f"{option} {value}"
    return Case(name, f"{words} {written}", (option,), start=start, code=2)


def _usage(name: str, words: str, says: tuple[str, ...]) -> Case:
    return Case(name, words, says, start="data", code=2)


CASES = [*_numbers(), *_texts(), *starmap(_usage, USAGE)]
