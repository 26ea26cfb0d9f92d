"""Show the options of the library in the signatures of functions that pass them on."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def defaults_of(function: Callable[..., Any], *without: str) -> dict[str, Any]:
    """The options of ``function``, or of an options class, with their defaults."""
    found = inspect.signature(function).parameters
    return {name: p.default for name, p in found.items() if p.default is not p.empty and name not in without}


def takes(options: Mapping[str, Any]) -> Callable[[F], F]:
    """Show ``options`` (name and default) as keywords of a function that accepts them as ``**options``.

    Help and completion then list every option, and each default is defined only once. An unknown name raises TypeError.
    """

    def decorate(function: F) -> F:
        own = inspect.signature(function)
        named = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in options.items()
        ]
        shown = own.replace(parameters=[*named, *more])

        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            shown.bind(*arguments, **keywords)  # raises TypeError
            return function(*arguments, **keywords)

        call.__signature__ = shown  # type: ignore[attr-defined]
        return cast(F, call)

    return decorate
