"""Run a pickle on one opcode loop of our own, with every effect left to a host.

The same loop traces (the host hands out inert symbols) and enforces (the host
resolves what was pinned), so what is traced is what runs. It executes only
opcodes that picklers of protocols 3 to 5 write; all else is refused.

Source: `Lib/pickle.py` of CPython 3.11 to 3.13, PEP 3154; joblib's containers:
`joblib/numpy_pickle.py` of joblib 1.6.
"""

import struct
from collections.abc import Callable
from typing import Any, Final

from vault.core import limits
from vault.core import pickle_opcodes as op
from vault.core.pickle_host import Draft, Host, Ran, RawArray
from vault.core.pickle_keys import is_bounded_key
from vault.errors import PickleRefused, VaultError

_FLOAT: Final = struct.Struct(">d")
_INT: Final = struct.Struct("<i")
_LONG_BYTES: Final = limits.KIB
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
    ran = _Machine(view, host, subject, 0, 0).run()
    if ran.end != len(view):
        raise PickleRefused(
            f"{subject or 'The pickle'} goes on after its end: {len(view) - ran.end} more bytes.",
            subject=subject,
        )
    return ran


class _Machine:
    """One stream: a stack, its marks, a memo, and the position."""

    # fmt: off
    __slots__ = (
        "_at", "_drafts", "_end", "_found", "_frame", "_host", "_nesting", "_opcodes",
        "_pending", "_protocol", "_subject", "_view", "marks", "memo", "stack",
    )
    # fmt: on

    def __init__(self, view: memoryview, host: Host, subject: str, at: int, nesting: int) -> None:
        self._view = view
        self._end = len(view)
        self._at = at
        self._host = host
        self._subject = subject
        self._nesting = nesting
        self._protocol = -1
        self._frame = 0  # the end of the present frame
        self._opcodes = 0
        self.memo: dict[int, Any] = {}
        self._found: dict[int, Any] = {}  # what find returned, by identity, and kept alive
        self._drafts: dict[int, list[int]] = {}  # memo places of unfinished drafts
        self._pending = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []

    def run(self) -> Ran:
        """Execute to STOP and return what is left."""
        if self._at >= self._end or self._view[self._at] != op.PROTO:
            raise self.bad("does not start with a protocol of 3 to 5")
        try:
            self._execute()
        except (IndexError, KeyError):
            raise self.bad("takes something that is not there") from None
        except VaultError:
            raise
        except Exception:  # whatever Python, NumPy or an imported module makes of parts that do not fit
            raise self.bad("puts together what does not fit") from None
        if self._frame > self._at:
            raise self.bad("ends inside a frame")
        if len(self.stack) != 1 or self.marks or self._pending:
            raise self.bad("ends with something left over")
        return Ran(self.stack[0], self._protocol, self._opcodes, self._at)

    def _execute(self) -> None:
        table, view = _TABLE, self._view
        while True:
            if self._at >= self._end:
                raise self.bad("ends before its STOP")
            code = view[self._at]
            inside = self._at < self._frame
            self._at += 1
            self._opcodes += 1
            if code == op.STOP:
                return
            step = table.get(code)
            if step is None:
                raise self.bad(f"has the opcode {op.REFUSED.get(code, f'{code:#04x}')}")
            step(self)
            if inside and 0 < self._frame < self._at:
                raise self.bad("has an opcode that reaches beyond its frame")
            if self._opcodes > limits.PICKLE_OPCODES:
                raise self.bad("has too many opcodes")

    def bad(self, what: str) -> PickleRefused:
        """Build a refusal that names the position."""
        return PickleRefused(
            f"{self._subject or 'The pickle'} {what} (at byte {self._at}).", subject=self._subject
        )

    # Reading.

    def take(self, count: int) -> memoryview:
        """Return the next `count` bytes."""
        if count > self._end - self._at:
            raise self.bad("has a length beyond its end")
        self._at += count
        return self._view[self._at - count : self._at]

    def number(self, width: int) -> int:
        """Return the next unsigned little-endian number of `width` bytes."""
        return int.from_bytes(self.take(width), "little")

    def line(self) -> str:
        """Return the text up to the next newline."""
        window = bytes(self._view[self._at : min(self._end, self._at + limits.PICKLE_NAME_BYTES)])
        length = window.find(b"\n")
        if length < 0:
            raise self.bad("has a name that does not end")
        return bytes(self.take(length + 1))[:-1].decode("utf-8")

    def items(self) -> list[Any]:
        """Pop everything above the last mark."""
        start = self.marks.pop()
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def pop(self) -> Any:
        """Pop one value, never from below the last mark."""
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise self.bad("takes a value from below a mark")
        return self.stack.pop()

    def top(self) -> Any:
        """Return the topmost value without popping it, never from below the last mark."""
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise self.bad("takes a value from below a mark")
        return self.stack[-1]

    # The memo.

    def remember(self, place: int, value: Any) -> None:
        """Put a value into the memo; each place once, in any order."""
        if place in self.memo or place > limits.PICKLE_MEMO:
            raise self.bad("writes a place of its memo twice, or far away")
        self.memo[place] = value
        if isinstance(value, Draft):
            self._drafts.setdefault(id(value), []).append(place)

    # Structure.

    def proto(self) -> None:
        """PROTO: once, first, 3 to 5."""
        version = self.number(1)
        if self._protocol >= 0 or not 3 <= version <= 5:
            raise self.bad(f"is of protocol {version}, or changes it")
        self._protocol = version

    def frame(self) -> None:
        """FRAME: a length within the stream, never inside another frame."""
        inside = self._at - 1 < self._frame
        length = self.number(8)
        if inside or self._protocol < 4 or length > self._end - self._at:
            raise self.bad("has a frame inside another, or beyond its end")
        self._frame = self._at + length

    # Effects, all of them the host's.

    def find(self, module: object, name: object) -> None:
        """GLOBAL and STACK_GLOBAL: ask the host for exactly this pair."""
        if type(module) is not str or type(name) is not str:
            raise self.bad("names a global by something that is not text")
        found = self._host.find(module, name)
        self._found[id(found)] = found
        self.stack.append(found)

    def require_found(self, value: object) -> None:
        """Refuse to call or instantiate anything that `find` did not return."""
        if id(value) not in self._found:
            raise self.bad("calls something that is not a global")

    def reduce(self) -> None:
        """REDUCE: call a global with a tuple."""
        arguments, function = self.pop(), self.pop()
        if type(arguments) is not tuple:
            raise self.bad("calls with something that is not a tuple")
        self.require_found(function)
        self.product(self._host.call(function, arguments))

    def new(self, arguments: object, keywords: object) -> None:
        """NEWOBJ and NEWOBJ_EX: an instance of a global."""
        kind = self.pop()
        if type(arguments) is not tuple or type(keywords) is not dict:
            raise self.bad("makes an object of something that is not a tuple")
        if any(type(key) is not str for key in keywords):
            raise self.bad("makes an object with a keyword that is not text")
        self.require_found(kind)
        self.product(self._host.new(kind, arguments, keywords))

    def product(self, value: object) -> None:
        """Push what the host made."""
        self._pending += isinstance(value, Draft)
        self.stack.append(value)

    def build(self) -> None:
        """BUILD: state for something that was made, never for a global."""
        state, target = self.pop(), self.top()
        if id(target) in self._found or type(target) in _UNBUILDABLE:
            raise self.bad("sets the state of a global or of a plain value")
        if type(state) is dict and any(type(key) is not str or key.startswith("__") for key in state):
            raise self.bad("sets an attribute whose name is special, or not text")
        built = self._host.build(target, state)
        if isinstance(built, RawArray):
            built = self.raw_array(built)
        self.stack[-1] = built
        if isinstance(target, Draft):
            self._pending -= 1
            for place in self._drafts.pop(id(target), ()):
                self.memo[place] = built

    def raw_array(self, raw: RawArray) -> object:
        """Read the array that joblib writes behind its wrapper, outside any frame."""
        if self._at < self._frame:
            raise self.bad("has an array inside a frame")
        self._frame = 0
        if raw.size is None:
            if self._nesting >= _NESTED_STREAMS:
                raise self.bad("nests arrays of objects too deeply")
            nested = _Machine(self._view, self._host, self._subject, self._at, self._nesting + 1)
            ran = nested.run()
            self._at = ran.end
            self._opcodes += ran.opcodes
            return raw.finish(ran.result)
        if raw.aligned:
            padding = self.number(1)
            if padding != _ALIGNMENT - self._at % _ALIGNMENT or bytes(self.take(padding)).strip(b"\xff"):
                raise self.bad("has an array that is not aligned as joblib aligns it")
        return raw.finish(self.take(raw.size))

    def append(self, items: list[Any]) -> None:
        """APPEND and APPENDS."""
        target = self.top()
        if type(target) is list:
            target.extend(items)
        else:
            self._host.fill(target, items, "append")

    def set_items(self, items: list[Any]) -> None:
        """SETITEM and SETITEMS: keys and values by turns."""
        if len(items) % 2:
            raise self.bad("has a key without a value")
        self.check_keys(items[::2])
        target = self.top()
        if type(target) is dict:
            target.update(zip(items[::2], items[1::2], strict=True))
        else:
            self._host.fill(target, items, "set items")

    def add(self, items: list[Any]) -> None:
        """ADDITEMS."""
        self.check_keys(items)
        target = self.top()
        if type(target) is set:
            target.update(items)
        else:
            self._host.fill(target, items, "add")

    def frozen(self) -> None:
        """FROZENSET: from the items above the mark."""
        items = self.items()
        self.check_keys(items)
        self.stack.append(frozenset(items))

    def check_keys(self, keys: list[Any]) -> None:
        """Refuse keys whose hashing is not bounded, or runs code of their own."""
        for key in keys:
            if not is_bounded_key(key):
                raise self.bad("has a key that is too deep, or computes its own hash")

    def tuple_of(self, count: int) -> None:
        """TUPLE1, TUPLE2, TUPLE3."""
        parts = [self.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(parts)))

    def long(self, width: int) -> None:
        """LONG1 and LONG4: a signed number of bounded length."""
        length = self.number(width)
        if length > _LONG_BYTES:
            raise self.bad("has a number that is too long")
        self.stack.append(int.from_bytes(self.take(length), "little", signed=True))

    def text(self, width: int) -> None:
        """SHORT_BINUNICODE, BINUNICODE, BINUNICODE8."""
        self.stack.append(str(self.take(self.number(width)), "utf-8"))

    def two_names(self) -> None:
        """GLOBAL: module and name as two lines."""
        module = self.line()
        self.find(module, self.line())

    def stack_names(self) -> None:
        """STACK_GLOBAL: module and name from the stack."""
        name = self.pop()
        self.find(self.pop(), name)

    def new_ex(self) -> None:
        """NEWOBJ_EX: with keywords."""
        keywords = self.pop()
        self.new(self.pop(), keywords)

    def set_one(self) -> None:
        """SETITEM."""
        value = self.pop()
        self.set_items([self.pop(), value])


