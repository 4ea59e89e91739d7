"""What the rules do not keep goes, and nothing that must stay: channels, holds, parents, backups, doubts."""

from collections.abc import Iterable

import pytest

from tests.core.retention_parts import ancestor, known, named
from vault.core import retention_plan
from vault.core.names import Model
from vault.core.removal import ANY_BACKUP
from vault.core.retention import Rules
from vault.core.retention_plan import Decision, Known, ModelRules, Situation

LAST = {"*": ModelRules(Rules(last=1))}
NEWEST = [known("churn:1", 1), known("churn:2", 2), known("churn:3", 3)]


def decide(
    situation: Situation, by_pattern: dict[str, ModelRules] | None = None, **more: object
) -> dict[str, Decision]:
    found = retention_plan.decide(situation, by_pattern or LAST, now=10, **more)  # type: ignore[arg-type]
    return {entry.subject: entry for entry in found}


def gone(situation: Situation, by_pattern: dict[str, ModelRules] | None = None, **more: object) -> list[str]:
    return sorted(
        subject for subject, entry in decide(situation, by_pattern, **more).items() if not entry.keep
    )


def of(versions: Iterable[Known], **more: object) -> Situation:
    return Situation(tuple(versions), **more)  # type: ignore[arg-type]


def test_what_the_rules_do_not_keep_goes_with_the_rules_as_the_reason() -> None:
    found = decide(of(NEWEST))
    assert [*found] == ["churn:3", "churn:2", "churn:1"]
    assert found["churn:1"].reasons == ("not kept by keep-last 1",)
    assert found["churn:3"].reasons == ("last",)
    assert found["churn:1"].rules == LAST["*"]


def test_what_was_removed_before_counts_no_more() -> None:
    assert gone(of([known("churn:1", 1), known("churn:2", 2), known("churn:3", 3, gone=True)])) == ["churn:1"]


@pytest.mark.parametrize("reason", ["prod uses it", "held by ann: case 7"])
def test_what_is_needed_stays(reason: str) -> None:
    found = decide(of(NEWEST, needed={named("churn:1"): (reason,)}))
    assert found["churn:1"].keep
    assert found["churn:1"].reasons == (reason,)
    assert not found["churn:2"].keep


def test_a_model_of_which_not_all_is_known_keeps_everything() -> None:
    situation = of([*NEWEST, known("other:1", 1), known("other:2", 2)], doubts={Model("churn"): "unread"})
    assert gone(situation) == ["other:1"]


def test_where_something_cannot_be_read_nothing_goes() -> None:
    found = decide(of(NEWEST, unread="something may be made from it: other:7 cannot be read"))
    assert all(entry.keep for entry in found.values())


def test_what_a_version_in_doubt_was_made_from_stays() -> None:
    situation = of(NEWEST, orphans={"other:1": (ancestor("churn:1"),)})
    assert gone(situation) == ["churn:2"]
    assert decide(situation)["churn:1"].reasons == ("other:1 may be made from it",)


def test_where_a_backup_is_asked_for_only_what_it_holds_goes() -> None:
    asked = {"*": ModelRules(Rules(last=1), backup=ANY_BACKUP)}
    situation = of(NEWEST, covered={ANY_BACKUP: {named("churn:1")}, "nas": set()})
    assert gone(situation, asked) == ["churn:1"]
    assert decide(situation, asked)["churn:2"].reasons == ("no verified backup holds it",)
    by_name = {"*": ModelRules(Rules(last=1), backup="nas")}
    assert decide(situation, by_name)["churn:1"].reasons == ("no verified backup holds it in nas",)
    assert gone(of(NEWEST), asked) == []


# --- patterns ---


def test_the_narrowest_pattern_decides() -> None:
    rules = {
        "*": ModelRules(Rules(last=3)),
        "nepse/*": ModelRules(Rules(last=2)),
        "nepse/NABIL": ModelRules(Rules(last=1)),
    }
    some = [
        known(f"{model}:{number}", number)
        for model in ("churn", "nepse/NABIL", "nepse/NTC")
        for number in range(1, 5)
    ]
    assert gone(of(some), rules) == [
        *("churn:1", "nepse/NABIL:1", "nepse/NABIL:2", "nepse/NABIL:3", "nepse/NTC:1", "nepse/NTC:2")
    ]


