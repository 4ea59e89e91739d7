"""Survey a pickle that the gate's machine would refuse: which globals it names, where, and which it calls.

The machine in `pickle_vm` stops at the first thing that it does not permit. To
tell somebody what a refused file was up to, this goes on: it knows the opcodes
of protocols 0 to 5, keeps only text and names on its stack, takes everything
else for unknown, and decides nothing. What is allowed is never decided here.

Source: `Lib/pickletools.py`, PEP 307, PEP 3154, PEP 574.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from vault.core import limits
from vault.core import pickle_opcodes as op
from vault.core.pins import ARRAY_WRAPPER

_NAMES: Final = 10_000
_WRITTEN_NAMES: Final = 100_000  # looked at, one name counted as often as it is written
_STREAMS: Final = 64
_LINE: Final = 64 * limits.KIB
_STACK: Final = 1_000_000
_SKLEARN: Final = re.compile(
    rb"_sklearn_version(?:\x94|q.|r....)?(?:\x8c.|X....)(\d[\d.]{0,20}(?:[a-z]+\d*)?)", re.DOTALL
)
# A name in the form of either opcode for it, wherever it stands: for what lies behind the end of a survey.
_WRITTEN: Final = re.compile(
    rb"[ci]([A-Za-z_][\w.]{0,199})\n([A-Za-z_][\w.]{0,199})\n"
    rb"|\x8c.([A-Za-z_][\w.]{0,199})(?:\x94|q.|r....)?\x8c.([A-Za-z_][\w.]{0,199})(?:\x94|q.|r....)?\x93",
    re.DOTALL,
)


@dataclass(slots=True)
class Survey:
    """What was met: `globals` by where they are named first, in bytes, those that are called, and the rest.

    `streams` counts pickles one behind the other; `end` is where the last of
    them ends. `cut` says that there was more than `opcodes` may be,
    `array` that a raw joblib array stopped the survey.
    """

    globals: dict[str, int] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)
    protocol: int = 0
    streams: int = 0
    opcodes: int = 0
    end: int = 0
    hidden: bool = False
    cut: bool = False
    array: bool = False


class _Global:
    """Stands for a global on the stack, or with `made` for what it would have made."""

    __slots__ = ("made", "name")

    def __init__(self, name: str, *, made: bool = False) -> None:
        self.name = name
        self.made = made


def survey(data: memoryview, *, opcodes: int = limits.INSPECT_SURVEY_OPCODES, at: int = 0) -> Survey:
    """Walk over every pickle that stands one behind the other from `at` on, at most `opcodes` operations.

    Never refuses: where the bytes make no sense, the survey ends.
    """
    found = Survey(end=at)
    view = data.toreadonly().cast("B")
    while found.streams < _STREAMS:
        surveyor = _Surveyor(view, found, opcodes)
        if not surveyor.run(found.end):
            break
        found.streams += 1
        rest = view[found.end : found.end + 2]
        if len(rest) < 2 or rest[0] != op.PROTO or rest[1] > 5:
            break
    return found


def written(data: memoryview, *, limit: int) -> frozenset[str]:
    """Find names of globals in the first `limit` bytes by how they are written, whatever is around."""
    return frozenset(
        b".".join(part for part in match.groups() if part is not None).decode("ascii", "replace")
        for match in islice(_WRITTEN.finditer(data[:limit]), _WRITTEN_NAMES)
    )


def sklearn_version(data: memoryview, *, limit: int) -> str:
    """Find the version of scikit-learn that estimators in the last `limit` bytes carry; empty for none."""
    match = _SKLEARN.search(data[max(0, len(data) - limit) :])
    return match[1].decode("ascii") if match is not None else ""


class _Surveyor:
    """One stream: a stack that remembers texts and globals, its marks and its memo."""

    __slots__ = ("_limit", "_marks", "_memo", "_stack", "_view", "at", "found")

    def __init__(self, view: memoryview, found: Survey, limit: int) -> None:
        self._view = view
        self._limit = limit
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}
        self.found = found
        self.at = 0

    def run(self, at: int) -> bool:
        """Walk from `at` to STOP, and tell whether it was met."""
        view, end, found = self._view, len(self._view), self.found
        self.at = at
        while self.at < end:
            if found.opcodes >= self._limit or len(self._stack) > _STACK:
                found.cut = True
                return False
            code = view[self.at]
            start = self.at
            self.at += 1
            found.opcodes += 1
            if code == op.STOP:
                found.end = self.at
                return True
            step = _STEPS.get(code)
            if step is None or not step(self, code, start) or self.at > end:
                break
        found.end = min(self.at, end)
        return False

    def push(self, value: object = None) -> bool:
        """Push a value; unknown ones are None."""
        self._stack.append(value)
        return True

    def pop(self) -> object:
        """Pop a value; one that is not there is unknown."""
        return self._stack.pop() if self._stack else None

    def cut_mark(self) -> list[object]:
        """Pop everything above the last mark."""
        start = self._marks.pop() if self._marks else 0
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def mark(self) -> bool:
        """Set a mark."""
        self._marks.append(len(self._stack))
        return len(self._marks) < _STACK

    def top(self) -> object:
        """Look at the topmost value."""
        return self._stack[-1] if self._stack else None

    def put(self, place: int) -> bool:
        """Remember the topmost value."""
        self._memo[place] = self.top()
        return True

    def get(self, place: int) -> bool:
        """Push what was remembered."""
        return self.push(self._memo.get(place))

    def memoize(self) -> bool:
        """Remember the topmost value at the next place."""
        return self.put(len(self._memo))

    def number(self, width: int) -> int:
        """Read an unsigned number."""
        self.at += width
        return int.from_bytes(self._view[self.at - width : self.at], "little")

    def line(self) -> bytes | None:
        """Read up to the next line end; None if there is none near."""
        window = bytes(self._view[self.at : self.at + 256])
        length = window.find(b"\n")
        if length < 0:
            window = bytes(self._view[self.at : self.at + _LINE])
            length = window.find(b"\n")
            if length < 0:
                return None
        self.at += length + 1
        return window[:length]

    def sized(self, width: int, *, text: bool) -> bool:
        """Read a length and what it announces; keep short texts."""
        length = self.number(width)
        start = self.at
        self.at += length
        if self.at > len(self._view):
            return False
        if text and length <= limits.PICKLE_NAME_BYTES:
            return self.push(str(self._view[start : self.at], "utf-8", "replace"))
        return self.push()

    def named(self, module: object, name: object, at: int) -> bool:
        """Record a global and push it."""
        if type(module) is not str or type(name) is not str:
            self.found.hidden = True
            return self.push()
        full = f"{module}.{name}"
        if len(self.found.globals) >= _NAMES:
            self.found.cut = True
            return False
        self.found.globals.setdefault(full, at)
        return self.push(_Global(full))

    def call(self, function: object) -> bool:
        """Record a call and push what it would have made."""
        if isinstance(function, _Global):
            self.found.called.add(function.name)
            return self.push(_Global(function.name, made=True))
        return self.push()

    def lines(self, at: int, *, instance: bool) -> bool:
        """GLOBAL and INST: module and name in two lines."""
        module, name = self.line(), self.line()
        if module is None or name is None:
            return False
        if instance:
            self.cut_mark()
        named = self.named(module.decode("utf-8", "replace"), name.decode("utf-8", "replace"), at)
        return named and (not instance or self.call(self.pop()))

    def text_line(self, *, quoted: bool) -> bool:
        """STRING and UNICODE: text in one line."""
        line = self.line()
        if line is None:
            return False
        if quoted:
            line = line.strip(b" ")[1:-1]
        return self.push(line.decode("unicode_escape" if b"\\" in line else "utf-8", "replace"))

    def stack_global(self, at: int) -> bool:
        """STACK_GLOBAL: module and name from the stack."""
        name = self.pop()
        return self.named(self.pop(), name, at)

    def apply(self, code: int) -> bool:
        """REDUCE, NEWOBJ, NEWOBJ_EX: arguments off the stack, then what is called."""
        for _ in range(2 if code == op.NEWOBJ_EX else 1):
            self.pop()
        return self.call(self.pop())

    def object_of_class(self) -> bool:
        """OBJ: class and arguments above the mark."""
        items = self.cut_mark()
        return self.call(items[0] if items else None)

    def build(self) -> bool:
        """BUILD: drop the state; behind a joblib wrapper bytes follow that are no opcodes."""
        self.pop()
        target = self.top()
        if isinstance(target, _Global) and target.made and target.name == ARRAY_WRAPPER:
            self.found.array = True
            return False
        return True

    def protocol(self) -> bool:
        """PROTO: keep the highest."""
        self.found.protocol = max(self.found.protocol, self.number(1))
        return True

    def outside(self, code: int) -> bool:
        """PERSID, BINPERSID, EXT and buffers: something from outside the file."""
        if code == ord("P"):
            return self.line() is not None and self.push()
        if code == ord("Q"):
            self.pop()
        self.at += {0x82: 1, 0x83: 2, 0x84: 4}.get(code, 0)
        return self.push()

    def collapse(self, count: int) -> bool:
        """Put one unknown value in place of `count`."""
        for _ in range(count):
            self.pop()
        return self.push()

    def close(self) -> bool:
        """Put one unknown value in place of everything above the mark."""
        self.cut_mark()
        return self.push()

    def drop(self, count: int) -> bool:
        """Drop values."""
        for _ in range(count):
            self.pop()
        return True

    def drop_marked(self) -> bool:
        """Drop everything above the mark."""
        self.cut_mark()
        return True

    def skip(self, count: int) -> bool:
        """Step over bytes and push something unknown."""
        self.at += count
        return self.push()


_Step = Callable[[_Surveyor, int, int], bool]
_STEPS: Final[dict[int, _Step]] = {
    op.PROTO: lambda s, code, at: s.protocol(),
    op.FRAME: lambda s, code, at: s.number(8) >= 0,
    op.MARK: lambda s, code, at: s.mark(),
    op.POP: lambda s, code, at: s.drop(1),
    op.POP_MARK: lambda s, code, at: s.drop_marked(),
    ord("2"): lambda s, code, at: s.push(s.top()),
    op.GLOBAL: lambda s, code, at: s.lines(at, instance=False),
    ord("i"): lambda s, code, at: s.lines(at, instance=True),
    op.STACK_GLOBAL: lambda s, code, at: s.stack_global(at),
    ord("o"): lambda s, code, at: s.object_of_class(),
    op.BUILD: lambda s, code, at: s.build(),
    op.MEMOIZE: lambda s, code, at: s.memoize(),
    op.BINPUT: lambda s, code, at: s.put(s.number(1)),
    op.LONG_BINPUT: lambda s, code, at: s.put(s.number(4)),
    op.BINGET: lambda s, code, at: s.get(s.number(1)),
    op.LONG_BINGET: lambda s, code, at: s.get(s.number(4)),
    ord("p"): lambda s, code, at: (line := s.line()) is not None and s.put(_place(line)),
    ord("g"): lambda s, code, at: (line := s.line()) is not None and s.get(_place(line)),
    ord("S"): lambda s, code, at: s.text_line(quoted=True),
    ord("V"): lambda s, code, at: s.text_line(quoted=False),
    **dict.fromkeys((op.REDUCE, op.NEWOBJ, op.NEWOBJ_EX), lambda s, code, at: s.apply(code)),
    **dict.fromkeys(b"PQ\x82\x83\x84\x97", lambda s, code, at: s.outside(code)),
    **dict.fromkeys(b"FIL", lambda s, code, at: s.line() is not None and s.push()),
    **dict.fromkeys(b"N\x88\x89)]}\x8f", lambda s, code, at: s.push()),
    **dict.fromkeys(b"tld\x91", lambda s, code, at: s.close()),
    **dict.fromkeys(b"eu\x90", lambda s, code, at: s.drop_marked()),
    op.APPEND: lambda s, code, at: s.drop(1),
    op.SETITEM: lambda s, code, at: s.drop(2),
    op.TUPLE1: lambda s, code, at: s.collapse(1),
    op.TUPLE2: lambda s, code, at: s.collapse(2),
    op.TUPLE3: lambda s, code, at: s.collapse(3),
    0x98: lambda s, code, at: True,
    op.BINFLOAT: lambda s, code, at: s.skip(8),
    op.BININT: lambda s, code, at: s.skip(4),
    op.BININT1: lambda s, code, at: s.skip(1),
    op.BININT2: lambda s, code, at: s.skip(2),
    op.SHORT_BINUNICODE: lambda s, code, at: s.sized(1, text=True),
    op.BINUNICODE: lambda s, code, at: s.sized(4, text=True),
    op.BINUNICODE8: lambda s, code, at: s.sized(8, text=True),
    ord("U"): lambda s, code, at: s.sized(1, text=True),
    ord("T"): lambda s, code, at: s.sized(4, text=True),
    op.SHORT_BINBYTES: lambda s, code, at: s.sized(1, text=False),
    op.BINBYTES: lambda s, code, at: s.sized(4, text=False),
    op.BINBYTES8: lambda s, code, at: s.sized(8, text=False),
    op.BYTEARRAY8: lambda s, code, at: s.sized(8, text=False),
    op.LONG1: lambda s, code, at: s.sized(1, text=False),
    op.LONG4: lambda s, code, at: s.sized(4, text=False),
}


def _place(line: bytes) -> int:
    """Read a memo place that is written as text; -1 for what is none."""
    return int(line) if line.isdigit() and len(line) < 12 else -1
