"""--config files, --json and other options of all commands."""

from __future__ import annotations

from .case import Case
from .damage import a_fifo, a_folder, content

BUILD = "build-positives coco.json --jobs 1 --config c.yaml"
FILES: tuple[tuple[str, str | bytes, str], ...] = (
    ("no YAML", "scales: [", "not YAML"),
    ("a list", "- scales\n", "mapping"),
    ("a word", "scales\n", "mapping"),
    ("not text", b"\xff\xfe\x00\xd8\x80", "c.yaml"),
    ("NUL bytes", b"scales: 5\x0012\n", "not YAML"),
    ("a tab", "build-positives:\n\tscales: 512\n", "not YAML"),
    ("a program", "!!python/object/apply:os.system ['touch code-ran']\n", "YAML"),
    ("an unknown option", "scalez: 512\n", "meant?"),
    ("an unknown command", "build-positive: {seed: 1}\n", "is build-positives meant?"),
    ("another command's option", "build-positives: {quality: 90}\n", "quality"),
    ("a command without options", "build-positives: 7\n", "indented"),
    ("a mapping for a value", "seed: {a: 1}\n", "seed"),
    ("lists in a list", "scales: [[512], [3]]\n", "scales"),
    ("a seed of words", "seed: first\n", "--seed"),
    ("a negative stride", "stride: -32\n", "--stride"),
    ("a flag of words", "masks: perhaps\n", "--masks"),
    ("an option of a number", "7: 8\n", "7"),
    ("a config in the config", "config: other.yaml\n", "config"),
    ("a mapping for a key", "{a: 1}: 2\n", "c.yaml"),
    ("deep nesting", "a: " + "[" * 20_000, "YAML"),
    ("an alias of itself", "scales: &a [*a]\n", "c.yaml"),
    ("ten thousand options", "".join(f"o{k}: 1\n" for k in range(10_000)), "o0"),
)
COMMANDS = (
    "export-shards --jobs 1",
    "mine-negatives --proposals rpn.pkl",
    "verify",
    "preview",
    "report",
    "plan coco.json",
    "doctor",
)
CASES = [
    *(Case(f"config: {what}", BUILD, (says,), content("c.yaml", text), "data", 2) for what, text, says in FILES),
    *(
        Case(
            f"config of {line.split()[0]}: none there",
            f"{line} --config c.yaml",
            ("c.yaml", "does not exist"),
            None,
            "built",
            2,
        )
        for line in COMMANDS
    ),
    Case("config: a folder", BUILD, ("c.yaml", "folder"), a_folder("c.yaml"), "data", 2),
    Case("config: a named pipe", BUILD, ("c.yaml",), a_fifo("c.yaml"), "data", 2),
    Case("config: empty name", "plan coco.json --config ''", ("--config",), None, "data", 2),
    Case(
        "config: from the environment, none there",
        "plan coco.json",
        ("c.yaml",),
        None,
        "data",
        2,
        environment=(("CHIPPER_CONFIG", "c.yaml"),),
    ),
    Case("both quiet and verbose", "plan coco.json --quiet --verbose", ("exclude each other",), None, "data", 2),
    Case("completion: a shell that there is not", "completion tcsh", ("tcsh",), None, "empty", 2),
    Case("completion: no shell", "completion", ("bash",), None, "empty", 2),
    Case("report: no workdir", "report", ("build-positives",), None, "data"),
    Case("report: --out a folder", "report --out images", ("--out",), None, "built", 2),
    Case("report: --out in a file", "report --out coco.json/r.html", ("coco.json",), None, "built"),
    Case("report: a workdir of rubbish", "report", ("dataset.json",), content("chips/dataset.json", "{"), "built"),
    Case(
        "report: a part that is cut",
        "report",
        ("part-00000.parquet",),
        content("chips/images/part-00000.parquet", b"PAR1"),
        "built",
    ),
    Case(
        "report: metrics of rubbish",
        "report",
        ("Report in",),
        content("chips/runs/detector/metrics.jsonl", b"\xff{"),
        "trained",
        0,
    ),
    Case(
        "report: an evaluation of rubbish",
        "report",
        ("Report in",),
        content("chips/runs/detector/evaluation.json", b"{"),
        "trained",
        0,
    ),
    Case("preview: a scale that there is not", "preview --scale 7", ("--scale",), None, "built", 2),
    Case("preview: no proposals there", "preview --proposals p.pkl", ("p.pkl",), None, "mined"),
    Case(
        "evaluate: a run that there is not",
        "evaluate coco.json detections.json --run nobody",
        ("nobody",),
        None,
        "trained",
    ),
]
