"""Judge whether one version is what a query asks for: what SQL answers over many must agree with this."""

from collections.abc import Callable, Collection, Iterable
from typing import Final

from vault.core import registry_record
from vault.core.policy import covers
from vault.core.registry_record import (
    Facts,
    Record,
    Value,
    indexed_words,
    library_order,
    phrase_of,
    version_key,
)
from vault.core.search_query import All, Any, Condition, Not, Query, Words

COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "=": lambda one, other: one == other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
}


def matches(query: Query, record: Record) -> bool:
    """Tell whether a version is what a query asks for; what may not be read does not match."""
    if isinstance(query, All):
        return all(matches(part, record) for part in query.parts)
    if isinstance(query, Any):
        return any(matches(part, record) for part in query.parts)
    if isinstance(query, Not):
        return not matches(query.part, record)
    if isinstance(query, Words):
        halves = [record.entry.text] + ([] if record.facts is None else [record.facts.text])
        return any(has_words(query, text) for text in halves)
    if query.field in _SEALED:
        return record.facts is not None and _SEALED[query.field](query, record.facts)
    return _public(query, record)


def has_words(query: Words, text: str) -> bool:
    """Tell whether the words stand one after another in a text."""
    wanted = phrase_of(query.words)
    return (wanted[:-1] if query.prefix else wanted) in phrase_of(indexed_words(text))


def _public(query: Condition, record: Record) -> bool:
    entry, text = record.entry, query.text
    if query.number is not None:
        value = entry.created if query.field == "created" else entry.size
        return COMPARE[query.operator](value, query.number)
    if query.field == "model":
        return covers(frozenset({text}), entry.model)
    if query.field == "version":
        return _ordered(query.operator, version_key(entry.version), text)
    if query.field == "digest":
        return entry.manifest.startswith(text)
    if query.field in {"env", "was"}:
        return _is_at(text, record.current if query.field == "env" else record.past)
    return text in _texts(query.field, record)


def _texts(field: str, record: Record) -> Collection[str]:
    """Give what a version has of a field whose texts are equal or not."""
    entry = record.entry
    return {
        "approved": [vote.who for vote in entry.votes if vote.action == "approve"],
        "by": entry.publishers,
        "format": entry.formats,
        "parent": [
            text for parent in entry.parents for text in (parent.model, f"{parent.model}:{parent.version}")
        ],
        "tag": [*entry.tags, *(() if record.facts is None else record.facts.tags)],
        "test": [test.outcome for test in entry.tests],
    }[field]


def _is_at(text: str, places: Iterable[tuple[str, str]]) -> bool:
    environment, _, slot = text.partition("/")
    return any(place == environment and slot in {"", own} for place, own in places)


def _ordered(comparison: str, one: str, other: str) -> bool:
    return COMPARE[comparison]((one > other) - (one < other), 0)


def _feature(query: Condition, facts: Facts) -> bool:
    return query.text in facts.features


def _library(query: Condition, facts: Facts) -> bool:
    if not query.name:
        return any(name == query.text for name, _ in facts.libraries)
    orders = [library_order(version) for name, version in facts.libraries if name == query.name]
    return any(
        order is not None and _ordered(query.operator, order, query.text) != query.differs for order in orders
    )


def _metric(query: Condition, facts: Facts) -> bool:
    return _named(query, facts.metrics)


def _parameter(query: Condition, facts: Facts) -> bool:
    return _named(query, facts.parameters)


def _named(query: Condition, values: Iterable[Value]) -> bool:
    if not query.name:
        return any(name == query.text for name, _, _ in values)
    return any(_compared(query, value) != query.differs for value in values if value[0] == query.name)


def _compared(query: Condition, value: Value) -> bool:
    _, number, text = value
    if query.field == "param" and query.operator == "=" and text == query.text:
        return True
    return query.number is not None and number is not None and COMPARE[query.operator](number, query.number)


_SEALED: Final[dict[str, Callable[[Condition, registry_record.Facts], bool]]] = {
    "feature": _feature,
    "library": _library,
    "metric": _metric,
    "param": _parameter,
}
