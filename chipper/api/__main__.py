"""The page of the Python API: ``python -m chipper.api`` prints docs/api.md."""

from __future__ import annotations

import inspect
from typing import Any

import chipper

HEAD = """# Python API

Made by `python -m chipper.api`; a test keeps it up to date. These names are what `import chipper` offers. Options have the
defaults of the [commands](commands.md). Progress is not shown: give a `monitor`, or turn on Python's logging. Warnings are
always logged.

    import chipper

    workdir = chipper.build_positives("coco.json", scales="512,1.667,3")
    chipper.mine_negatives("rpn.pkl", workdir)
    chipper.export_shards(workdir)
    for chip in chipper.iterate_chips(workdir, epoch=0):
        print(chip.image.size, chip.boxes, chip.category_ids, chip.valid)

`examples/quickstart.ipynb` in the repository shows all of it in a notebook, where plans, workdirs,
chips and pictures show themselves.
"""


def document() -> str:
    """All public names with their options, as Markdown for mkdocstrings."""
    parts = [HEAD]
    for name, module in chipper.NAMES.items():
        found = getattr(chipper, name)
        parts.append(f"## chipper.{name}\n")
        if not inspect.isclass(found):
            parts.append(_signature(name, found))
        parts.append(
            f"::: {module}.{name}\n    options:\n      show_root_heading: false\n      show_signature: false\n"
        )
    return "\n".join(parts)


def _signature(name: str, function: Any) -> str:
    """The call, one option a line; the options follow those that the function itself describes."""
    lines = []
    for parameter in inspect.signature(function).parameters.values():
        given = "" if parameter.default is parameter.empty else f"={_shown(parameter.default)}"
        lines.append(f"    {parameter.name}{given},")
    return "\n".join([f"    chipper.{name}(", *(f"    {line}" for line in lines), "    )\n"])


def _shown(value: object) -> str:
    """A default as it is typed; of objects of chipper the name of their class alone."""
    return f"{type(value).__name__}()" if type(value).__module__.startswith("chipper") else repr(value)


if __name__ == "__main__":
    print(document(), end="")
