"""The index, reach and differences agree with going through rules one by one, for policies of any shape."""

from hypothesis import given, settings
from hypothesis import strategies as st

from vault.core import policy, policy_analysis, policy_check, policy_diff
from vault.core.names import Environment, Model, Principal
from vault.core.policy import ACTIONS, ApprovalRule, EnvironmentRule, Member, Requirements, Rule
from vault.core.policy_analysis import Access
from vault.core.policy_patterns import Models
from vault.core.policy_view import View

PLACES = [Environment(name) for name in ("dev", "prod", "gone")]  # `gone` is in rules only
PEOPLE = [Principal(name) for name in ("ann", "bob", "cat", "robot")]
ROLES = [Principal(name) for name in ("one", "two", "ghost")]  # `ghost` is defined nowhere
PATTERNS = ["*", "a", "b", "a/*", "a/x", "a/b/*", "a/b/c"]
MODELS = [Model(name) for name in ("a", "b", "c", "a/x", "a/y", "a/b", "a/b/c", "a/b/d", "b/x")]

some_patterns = st.none() | st.lists(st.sampled_from(PATTERNS), max_size=3, unique=True).map(tuple)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    promotes = draw(st.booleans())
    others = st.lists(st.sampled_from([name for name in ACTIONS if name != "promote"]), max_size=3)
    own = draw(st.booleans())
    return Rule(
        actions=(*draw(others), *(["promote"] if promotes else [])),
        environments=tuple(draw(st.lists(st.sampled_from(PLACES), max_size=2))),
        source=draw(st.sampled_from(PLACES)) if promotes else None,
        target=draw(st.sampled_from(PLACES)) if promotes else None,
        models=None if own else draw(some_patterns),
        own=own,
    )


@st.composite
def members(draw: st.DrawFn, name: Principal) -> Member:
    service = draw(st.booleans())
    return Member(
        name,
        policy.SERVICE if service else policy.PERSON,
        tuple(draw(st.lists(st.sampled_from(PEOPLE), max_size=2, unique=True))) if service else (),
        tuple(draw(st.lists(st.sampled_from(ROLES), max_size=2, unique=True))),
        draw(some_patterns),
        (),
        (),
    )


@st.composite
def environments(draw: st.DrawFn, name: Environment) -> EnvironmentRule:
    distinct = st.lists(st.sampled_from(["publisher", "promoter"]), max_size=2, unique=True).map(tuple)
    approvals = st.none() | st.builds(ApprovalRule, st.sampled_from(ROLES), st.integers(0, 3), distinct)
    require = Requirements(
        draw(approvals), False, draw(st.sampled_from([None, "refuse"])), False, False, None, None
    )
    return EnvironmentRule(name, (), ("onnx",), require)


@st.composite
def views(draw: st.DrawFn) -> View:
    people = draw(st.lists(st.sampled_from(PEOPLE), unique=True))
    return View(
        members={name: draw(members(name)) for name in people},
        roles={name: tuple(draw(st.lists(rules(), max_size=3))) for name in ROLES[:2]},
        environments={name: draw(environments(name)) for name in PLACES[:2]},
        file="drawn",
    )


def means(pattern: str, model: Model) -> bool:
    return pattern in ("*", model) or (pattern.endswith("/*") and model.startswith(pattern[:-1]))


def scan(view: View, who: Principal, action: str, model: Model, place: Environment) -> bool:
    """Decide by reading the rules in order, without any index."""
    member = view.members.get(who)
    if member is None or place not in view.environments:
        return False
    for role in member.roles:
        for rule in view.roles.get(role, ()):
            everywhere = action in ("audit.read", "log", "witness") and not rule.environments
            there = rule.target == place if action == "promote" else place in rule.environments or everywhere
            listed = rule.models is None or any(means(pattern, model) for pattern in rule.models)
            mine = (
                not rule.own
                if member.models is None
                else any(means(pattern, model) for pattern in member.models)
            )
            if action in rule.actions and there and listed and mine:
                return True
    return False


def meant(models: tuple[Models, ...], model: Model) -> bool:
    return any(
        means(entry.pattern, model) and not any(means(inner, model) for inner in entry.without)
        for entry in models
    )


@settings(max_examples=60, deadline=None)
@given(view=views())
def test_decisions_reach_and_lists_agree_with_a_scan(view: View) -> None:
    for who in PEOPLE:
        reached = policy_analysis.reach(view, who)
        for action in ACTIONS:
            for place in PLACES:
                for model in MODELS:
                    expected = scan(view, who, action, model, place)
                    assert policy.decide(view, who, action, model, place).allowed == expected
                    patterns = [
                        models
                        for access, models in reached.items()
                        if (access.action, access.environment) == (action, place)
                    ]
                    assert any(policy.covers(models, model) for models in patterns) == expected
    for model in MODELS[:4]:
        listed = {entry.name for entry in policy_analysis.who_can(view, "load", model, PLACES[0])}
        assert listed == {who for who in PEOPLE if scan(view, who, "load", model, PLACES[0])}


@settings(max_examples=60, deadline=None)
@given(old=views(), new=views())
def test_a_difference_is_exactly_what_decisions_gain_and_lose(old: View, new: View) -> None:
    found = {entry.name: entry for entry in policy_diff.diff(old, new).principals}
    for who in PEOPLE:
        for sign, before, after in (("gained", old, new), ("lost", new, old)):
            gains = getattr(found[who], sign) if who in found else ()
            told = {gain.access: gain.models for gain in gains}
            for action in ACTIONS:
                for place in PLACES[:2]:
                    if action == "promote":
                        continue
                    for model in MODELS:
                        changed = scan(after, who, action, model, place) and not scan(
                            before, who, action, model, place
                        )
                        assert meant(told.get(Access(action, place), ()), model) == changed
    assert policy_diff.diff(old, old).nothing


@settings(max_examples=60, deadline=None)
@given(view=views())
def test_checks_and_explanations_take_any_policy(view: View) -> None:
    for finding in policy_check.check(view, now=0):
        assert finding.severity in policy_check.SEVERITIES
        assert finding.message
    for who in PEOPLE:
        for action in ACTIONS:
            found = policy_analysis.explain(view, who, action, MODELS[0], PLACES[1])
            assert found.decision.allowed == bool(found.grounds and found.decision.allowed)
            assert found.strength in ("cryptographic", "loader", "storage")