def test_what_no_pattern_means_is_kept() -> None:
    found = decide(of(NEWEST), {"nepse/*": ModelRules(Rules(last=1))})
    assert {entry.reasons for entry in found.values()} == {("no rule is about it",)}
    assert retention_plan.rules_for(Model("churn"), {"nepse/*": LAST["*"]}) is None


def test_only_the_models_that_were_asked_about_are_touched() -> None:
    some = [*NEWEST, known("nepse/NABIL:1", 1), known("nepse/NABIL:2", 2)]
    assert gone(of(some), only=frozenset({"nepse/*"})) == ["nepse/NABIL:1"]


def test_groups_may_span_models() -> None:
    some = [known("a:1", 1), known("a:2", 2), known("b:1", 3), known("b:2", 4)]
    assert gone(of(some)) == ["a:1", "b:1"]
    together = {"*": ModelRules(Rules(last=1), group_by=())}
    assert gone(of(some), together) == ["a:1", "b:1"]
    assert gone(of(some), together, allow_all=True) == ["a:1", "a:2", "b:1"]


# --- by name ---


def test_a_version_by_name_goes_whatever_the_rules_say_and_alone() -> None:
    how = ModelRules(Rules())
    found = decide(of(NEWEST), named={named("churn:3"): how})
    assert [subject for subject, entry in found.items() if not entry.keep] == ["churn:3"]
    assert found["churn:3"].reasons == ("somebody asked for it",)
    assert found["churn:1"].reasons == ("no rule is about it",)


def test_a_version_by_name_stays_where_something_needs_it() -> None:
    how = ModelRules(Rules())
    assert gone(of(NEWEST, needed={named("churn:3"): ("prod uses it",)}), named={named("churn:3"): how}) == []


# --- parents ---


def test_what_something_kept_was_made_from_stays_and_what_that_was_made_from() -> None:
    some = [
        known("base:1", 1),
        known("base:2", 9),
        known("tuned:1", 2, parents=("base:1",)),
        known("tuned:2", 8),
        known("small:1", 3, parents=("tuned:1",)),
    ]
    found = decide(of(some))
    assert all(entry.keep for entry in found.values())
    assert found["base:1"].reasons == ("tuned:1 was made from it",)
    assert found["tuned:1"].reasons == ("small:1 was made from it",)


def test_what_only_something_removed_was_made_from_goes() -> None:
    some = [
        known("base:1", 1),
        known("base:2", 9),
        known("tuned:1", 2, parents=("base:1",)),
        known("tuned:2", 8),
    ]
    assert gone(of(some)) == ["base:1", "tuned:1"]


def test_a_parent_is_known_by_name_where_its_manifest_is_another() -> None:
    child = known("tuned:1", 2, parents=("base:1",))
    other = Known(known("base:1", 1).candidate, named("something else"))
    assert gone(of([other, known("base:2", 9), child])) == []


def test_a_circle_of_parents_is_no_reason_to_keep_it_and_no_end() -> None:
    some = [
        known("a:1", 1, parents=("b:1", "a:1")),
        known("b:1", 1, parents=("a:1",)),
        known("a:2", 2),
        known("b:2", 2),
    ]
    assert gone(of(some)) == ["a:1", "b:1"]
    assert {entry.subject for entry in retention_plan.ancestors(some[0], some)} == {"b:1"}


# --- the last one ---


def test_a_model_keeps_its_last_version() -> None:
    never = {"*": ModelRules(Rules(tags=(frozenset({"never"}),)))}
    assert gone(of(NEWEST), never) == ["churn:1", "churn:2"]
    assert decide(of(NEWEST), never)["churn:3"].reasons == ("the last version of its model",)
    assert gone(of(NEWEST), never, allow_all=True) == ["churn:1", "churn:2", "churn:3"]


def test_the_last_version_is_a_released_one_where_there_is_one() -> None:
    never = {"*": ModelRules(Rules(tags=(frozenset({"never"}),)))}
    some = [known("churn:1.0.0", 1), known("churn:2.0.0-rc.1", 2)]
    assert gone(of(some), never) == ["churn:2.0.0-rc.1"]


