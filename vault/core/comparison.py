"""Lay versions beside each other: metrics, parameters, features, libraries, files, approvals."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vault.core.strict_json import JSONValue

SECTIONS: Final = (
    *("version", "metrics", "parameters", "features", "libraries", "files", "approvals", "parents", "labels"),
)
CONFIDENTIAL: Final = frozenset({"metrics", "parameters", "features", "libraries"})
ORDER: Final = "(order)"

Section = Mapping[str, JSONValue]


@dataclass(frozen=True, slots=True)
class Side:
    """One version: what it has, by section and name. `unread` says why it has no confidential sections."""

    reference: str
    sections: Mapping[str, Section]
    unread: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that versions have: a value for each; None where a version has none, or it is not known."""

    section: str
    name: str
    values: tuple[JSONValue, ...]

    @property
    def differs(self) -> bool:
        """Whether the versions differ in it."""
        return any(spelled(value) != spelled(self.values[0]) for value in self.values[1:])


@dataclass(frozen=True, slots=True)
class Comparison:
    """Versions beside each other, in the order in which they were given; `rows` by section and name."""

    sides: tuple[Side, ...]
    rows: tuple[Row, ...]

    @property
    def changes(self) -> tuple[Row, ...]:
        """The rows in which they differ, but for what is confidential and cannot be read of them all."""
        hidden = CONFIDENTIAL if any(side.unread for side in self.sides) else frozenset()
        return tuple(row for row in self.rows if row.differs and row.section not in hidden)


def compare(sides: Sequence[Side]) -> Comparison:
    """Lay versions beside each other."""
    rows = []
    for section in SECTIONS:
        parts = [side.sections.get(section, {}) for side in sides]
        names = sorted({name for part in parts for name in part})
        rows += [Row(section, name, tuple(part.get(name) for part in parts)) for name in names]
    return Comparison(tuple(sides), tuple(rows))


def spelled(value: JSONValue) -> tuple[str, str]:
    """Give a form in which two values are equal when JSON's are: 1, 1.0, true and '1' are four values."""
    if isinstance(value, list):
        return "list", str([spelled(entry) for entry in value])
    if isinstance(value, dict):
        return "object", str([(name, spelled(entry)) for name, entry in sorted(value.items())])
    return type(value).__name__, str(value)


# --- from what is known of a version ---


def parameters(info: Mapping[str, JSONValue]) -> dict[str, JSONValue]:
    """Give the estimator's parameters and those that were told; of two with one name, what was told."""
    return {**_table(info.get("parameters")), **_table(info.get("params"))}


def metrics(info: Mapping[str, JSONValue]) -> dict[str, JSONValue]:
    """Give the metrics that were told."""
    return _table(info.get("metrics"))


def features(info: Mapping[str, JSONValue]) -> dict[str, JSONValue]:
    """Give each feature as true, and their order as one value: a list."""
    found = info.get("features")
    known = [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
    return {**dict.fromkeys(known, True), **({ORDER: list[JSONValue](known)} if known else {})}


def approvals(votes: Iterable[tuple[str, str, Sequence[str]]]) -> dict[str, JSONValue]:
    """Give who approved a version for each environment, and who adopted it, of (action, environment, who)."""
    found: dict[str, set[str]] = {}
    for action, environment, who in votes:
        found.setdefault(environment if action == "approve" else "adopted", set()).update(who)
    return {name: list[JSONValue](sorted(people)) for name, people in found.items()}


def _table(value: JSONValue | None) -> dict[str, JSONValue]:
    return dict(value) if isinstance(value, dict) else {}
