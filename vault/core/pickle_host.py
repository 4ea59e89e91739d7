"""What the pickle machine asks of its host, and what the two hand each other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Draft:
    """A product that is only whole after its BUILD; the host then returns what stands in its place."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RawArray:
    """Tells the machine that a joblib array follows its wrapper: raw bytes, or a stream of its own.

    `size` is the array's size in bytes; None where its items are pickled.
    `aligned` says that padding comes first, as since joblib 1.2. `finish`
    turns the bytes, or the nested stream's result, into the array.
    """

    size: int | None
    aligned: bool
    finish: Callable[[Any], object]


class Host(Protocol):
    """What the machine asks for: names, calls, instances and their state."""

    def find(self, module: str, name: str) -> object:
        """Return what stands for a global.

        Raises:
            PickleRefused: the global may not be used.
        """

    def call(self, function: Any, arguments: tuple[Any, ...]) -> object:
        """Return what REDUCE puts on the stack; `function` came from `find`.

        Raises:
            PickleRefused: the call may not be made.
        """

    def new(self, kind: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> object:
        """Return an instance without calling its constructor; `kind` came from `find`.

        Raises:
            PickleRefused: the class may not be instantiated.
        """

    def build(self, target: Any, state: Any) -> object:
        """Give `target` its state; return it, its replacement if it is a `Draft`, or a `RawArray`.

        Raises:
            PickleRefused: the state may not be set.
        """

    def fill(self, target: Any, items: list[Any], how: str) -> None:
        """Add items to a container that is not exactly a list, dict or set; `how` names the operation.

        Raises:
            PickleRefused: it may not be filled.
        """


@dataclass(frozen=True, slots=True)
class Ran:
    """The outcome of a run: the object, the protocol, opcodes executed and where the stream ended."""

    result: Any
    protocol: int
    opcodes: int
    end: int
