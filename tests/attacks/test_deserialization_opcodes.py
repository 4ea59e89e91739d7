"""Streams that the C machine, the Python machine and scanners read differently: none of them is loaded.

Sources: the opcodes of `Lib/pickle.py` and `Modules/_pickle.c` of CPython, and
what was published against scanners of pickles in 2025 and 2026.
"""

import pickle
import struct
from pathlib import Path

import pytest

from tests.attacks.deserialization_cell import Cell, assert_refused
from tests.attacks.deserialization_watch import watched
from tests.attacks.test_deserialization_pickle import WARM, Call, short
from vault.core import pickle_trace
from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS
from vault.errors import PickleRefused, Refused
from vault.loaders import pickle_gate

P = b"\x80\x04"
SYSTEM = short("posix") + short("system") + b"\x93"
REFUSED = ("pickle-refused", "not-allowed", "format-refused", "format-content")


def frame(content: bytes, length: int | None = None) -> bytes:
    return b"\x95" + struct.pack("<Q", len(content) if length is None else length) + content


def call(command: str) -> bytes:
    return SYSTEM + short(command) + b"\x85R"


# name → what stands around a call; `%` is the call itself.
STREAMS: dict[str, bytes] = {
    # memo
    "both names fetched from the memo": P
    + short("system")
    + b"\x94"
    + short("posix")
    + b"\x94h\x01h\x00\x93N\x85R.",
    "a name put twice into one place": P
    + short("posix")
    + b"q\x00"
    + short("safe")
    + b"q\x00h\x00"
    + short("system")
    + b"\x93.",
    "a place far away": P + short("posix") + b"r\xff\xff\xff\x7fh\x00.",
    "a place of 32 bits": P
    + short("posix")
    + b"r\x00\x00\x00\x80j\x00\x00\x00\x80"
    + short("system")
    + b"\x93.",
    "a place that was never written": P + b"h\x05" + short("system") + b"\x93.",
    "a get by text": P + short("posix") + b"q\x000g0\n" + short("system") + b"\x93.",
    "a put by text": P + short("posix") + b"p0\n0h\x00" + short("system") + b"\x93.",
    "memoize over a place that was put": P
    + b"Nq\x01"
    + short("posix")
    + b"\x94h\x01"
    + short("system")
    + b"\x93.",
    # names
    "a name that is bytes": P + b"C\x05posix" + short("system") + b"\x93.",
    "a name that is a number": P + b"K\x01" + short("system") + b"\x93.",
    "a name that is a list": P + b"]" + short("system") + b"\x93.",
    "a dotted name": P + short("numpy") + short("os.system") + b"\x93.",
    "a dotted name through a class": P
    + short("sklearn.base")
    + short("BaseEstimator.__init__.__globals__")
    + b"\x93.",
    "a name that is empty": P + short("posix") + short("") + b"\x93.",
    "a module that is empty": P + short("") + short("system") + b"\x93.",
    "GLOBAL with spaces": P + b"c posix \n system \n.",
    "GLOBAL with a carriage return": P + b"cposix\r\nsystem\r\n.",
    "GLOBAL without an end": P + b"cposix\nsystem",
    "GLOBAL with more than a name": P + b"c" + b"a" * 5_000 + b"\nb\n.",
    "GLOBAL in bytes that are no text": P + b"c\xff\xfe\nsystem\n.",
    # structure
    "POP with nothing there": P + b"0" + b"%.",
    "POP of a mark": P + b"(0%.",
    "POP_MARK without a mark": P + b"1%.",
    "TUPLE without a mark": P + b"t%.",
    "REDUCE takes its function from below a mark": P + SYSTEM + b"(" + short("id") + b"\x85R.",
    "BUILD from below a mark": P + b"](}b.",
    "TUPLE3 from below a mark": P + b"NN(N\x87.",
    "DUP": P + b"N2" + b"%.",
    "DICT of items": P + b"(NNd.",
    "LIST of items": P + b"(Nl.",
    "the result is a mark": P + b"(.",
    "two results": P + b"N%.",
    "no result": P + b".",
    "nothing": b"",
    "a protocol alone": P,
    "an odd dictionary": P + b"}(Nu.",
    "a list inside itself as a key": P + b"]\x94}h\x00Ns.",
    # protocols and frames
    "no protocol": b"%.",
    "protocol 0": b"cposix\nsystem\n(V" + b"x\ntR.",
    "protocol 1": b"\x80\x01cposix\nsystem\n(X\x01\x00\x00\x00xtR.",
    "protocol 2": b"\x80\x02cposix\nsystem\nX\x01\x00\x00\x00x\x85R.",
    "protocol 6": b"\x80\x06%.",
    "protocol 255": b"\x80\xff%.",
    "PROTO twice": P + P + b"%.",
    "PROTO changed half way": P + b"N0\x80\x02" + b"%.",
    "a frame shorter than its opcode": P + frame(b"X", 1) + struct.pack("<I", 2) + b"ab0%.",
    "a frame that ends inside a name": P
    + frame(short("posix")[:4], 4)
    + short("posix")[4:]
    + short("system")
    + b"\x93.",
    "a frame in a frame": P + frame(frame(b"N0") + b"%."),
    "a frame of 2**63": P + b"\x95" + struct.pack("<Q", 1 << 63) + b"%.",
    "a frame in protocol 3": b"\x80\x03" + frame(b"%."),
    "STOP inside a longer frame": P + frame(b"%.N0N0"),
    # numbers and lengths
    "a text longer than the file": P + b"\x8d" + struct.pack("<Q", 1 << 40) + b"%.",
    "bytes longer than the file": P + b"\x8e" + struct.pack("<Q", (1 << 64) - 1) + b"%.",
    "a byte array that claims 8 GiB": b"\x80\x05\x96" + struct.pack("<Q", 8 << 30) + b"x.",
    "a number of 2 GiB": P + b"\x8b" + struct.pack("<I", (1 << 31) - 1) + b"x.",
    "a negative length": P + b"\x8b" + struct.pack("<i", -1) + b"x.",
    "a text that is no UTF-8": P + b"\x8c\x02\xff\xfe" + b"0%.",
    # opcodes that no pickler of protocols 3 to 5 writes
    "a persistent id": P + short("id") + b"Q.",
    "a persistent id as text": P + b"Pid\n.",
    "an extension of one byte": P + b"\x82\x01.",
    "an extension of two": P + b"\x83\x01\x00.",
    "an extension of four": P + b"\x84\x01\x00\x00\x00.",
    "INST": P + b"(" + short("id") + b"iposix\nsystem\n.",
    "OBJ": P + b"(" + SYSTEM + short("id") + b"o.",
    "NEXT_BUFFER": b"\x80\x05\x97.",
    "READONLY_BUFFER": b"\x80\x05\x97\x98.",
    "INT as text": P + b"I01\n.",
    "LONG as text": P + b"L1L\n.",
    "FLOAT as text": P + b"F1.5\n.",
    "STRING as text": P + b"S'x'\n.",
    "UNICODE as text": P + b"Vx\n.",
    "BINSTRING": P + b"T\x01\x00\x00\x00x.",
    "SHORT_BINSTRING": P + b"U\x01x.",
    "an unknown opcode": P + b"\xaa.",
    # objects
    "NEWOBJ of a function": P + SYSTEM + b")\x81.",
    "NEWOBJ_EX of a function": P + SYSTEM + b")}\x92.",
    "NEWOBJ with a list": P + SYSTEM + b"]\x81.",
    "REDUCE with a list": P + SYSTEM + b"]R.",
    "REDUCE of a text": P + short("id") + b")R.",
    "REDUCE of what was returned": P + call("id") + b")R.",
    "BUILD of a global": P + SYSTEM + b"}" + short("x") + b"Nsb.",
    "BUILD of a text": P + short("x") + b"}b.",
    "BUILD with an attribute that is special": P + SYSTEM + b")R}" + short("__class__") + b"Nsb.",
    "APPEND to a global": P + SYSTEM + b"Na.",
    "SETITEM on a global": P + SYSTEM + short("a") + b"Ns.",
    "ADDITEMS to a global": P + SYSTEM + b"(N\x90.",
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams_that_are_no_honest_picklers_are_refused(name: str, cell: Cell, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = STREAMS[name].replace(b"%", call(f"touch {canary}"))
    for path in ("m.pkl", "m.joblib"):
        told = cell.attack(path, data, names=["posix.system", "os.system"])
        assert_refused(told, *REFUSED, "malformed-archive")
        assert not canary.exists()


def test_no_joining_with_an_honest_model_hides_them() -> None:
    """The same opcodes inside an honest model, in front of it, and behind it."""
    usable = DEFAULT_PICKLE_GLOBALS | {"posix.system"}
    for name in STREAMS.keys() - {"no result"}:  # which is what every stream ends with
        body = STREAMS[name].removeprefix(P).replace(b"%", call("id"))
        for data in (P + body + b"0" + WARM[2:], WARM[:-1] + b"0" + body, WARM[:-1] + body):
            with watched() as events, pytest.raises(Refused):
                pickle_gate.restore(data, usable, joblib=False)
            assert events == [], name


ALIKE = [
    "\uff4fs",  # full width: `import` folds it to "os"
    "\u043es",  # a Cyrillic o
    "os\x00",
    "os ",
    " os",
    "os\n",
    "OS",
    "o\u200bs",
    "\ufb01lecmp",  # a ligature, folded by `import`
    "posix\u0000.path",
    "..os",
    "os.",
    ".os",
    "os..path",
    "__builtin__",
    "copy_reg",
    "__main__",
    "builtins\u200d",
    "\u0441lass",
]


@pytest.mark.parametrize("module", ALIKE)
def test_modules_that_only_look_like_another_are_refused(module: str, cell: Cell, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for name in ("system", "\uff53ystem", "sy\u0301stem", "eval"):
        protocols = (3, 4) if "\n" not in module else (4,)
        files = [Call(module, name, f"touch {canary}").stream(protocol) for protocol in protocols]
        for told in cell.attacks("m.pkl", files, names=[f"{module}.{name}", "os.system"]):
            assert_refused(told, *REFUSED)
            assert told.imported == []
        assert not canary.exists()


def test_a_name_split_at_another_dot_is_another_name(cell: Cell) -> None:
    """`a` and `b.c` must not pass for `a.b` and `c`."""
    told = cell.attack("m.pkl", Call("sklearn", "linear_model._ridge.Ridge").stream())
    assert_refused(told, *REFUSED)
    told = cell.attack("m.pkl", Call("sklearn.linear_model", "_ridge.Ridge").stream())
    assert_refused(told, *REFUSED)


@pytest.mark.parametrize("name", ["evil", "sklearn_extra", "lightgbm_evil", "joblib_evil"])
def test_a_module_that_lies_in_the_working_folder_is_not_imported(
    name: str, cell: Cell, tmp_path: Path
) -> None:
    """Its name may be pinned: as long as the operator does not allow it, nothing looks for it."""
    canary = tmp_path / "canary"
    (tmp_path / f"{name}.py").write_text(f"open({str(canary)!r}, 'w')\ndef f(*a): pass\n")
    told = cell.attack("m.pkl", Call(name, "f", 1).stream(), folder=tmp_path)
    assert_refused(told, "not-allowed")
    assert told.imported == []
    assert not canary.exists()


def test_no_opcode_but_those_of_picklers_is_in_the_table() -> None:
    """Each single byte in the place of an opcode is refused, or one that protocols 3 to 5 write."""
    written = set()
    for code in range(256):
        data = b"\x80\x05" + b"N" * 4 + bytes([code]) + bytes(16) + b"."
        try:
            pickle_trace.trace(data, joblib=False)
        except PickleRefused as refusal:
            if "has the opcode" not in refusal.message:
                written.add(code)
    never = {ord(code) for code in "P2ILFSTUVQgpiodl"} | {0x82, 0x83, 0x84, 0x97, 0x98}
    assert not written & never
    assert len(written) <= 50


def test_pickles_inside_pickles_are_bytes_and_nothing_else(cell: Cell, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    inner = P + call(f"touch {canary}") + b"."
    told = cell.attack("m.pkl", pickle.dumps({"payload": inner, "again": pickle.dumps(inner)}, 4))
    assert told.loaded == "passed"
    assert (told.effects, told.silent) == ([], [])
    assert not canary.exists()
