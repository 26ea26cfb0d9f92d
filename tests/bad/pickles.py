"""Pickles that would run code, by hand and by the patterns of fickling's examples and of published bypasses of scanners.

Each would leave a file named `MARKER` in the current folder, if it were run. Opcodes are written out, so that importing this
module needs nothing of what they name.
"""

from __future__ import annotations

from .case import MARKER

CODE = f"open({MARKER!r},'w').close()".encode()
SHELL = f"touch {MARKER}".encode()
LIST = b"]q\x00]q\x01(G?\xf0" + bytes(6) + b"G@" + bytes(7) + b"ea"  # what a good file would go on with


def text(value: bytes) -> bytes:
    """SHORT_BINUNICODE."""
    return b"\x8c" + bytes([len(value)]) + value


def name(module: bytes, attribute: bytes) -> bytes:
    """GLOBAL."""
    return b"c" + module + b"\n" + attribute + b"\n"


def stacked(module: bytes, attribute: bytes) -> bytes:
    """STACK_GLOBAL."""
    return text(module) + text(attribute) + b"\x93"


def call(function: bytes, *arguments: bytes) -> bytes:
    """REDUCE: ``function`` and the arguments are opcodes that push them."""
    return function + b"(" + b"".join(arguments) + b"tR"


def malicious() -> dict[str, bytes]:
    """Streams by name."""
    code, shell = text(CODE), text(SHELL)
    two, four = b"\x80\x02", b"\x80\x04"
    run_code = call(name(b"builtins", b"exec"), code)
    found = {
        # fickling: Pickled.insert_python_exec and insert_python_eval, in all three ways
        "fickling, exec, first": two + run_code + LIST + b"ap321987\n00g321987\n.",
        "fickling, eval, first": two + call(name(b"builtins", b"eval"), code) + LIST + b"ap321987\n00g321987\n.",
        "fickling, exec, last": two + name(b"builtins", b"exec") + b"(" + code + b"t" + LIST + b"a\x940R0g2\n.",
        "fickling, eval, last": two + name(b"builtins", b"eval") + b"(" + code + b"t" + LIST + b"a\x940R0g2\n.",
        "fickling, exec, result replaced": two + run_code + LIST + b"a0.",
        "fickling, framed": four + b"\x95\x1a" + bytes(7) + run_code + b"].",
        "fickling, behind the result": two + LIST + b"0" + run_code + b".",
    }
    callers: dict[str, tuple[tuple[bytes, bytes], tuple[bytes, ...]]] = {
        "os.system": ((b"os", b"system"), (shell,)),
        "posix.system": ((b"posix", b"system"), (shell,)),
        "os.popen": ((b"os", b"popen"), (shell,)),
        "subprocess.Popen": (
            (b"subprocess", b"Popen"),
            (shell, b"J\xff\xff\xff\xff", b"N", b"N", b"N", b"N", b"N", b"\x88", b"\x88"),
        ),
        "subprocess.getoutput": ((b"subprocess", b"getoutput"), (shell,)),
        "pty.spawn": ((b"pty", b"spawn"), (b"]" + shell + b"a",)),
        "runpy": ((b"runpy", b"_run_code"), (code, b"}")),
        "importlib.import_module": ((b"importlib", b"import_module"), (text(b"antigravity"),)),
        "builtins.__import__": ((b"builtins", b"__import__"), (text(b"antigravity"),)),
        "builtins.open": ((b"builtins", b"open"), (text(MARKER.encode()), text(b"w"))),
        "io.open": ((b"io", b"open"), (text(MARKER.encode()), text(b"w"))),
        "pathlib.Path.touch, dotted": ((b"pathlib", b"Path.touch"), (text(MARKER.encode()),)),
        "code.InteractiveInterpreter": ((b"code", b"InteractiveInterpreter.runcode"), (b"N", code)),
        "timeit": ((b"timeit", b"timeit"), (code, text(b"pass"), b"N", b"K\x01")),
        "profile": ((b"cProfile", b"run"), (code,)),
        "pdb": ((b"pdb", b"run"), (code,)),
        "bdb": ((b"bdb", b"Bdb.run"), (b"N", code)),
        "trace": ((b"trace", b"Trace.run"), (b"N", code)),
        "doctest": ((b"doctest", b"debug_script"), (code,)),
        "pydoc": ((b"pydoc", b"pipepager"), (text(b""), shell)),
        "asyncio's subprocess": (
            (b"asyncio.unix_events", b"_UnixSubprocessTransport._start"),
            (b"N", shell, b"\x88", b"N", b"N", b"N", b"K\0"),
        ),
        "types.FunctionType": ((b"types", b"FunctionType"), (b"N", b"}")),
        "marshal.loads": ((b"marshal", b"loads"), (b"C\x01N",)),
        "operator.attrgetter": ((b"operator", b"attrgetter"), (text(b"system"),)),
        "operator.methodcaller": ((b"_operator", b"methodcaller"), (text(b"system"), shell)),
        "functools.partial": ((b"functools", b"partial"), (name(b"os", b"system"), shell)),
        "getattr": ((b"builtins", b"getattr"), (name(b"os", b"path"), text(b"os"))),
        "numpy's load": ((b"numpy", b"load"), (text(b"rpn.pkl"), b"N", b"\x88")),
        "numpy's runstring": ((b"numpy.testing._private.utils", b"runstring"), (code, b"}")),
        "numpy's fromfile": ((b"numpy", b"fromfile"), (text(b"/dev/zero"), text(b"u1"), b"K\x08")),
        "numpy's memmap": ((b"numpy", b"memmap"), (text(MARKER.encode()), text(b"u1"), text(b"w+"), b"K\0", b"K\x08")),
        "pandas' read_pickle": ((b"pandas", b"read_pickle"), (text(b"rpn.pkl"),)),
        "pickle in pickle": ((b"pickle", b"loads"), (b"C" + bytes([len(two + run_code) + 1]) + two + run_code + b".",)),
        "joblib": ((b"joblib", b"load"), (text(b"rpn.pkl"),)),
        "torch.load": ((b"torch", b"load"), (text(b"rpn.pkl"),)),
        "chipper itself": ((b"shutil", b"rmtree"), (text(b"images"),)),
        "linecache": ((b"linecache", b"getlines"), (text(b"/etc/passwd"),)),
        "webbrowser": ((b"webbrowser", b"open"), (text(b"file:///"),)),
        "ctypes": ((b"ctypes", b"CDLL"), (text(b"libc.so.6"),)),
        "sys.exit": ((b"sys", b"exit"), (b"K\0",)),
        "os._exit": ((b"os", b"_exit"), (b"K\0",)),
        "a number that is no name": ((b"numpy", b"ndarray.__reduce_ex__"), (b"K\x02",)),
    }
    for kind, (function, arguments) in callers.items():
        found[f"{kind}, GLOBAL"] = two + call(name(*function), *arguments) + b"."
        if kind in ("os.system", "builtins.open", "getattr", "functools.partial", "sys.exit"):
            found[f"{kind}, STACK_GLOBAL"] = four + call(stacked(*function), *arguments) + b"."
    system, stacked_system = name(b"os", b"system"), stacked(b"os", b"system")
    found |= {
        "INST": b"(S'" + SHELL + b"'\nios\nsystem\n.",
        "OBJ": b"(" + system + b"S'" + SHELL + b"'\no.",
        "NEWOBJ": two + system + b"(" + shell + b"t\x81.",
        "NEWOBJ_EX": four + stacked_system + b"(" + shell + b"t}\x92.",
        "EXT1": two + b"\x82\x01.",
        "EXT2": two + b"\x83\x01\x01.",
        "EXT4": two + b"\x84\x01\x01\x01\x01.",
        "PERSID": b"Pos.system\n.",
        "BINPERSID": two + shell + b"Q.",
        "PROTO twice": two + two + call(system, shell) + b".",
        "PROTO in the middle": two + b"]" + four + call(stacked_system, shell) + b"a.",
        "no PROTO": call(system, b"S'" + SHELL + b"'\n") + b".",
        "two STOPs": two + b"]." + call(system, shell) + b".",
        "in a set": four + b"\x8f(" + call(stacked_system, shell) + b"\x90.",
        "in a frozen set": four + b"(" + call(stacked_system, shell) + b"\x91.",
        "as a value": two + b"}K\x01" + call(system, shell) + b"s.",
        "as a key": two + b"}" + call(system, shell) + b"K\x01s.",
        "thrown away": two + b"](" + call(system, shell) + b"1.",
        "of the memo": two + system + b"q\x050]h\x05(" + shell + b"tRa.",
        "of the memo, over a good one": two + name(b"numpy", b"dtype") + b"q\x000" + system + b"q\x000h\x00(" + shell + b"tR.",
        "DUP": two + system + b"2(" + shell + b"tR.",
        "a name with a line of its own": two + b"cos\r\nsystem\n(" + shell + b"tR.",
        "a name in Unicode": four + text("\uff4f\uff53".encode()) + text(b"system") + b"\x93(" + shell + b"tR.",
        "names of no text": four + b"K\x01K\x02\x93(" + shell + b"tR.",
        "an empty name": two + name(b"", b"") + b"(tR.",
        "BUILD of a name": two + name(b"numpy", b"ndarray") + b"}" + text(b"__setstate__") + system + b"sb.",
        "BUILD of an array": two
        + call(name(b"numpy.core.multiarray", b"_reconstruct"), name(b"numpy", b"ndarray"), b"(K\0t", b"C\x01b")
        + b"}" + text(b"__class__") + system + b"sb.",
        "BUILD of a type": two + call(name(b"numpy", b"dtype"), text(b"f4")) + b"N}" + text(b"dtype") + system + b"s\x86b.",
        "BUILD of a list": two + b"]}" + text(b"append") + system + b"sb.",
        "BUILD with slots of the builtins": two + name(b"numpy", b"dtype") + b"N}" + text(b"__call__") + system + b"s\x86b.",
        "the stand-in's own parts": four + stacked(b"numpy", b"dtype.__init__.__globals__") + b".",
        "an array whose class is another": two
        + call(name(b"numpy.core.multiarray", b"_reconstruct"), system, b"(K\0t", b"C\x01b") + b".",
        "an array of objects": two
        + call(name(b"numpy.core.multiarray", b"_reconstruct"), name(b"numpy", b"ndarray"), b"(K\0t", b"C\x01b")
        + b"(K\x01(K\x01t" + call(name(b"numpy", b"dtype"), text(b"O8"), b"K\0", b"K\x01") + b"\x89]"
        + call(system, shell) + b"atb.",
        "an array that claims a terabyte": two
        + call(name(b"numpy.core.multiarray", b"_reconstruct"), name(b"numpy", b"ndarray"), b"(K\0t", b"C\x01b")
        + b"(K\x01(\x8a\x06" + (2**40).to_bytes(6, "little") + b"t" + call(name(b"numpy", b"dtype"), text(b"f8")) + b"\x89C\x01xtb.",
        "a codec of rot13": two + call(name(b"_codecs", b"encode"), text(b"bf.flfgrz"), text(b"rot13")) + b".",
        "a codec that unpacks": two + call(name(b"_codecs", b"decode"), b"C\x01x", text(b"zlib")) + b".",
        "behind a ZIP": two + call(system, shell) + b".PK\x05\x06" + bytes(18),
        "behind a JPEG": b"\xff\xd8\xff\xe0" + two + call(system, shell) + b".",
        "behind a mark that is not closed": two + b"((((" + call(system, shell) + b".",
    }  # fmt: skip
    return found
