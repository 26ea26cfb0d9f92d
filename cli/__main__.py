"""``python -m chipper.cli`` prints docs/commands.md, the page of all commands."""

from __future__ import annotations

import inspect

import click

from chipper.cli.command import COMMON
from chipper.cli.main import COMMANDS, main

HEAD = """# Commands

Made by `python -m chipper.cli`; a test keeps it up to date. The options of all commands (`--config`, `--json`, `--quiet`,
`--verbose`, `--debug`) are explained in [The command line](command-line.md).
"""


def document() -> str:
    """All commands with their options, as Markdown."""
    context = click.Context(main, info_name="chipper")
    pages = []
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        pages.append(_page(command, click.Context(command, info_name=f"chipper {name}", parent=None)))
    return HEAD + "".join(pages)


def _page(command: click.Command, context: click.Context) -> str:
    usage = " ".join(command.collect_usage_pieces(context))
    paragraphs = inspect.cleandoc(command.help or "").replace("\b\n", "").split("\n\n")
    said = [p if "Example:" not in p and "bash:" not in p else _block(p) for p in paragraphs]
    lines = [f"\n## {command.name}\n", f"Usage: `chipper {command.name} {usage}`\n", *(f"{p}\n" for p in said)]
    own = [p for p in command.params if isinstance(p, click.Option) and p not in COMMON]
    if own:
        lines += ["| option | default | |", "|---|---|---|", *(_row(option, context) for option in own), ""]
    return "\n".join(lines)


def _block(text: str) -> str:
    lines = [line.removeprefix("Example:").strip() for line in text.strip().splitlines()]
    return "\n".join(f"    {line}" for line in lines)


def _row(option: click.Option, context: click.Context) -> str:
    words = " ".join([*option.opts, *option.secondary_opts])
    if not option.is_flag:
        words += f" {option.make_metavar(context)}"
    shown, default = option.help or "", ""
    if "  [default: " in shown:
        shown, _, default = shown.partition("  [default: ")
        default = default.rstrip("]")
    elif option.required:
        default = "required"
    elif not option.is_flag:
        value = option.to_info_dict()["default"]
        default = " ".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)
    cells = (
        f"`{words}`".replace("|", "\\|"),
        default and (default if default == "required" else f"`{default}`"),
        shown,
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    print(document(), end="")
