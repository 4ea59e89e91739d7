"""Who may do what: the compiled policy, and decisions over it (docs/format.md, "Policy").

The vocabulary is closed, so that who may read, sign or decide can be listed.
Deny by default: what no rule allows is denied, and an empty rule allows
nothing.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from vault.core import names
from vault.core.key_services import KeyServiceId
from vault.core.names import Digest, Environment, Model, Principal

KIND: Final = "policy"
ACTIONS: Final = (
    *("adopt", "approve", "archive", "attest", "audit.read", "delete", "hold", "load", "log"),
    *("promote", "publish", "pull", "rotate", "tag", "test", "withdraw", "witness"),
)
PERSON: Final = "person"
SERVICE: Final = "service"
EVERYWHERE: Final = frozenset({"audit.read", "log", "witness"})  # without `env` they are the whole vault's


@dataclass(frozen=True, slots=True)
class LogHead:
    """A head of a log: what was signed before it is older than it (page 1, "Time")."""

    origin: str
    size: int
    root: Digest


@dataclass(frozen=True, slots=True)
class Key:
    """An Ed25519 key of a principal. A revoked key never counts; a retired one carries `until`."""

    public: bytes  # 32 raw bytes
    key_id: Digest
    revoked: bool
    until: LogHead | None


@dataclass(frozen=True, slots=True)
class Recipient:
    """An age recipient by its digest: the SHA-256 of its Bech32 text; the text lies in trust/recipients/."""

    kind: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Member:
    """A person, or a service with its owners. Only persons count toward thresholds."""

    name: Principal
    kind: str
    owners: tuple[Principal, ...]
    roles: tuple[Principal, ...]
    models: tuple[str, ...] | None  # None: not narrowed
    keys: tuple[Key, ...]
    recipients: tuple[Recipient, ...]
    patterns: frozenset[str] | None = field(init=False, compare=False, repr=False)  # `models`, to be asked

    def __post_init__(self) -> None:
        """Make a set of the patterns here, so that no decision pays for it."""
        object.__setattr__(self, "patterns", None if self.models is None else frozenset(self.models))


@dataclass(frozen=True, slots=True)
class Rule:
    """Some actions on some models in some environments; `source` and `target` are for promotions."""

    actions: tuple[str, ...]
    environments: tuple[Environment, ...]
    source: Environment | None
    target: Environment | None
    models: tuple[str, ...] | None  # None: all
    own: bool  # only where the principal's own models are listed
    patterns: frozenset[str] | None = field(init=False, compare=False, repr=False)  # `models`, to be asked

    def __post_init__(self) -> None:
        """Make a set of the patterns here, so that no decision pays for it."""
        object.__setattr__(self, "patterns", None if self.models is None else frozenset(self.models))


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """How many different people of a role must approve, and whom they must differ from."""

    role: Principal
    threshold: int
    distinct_from: tuple[str, ...]  # "publisher", "promoter"


@dataclass(frozen=True, slots=True)
class Requirements:
    """What an environment asks of everything that is loaded in it."""

    approvals: ApprovalRule | None
    audit: bool
    fresh: str | None  # "warn", "stale" or "refuse"
    libraries: bool
    load_test: bool
    log: str | None  # "witnessed" or "unwitnessed"
    max_age_days: int | None
    witnesses: int | None = None  # how many must have cosigned; of a witnessed log alone

    @property
    def none(self) -> bool:
        """Tell whether nothing is required, so that publishing alone makes a version loadable.

        A warning about freshness, and records of loads, ask nothing of a version.
        """
        fresh = None if self.fresh == "warn" else self.fresh
        return replace(self, fresh=fresh, audit=False) == NO_REQUIREMENTS


NO_REQUIREMENTS: Final = Requirements(None, False, None, False, False, None, None)


@dataclass(frozen=True, slots=True)
class Epoch:
    """One generation of an environment's age key: its public half."""

    number: int
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class EnvironmentRule:
    """An environment: its keys, formats and requirements."""

    name: Environment
    epochs: tuple[Epoch, ...]  # ascending
    formats: tuple[str, ...]
    require: Requirements
    hashed: tuple[str, ...] = ()  # fields of audit records that are written as keyed hashes only
    key_services: tuple[KeyServiceId, ...] = ()  # which hold a copy of the environment's key


