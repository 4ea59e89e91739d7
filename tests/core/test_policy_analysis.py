"""Questions about a policy: who may do what, by which rule, and what enforces it."""

import time
from dataclasses import replace

import pytest

from tests import builders
from tests.core.policy_texts import CHURN, DEV, NABIL, NLIC, PROD, STAGING, STRICT, TEAM, view, who
from vault import policyfile
from vault.core import policy, policy_analysis, policy_view
from vault.core.names import Environment, Model, Principal
from vault.core.policy import LogHead
from vault.core.policy_analysis import CRYPTOGRAPHIC, LOADER, STORAGE, Access, explain, reach, who_can
from vault.core.policy_patterns import ALL, Models, around, common, missing, simplified

NOWHERE = Environment("nowhere")


def patterns(*entries: str) -> frozenset[str]:
    return frozenset(entries)


# --- patterns ---


def test_what_two_sets_of_patterns_share_is_the_narrower_of_each_pair() -> None:
    assert common(ALL, patterns("churn", "a/*")) == patterns("churn", "a/*")
    assert common(patterns("a/*", "b"), patterns("a/x", "b/*", "a/b/*")) == patterns("a/x", "a/b/*")
    assert common(patterns("a"), patterns("b")) == patterns()


def test_patterns_within_others_are_left_out() -> None:
    assert simplified(["*", "a", "a/*"]) == ALL
    assert simplified(["a/*", "a/b", "a/b/*", "b"]) == patterns("a/*", "b")
    assert simplified(["a/b", "a"]) == patterns("a/b", "a")


def test_what_is_missing_names_what_is_left_of_it() -> None:
    assert missing(ALL, patterns("nepse/*", "churn")) == (Models("*", ("churn", "nepse/*")),)
    assert missing(patterns("a", "b"), patterns("a")) == (Models("b"),)
    assert missing(patterns("a/x"), ALL) == ()
    assert str(Models("*", ("churn", "nepse/*"))) == "every model but churn, nepse/*"
    assert str(Models("a/*")) == "a/*"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["*"]),
        ("churn", ["churn", "*"]),
        ("a/b/c", ["a/b/c", "a/b/*", "a/*", "*"]),
        ("a/b/*", ["a/b/*", "a/*", "*"]),
    ],
)
def test_the_patterns_around_one_mean_all_of_it(pattern: str, expected: list[str]) -> None:
    assert list(around(pattern)) == expected
    assert all(policy.covers((wider,), Model(pattern)) for wider in expected)


# --- reach ---


def test_reach_is_every_action_with_the_models_that_rule_and_principal_share() -> None:
    own = patterns("churn", "nepse/*")
    assert reach(view(), who("robot")) == {Access("publish", DEV): own, Access("load", DEV): own}
    assert reach(view(), who("owner")) == {Access("load", DEV): ALL, Access("promote", PROD, DEV): ALL}
    assert reach(view(), who("stranger")) == {}


def test_reach_leaves_out_what_no_model_or_environment_is_left_of() -> None:
    narrowed = view(TEAM, ("models: own", "models: [churn]"), ("env: [dev]", "env: [nowhere]"))
    assert reach(narrowed, who("web")) == {}
    assert reach(narrowed, who("ann")) == {}


def test_the_audit_log_is_the_whole_vaults() -> None:
    found = view("roles: {a: {allow: [{actions: [audit.read]}]}}\nenvironments: {dev: {}, prod: {}}\n"
                 "principals: {erik: {roles: [a]}}")  # fmt: skip
    for environment in (DEV, PROD):
        assert policy.decide(found, who("erik"), "audit.read", CHURN, environment).allowed
        assert not policy.decide(found, who("erik"), "load", CHURN, environment).allowed
    dev_only = view("roles: {a: {allow: [{actions: [audit.read], env: [dev]}]}}\n"
                    "environments: {dev: {}, prod: {}}\nprincipals: {erik: {roles: [a]}}")  # fmt: skip
    assert not policy.decide(dev_only, who("erik"), "audit.read", CHURN, PROD).allowed


# --- who can ---


def test_who_can_names_everybody_and_the_rule_that_lets_them() -> None:
    found = who_can(view(), "publish", CHURN, DEV)
    assert [(entry.name, entry.kind, entry.owners) for entry in found] == [
        ("ann", "person", ()),
        ("robot", "service", ("ann",)),
    ]
    assert (found[0].ground.role, found[0].ground.number, found[0].ground.line) == ("scientist", 0, 3)
    assert [entry.name for entry in who_can(view(), "publish", Model("fraud"), DEV)] == ["ann"]
    assert [entry.name for entry in who_can(view(), "load", NABIL, PROD)] == ["web"]
    assert who_can(view(), "load", NABIL, NOWHERE) == ()


