"""Decisions: deny by default, a closed vocabulary, and people behind services."""

from dataclasses import replace

import pytest

from tests import builders
from vault.core import names, policy
from vault.core.names import Digest, Environment, Model, Principal
from vault.core.policy import Key, LogHead, Member, Policy, Rule
from vault.errors import Malformed

DEV, STAGING, PROD = (Environment(name) for name in ("dev", "staging", "prod"))
CHURN, NABIL = Model("churn"), Model("nepse/NABIL")


@pytest.fixture(scope="module")
def team() -> Policy:
    return builders.team().policy


def allowed(found: Policy, who: str, action: str, model: Model = CHURN, env: Environment = PROD) -> bool:
    return policy.decide(found, Principal(who), action, model, env).allowed


def of(*rules: Rule, models: tuple[str, ...] | None = None) -> Policy:
    """Build a policy in which `ann` has one role with these rules."""
    built = builders.solo().policy
    role = Principal("role")
    ann = Member(Principal("ann"), policy.PERSON, (), (role,), models, (), ())
    return Policy(
        **{
            name: getattr(built, name)
            for name, field in Policy.__dataclass_fields__.items()
            if field.init and name not in ("members", "roles")
        },
        members={ann.name: ann},
        roles={role: rules},
    )


def rule(*actions: str, env: tuple[Environment, ...] = (), **options: object) -> Rule:
    values = {"source": None, "target": None, "models": None, "own": False, **options}
    return Rule(actions, env, **values)  # type: ignore[arg-type]


def test_what_no_rule_allows_is_denied_with_the_reason(team: Policy) -> None:
    for who, reason in (("stranger", "not in the policy"), ("dora", "no role of dora")):
        decision = policy.decide(team, Principal(who), "promote", CHURN, PROD)
        assert not decision.allowed
        assert reason in decision.reason
    decision = policy.decide(team, Principal("rex"), "load", CHURN, Environment("nowhere"))
    assert (decision.allowed, decision.reason) == (False, "the policy has no environment nowhere")
    assert "role releaser" in policy.decide(team, Principal("rex"), "promote", CHURN, PROD).reason


def test_an_empty_rule_and_an_empty_role_allow_nothing() -> None:
    for rules in ((), (rule(),), (rule(env=(DEV, PROD)),), (rule("load"),)):
        found = of(*rules)
        for action in policy.ACTIONS:
            for env in (DEV, PROD):
                assert not allowed(found, "ann", action, env=env)


def test_rules_name_actions_environments_and_models() -> None:
    found = of(rule("load", "pull", env=(DEV,), models=("churn", "nepse/*")))
    assert allowed(found, "ann", "load", env=DEV)
    assert allowed(found, "ann", "pull", NABIL, DEV)
    assert not allowed(found, "ann", "load", env=PROD)
    assert not allowed(found, "ann", "publish", env=DEV)
    assert not allowed(found, "ann", "load", Model("fraud"), DEV)


def test_promote_is_decided_by_where_to_and_never_by_env() -> None:
    found = of(rule("promote", "load", env=(DEV,), source=DEV, target=PROD))
    assert allowed(found, "ann", "promote", env=PROD)
    assert not allowed(found, "ann", "promote", env=DEV)
    assert allowed(found, "ann", "load", env=DEV)
    assert not allowed(found, "ann", "load", env=PROD)


def test_own_means_the_models_listed_for_the_principal_and_none_where_there_are_none() -> None:
    loading = rule("load", env=(PROD,), own=True)
    assert not allowed(of(loading), "ann", "load")
    assert allowed(of(loading, models=("churn",)), "ann", "load")
    assert not allowed(of(loading, models=("churn",)), "ann", "load", NABIL)
    assert not allowed(of(loading, models=()), "ann", "load")


def test_a_principals_models_narrow_every_rule() -> None:
    found = of(rule("load", env=(PROD,)), models=("nepse/*",))
    assert allowed(found, "ann", "load", NABIL)
    assert not allowed(found, "ann", "load", CHURN)


