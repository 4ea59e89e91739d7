"""Say which versions rules of retention keep, in restic's grammar (docs/retention.md, "Rules").

A version counts by when it was published, in UTC. Rules keep, they never remove:
what one rule keeps stays, whatever the others say. The semantics are those of
`restic forget` (restic's documentation, "Removing snapshots according to a policy"),
the rule about the oldest version of a group included.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import Final

from vault.core import names
from vault.core.names import Model, Version
from vault.errors import Malformed

UNLIMITED: Final = -1
GROUPS: Final = ("model", "environment", "tag")
NO_GROUPS: Final = "none"

_DURATION: Final = re.compile(
    r"(?:([0-9]{1,6})y)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?\Z", re.ASCII
)
_HOUR: Final = 3_600
_DAY: Final = 86_400
_EPOCH: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Duration:
    """A stretch of the calendar: years and months are as long as they are at that time."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0

    def __str__(self) -> str:
        parts = ((self.years, "y"), (self.months, "m"), (self.days, "d"), (self.hours, "h"))
        return "".join(f"{number}{unit}" for number, unit in parts if number) or "0h"

    def before(self, moment: int) -> int | None:
        """Give the moment that much earlier, in seconds since 1970; None where that is before the year 1."""
        return self._moved(moment, -1)

    def after(self, moment: int) -> int:
        """Give the moment that much later, in seconds since 1970.

        Raises:
            ValueError: that is after the year 9999.
        """
        found = self._moved(moment, 1)
        if found is None:
            raise ValueError(f"{self} later is beyond the calendar.")
        return found

    def _moved(self, moment: int, sign: int) -> int | None:
        """Move years and months, then days and hours; a day that a month lacks runs over into the next."""
        day, rest = divmod(moment, _DAY)
        start = date.fromordinal(_EPOCH + day)
        month = start.year * 12 + start.month - 1 + sign * (self.years * 12 + self.months)
        if not 1 <= month // 12 <= 9999:
            return None
        first = date(month // 12, month % 12 + 1, 1).toordinal()
        ordinal = first + start.day - 1 + sign * self.days
        found = (ordinal - _EPOCH) * _DAY + rest + sign * self.hours * _HOUR
        return found if 1 <= _EPOCH + found // _DAY <= date.max.toordinal() else None


def duration(text: str) -> Duration:
    """Parse a duration such as `1y5m7d2h`: years, months, days and hours, in that order.

    Raises:
        Malformed: `malformed-document`: it is none, or nothing.
    """
    found = _DURATION.match(text)
    if found is None or not text:
        raise Malformed(f"{text!r} is not a duration: write 30d, 12h or 1y5m7d2h.", subject=text[:80])
    return Duration(*(int(number or 0) for number in found.groups()))


def count(text: str) -> int:
    """Parse how many to keep: a whole number, or `unlimited`.

    Raises:
        Malformed: `malformed-document`.
    """
    if text == "unlimited":
        return UNLIMITED
    if not text.isdecimal() or not text.isascii() or len(text) > 6:
        raise Malformed(f"{text!r} is not a whole number, nor 'unlimited'.", subject=text[:80])
    return int(text)


def tags(text: str) -> frozenset[str]:
    """Parse tags that a version must all have, joined with commas; nothing means: has no tag at all."""
    return frozenset(part for part in text.split(",") if part)


def groups(text: str) -> tuple[str, ...]:
    """Parse what versions are grouped by: some of `model`, `environment` and `tag`, or `none`.

    Raises:
        Malformed: `malformed-document`.
    """
    if text in (NO_GROUPS, ""):
        return ()
    found = tuple(text.split(","))
    if not set(found) <= set(GROUPS) or len(set(found)) < len(found):
        raise Malformed(
            f"{text!r} is nothing to group by: name {', '.join(GROUPS)}, or {NO_GROUPS}.", subject=text[:80]
        )
    return tuple(name for name in GROUPS if name in found)


@dataclass(frozen=True, slots=True)
class Rules:
    """What to keep. Numbers are how many, 0 for none and `UNLIMITED` for all of their kind."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: Duration | None = None
    within_hourly: Duration | None = None
    within_daily: Duration | None = None
    within_weekly: Duration | None = None
    within_monthly: Duration | None = None
    within_yearly: Duration | None = None
    tags: tuple[frozenset[str], ...] = ()

    @property
    def empty(self) -> bool:
        """Tell whether nothing is asked for, so that the rules decide nothing."""
        return self == Rules()

    def __str__(self) -> str:
        """Write the rules as options are written."""
        parts = []
        for place in fields(self):
            value = getattr(self, place.name)
            option = f"keep-{place.name.replace('_', '-')}"
            if place.name == "tags":
                parts += [f"keep-tag {','.join(sorted(wanted)) or repr('')}" for wanted in self.tags]
            elif value:
                parts.append(f"{option} {'unlimited' if value == UNLIMITED else value}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version as the rules see it: `created` is in seconds since 1970."""

    model: Model
    version: Version
    created: int
    tags: frozenset[str] = frozenset()
    environments: frozenset[str] = frozenset()  # that a record ever named it in

    @property
    def subject(self) -> str:
        """The version as `name:version`."""
        return f"{self.model}:{self.version}"


Kept = Mapping[Candidate, tuple[str, ...]]


def grouped(by: Sequence[str], candidates: Iterable[Candidate]) -> list[list[Candidate]]:
    """Divide candidates into groups; those with the same models, environments or tags, as asked, are one."""
    found: dict[tuple[object, ...], list[Candidate]] = {}
    for entry in candidates:
        keys: dict[str, object] = {
            "model": entry.model,
            "environment": entry.environments,
            "tag": entry.tags,
        }
        found.setdefault(tuple(keys[name] for name in by), []).append(entry)
    return list(found.values())


def apply(rules: Rules, group: Iterable[Candidate], now: int) -> Kept:
    """Give those of a group that the rules keep, with the reasons; empty rules keep everything.

    Durations count back from the newest candidate that is not in the future.
    """
    ordered = sorted(group, key=_age, reverse=True)
    if rules.empty:
        return dict.fromkeys(ordered, ("no rule is given",))
    if not ordered:
        return {}
    newest = max((entry.created for entry in ordered if entry.created <= now), default=None)
    counters = [
        _Counter(name, number, spell)
        for name, number, spell in (
            ("last", rules.last, _each),
            ("hourly", rules.hourly, _hour),
            ("daily", rules.daily, _day),
            ("weekly", rules.weekly, _week),
            ("monthly", rules.monthly, _month),
            ("yearly", rules.yearly, _year),
        )
    ]
    counters += [
        _Counter(f"{name} within {wanted}", UNLIMITED, spell, _since(wanted, newest))
        for name, wanted, spell in (
            ("hourly", rules.within_hourly, _hour),
            ("daily", rules.within_daily, _day),
            ("weekly", rules.within_weekly, _week),
            ("monthly", rules.within_monthly, _month),
            ("yearly", rules.within_yearly, _year),
        )
        if wanted is not None
    ]
    since = None if rules.within is None else _since(rules.within, newest)
    kept: dict[Candidate, tuple[str, ...]] = {}
    for place, entry in enumerate(ordered):
        reasons = [_tagged(wanted) for wanted in rules.tags if _has(entry, wanted)]
        if since is not None and entry.created > since:
            reasons.append(f"within {rules.within}")
        is_last = place == len(ordered) - 1
        reasons += [found for counter in counters if (found := counter.take(entry, place, is_last))]
        if reasons:
            kept[entry] = tuple(reasons)
    return kept


def _age(entry: Candidate) -> tuple[int, names.VersionOrder, str]:
    return entry.created, names.version_order(entry.version), entry.model


def _has(entry: Candidate, wanted: frozenset[str]) -> bool:
    """Tell whether a version has all of some tags; of none, whether it has no tag at all."""
    return wanted <= entry.tags if wanted else not entry.tags


def _tagged(wanted: frozenset[str]) -> str:
    return f"tagged {', '.join(sorted(wanted))}" if wanted else "without a tag"


def _since(wanted: Duration, newest: int | None) -> float:
    """Give the moment after which a version is within a duration; all are, where none is of the past."""
    found = None if newest is None else wanted.before(newest)
    return float("-inf") if found is None else found


class _Counter:
    """Keeps the newest of each stretch of time, as long as there are some left to keep."""

    def __init__(
        self,
        name: str,
        left: int,
        spell: Callable[[int, int], tuple[int, ...]],
        since: float = float("-inf"),
    ) -> None:
        self._name = name
        self._left = left
        self._spell = spell
        self._since = since
        self._last: tuple[int, ...] | None = None

    def take(self, entry: Candidate, place: int, is_oldest: bool) -> str:
        """Give the reason to keep an entry, if there is one; the oldest is kept while some are left over."""
        if not self._left or entry.created <= self._since:
            return ""
        spell = self._spell(entry.created, place)
        if spell == self._last and not is_oldest:
            return ""
        reason = self._name if spell != self._last else f"oldest {self._name}"
        self._last = spell
        if self._left != UNLIMITED:
            self._left -= 1
        return reason


def _each(_: int, place: int) -> tuple[int, ...]:
    return (place,)


def _hour(moment: int, _: int) -> tuple[int, ...]:
    return (moment // _HOUR,)


def _day(moment: int, _: int) -> tuple[int, ...]:
    return (moment // _DAY,)


def _week(moment: int, _: int) -> tuple[int, ...]:
    """Give the ISO week: from Monday to Sunday, with the year that it belongs to."""
    year, week, _day_of_week = _calendar(moment).isocalendar()
    return year, week


def _month(moment: int, _: int) -> tuple[int, ...]:
    found = _calendar(moment)
    return found.year, found.month


def _year(moment: int, _: int) -> tuple[int, ...]:
    return (_calendar(moment).year,)


def _calendar(moment: int) -> datetime:
    return datetime.fromtimestamp(moment, UTC)
