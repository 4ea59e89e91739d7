"""The gate's machine against CPython's: one result for what it accepts, no name hidden from the tracer."""

import contextlib
import io
import pickle
import random
import resource
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import mutators
from tests.fuzz.samples import ESTIMATORS, fitted
from tests.property.pickle_graphs import array_in_itself, different, graphs
from vault.core import inspection, pickle_trace
from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS
from vault.errors import PickleRefused, Refused
from vault.loaders import pickle_gate

PICKLERS: dict[str, Any] = {"C": pickle.Pickler, "Python": pickle._Pickler}
UNPICKLERS: dict[str, Any] = {"C": pickle.Unpickler, "Python": pickle._Unpickler}


def written(value: Any, pickler: str, protocol: int) -> bytes:
    buffer = io.BytesIO()
    try:
        PICKLERS[pickler](buffer, protocol).dump(value)
        pickle.loads(buffer.getvalue())
    except (AssertionError, TypeError):  # the Python pickler confuses empty arrays and empty bytes
        return pickle.dumps(value, protocol)
    return buffer.getvalue()


def through_the_gate(data: bytes, *, joblib: bool = False) -> Any:
    return pickle_gate.restore(data, DEFAULT_PICKLE_GLOBALS, joblib=joblib)


def same_or_refused(value: Any, data: bytes, theirs: Any, *, joblib: bool = False) -> None:
    """Refuse nothing but an array of objects that holds itself, which is not whole when it is put there."""
    allowed: Any = contextlib.suppress(Refused) if array_in_itself(value) else contextlib.nullcontext()
    with allowed:
        assert different(through_the_gate(data, joblib=joblib), theirs) == ""


@pytest.mark.parametrize("pickler", PICKLERS)
@pytest.mark.parametrize("protocol", [3, 4, 5])
@settings(max_examples=25)
@given(value=graphs())
def test_a_graph_comes_back_as_cpython_builds_it(pickler: str, protocol: int, value: Any) -> None:
    data = written(value, pickler, protocol)
    same_or_refused(value, data, pickle.loads(data))


@settings(max_examples=25)
@given(value=graphs(), compress=st.sampled_from([0, 0, ("zlib", 1), ("bz2", 1), ("xz", 0)]))
def test_a_graph_in_a_joblib_file_comes_back_as_joblib_builds_it(value: Any, compress: Any) -> None:
    buffer = io.BytesIO()
    joblib.dump(value, buffer, compress=compress)
    data = buffer.getvalue()
    same_or_refused(value, data, joblib.load(io.BytesIO(data)), joblib=True)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_comes_back_as_cpython_builds_it(name: str) -> None:
    model, rows = fitted()[name]
    for pickler in PICKLERS:
        for protocol in (3, 4, 5):
            data = written(model, pickler, protocol)
            assert different(through_the_gate(data), pickle.loads(data)) == ""
    restored = through_the_gate(data)
    answer = "predict" if hasattr(model, "predict") else "transform"
    assert np.array_equal(getattr(restored, answer)(rows), getattr(model, answer)(rows))


class Inert:
    """Stands for every global: can be made, called, filled and given state, and does nothing."""

    def __new__(cls, *arguments: Any, **keywords: Any) -> "Inert":
        return object.__new__(cls)

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        pass

    def __call__(self, *arguments: Any, **keywords: Any) -> "Inert":
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Take an item."""

    extend = add = append

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


def resolved(machine: str, data: bytes, *, raising: bool = False) -> list[str]:
    """Run CPython's machine over inert names; return those that it asked for, in order."""
    names: list[str] = []

    unpickler: Any = UNPICKLERS[machine]

    class Recorder(unpickler):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> Any:
            names.append(f"{module}.{name}")
            if raising:
                raise pickle.UnpicklingError("recorded")
            return Inert

        def persistent_load(self, identity: Any) -> Any:
            return Inert()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A broken stream may end in any way: what was asked for counts.
        with contextlib.suppress(Exception):
            Recorder(io.BytesIO(data), buffers=[b"x"] * 100).load()
    return names


@contextmanager
def little_memory() -> Iterator[None]:
    """Let CPython's own machine run out of memory early: it reserves what a stream claims."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 30), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class Named:
    """Pickles as a call of a name that need not exist, with itself for an argument list."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.named, self.arguments = (module, name), arguments

    def stream(self, protocol: int) -> bytes:
        """Write the call as a stream of its own, by opcodes."""
        module, name = self.named
        body = written(self.arguments, "Python", protocol)[2:-1]
        body = body[9:] if body[:1] == b"\x95" else body
        if protocol == 3:
            found = f"c{module}\n{name}\n".encode()
        else:
            found = (
                b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name)) + b"\x93"
            )
        return bytes([0x80, protocol]) + found + body + b"R."


NAMES = st.sampled_from([("os", "system"), ("m", "f"), ("numpy", "dtype"), ("builtins", "set"), ("a.b", "C")])


def hostile(seed: int, value: Any, protocol: int, named: tuple[str, str], rounds: int) -> bytes:
    """Join a call and a graph in one stream, and change its opcodes."""
    source = random.Random(seed)
    call = Named(*named, "x").stream(protocol)[2:-1]
    graph = written(value, "Python", protocol)
    inside = graph[11:] if graph[2:3] == b"\x95" else graph[2:]
    data = bytes([0x80, protocol]) + call + b"0" * source.randrange(2) + inside
    for _ in range(rounds):
        data = mutators.opcodes(source, data) or b"\x80\x04."
    return data


@settings(max_examples=120)
@given(
    seed=st.integers(0, 2**32),
    value=graphs(),
    protocol=st.sampled_from([3, 4, 5]),
    named=NAMES,
    rounds=st.integers(0, 3),
)
def test_the_tracer_sees_every_name_that_cpython_would_resolve(
    seed: int, value: Any, protocol: int, named: tuple[str, str], rounds: int
) -> None:
    """Of a stream that it accepts, all; of one that it refuses, the stream is refused as a whole."""
    data = hostile(seed, value, protocol, named, rounds)
    tracer = pickle_trace.Tracer(joblib=False)
    try:
        pickle_trace.trace_with(tracer, data)
    except PickleRefused:
        assert inspection.inspect_bytes("m.pkl", data).verdict != "data"
        with pytest.raises(Refused):
            pickle_gate.restore(data, DEFAULT_PICKLE_GLOBALS | tracer.globals, joblib=False)
        return
    with little_memory():
        for machine in UNPICKLERS:
            asked = resolved(machine, data)
            assert set(asked) <= tracer.globals
            assert resolved(machine, data, raising=True) == asked[:1]


@settings(max_examples=120)
@given(
    seed=st.integers(0, 2**32), value=graphs(), protocol=st.sampled_from([3, 4, 5]), rounds=st.integers(1, 3)
)
def test_a_changed_stream_that_is_accepted_means_the_same_to_cpython(
    seed: int, value: Any, protocol: int, rounds: int
) -> None:
    source = random.Random(seed)
    data = written(value, source.choice(["C", "Python"]), protocol)
    for _ in range(rounds):
        data = mutators.opcodes(source, data) or b"\x80\x04."
    try:
        ours = through_the_gate(data)
    except Refused:
        return
    with warnings.catch_warnings(), little_memory():
        warnings.simplefilter("ignore")
        for machine in UNPICKLERS.values():
            try:
                theirs = machine(io.BytesIO(data)).load()
            except Exception:  # NumPy checks some fields that the gate does not use
                continue
            assert different(ours, theirs) == ""