def test_who_can_promote_may_be_asked_for_one_source() -> None:
    assert [entry.name for entry in who_can(view(), "promote", CHURN, PROD)] == ["owner"]
    assert [entry.name for entry in who_can(view(), "promote", CHURN, PROD, DEV)] == ["owner"]
    assert who_can(view(), "promote", CHURN, PROD, STAGING) == ()


def test_a_decision_about_a_promotion_may_name_its_source() -> None:
    allows = policy_analysis.allows
    assert allows(view(), who("owner"), "promote", CHURN, PROD, DEV).allowed
    refused = allows(view(), who("owner"), "promote", CHURN, PROD, STAGING)
    assert (refused.allowed, refused.reason) == (False, "owner may promote churn to prod from dev only")
    assert not allows(view(), who("ann"), "promote", CHURN, PROD, DEV).allowed


# --- explain ---


def test_an_explanation_names_rule_and_line_and_what_the_environment_asks_besides() -> None:
    found = explain(view(), who("owner"), "promote", CHURN, PROD, DEV)
    assert found.decision.allowed
    ground = found.grounds[0]
    assert (ground.role, ground.number, ground.line) == ("releaser", 1, 8)
    assert ground.text == "{actions: [promote], from: dev, to: prod}"
    assert found.sources == (DEV,)
    assert [(entry.text, entry.strength, entry.line) for entry in found.demands] == [
        ("formats: onnx", LOADER, 13),
        ("approvals: 2 different people of role manager, other than publisher", CRYPTOGRAPHIC, 14),
    ]


def test_a_refusal_shows_the_rules_that_come_near() -> None:
    found = explain(view(), who("web"), "load", NLIC, PROD)
    assert not found.decision.allowed
    assert [entry.text for entry in found.grounds] == ["{actions: [load], env: [prod], models: own}"]
    assert explain(view(), who("stranger"), "load", NLIC, PROD).grounds == ()
    assert explain(view(), who("ann"), "approve", NLIC, PROD).grounds == ()
    assert explain(view(), who("ann"), "publish", NLIC, NOWHERE).demands == ()
    assert explain(view(), who("ann"), "load", NLIC, NOWHERE).demands == ()
    assert not explain(view(), who("owner"), "promote", CHURN, PROD, STAGING).decision.allowed


@pytest.mark.parametrize(
    ("name", "action", "model", "environment", "strength", "because"),
    [
        ("web", "load", NABIL, PROD, CRYPTOGRAPHIC, "wrapped for web"),
        ("web", "load", NLIC, PROD, LOADER, "one key opens all of it"),
        ("web", "pull", NABIL, PROD, LOADER, "one key opens all of it"),
        ("web", "load", NABIL, DEV, CRYPTOGRAPHIC, "no key of dev is wrapped for web"),
        ("ann", "publish", CHURN, DEV, CRYPTOGRAPHIC, "a signature"),
        ("bob", "promote", CHURN, PROD, CRYPTOGRAPHIC, "a signature"),
        ("ann", "delete", CHURN, DEV, STORAGE, "access control of the storage"),
        ("ann", "audit.read", CHURN, DEV, STORAGE, "access control of the storage"),
    ],
)
def test_strengths_are_those_of_the_table(
    name: str, action: str, model: Model, environment: Environment, strength: str, because: str
) -> None:
    found = explain(view(), who(name), action, model, environment)
    assert found.strength == strength
    assert because in found.because


ENFORCED = {policy_analysis.CRYPTOGRAPHIC, policy_analysis.LOADER, policy_analysis.STORAGE}


def test_nothing_that_is_enforced_is_called_advisory() -> None:
    for action in policy.ACTIONS:
        for name in view().members:
            found = explain(view(), name, action, CHURN, PROD)
            assert found.strength in ENFORCED
            assert {entry.strength for entry in found.demands} <= ENFORCED


def test_every_demand_of_an_environment_is_told() -> None:
    found = view(f"environments: {{prod: {{{STRICT}}}}}")
    assert [(entry.text, entry.strength) for entry in policy_analysis.demands(found, PROD)] == [
        ("formats: none", LOADER),
        ("audit: true", LOADER),
        ("fresh: stale", LOADER),
        ("libraries: true", LOADER),
        ("load_test: true", CRYPTOGRAPHIC),
        ("log: witnessed", CRYPTOGRAPHIC),
        ("max_age_days: 3", LOADER),
        ("witnesses: 1", CRYPTOGRAPHIC),
    ]
    anybody = view("environments: {prod: {require: {approvals: {role: r, threshold: 1}}}}")
    assert list(policy_analysis.demands(anybody, PROD))[1].text == "approvals: 1 different people of role r"


