"""Read and write YAML: only plain values, and no more of them than the text has room for."""

from __future__ import annotations

from typing import Any

import yaml

_PLENTY = 100_000
"""Values that any file may have. An alias (``*name``) stands for all values of what it names, and these can nest."""


class YamlError(ValueError):
    """The text cannot be used as YAML."""


def read_yaml(data: bytes, *, as_text: bool = False) -> Any:
    """The content of a YAML file.

    Args:
        data: the file's bytes.
        as_text: every scalar stays text, as on the command line; otherwise YAML 1.1 decides, which reads 32:50 as 1970.

    Raises:
        YamlError: it is not YAML, or its aliases make it large or endless.
    """
    try:
        loader = (yaml.BaseLoader if as_text else yaml.SafeLoader)(data)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _values(node, {}) > max(_PLENTY, len(data)):
                raise YamlError("its aliases stand for too many values; write them out")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise YamlError("it is nested too deeply") from None
    except YamlError:
        raise
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise YamlError(where + " ".join(str(what).split())[:200]) from None


def as_yaml_text(text: str) -> str:
    """``text`` as a YAML scalar in quotes, on one line."""
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=2**31)).removesuffix("\n")


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """The number of values of a node with all aliases written out."""
    if id(node) not in known:
        known[id(node)] = -1
        inside: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            inside = node.value
        elif isinstance(node, yaml.MappingNode):
            inside = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_values(part, known) for part in inside)
    if known[id(node)] < 0:
        raise YamlError("an alias stands for something that it is a part of")
    return known[id(node)]
