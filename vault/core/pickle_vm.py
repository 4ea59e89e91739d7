"""Run a pickle on one opcode loop of our own, with every effect left to a host.

The same loop traces (the host hands out inert symbols) and enforces (the host
resolves what was pinned), so what is traced is what runs. It executes only
opcodes that picklers of protocols 3 to 5 write; all else is refused.

Source: `Lib/pickle.py` of CPython 3.11 to 3.13, PEP 3154; joblib's containers:
`joblib/numpy_pickle.py` of joblib 1.6.
"""

import struct
from collections.abc import Callable
from typing import Final

from vault.core import limits
from vault.core import pickle_opcodes as op
from vault.core.pickle_host import Host, Ran, RawArray
from vault.core.pickle_machine import Machine
from vault.errors import PickleRefused, VaultError

_FLOAT: Final = struct.Struct(">d")
_INT: Final = struct.Struct("<i")
_NESTED_STREAMS: Final = 8
_ALIGNMENT: Final = 16


def run(data: bytes | memoryview, host: Host, *, subject: str = "") -> Ran:
    """Run one pickle that fills `data` exactly.

    Raises:
        PickleRefused: an opcode, a length, an order or an effect that is not permitted.
    """
    view = memoryview(data).toreadonly().cast("B")
    if len(view) > limits.PICKLE_BYTES:
        raise PickleRefused(
            f"{subject or 'The pickle'} is larger than {limits.PICKLE_BYTES} bytes.", subject=subject
        )
    ran = _stream(Machine(view, host, subject))
    if ran.end != len(view):
        raise PickleRefused(
            f"{subject or 'The pickle'} goes on after its end: {len(view) - ran.end} more bytes.",
            subject=subject,
        )
    return ran


def _stream(m: Machine) -> Ran:
    """Execute one stream to its STOP and return what is left."""
    if m.at >= m.end or m.view[m.at] != op.PROTO:
        raise m.bad("does not start with a protocol of 3 to 5")
    try:
        _execute(m)
    except (IndexError, KeyError):
        if m.at > m.end - 1:
            raise m.bad("ends before its STOP") from None
        raise m.bad("takes something that is not there") from None
    except VaultError:
        raise
    except Exception:  # whatever Python, NumPy or an imported module makes of parts that do not fit
        raise m.bad("puts together what does not fit") from None
    return Ran(m.left(), m.protocol, m.spent.opcodes, m.at)


def _execute(m: Machine) -> None:
    """Take the steps of a stream in order, none of them across the end of a frame."""
    steps, view, stop = _STEPS, m.view, op.STOP
    for _ in m.spent.steps:
        at = m.at
        code = view[at]
        m.at = at + 1
        if code == stop:
            return
        steps[code](m)
        if m.at > m.frame > at:
            raise m.bad("has an opcode that reaches beyond its frame")
    raise m.bad("has too many opcodes")


# The steps that a large model has most of.


def _get(m: Machine) -> None:
    at = m.at
    m.at = at + 1
    m.stack.append(m.memo[m.view[at]])


def _memoize(m: Machine) -> None:
    m.remember(len(m.memo))


def _mark(m: Machine) -> None:
    m.below.append(m.stack)
    m.stack = []


def _small_int(m: Machine) -> None:
    at = m.at
    m.at = at + 1
    m.stack.append(m.view[at])


def _short_text(m: Machine) -> None:
    at = m.at
    stop = at + 1 + m.view[at]
    if stop > m.end:
        raise m.bad("has a length beyond its end")
    m.at = stop
    m.stack.append(str(m.view[at + 1 : stop], "utf-8"))


def _short_bytes(m: Machine) -> None:
    m.stack.append(bytes(m.take(m.number(1))))


def _text(width: int) -> Callable[[Machine], None]:
    def step(m: Machine) -> None:
        m.stack.append(str(m.take(m.number(width)), "utf-8"))

    return step


def _bytes(width: int) -> Callable[[Machine], None]:
    def step(m: Machine) -> None:
        m.stack.append(bytes(m.take(m.number(width))))

    return step


def _tuple1(m: Machine) -> None:
    stack = m.stack
    stack[-1] = (stack[-1],)


def _tuple2(m: Machine) -> None:
    second, first = m.stack.pop(), m.stack.pop()
    m.stack.append((first, second))


def _tuple3(m: Machine) -> None:
    third, second, first = m.stack.pop(), m.stack.pop(), m.stack.pop()
    m.stack.append((first, second, third))


def _pop(m: Machine) -> None:
    m.stack.pop()


