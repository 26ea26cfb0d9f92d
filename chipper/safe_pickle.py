"""Pickles that hold numpy arrays and plain containers, and nothing else.

A pickle is a program. This unpickler knows no callables but those that rebuild numpy arrays, so a file that names anything
else is refused before it runs.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from chipper.errors import ProposalError

_NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_FRAME_MODULES = ("numpy.core.numeric", "numpy._core.numeric")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    # protocol 2 writes bytes as the call _codecs.encode(text, "latin1"); no other codec has a place in an array
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"_codecs.encode with the codec {encoding}")
    return text.encode("latin1")


def _no_bytes(*arguments: Any) -> bytes:
    # and b"" as the call bytes()
    if arguments:
        raise pickle.UnpicklingError("a call of bytes with arguments")
    return b""


def _plain_dtype(*arguments: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(*arguments)
    if dtype.hasobject:
        raise pickle.UnpicklingError("an array of Python objects")
    return dtype


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        multiarray: Any = np._core.multiarray  # type: ignore[attr-defined]
        allowed: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): _plain_dtype,
            ("_codecs", "encode"): _encode,
            ("__builtin__", "bytes"): _no_bytes,
            ("collections", "OrderedDict"): dict,
        }
        allowed |= {(m, "_reconstruct"): multiarray._reconstruct for m in _NUMPY_MODULES}
        allowed |= {(m, "scalar"): multiarray.scalar for m in _NUMPY_MODULES}
        allowed |= {(m, "_frombuffer"): _frombuffer for m in _FRAME_MODULES}
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("a persistent id")


def _frombuffer(buffer: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order="F" if order == "F" else "C")


def load(data: bytes, name: str) -> Any:
    """Unpickle ``data``, which came from the file ``name``; protocol 2 files of Python 2 included.

    Raises:
        ProposalError: it is no pickle, or holds anything but numpy arrays of numbers and plain containers.
    """
    try:
        return _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise ProposalError(
            f"{name} is refused: it holds {error}, and a proposal pickle may hold only numpy arrays of numbers in lists, "
            "tuples and dicts; write it again as such"
        ) from None
    except Exception as error:  # a damaged pickle can raise anything
        raise ProposalError(f"{name} is no readable pickle ({type(error).__name__}: {error}); write it again") from None
