"""Coverage-guided fuzzing: arbitrary bytes in, nothing but chipper's own errors out.

Each target is a module with ``seeds()``, valid inputs made in code, and ``target(data)``, which raises AssertionError where
something was accepted that cannot be, and lets every exception through that is not chipper's. `python -m tests.fuzz` mutates the
seeds under atheris; `tests/test_fuzz.py` replays them, with past findings, without it.
"""

TARGETS = ("annotations", "proposals", "shards", "images", "runs", "yaml")
"""Their modules import chipper, which has to wait until atheris is there to instrument it."""
