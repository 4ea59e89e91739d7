"""Published ways past a scanner and through an allow-list: each ends in a refusal, with nothing done."""

import bz2
import contextlib
import gzip
import io
import lzma
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge

from tests.attacks.deserialization_watch import watched
from vault.core import inspection, pickle_trace, static_stage
from vault.core.allowance import Allowance
from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS
from vault.errors import FormatRefused, PickleRefused, Refused
from vault.loaders import pickle_gate

MODEL = LinearRegression().fit(np.eye(3), [1.0, 2.0, 3.0])
WARM, WARM_PINS = pickle_gate.dump(MODEL, container="pickle")
pickle_gate.restore(WARM, frozenset(WARM_PINS), joblib=False)
inspection.inspect_bytes("warm.pkl", WARM)


class Call:
    """Pickles as a call of a global by its dotted name, whether or not it exists here."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.parts = module, name, arguments

    def stream(self, protocol: int = 4) -> bytes:
        """Return the call as a stream of its own."""
        module, name, arguments = self.parts
        packed = pickle.dumps(arguments, protocol)
        body = packed[2:-1]
        if protocol >= 4 and body[:1] == b"\x95":
            body = body[9:]
        if protocol >= 4:
            found = short(module) + short(name) + b"\x93"
        else:
            found = b"c" + module.encode() + b"\n" + name.encode() + b"\n"
        return bytes([0x80, protocol]) + found + body.replace(b"\x94", b"") + b"R."


def short(text: str) -> bytes:
    raw = text.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def everything(names: frozenset[str]) -> Allowance:
    """What the most careless operator could allow."""
    return Allowance(formats=frozenset({"pickle", "joblib"}), pickle_globals=names | DEFAULT_PICKLE_GLOBALS)


def refused(path: str, data: bytes, canary: Path) -> str:
    """Through the static stage, the gate and the inspection: refused by each, and nothing happens."""
    kind = "joblib" if path.endswith(".joblib") else "pickle"
    tracer = pickle_trace.Tracer(joblib=kind == "joblib")
    with contextlib.suppress(PickleRefused):
        pickle_trace.trace_with(tracer, data)
    names = frozenset(tracer.globals)
    codes = set()
    with watched() as events:
        with pytest.raises(Refused) as caught:
            static_stage.check(path, kind, memoryview(data), names, everything(names), path)
        codes.add(caught.value.code)
        with pytest.raises(Refused) as caught:
            pickle_gate.restore(data, names | DEFAULT_PICKLE_GLOBALS, joblib=kind == "joblib")
        found = inspection.inspect_bytes(path, data)
    assert events == []
    assert found.verdict == "refused"
    assert not canary.exists()
    return codes.pop()


GADGETS = [
    ("os", "system"),
    ("posix", "system"),
    ("subprocess", "Popen"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "getattr"),
    ("builtins", "__import__"),
    ("builtins", "open"),
    ("io", "open"),
    ("_io", "FileIO"),
    ("operator", "attrgetter"),
    ("operator", "methodcaller"),
    ("functools", "partial"),
    ("importlib", "import_module"),
    ("runpy", "run_path"),
    ("numpy", "load"),
    ("numpy", "memmap"),
    ("numpy", "fromfile"),
    ("numpy.lib.npyio", "load"),
    ("numpy._core.memmap", "memmap"),
    ("numpy.testing._private.utils", "runstring"),
    ("joblib", "load"),
    ("joblib.numpy_pickle", "load"),
    ("joblib.numpy_pickle", "NDArrayWrapper"),
    ("joblib.numpy_pickle_compat", "ZNDArrayWrapper"),
    ("sklearn.datasets", "load_files"),
    ("sklearn.datasets._openml", "fetch_openml"),
    ("sklearn.datasets._base", "fetch_file"),
    ("pandas", "read_pickle"),
    ("pickle", "loads"),
    ("_pickle", "loads"),
    ("cloudpickle", "loads"),
    ("timeit", "timeit"),
    ("pip", "main"),
    ("ctypes", "CDLL"),
    ("code", "InteractiveInterpreter"),
    ("logging.config", "listen"),
    ("unittest.mock", "_importer"),
    ("pydoc", "locate"),
    ("sys", "setrecursionlimit"),
    ("types", "FunctionType"),
    ("shutil", "rmtree"),
    ("vault", "open"),
    ("numpy", "os.system"),
    ("sklearn.linear_model", "_base.np.load"),
    ("sklearn.linear_model._base", "LinearRegression.fit"),
    ("builtins", "object.__subclasses__"),
    ("sklearn.linear_model._base", "LinearRegression.__init__.__globals__"),
]


@pytest.mark.parametrize("gadget", GADGETS, ids=".".join)
@pytest.mark.parametrize("protocol", [3, 4])
def test_gadgets_are_refused_even_when_pinned_and_allowed(
    gadget: tuple[str, str], protocol: int, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    stream = Call(*gadget, f"touch {canary}").stream(protocol)
    refused("model.pkl", stream, canary)
    for compress in (lambda data: data, zlib.compress, gzip.compress, bz2.compress, lzma.compress):
        refused("model.joblib", compress(stream), canary)


def test_a_real_file_of_each_protocol_with_a_system_call_is_refused(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.system, (f"touch {canary}",)

    for protocol in range(6):
        for value in (
            Evil(),
            [MODEL, Evil()],
            {"model": MODEL, "x": Evil()},
            np.array([Evil()], dtype=object),
        ):
            refused("model.pkl", pickle.dumps(value, protocol), canary)
            buffer = io.BytesIO()
            joblib.dump(value, buffer, protocol=protocol)
            refused("model.joblib", buffer.getvalue(), canary)


P, S = b"\x80\x04", b"."
SYSTEM = short("posix") + short("system") + b"\x93"


def evil(canary: Path) -> bytes:
    return SYSTEM + short(f"touch {canary}") + b"\x85R"


TRICKS: dict[str, Callable[[bytes], bytes]] = {
    "trailing data": lambda call: WARM + P + call + S,
    "trailing junk": lambda call: WARM + b"\x00",
    "before the model": lambda call: P + call + b"0" + WARM[2:],
    "an exception in the middle": lambda call: P + call + b"\xff" + S,
    "cut short after the call": lambda call: P + call,
    "past STOP": lambda call: P + b"N." + call + S,
    "names through the memo": lambda call: (
        P
        + short("system")
        + b"\x940"
        + short("posix")
        + b"\x940h\x01h\x00\x93"
        + call.removeprefix(SYSTEM)
        + S
    ),
    "names through a tuple and a pop": lambda call: P + short("harmless") + b"0" + call + S,
    "a frame that hides opcodes": lambda call: P + b"\x95" + struct.pack("<Q", 1) + b"N0" + call + S,
    "a frame inside a string": lambda call: (
        P + b"\x95" + struct.pack("<Q", 5) + b"X" + struct.pack("<I", len(call)) + call + b"0N."
    ),
    "a frame beyond the end": lambda call: P + b"\x95" + struct.pack("<Q", 10_000) + call + S,
    "a frame of no length": lambda call: P + b"\x95" + bytes(8) + call + S,
    "a second protocol": lambda call: P + call + b"0\x80\x04N" + S,
    "protocol 0 text": lambda call: b"cposix\nsystem\n(V" + call[len(SYSTEM) + 2 : -2] + b"\ntR.",
    "INST": lambda call: P + b"(X\x01\x00\x00\x00aiposix\nsystem\n.",
    "OBJ": lambda call: P + b"(" + SYSTEM + short("a") + b"o.",
    "extension registry": lambda call: P + b"\x82\x01)R.",
    "persistent id": lambda call: P + b"K\x01Q.",
    "out-of-band buffer": lambda call: P + b"\x97.",
    "nested pickle": lambda call: Call("pickle", "loads", P + call + S).stream(),
    "nested pickle by joblib": lambda call: Call("joblib", "load", "/tmp/x").stream(),
    "double compression": lambda call: gzip.compress(zlib.compress(P + call + S)),
    "call of a returned value": lambda call: P + short("x") + short("id") + b"\x85R.",
    "call through getattr": lambda call: Call("builtins", "getattr", "x", "y").stream(),
    "BUILD on a function": lambda call: P + SYSTEM + b"}" + short("x") + b"Nsb.",
    "a class instead of a name": lambda call: P + SYSTEM + SYSTEM + b"\x93.",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_tricks_against_scanners_are_refused(trick: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = TRICKS[trick](evil(canary))
    refused("model.pkl", data, canary)
    refused("model.joblib", data, canary)


def test_a_renamed_pickle_is_refused_under_every_extension(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = P + evil(canary) + S
    for ending, kind in (
        (".onnx", "onnx"),
        (".skops", "skops"),
        (".json", "json"),
        (".npz", "npz"),
        (".bin", "data"),
    ):
        with watched() as events, pytest.raises(Refused) as caught:
            static_stage.check("model" + ending, kind, memoryview(data), frozenset(), Allowance(), "m")
        assert caught.value.code in ("format-refused", "malformed-archive")
        assert events == []


def test_joblib_object_arrays_run_no_machine_but_ours(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.system, (f"touch {canary}",)

    buffer = io.BytesIO()
    joblib.dump(Ridge().set_params(alpha=np.array([Evil(), None], dtype=object)), buffer)
    refused("model.joblib", buffer.getvalue(), canary)


def test_a_joblib_array_that_names_a_file_is_refused(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    secret = tmp_path / "secret.npy"
    np.save(secret, np.arange(3))
    from joblib.numpy_pickle import NumpyArrayWrapper
    from joblib.numpy_pickle_compat import NDArrayWrapper

    old = pickle.dumps(NDArrayWrapper(str(secret), np.ndarray), 4)
    refused("model.joblib", old, canary)
    wrapper = NumpyArrayWrapper(np.ndarray, (3,), "C", np.dtype("<i8"), allow_mmap=True)
    vars(wrapper)["filename"] = str(secret)
    refused("model.joblib", pickle.dumps(wrapper, 4), canary)


def test_a_list_of_pins_taken_from_the_artifact_itself_allows_nothing(tmp_path: Path) -> None:
    data = P + evil(tmp_path / "canary") + S
    pins = frozenset(pickle_trace.trace(data, joblib=False).pins)
    only_format = Allowance(formats=frozenset({"pickle"}))
    with watched() as events, pytest.raises(FormatRefused) as caught:
        static_stage.check("m.pkl", "pickle", memoryview(data), pins, only_format, "m")
    assert caught.value.code == "not-allowed"
    assert events == []