@dataclass(frozen=True, slots=True)
class PolicyId:
    """Which policy a record was made under."""

    era: int
    version: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class ChannelHead:
    """The channel record of an earlier era from which a new one continues: its number and digest."""

    seq: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Grant:
    """What one rule of a role gives one principal, ready to be asked: None means every model."""

    role: Principal
    number: int  # the rule's place in the role, from 0
    source: Environment | None  # of a promotion
    rule_models: frozenset[str] | None
    own_models: frozenset[str] | None

    def covers(self, model: Model) -> bool:
        """Tell whether the grant is about a model."""
        return (self.rule_models is None or covers(self.rule_models, model)) and (
            self.own_models is None or covers(self.own_models, model)
        )


# By action and environment, of a promotion the one promoted to.
Granted = Mapping[tuple[str, Environment], tuple[Grant, ...]]
# The rules of each role by action, with their places in the role: a decision looks at those alone.
RuleIndex = Mapping[Principal, Mapping[str, tuple[tuple[int, Rule], ...]]]


def index_rules(roles: Mapping[Principal, tuple[Rule, ...]]) -> RuleIndex:
    """Sort the rules of each role by action."""
    found: dict[Principal, dict[str, tuple[tuple[int, Rule], ...]]] = {}
    for role, rules in roles.items():
        by_action: dict[str, list[tuple[int, Rule]]] = {}
        for number, rule in enumerate(rules):
            for action in rule.actions:
                by_action.setdefault(action, []).append((number, rule))
        found[role] = {action: tuple(entries) for action, entries in by_action.items()}
    return found


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole of who may do what, as the root threshold signed it."""

    vault: Digest
    root_version: int
    root_digest: Digest
    era: int
    version: int
    prev: Digest | None
    created: str
    expires: str | None
    members: Mapping[Principal, Member]
    roles: Mapping[Principal, tuple[Rule, ...]]
    environments: Mapping[Environment, EnvironmentRule]
    recovery: tuple[Recipient, ...]
    continues: Mapping[str, ChannelHead] | None = None  # environment/slot/model → where a new era goes on
    rules: RuleIndex = field(init=False, compare=False, repr=False)
    _keys: dict[Digest, tuple[Member, Key]] = field(init=False, compare=False, repr=False)
    _counting: dict[Digest, bytes] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Index rules by action and keys by id: a decision looks them up, it does not search."""
        keys = {key.key_id: (member, key) for member in self.members.values() for key in member.keys}
        counting = {
            key.key_id: key.public
            for member in self.members.values()
            for key in member.keys
            if not key.revoked and key.until is None
        }
        object.__setattr__(self, "rules", index_rules(self.roles))
        object.__setattr__(self, "_keys", keys)
        object.__setattr__(self, "_counting", counting)

    def holder(self, key_id: Digest) -> Member | None:
        """Give the principal whose key this is, revoked or not."""
        found = self._keys.get(key_id)
        return None if found is None else found[0]

    def counting_keys(self) -> Mapping[Digest, bytes]:
        """Give the keys that count today: not revoked and not retired."""
        return self._counting

    def key(self, key_id: Digest) -> Key | None:
        """Give one key by its id, whether or not it counts."""
        found = self._keys.get(key_id)
        return None if found is None else found[1]


@dataclass(frozen=True, slots=True)
class Decision:
    """Yes or no, and the rule, or its absence, that decided."""

    allowed: bool
    reason: str


def pattern(text: str) -> str:
    """Accept `*` (every model), `part/*` (every model below it) or one model's name.

    Raises:
        Malformed: `malformed-name`.
    """
    if text != "*":
        names.model(text.removesuffix("/*"))
    return text


def covers(patterns: Collection[str], model: Model) -> bool:
    """Tell whether one of the patterns means this model; no pattern means none.

    Every pattern that means a model is spelled after it, so a set is asked once
    for each part of the name, however many patterns it holds.
    """
    if model in patterns or "*" in patterns:
        return True
    at = model.rfind("/")
    while at > 0:
        if f"{model[:at]}/*" in patterns:
            return True
        at = model.rfind("/", 0, at)
    return False


