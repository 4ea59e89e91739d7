"""Rules of retention mean what restic's mean: what each keeps, and why."""

from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from vault.core import retention
from vault.core.names import Model, Version
from vault.core.retention import UNLIMITED, Candidate, Duration, Rules
from vault.errors import Malformed


def at(text: str) -> int:
    """Give a moment such as `2026-03-31 12:00` in seconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def versions(*moments: str) -> list[Candidate]:
    return [
        Candidate(Model("churn"), Version(str(number)), at(moment))
        for number, moment in enumerate(moments, start=1)
    ]


def kept(rules: Rules, group: Iterable[Candidate], now: str = "2027-01-01") -> dict[str, tuple[str, ...]]:
    found = retention.apply(rules, group, at(now))
    return {str(entry.version): reasons for entry, reasons in found.items()}


SUNDAYS = versions(
    *("2019-09-01 11:00", "2019-09-08 11:00", "2019-09-15 11:00", "2019-09-22 11:00", "2019-09-29 11:00"),
    *("2019-10-06 11:00", "2019-10-13 11:00", "2019-10-20 11:00", "2019-10-27 11:00", "2019-11-03 11:00"),
    *("2019-11-10 11:00", "2019-11-17 11:00"),
)


def test_days_without_a_version_are_not_counted() -> None:
    """The example of restic's documentation: twelve Sundays, --keep-daily 4."""
    assert kept(Rules(daily=4), SUNDAYS) == dict.fromkeys(("12", "11", "10", "9"), ("daily",))


def test_the_newest_of_each_day_is_kept() -> None:
    day = versions("2026-03-01 01:00", "2026-03-01 23:00", "2026-03-02 00:00", "2026-03-02 09:00")
    assert kept(Rules(daily=1), day) == {"4": ("daily",)}
    assert kept(Rules(daily=2), day) == {"4": ("daily",), "2": ("daily",)}


def test_the_oldest_is_kept_while_there_are_some_left_to_keep() -> None:
    day = versions("2026-03-01 01:00", "2026-03-01 23:00")
    assert kept(Rules(daily=2), day) == {"2": ("daily",), "1": ("oldest daily",)}
    assert kept(Rules(daily=1), day) == {"2": ("daily",)}


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        (Rules(last=2), "65"),
        (Rules(hourly=2), "64"),
        (Rules(daily=2), "63"),
        (Rules(weekly=2), "62"),
        (Rules(monthly=2), "63"),
        (Rules(yearly=2), "62"),
    ],
    ids=str,
)
def test_each_stretch_of_time_has_its_own_boundaries(rules: Rules, names: str) -> None:
    """Weeks begin on Monday, and belong to a year by ISO 8601; all of it in UTC."""
    some = versions(
        *("2025-12-28 12:00", "2025-12-31 23:59", "2026-01-31 10:00", "2026-02-01 08:10"),
        *("2026-02-01 09:10", "2026-02-01 09:50"),
    )
    assert "".join(kept(rules, some)) == names


def test_a_week_may_belong_to_another_year_than_its_days() -> None:
    some = versions("2024-12-30 12:00", "2025-01-05 12:00", "2025-01-06 12:00")
    assert [*kept(Rules(weekly=2), some)] == ["3", "2"]


def test_unlimited_keeps_one_of_each_stretch() -> None:
    assert len(kept(Rules(weekly=UNLIMITED), SUNDAYS)) == len(SUNDAYS)
    day = versions("2026-03-01 01:00", "2026-03-01 02:00", "2026-03-01 03:00", "2026-02-01 00:00")
    assert [*kept(Rules(daily=UNLIMITED), day)] == ["3", "4"]


def test_rules_add_up_and_tell_every_reason() -> None:
    some = versions("2026-01-01", "2026-01-02", "2026-01-03")
    found = kept(Rules(last=1, daily=2, within=Duration(hours=30)), some)
    assert found == {"3": ("within 30h", "last", "daily"), "2": ("within 30h", "daily")}


def test_durations_count_back_from_the_newest_and_not_from_now() -> None:
    some = versions("2020-01-01", "2020-01-09", "2020-01-10")
    assert [*kept(Rules(within=Duration(days=2)), some)] == ["3", "2"]


def test_what_is_exactly_that_old_is_not_within() -> None:
    some = versions("2020-01-08 00:00:00", "2020-01-08 00:00:01", "2020-01-10 00:00:00")
    assert [*kept(Rules(within=Duration(days=2)), some)] == ["3", "2"]


def test_durations_ignore_what_is_in_the_future_and_keep_it() -> None:
    some = versions("2026-01-01", "2026-01-10", "2030-01-01")
    found = kept(Rules(within=Duration(days=1)), some, now="2026-02-01")
    assert found == {"3": ("within 1d",), "2": ("within 1d",)}
    assert len(kept(Rules(within=Duration(days=1)), some, now="2025-01-01")) == 3


