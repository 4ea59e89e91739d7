"""Tell what is unusual in a period: against each actor's own past, not against a rule for everybody.

Whether an actor was denied or refused more often than it used to be is judged
by the conditional test of two Poisson rates (Przyborowski and Wilenski 1940,
"Homogeneity of results in testing samples from Poisson series", Biometrika 31,
pages 313 to 323). With x denials among n records in the period, and k among m
before it, and if nothing changed, x is one draw of a binomial with x + k trials
and the probability q = n / (n + m), so

    p = sum for i from x to x + k of C(x + k, i) q^i (1 - q)^(x + k - i)

It is exact, so it holds for few records too: one denial of somebody with as
much of a past as of a present has p = 0.5 or more. An actor is called unusual
when p is below 0.01 divided by the number of actors that were judged
(Bonferroni), so that on a usual day at most one reader in a hundred is alarmed
for nothing. An actor without a past is not judged, and the summary says so.

Denials that come in bursts, as a job that tries again does, are not independent:
p is then smaller than it should be. It ranks, and proves nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vault.audit import query
from vault.audit.index import UNREADABLE, AuditIndex
from vault.audit.query import Filter, Row
from vault.core import audit_record
from vault.core.audit_export import ALARMING

ALPHA: Final = 0.01
SHOWN: Final = 20  # rows that a section brings along
FIRSTS_SHOWN: Final = 1_000
_PAST_DAYS: Final = 14  # before an hour of the day can be called new for an actor
_PAST_RECORDS: Final = 50
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Rate:
    """How often an actor was denied or refused, in the period and before it."""

    actor: str
    denied: int
    records: int
    past_denied: int
    past_records: int
    probability: float | None  # p as above; None where there is no past to compare with
    unusual: bool


@dataclass(frozen=True, slots=True)
class First:
    """Something that an actor had never done, or been, before."""

    actor: str
    field: str  # `actor`, `key`, `host`, `model`, `environment`, `action` or `hour`
    value: str  # an hour is that of the day, UTC, such as `03`
    time: int  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Section:
    """What holds of some records: how many, and the newest of them."""

    count: int
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a reviewer should look at in a period; `since` is included, `until` is not."""

    since: int
    until: int
    records: int
    past_records: int
    rates: tuple[Rate, ...]  # of every actor that was denied or refused something, the least likely first
    firsts: tuple[First, ...]  # at most 1,000, the newest first; of a new actor, that it is new and no more
    firsts_count: int
    hours: tuple[First, ...]  # of actors with a past of 14 days and 50 records at least
    changes: Section  # of the policy, of the root, of who may read
    pickles: Section  # pickles that the gate refused
    barred: Section  # withdrawn versions that somebody wanted
    alarming: Section  # signs of tampering
    unreadable: Section  # entries that are no records
    unfinished: Section  # attempts without an outcome


def summarise(index: AuditIndex, *, since: int, until: int) -> Summary:
    """Look at the records from `since` to `until`, in seconds, and at what was before.

    Raises:
        Unavailable: the index cannot be read now.
        Refused: `memory-damaged`.
        ValueError: the period is empty.
    """
    if since >= until:
        raise ValueError("A period ends after it begins")
    index.ready()
    firsts, hours = _firsts(index, since, until)
    within = Filter(since=since, until=until)

    def section(**asked: tuple[str, ...]) -> Section:
        filters = Filter(since=since, until=until, **asked)
        return Section(query.count(index, filters), query.page(index, filters, most=SHOWN).rows)

    return Summary(
        since=since,
        until=until,
        records=query.count(index, within),
        past_records=query.count(index, Filter(until=since)),
        rates=_rates(index, since, until),
        firsts=tuple(firsts[:FIRSTS_SHOWN]),
        firsts_count=len(firsts),
        hours=hours,
        changes=section(action=("policy", "root", "access"), decision=(audit_record.ALLOW,)),
        pickles=section(code=("pickle-refused",)),
        barred=section(action=("load", "pull"), code=("barred",)),
        alarming=section(code=tuple(sorted(ALARMING))),
        unreadable=section(code=(UNREADABLE,)),
        unfinished=_unfinished(index, since, until),
    )


