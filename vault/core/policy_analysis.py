"""Answer questions about a policy: who may do what, by which rule, and what enforces it (docs/policy.md).

Every rule has one of four strengths. What is cryptographic holds against
whoever has no key for it; what a loader enforces holds wherever loaders are
honest; what the storage enforces is the operator's to set up; advice only tells
an honest user early.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from vault.core import policy
from vault.core.names import Environment, Model, Principal
from vault.core.policy import EVERYWHERE, SERVICE, Decision, Grant, Key, Member, Rule, Ruled
from vault.core.policy_patterns import ALL, NONE, Patterns, common, simplified
from vault.core.policy_view import Expectation, View, acting

CRYPTOGRAPHIC: Final = "cryptographic"
LOADER: Final = "loader"
STORAGE: Final = "storage"
ADVISORY: Final = "advisory"

READING: Final = frozenset({"load", "pull"})
OF_THE_STORAGE: Final = frozenset({"archive", "audit.read", "delete"})


@dataclass(frozen=True, slots=True, order=True)
class Access:
    """An action somewhere; a promotion into `environment` has the `source` that it starts from."""

    action: str
    environment: Environment
    source: Environment | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """A rule: its role, its place in it from 0, where it stands, and how a policy file spells it."""

    role: Principal
    number: int
    line: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who may do what was asked, and the first rule that lets them."""

    name: Principal
    kind: str
    owners: tuple[Principal, ...]
    ground: Ground


@dataclass(frozen=True, slots=True)
class Demand:
    """Something that an environment asks of all that is used there, and what enforces it."""

    text: str
    strength: str
    line: int | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and why: the rules that allow it, or those that come near, and what enforces it.

    `sources` are where a promotion may start; `demands` is what the environment asks besides.
    """

    decision: Decision
    grounds: tuple[Ground, ...]
    strength: str
    because: str
    sources: tuple[Environment, ...]
    demands: tuple[Demand, ...]
    keys: tuple[Key, ...] | None = None  # of a signed policy: who it is about, by these


def reach(view: Ruled, who: Principal) -> Mapping[Access, Patterns]:
    """Give everything that somebody may do, and with which models."""
    found: dict[Access, Patterns] = {}
    for (action, environment), grants in policy.granted(view, who).items():
        for grant in grants:
            access = Access(action, environment, grant.source if action == "promote" else None)
            found[access] = found.get(access, NONE) | common(
                ALL if grant.rule_models is None else grant.rule_models,
                ALL if grant.own_models is None else grant.own_models,
            )
    return {access: simplified(models) for access, models in found.items() if models}


def allows(
    view: Ruled,
    who: Principal,
    action: str,
    model: Model,
    environment: Environment,
    source: Environment | None = None,
) -> Decision:
    """Decide as `core.policy.decide`, of a promotion also whether it may start in `source`."""
    decision = policy.decide(view, who, action, model, environment)
    if not decision.allowed or source is None:
        return decision
    places = policy.sources(view, who, model, environment)
    if source in places:
        return decision
    return Decision(False, f"{who} may promote {model} to {environment} from {', '.join(places)} only")


def who_can(
    view: View, action: str, model: Model, environment: Environment, source: Environment | None = None
) -> tuple[Holder, ...]:
    """List who may do something, by name; by a signed policy only who has a key that counts."""
    view = acting(view)
    found = []
    for name in sorted(view.members):
        member = view.members[name]
        for grant in _covering(view, name, action, model, environment):
            if source is None or grant.source == source:
                found.append(Holder(name, member.kind, member.owners, _ground(view, grant)))
                break
    return tuple(found)


def _covering(
    view: View, who: Principal, action: str, model: Model, environment: Environment
) -> Iterator[Grant]:
    if environment in view.environments:
        for grant in policy.grants(view, who, action, environment):
            if grant.covers(model):
                yield grant


def _ground(view: View, grant: Grant) -> Ground:
    rule = view.roles[grant.role][grant.number]
    line = view.line("role", grant.role, str(grant.number))
    return Ground(grant.role, grant.number, line, spelled(rule))


def spelled(rule: Rule) -> str:
    """Write a rule as a policy file does."""
    parts = [f"actions: [{', '.join(rule.actions)}]"]
    if rule.environments:
        parts.append(f"env: [{', '.join(rule.environments)}]")
    if rule.source is not None:
        parts.append(f"from: {rule.source}, to: {rule.target}")
    if rule.own:
        parts.append("models: own")
    elif rule.models is not None:
        shown = [f'"{entry}"' if entry.endswith("*") else entry for entry in rule.models[:5]]
        more = [f"… {len(rule.models) - 5} more"] if len(rule.models) > 5 else []
        parts.append(f"models: [{', '.join([*shown, *more])}]")
    return f"{{{', '.join(parts)}}}"


# --- explain ---


def explain(
    view: View,
    who: Principal,
    action: str,
    model: Model,
    environment: Environment,
    source: Environment | None = None,
) -> Explanation:
    """Say yes or no, by which rule, and what enforces the answer once the policy is in force."""
    decision = allows(view, who, action, model, environment, source)
    member = view.members.get(who)
    if decision.allowed:
        grants = _covering(view, who, action, model, environment)
        grounds = tuple(_ground(view, grant) for grant in grants if source is None or grant.source == source)
    else:
        grounds = () if member is None else tuple(_near(view, member, action))
    strength, because = enforcement(view, who, action, environment, allowed=decision.allowed)
    anyway = policy.sources(view, who, model, environment) if action == "promote" else ()
    if anyway and not decision.allowed:
        strength, because = (
            ADVISORY,
            (
                f"{who} may promote to {environment} from {' and '.join(anyway)}, and what is signed does "
                "not say where a version came from: the tool that promotes keeps to it, and no loader"
            ),
        )
    rule = view.environments.get(environment)
    asks = rule is not None and (action in READING or action in ("promote", "approve"))
    return Explanation(
        decision,
        grounds,
        strength,
        because,
        anyway,
        tuple(demands(view, environment)) if asks else (),
        member.keys if member is not None and view.signed else None,
    )


def _near(view: View, member: Member, action: str) -> Iterator[Ground]:
    """Give the rules of somebody's roles about an action; they are about other models or places."""
    for role in member.roles:
        for number, rule in enumerate(view.roles.get(role, ())):
            if action in rule.actions:
                yield Ground(role, number, view.line("role", role, str(number)), spelled(rule))


