"""A slow oracle of retention: rules read from their definitions, and what must stay, by brute force.

It shares nothing with the code that it judges but the words of the rules. What restic counts down while
it walks, this one looks up: the stretches of time that have a version, the newest version of each.
"""

from calendar import monthrange
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from vault.core.retention import UNLIMITED, Duration, Rules


@dataclass(frozen=True)
class Item:
    """A version: a name of its own, when it was published, its number among those of one moment, its tags."""

    name: str
    created: int
    number: int
    tags: frozenset[str] = frozenset()


def earlier(moment: int, span: Duration) -> float:
    """Give the moment that much earlier; days that the month does not have run over."""
    start = datetime.fromtimestamp(moment, UTC)
    months = start.year * 12 + start.month - 1 - 12 * span.years - span.months
    year, month = divmod(months, 12)
    if year < 1:
        return float("-inf")
    over = max(0, start.day - monthrange(year, month + 1)[1])
    try:
        then = start.replace(year=year, month=month + 1, day=start.day - over) + timedelta(days=over)
        return int((then - timedelta(days=span.days, hours=span.hours)).timestamp())
    except OverflowError:
        return float("-inf")


def _stretch(name: str) -> Callable[[Item], object]:
    def text(item: Item) -> str:
        return datetime.fromtimestamp(item.created, UTC).strftime(
            {
                "hourly": "%Y-%m-%d %H",
                "daily": "%Y-%m-%d",
                "weekly": "%G week %V",
                "monthly": "%Y-%m",
                "yearly": "%Y",
            }[name]
        )

    return text


def _newest_of_each(items: Collection[Item], stretch: Callable[[Item], object]) -> list[Item]:
    """Give the newest version of each stretch, newest stretch first."""
    best: dict[object, Item] = {}
    for item in items:
        known = best.get(stretch(item))
        if known is None or (item.created, item.number) > (known.created, known.number):
            best[stretch(item)] = item
    return sorted(best.values(), key=lambda item: (item.created, item.number), reverse=True)


def kept(rules: Rules, items: Collection[Item], now: int) -> set[str]:
    """Give the names of those of a group that the rules keep."""
    if rules == Rules() or not items:
        return {item.name for item in items}
    oldest = min(items, key=lambda item: (item.created, item.number))
    past = [item.created for item in items if item.created <= now]
    found: set[str] = set()

    def since(span: Duration) -> float:
        return earlier(max(past), span) if past else float("-inf")

    found |= {item.name for item in items for wanted in rules.tags if _has(item, wanted)}
    if rules.within is not None:
        found |= {item.name for item in items if item.created > since(rules.within)}
    if rules.last:
        every = _newest_of_each(items, lambda item: item.name)
        found |= {item.name for item in (every if rules.last == UNLIMITED else every[: rules.last])}
    for name in ("hourly", "daily", "weekly", "monthly", "yearly"):
        number: int = getattr(rules, name)
        if number:
            newest = _newest_of_each(items, _stretch(name))
            found |= {item.name for item in (newest if number == UNLIMITED else newest[:number])}
            if number == UNLIMITED or len(newest) < number:
                found.add(oldest.name)
        span: Duration | None = getattr(rules, f"within_{name}")
        if span is not None:
            inside = [item for item in items if item.created > since(span)]
            found |= {item.name for item in _newest_of_each(inside, _stretch(name))}
            if oldest in inside:
                found.add(oldest.name)
    return found


def _has(item: Item, wanted: frozenset[str]) -> bool:
    return item.tags >= wanted if wanted else item.tags == frozenset()


@dataclass
class Channel:
    """A slot of an environment as a list of what happened: ("promote" or "withdraw", version), in order."""

    steps: list[tuple[int, str, str]] = field(default_factory=list)


def _usable(slots: Mapping[str, Channel], when: int, what: str) -> bool:
    """Tell whether no slot withdrew a version since a moment: that keeps it out of every slot."""
    return not any(
        kind == "withdraw" and other == what and then > when
        for slot in slots.values()
        for then, kind, other in slot.steps
    )


def current(slots: Mapping[str, Channel], slot: str) -> str | None:
    """Give what a slot of an environment uses, unless that was withdrawn since."""
    named = [(when, what) for when, kind, what in slots[slot].steps if kind == "promote"]
    return named[-1][1] if named and _usable(slots, *named[-1]) else None


def in_use(slots: Mapping[str, Channel]) -> set[str]:
    """Give what the slots of one environment use, and what each would go back to."""
    found: set[str] = set()
    for name, slot in slots.items():
        named = [(when, what) for when, kind, what in slot.steps if kind == "promote"]
        before = [what for when, what in named if what != named[-1][1] and _usable(slots, when, what)]
        found |= {what for what in (current(slots, name), *before[-1:]) if what is not None}
    return found


def with_ancestors(names: Iterable[str], parents: Mapping[str, Collection[str]]) -> set[str]:
    """Give some versions, and everything that they were made from."""
    found = set(names)
    while True:
        more = {parent for name in found for parent in parents.get(name, ())} - found
        if not more:
            return found
        found |= more
