"""chipper.proposals.safe_pickle: arrays of numbers and plain containers load, everything else is refused and never run."""

from __future__ import annotations

import importlib
import io
import os
import pickle
import pickletools
import subprocess
import sys
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chipper.errors import ProposalError
from chipper.proposals.safe_pickle import load

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
ARRAYS = {
    "float32": np.arange(10, dtype=np.float32).reshape(2, 5),
    "float64 in Fortran order": np.asfortranarray(np.arange(10.0).reshape(2, 5)),
    "big-endian": np.arange(10, dtype=">f4").reshape(2, 5),
    "int64": np.arange(10).reshape(2, 5),
    "uint8": np.arange(10, dtype=np.uint8).reshape(2, 5),
    "no rows": np.zeros((0, 5), np.float32),
    "a view": np.arange(20.0).reshape(4, 5)[::2],
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_arrays_load_as_they_were(array: np.ndarray, protocol: int) -> None:
    value = [array, {"7": array, 8: (array, None)}, 1.5, "text", b"bytes", True, array]
    loaded = load(pickle.dumps(value, protocol), "rpn.pkl")
    for found in (loaded[0], loaded[1]["7"], loaded[1][8][0], loaded[6]):
        np.testing.assert_array_equal(np.asarray(found), array)
    assert loaded[1][8][1] is None
    assert loaded[2:6] == [1.5, "text", b"bytes", True]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_scalars_and_ordered_dicts_load(protocol: int) -> None:
    value = OrderedDict([(np.int64(3), np.float32(0.5))])
    loaded = load(pickle.dumps(value, protocol), "rpn.pkl")
    assert {int(k): float(v) for k, v in loaded.items()} == {3: 0.5}


def test_written_by_old_and_new_numpy() -> None:
    data = pickle.dumps(ARRAYS["float32"], 2)
    new, old = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"
    assert new in data
    for stream in (data, data.replace(new, old)):
        np.testing.assert_array_equal(np.asarray(load(stream, "rpn.pkl")), ARRAYS["float32"])


PYTHON_2_ARRAY = (  # cPickle.dumps(np.array([[1, 2, 3, 4, .5]], np.float32), 2) of Python 2.7: the bytes are a str
    b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x01K\x05\x86"
    b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x14"
    + np.array([1, 2, 3, 4, 0.5], np.float32).tobytes()
    + b"tb"
)


def test_python_2_list() -> None:
    loaded = load(b"\x80\x02]" + PYTHON_2_ARRAY + b"a.", "rpn.pkl")
    np.testing.assert_array_equal(np.asarray(loaded[0]), [[1, 2, 3, 4, 0.5]])


def test_python_2_dict_with_byte_string_keys() -> None:
    loaded = load(b"\x80\x02}U\x03\xe942" + PYTHON_2_ARRAY + b"s.", "rpn.pkl")
    assert list(loaded) == ["é42"]
    np.testing.assert_array_equal(np.asarray(loaded["é42"]), [[1, 2, 3, 4, 0.5]])


# --- refused, and not run ---


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


def malicious(marker: Path) -> dict[str, bytes]:
    command, code = f"touch {marker}", f"open({str(marker)!r}, 'w').close()"
    line = command.encode()
    touched = Call(os.system, command)

    class Persistent(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return "pid" if value == "persistent" else None

    persistent = io.BytesIO()
    Persistent(persistent, 2).dump(["persistent"])
    found = {
        "eval": pickle.dumps(Call(eval, code)),
        "exec": pickle.dumps(Call(exec, code)),
        "subprocess": pickle.dumps(Call(subprocess.call, ["touch", str(marker)])),
        "importlib": pickle.dumps(Call(importlib.import_module, "antigravity")),
        "getattr": pickle.dumps(Call(getattr, "", "join")),
        "nested in an array's arguments": pickle.dumps([np.zeros(2), {"x": [(touched,)]}]),
        "as a key": pickle.dumps([(touched, 1)]),
        "object array": pickle.dumps(np.array([1, touched], object)),
        "structured array with objects": pickle.dumps(np.array([(touched,)], [("a", object)])),
        "a class": pickle.dumps(Path),
        "an instance": pickle.dumps(Path("x")),
        "a default dict": pickle.dumps(defaultdict(os.getcwd)),
        "a set of numpy's functions": pickle.dumps(np.load),
        "numpy's own exec": b"cnumpy.testing._private.utils\nrunstring\n(S'"
        + code.replace("'", '"').encode()
        + b"'\n(dtR.",
        "numpy's compiler": b"cnumpy.f2py\nrun_main\n((lp0\nS'-h'\natR.",
        "numpy's loader": b"cnumpy\nload\n(S'" + str(marker).encode() + b"'\ntR.",
        "os.system by protocol 0": b"cos\nsystem\n(S'" + line + b"'\ntR.",
        "posix.system, INST": b"(S'" + line + b"'\niposix\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'" + line + b"'\no.",
        "Python 2's names": b"c__builtin__\neval\n(S'" + code.replace("'", '"').encode() + b"'\ntR.",
        "memoised name": b"cos\nsystem\np0\n0g0\n(S'" + line + b"'\ntR.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(line)]) + line + b"\x85R.",
        "STACK_GLOBAL with memoised parts": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93\x8c"
        + bytes([len(line)])
        + line
        + b"\x85R.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x12ndarray.__reduce__\x93.",
        "dotted way to os": b"\x80\x04\x8c\x05numpy\x8c\x09os.system\x93\x8c" + bytes([len(line)]) + line + b"\x85R.",
        "another codec": b"c_codecs\nencode\n(V0000\nVhex\ntR.",
        "extension registry": b"\x80\x02\x82\x01.",
        "persistent id": persistent.getvalue(),
        "persistent id, protocol 0": b"Pabc\n.",
        "NEWOBJ_EX": b"\x80\x04\x8c\x02os\x8c\x06system\x93)}\x92.",
        "BUILD on a class": b"cnumpy\nndarray\n}S'__array_finalize__'\ncos\nsystem\nsb.",
    }
    for protocol in PROTOCOLS:
        found[f"os.system, protocol {protocol}"] = pickle.dumps(touched, protocol)
    return found


@pytest.mark.parametrize("case", malicious(Path("marker")))
def test_anything_else_is_refused_without_running(
    case: str, tmp_path: Path, is_one_line: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "m"
    data = malicious(marker)[case]
    with pytest.raises(ProposalError) as caught:
        load(data, "rpn.pkl")
    message = is_one_line(caught.value)
    assert message.startswith("rpn.pkl ")
    if case != "extension registry":  # pickle itself has no entry for it
        assert message.startswith("rpn.pkl is refused: it holds")
    assert "write it again" in message
    assert len(message) < 400
    assert not marker.exists()
    assert "antigravity" not in sys.modules
    assert capfd.readouterr() == ("", "")


def test_the_names_in_these_pickles_exist() -> None:
    """A name that nothing has would be refused by any reader."""
    seen = 0
    for data in malicious(Path("marker")).values():
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in ("GLOBAL", "INST") and not str(argument).startswith("__builtin__"):
                module, name = str(argument).split(" ")
                assert hasattr(importlib.import_module(module), name), argument
                seen += 1
    assert seen > 10


def test_refusal_names_what_was_found() -> None:
    with pytest.raises(ProposalError, match=r"refused.*(os|posix)\.system.*only numpy arrays of numbers"):
        load(pickle.dumps([Call(os.system, "true")]), "rpn.pkl")


# --- streams that aim at numpy itself; a crash of the interpreter must not take the tests along ---

FLAGGED = b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR(I3\nS'|'\nNNNI8\nI1\nI63\ntb"  # 8 raw bytes that claim to be objects
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
FORGED = {
    "objects at a forged address": b"cnumpy\nndarray\n((I1\ntS'O'\nC\x08AAAAAAAAtR.",
    "objects at a forged address, structured": b"cnumpy\nndarray\n((I1\nt](S'a'\nS'O'\ntaC\x08AAAAAAAAtR.",
    "array of objects": b"cnumpy\nndarray\n((I3\ntS'O'\ntR.",
    "array of objects, rebuilt": RECONSTRUCT + b"(I3\ntS'O'\ntR.",
    "type that claims objects": b"cnumpy\nndarray\n((I1\nt" + FLAGGED + b"C\x08AAAAAAAAtR.",
    "type that claims objects, rebuilt": RECONSTRUCT + b"(I0\ntS'b'\ntR(I1\n(I1\nt" + FLAGGED + b"I00\n]I1\natb.",
    "type that claims objects, as scalar": b"cnumpy.core.multiarray\nscalar\n(" + FLAGGED + b"C\x08AAAAAAAAtR.",
    "strides beyond the buffer": b"cnumpy\nndarray\n((I1000\ntS'f8'\nC\x08AAAAAAAAI0\n(I800\nttR.",
    "rebuilt with too few bytes": RECONSTRUCT
    + b"(I0\ntS'b'\ntR(I1\n(I1000\ntcnumpy\ndtype\n(S'f8'\ntRI00\nC\x04AAAAtb.",
    "a petabyte": b"cnumpy\nndarray\n((L1000000000000000L\ntS'f8'\ntR.",
}
RUN = """
import sys
import numpy as np
from chipper.errors import ProposalError
from chipper.proposals.safe_pickle import load
try:
    print("loaded", repr(load(sys.stdin.buffer.read(), "rpn.pkl"))[:80])
except ProposalError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("data", FORGED.values(), ids=FORGED)
def test_forged_arrays_are_refused(data: bytes) -> None:
    done = subprocess.run([sys.executable, "-c", RUN], input=data, capture_output=True, timeout=60)
    assert done.returncode == 0, f"the interpreter died with {done.returncode}: {done.stderr.decode()[-300:]}"
    assert done.stdout.startswith(b"refused: rpn.pkl "), done.stdout


# --- what is no pickle ---


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\x80\x09.",
        b'[{"image_id": 1}]',
        pickle.dumps([np.zeros((9, 5))])[:-20],
        b"\x80\x04\x95" + b"\xff" * 8,
    ],
    ids=["empty", "text", "future protocol", "JSON", "cut", "frame beyond the end"],
)
def test_no_pickle_is_said_to_be_none(data: bytes, is_one_line: Callable[..., str]) -> None:
    with pytest.raises(ProposalError, match=r"^rpn\.pkl is not a readable pickle \(.*\); ") as caught:
        load(data, "rpn.pkl")
    is_one_line(caught.value)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 40])
@pytest.mark.parametrize("container", [list, tuple, dict])
def test_shared_references_do_not_multiply(depth: int, container: Any) -> None:
    """A few kilobytes may name one list, or one array, millions of times."""
    value: Any = np.zeros((300, 5))
    for _ in range(depth):
        again = [value] * 2000
        value = dict(enumerate(again)) if container is dict else container(again)
    data = pickle.dumps(value, protocol=4)
    assert len(data) < 200_000 * depth
    started = time.monotonic()
    with pytest.raises(ProposalError, match=r"again and again|more than 4 containers"):
        load(data, "rpn.pkl")
    assert time.monotonic() - started < 30


def test_one_array_for_many_images_is_taken() -> None:
    found = load(pickle.dumps([np.zeros((0, 5))] * 100_000, protocol=2), "rpn.pkl")
    assert len(found) == 100_000
