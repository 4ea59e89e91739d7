"""What `mvault policy check` finds, and what it leaves alone."""

from dataclasses import replace

import pytest

from tests import builders
from tests.core.policy_texts import TEAM, findings, view
from vault.core import names, policy_check, policy_view
from vault.core.policy import Policy
from vault.core.policy_check import ADVICE, ERROR, WARNING

NOW = names.timestamp("2026-11-23T05:00:00Z")
LOADING = "{actions: [load], env: [dev]}"
RULE = "{approvals: {role: manager, threshold: 2, distinct_from: [publisher]}}"


def test_a_policy_without_mistakes_has_no_findings() -> None:
    assert findings() == {}


@pytest.mark.parametrize(
    ("before", "after", "code", "severity", "line", "says"),
    [
        ("ann: {roles: [scientist]}", "ann: {roles: [scientist, ghost]}", "unknown-role", ERROR, 17, "ghost"),
        ("role: manager", "role: ghost", "unknown-role", ERROR, 14, "ghost, which is not defined"),
        ("publish, load], env: [dev]", "load], env: [dev, test]", "unknown-environment", ERROR, 3, "test"),
        ("from: dev, to: prod", "from: dev, to: test", "unknown-environment", ERROR, 8, "environment test"),
        ("from: dev, to: prod", "from: test, to: prod", "unknown-environment", ERROR, 8, "environment test"),
        ("owners: [ann]", "owners: [zoe]", "unknown-owner", ERROR, 21, "no principal zoe"),
        ("owners: [ann]", "owners: [web]", "owner-no-person", ERROR, 21, "owners are persons"),
        ("kind: service, owners: [ann]", "kind: service", "no-owners", ERROR, 21, "answer for it"),
        ("bob: {", "bob: {owners: [ann], ", "owned-person", ERROR, 18, "a person has no owners"),
        ("dan: {", "recovery: {", "reserved-name", ERROR, 20, "choose another"),
        ("threshold: 2", "threshold: 0", "no-threshold", ERROR, 14, "at least 1"),
        (RULE, "{max_age_days: 0}", "no-age", ERROR, 14, "at least 1"),
        ("dev: {formats: [onnx]}", "dev: {formats: [onnx, onnx]}", "repeated-format", ERROR, 11, "twice"),
        ("ann: {roles: [scientist]}", "ann: {}", "no-roles", WARNING, 17, "nothing is allowed"),
        (', models: ["nepse/NABIL"]', "", "no-own-models", WARNING, 22, "none are listed"),
        ("  owner:", "  head:", "no-owner", ADVICE, None, "`mvault init` cannot start"),
        ("roles:\n", "roles:\n  spare: {allow: [" + LOADING + "]}\n", "unused-role", ADVICE, 3, "nobody has"),
        ("{allow: [{actions: [publish, load], env: [dev]}]}", "{}", "empty-role", WARNING, 3, "no rules"),
        ("publish, load], env: [dev]", "load]", "empty-rule", WARNING, 3, "allows nothing"),
        ("dev: {formats: [onnx]}", "dev: {}", "no-formats", WARNING, 11, "no format"),
        ("dev: {formats: [onnx]}", "dev: {formats: [onyx]}", "unknown-format", WARNING, 11, "onyx"),
        ("dev: {formats: [onnx]}", "dev: {formats: [joblib]}", "program-format", WARNING, 11, "run code"),
        (RULE, "{load_test: true}", "no-tester", WARNING, 14, "requires a load test, and nobody"),
        (RULE, "{fresh: refuse}", "no-attester", WARNING, 14, "nobody may `attest` all of it"),
        (RULE, "{log: unwitnessed}", "promoter-without-log", WARNING, 14, "nothing of theirs counts"),
        (RULE, "{log: witnessed}", "witnesses-unreachable", ERROR, 14, "1 different witnesses"),
        (RULE, "{log: witnessed, witnesses: 0}", "no-threshold", ERROR, 14, "at least 1"),
        ("from: dev, to: prod", "from: dev, to: dev", "no-way-in", WARNING, 12, "nobody may promote to it"),
        ("{actions: [load], env: [prod], models: own}", "", "no-reader", WARNING, 12, "nobody may load"),
        ('models: [churn, "nepse/*"]', 'models: ["*"]', "wide-service", WARNING, 21, "publish every model"),
        ('models: ["nepse/NABIL"]', 'models: ["*"]', "wide-loader", ADVICE, 22, "load every model"),
        ("env: [prod], models: own", 'env: [prod], models: ["*"]', "every-model", ADVICE, 9, "leave"),
        ("      - " + LOADING + "\n", "", "promote-without-load", ERROR, 7, "every model"),
        (", distinct_from: [publisher]", "", "publisher-approves", WARNING, 14, "own approval counts"),
        ("robot: {kind: service, owners: [ann], roles: [scientist]",
         "robot: {kind: service, owners: [ann], roles: [scientist, manager]",
         "service-approver", WARNING, 14, "robot cannot approve"),
        ("- {actions: [load], env: [dev]}\n", "- {actions: [load, approve], env: [dev, prod]}\n",
         "approver-without-role", WARNING, 14, "owner do not count"),
        ("[approve, withdraw]", "[withdraw]", "role-without-approve", WARNING, 14, "does not allow"),
        ("[approve, withdraw]", "[withdraw]", "threshold-unreachable", ERROR, 14, "at most 0"),
        ("threshold: 2", "threshold: 4", "threshold-unreachable", ERROR, 14, "at most 3 can be given"),
        ("[approve, withdraw], env: [prod]", "[audit.read]", "no-withdrawal", ADVICE, 12, "only who"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_on_its_line(
    before: str, after: str, code: str, severity: str, line: int | None, says: str
) -> None:
    found = findings(TEAM, (before, after))
    assert (found[code].severity, found[code].line) == (severity, line), found
    assert says in found[code].message


# --- approvals ---


def test_what_one_publisher_cannot_bring_in_is_told_by_name() -> None:
    """Ann approves too, beside bob: what she or her service publishes finds one vote, cat's finds two."""
    found = policy_check.check(
        view(
            TEAM,
            ("  dan: {roles: [manager]}\n", ""),
            ("ann: {roles: [scientist]}", "ann: {roles: [scientist, manager]}"),
            ("cat: {roles: [manager]}", "cat: {roles: [scientist]}"),
        )
    )
    assert {(entry.code, entry.message) for entry in found} == {
        (
            "threshold-unreachable-for",
            f"what {name} publishes cannot enter it: 2 approvals are asked for, 1 can be given",
        )
        for name in ("ann", "robot")
    }


def test_a_services_owner_is_no_other_person() -> None:
    alone = findings(
        TEAM,
        ("ann: {roles: [scientist]}", "ann: {roles: [manager]}"),
        ("  dan: {roles: [manager]}\n", ""),
        ("  cat: {roles: [manager]}\n", ""),
    )
    assert alone["threshold-unreachable"].message == (
        "it asks for 2 approvals, and at most 1 can be given, so nothing enters it"
    )


def test_a_promoter_who_must_be_another_takes_a_vote_out() -> None:
    both = (("distinct_from: [publisher]", "distinct_from: [publisher, promoter]"),)
    assert "threshold-unreachable" not in findings(TEAM, *both)
    found = findings(
        TEAM,
        *both,
        ("bob: {roles: [manager]}", "bob: {roles: [manager, releaser]}"),
        ("owner: {roles: [releaser]}", "owner: {}"),
        ("  dan: {roles: [manager]}\n", ""),
    )
    assert "at most 1 can be given" in found["threshold-unreachable"].message


def test_approvals_are_counted_for_the_models_that_each_may_approve() -> None:
    found = findings(
        TEAM,
        ("{actions: [approve, withdraw], env: [prod]}", "{actions: [approve], env: [prod], models: own}"),
        ("bob: {roles: [manager]}", 'bob: {roles: [manager], models: ["nepse/*"]}'),
        ("cat: {roles: [manager]}", 'cat: {roles: [manager], models: ["nepse/*"]}'),
        ("dan: {roles: [manager]}", "dan: {roles: [manager], models: [churn]}"),
        ("ann: {roles: [scientist]}", "ann: {}"),
    )
    assert found["threshold-unreachable-for"].message == (
        "what robot publishes, such as churn, cannot enter it: 2 approvals are asked for, 1 can be given"
    )


def test_thresholds_are_judged_where_nobody_publishes_yet() -> None:
    nobody = (("[publish, load]", "[load]"),)
    assert "threshold-unreachable" not in findings(TEAM, *nobody)
    assert "threshold-unreachable" in findings(TEAM, *nobody, ("threshold: 2", "threshold: 4"))


ONE = ("threshold: 2, distinct_from: [publisher]", "threshold: 1")


def test_one_person_who_meets_the_quorum_alone_is_an_error() -> None:
    found = findings(TEAM, ONE, ("bob: {roles: [manager]}", "bob: {roles: [manager, scientist, releaser]}"))
    assert found["one-person-quorum"].severity == ERROR
    assert found["one-person-quorum"].message.startswith("bob alone can publish, approve and promote")


def test_one_person_who_meets_the_quorum_through_a_service_is_an_error() -> None:
    found = findings(
        TEAM,
        ONE,
        ("bob: {roles: [manager]}", "bob: {roles: [manager, releaser]}"),
        ("owners: [ann]", "owners: [bob]"),
    )
    assert found["one-person-quorum"].message.endswith("used there, through robot")
    assert "one-person-quorum" not in findings(TEAM, ONE)


def test_a_threshold_of_two_or_another_person_is_no_quorum_of_one() -> None:
    everything = ("bob: {roles: [manager]}", "bob: {roles: [manager, scientist, releaser]}")
    assert "one-person-quorum" not in findings(TEAM, everything)
    assert "one-person-quorum" not in findings(TEAM, everything, ("threshold: 2", "threshold: 1"))


# --- what is wide, what nobody can do ---


def test_promotion_needs_load_of_the_same_models_in_the_same_role() -> None:
    narrow = ("- {actions: [load], env: [dev]}\n", '- {actions: [load], env: [dev], models: ["nepse/*"]}\n')
    assert "every model" in findings(TEAM, narrow)["promote-without-load"].message
    fitting = ("to: prod}", 'to: prod, models: ["nepse/NABIL"]}')
    assert "promote-without-load" not in findings(TEAM, narrow, fitting)
    assert "promote-without-load" in findings(TEAM, narrow, ("to: prod}", "to: prod, models: [churn]}"))
    own = ("- {actions: [load], env: [dev]}\n", "- {actions: [load], env: [dev], models: own}\n")
    assert "promote-without-load" in findings(TEAM, own)
    assert "promote-without-load" not in findings(TEAM, own, ("to: prod}", "to: prod, models: own}"))


def test_one_person_who_fills_the_last_stage_of_a_team_alone_is_told() -> None:
    open_prod = (f"    require: {RULE}\n", "")
    assert "one-person-release" not in findings(TEAM, open_prod)
    found = findings(TEAM, open_prod, ("owner: {roles: [releaser]}", "owner: {roles: [releaser, scientist]}"))
    assert found["one-person-release"].message.startswith("owner can publish and promote there alone")
    assert found["one-person-release"].line == 12


def test_nothing_is_said_of_a_vault_with_one_person() -> None:
    found = policy_check.check(policy_view.of_policy(builders.solo().policy), now=NOW)
    assert [(entry.code, entry.severity) for entry in found] == [("unused-role", ADVICE)]


def test_publishing_into_an_environment_with_requirements_is_no_way_in() -> None:
    everywhere = ("publish, load], env: [dev]", "publish, load], env: [dev, prod]")
    found = findings(TEAM, everywhere, ("to: prod", "to: dev"))
    assert "what is published there needs a promotion" in found["no-way-in"].message


def test_fresh_heads_need_somebody_who_attests_every_model() -> None:
    fresh = (RULE, "{fresh: warn}")
    attesting = "  beat: {allow: [{actions: [attest], env: [prod]MODELS}]}\nenvironments:"
    holder = ("principals:", "principals:\n  heads: {roles: [beat]}")
    every = ("environments:", attesting.replace("MODELS", ""))
    some = ("environments:", attesting.replace("MODELS", ", models: [churn]"))
    assert "no-attester" not in findings(TEAM, fresh, every, holder)
    assert "no-attester" in findings(TEAM, fresh, every)
    assert "no-attester" in findings(TEAM, fresh, some, holder)


def test_many_names_are_cut_short() -> None:
    service = "{kind: service, owners: [ann], roles: [manager]}"
    many = "".join(f"  m{number}: {service}\n" for number in range(7))
    message = findings(TEAM, ("  ann:", many + "  ann:"))["service-approver"].message
    assert message.startswith("m0, m1, m2, m3, m4 and 2 more cannot approve")


# --- of a signed policy ---


def test_a_principal_without_a_key_that_counts_is_told_of_a_signed_policy() -> None:
    built = builders.team()

    def revoke(before: Policy) -> Policy:
        ann = before.members[names.principal("ann")]
        gone = replace(ann, keys=tuple(replace(key, revoked=True) for key in ann.keys))
        return replace(before, members={**before.members, ann.name: gone})

    found = policy_check.check(policy_view.of_policy(built.amend(revoke)))
    assert [entry.subject for entry in found if entry.code == "no-keys"] == ["ann"]


def test_approvals_of_whoever_has_no_key_that_counts_are_not_reckoned_with() -> None:
    built = builders.team()

    def revoke(before: Policy) -> Policy:
        members = dict(before.members)
        for name in map(names.principal, ("ann", "bob", "cat")):
            keys = tuple(replace(key, revoked=True) for key in members[name].keys)
            members[name] = replace(members[name], keys=keys)
        return replace(before, members=members)

    before = policy_check.check(policy_view.of_policy(built.policy))
    assert "threshold-unreachable" not in {entry.code for entry in before}
    found = policy_check.check(policy_view.of_policy(built.amend(revoke)))
    (finding,) = (entry for entry in found if entry.code == "threshold-unreachable")
    assert "2 approvals, and at most 1 can be given" in finding.message


@pytest.mark.parametrize(
    ("expires", "code", "severity"),
    [
        ("2026-11-23T05:00:00Z", "expired", ERROR),
        ("2026-12-01T05:00:00Z", "expires-soon", WARNING),
        ("2027-11-23T05:00:00Z", None, None),
    ],
)
def test_what_expires_is_told_in_time(expires: str, code: str | None, severity: str | None) -> None:
    dated = replace(view(), expires=expires)
    found = policy_check.check(dated, now=NOW, root_expires=expires)
    assert {(entry.subject, entry.code, entry.severity) for entry in found} == (
        set() if code is None else {("root", code, severity), ("policy", code, severity)}
    )
    assert policy_check.check(dated) == ()
    assert policy_check.check(view(), now=NOW) == ()


def test_errors_come_first() -> None:
    wrong = view(TEAM, ("ann: {roles: [scientist]}", "ann: {}"), ("threshold: 2", "threshold: 4"))
    found = policy_check.check(wrong)
    order = [policy_check.SEVERITIES.index(entry.severity) for entry in found]
    assert order == sorted(order)
    assert len(set(order)) == 2