def test_a_rule_is_spelled_as_in_a_file() -> None:
    many = ", ".join(f"m{number}" for number in range(7))
    found = view(f'roles: {{a: {{allow: [{{actions: [load], env: [dev], models: ["x/*", {many}]}}]}}}}')
    text = policy_analysis.spelled(found.roles[who("a")][0])
    assert text == '{actions: [load], env: [dev], models: ["x/*", m0, m1, m2, m3, … 3 more]}'


# --- expected decisions ---


def test_expected_decisions_are_compared() -> None:
    tests = policyfile.parse_tests(
        "- {who: owner, action: promote, model: churn, from: staging, env: prod, allowed: false}\n"
        "- {who: ann, action: publish, model: churn, env: prod, allowed: true}\n",
        "team.test.yaml",
    )
    first, second = policy_analysis.judge(view(), tests)
    assert first.holds
    assert not second.holds
    assert (second.expected.line, second.decision.allowed) == (2, False)


# --- views ---


def test_a_signed_policy_and_a_file_give_the_same_answers() -> None:
    built = builders.team()
    signed = policy_view.of_policy(built.policy)
    file = policyfile.view(policyfile.parse(builders.TEAM, "team.yaml"))
    assert (signed.signed, file.signed) == (True, False)
    assert reach(signed, who("owner")) == reach(file, who("owner"))
    assert signed.line("role", "owner", "0") is None
    assert file.line("role", "owner", "1") == 6
    assert file.line("principal", "owner", "models") == file.line("principal", "owner")
    assert policy_view.counting(file) == {}
    assert set(policy_view.counting(signed)) == set(built.policy.counting_keys())


def test_a_file_that_is_to_follow_keeps_keys_but_those_it_revokes_or_retires() -> None:
    built = builders.team()
    ids = {name: who.key_id for name, who in built.identities.items()}
    file = policyfile.view(
        policyfile.parse(
            "roles: {r: {}}\n"
            "environments: {dev: {}, test: {}}\n"
            "principals:\n"
            "  ann: {roles: [r]}\n"
            f"  bob: {{roles: [r], revoked: [{ids['bob'][:16]}]}}\n"
            f"  cat: {{retired: {{'sha256:{ids['cat']}': {{origin: log, size: 5, root: {'0' * 64}}}}}}}\n"
            "  newcomer: {roles: [r]}\n",
            "next.yaml",
        )
    )
    known = built.policy
    next_one = policy_view.as_policy(file, known)
    assert next_one.version == known.version + 1
    assert next_one.environments[DEV].epochs == known.environments[DEV].epochs
    assert next_one.environments[Environment("test")].epochs == ()
    assert set(next_one.counting_keys()) == {ids["ann"]}
    assert next_one.members[who("bob")].keys[0].revoked
    assert next_one.members[who("cat")].keys[0].until == LogHead("log", 5, "0" * 64)  # type: ignore[arg-type]
    assert next_one.members[who("newcomer")].keys == ()
    assert next_one.holder(known.members[Principal("rex")].keys[0].key_id) is None


def test_what_is_granted_by_action_and_place_is_all_that_is_granted() -> None:
    found = view()
    for name in found.members:
        everything = policy.granted(found, name)
        for action in policy.ACTIONS:
            for place in found.environments:
                grants = tuple(policy.grants(found, name, action, place))
                assert grants == everything.get((action, place), ())
    assert policy.granted(found, who("stranger")) == {}
    assert list(policy.grants(found, who("stranger"), "load", DEV)) == []


def test_no_decision_pays_for_a_long_list_of_models() -> None:
    """The sets of patterns are made with the policy, not when somebody is first asked about."""
    models = tuple(f"m{number}" for number in range(10_000))
    found = view(
        TEAM, ("{actions: [publish, load], env: [dev]}", "{actions: [load], env: [dev], models: own}")
    )
    wide = replace(
        found, members={name: replace(member, models=models) for name, member in found.members.items()}
    )
    costs = []
    for name in wide.members:
        start = time.process_time()
        for _ in range(100):
            policy.decide(wide, name, "load", Model("m9999"), DEV)
        costs.append((time.process_time() - start) / 100)
    assert max(costs) < 100e-6
    assert all(member.patterns == frozenset(models) for member in wide.members.values())


def test_somebody_may_stand_in_the_place_of_a_principal_of_a_file() -> None:
    key = "a" * 16
    head = f"{{origin: log, size: 1, root: {'0' * 64}}}"
    owner = f"owner: {{roles: [releaser], revoked: [{key}], retired: {{{'b' * 16}: {head}}}}}"
    found = policy_view.standing_for(
        view(TEAM, ("owner: {roles: [releaser]}", owner)), who("owner"), who("anna")
    )
    assert "owner" not in found.members
    assert (found.members[who("anna")].name, found.members[who("web")].owners) == ("anna", ("anna",))
    assert found.revoked == {"anna": (key,)}
    assert list(found.retired) == ["anna"]
    assert reach(found, who("anna")) == reach(view(), who("owner"))
