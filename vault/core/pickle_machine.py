"""The state of one pickle stream while it runs: its stack, memo, frame and position.

Every effect is left to a host (`pickle_host`); what is common to tracing and
enforcing is decided here, so that what is traced is what runs.
"""

from typing import Any, Final

from vault.core import limits
from vault.core.pickle_host import Draft, Host, RawArray
from vault.core.pickle_keys import collides_at_will, is_bounded_key
from vault.errors import PickleRefused

_LONG_BYTES: Final = limits.KIB
_WORK_PER_BYTE: Final = 8
_SIZED: Final = frozenset({bytearray, bytes, dict, list, str, tuple})
_CHEAP_KEYS: Final = frozenset({bool, float, str, type(None)})
_SMALL: Final = 1 << 32
_STRING: Final = frozenset({str})
_UNBUILDABLE: Final = frozenset(
    {bool, bytearray, bytes, complex, dict, float, frozenset, int, list, set, str, tuple, type, type(None)}
)


class Spent:
    """What a pickle has used up, its nested streams together, so that no one of them begins anew."""

    __slots__ = ("calls", "finds", "room", "sets", "steps", "weak_keys")

    def __init__(self, size: int) -> None:
        self.steps: Any = iter(range(limits.PICKLE_OPCODES))
        self.room = limits.PICKLE_WORK + _WORK_PER_BYTE * size
        self.finds = 0
        self.calls = 0
        self.sets = 0
        self.weak_keys = 0

    @property
    def opcodes(self) -> int:
        """Return how many opcodes were executed."""
        left: int = self.steps.__length_hint__()
        return limits.PICKLE_OPCODES - left


