"""The settings of numba for all kernels.

Kernels release the GIL, so they can run in threads. They are compiled once per machine and kept in numba's cache (next to the
source, or in the user's cache if that folder is read-only), which saves each command 2 to 3 s. numba writes cache files under
temporary names and renames them, so processes can start at the same time on an empty cache
(tests/kernels/test_accelerate.py). numba does not detect changes in other files than the kernel's own, so a kernel calls only
kernels of its own file.
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