def tail(successes: int, trials: int, chance: float) -> float:
    """Give the probability of at least so many successes: the upper tail of a binomial.

    Summed from the largest term, in logarithms, so that it neither overflows nor
    takes longer than the terms that matter.
    """
    if successes <= 0 or chance >= 1:
        return 1.0
    if chance <= 0:
        return 0.0
    start = max(successes, min(trials, math.floor((trials + 1) * chance)))
    total = 0.0
    for step, place in ((1, start), (-1, start - 1)):
        while successes <= place <= trials:
            term = math.exp(
                math.lgamma(trials + 1)
                - math.lgamma(place + 1)
                - math.lgamma(trials - place + 1)
                + place * math.log(chance)
                + (trials - place) * math.log1p(-chance)
            )
            total += term
            if term <= total * 1e-16:
                break
            place += step  # noqa: PLW2901
    return min(1.0, total)


def _rates(index: AuditIndex, since: int, until: int) -> tuple[Rate, ...]:
    denied = index.rows(
        "SELECT actor, sum(time >= ?), sum(time < ?) FROM entries INDEXED BY troubled"
        " WHERE code IS NOT NULL AND time < ? AND actor IS NOT NULL"
        " AND decision IN (SELECT number FROM words WHERE name IN ('deny', 'refuse'))"
        " GROUP BY actor HAVING sum(time >= ?) > 0",
        (since, since, until, since),
    )
    names = index.texts({row[0] for row in denied})
    found = []
    for actor, now, past in denied:
        records, before = _counts(index, actor, since, until)
        chance = tail(now, now + past, records / (records + before)) if before else None
        found.append((names[actor], now, records, past, before, chance))
    judged = sum(row[5] is not None for row in found)
    rates = [Rate(*row, row[5] is not None and row[5] < ALPHA / judged) for row in found]
    return tuple(sorted(rates, key=lambda rate: (rate.probability is None, rate.probability, rate.actor)))


def _counts(index: AuditIndex, actor: int, since: int, until: int) -> tuple[int, int]:
    (row,) = index.rows(
        "SELECT (SELECT count(*) FROM entries INDEXED BY by_actor WHERE actor = ? AND time >= ?"
        " AND time < ?), (SELECT count(*) FROM entries INDEXED BY by_actor WHERE actor = ? AND time < ?)",
        (actor, since, until, actor, since),
    )
    return row[0], row[1]


def _firsts(index: AuditIndex, since: int, until: int) -> tuple[list[First], tuple[First, ...]]:
    """Give what was new, and the new hours of those actors that have enough of a past."""
    rows = index.rows(
        "SELECT actor, field, value, time FROM firsts WHERE time >= ? AND time < ?"
        " ORDER BY time DESC, actor, field, value",
        (since, until),
    )
    new = {actor for actor, field, _, _ in rows if field == "actor"}
    numbers = {actor for actor, *_ in rows} | {value for _, field, value, _ in rows if field != "hour"}
    texts = index.texts(numbers)
    beginnings = _beginnings(index)
    firsts, hours = [], []
    for actor, field, value, time in rows:
        if field == "hour":
            long_enough = since - beginnings[actor] >= _PAST_DAYS * _DAY
            if long_enough and _counts(index, actor, since, until)[1] >= _PAST_RECORDS:
                hours.append(First(texts[actor], field, f"{value:02d}", time))
        elif field == "actor" or actor not in new:
            firsts.append(First(texts[actor], field, texts[value], time))
    return firsts, tuple(hours)


def _beginnings(index: AuditIndex) -> Mapping[int, int]:
    return dict(index.rows("SELECT actor, time FROM firsts WHERE field = 'actor'"))


def _unfinished(index: AuditIndex, since: int, until: int) -> Section:
    """Find attempts of which nobody wrote what became: what crashed, or kept silent."""
    source = (
        "FROM entries INDEXED BY by_time WHERE time >= ? AND time < ?"
        " AND decision = (SELECT number FROM words WHERE name = 'pending')"
        " AND NOT EXISTS (SELECT 1 FROM entries AS later WHERE later.of = entries.id)"
    )
    count = index.rows(f"SELECT count(*) {source}", (since, until))[0][0]
    rows = index.rows(f"SELECT row {source} ORDER BY time DESC, row DESC LIMIT ?", (since, until, SHOWN))
    return Section(count, query.given(index, [row for (row,) in rows]))