class Machine:
    """One stream; the steps of `pickle_vm` read and write its parts.

    `stack` holds what lies above the last mark, `below` the stacks under each
    mark: nothing can be taken from below a mark. The memo is filled in order,
    as picklers write it.
    """

    # fmt: off
    __slots__ = (
        "_drafts", "_found", "_host", "_names", "_pending", "_subject", "at", "below", "end", "frame", "memo",
        "nesting", "protocol", "spent", "stack", "view",
    )
    # fmt: on

    def __init__(self, view: memoryview, host: Host, subject: str, outer: "Machine | None" = None) -> None:
        self.view = view
        self.end = len(view)
        self.at: int = 0 if outer is None else outer.at
        self.frame = 0  # the end of the present frame
        self.protocol = -1
        self.nesting: int = 0 if outer is None else outer.nesting + 1
        self.spent: Spent = Spent(len(view)) if outer is None else outer.spent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: list[Any] = []
        self._host = host
        self._subject = subject
        self._found: dict[int, Any] = {}  # what find returned, by identity, and kept alive
        self._drafts: dict[int, list[int]] = {}  # memo places of unfinished drafts
        self._pending = 0
        self._names: set[str] = set()  # names of attributes that were looked at before

    def nested(self) -> "Machine":
        """Give a machine for a stream that starts here, inside this one's bytes."""
        return Machine(self.view, self._host, self._subject, self)

    def bad(self, what: str) -> PickleRefused:
        """Build a refusal that names the position."""
        return PickleRefused(
            f"{self._subject or 'The pickle'} {what} (at byte {self.at}).",
            subject=self._subject,
            hint="It is damaged, or no pickler of protocol 3 to 5 wrote it. Save the model as skops or ONNX.",
        )

    # Reading.

    def take(self, count: int) -> memoryview:
        """Return the next `count` bytes."""
        start = self.at
        if count > self.end - start:
            raise self.bad("has a length beyond its end")
        self.at = start + count
        return self.view[start : self.at]

    def number(self, width: int) -> int:
        """Return the next unsigned little-endian number of `width` bytes."""
        return int.from_bytes(self.take(width), "little")

    def line(self) -> str:
        """Return the text up to the next newline."""
        window = bytes(self.view[self.at : min(self.end, self.at + limits.PICKLE_NAME_BYTES)])
        length = window.find(b"\n")
        if length < 0:
            raise self.bad("has a name that does not end")
        return bytes(self.take(length + 1))[:-1].decode("utf-8")

    def items(self) -> list[Any]:
        """Pop everything above the last mark, and the mark."""
        found, self.stack = self.stack, self.below.pop()
        return found

    def left(self) -> Any:
        """Return the one value that a finished stream leaves behind."""
        if self.frame > self.at:
            raise self.bad("ends inside a frame")
        if len(self.stack) != 1 or self.below or self._pending:
            raise self.bad("ends with something left over")
        return self.stack[0]

    # The memo.

    def remember(self, place: int) -> None:
        """Put the topmost value into the next place of the memo."""
        value = self.stack[-1]
        if place != len(self.memo):
            raise self.bad("writes a place of its memo twice, or out of order")
        self.memo.append(value)
        if self._pending and isinstance(value, Draft):
            self._drafts.setdefault(id(value), []).append(place)

    # Structure.

    def proto(self) -> None:
        """PROTO: once, first, 3 to 5."""
        version = self.number(1)
        if self.protocol >= 0 or not 3 <= version <= 5:
            raise self.bad(f"is of protocol {version}, or changes it")
        self.protocol = version

    def start_frame(self) -> None:
        """FRAME: a length within the stream, never inside another frame."""
        inside = self.at - 1 < self.frame
        length = self.number(8)
        if inside or self.protocol < 4 or length > self.end - self.at:
            raise self.bad("has a frame inside another, or beyond its end")
        self.frame = self.at + length

    # Effects, all of them the host's.

    def find(self, module: object, name: object) -> None:
        """GLOBAL and STACK_GLOBAL: ask the host for exactly this pair."""
        if type(module) is not str or type(name) is not str:
            raise self.bad("names a global by something that is not text")
        self.spent.finds += 1
        if self.spent.finds > limits.PICKLE_FINDS:
            raise self.bad("names too many globals")
        found = self._host.find(module, name)
        self._found[id(found)] = found
        self.stack.append(found)

    def reduce(self) -> None:
        """REDUCE: call a global with a tuple."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(arguments) is not tuple:
            raise self.bad("calls with something that is not a tuple")
        self._require_found(function)
        self._charge(arguments)
        self._product(self._host.call(function, arguments))

    def new(self, arguments: object, keywords: object) -> None:
        """NEWOBJ and NEWOBJ_EX: an instance of a global."""
        kind = self.stack.pop()
        if type(arguments) is not tuple or type(keywords) is not dict:
            raise self.bad("makes an object of something that is not a tuple")
        if not _STRING.issuperset(map(type, keywords)):
            raise self.bad("makes an object with a keyword that is not text")
        self._require_found(kind)
        self._product(self._host.new(kind, arguments, keywords))

    def build(self) -> RawArray | None:
        """BUILD: state for something that was made, never for a global; tell of an array that follows."""
        state, target = self.stack.pop(), self.stack[-1]
        if id(target) in self._found or type(target) in _UNBUILDABLE:
            raise self.bad("sets the state of a global or of a plain value")
        if type(state) is dict:
            self._check_attributes(state)
        if isinstance(target, Draft) or type(state) is tuple:
            self._charge(state)
        built = self._host.build(target, state)
        if isinstance(built, RawArray):
            return built
        self.finish(built)
        return None

    def finish(self, built: object) -> None:
        """Put what BUILD made in the place of what it was made from, in the memo too."""
        target, self.stack[-1] = self.stack[-1], built
        if isinstance(target, Draft):
            self._pending -= 1
            for place in self._drafts.pop(id(target), ()):
                self.memo[place] = built

    def _require_found(self, value: object) -> None:
        """Refuse to call or instantiate anything that `find` did not return, and too much of it."""
        if id(value) not in self._found:
            raise self.bad("calls something that is not a global")
        self.spent.calls += 1
        if self.spent.calls > limits.PICKLE_CALLS:
            raise self.bad("builds too many objects")

    def _product(self, value: object) -> None:
        """Push what the host made."""
        self._pending += isinstance(value, Draft)
        self.stack.append(value)

    def _charge(self, parts: Any) -> None:
        """Count what an object is built from: one long part must not be copied again and again."""
        weight = len(parts) if type(parts) in _SIZED else 0
        for part in parts.values() if type(parts) is dict else parts if type(parts) is tuple else ():
            kind = type(part)
            if kind in _SIZED:
                weight += len(part)
            elif kind.__module__ == "numpy" and kind.__name__ == "ndarray":
                weight += part.nbytes
        self._take_room(weight)

    def _take_room(self, weight: int) -> None:
        self.spent.room -= weight
        if self.spent.room < 0:
            raise self.bad("builds objects from the same parts again and again")

    def _check_attributes(self, state: dict[Any, Any]) -> None:
        self._take_room(len(state))
        if _STRING.issuperset(map(type, state)):
            if state.keys() <= self._names:
                return
            if not any(name.startswith("__") for name in state):
                self._names.update(state)
                return
        raise self.bad("sets an attribute whose name is special, or not text")

    # Containers.

    def append(self, items: list[Any]) -> None:
        """APPEND and APPENDS."""
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        else:
            self._host.fill(target, items, "append")

    def set_item(self) -> None:
        """SETITEM: the commonest keys at once."""
        value, key = self.stack.pop(), self.stack.pop()
        target = self.stack[-1]
        if type(target) is dict and (
            type(key) in _CHEAP_KEYS or (type(key) is int and -_SMALL < key < _SMALL)
        ):
            target[key] = value
        else:
            self.set_items([key, value])

    def set_items(self, items: list[Any]) -> None:
        """SETITEM and SETITEMS: keys and values by turns."""
        if len(items) % 2:
            raise self.bad("has a key without a value")
        keys = items[::2]
        self._check_keys(keys)
        target = self.stack[-1]
        if type(target) is dict:
            target.update(zip(keys, items[1::2], strict=True))
        else:
            self._host.fill(target, items, "set items")

    def add(self, items: list[Any]) -> None:
        """ADDITEMS."""
        self._check_keys(items)
        target = self.stack[-1]
        if type(target) is set:
            target.update(items)
        else:
            self._host.fill(target, items, "add")

    def empty_set(self) -> None:
        """EMPTY_SET: one byte makes a large object, so that their number is bounded."""
        self._count_set()
        self.stack.append(set())

    def frozen(self) -> None:
        """FROZENSET: from the items above the mark."""
        items = self.items()
        self._check_keys(items)
        self._count_set()
        self.stack.append(frozenset(items))

    def long(self, width: int) -> None:
        """LONG1 and LONG4: a signed number of bounded length."""
        length = self.number(width)
        if length > _LONG_BYTES:
            raise self.bad("has a number that is too long")
        self.stack.append(int.from_bytes(self.take(length), "little", signed=True))

    def _count_set(self) -> None:
        self.spent.sets += 1
        if self.spent.sets > limits.PICKLE_SETS:
            raise self.bad("has too many sets")

    def _check_keys(self, keys: list[Any]) -> None:
        """Refuse keys whose hashing is not bounded, or runs code of their own."""
        if _STRING.issuperset(map(type, keys)):
            return
        for key in keys:
            if not is_bounded_key(key):
                raise self.bad("has a key that is too deep, or computes its own hash")
            self.spent.weak_keys += collides_at_will(key)
        if self.spent.weak_keys > limits.PICKLE_WEAK_KEYS:
            raise self.bad("has too many keys that could be made to collide")
