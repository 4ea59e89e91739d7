"""What one pickle may cost, its nested streams together: names, objects, and copies of one part."""

from typing import Any

import numpy as np
import pytest

from vault.core import limits, pickle_trace, pickle_vm
from vault.core.pickle_host import Draft, RawArray
from vault.errors import PickleRefused

FIND = b"ca\nb\n"
BUILT = FIND + b")R}b"  # something made, given no state


class Host:
    """Knows one global; what it makes waits for its state, and may have a stream behind it."""

    def __init__(self, *, nests: bool = False) -> None:
        self.nests = nests

    def find(self, module: str, name: str) -> object:
        return Host

    def call(self, function: Any, arguments: tuple[Any, ...]) -> object:
        return arguments[0] if arguments else Draft()

    def new(self, kind: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> object:
        return Draft()

    def build(self, target: Any, state: Any) -> object:
        return RawArray(None, aligned=False, finish=lambda content: content) if self.nests else state

    def fill(self, target: Any, items: list[Any], how: str) -> None:
        raise PickleRefused("no filling here")


def run(body: bytes, *, nests: bool = False) -> Any:
    return pickle_vm.run(b"\x80\x04" + body + b".", Host(nests=nests))


def refused(body: bytes, why: str, *, nests: bool = False) -> None:
    with pytest.raises(PickleRefused, match=why):
        run(body, nests=nests)


def test_names_and_objects_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PICKLE_FINDS", 2)
    run((FIND + b"0") * 2 + b"N")
    refused((FIND + b"0") * 3 + b"N", "too many globals")
    monkeypatch.setattr(limits, "PICKLE_FINDS", 100)
    monkeypatch.setattr(limits, "PICKLE_CALLS", 2)
    run(FIND + b"\x94" + b"h\x00N\x85R0" * 2)
    refused(FIND + b"\x94" + b"h\x00N\x85R0" * 3, "too many objects")
    refused(FIND + b"\x94" + b"h\x00)\x81N\x85b0" * 3, "too many objects")


def test_nested_streams_share_what_a_pickle_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    nested = BUILT + b"\x80\x04N."
    ran = run(nested + b"0" + nested, nests=True)
    assert ran.opcodes == 19
    monkeypatch.setattr(limits, "PICKLE_OPCODES", 19)
    run(nested + b"0" + nested, nests=True)
    monkeypatch.setattr(limits, "PICKLE_OPCODES", 18)
    refused(nested + b"0" + nested, "too many opcodes", nests=True)
    monkeypatch.setattr(limits, "PICKLE_OPCODES", 1_000)
    monkeypatch.setattr(limits, "PICKLE_SETS", 1)
    sets = BUILT + b"\x80\x04\x8f."
    run(sets, nests=True)
    refused(sets + b"0" + sets, "too many sets", nests=True)


def test_one_part_is_not_copied_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PICKLE_WORK", 0)
    text = b"\x8c\xc8" + b"a" * 200 + b"\x94"
    once = FIND + b"0" + text
    run(once + (FIND + b"h\x00\x85R0") * 5)
    refused(once + (FIND + b"h\x00\x85R0") * 100, "again and again")
    attributes = b"".join(b"\x8c\x03a%02xNs" % index for index in range(250))
    state = once + b"0}" + attributes + b"\x940"
    run(state + (FIND + b")Rh\x01b0") * 5 + b"N")
    refused(state + (FIND + b")Rh\x01b0") * 100 + b"N", "again and again")
    refused(once + (FIND + b")Rh\x00\x85b0") * 100 + b"N", "again and again")


def test_arrays_count_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Arrays(Host):
        def call(self, function: Any, arguments: tuple[Any, ...]) -> object:
            return np.zeros(1_000)

    monkeypatch.setattr(limits, "PICKLE_WORK", 20_000)
    head = b"\x80\x04" + FIND + b"\x94)R\x94"
    pickle_vm.run(head + b"h\x00h\x01\x85R0" * 2 + b".", Arrays())
    with pytest.raises(PickleRefused, match="again and again"):
        pickle_vm.run(head + b"h\x00h\x01\x85R0" * 3 + b".", Arrays())


def test_single_items_are_set_like_many() -> None:
    assert run(b"}" + b"\x8c\x01aK\x01s" + b"K\x02K\x03s" + b"NNs").result == {"a": 1, 2: 3, None: None}
    large = b"\x8a\x09" + bytes(8) + b"\x01"
    assert run(b"}" + large + b"Ns").result == {1 << 64: None}
    refused(b"]NNs", "no filling")
    refused(b"}]Ns", "key")


def test_a_dtype_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def dtype_size(code: Any, *_: Any) -> int:
        asked.append(code)
        return 8

    monkeypatch.setattr(pickle_trace, "dtype_size", dtype_size)
    dtype = pickle_trace.Product(pickle_trace.Symbol("numpy.dtype"), ("f8",))
    tracer = pickle_trace.Tracer()
    for expected in (1, 1):
        assert pickle_trace._item_size(dtype, "") == 8
        assert len(asked) == expected
    tracer.build(dtype, (1,))
    pickle_trace._item_size(dtype, "")
    assert len(asked) == 2
