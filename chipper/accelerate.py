"""The one place for numba's settings.

Kernels release the GIL, so threads share them and each is compiled once a process. The cache stays off: with several
processes starting at once it is one more thing that can go wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile ``function`` with numba in nopython mode, without the GIL."""
    compiled: Any = numba.njit(nogil=True, cache=False)(function)
    return cast(F, compiled)
