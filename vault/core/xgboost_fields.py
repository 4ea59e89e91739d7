"""Take typed parts out of a parsed XGBoost model, refusing whatever is not as XGBoost writes it."""

import re
from collections.abc import Set as AbstractSet
from typing import Final

from vault.core import limits
from vault.core.ubjson import Numbers, Value
from vault.errors import FormatRefused

_DIGITS: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_REAL: Final = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?")


class Taker:
    """Takes parts of one model; each method raises `FormatRefused` (`format-content`) naming the part."""

    def __init__(self, subject: str) -> None:
        """Name the file in refusals."""
        self._subject = subject

    def refused(self, what: str) -> FormatRefused:
        """Make the refusal of this model for one reason."""
        return FormatRefused(
            f"{self._subject or 'The XGBoost model'} cannot be loaded: {what}.",
            code="format-content",
            subject=self._subject,
            hint="Save it again from a trusted copy, with the library that is installed here.",
        )

    def fields(
        self, value: Value, what: str, required: AbstractSet[str], optional: AbstractSet[str] = frozenset()
    ) -> dict[str, Value]:
        """Take an object with exactly these keys."""
        if not isinstance(value, dict) or not required <= value.keys() <= required | optional:
            raise self.refused(f"its part {what} has missing or unknown fields")
        return value

    def items(self, value: Value, what: str) -> list[Value]:
        """Take a list; an empty array of numbers counts as one."""
        if isinstance(value, Numbers) and value.count == 0:
            return []
        if not isinstance(value, list):
            raise self.refused(f"its part {what} is no list")
        return value

    def integers(self, value: Value, what: str) -> list[int]:
        """Take a list of integers, in either spelling."""
        if isinstance(value, Numbers) and value.kind in "lL":
            return list(value.unpack())
        found = [entry for entry in self.items(value, what) if type(entry) is int]
        if len(found) != len(self.items(value, what)):
            raise self.refused(f"its part {what} holds something else than integers")
        return found

    def text(self, value: Value, what: str) -> str:
        """Take a text."""
        if not isinstance(value, str):
            raise self.refused(f"its part {what} is no text")
        return value

    def count(self, value: Value, what: str, most: int) -> int:
        """Take an integer from 0 to `most` that is spelled as a text."""
        text = self.text(value, what)
        if not _DIGITS.fullmatch(text) or int(text) > most:
            raise self.refused(f"its {what} is not a number from 0 to {most:,}")
        return int(text)

    def reals(self, value: Value, what: str) -> int:
        """Take a number spelled as a text, or several in brackets; give how many."""
        text = self.text(value, what)
        listed = text[1:-1].split(",") if text[:1] == "[" and text[-1:] == "]" else [text]
        if not all(len(part) <= limits.BOOSTER_NUMBER_CHARS and _REAL.fullmatch(part) for part in listed):
            raise self.refused(f"its {what} is no number")
        return len(listed)

    def array(self, value: Value, what: str, kind: str, count: int | None = None) -> Numbers:
        """Take an array of numbers of one kind, and of one length if it is given."""
        if not isinstance(value, Numbers) or value.kind != kind or count not in (None, value.count):
            raise self.refused(f"its part {what} has another type or length than it must have")
        return value

    def ints(self, value: Value, what: str, kind: str, count: int | None = None) -> tuple[int, ...]:
        """Take the numbers of an `array`."""
        return self.array(value, what, kind, count).unpack()