def test_what_the_last_version_was_made_from_stays_too() -> None:
    never = {"*": ModelRules(Rules(tags=(frozenset({"never"}),)))}
    some = [known("a:1", 1), known("a:2", 2, parents=("a:1",))]
    assert gone(of(some), never) == []


# --- reclaiming ---


def reclaim(situation: Situation, *due: str, **more: bool) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    asked = dict.fromkeys(map(named, due))
    going, blocked = retention_plan.reclaimable(situation, asked, **more)
    by_digest = {entry.manifest: entry.subject for entry in situation.versions}
    return [entry.subject for entry in going], {by_digest[key]: value for key, value in blocked.items()}


def removed(*subjects: str, live: Iterable[str] = ("churn:9",), **parents: tuple[str, ...]) -> Situation:
    versions = [
        known(subject, 1, parents=parents.get(subject.replace(":", "_"), ()), gone=True)
        for subject in subjects
    ]
    return of([*versions, *(known(subject, 9) for subject in live)])


def test_what_is_due_and_not_needed_goes() -> None:
    assert reclaim(removed("churn:1", "churn:2"), "churn:1") == (["churn:1"], {})


def test_what_is_needed_by_now_stays() -> None:
    situation = of(
        [known("churn:1", 1, gone=True), known("churn:2", 2)], needed={named("churn:1"): ("prod uses it",)}
    )
    assert reclaim(situation, "churn:1") == ([], {"churn:1": ("prod uses it",)})


def test_a_backup_that_was_asked_for_must_hold_it_by_then() -> None:
    situation = removed("churn:1")
    going, blocked = retention_plan.reclaimable(situation, {named("churn:1"): "nas"})
    assert going == []
    assert blocked == {named("churn:1"): ("no verified backup holds it in nas",)}


def test_children_go_before_what_they_were_made_from() -> None:
    situation = removed("churn:1", "churn:2", "churn:3", churn_2=("churn:1",), churn_3=("churn:2",))
    assert reclaim(situation, "churn:1", "churn:2", "churn:3")[0] == ["churn:3", "churn:2", "churn:1"]


def test_what_something_that_stays_was_made_from_stays_though_that_was_removed_too() -> None:
    situation = removed("churn:1", "churn:2", "churn:3", churn_2=("churn:1",), churn_3=("churn:2",))
    going, blocked = reclaim(situation, "churn:1", "churn:2")
    assert going == []
    assert blocked == {"churn:2": ("churn:3 was made from it",), "churn:1": ("churn:2 was made from it",)}


def test_what_has_no_files_left_keeps_nothing() -> None:
    child = known("churn:2", 1, parents=("churn:1",), gone=True, empty=True)
    situation = of([known("churn:1", 1, gone=True), child, known("churn:9", 9)])
    assert reclaim(situation, "churn:1") == (["churn:1"], {})


def test_a_circle_of_removed_versions_goes() -> None:
    situation = removed("churn:1", "churn:2", churn_1=("churn:2",), churn_2=("churn:1",))
    assert sorted(reclaim(situation, "churn:1", "churn:2")[0]) == ["churn:1", "churn:2"]


def test_a_model_that_would_have_no_version_left_keeps_its_files() -> None:
    situation = removed("churn:1", live=())
    assert reclaim(situation, "churn:1") == ([], {"churn:1": ("the last version of its model",)})
    assert reclaim(situation, "churn:1", allow_all=True) == (["churn:1"], {})


def test_a_parent_of_several_goes_after_all_of_them() -> None:
    situation = removed(
        *("churn:1", "churn:2", "churn:3"), churn_2=("churn:1",), churn_3=("churn:1",), churn_9=("churn:8",)
    )
    assert reclaim(situation, "churn:1", "churn:2", "churn:3")[0][-1] == "churn:1"
    assert reclaim(situation, "churn:1", "churn:2")[0] == ["churn:2"]


def test_families_that_stay_are_let_be() -> None:
    some = [known("a:1", 1), known("a:2", 2, parents=("a:1",)), known("a:3", 1, gone=True)]
    assert reclaim(of(some), "a:3") == (["a:3"], {})
