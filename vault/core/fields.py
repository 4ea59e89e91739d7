"""Read the fields of a parsed JSON object, each once, each checked, none left over."""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import TypeVar

from vault.core import limits, names
from vault.core.strict_json import JSONValue
from vault.errors import Malformed

T = TypeVar("T")


def malformed(what: str, reason: str) -> Malformed:
    """Build the refusal of a document that has another shape than its kind."""
    return Malformed(f"{what} is not what it should be: {reason}.", code="malformed-document", subject=what)


class Fields:
    """One JSON object being read; `done` refuses what nobody asked for.

    Every method raises `Malformed` (`malformed-document`, or the code of the
    parser that it was given) when the field is missing or of another shape.
    """

    def __init__(self, value: JSONValue, what: str) -> None:
        """Start reading `value`, which messages call `what`."""
        if not isinstance(value, dict):
            raise malformed(what, "an object is expected")
        self.what = what
        self._left = dict(value)

    def has(self, name: str) -> bool:
        """Tell whether a field is there and was not taken yet, for formats whose fields may be missing."""
        return name in self._left

    def raw(self, name: str) -> JSONValue:
        """Take a field as it is."""
        if name not in self._left:
            raise malformed(self.what, f"the field {name!r} is missing")
        return self._left.pop(name)

    def text(self, name: str, parse: Callable[[str], T]) -> T:
        """Take a string and parse it."""
        value = self.raw(name)
        if not isinstance(value, str):
            raise malformed(self.what, f"{name!r} is a string")
        return parse(value)

    def optional(self, name: str, parse: Callable[[str], T]) -> T | None:
        """Take a string or null."""
        return None if self._null(name) else self.text(name, parse)

    def integer(self, name: str, low: int = 0, high: int = limits.NUMBER_MAX) -> int:
        """Take an integer from `low` to `high`."""
        value = self.raw(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise malformed(self.what, f"{name!r} is an integer from {low} to {high}")
        return value

    def boolean(self, name: str) -> bool:
        """Take true or false."""
        value = self.raw(name)
        if not isinstance(value, bool):
            raise malformed(self.what, f"{name!r} is true or false")
        return value

    def items(self, name: str, most: int) -> list[JSONValue]:
        """Take a list of at most `most` items."""
        value = self.raw(name)
        if not isinstance(value, list) or len(value) > most:
            raise malformed(self.what, f"{name!r} is a list of at most {most:,}")
        return value

    def texts(self, name: str, parse: Callable[[str], T], most: int) -> tuple[T, ...]:
        """Take a list of strings without repetitions, and parse each."""
        values = self.items(name, most)
        strings = [value for value in values if isinstance(value, str)]
        if len(strings) != len(values) or len(set(strings)) != len(strings):
            raise malformed(self.what, f"{name!r} is a list of different strings")
        return tuple(parse(value) for value in strings)

    def objects(self, name: str, parse: Callable[["Fields"], T], most: int) -> tuple[T, ...]:
        """Take a list of objects and read each with `parse`."""
        found = []
        for index, value in enumerate(self.items(name, most)):
            inner = Fields(value, f"{self.what}: {name}[{index}]")
            found.append(parse(inner))
            inner.done()
        return tuple(found)

    def object(self, name: str, parse: Callable[["Fields"], T]) -> T:
        """Take one object and read it with `parse`."""
        inner = Fields(self.raw(name), f"{self.what}: {name}")
        found = parse(inner)
        inner.done()
        return found

    def optional_object(self, name: str, parse: Callable[["Fields"], T]) -> T | None:
        """Take one object or null."""
        return None if self._null(name) else self.object(name, parse)

    def mapping(self, name: str, key: Callable[[str], T], most: int) -> Mapping[T, JSONValue]:
        """Take an object whose keys are names; parse the keys."""
        value = self.raw(name)
        if not isinstance(value, dict) or len(value) > most:
            raise malformed(self.what, f"{name!r} is an object of at most {most:,} names")
        return {key(text): entry for text, entry in value.items()}

    def done(self) -> None:
        """Refuse unknown fields."""
        if self._left:
            unknown = ", ".join(sorted(self._left)[:4])
            raise malformed(self.what, f"it has unknown fields ({unknown[:200]})")

    def _null(self, name: str) -> bool:
        if name in self._left and self._left[name] is None:
            del self._left[name]
            return True
        return False


def plain(text: str) -> str:
    """Accept any string of at most 4,096 characters: notes, names of libraries."""
    if len(text) > 4_096:
        raise malformed("A text field", "it is longer than 4,096 characters")
    return text


def time(text: str) -> str:
    """Accept a time (`names.timestamp`) and keep it as it was written."""
    names.timestamp(text)
    return text


def one_of(*choices: str) -> Callable[[str], str]:
    """Accept exactly one of `choices`."""

    def parse(text: str) -> str:
        if text not in choices:
            raise malformed("A field", f"it is one of {', '.join(choices)}")
        return text

    return parse


def hexadecimal(size: int) -> Callable[[str], bytes]:
    """Accept exactly `size` bytes as lowercase hexadecimal."""

    def parse(text: str) -> bytes:
        try:
            value = bytes.fromhex(text)
        except ValueError:
            value = b""
        if len(value) != size or value.hex() != text:
            raise malformed("A field", f"it is {size} bytes in lowercase hexadecimal")
        return value

    return parse


def base64_bytes(text: str) -> bytes:
    """Accept standard base64 with padding, in its one canonical spelling.

    Raises:
        Malformed: `malformed-document`.
    """
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise malformed("A field", "it is base64") from None
    if base64.b64encode(value).decode("ascii") != text:
        raise malformed("A field", "it is base64 in its canonical spelling")
    return value