def enforcement(
    view: Ruled, who: Principal, action: str, environment: Environment, *, allowed: bool
) -> tuple[str, str]:
    """Give the strength of a decision, and what it rests on (the table in docs/policy.md)."""
    if action in OF_THE_STORAGE:
        return STORAGE, "only the access control of the storage itself keeps anybody from it; set it there"
    if action == "promote" and allowed:
        return CRYPTOGRAPHIC, (
            f"it takes a signature by a key of the policy, which every loader verifies; "
            f"where the version comes from is {ADVISORY}: the tool that promotes keeps to it"
        )
    if action not in READING:
        return CRYPTOGRAPHIC, "it takes a signature by a key of the policy, which every loader verifies"
    if allowed:
        return CRYPTOGRAPHIC, f"the key of {environment} is wrapped for {who}, as for every reader there"
    if any(member.name == who for member in policy.readers(view, environment)):
        return LOADER, (
            f"{who} holds the key of {environment} for something else, and one key opens all of it: "
            "honest loaders refuse, the encryption does not"
        )
    return _without_key(view, who, environment)


def _without_key(view: Ruled, who: Principal, environment: Environment) -> tuple[str, str]:
    """Say what keeps somebody from an environment whose key is not wrapped for them."""
    rule = view.environments.get(environment)
    if rule is None or not rule.key_services:
        return (
            CRYPTOGRAPHIC,
            f"no key of {environment} is wrapped for {who}, so nothing there can be decrypted",
        )
    return STORAGE, (
        f"honest loaders refuse; no key of {environment} is wrapped for {who}, but "
        f"{' and '.join(map(str, rule.key_services))} unwraps it for whoever its own access control lets in"
    )


def demands(view: View, environment: Environment) -> Iterator[Demand]:
    """Give what an environment asks of all that is used there, and what enforces each of it."""
    rule = view.environments[environment]

    def line(key: str) -> int | None:
        return view.line("environment", environment, key)

    yield Demand(f"formats: {', '.join(rule.formats) or 'none'}", LOADER, line("formats"))
    asked = rule.require
    if asked.approvals is not None:
        others = f", other than {' and '.join(asked.approvals.distinct_from)}"
        yield Demand(
            f"approvals: {asked.approvals.threshold} different people of role {asked.approvals.role}"
            + (others if asked.approvals.distinct_from else ""),
            CRYPTOGRAPHIC,
            line("approvals"),
        )
    for key, present in (
        ("audit", asked.audit),
        ("fresh", asked.fresh),
        ("libraries", asked.libraries),
        ("load_test", asked.load_test),
        ("log", asked.log),
        ("max_age_days", asked.max_age_days),
        ("witnesses", asked.witnesses),
    ):
        if present not in (None, False):
            shown = "true" if present is True else str(present)
            if present == "unwitnessed":
                shown += f", {ADVISORY} against who may write to the log"
            strength = CRYPTOGRAPHIC if key in ("load_test", "log", "witnesses") else LOADER
            yield Demand(f"{key}: {shown}", strength, line(key))


# --- expected decisions ---


@dataclass(frozen=True, slots=True)
class Verdict:
    """An expected decision, and what the policy decides."""

    expected: Expectation
    decision: Decision

    @property
    def holds(self) -> bool:
        """Tell whether the policy decides as expected."""
        return self.expected.allowed == self.decision.allowed


def judge(view: Ruled, expected: Iterable[Expectation]) -> tuple[Verdict, ...]:
    """Compare a policy with the decisions that are expected of it."""
    return tuple(
        Verdict(entry, allows(view, entry.who, entry.action, entry.model, entry.environment, entry.source))
        for entry in expected
    )


def acts_for(view: Ruled, person: Principal) -> frozenset[Principal]:
    """Give those whose act is this person's: the person, and every service that they own."""
    return frozenset(
        [
            person,
            *(
                member.name
                for member in view.members.values()
                if member.kind == SERVICE and person in member.owners
            ),
        ]
    )


def empty(rule: Rule) -> bool:
    """Tell whether a rule allows nothing at all."""
    placed = bool(rule.environments) or bool({"promote", *EVERYWHERE} & set(rule.actions))
    return not rule.actions or not placed or rule.models == ()
