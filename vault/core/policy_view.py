"""What the analyses of a policy look at: a signed policy, or a file that nobody has signed yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vault.core.names import Digest, Environment, Model, Principal
from vault.core.policy import EnvironmentRule, Key, LogHead, Member, Policy, Rule, RuleIndex, index_rules

# Where something stands: ("role", name, rule number), ("principal", name), ("environment", name, key).
Place = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A policy as the analyses take it; `core.policy.decide` takes it as well.

    Of a file, `lines` says where things stand and `members` have no keys; what
    the file says of keys is in `revoked` and `retired`, by their ids or the
    beginnings of those. `signed` is whether the root holders have signed it.
    """

    members: Mapping[Principal, Member]
    roles: Mapping[Principal, tuple[Rule, ...]]
    environments: Mapping[Environment, EnvironmentRule]
    file: str
    lines: Mapping[Place, int] = field(default_factory=dict)
    revoked: Mapping[Principal, tuple[str, ...]] = field(default_factory=dict)
    retired: Mapping[Principal, Mapping[str, LogHead]] = field(default_factory=dict)
    expires: str | None = None
    signed: bool = False
    rules: RuleIndex = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Index rules by action: a decision looks them up."""
        object.__setattr__(self, "rules", index_rules(self.roles))

    def line(self, *place: str) -> int | None:
        """Give the line on which something stands, or of the nearest thing around it."""
        while place:
            if place in self.lines:
                return self.lines[place]
            place = place[:-1]
        return None


@dataclass(frozen=True, slots=True)
class Expectation:
    """One decision that somebody expects of a policy; `source` is where a promotion starts from."""

    who: Principal
    action: str
    model: Model
    environment: Environment
    source: Environment | None
    allowed: bool
    line: int


def of_policy(policy: Policy) -> View:
    """Give a signed policy in the form that the analyses take."""
    return View(
        members=policy.members,
        roles=policy.roles,
        environments=policy.environments,
        file=f"policy {policy.version}",
        expires=policy.expires,
        signed=True,
    )


def acting(view: View) -> View:
    """Leave whoever has no key that counts without a role: they can do nothing new. A file stays as it is."""
    if not view.signed:
        return view
    holders = set(counting(view).values())
    members = {
        name: member if name in holders else replace(member, roles=())
        for name, member in view.members.items()
    }
    return replace(view, members=members)


def counting(view: View) -> Mapping[Digest, Principal]:
    """Give the keys that count and whose they are; none of a file, which has no keys."""
    return {
        key.key_id: member.name
        for member in view.members.values()
        for key in member.keys
        if not key.revoked and key.until is None
    }


def standing_for(view: View, name: Principal, who: Principal) -> View:
    """Put `who` in the place of one principal of a file, as `owner` stands for whoever compiles it."""

    def meant(entry: Principal) -> Principal:
        return who if entry == name else entry

    return replace(
        view,
        members={
            meant(entry): replace(member, name=meant(entry), owners=tuple(map(meant, member.owners)))
            for entry, member in view.members.items()
        },
        revoked={meant(entry): keys for entry, keys in view.revoked.items()},
        retired={meant(entry): keys for entry, keys in view.retired.items()},
    )


def with_keys(view: View, known: View) -> View:
    """Give a file's principals the keys that those of their names have in a signed policy.

    A key that the file revokes or retires is so from then on; nobody's counts again.
    """
    return replace(
        view,
        members={
            name: replace(
                member,
                keys=tuple(
                    _changed(key, view.revoked.get(name, ()), view.retired.get(name, {}))
                    for key in known.members[name].keys
                ),
                recipients=known.members[name].recipients,
            )
            if name in known.members
            else member
            for name, member in view.members.items()
        },
    )


def _changed(key: Key, revoked: tuple[str, ...], retired: Mapping[str, LogHead]) -> Key:
    until = next((head for start, head in retired.items() if key.key_id.startswith(start)), key.until)
    return replace(
        key,
        revoked=key.revoked or any(key.key_id.startswith(start) for start in revoked),
        until=until,
    )


def as_policy(view: View, known: Policy) -> Policy:
    """Give the policy that would follow `known` if the file of a view were compiled and signed.

    New principals have no keys in it and new environments no epochs: it serves
    to ask what would become of what is there.
    """
    keyed = with_keys(view, of_policy(known))
    return replace(
        known,
        version=known.version + 1,
        members=keyed.members,
        roles=keyed.roles,
        environments={
            name: replace(rule, epochs=known.environments[name].epochs)
            if name in known.environments
            else rule
            for name, rule in keyed.environments.items()
        },
    )
