"""Whatever the rules and the versions: what is kept is what an oracle keeps that works otherwise."""

from datetime import UTC, datetime

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.property import retention_oracle
from tests.property.retention_oracle import Item
from vault.core import retention
from vault.core.names import Model, Version
from vault.core.retention import UNLIMITED, Candidate, Duration, Rules

START = int(datetime(2023, 12, 20, tzinfo=UTC).timestamp())
# Moments that meet: hours, days, ends of months and years, each side of them.
MOMENTS = st.one_of(
    st.integers(0, 3).map(lambda hours: START + 3_600 * hours),
    st.integers(0, 800).map(lambda days: START + 86_400 * days),
    st.integers(0, 2_000).map(lambda hours: START + 3_600 * hours - 1),
    st.sampled_from(
        [
            int(datetime(year, month, day, hour, tzinfo=UTC).timestamp())
            for year in (2023, 2024, 2025)
            for month, day in ((1, 1), (1, 31), (2, 28), (3, 1), (12, 29), (12, 31))
            for hour in (0, 23)
        ]
    ),
)
COUNTS = st.one_of(st.just(0), st.integers(1, 4), st.just(UNLIMITED))
SPANS = st.none() | st.builds(
    Duration, st.integers(0, 2), st.integers(0, 14), st.integers(0, 40), st.integers(0, 30)
).filter(lambda span: span != Duration())
TAGS = st.frozensets(st.sampled_from("xyz"), max_size=2)
RULES = st.builds(
    Rules,
    *(COUNTS for _ in range(6)),
    *(SPANS for _ in range(6)),
    st.lists(TAGS, max_size=2).map(tuple),
)
GROUPS = st.lists(st.tuples(MOMENTS, TAGS), max_size=12)


def candidates(group: list[tuple[int, frozenset[str]]]) -> list[Candidate]:
    return [
        Candidate(Model("churn"), Version(str(number)), created, tags)
        for number, (created, tags) in enumerate(group, start=1)
    ]


@settings(max_examples=400, deadline=None)
@given(rules=RULES, group=GROUPS, now=MOMENTS)
def test_the_rules_keep_what_the_oracle_keeps(
    rules: Rules, group: list[tuple[int, frozenset[str]]], now: int
) -> None:
    some = candidates(group)
    items = [Item(str(entry.version), entry.created, int(entry.version), entry.tags) for entry in some]
    found = retention.apply(rules, some, now)
    assert {str(entry.version) for entry in found} == retention_oracle.kept(rules, items, now)
    assert all(found.values()), "each with a reason"


@settings(max_examples=100, deadline=None)
@given(rules=RULES, group=GROUPS, now=MOMENTS, seed=st.randoms(use_true_random=False))
def test_the_order_of_versions_decides_nothing(
    rules: Rules, group: list[tuple[int, frozenset[str]]], now: int, seed: object
) -> None:
    some = candidates(group)
    mixed = [*some]
    seed.shuffle(mixed)  # type: ignore[attr-defined]
    assert retention.apply(rules, some, now) == retention.apply(rules, mixed, now)


@settings(max_examples=100, deadline=None)
@given(rules=RULES, more=RULES, group=GROUPS, now=MOMENTS)
def test_another_rule_only_ever_keeps_more(
    rules: Rules, more: Rules, group: list[tuple[int, frozenset[str]]], now: int
) -> None:
    assume(not rules.empty)
    both = Rules(
        last=max(rules.last, more.last) if UNLIMITED not in (rules.last, more.last) else UNLIMITED,
        hourly=rules.hourly,
        daily=rules.daily,
        weekly=rules.weekly,
        monthly=rules.monthly,
        yearly=rules.yearly,
        within=rules.within or more.within,
        within_hourly=rules.within_hourly,
        within_daily=rules.within_daily or more.within_daily,
        within_weekly=rules.within_weekly,
        within_monthly=rules.within_monthly,
        within_yearly=rules.within_yearly or more.within_yearly,
        tags=(*rules.tags, *more.tags),
    )
    some = candidates(group)
    assert {*retention.apply(rules, some, now)} <= {*retention.apply(both, some, now)}


@settings(max_examples=200, deadline=None)
@given(moment=MOMENTS, years=st.integers(0, 3_000), months=st.integers(0, 40), days=st.integers(0, 999_999))
def test_durations_count_back_as_the_oracle_does(moment: int, years: int, months: int, days: int) -> None:
    span = Duration(years, months, days)
    found = span.before(moment)
    assert (float("-inf") if found is None else found) == retention_oracle.earlier(moment, span)


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=12) | st.from_regex(r"([0-9]{1,3}[ymdh]){0,5}", fullmatch=True))
def test_any_text_is_a_duration_that_is_written_back_or_refused(text: str) -> None:
    from vault.errors import Malformed

    try:
        found = retention.duration(text)
    except Malformed:
        return
    assert retention.duration(str(found)) == found
