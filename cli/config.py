"""Read options from a YAML file, and write the options of a run as YAML.

    scales: 512,1.667,3          # for every command that has the option
    jobs: 4
    export-shards:               # for one command
      quality: 95

The command line overrides the environment, the environment overrides the file, and the file overrides the defaults.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import msgspec
import yaml

from chipper.errors import OptionError, without_secrets
from chipper.manifest.workdir import Workdir
from chipper.storage.files import atomic, read_bytes
from chipper.storage.locations import content as content_of
from chipper.storage.yaml_files import YamlError, read_yaml

OPTIONS = "options.yaml"
"""In the workdir: the options of the last run of each command, in the format that ``--config`` reads."""
_NOT_KEPT = {"config", "verbose", "quiet", "debug", "as_json", "dry_run", "workdir"}
_HOW = {"jobs", "backend", "scheduler", "device", "workers", "overwrite", "resume", "retry_errors"}
"""Options that say where and how a run works. They do not affect its result."""


def names_of(parameter: click.Parameter) -> set[str]:
    """The names that a file may use for an option, with underscores."""
    long = {word.lstrip("-").replace("-", "_") for word in parameter.opts if word.startswith("--")}
    return long or {str(parameter.name)}


def defaults_from(path: Path, command: click.Command, commands: Iterable[str], known: set[str]) -> dict[str, Any]:
    """The values in the file for ``command``, by parameter name.

    Args:
        path: the YAML file.
        command: the command that runs.
        commands: names of all commands.
        known: names of the options of all commands.

    Raises:
        OptionError: the file is not a YAML mapping, or names an unknown option.
    """
    content = _read(path)
    own, commands = str(command.name), set(commands)
    shared = {name: value for name, value in content.items() if name not in commands}
    section = content.get(own) or {}
    if not isinstance(section, dict):
        raise OptionError(f"{path}: {own} is {_short(section)}; give options below it, indented, as `name: value`")
    parameters = {name: p for p in command.params if p.name not in ("config", "help") for name in names_of(p)}
    found = {}
    for values, allowed, where in ((shared, known, ""), (section, set(parameters), f"{own}: ")):
        for name, value in values.items():
            plain = str(name).replace("-", "_")
            if plain not in allowed:
                near = difflib.get_close_matches(plain, [*allowed, *(() if where else commands)], 1)
                meant = f"; is {near[0].replace('_', '-')} meant?" if near else "; see `chipper COMMAND --help`"
                raise OptionError(f"{path}: {where}there is no option {name}{meant}")
            if plain in parameters:
                found[str(parameters[plain].name)] = _as_typed(path, where + str(name), value, parameters[plain])
    return found


def _read(path: Path) -> dict[str, Any]:
    data = read_bytes(path, OptionError, "--config", "give a YAML file")
    try:
        content = read_yaml(data, as_text=True)
    except YamlError as error:
        raise OptionError(f"{path} is not YAML ({error}); write `option: value` on each line") from None
    if content is None or content == "":
        return {}
    if not isinstance(content, dict):
        raise OptionError(f"{path} is not a YAML mapping; write `option: value` on each line")
    return content


def _as_typed(path: Path, name: str, value: Any, parameter: click.Parameter) -> Any:
    """The value as the command line would pass it."""
    several = parameter.nargs != 1 or getattr(parameter, "multiple", False)
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return value if several else ",".join(value)
    if isinstance(value, str):
        return value.split() if several else value
    raise OptionError(f"{path}: {name} is {_short(value)}; give one value, or a list of values")


def _short(value: Any) -> str:
    return msgspec.json.encode(value).decode()[:60]


def options_of(context: click.Context) -> dict[str, Any]:
    """The effective options of a command, with the names and values of the command line."""
    effective: dict[str, Any] = {}
    for parameter in context.command.params:
        if parameter.name in _NOT_KEPT or parameter.name == "help":
            continue
        value = context.params.get(str(parameter.name))
        if parameter.name == "shards" and not parameter.expose_value:  # its value is in the workdir object
            value = _elsewhere(context.params["workdir"])
        if value is None or value == ():
            continue
        if isinstance(value, tuple):
            value = [without_secrets(str(entry)) for entry in value]
        elif not isinstance(value, bool | int | float):
            value = without_secrets(str(value))
        long = [word.lstrip("-") for word in parameter.opts if word.startswith("--")]
        effective[long[0] if long else str(parameter.name)] = value
    return effective


def _elsewhere(workdir: Workdir) -> Path | None:
    """The place of the shards, or None if it is the default one."""
    return None if workdir.shards == workdir.path / "shards" else workdir.shards


def as_yaml(command: str, options: dict[str, Any]) -> str:
    """A command's options as `--config` reads them."""
    return str(yaml.safe_dump({command: options}, sort_keys=False, allow_unicode=True, width=1000))


def keep_options(workdir: Path, command: str, options: dict[str, Any]) -> None:
    """Write the options of a successful run to the workdir's options.yaml."""
    path = workdir / OPTIONS
    kept = {name: value for name, value in options.items() if name.replace("-", "_") not in _HOW}
    try:
        content = read_yaml(content_of(path))
    except (OSError, YamlError):
        content = None
    content = content if isinstance(content, dict) else {}  # the file does not exist yet, or is damaged
    content[command] = kept
    with atomic(path) as file:
        file.write(b"# the options of the last run of each command; `--config` reads this file\n")
        file.write(str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)).encode())