def _pop_mark(m: Machine) -> None:
    m.items()


def _set_items(m: Machine) -> None:
    items = m.items()
    m.set_items(items)


def _appends(m: Machine) -> None:
    items = m.items()
    m.append(items)


def _add_items(m: Machine) -> None:
    items = m.items()
    m.add(items)


def _tuple(m: Machine) -> None:
    items = m.items()
    m.stack.append(tuple(items))


def _global(m: Machine) -> None:
    module = m.line()
    m.find(module, m.line())


def _stack_global(m: Machine) -> None:
    name = m.stack.pop()
    m.find(m.stack.pop(), name)


def _new_ex(m: Machine) -> None:
    keywords = m.stack.pop()
    m.new(m.stack.pop(), keywords)


def _build(m: Machine) -> None:
    raw = m.build()
    if raw is not None:
        m.finish(_raw_array(m, raw))


def _raw_array(m: Machine, raw: RawArray) -> object:
    """Read the array that joblib writes behind its wrapper, outside any frame."""
    if m.at < m.frame:
        raise m.bad("has an array inside a frame")
    m.frame = 0
    if raw.size is None:
        if m.nesting >= _NESTED_STREAMS:
            raise m.bad("nests arrays of objects too deeply")
        ran = _stream(m.nested())
        m.at = ran.end
        return raw.finish(ran.result)
    if raw.aligned:
        padding = m.number(1)
        if padding != _ALIGNMENT - m.at % _ALIGNMENT or bytes(m.take(padding)).strip(b"\xff"):
            raise m.bad("has an array that is not aligned as joblib aligns it")
    return raw.finish(m.take(raw.size))


def _refuse(code: int) -> Callable[[Machine], None]:
    def step(m: Machine) -> None:
        raise m.bad(f"has the opcode {op.REFUSED.get(code, f'{code:#04x}')}")

    return step


_TABLE: Final[dict[int, Callable[[Machine], None]]] = {
    op.PROTO: Machine.proto,
    op.FRAME: Machine.start_frame,
    op.MARK: _mark,
    op.POP: _pop,
    op.POP_MARK: _pop_mark,
    op.NONE: lambda m: m.stack.append(None),
    op.NEWTRUE: lambda m: m.stack.append(True),
    op.NEWFALSE: lambda m: m.stack.append(False),
    op.BININT: lambda m: m.stack.append(_INT.unpack(m.take(4))[0]),
    op.BININT1: _small_int,
    op.BININT2: lambda m: m.stack.append(m.number(2)),
    op.LONG1: lambda m: m.long(1),
    op.LONG4: lambda m: m.long(4),
    op.BINFLOAT: lambda m: m.stack.append(_FLOAT.unpack(m.take(8))[0]),
    op.SHORT_BINUNICODE: _short_text,
    op.BINUNICODE: _text(4),
    op.BINUNICODE8: _text(8),
    op.SHORT_BINBYTES: _short_bytes,
    op.BINBYTES: _bytes(4),
    op.BINBYTES8: _bytes(8),
    op.BYTEARRAY8: lambda m: m.stack.append(bytearray(m.take(m.number(8)))),
    op.EMPTY_LIST: lambda m: m.stack.append([]),
    op.EMPTY_DICT: lambda m: m.stack.append({}),
    op.EMPTY_SET: Machine.empty_set,
    op.EMPTY_TUPLE: lambda m: m.stack.append(()),
    op.TUPLE: _tuple,
    op.TUPLE1: _tuple1,
    op.TUPLE2: _tuple2,
    op.TUPLE3: _tuple3,
    op.FROZENSET: Machine.frozen,
    op.APPEND: lambda m: m.append([m.stack.pop()]),
    op.APPENDS: _appends,
    op.SETITEM: Machine.set_item,
    op.SETITEMS: _set_items,
    op.ADDITEMS: _add_items,
    op.BINPUT: lambda m: m.remember(m.number(1)),
    op.LONG_BINPUT: lambda m: m.remember(m.number(4)),
    op.MEMOIZE: _memoize,
    op.BINGET: _get,
    op.LONG_BINGET: lambda m: m.stack.append(m.memo[m.number(4)]),
    op.GLOBAL: _global,
    op.STACK_GLOBAL: _stack_global,
    op.REDUCE: Machine.reduce,
    op.NEWOBJ: lambda m: m.new(m.stack.pop(), {}),
    op.NEWOBJ_EX: _new_ex,
    op.BUILD: _build,
}
_STEPS: Final = tuple(_TABLE.get(code, _refuse(code)) for code in range(256))