class Ruled(Protocol):
    """What decisions are made over: a signed `Policy`, or a file that is still being written."""

    @property
    def members(self) -> Mapping[Principal, Member]:
        """Who is in it."""

    @property
    def roles(self) -> Mapping[Principal, tuple[Rule, ...]]:
        """What each role may do."""

    @property
    def environments(self) -> Mapping[Environment, EnvironmentRule]:
        """Where."""

    @property
    def rules(self) -> RuleIndex:
        """The rules by role and action: `index_rules` of `roles`."""


def granted(policy: Ruled, who: Principal) -> Granted:
    """Give all that the roles of a principal allow it, by action and environment."""
    found = {
        (action, environment): tuple(grants(policy, who, action, environment))
        for action in ACTIONS
        for environment in policy.environments
    }
    return {key: entries for key, entries in found.items() if entries}


def grants(policy: Ruled, who: Principal, action: str, environment: Environment) -> Iterator[Grant]:
    """Give what allows a principal an action somewhere, for some models or all, rule after rule."""
    member = policy.members.get(who)
    if member is None:
        return
    for role in member.roles:
        for number, rule in policy.rules.get(role, {}).get(action, ()):
            if (member.patterns is not None or not rule.own) and environment in _places(policy, rule, action):
                yield Grant(role, number, rule.source, rule.patterns, member.patterns)


def _places(policy: Ruled, rule: Rule, action: str) -> tuple[Environment, ...]:
    """Give the environments that a rule is about, of a promotion the one promoted to."""
    if action == "promote":
        return () if rule.target is None else (rule.target,)
    if action in EVERYWHERE and not rule.environments:
        return tuple(policy.environments)
    return rule.environments


def decide(policy: Ruled, who: Principal, action: str, model: Model, environment: Environment) -> Decision:
    """Decide whether `who` may do `action` with `model` in `environment`.

    For `promote`, `environment` is the one promoted to; see `sources`.
    """
    if who not in policy.members:
        return Decision(False, f"{who} is not in the policy")
    if environment not in policy.environments:
        return Decision(False, f"the policy has no environment {environment}")
    for grant in grants(policy, who, action, environment):
        if grant.covers(model):
            return Decision(True, f"role {grant.role} allows {action} in {environment}")
    return Decision(False, f"no role of {who} allows {action} of {model} in {environment}")


def sources(policy: Ruled, who: Principal, model: Model, target: Environment) -> tuple[Environment, ...]:
    """List the environments from which `who` may promote `model` to `target`."""
    return tuple(
        dict.fromkeys(
            grant.source
            for grant in grants(policy, who, "promote", target)
            if grant.source is not None and grant.covers(model)
        )
    )


def may_publish_somewhere(policy: Ruled, who: Principal, model: Model) -> bool:
    """Tell whether `who` may publish `model` in any environment."""
    return any(decide(policy, who, "publish", model, name).allowed for name in policy.environments)


def may_adopt_somewhere(policy: Ruled, who: Principal, model: Model) -> bool:
    """Tell whether `who` may adopt `model` in any environment."""
    return any(decide(policy, who, "adopt", model, name).allowed for name in policy.environments)


def may_somewhere(policy: Ruled, who: Principal, action: str, model: Model) -> bool:
    """Tell whether `who` may do `action` with versions of `model`, in any environment."""
    return any(decide(policy, who, action, model, name).allowed for name in policy.environments)


def persons_behind(policy: Ruled, who: Principal) -> frozenset[Principal]:
    """Give the people whose act this is: the person, or every owner of the service."""
    member = policy.members.get(who)
    if member is None:
        return frozenset()
    return frozenset(member.owners) if member.kind == SERVICE else frozenset([member.name])


def readers(policy: Ruled, environment: Environment) -> tuple[Member, ...]:
    """List the principals who need the environment's key: who may load, pull or promote out of it."""
    found = []
    for member in policy.members.values():
        rules = [rule for role in member.roles for rule in policy.roles.get(role, ())]
        reads = any(
            environment in rule.environments and {"load", "pull", "publish", "rotate"} & set(rule.actions)
            for rule in rules
        )
        if reads or any("promote" in rule.actions and rule.source == environment for rule in rules):
            found.append(member)
    return tuple(found)
