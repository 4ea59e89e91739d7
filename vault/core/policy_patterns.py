"""Compute with sets of model patterns: what two have in common, and what one has that another lacks.

Two patterns are disjoint, or one lies within the other, so that a pattern may
stand for the models that it means and no narrower pattern of a policy names:
`covers` of `core.policy` answers for it as for a model.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from vault.core.names import Model
from vault.core.policy import covers

Patterns = frozenset[str]
ALL: Final[Patterns] = frozenset({"*"})
NONE: Final[Patterns] = frozenset()


def within(pattern: str, patterns: Patterns) -> bool:
    """Tell whether every model that `pattern` means is meant by one of `patterns`."""
    return covers(patterns, Model(pattern))


def common(one: Patterns, other: Patterns) -> Patterns:
    """Give what two sets both mean."""
    return frozenset(
        [*(entry for entry in one if within(entry, other)), *(entry for entry in other if within(entry, one))]
    )


def simplified(patterns: Iterable[str]) -> Patterns:
    """Leave out what lies within another pattern of the set."""
    found = frozenset(patterns)
    wide = frozenset(entry for entry in found if entry.endswith("*"))
    return frozenset(entry for entry in found if not within(entry, wide - {entry}))


@dataclass(frozen=True, slots=True)
class Models:
    """Some models: what `pattern` means without what `without` means."""

    pattern: str
    without: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = "every model" if self.pattern == "*" else self.pattern
        return text + (f" but {', '.join(self.without)}" if self.without else "")


def missing(before: Patterns, after: Patterns) -> tuple[Models, ...]:
    """Give what `before` means and `after` does not, in order."""
    return tuple(
        Models(
            entry,
            tuple(sorted(inner for inner in after if within(inner, frozenset({entry}))))
            if entry.endswith("*")
            else (),
        )
        for entry in sorted(before)
        if not within(entry, after)
    )


def around(pattern: str) -> Iterator[str]:
    """Give every pattern that means all of what `pattern` means, itself first."""
    yield pattern
    at = pattern.rfind("/")
    while at > 0:
        wider = f"{pattern[:at]}/*"
        if wider != pattern:
            yield wider
        at = pattern.rfind("/", 0, at)
    if pattern != "*":
        yield "*"