def test_rules_within_a_duration_keep_the_newest_of_each_stretch_there() -> None:
    some = versions("2026-01-01 01:00", "2026-01-09 01:00", "2026-01-09 02:00", "2026-01-10 01:00")
    rules = Rules(within_daily=Duration(days=5), within_yearly=Duration(years=1))
    assert kept(rules, some) == {
        "4": ("daily within 5d", "yearly within 1y"),
        "3": ("daily within 5d",),
        "1": ("oldest yearly within 1y",),
    }


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (Rules(within_hourly=Duration(days=1)), "hourly within 1d"),
        (Rules(within_weekly=Duration(days=1)), "weekly within 1d"),
        (Rules(within_monthly=Duration(days=1)), "monthly within 1d"),
    ],
)
def test_every_stretch_goes_with_a_duration(rules: Rules, reason: str) -> None:
    assert kept(rules, versions("2026-01-01", "2026-01-10")) == {"2": (reason,)}


def tagged(*tags: str) -> list[Candidate]:
    return [
        Candidate(Model("churn"), Version(str(number)), number, retention.tags(text))
        for number, text in enumerate(tags, start=1)
    ]


def test_a_tag_keeps_whatever_has_all_of_one_list() -> None:
    some = tagged("champion", "champion,prod", "prod", "")
    assert [*kept(Rules(tags=(retention.tags("champion,prod"),)), some)] == ["2"]
    rules = Rules(tags=(retention.tags("champion"), retention.tags("prod")))
    assert kept(rules, some)["2"] == ("tagged champion", "tagged prod")
    assert kept(Rules(tags=(retention.tags("champion,prod"),)), some)["2"] == ("tagged champion, prod",)


def test_no_tag_keeps_what_has_none() -> None:
    assert kept(Rules(tags=(frozenset(),)), tagged("champion", "")) == {"2": ("without a tag",)}


def test_without_rules_everything_is_kept() -> None:
    some = versions("2026-01-01", "2026-01-02")
    assert kept(Rules(), some) == {"2": ("no rule is given",), "1": ("no rule is given",)}
    assert kept(Rules(last=1), []) == {}


def test_of_versions_of_one_moment_the_higher_is_the_newer() -> None:
    some = versions("2026-01-01", "2026-01-01", "2026-01-01")
    assert [*kept(Rules(last=1), some)] == ["3"]


def test_groups_are_by_models_environments_and_tags_or_none() -> None:
    one = Candidate(Model("a"), Version("1"), 1, frozenset({"x"}), frozenset({"prod"}))
    two = Candidate(Model("b"), Version("1"), 2, frozenset({"x"}), frozenset())
    assert len(retention.grouped(("model",), [one, two])) == 2
    assert len(retention.grouped(("environment",), [one, two])) == 2
    assert len(retention.grouped(("tag",), [one, two])) == 1
    assert retention.grouped((), [one, two]) == [[one, two]]
    assert one.subject == "a:1"


# --- the calendar ---


@pytest.mark.parametrize(
    ("text", "moment", "before"),
    [
        ("1m", "2026-03-31 12:00", "2026-03-03 12:00"),
        ("1m", "2024-03-31 00:00", "2024-03-02 00:00"),
        ("1y", "2024-02-29 00:00", "2023-03-01 00:00"),
        ("1y5m7d2h", "2026-08-10 01:00", "2025-03-02 23:00"),
        ("14m", "2026-01-15 00:00", "2024-11-15 00:00"),
        ("36h", "2026-01-02 00:00", "2025-12-31 12:00"),
        ("0h", "2026-01-02 00:00", "2026-01-02 00:00"),
    ],
)
def test_durations_follow_the_calendar_as_go_does(text: str, moment: str, before: str) -> None:
    assert retention.duration(text).before(at(moment)) == at(before)


def test_a_duration_may_reach_before_the_calendar() -> None:
    assert retention.duration("9999y").before(at("2026-01-01")) is None
    assert retention.duration("900000d").before(at("2026-01-01")) is None
    assert len(kept(Rules(within=Duration(years=9999)), SUNDAYS)) == len(SUNDAYS)


def test_a_duration_later_stays_in_the_calendar() -> None:
    assert retention.duration("1m").after(at("2026-01-31")) == at("2026-03-03")
    with pytest.raises(ValueError, match="beyond the calendar"):
        retention.duration("9999y").after(at("2026-01-01"))


@pytest.mark.parametrize(
    "text", ["", "7", "1w", "d", "1d1y", "-1d", "1.5d", "1 d", "1d\n", "1234567d", "\u0661d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="is not a duration"):
        retention.duration(text)


def test_durations_are_written_as_they_are_read() -> None:
    assert str(retention.duration("1y5m7d2h")) == "1y5m7d2h"
    assert str(Duration()) == "0h"


@pytest.mark.parametrize("text", ["", "-1", "all", "1.0", "1234567", "\u0663"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="whole number"):
        retention.count(text)


def test_numbers_and_unlimited_are_read() -> None:
    assert retention.count("7") == 7
    assert retention.count("unlimited") == UNLIMITED


def test_groupings_are_read() -> None:
    assert retention.groups("tag,model") == ("model", "tag")
    assert retention.groups("none") == retention.groups("") == ()
    for text in ("host", "model,model", "model, tag"):
        with pytest.raises(Malformed, match="nothing to group by"):
            retention.groups(text)


def test_rules_are_written_as_options() -> None:
    rules = Rules(
        last=3, daily=UNLIMITED, within_weekly=Duration(months=1), tags=(frozenset("ab"), frozenset())
    )
    assert str(rules) == "keep-last 3, keep-daily unlimited, keep-within-weekly 1m, keep-tag a,b, keep-tag ''"
    assert Rules().empty
    assert not rules.empty
