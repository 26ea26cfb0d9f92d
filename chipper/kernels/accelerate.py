"""The one place for numba's settings.

Kernels release the GIL, so threads share them. They are compiled once a machine and kept in numba's cache (beside the
source, or in the user's cache where that folder is read-only), which saves each command 2 to 3 s. numba writes the cache
under temporary names and renames; tests/test_accelerate.py starts processes at once on an empty cache. What numba
does not see is a change in another file than the kernel's, so a kernel calls only kernels of its own file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile ``function`` with numba in nopython mode, without the GIL."""
    compiled: Any = numba.njit(nogil=True, cache=True)(function)
    return cast(F, compiled)
