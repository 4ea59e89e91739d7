"""The summary: what is unusual for each actor, and nothing that is usual."""

import math
from collections.abc import Iterator
from fractions import Fraction

import pytest

from tests.audit.record_parts import ACCESS, START, loaded, put
from vault.audit import summary
from vault.audit.index import AuditIndex, Mark
from vault.audit.summary import First, Summary
from vault.core import audit_record
from vault.core.audit_record import AuditRecord

DAY = 86_400
SINCE = START + 60 * DAY
UNTIL = SINCE + 7 * DAY


def past(actor: str = "serving", *, days: int = 60, each: int = 10, denied: int = 0) -> list[AuditRecord]:
    """Make loads in the first ten hours of every day, the first `denied` of which were denied."""
    made = [
        loaded(START + day * DAY + hour * 3_600, actor=actor, host=f"{actor}-host")
        for day in range(60 - days, 60)
        for hour in range(each)
    ]
    return [
        loaded(START + number * 3_600 + 7, actor=actor, host=f"{actor}-host", code="access-denied")
        for number in range(denied)
    ] + made


def seen(records: list[AuditRecord], *, since: int = SINCE, until: int = UNTIL) -> Summary:
    index = AuditIndex(None)
    put(index, ACCESS, sorted(records, key=lambda record: record.time))
    found = summary.summarise(index, since=since, until=until)
    index.close()
    return found


def denials(count: int, actor: str = "serving") -> list[AuditRecord]:
    return [
        loaded(SINCE + number * 60, actor=actor, host=f"{actor}-host", code="access-denied")
        for number in range(count)
    ]


# --- more often than usual ---


def exactly(successes: int, trials: int, chance: Fraction) -> Fraction:
    terms = (
        math.comb(trials, place) * chance**place * (1 - chance) ** (trials - place)
        for place in range(successes, trials + 1)
    )
    return sum(terms, Fraction(0))