@pytest.mark.parametrize(
    ("pattern", "model", "expected"),
    [
        ("*", "churn", True),
        ("*", "a/b/c", True),
        ("churn", "churn", True),
        ("churn", "churn/eu", False),
        ("churn", "churn2", False),
        ("nepse/*", "nepse/NABIL", True),
        ("nepse/*", "nepse/a/b", True),
        ("nepse/*", "nepse", False),
        ("nepse/*", "nepse2/x", False),
    ],
)
def test_patterns(pattern: str, model: str, expected: bool) -> None:
    assert policy.pattern(pattern) == pattern
    assert policy.covers((pattern,), Model(model)) is expected


def test_no_pattern_covers_nothing() -> None:
    assert not policy.covers((), CHURN)


@pytest.mark.parametrize("text", ["", "**", "a*", "*/a", "/*", "a/*/*", "a//*", "a/**", "../*"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        policy.pattern(text)


def test_sources_are_the_places_one_may_promote_from(team: Policy) -> None:
    assert policy.sources(team, Principal("rex"), CHURN, PROD) == (DEV, STAGING)
    assert policy.sources(team, Principal("rex"), CHURN, DEV) == ()
    assert policy.sources(team, Principal("ann"), CHURN, PROD) == ()
    assert policy.sources(team, Principal("stranger"), CHURN, PROD) == ()
    found = of(rule("promote", source=DEV, target=PROD, models=("nepse/*",)))
    assert policy.sources(found, Principal("ann"), CHURN, PROD) == ()
    assert policy.sources(found, Principal("ann"), NABIL, PROD) == (DEV,)


def test_publishing_somewhere_is_told_from_publishing_nowhere(team: Policy) -> None:
    assert policy.may_publish_somewhere(team, Principal("dora"), CHURN)
    assert policy.may_publish_somewhere(team, Principal("robot"), CHURN)
    assert not policy.may_publish_somewhere(team, Principal("rex"), CHURN)


def test_adopting_somewhere_is_told_from_adopting_nowhere() -> None:
    adopting = of(rule("adopt", env=(DEV,), models=("churn",)))
    assert policy.may_adopt_somewhere(adopting, Principal("ann"), CHURN)
    assert not policy.may_adopt_somewhere(adopting, Principal("ann"), NABIL)


def test_a_services_act_is_its_owners(team: Policy) -> None:
    assert policy.persons_behind(team, Principal("robot")) == {"ann"}
    assert policy.persons_behind(team, Principal("ann")) == {"ann"}
    assert policy.persons_behind(team, Principal("stranger")) == frozenset()


def test_readers_are_those_who_need_the_environments_key(team: Policy) -> None:
    assert {entry.name for entry in policy.readers(team, DEV)} == {"owner", "dora", "robot", "rex"}
    assert {entry.name for entry in policy.readers(team, PROD)} == {
        "owner", "ann", "bob", "cat", "rex", "server",
    }  # fmt: skip
    only_promotes = of(rule("promote", source=DEV, target=PROD))
    assert {entry.name for entry in policy.readers(only_promotes, DEV)} == {"ann"}
    assert policy.readers(only_promotes, PROD) == ()
    assert policy.readers(of(rule("approve", env=(PROD,))), PROD) == ()


def test_revoked_and_retired_keys_do_not_count_but_their_holder_is_known() -> None:
    current, revoked, retired = (builders.new_identity("ann", seed=seed) for seed in "abc")
    head = LogHead("log", 5, Digest("0" * 64))
    built = builders.solo()
    keys = tuple(
        Key(who.public, Digest(who.key_id), who is revoked, head if who is retired else None)
        for who in (current, revoked, retired)
    )

    def add(before: Policy) -> Policy:
        member = Member(Principal("ann"), policy.PERSON, (), (Principal("owner"),), None, keys, ())
        return replace(before, members={**before.members, member.name: member})

    found = built.amend(add)
    assert set(found.counting_keys()) == {built.owner.key_id, current.key_id}
    for who in (current, revoked, retired):
        holder, key = found.holder(Digest(who.key_id)), found.key(Digest(who.key_id))
        assert holder is not None
        assert key is not None
        assert (holder.name, key.public) == ("ann", who.public)
    assert found.holder(Digest("0" * 64)) is None
    assert found.key(Digest("0" * 64)) is None


def test_an_environment_without_requirements_says_so(team: Policy) -> None:
    assert team.environments[DEV].require.none
    assert not team.environments[PROD].require.none


def test_environment_names_are_names(team: Policy) -> None:
    for name in team.environments:
        assert names.environment(name) == name