def _done(dropped: object) -> None:
    """Drop a value, as picklers of recursive tuples do."""


_UNBUILDABLE: Final = frozenset(
    {bool, bytearray, bytes, complex, dict, float, frozenset, int, list, set, str, tuple, type, type(None)}
)

_TABLE: Final[dict[int, Callable[[_Machine], None]]] = {
    op.PROTO: _Machine.proto,
    op.FRAME: _Machine.frame,
    op.MARK: lambda m: m.marks.append(len(m.stack)),
    op.POP: lambda m: _done(m.pop()),
    op.POP_MARK: lambda m: _done(m.items()),
    op.NONE: lambda m: m.stack.append(None),
    op.NEWTRUE: lambda m: m.stack.append(True),
    op.NEWFALSE: lambda m: m.stack.append(False),
    op.BININT: lambda m: m.stack.append(_INT.unpack(m.take(4))[0]),
    op.BININT1: lambda m: m.stack.append(m.number(1)),
    op.BININT2: lambda m: m.stack.append(m.number(2)),
    op.LONG1: lambda m: m.long(1),
    op.LONG4: lambda m: m.long(4),
    op.BINFLOAT: lambda m: m.stack.append(_FLOAT.unpack(m.take(8))[0]),
    op.SHORT_BINUNICODE: lambda m: m.text(1),
    op.BINUNICODE: lambda m: m.text(4),
    op.BINUNICODE8: lambda m: m.text(8),
    op.SHORT_BINBYTES: lambda m: m.stack.append(bytes(m.take(m.number(1)))),
    op.BINBYTES: lambda m: m.stack.append(bytes(m.take(m.number(4)))),
    op.BINBYTES8: lambda m: m.stack.append(bytes(m.take(m.number(8)))),
    op.BYTEARRAY8: lambda m: m.stack.append(bytearray(m.take(m.number(8)))),
    op.EMPTY_LIST: lambda m: m.stack.append([]),
    op.EMPTY_DICT: lambda m: m.stack.append({}),
    op.EMPTY_SET: lambda m: m.stack.append(set()),
    op.EMPTY_TUPLE: lambda m: m.stack.append(()),
    op.TUPLE: lambda m: m.stack.append(tuple(m.items())),
    op.TUPLE1: lambda m: m.tuple_of(1),
    op.TUPLE2: lambda m: m.tuple_of(2),
    op.TUPLE3: lambda m: m.tuple_of(3),
    op.FROZENSET: _Machine.frozen,
    op.APPEND: lambda m: m.append([m.pop()]),
    op.APPENDS: lambda m: m.append(m.items()),
    op.SETITEM: _Machine.set_one,
    op.SETITEMS: lambda m: m.set_items(m.items()),
    op.ADDITEMS: lambda m: m.add(m.items()),
    op.BINPUT: lambda m: m.remember(m.number(1), m.top()),
    op.LONG_BINPUT: lambda m: m.remember(m.number(4), m.top()),
    op.MEMOIZE: lambda m: m.remember(len(m.memo), m.top()),
    op.BINGET: lambda m: m.stack.append(m.memo[m.number(1)]),
    op.LONG_BINGET: lambda m: m.stack.append(m.memo[m.number(4)]),
    op.GLOBAL: _Machine.two_names,
    op.STACK_GLOBAL: _Machine.stack_names,
    op.REDUCE: _Machine.reduce,
    op.NEWOBJ: lambda m: m.new(m.pop(), {}),
    op.NEWOBJ_EX: _Machine.new_ex,
    op.BUILD: _Machine.build,
}
