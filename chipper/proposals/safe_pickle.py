"""Read pickles of numpy arrays of numbers in plain containers, and refuse all others.

A pickle is a program. This unpickler only allows the functions that rebuild numpy arrays, and replaces them by stand-ins, so
a file that names anything else is refused before it runs. The stand-ins only store shape, type and bytes; the arrays are made
from these afterwards, because numpy's own functions trust the content of a pickle, even memory addresses.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chipper.errors import ProposalError

_NUMBER_TYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_DEPTH = 4  # most nested containers around an array
_TIMES = 64
"""How many numbers a byte of the file may stand for. A pickle can name one array or list many times."""


class _RefusedError(Exception):
    """The pickle contains something that is not allowed in a proposal file."""


class _Type:
    """Stands in for numpy.dtype."""

    def __init__(self, code: Any, *_: Any) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(text, str) or not _NUMBER_TYPE.fullmatch(text):
            raise _RefusedError(f"an array of type {text!r}")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, ...); the rest describes structured types, which are refused
        order: Any = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise _RefusedError("an array of structures")
        self.dtype = self.dtype.newbyteorder(order)

    def values(self, data: Any, shape: Any, fortran: bool) -> npt.NDArray[Any]:
        """The bytes as an array of this type."""
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        sizes = shape if isinstance(shape, tuple) else (shape,)
        if not all(type(n) is int and n >= 0 for n in sizes) or math.prod(sizes) * self.dtype.itemsize != len(raw):
            raise _RefusedError(f"an array whose bytes do not fit its shape {shape!r}")
        return np.frombuffer(raw, self.dtype).reshape(sizes, order="F" if fortran else "C")


class _Array:
    """Stands in for a numpy.ndarray that is being rebuilt."""

    values: npt.NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        shape, type_, fortran, data = state[-4:]
        if not isinstance(type_, _Type):
            raise _RefusedError("an array without a type")
        self.values = type_.values(data, shape, bool(fortran))


class _Name:
    """Stands in for a class that is named but never called."""


_NDARRAY = _Name()


def _reconstruct(subtype: Any, shape: Any, type_: Any) -> _Array:
    if subtype is not _NDARRAY:
        raise _RefusedError("an array of another class than numpy.ndarray")
    return _Array()


def _frombuffer(data: Any, type_: Any, shape: Any, order: Any) -> npt.NDArray[Any]:
    if not isinstance(type_, _Type):
        raise _RefusedError("an array without a type")
    return type_.values(data, shape, order == "F")


def _scalar(type_: Any, data: Any = b"") -> Any:
    if not isinstance(type_, _Type):
        raise _RefusedError("a number without a type")
    return type_.values(data, (), False).item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    # protocol 2 writes bytes as the call _codecs.encode(text, "latin1"); arrays need no other codec
    if encoding not in ("latin1", "latin-1"):
        raise _RefusedError(f"_codecs.encode with the codec {encoding}")
    return text.encode("latin1")


def _empty_bytes(*arguments: Any) -> bytes:
    # protocol 2 writes b"" as the call bytes()
    if arguments:
        raise _RefusedError("a call of bytes with arguments")
    return b""


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _empty_bytes,
    ("collections", "OrderedDict"): dict,
    **{(module, "_reconstruct"): _reconstruct for module in _MULTIARRAY},
    **{(module, "scalar"): _scalar for module in _MULTIARRAY},
    **{(module, "_frombuffer"): _frombuffer for module in _NUMERIC},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise _RefusedError(f"{module}.{name}")
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError("a persistent id")


def load(data: bytes, name: str) -> Any:
    """Unpickle ``data`` of the file ``name``; protocol 2 files of Python 2 are supported.

    Raises:
        ProposalError: it is not a pickle, or holds anything except numpy arrays of numbers and plain containers.
    """
    try:
        _check_memo(data)
        loaded = _Unpickler(io.BytesIO(data), encoding="latin1").load()
        return _plain(loaded, _DEPTH, _Budget(_TIMES * len(data)))
    except _RefusedError as error:
        raise ProposalError(
            f"{name} is refused: it holds {error}, and a proposal pickle may hold only numpy arrays of numbers in lists, "
            "tuples and dicts; write it again as such"
        ) from None
    except Exception as error:  # a damaged pickle can raise anything
        reason = " ".join(str(error).split())[:200]
        raise ProposalError(
            f"{name} is not a readable pickle ({type(error).__name__}: {reason}); write it again"
        ) from None


def _check_memo(data: bytes) -> None:
    """Refuse memo indices larger than the length of the data, because pickle allocates memory up to the largest index."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "LONG_BINPUT") and isinstance(argument, int) and argument > len(data):
            raise _RefusedError(f"the memo index {argument:,}")


@dataclass
class _Budget:
    """The numbers and containers that may still come."""

    left: int

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise _RefusedError("the same arrays or lists again and again")


def _plain(value: Any, depth: int, budget: _Budget) -> Any:
    """``value`` with the stand-ins replaced by arrays."""
    if isinstance(value, _Array):
        if value.values is None:
            raise _RefusedError("an array without contents")
        budget.spend(value.values.size)
        return value.values
    if isinstance(value, np.ndarray):
        budget.spend(value.size)
    if isinstance(value, _Type | _Name):
        raise _RefusedError("a type where there should be an array")
    if not isinstance(value, list | tuple | dict):
        return value
    if depth == 0:
        raise _RefusedError(f"more than {_DEPTH} containers in each other")
    budget.spend(len(value))
    if isinstance(value, dict):
        return {key: _plain(entry, depth - 1, budget) for key, entry in value.items()}
    return [_plain(entry, depth - 1, budget) for entry in value]
