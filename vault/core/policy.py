"""Who may do what: the compiled policy, and decisions over it (docs/format.md, "Policy").

The vocabulary is closed, so that who may read, sign or decide can be listed.
Deny by default: what no rule allows is denied, and an empty rule allows
nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vault.core import names
from vault.core.names import Digest, Environment, Model, Principal

KIND: Final = "policy"
ACTIONS: Final = (
    "adopt",
    "approve",
    "audit.read",
    "delete",
    "load",
    "promote",
    "publish",
    "pull",
    "rotate",
    "withdraw",
)
PERSON: Final = "person"
SERVICE: Final = "service"


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


@dataclass(frozen=True, slots=True)
class Rule:
    """Some actions on some models in some environments; `source` and `target` are for promotions."""

    actions: tuple[str, ...]
    environments: tuple[Environment, ...]
    source: Environment | None
    target: Environment | None
    models: tuple[str, ...] | None  # None: all
    own: bool  # only where the principal's own models are listed


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

    @property
    def none(self) -> bool:
        """Tell whether nothing is required, so that publishing alone makes a version loadable."""
        return self == NO_REQUIREMENTS


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


@dataclass(frozen=True, slots=True)
class PolicyId:
    """Which policy a record was made under."""

    era: int
    version: int
    digest: Digest


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
    log_writers: tuple[Digest, ...]
    witnesses: tuple[Digest, ...]
    _owner_of_key: dict[Digest, Principal] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Index keys by id: a decision looks a signer up, it does not search."""
        for member in self.members.values():
            for key in member.keys:
                self._owner_of_key[key.key_id] = member.name

    def holder(self, key_id: Digest) -> Member | None:
        """Give the principal whose key this is, revoked or not."""
        name = self._owner_of_key.get(key_id)
        return self.members[name] if name is not None else None

    def counting_keys(self) -> Mapping[Digest, bytes]:
        """Give the keys that count today: not revoked and not retired."""
        return {
            key.key_id: key.public
            for member in self.members.values()
            for key in member.keys
            if not key.revoked and key.until is None
        }

    def key(self, key_id: Digest) -> Key | None:
        """Give one key by its id, whether or not it counts."""
        member = self.holder(key_id)
        if member is None:
            return None
        return next((key for key in member.keys if key.key_id == key_id), None)


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


def covers(patterns: tuple[str, ...], model: Model) -> bool:
    """Tell whether one of the patterns means this model; no pattern means none."""
    return any(
        entry in ("*", model) or (entry.endswith("/*") and model.startswith(entry[:-1])) for entry in patterns
    )


def _rule_models(rule: Rule, member: Member, model: Model) -> bool:
    if rule.own and member.models is None:
        return False
    if rule.models is not None and not covers(rule.models, model):
        return False
    return member.models is None or covers(member.models, model)


def decide(policy: Policy, who: Principal, action: str, model: Model, environment: Environment) -> Decision:
    """Decide whether `who` may do `action` with `model` in `environment`.

    For `promote`, `environment` is the one promoted to; see `sources`.
    """
    member = policy.members.get(who)
    if member is None:
        return Decision(False, f"{who} is not in the policy")
    if environment not in policy.environments:
        return Decision(False, f"the policy has no environment {environment}")
    for role in member.roles:
        for rule in policy.roles.get(role, ()):
            if action not in rule.actions or not _rule_models(rule, member, model):
                continue
            if environment == rule.target if action == "promote" else environment in rule.environments:
                return Decision(True, f"role {role} allows {action} in {environment}")
    return Decision(False, f"no role of {who} allows {action} of {model} in {environment}")


def sources(policy: Policy, who: Principal, model: Model, target: Environment) -> tuple[Environment, ...]:
    """List the environments from which `who` may promote `model` to `target`."""
    member = policy.members.get(who)
    if member is None:
        return ()
    return tuple(
        dict.fromkeys(
            rule.source
            for role in member.roles
            for rule in policy.roles.get(role, ())
            if "promote" in rule.actions
            and rule.target == target
            and rule.source is not None
            and _rule_models(rule, member, model)
        )
    )


def may_publish_somewhere(policy: Policy, who: Principal, model: Model) -> bool:
    """Tell whether `who` may publish `model` in any environment."""
    return any(decide(policy, who, "publish", model, name).allowed for name in policy.environments)


def persons_behind(policy: Policy, who: Principal) -> frozenset[Principal]:
    """Give the people whose act this is: the person, or every owner of the service."""
    member = policy.members.get(who)
    if member is None:
        return frozenset()
    return frozenset(member.owners) if member.kind == SERVICE else frozenset([member.name])


def readers(policy: Policy, environment: Environment) -> tuple[Member, ...]:
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
