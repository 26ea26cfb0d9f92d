"""The ``chipper`` command."""

from __future__ import annotations

import difflib
import importlib
import logging
import sys
import traceback

import click

from chipper import __version__
from chipper.cli.interrupts import INTERRUPTED, stop_in_order_then_at_once
from chipper.cli.session import Session
from chipper.cli.usage import usage_message
from chipper.errors import ChipperError

COMMANDS = {
    "plan": "plan",
    "build-positives": "mining",
    "mine-negatives": "mining",
    "export-shards": "shards",
    "verify": "shards",
    "export-coco": "chip_sets",
    "export-yolo": "chip_sets",
    "import-voc": "importing",
    "import-yolo": "importing",
    "import-visdrone": "importing",
    "import-dota": "importing",
    "train": "training",
    "propose": "inference",
    "predict": "inference",
    "evaluate": "inference",
    "preview": "preview",
    "report": "report",
    "demo": "demo",
    "completion": "completion",
    "doctor": "doctor",
}
"""Command and the module of chipper.cli that defines it; a module is imported when its command is used."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown one, the error names the most similar command."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            meant = f"is {near[0]} meant?" if near else "see `chipper --help`"
            ctx.fail(f"there is no command {args[0]!r}; {meant}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"chipper.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="chipper")
@click.option("--debug", is_flag=True, envvar="CHIPPER_DEBUG", help="Show the traceback of an error.")
@click.pass_context
def main(context: click.Context, debug: bool) -> None:
    """Chips for SNIPER training: mine them from COCO annotations, render them into shards, train on them.

    \b
    chipper build-positives coco.json --scales 512,1.667,3
    chipper mine-negatives --proposals rpn.pkl
    chipper export-shards
    chipper train --shards

    Exit codes: 0 done, 1 an error, 2 wrong usage, 3 done with skipped items, 75 a server cannot be read now.
    """
    context.ensure_object(Session).debug |= debug


class _Warnings(logging.Handler):
    """Sends logged warnings where a command's own warnings go: standard error, the run's log and --json."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        from chipper.cli.console import ConsoleMonitor  # rich is slow to import

        ConsoleMonitor(self._session).warn(self.format(record))


def run() -> None:
    """Run the command line and exit. Every error that a user can cause is printed as one line."""
    stop_in_order_then_at_once()
    # an error may occur before these are parsed
    session = Session(as_json="--json" in sys.argv, debug="--debug" in sys.argv)
    logging.basicConfig(format="%(message)s", level=logging.WARNING, handlers=[_Warnings(session)])
    try:
        code = main(prog_name="chipper", standalone_mode=False, obj=session)
    except ChipperError as error:
        code = _fail(session, error, error.told(session.flag), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = 2
    except click.ClickException as error:
        code = _fail(session, error, usage_message(error), error.exit_code, "UsageError")
    except (click.Abort, KeyboardInterrupt) as error:
        said = str(error.__cause__ or error)  # click turns a KeyboardInterrupt into an Abort
        code = _fail(
            session, error, said or "interrupted; complete files are kept, run the same command again", INTERRUPTED
        )
    except ModuleNotFoundError as error:
        code = _fail(session, error, *_missing(error))
    except BrokenPipeError:
        code = 141
    except MemoryError as error:
        code = _fail(session, error, "out of memory; lower --jobs or --batch-size", 1)
    except Exception as error:
        code = _fail(session, error, _unforeseen(session, error), 1)
    sys.exit(code if isinstance(code, int) else 0)


def _missing(error: ModuleNotFoundError) -> tuple[str, int]:
    name = (error.name or "").partition(".")[0]
    if name in ("torch", "torchvision", "tensorboard"):
        return f"this command needs {name}, which is not installed; run: pip install 'sniper-chipper[train]'", 1
    return f"the package {name} is not installed; run: pip install --force-reinstall sniper-chipper", 1


def _unforeseen(session: Session, error: Exception) -> str:
    """The message for a bug in chipper; its traceback goes to the log."""
    session.log.write(traceback.format_exc())
    where = f"the traceback is in {session.log.path}" if session.log.path else "--debug shows the traceback"
    what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return f"a bug in chipper ({what}); {where}: please report it"


def _fail(session: Session, error: BaseException, message: str, code: int, kind: str | None = None) -> int:
    if session.debug:
        traceback.print_exc()
    session.end(code, {"type": kind or type(error).__name__, "message": message})
    click.echo(f"chipper: error: {message}", err=True)
    return code


if __name__ == "__main__":
    run()
