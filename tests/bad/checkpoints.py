"""Runs: checkpoints and run.json that are damaged, edited, of another model, or made to run code; weights for a backbone."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .case import Case
from .damage import GONE, Damage, a_fifo, a_folder, a_link, content, cut, edited, flip, found, gone
from .pickles import malicious

CHECKPOINT, CONFIG = "chips/runs/detector/checkpoint-*.pt", "chips/runs/detector/run.json"
PREDICT = "predict coco.json --device cpu --run detector --score-floor 0.9 --single-scale --out o.json"
PROPOSE = "propose --device cpu --out o.pkl"
RESUME = "train --model tiny --device cpu --batch-size 2 --max-steps 2 --resume"
WEIGHTS = "train --model mobilenet_v2 --device cpu --batch-size 2 --max-steps 1 --name new --weights weights.pt"
ANOTHER = "train --model tiny --device cpu --batch-size 2 --max-steps 2 --name new --weights weights.pt"


def saved(change: Callable[[dict[str, Any]], Any]) -> Damage:
    """Replace the content of the checkpoint by ``change`` of it."""

    def make(folder: Path) -> None:
        import torch

        path = found(folder, CHECKPOINT)
        held = torch.load(path, map_location="cpu", weights_only=True)
        torch.save(change(held), path)

    return make


def put(**values: Any) -> Damage:
    """The checkpoint has other values; keys as for `damage.edited`."""

    def change(held: dict[str, Any]) -> dict[str, Any]:
        for key, value in values.items():
            *ways, last = key.split("__")
            place = held
            for way in ways:
                place = place[way]
            if value is GONE:
                del place[last]
            else:
                place[last] = value
        return held

    return saved(change)


def _tensors(change: Callable[[Any], Any]) -> Damage:
    """Replace one tensor of the model."""

    def make(held: dict[str, Any]) -> dict[str, Any]:
        name = next(key for key, value in held["model"].items() if value.is_floating_point())
        held["model"][name] = change(held["model"][name])
        return held

    return saved(make)


def zipped(stream: bytes, name: str = CHECKPOINT) -> Damage:
    """A file as torch.save writes it, whose pickle is ``stream``."""

    def make(folder: Path) -> None:
        path = found(folder, name)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            for part, data in (
                ("data.pkl", stream),
                ("byteorder", b"little"),
                ("version", b"3\n"),
                ("data/0", bytes(64)),
            ):
                file.writestr(f"archive/{part}", data)
        path.write_bytes(buffer.getvalue())

    return make


def _bomb(folder: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", b"\x80\x02" + bytes(200_000_000))
        file.writestr("archive/version", b"3\n")
    found(folder, CHECKPOINT).write_bytes(buffer.getvalue())


def _state_dict(folder: Path) -> None:
    import torch

    torch.save({"conv1.weight": torch.zeros(3)}, found(folder, CHECKPOINT))


def _module(folder: Path) -> None:
    import torch

    torch.save(torch.nn.Linear(2, 2), found(folder, CHECKPOINT))


FILES: dict[str, Damage] = {
    "missing": gone(CHECKPOINT),
    "zero bytes": content(CHECKPOINT, b""),
    "text": content(CHECKPOINT, "a checkpoint"),
    "NUL bytes": content(CHECKPOINT, bytes(5000)),
    "a JPEG": content(CHECKPOINT, b"\xff\xd8\xff\xe0" + bytes(500)),
    "an empty ZIP": content(CHECKPOINT, b"PK\x05\x06" + bytes(18)),
    "cut to a tenth": cut(CHECKPOINT, 0.1),
    "cut in the middle": cut(CHECKPOINT, 0.5),
    "without its last byte": cut(CHECKPOINT, 0.9999999),
    "a byte of its directory": flip(CHECKPOINT, 0.999),
    "a folder": a_folder(CHECKPOINT),
    "a named pipe": a_fifo(CHECKPOINT),
    "a link to itself": lambda folder: a_link(CHECKPOINT, found(folder, CHECKPOINT).name)(folder),
    "a ZIP that unpacks to 200 MB of zeros": _bomb,
    "a state dict of torchvision": _state_dict,
    "a whole module, pickled": _module,
    "a number": saved(lambda _: 7),
    "None": saved(lambda _: None),
    "an empty dict": saved(lambda _: {}),
    "a list": saved(lambda held: [held]),
}
FIELDS: dict[str, Damage] = {
    "a format of the future": put(format=2),
    "no format": put(format=GONE),
    "a format that is a word": put(format="1"),
    "no identity": put(identity=GONE),
    "an identity that is a word": put(identity="tiny"),
    "an identity that is empty": put(identity={}),
    "no model in the identity": put(identity__model=GONE),
    "an unknown model": put(identity__model="yolo"),
    "a model that is a number": put(identity__model=7),
    "a model that is a list": put(identity__model=["tiny"]),
    "another model": put(identity__model="mobilenet_v2"),
    "classes that are none": put(identity__class_ids=[], identity__class_names=[]),
    "classes that are a number": put(identity__class_ids=3),
    "classes that are null": put(identity__class_names=None),
    "more classes than weights": put(identity__class_ids=[3, 7, 9], identity__class_names=["a", "b", "c"]),
    "more ids than names": put(identity__class_ids=[3, 7, 9]),
    "ids that are words": put(identity__class_ids=["a", "b"]),
    "a chip size of 0": put(identity__chip_size=0),
    "a chip size that is a word": put(identity__chip_size="large"),
    "a chip size beyond all": put(identity__chip_size=10**9),
    "masks that it has not": put(identity__masks=True),
    "no model": put(model=GONE),
    "a model that is null": put(model=None),
    "a model that is empty": put(model={}),
    "a model of words": put(model={"a": "b"}),
    "a tensor of another shape": _tensors(lambda t: t[:1]),
    "a tensor that is a number": _tensors(lambda t: 7),
    "progress that is gone": put(progress=GONE),
    "progress that is a word": put(progress="done"),
    "a step that is a word": put(progress__step="one"),
    "a part more": put(colour="red"),
}
# read only by --resume
RESUMED: dict[str, Damage] = {
    "no optimizer": put(optimizer=GONE),
    "an optimizer that is empty": put(optimizer={}),
    "an optimizer that is a list": put(optimizer=[]),
    "an optimizer of other groups": put(optimizer__param_groups=[]),
    "random states that are empty": put(rng={}),
    "random states that are words": put(rng={"python": "x", "torch": "y", "cuda": "z"}),
    "a negative step": put(progress__step=-5),
    "a position beyond all": put(progress__position=-(10**9)),
    "an epoch that is negative": put(progress__epoch=-1),
    "other classes": put(identity__class_names=["square", "circle"]),
    "other ids": put(identity__class_ids=[1, 2]),
    "another chip size": put(identity__chip_size=128),
    "the RPN alone": put(rpn_only=True),
    "a stem that is a word": put(stem_frozen="yes"),
}
CONFIGS: dict[str, Damage] = {
    "missing": gone(CONFIG),
    "zero bytes": content(CONFIG, b""),
    "cut": cut(CONFIG, 0.5),
    "no JSON": content(CONFIG, "run"),
    "not UTF-8": content(CONFIG, b'{"a": "\xff"}'),
    "a list": content(CONFIG, "[]"),
    "an empty object": content(CONFIG, "{}"),
    "100,000 brackets": content(CONFIG, "[" * 100_000),
    "nested deeply": content(CONFIG, '{"training": {"a": ' + "[" * 100_000),
    "a folder": a_folder(CONFIG),
    "a named pipe": a_fifo(CONFIG),
    "options that are a list": edited(CONFIG, positive_options=[]),
    "options that are empty": edited(CONFIG, positive_options={}),
    "options that nobody knows": edited(CONFIG, positive_options__turbo=1),
    "scales that are a number": edited(CONFIG, positive_options__scales=512),
    "scales that are none": edited(CONFIG, positive_options__scales="x"),
    "ranges for other scales": edited(CONFIG, positive_options__valid_ranges=":"),
    "a chip size of 0": edited(CONFIG, positive_options__chip_size=0),
    "training that is null": edited(CONFIG, training=None),
}
TORCH_GADGETS = {
    "torch's own loader": b"\x80\x02ctorch.serialization\nload\n(X\x0a\0\0\0weights.ptt" + b"R.",
    "torch.hub": b"\x80\x02ctorch.hub\nload\n(X\x01\0\0\0.X\x01\0\0\0atR.",
    "a tensor beyond its storage": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tQK\0(M\xff\xffM\xff\xfft(K\x01K\x01t\x89ccollections\nOrderedDict\n)RtR.",
    "a tensor at a negative offset": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tQJ\xf0\xff\xff\xff(K\x01t(K\x01t\x89ccollections\nOrderedDict\n)RtR.",
    "a storage that is not there": b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x03\0\0\0../X\x03\0\0\0cpuK\x10tQ.",
}


def _cases() -> list[Case]:
    cases = []
    for kind, make in {**FILES, **FIELDS}.items():
        cases.append(Case(f"checkpoint, predict: {kind}", PREDICT, ("chips/runs/detector",), make, "trained"))
    for kind, make in {**FILES, **FIELDS, **RESUMED}.items():
        if kind == "missing":
            continue  # then the run starts at its beginning
        cases.append(Case(f"checkpoint, train --resume: {kind}", RESUME, ("checkpoint-",), make, "trained"))
    for kind in ("zero bytes", "cut in the middle", "an unknown model", "an empty dict"):
        make = {**FILES, **FIELDS}[kind]
        cases.append(Case(f"checkpoint, propose: {kind}", PROPOSE, ("chips/runs/detector",), make, "trained"))
    for kind, make in CONFIGS.items():
        cases.append(Case(f"run.json: {kind}", PREDICT, ("run.json",), make, "trained"))
    streams = malicious()
    chosen = [
        kind
        for kind in streams
        if "fickling" in kind or ", GLOBAL" not in kind or "os.system" in kind or "runpy" in kind
    ]
    for kind in chosen:
        cases.append(
            Case(f"evil checkpoint, predict: {kind}", PREDICT, ("checkpoint-",), zipped(streams[kind]), "trained")
        )
    for kind in [*chosen[::6], *TORCH_GADGETS]:
        stream = {**streams, **TORCH_GADGETS}[kind]
        cases.append(
            Case(f"evil checkpoint, train --resume: {kind}", RESUME, ("checkpoint-",), zipped(stream), "trained")
        )
        cases.append(
            Case(
                f"evil weights, train --weights: {kind}",
                WEIGHTS,
                ("weights.pt",),
                zipped(stream, "weights.pt"),
                "exported",
            )
        )
        cases.append(
            Case(
                f"evil weights, not zipped: {kind}", WEIGHTS, ("weights.pt",), content("weights.pt", stream), "exported"
            )
        )
    return cases


CASES = [
    *_cases(),
    Case("weights: missing", WEIGHTS, ("weights.pt",), None, "exported"),
    Case("weights: a folder", WEIGHTS, ("weights.pt",), a_folder("weights.pt"), "exported"),
    Case("weights: a named pipe", WEIGHTS, ("weights.pt",), a_fifo("weights.pt"), "exported"),
    Case("weights: zero bytes", WEIGHTS, ("weights.pt",), content("weights.pt", b""), "exported"),
    Case("weights: text", WEIGHTS, ("weights.pt",), content("weights.pt", "weights"), "exported"),
    Case("weights: JSON", WEIGHTS, ("weights.pt",), content("weights.pt", json.dumps({"a": 1})), "exported"),
    Case(
        "weights: a checkpoint of chipper",
        WEIGHTS,
        ("weights.pt",),
        lambda folder: (folder / "weights.pt").write_bytes(found(folder, CHECKPOINT).read_bytes()),
        "trained",
    ),
    Case("weights: an empty word", WEIGHTS.replace("weights.pt", '""'), ("torchvision state dict",), None, "exported"),
    Case(
        "a run that is there already",
        RESUME.replace(" --resume", ""),
        ("already holds a run", "resume"),
        None,
        "trained",
    ),
    Case("a run with another model", RESUME.replace("tiny", "mobilenet_v2"), ("tiny", "mobilenet_v2"), None, "trained"),
    Case("a run that is not there", PREDICT.replace("detector", "other"), ("other", "--run"), None, "trained"),
    Case("a run that leads elsewhere", PREDICT.replace("detector", "../.."), ("--run",), None, "trained", code=2),
    Case(
        "no run at all", PREDICT.replace("--run detector ", ""), ("chips/runs", "train"), gone("chips/runs"), "trained"
    ),
    Case("a run that never got to a checkpoint", PROPOSE, ("chips/runs", "train"), gone(CHECKPOINT), "trained"),
    Case(
        "masks of chips without",
        "train --model tiny --device cpu --name n --max-steps 1 --masks --workdir w",
        ("w",),
        None,
        "trained",
    ),
    Case(
        "focus of a model without",
        f"{PREDICT} --focus 0.5".replace(" --single-scale", ""),
        ("focus",),
        None,
        "trained",
        2,
    ),
]
