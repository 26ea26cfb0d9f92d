"""The message for wrong usage: one line, like every other error."""

from __future__ import annotations

import click

from chipper.errors import one_line

LISTS = "write lists with commas and without spaces, as in --scales 512,1.667,3"


def usage_message(error: click.ClickException) -> str:
    """Click's message for ``error`` in one line, with the help text of a missing option and the ``--help`` command."""
    message = " ".join(error.format_message().split()).rstrip(".")
    message = message[:1].lower() + message[1:]
    if isinstance(error, click.MissingParameter) and isinstance(error.param, click.Option) and error.param.help:
        message = f"{message} ({error.param.help.rstrip('.')})"
    if "extra argument" in message:
        message = f"{message}; {LISTS}"
    context = getattr(error, "ctx", None)
    if "--help" not in message:
        message = f"{message}; see `{context.command_path if context else 'chipper'} --help`"
    return one_line(message)
