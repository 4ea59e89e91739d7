"""Parse what people search for: `metric.auc>0.9 and env=prod and format=onnx` (docs/registry.md).

    query     = any ; any = all {"or" all} ; all = one {["and"] one}
    one       = "not" one | "(" any ")" | condition | words
    condition = field ["." name] operator value

What comes out is a tree of `All`, `Any`, `Not`, `Words` and `Condition`, bounded in
size and depth, in which every value has the type that its field compares by.
"""

import re
from dataclasses import dataclass
from typing import Final

from vault.core import limits
from vault.core.registry_record import words
from vault.core.search_fields import (
    ALIASES,
    DAY,
    EXAMPLES,
    HINT,
    NAMED,
    ORDERED,
    READERS,
    like,
    value_of,
)

OPERATORS: Final = ("=", "!=", ">", ">=", "<", "<=")


@dataclass(frozen=True, slots=True)
class Words:
    """These words, one after another, somewhere in a text; with `prefix` the last is a beginning."""

    words: tuple[str, ...]
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison. `operator` is one of `OPERATORS` without `!=`.

    `name` is the metric's, parameter's or library's; with `differs` there is one of that
    name which is not so. `number` is what `text` comes to where the field has numbers.
    """

    field: str
    operator: str
    text: str
    name: str = ""
    number: float | None = None
    differs: bool = False


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds."""

    parts: tuple["Query", ...]


