"""chipper completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from chipper.cli.command import command

SHELLS = ("bash", "zsh", "fish")


@command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete chipper's commands and options.

    \b
    bash: chipper completion bash > ~/.local/share/bash-completion/completions/chipper
    zsh:  chipper completion zsh > ~/.zfunc/_chipper     (with ~/.zfunc in fpath)
    fish: chipper completion fish > ~/.config/fish/completions/chipper.fish

    \b
    Example: chipper completion bash
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "chipper", "_CHIPPER_COMPLETE").source())
