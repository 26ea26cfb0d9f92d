"""What all commands share: --config, --json, --verbose, --quiet, --debug, and a log in the workdir."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from chipper.cli.config import as_yaml, defaults_from, keep_options, names_of, options_of
from chipper.cli.options import Place
from chipper.cli.run_log import RunLog
from chipper.cli.session import Session
from chipper.manifest.workdir import Workdir

SKIPPED_ITEMS = 3
"""Exit code of a command that finished but skipped items."""


def _read_config(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Use the file's options as this command's defaults."""
    if path is None:
        return
    group = context.find_root().command
    assert isinstance(group, click.Group)
    commands = group.list_commands(context)
    every = [group.get_command(context, name) for name in commands]
    known = {name for command in every if command for option in command.params for name in names_of(option)}
    given = defaults_from(path, context.command, commands, known - {"config"})
    context.default_map = {**(context.default_map or {}), **given}


def _hear(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Store --verbose, --quiet, --json or --debug in the session."""
    session = context.find_object(Session)
    if value and session is not None:
        setattr(session, str(parameter.name), True)
        if session.quiet and session.verbose:
            raise click.UsageError("--quiet and --verbose exclude each other", context)


def _flag(*words: str, **settings: Any) -> click.Option:
    return click.Option(words, is_flag=True, is_eager=True, expose_value=False, callback=_hear, **settings)


_CONFIG = click.Option(
    ["--config"],
    type=Place(path_type=Path),
    envvar="CHIPPER_CONFIG",
    is_eager=True,  # before the options that it sets
    expose_value=False,
    callback=_read_config,
    help="YAML file of options; options on the command line override it.",
)
COMMON = (
    _CONFIG,
    _flag("-v", "--verbose", help="Print more: each part, shard and stage."),
    _flag("-q", "--quiet", help="Print only warnings and errors."),
    _flag("--json", "as_json", help="Print the summary as one JSON object."),
    _flag("--debug", envvar="CHIPPER_DEBUG", help="Show the traceback of an error."),
)
"""Options of every command."""


class Command(click.Command):
    """A command of chipper. It has a session while it runs; its log and its options are kept in the workdir."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params = [COMMON[0], *self.params, *COMMON[1:]]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        session = ctx.ensure_object(Session)
        session.command = str(ctx.info_name)
        session.flags = {str(p.name): max(p.opts, key=len) for p in self.params if isinstance(p, click.Option)}
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click's parser does not set it
            raise

    def invoke(self, ctx: click.Context) -> None:
        """Run the command. Exceptions pass through to `chipper.cli.main.run`, which ends the session."""
        session = ctx.ensure_object(Session)
        session.dry_run = bool(ctx.params.get("dry_run"))
        workdir: Workdir | None = ctx.params.get("workdir")
        options = options_of(ctx)
        if workdir is not None and not session.dry_run:
            session.log = RunLog(workdir.path.absolute(), session.command)
            session.log.begin(as_yaml(session.command, options))
        code = 0
        try:
            super().invoke(ctx)
        except click.exceptions.Exit as ended:
            code = ended.exit_code
        if code == 0 and session.skipped:
            code = SKIPPED_ITEMS
        writes = any(parameter.name == "dry_run" for parameter in self.params)
        if (
            workdir is not None
            and workdir.path.is_dir()
            and writes
            and not session.dry_run
            and code in (0, SKIPPED_ITEMS)
        ):
            keep_options(workdir.path, session.command, options)
        session.end(code)
        ctx.exit(code)


command = functools.partial(click.command, cls=Command)
"""``click.command`` for a `Command`."""