@dataclass(frozen=True, slots=True)
class Any:
    """One part holds, or more."""

    parts: tuple["Query", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: "Query"


Query = Words | Condition | All | Any | Not


class QueryError(ValueError):
    """A query that cannot be parsed: `column` counts from 1, `hint` says what to write."""

    def __init__(self, reason: str, column: int, hint: str) -> None:
        """Say what is wrong, where, and what would be right."""
        super().__init__(f"Column {column} of the query: {reason}. {hint}")
        self.column = column
        self.hint = hint


# --- the text, cut into pieces ---

_BLANK: Final = re.compile(r"\s+")
_FIELD: Final = re.compile(
    r"([A-Za-z][A-Za-z_-]{0,40})"
    r"(?:\.(\"[^\"]*\"|'[^']*'|[^\s()\"'=<>!:]+))?"
    r"\s*(>=|<=|!=|=|>|<|:)\s*"
)
_QUOTED: Final = re.compile(r"\"([^\"]*)\"|'([^']*)'")
_BARE: Final = re.compile(r"[^\s()\"']+")
_OPERATOR: Final = re.compile(r"[=<>!]")
_DAY_SECONDS: Final = 86_400


def parse(text: str) -> Query:
    """Parse a query.

    Raises:
        QueryError: it breaks the grammar, or is larger or deeper than `limits` allow.
    """
    if len(text) > limits.SEARCH_CHARS:
        raise QueryError(
            f"it is longer than {limits.SEARCH_CHARS:,} characters", limits.SEARCH_CHARS + 1, "Shorten it."
        )
    return _Parser(text).whole()


class _Parser:
    """Reads one query from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._conditions = 0

    def whole(self) -> Query:
        found = self._any(0)
        if self._place < len(self._text):
            raise self._wrong("there is no '(' for this ')'", "Take it out, or quote it.")
        return found

    def _wrong(self, reason: str, hint: str, place: int | None = None) -> QueryError:
        return QueryError(reason, (self._place if place is None else place) + 1, hint)

    def _skip(self) -> None:
        if found := _BLANK.match(self._text, self._place):
            self._place = found.end()

    def _next(self, piece: str) -> bool:
        self._skip()
        return self._text.startswith(piece, self._place)

    def _keyword(self, wanted: str) -> bool:
        """Take a word of the grammar, if it comes next and is no value."""
        self._skip()
        found = _BARE.match(self._text, self._place)
        if found is None or found[0].lower() != wanted:
            return False
        self._place = found.end()
        return True

    def _at_end(self) -> bool:
        self._skip()
        return self._place >= len(self._text)

    def _any(self, depth: int) -> Query:
        parts = [self._all(depth)]
        while self._keyword("or"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _all(self, depth: int) -> Query:
        parts = [self._one(depth)]
        while True:
            if self._keyword("and"):
                parts.append(self._one(depth))
                continue
            before = self._place
            if self._at_end() or self._next(")"):
                break
            if self._keyword("or"):
                self._place = before
                break
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _one(self, depth: int) -> Query:
        if depth > limits.SEARCH_DEPTH:
            raise self._wrong(
                f"it is more than {limits.SEARCH_DEPTH} levels deep", "Write it with fewer parentheses."
            )
        if self._at_end():
            raise self._wrong("something is missing at its end", "Write a word or a condition: env=prod")
        if self._keyword("not"):
            return Not(self._one(depth + 1))
        if self._next("("):
            return self._group(depth)
        if self._next(")"):
            raise self._wrong("there is nothing before this ')'", "Write a word or a condition: env=prod")
        before = self._place
        for word in ("and", "or"):
            if self._keyword(word):
                raise self._wrong(f"{word!r} stands between two conditions", f'Quote it: "{word}"', before)
        self._conditions += 1
        if self._conditions > limits.SEARCH_CONDITIONS:
            raise self._wrong(
                f"it has more than {limits.SEARCH_CONDITIONS} conditions", "Search in two steps."
            )
        return self._condition()

    def _group(self, depth: int) -> Query:
        opened = self._place
        self._place += 1
        inner = self._any(depth + 1)
        if not self._next(")"):
            raise self._wrong("this '(' is not closed", "Add ')'.", opened)
        self._place += 1
        return inner

    def _condition(self) -> Query:
        start = self._place
        found = _FIELD.match(self._text, start)
        if found is None:
            return self._words()
        field, name, operator = found[1].lower(), (found[2] or "").strip("\"'"), found[3]
        field = ALIASES.get(field, field)
        if field not in READERS:
            raise self._wrong(
                f"there is no field {field!r}", like(field, self._text[start : found.end()]), start
            )
        self._place = found.end()
        value_at = self._place
        text = self._value(field)
        operator = "=" if operator == ":" else operator
        named = field in NAMED
        if name and not named:
            raise self._wrong(f"{field!r} has no names below it", f"Write {field}{operator}{text}", start)
        if operator not in {"=", "!="} and not name and field not in ORDERED:
            raise self._wrong(f"{field!r} is not ordered", f"Write {field}={text} or {field}!={text}", start)
        try:
            number, stored = value_of(field, name, operator, text)
        except ValueError as error:
            raise self._wrong(str(error), EXAMPLES[field], value_at) from None
        if operator == "!=" and name:
            return Condition(field, "=", stored, name, number, differs=True)
        equals = "=" if operator == "!=" else operator
        if field == "created" and number is not None and DAY.match(stored):
            made = _days(equals, number, stored)
        else:
            made = Condition(field, equals, stored, name, number)
        return Not(made) if operator == "!=" else made

    def _value(self, field: str) -> str:
        found = _QUOTED.match(self._text, self._place)
        if found is not None:
            text = found[1] if found[1] is not None else found[2]
        else:
            found = _BARE.match(self._text, self._place)
            text = "" if found is None else found[0]
        doubled = found is not None and found.re is _BARE and _OPERATOR.match(text)
        if found is None or doubled or not text or len(text) > limits.SEARCH_VALUE_CHARS:
            raise self._wrong(
                f"{field!r} is compared with 1 to {limits.SEARCH_VALUE_CHARS} characters", EXAMPLES[field]
            )
        self._place = found.end()
        return text

    def _words(self) -> Query:
        start = self._place
        if quoted := _QUOTED.match(self._text, start):
            text, prefix = quoted[1] if quoted[1] is not None else quoted[2], False
            self._place = quoted.end()
        else:
            bare = _BARE.match(self._text, start)
            if bare is None:
                raise self._wrong("this quotation mark has no second one", "Close it.", start)
            text, prefix = bare[0].removesuffix("*"), bare[0].endswith("*")
            self._place = bare.end()
            if _OPERATOR.search(text):
                raise self._wrong("there is no field before this operator", HINT, start)
        found = words(text)
        if not found:
            raise self._wrong("there is no letter or digit in this", HINT, start)
        if len(found) > limits.SEARCH_WORDS:
            raise self._wrong(f"this has more than {limits.SEARCH_WORDS} words", "Use fewer.", start)
        return Words(found, prefix)


def _days(operator: str, start: float, text: str) -> Query:
    """Compare with a whole day: what is after it is later than its last second."""
    since, until = (
        Condition("created", ">=", text, number=start),
        Condition("created", "<", text, number=start + _DAY_SECONDS),
    )
    if operator == "=":
        return All((since, until))
    if operator == ">":
        return Condition("created", ">=", text, number=start + _DAY_SECONDS)
    return {">=": since, "<=": until}.get(operator, Condition("created", "<", text, number=start))