@pytest.mark.parametrize("trials", [1, 2, 3, 10, 47, 200])
@pytest.mark.parametrize("chance", [Fraction(1, 1_000), Fraction(1, 7), Fraction(1, 2), Fraction(999, 1_000)])
def test_the_tail_is_that_of_the_binomial(trials: int, chance: Fraction) -> None:
    for successes in {0, 1, trials // 2, trials - 1, trials}:
        expected = float(exactly(successes, trials, chance))
        assert summary.tail(successes, trials, float(chance)) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_the_tail_has_no_trouble_at_its_ends_or_with_a_million() -> None:
    assert summary.tail(0, 0, 0.5) == 1
    assert summary.tail(3, 3, 1) == 1
    assert summary.tail(1, 3, 0) == 0
    assert summary.tail(500_000, 1_000_000, 0.5) == pytest.approx(0.5, abs=1e-3)
    assert summary.tail(1_000_000, 1_000_000, 0.01) == 0
    assert 0 <= summary.tail(1, 1_000_000, 0.9) <= 1


def test_many_denials_of_somebody_who_had_none_are_unusual() -> None:
    (rate,) = seen([*past(), *denials(8)]).rates
    assert (rate.actor, rate.denied, rate.records, rate.past_denied, rate.past_records) == (
        "serving", 8, 8, 0, 600,
    )  # fmt: skip
    assert rate.probability == pytest.approx((8 / 608) ** 8)
    assert rate.unusual


def test_as_many_as_usual_are_not() -> None:
    week = [loaded(SINCE + number * 600, host="serving-host") for number in range(70)]
    (rate,) = seen([*past(denied=60), *week, *denials(7)]).rates
    assert rate.probability is not None
    assert rate.probability > 0.1
    assert not rate.unusual


def test_one_denial_with_little_of_a_past_is_not_unusual() -> None:
    (rate,) = seen([loaded(START), *denials(1)]).rates
    assert (rate.probability, rate.unusual) == (0.5, False)


def test_without_a_past_nothing_is_judged_and_it_says_so() -> None:
    (rate,) = seen(denials(50)).rates
    assert (rate.probability, rate.unusual, rate.past_records) == (None, False, 0)


def test_the_more_actors_are_judged_the_more_it_takes() -> None:
    """With a hundred actors the least likely of a hundred usual weeks is nothing to report."""
    one = [*past("a00", days=5), *denials(2, "a00")]
    alone = seen(one).rates[0]
    assert alone.probability is not None
    assert 0.0001 < alone.probability < 0.01
    assert alone.unusual
    crowd = [
        record
        for number in range(1, 100)
        for record in (*past(f"a{number:02}", days=1, each=1), *denials(1, f"a{number:02}"))
    ]
    among = {rate.actor: rate for rate in seen([*one, *crowd]).rates}
    assert len(among) == 100
    assert among["a00"].probability == alone.probability
    assert not among["a00"].unusual


def test_failures_and_what_was_after_the_period_are_no_denials() -> None:
    found = seen(
        [
            *past(),
            loaded(SINCE + 5, code="unavailable", decision="allow", outcome="failed"),
            loaded(UNTIL, code="access-denied"),
            loaded(SINCE + 9, actor=None, code="access-denied"),
        ]
    )
    assert found.rates == ()
    assert found.records == 2


def test_the_least_likely_is_told_first_and_who_was_not_judged_last() -> None:
    found = seen(
        [*past("a"), *denials(1, "a"), *past("b"), *denials(9, "b"), *denials(3, "new"), *past("quiet")]
    )
    assert [rate.actor for rate in found.rates] == ["b", "a", "new"]


# --- for the first time ---


def firsts(found: Summary) -> set[tuple[str, str, str]]:
    return {(first.actor, first.field, first.value) for first in found.firsts}


def test_what_an_actor_does_for_the_first_time_is_told_once() -> None:
    found = seen(
        [
            *past(),
            *past("ann"),
            loaded(SINCE + 10, host="laptop", model="fraud", key="e" * 64, environment="dev", action="pull"),
            loaded(SINCE + 20, host="laptop", model="fraud", key="e" * 64, environment="dev", action="pull"),
            loaded(SINCE + 30, actor="ann", host="ann-host"),
        ]
    )
    assert firsts(found) == {
        ("serving", "host", "laptop"),
        ("serving", "model", "fraud"),
        ("serving", "key", "e" * 64),
        ("serving", "environment", "dev"),
        ("serving", "action", "pull"),
    }
    assert {first.time for first in found.firsts} == {SINCE + 10}
    assert found.firsts_count == 5


def test_a_host_that_is_known_from_another_actor_is_new_for_this_one() -> None:
    found = seen([*past(), *past("ann"), loaded(SINCE, host="ann-host")])
    assert firsts(found) == {("serving", "host", "ann-host")}


def test_of_a_new_actor_it_is_told_that_it_is_new_and_no_more() -> None:
    found = seen([*past(), loaded(SINCE, actor="mallory", host="cafe", model="fraud")])
    assert firsts(found) == {("mallory", "actor", "mallory")}


def test_a_log_that_comes_late_can_make_something_older_than_it_seemed() -> None:
    index = AuditIndex(None)
    put(index, ACCESS, [loaded(SINCE + 5, host="laptop")])
    put(index, "access/serving/fedcba9876543210", [loaded(START, host="laptop")])
    assert summary.summarise(index, since=SINCE, until=UNTIL).firsts == ()
    index.forget("access/serving/fedcba9876543210")
    assert {first.field for first in summary.summarise(index, since=SINCE, until=UNTIL).firsts} == {"actor"}
    index.close()


# --- hours ---


@pytest.mark.parametrize(
    ("days", "each", "told"),
    [(60, 10, True), (14, 10, True), (13, 10, False), (49, 1, False), (50, 1, True)],
)
def test_an_hour_at_which_an_actor_never_acted_is_told_if_there_is_enough_of_a_past(
    days: int, each: int, told: bool
) -> None:
    """The past begins `days` before the period, in the hours from 09:00 on."""
    found = seen([*past(days=days, each=each), loaded(SINCE + 18 * 3_600, host="serving-host")])
    expected = (First("serving", "hour", "03", SINCE + 18 * 3_600),) if told else ()
    assert found.hours == expected
    assert found.firsts == ()


def test_a_usual_hour_is_not_told() -> None:
    assert seen([*past(), loaded(SINCE + 3_600, host="serving-host")]).hours == ()


# --- what is always looked at ---


@pytest.fixture
def index() -> Iterator[AuditIndex]:
    made = AuditIndex(None)
    records = [
        loaded(START, action="policy"),
        loaded(SINCE + 1, action="policy", actor="ann"),
        loaded(SINCE + 2, action="root", actor="ann"),
        loaded(SINCE + 3, action="access", actor="ann"),
        loaded(SINCE + 4, action="policy", code="access-denied"),
        loaded(SINCE + 5, code="pickle-refused"),
        loaded(SINCE + 6, code="barred"),
        loaded(SINCE + 7, code="barred", action="promote"),
        loaded(SINCE + 8, code="digest-mismatch"),
        loaded(SINCE + 9, decision="pending"),
        loaded(SINCE + 10, decision="pending", host="finished"),
    ]
    outcome = audit_record.outcome_of(
        records[-1], record_id=b"\xab" * 16, time="2027-01-01T09:00:11Z", error=None
    )
    put(made, ACCESS, [*records, outcome])
    made.extend(ACCESS, 12, [(2, b"junk")], Mark(13, bytes(32), 2))
    yield made
    made.close()


def test_what_a_reviewer_always_wants_to_see_is_there(index: AuditIndex) -> None:
    found = summary.summarise(index, since=SINCE, until=UNTIL)

    def moments(section: summary.Section) -> list[int]:
        assert section.count == len(section.rows)
        return [row.time - SINCE for row in section.rows]

    assert moments(found.changes) == [3, 2, 1]
    assert moments(found.pickles) == [5]
    assert moments(found.barred) == [6]
    assert moments(found.alarming) == [8, 5]
    assert moments(found.unfinished) == [9]
    assert [row.position for row in found.unreadable.rows] == [12]
    assert (found.records, found.past_records) == (12, 1)


def test_a_long_section_tells_its_count_and_shows_the_newest() -> None:
    found = seen([*past(), *(loaded(SINCE + number, code="pickle-refused") for number in range(50))])
    assert found.pickles.count == 50
    assert [row.time for row in found.pickles.rows] == [SINCE + number for number in range(49, 29, -1)]


def test_an_empty_period_is_a_mistake_and_an_empty_log_is_not(index: AuditIndex) -> None:
    with pytest.raises(ValueError):
        summary.summarise(index, since=5, until=5)
    nothing = seen([])
    assert (nothing.records, nothing.rates, nothing.firsts, nothing.unfinished.count) == (0, (), (), 0)
