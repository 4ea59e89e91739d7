"""Turn a query into SQL: a statement's text comes from here alone, and every value goes beside it."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Column, ColumnElement, Select, Table, and_, false, func, not_, or_, select, true

from vault.core.search_fields import CONFIDENTIAL
from vault.core.search_query import All, Any, Condition, Not, Query, Words
from vault.registry import schema

Clause = ColumnElement[bool]
Ask = Callable[[Condition], Clause]
Number = Column[object]  # the column of a version's number in the rows that are asked for

_LAST: Final = "\U0010ffff"  # sorts after every character that there is
_VALUES: Final = {"library": schema.libraries, "metric": schema.metrics, "param": schema.parameters}
_COMPARE: Final[dict[str, Callable[[ColumnElement[object], object], Clause]]] = {
    "=": lambda column, value: column == value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
}


def whole(query: Query) -> Clause:
    """Compile a query about rows of `versions`, for a database that has both halves."""
    number = schema.versions.c.number
    return _compiled(query, lambda end: or_(public(end), sealed(end, number)))


def in_public(query: Query) -> Clause:
    """Compile what the public half says of a query, about rows of `versions`."""
    return _compiled(query, public)


def is_public(query: Query) -> bool:
    """Tell whether the public half alone answers a query."""
    if isinstance(query, All | Any):
        return all(is_public(part) for part in query.parts)
    if isinstance(query, Not):
        return is_public(query.part)
    return isinstance(query, Condition) and query.field not in {*CONFIDENTIAL, "tag"}


def _compiled(query: Query, end: Callable[[Words | Condition], Clause]) -> Clause:
    if isinstance(query, All):
        return and_(*(_compiled(part, end) for part in query.parts))
    if isinstance(query, Any):
        return or_(*(_compiled(part, end) for part in query.parts))
    return not_(_compiled(query.part, end)) if isinstance(query, Not) else end(query)


# --- the public half: of rows of `versions` ---


def public(query: Words | Condition) -> Clause:
    """Compile one word or condition about rows of `versions`."""
    if isinstance(query, Words):
        return _words(query, schema.versions, schema.words)
    asked = _PUBLIC.get(query.field)
    return false() if asked is None else asked(query)


def _among(table: Table, *clauses: Clause) -> Select[tuple[object]]:
    return select(table.c.number).where(*clauses)


def _in(table: Table, *clauses: Clause) -> Clause:
    return schema.versions.c.number.in_(_among(table, *clauses))


def _model(query: Condition) -> Clause:
    column = schema.versions.c.model
    if query.text == "*":
        return true()
    if query.text.endswith("/*"):
        folder = query.text.removesuffix("*")
        # Not by the index of models: what is below a folder is often most, and is read in the order of time.
        return func.substr(column, 1, len(folder)) == folder
    return column == query.text


def _ordered(column: Column[object], *, by_number: bool) -> Ask:
    return lambda query: _COMPARE[query.operator](column, query.number if by_number else query.text)


def _digest(query: Condition) -> Clause:
    column = schema.versions.c.manifest
    return and_(column >= query.text, column < query.text + "g")


def _place(table: Table, *more: Clause) -> Ask:
    def asked(query: Condition) -> Clause:
        environment, _, slot = query.text.partition("/")
        return _in(
            table, table.c.environment == environment, *more, *([table.c.slot == slot] if slot else [])
        )

    return asked


def _parent(query: Condition) -> Clause:
    model, _, version = query.text.partition(":")
    table = schema.parents
    return _in(table, table.c.model == model, *([table.c.version == version] if version else []))


def _named(table: Table, column: str, *more: Clause) -> Ask:
    return lambda query: _in(table, table.c[column] == query.text, *more)


_PUBLIC: Final[dict[str, Ask]] = {
    "approved": _named(schema.votes, "who", schema.votes.c.action == "approve"),
    "by": _named(schema.signers, "name"),
    "created": _ordered(schema.versions.c.created, by_number=True),
    "digest": _digest,
    "env": _place(schema.in_force),
    "format": _named(schema.formats, "format"),
    "model": _model,
    "parent": _parent,
    "size": _ordered(schema.versions.c.size, by_number=True),
    "tag": _named(schema.tags, "tag"),
    "test": _named(schema.load_tests, "outcome"),
    "version": _ordered(schema.versions.c.ordinal, by_number=False),
    "was": _place(schema.channels, schema.channels.c.action == "promote"),
}


# --- the sealed half ---


def sealed(query: Words | Condition, number: Number) -> Clause:
    """Compile one word or condition about a version's number, as the sealed half has it."""
    if isinstance(query, Words):
        return _words(query, schema.kept, schema.kept_words, number)
    if query.field == "tag":
        return number.in_(_among(schema.kept_tags, schema.kept_tags.c.tag == query.text))
    if query.field == "feature":
        return number.in_(_among(schema.features, schema.features.c.name == query.text))
    table = _VALUES.get(query.field)
    if table is None:
        return false()
    if not query.name:
        return number.in_(_among(table, table.c.name == query.text))
    return number.in_(_among(table, table.c.name == query.name, _comparison(query, table)))


def _comparison(query: Condition, table: Table) -> Clause:
    """Compare a value; a column without one does not compare, and with `differs` differs from all."""
    if query.field == "library":
        held = _COMPARE[query.operator](table.c.ordinal, query.text)
        return and_(table.c.ordinal.is_not(None), not_(held)) if query.differs else held
    parts: list[Clause] = []
    if query.number is not None:
        parts.append(_COMPARE[query.operator](table.c.value, query.number))
    if query.field == "param" and query.operator == "=":
        parts.append(table.c.spelled == query.text)
    return not_(func.coalesce(or_(*parts), false())) if query.differs else or_(*parts)


# --- words ---


def _words(query: Words, main: Table, cut: Table, number: Number | None = None) -> Clause:
    """Find words by the index of words; a phrase, among those that have all its words, by its text."""
    number = main.c.number if number is None else number
    clauses = []
    for place, word in enumerate(query.words):
        if query.prefix and place == len(query.words) - 1:
            wanted = and_(cut.c.word >= word, cut.c.word < word + _LAST)
        else:
            wanted = cut.c.word == word
        clauses.append(_among(cut, wanted))
    if len(clauses) == 1:
        return number.in_(clauses[0])
    phrase = f" {' '.join(query.words)}{'' if query.prefix else ' '}"
    rest = [main.c.number.in_(clause) for clause in clauses]
    return number.in_(_among(main, *rest, main.c.phrase.contains(phrase, autoescape=True)))
