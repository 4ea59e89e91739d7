"""The pickle machine: traces what CPython would do, and refuses what no gate permits."""

import collections
import datetime
import io
import pickle
import pickletools
import struct
import sys
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vault.core import compression, joblib_container, pickle_keys, pickle_opcodes, pickle_trace, pickle_vm
from vault.errors import PickleRefused

DATA = np.random.default_rng(0).normal(size=(50, 3))


class Inert:
    """A host for streams without globals."""

    def find(self, module: str, name: str) -> object:
        raise PickleRefused("no globals here")

    def call(self, function: Any, arguments: tuple[Any, ...]) -> object:
        raise PickleRefused("no calls here")

    def new(self, kind: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> object:
        raise PickleRefused("no objects here")

    def build(self, target: Any, state: Any) -> object:
        raise PickleRefused("no state here")

    def fill(self, target: Any, items: list[Any], how: str) -> None:
        raise PickleRefused("no filling here")


def evaluate(data: bytes) -> Any:
    return pickle_vm.run(data, Inert()).result


def refused(data: bytes, match: str | None = None, *, joblib: bool = False) -> None:
    with pytest.raises(PickleRefused, match=match) as caught:
        pickle_trace.trace(data, joblib=joblib)
    assert caught.value.code == "pickle-refused"


VALUES: list[Any] = [
    None,
    True,
    0,
    255,
    65_536,
    -1,
    2**31,
    -(2**40),
    2**2000,
    1.5,
    float("inf"),
    "",
    "text ☃",
    "x" * 70_000,
    b"bytes",
    b"x" * 300,
    bytearray(b"more"),
    [],
    [1, [2, [3]]],
    (),
    (1,),
    (1, 2),
    (1, 2, 3),
    (1, 2, 3, 4),
    {},
    {"a": {"b": 1}, 2: None},
    set(),
    {1, 2},
    frozenset({3}),
    list(range(3000)),
    {index: str(index) for index in range(3000)},
]


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_plain_values_evaluate_as_in_cpython(value: Any, protocol: int) -> None:
    if isinstance(value, bytearray) > (protocol >= 5) or isinstance(value, set | frozenset) > (protocol >= 4):
        return  # older protocols write these as calls
    for dumps in (pickle.dumps, pickle._dumps):  # type: ignore[attr-defined]
        found = evaluate(dumps(value, protocol))
        assert found == value
        assert type(found) is type(value)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(plain, st.sampled_from([3, 4, 5]))
def test_any_plain_value_evaluates_as_in_cpython(value: Any, protocol: int) -> None:
    assert evaluate(pickle.dumps(value, protocol)) == value


def test_shared_and_recursive_values_keep_their_identity() -> None:
    shared = [1]
    first, second = evaluate(pickle.dumps([shared, shared], 4))
    assert first is second
    loop: list[Any] = []
    loop.append((loop,))
    found = evaluate(pickle.dumps(loop, 4))
    assert found[0][0] is found


class Recorder(pickle.Unpickler):
    """Records what CPython's machine resolves, and resolves it: for honest files only."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.names: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.names.add(f"{module}.{name}")
        return super().find_class(module, name)


HONEST: list[Any] = [
    make_pipeline(StandardScaler(), LinearRegression()).fit(DATA, DATA[:, 0]),
    RandomForestClassifier(5, random_state=np.random.RandomState(0)).fit(DATA, DATA[:, 0] > 0),
    np.arange(5),
    np.array(["a", None], dtype=object),
    collections.OrderedDict(a=1),
    datetime.date(2024, 1, 1),
]


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("value", HONEST, ids=lambda value: type(value).__name__)
def test_a_trace_names_exactly_what_cpython_resolves(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    recorder = Recorder(data)
    recorder.load()
    trace = pickle_trace.trace(data, joblib=False)
    assert trace.globals == recorder.names
    assert trace.protocol == protocol
    assert trace.opcodes == sum(1 for _ in pickletools.genops(data))


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(
    "compress", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)], ids=str
)
@pytest.mark.parametrize("value", HONEST, ids=lambda value: type(value).__name__)
def test_joblib_files_are_traced_in_every_container(value: Any, compress: Any, protocol: int) -> None:
    buffer = io.BytesIO()
    joblib.dump(value, buffer, compress=compress, protocol=protocol)
    trace = pickle_trace.trace(buffer.getvalue(), joblib=True)
    bare = pickle_trace.trace(pickle.dumps(value, protocol), joblib=False).globals
    assert {name for name in bare if name.startswith("sklearn.")} <= trace.globals
    assert trace.compressed == bool(compress)


def test_arrays_of_every_layout_are_stepped_over() -> None:
    arrays = [
        np.zeros((0, 3)),
        np.array(1.5),
        np.asfortranarray(np.eye(4)),
        np.array(["ab", "c"]),
        np.array(["2024-01-01"], dtype="M8[ns]"),
        np.zeros(3, dtype=[("a", "<i8"), ("b", "<f4", ()), ("c", "u1")]),
        np.array([b"x", b"yz"]),
        np.array([["x", None]], dtype=object),
    ]
    buffer = io.BytesIO()
    joblib.dump(arrays, buffer)
    assert pickle_trace.trace(buffer.getvalue(), joblib=True).arrays == len(arrays)


# Hand-made streams. P: protocol 4; S: stop.
P, S = b"\x80\x04", b"."
SYSTEM = b"\x8c\x05posix\x8c\x06system\x93"
ARGUMENT = b"\x8c\x02id\x85"


def test_globals_come_to_light_however_they_are_spelt() -> None:
    memo = P + b"\x8c\x06system\x940\x8c\x05posix\x940h\x01h\x00\x93" + ARGUMENT + b"R" + S
    for data in (P + SYSTEM + ARGUMENT + b"R" + S, P + b"cposix\nsystem\n" + ARGUMENT + b"R" + S, memo):
        trace = pickle_trace.trace(data, joblib=False)
        assert trace.globals == {"posix.system"}
        assert trace.called == {"posix.system"}


def test_a_refused_stream_still_tells_what_it_named_before() -> None:
    tracer = pickle_trace.Tracer(joblib=False)
    with pytest.raises(PickleRefused):
        pickle_trace.trace_with(tracer, P + SYSTEM + ARGUMENT + b"R" + b"\xff")
    assert tracer.called == {"posix.system"}


@pytest.mark.parametrize(
    "code", pickle_opcodes.REFUSED, ids=lambda code: pickle_opcodes.REFUSED[code].split(",")[0]
)
def test_opcodes_that_new_picklers_do_not_write_are_refused(code: int) -> None:
    refused(P + b"N" + bytes([code]) + bytes(16) + S, "has the opcode")


def test_every_opcode_is_executed_or_refused_by_name() -> None:
    known = {ord(opcode.code) for opcode in pickletools.opcodes}
    executed = {code for code in range(256) if code in pickle_vm._TABLE} | {pickle_opcodes.STOP}
    assert executed | set(pickle_opcodes.REFUSED) == known
    assert not executed & set(pickle_opcodes.REFUSED)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "does not start"),
        (b"N.", "does not start"),
        (b"\x80\x02N.", "protocol 2"),
        (b"\x80\x06N.", "protocol 6"),
        (P + P + b"N.", "protocol 4"),
        (P + b"N", "before its STOP"),
        (P + b"NK", "before its STOP"),
        (P + b"\x8c\x05abc.", "beyond its end"),
        (P + b".", "left over"),
        (P + b"NN.", "left over"),
        (P + b"(N.", "left over"),
        (P + b"N.N.", "goes on after"),
        (P + b"N.\x00", "goes on after"),
        (P + b"h\x00.", "not there"),
        (P + b"0.", "not there"),
        (P + b"N(0.", "not there"),
        (P + b"N(\x85.", "not there"),
        (P + b"NN(\x86.", "not there"),
        (P + b"NNN(\x87.", "not there"),
        (P + b"N(q\x00.", "not there"),
        (P + b"N(\x94.", "not there"),
        (P + b"Nq\x01.", "out of order"),
        (P + b"t.", "not there"),
        (P + b"N\x94N\x94q\x00.", "twice"),
        (P + b"X\xff\xff\xff\xffabc.", "beyond its end"),
        (P + b"\x8d" + b"\xff" * 8 + b"abc.", "beyond its end"),
        (P + b"\x8e" + struct.pack("<Q", 1 << 40) + b".", "beyond its end"),
        (P + b"\x8b\xff\xff\xff\x7f.", "too long"),
        (P + b"\x8c\x02\xff\xfe.", "does not fit"),
        (P + b"J\x01\x02.", "beyond its end"),
        (P + b"cposix\nsystem", "does not end"),
        (P + b"c" + b"a" * 10_000 + b"\nb\n.", "does not end"),
        (P + b"K\x01K\x02\x93.", "not text"),
        (P + b"N" + ARGUMENT + b"R.", "not a global"),
        (P + b"]" + ARGUMENT + b"R.", "not a global"),
        (P + SYSTEM + b"NR.", "not a tuple"),
        (P + SYSTEM + b"]\x81.", "not a tuple"),
        (P + b"N)\x81.", "not a global"),
        (P + SYSTEM + b")N\x92.", "not a tuple"),
        (P + SYSTEM + b")}K\x01K\x02s\x92.", "not text"),
        (P + SYSTEM + b"}b.", "state of a global"),
        (P + b"]}b.", "state of a global"),
        (P + SYSTEM + b")R}\x8c\x09__class__NsbNb.", "special"),
        (P + SYSTEM + b")R}K\x01Nsb.", "special"),
        (P + b"N(K\x01e.", "plain value"),
        (P + b"](K\x01u.", "without a value"),
        (P + b"}(K\x01u.", "without a value"),
        (P + b"]K\x01K\x02s.", "plain value"),
        (P + b"}]K\x01s.", "has a key"),
        (P + b"\x8f(]\x90.", "has a key"),
        (P + b"](K\x01\x90.", "plain value"),
        (P + b"(]\x91.", "has a key"),
        (P + b"\x95" + struct.pack("<Q", 100) + b"N.", "beyond its end"),
        (P + b"\x95" + struct.pack("<Q", 12) + b"\x95" + struct.pack("<Q", 2) + b"NN.", "inside another"),
        (P + b"\x95" + struct.pack("<Q", 2) + b"\x8c\x02ab.", "beyond its frame"),
        (P + b"\x95" + struct.pack("<Q", 2) + b"N.N", "goes on after"),
        (P + b"\x95" + struct.pack("<Q", 3) + b"N.N", "inside a frame"),
        (b"\x80\x03\x95" + struct.pack("<Q", 2) + b"N.", "frame"),
    ],
)
def test_streams_that_no_pickler_writes_are_refused(data: bytes, why: str) -> None:
    refused(data, why)


def test_a_frame_cannot_hide_opcodes() -> None:
    inner = b"cposix\nsystem\n(X\x02\x00\x00\x00idtR0"
    hidden = P + b"\x95" + struct.pack("<Q", 4) + b"\x8c" + bytes([len(inner)]) + inner + b"N."
    refused(hidden, "beyond its frame")
    assert pickle_trace.trace(P + inner + b"N.", joblib=False).called == {"posix.system"}


def test_an_array_of_joblib_needs_the_joblib_format() -> None:
    buffer = io.BytesIO()
    joblib.dump(np.arange(3), buffer)
    refused(buffer.getvalue(), "joblib")
    for cut in (1, 8, 20):
        refused(buffer.getvalue()[:-cut], joblib=True)
    refused(buffer.getvalue() + b"\x00", "goes on after", joblib=True)


def test_a_nested_stream_of_an_object_array_is_traced_too() -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("never",)

    buffer = io.BytesIO()
    joblib.dump(np.array([Evil(), None], dtype=object), buffer)
    assert "builtins.print" in pickle_trace.trace(buffer.getvalue(), joblib=True).called


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (-1,)},
        {"shape": (2**62, 4)},
        {"shape": [3]},
        {"shape": (True,)},
        {"order": "K"},
        {"dtype": None},
        {"dtype": "<i8"},
        {"numpy_array_alignment_bytes": 1},
        {"filename": "/etc/passwd"},
    ],
)
def test_tampered_array_wrappers_are_refused(change: dict[str, Any]) -> None:
    from joblib.numpy_pickle import NumpyArrayWrapper

    wrapper = NumpyArrayWrapper(np.ndarray, (3,), "C", np.dtype("<i8"))
    vars(wrapper).update(change)
    refused(pickle.dumps(wrapper, 4)[:-1] + b"\x01\xff" + bytes(24) + b".", joblib=True)


def test_bombs_are_capped() -> None:
    content = b"\x80\x04" + bytes(6_000_000)
    import bz2
    import gzip
    import lzma
    import zlib

    for compress in (zlib.compress, gzip.compress, bz2.compress, lzma.compress):
        with pytest.raises(PickleRefused, match="unpacks to more"):
            joblib_container.unpack(compress(content), limit=1_000_000)
        assert bytes(joblib_container.unpack(compress(content))) == content
        for damaged in (compress(content)[:-5], compress(content) + b"x", compress(content) * 2):
            with pytest.raises(PickleRefused):
                joblib_container.unpack(damaged)
        refused(compress(compress(pickle.dumps(1))), joblib=True)


@pytest.mark.parametrize(
    "weak",
    [
        lambda index: index * (2**61 - 1) + 2**61,
        lambda index: (index, 1),
        lambda index: frozenset([index]),
    ],
)
def test_keys_that_collide_at_will_are_few(weak: Any) -> None:
    few = {weak(index): None for index in range(1, 200)}
    assert evaluate(pickle.dumps(few, 4)) == few
    with pytest.raises(PickleRefused, match="collide"):
        evaluate(pickle.dumps([dict.fromkeys([weak(index)]) for index in range(1, 10_200)], 4))
    assert pickle_keys.collides_at_will(1j)
    assert pickle_keys.collides_at_will(np.complex64(1))
    assert not pickle_keys.collides_at_will(np.int64(1))
    many = dict.fromkeys([*map(str, range(20_000)), *range(20_000), *map(float, range(20_000))])
    assert evaluate(pickle.dumps(many, 4)) == many


def test_pickles_of_recursive_tuples_drop_what_they_began() -> None:
    for length in (1, 2, 3, 4):
        loop: list[Any] = []
        whole = (*range(length - 1), loop)
        loop.append(whole)
        for protocol in (3, 4, 5):
            found = evaluate(pickle.dumps(whole, protocol))
            assert found[-1][0] is found


def test_containers_that_are_not_read_are_refused() -> None:
    for head in (b"ZF0x2", b"hello", b"", b"\x78\x00", b"\x78"):
        refused(head + bytes(50), "neither", joblib=True)


def test_lz4_is_read_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lz4")
    content = pickle.dumps(list(range(100_000)))
    buffer = io.BytesIO()
    joblib.dump(list(range(100_000)), buffer, compress=("lz4", 3))
    packed = buffer.getvalue()
    assert bytes(joblib_container.unpack(packed))[-1000:] == content[-1000:]
    for damaged in (packed[:-5], packed + b"x", packed * 2, packed[:4] + b"\xff" * 50, packed[:300] + packed):
        with pytest.raises(PickleRefused):
            joblib_container.unpack(damaged)
    with pytest.raises(PickleRefused, match="unpacks to more"):
        joblib_container.unpack(packed, limit=1000)
    opened = compression.unpacker(packed)
    assert opened is not None
    assert opened.decompress(packed[:10], 100) == b""
    assert opened.needs_input  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    with pytest.raises(PickleRefused, match="neither") as caught:
        joblib_container.unpack(packed)
    assert caught.value.hint == "Install lz4."


@settings(deadline=None, max_examples=400)
@given(st.binary(max_size=120))
def test_any_bytes_are_a_pickle_or_refused(junk: bytes) -> None:
    for data in (junk, P + junk, P + junk + S):
        try:
            pickle_trace.trace(data, joblib=True)
        except PickleRefused:
            continue
        assert data.startswith(b"\x80") or joblib_container.unpack(data)


FOREST = pickle.dumps(RandomForestClassifier(2).fit(DATA, DATA[:, 0] > 0), 4)


class Stopped(Exception):
    """Raised instead of resolving anything but what the honest file names."""


class Guarded(pickle._Unpickler):
    """CPython's Python machine, which records a name and stops at the first that is new."""

    def __init__(self, data: bytes, honest: frozenset[str]) -> None:
        super().__init__(io.BytesIO(data))
        self.honest = honest
        self.names: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.names.add(f"{module}.{name}")
        raise Stopped


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_what_cpython_would_resolve_first_is_in_the_trace_of_a_changed_file(draw: st.DataObject) -> None:
    data = bytearray(FOREST)
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(2, 400))] = draw.draw(st.integers(0, 255))
    tracer = pickle_trace.Tracer(joblib=False)
    try:
        pickle_trace.trace_with(tracer, bytes(data))
    except PickleRefused:
        return
    guarded = Guarded(bytes(data), frozenset())
    with pytest.raises(Exception):  # noqa: B017 (whatever CPython makes of it)
        guarded.load()
    assert guarded.names <= tracer.globals
