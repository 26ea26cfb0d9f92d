"""``python -m tests.fuzz [TARGET ...] --seconds N`` fuzzes each target in turn; `make fuzz` does.

A finding ends its target with libFuzzer's report, and the input lies beside it as ``build/fuzz/TARGET/crash-...``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from . import TARGETS

OUT = Path("build/fuzz")
LARGEST = 65_536  # bytes of an input
HUNG = 20  # seconds, after which an input is a finding
MEMORY = 4096  # MB


def _one(name: str, seconds: int) -> int:
    """Fuzz one target in this process; atheris does not come back."""
    os.environ["NUMBA_DISABLE_JIT"] = "1"  # atheris and numba both rewrite functions
    import atheris

    with atheris.instrument_imports(include=["chipper", "PIL"]):
        import importlib

        module = importlib.import_module(f"{__package__}.{name}")
    folder = OUT / name
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(module.seeds()):
        (corpus / f"seed-{number:02d}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LARGEST}",
        "-len_control=0",  # seeds stay as long as they are: what is short is mostly refused at once
        "-reduce_inputs=0",
        f"-timeout={HUNG}",
        f"-rss_limit_mb={MEMORY}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], module.target)
    atheris.Fuzz()
    return 0


def main() -> int:
    """Each target in a process of its own, since one that has found something is over."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz chipper's readers.")
    parser.add_argument(
        "targets", nargs="*", default=[], metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default"
    )
    parser.add_argument("--seconds", type=int, default=120, help="for each target")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    unknown = [name for name in asked.targets if name not in TARGETS]
    if unknown:
        parser.error(f"there is no target {unknown[0]}; they are {', '.join(TARGETS)}")
    if asked.here:
        return _one(asked.targets[0], asked.seconds)
    failed = 0
    for name in asked.targets or TARGETS:
        print(f"== {name}, {asked.seconds} s", flush=True)
        words = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(asked.seconds), "--here"]
        failed += subprocess.run(words, check=False).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
