"""Tell what a change of policy does: who gains and loses what, and which channels stop (docs/policy.md)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vault.core import policy
from vault.core.in_force import Channel
from vault.core.names import Digest, Environment, Model, Principal, Reference, Version
from vault.core.policy import PERSON, EnvironmentRule, Member, Requirements
from vault.core.policy_analysis import Access, reach
from vault.core.policy_patterns import NONE, Models, missing
from vault.core.policy_view import View, counting

ADDED = "added"
REMOVED = "removed"
CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Gain:
    """Something that somebody may do, and with which models."""

    access: Access
    models: tuple[Models, ...]


@dataclass(frozen=True, slots=True)
class PrincipalChange:
    """What a change does to one principal; `change` is `added`, `removed` or `changed`."""

    name: Principal
    kind: str
    change: str
    gained: tuple[Gain, ...]
    lost: tuple[Gain, ...]
    keys_added: tuple[Digest, ...]
    keys_lost: tuple[Digest, ...]  # revoked, retired or left out
    owners: tuple[tuple[Principal, ...], tuple[Principal, ...]] | None  # before and after, where they differ
    keys_retired: tuple[Digest, ...] = ()  # of those lost, the ones that count on for what a log had


@dataclass(frozen=True, slots=True)
class EnvironmentChange:
    """What a change does to one environment: key, before and after, as a policy file spells them."""

    name: Environment
    change: str
    settings: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """A channel that a change would stop, or turn back to an older version, which is then in `reason`."""

    channel: Channel
    version: Version
    reason: str


@dataclass(frozen=True, slots=True)
class Lifted:
    """A version that is withdrawn, and that a change would let back in; who withdrew it last, and when.

    `version` is None where no record of the environment ever named it.
    """

    environment: Environment
    model: Model
    version: Version | None
    manifest: Digest
    signers: tuple[Principal, ...]
    created: str

    @property
    def subject(self) -> Reference:
        """The version, by its digest where its name is not known."""
        if self.version is None:
            return Reference(self.model, digest=self.manifest)
        return Reference(self.model, version=self.version)


@dataclass(frozen=True, slots=True)
class Difference:
    """Everything that a change of policy does.

    `stopped`, the channels that would stop, and `lifted`, the withdrawals that
    would lapse, are None where no vault was looked at.
    """

    principals: tuple[PrincipalChange, ...]
    environments: tuple[EnvironmentChange, ...]
    stopped: tuple[Stop, ...] | None
    lifted: tuple[Lifted, ...] | None = None

    @property
    def nothing(self) -> bool:
        """Tell whether the change changes nothing."""
        return not (self.principals or self.environments or self.stopped or self.lifted)


def diff(
    old: View,
    new: View,
    stopped: tuple[Stop, ...] | None = None,
    lifted: tuple[Lifted, ...] | None = None,
) -> Difference:
    """Compare two policies, with what was found to stop and to lapse in a vault, if one was looked at."""
    return Difference(tuple(_principals(old, new)), tuple(_environments(old, new)), stopped, lifted)


# --- principals ---


def _principals(old: View, new: View) -> Iterator[PrincipalChange]:
    keys_before, keys_after = counting(old), counting(new)
    for name in sorted({*old.members, *new.members}):
        before, after = old.members.get(name), new.members.get(name)
        had, has = reach(old, name), reach(new, name)
        member = after or before
        owners = (() if before is None else before.owners, () if after is None else after.owners)
        found = PrincipalChange(
            name=name,
            kind=PERSON if member is None else member.kind,
            change=ADDED if before is None else REMOVED if after is None else CHANGED,
            gained=tuple(_more(has, had)),
            lost=tuple(_more(had, has)),
            keys_added=_keys(keys_after, keys_before, name),
            keys_lost=(lost := _keys(keys_before, keys_after, name)),
            keys_retired=tuple(key for key in lost if key in _retired(after)),
            owners=owners if before and after and set(owners[0]) != set(owners[1]) else None,
        )
        same_kind = before is not None and after is not None and before.kind == after.kind
        if not same_kind or found.gained or found.lost or found.keys_added or found.keys_lost or found.owners:
            yield found


def _more(these: Mapping[Access, frozenset[str]], those: Mapping[Access, frozenset[str]]) -> Iterator[Gain]:
    for access in sorted(these, key=lambda access: (access.environment, access.action, access.source or "")):
        models = missing(these[access], those.get(access, NONE))
        if models:
            yield Gain(access, models)


def _keys(
    these: Mapping[Digest, Principal], those: Mapping[Digest, Principal], name: Principal
) -> tuple[Digest, ...]:
    return tuple(sorted(key for key, holder in these.items() if holder == name and those.get(key) != name))


def _retired(member: Member | None) -> frozenset[Digest]:
    keys = () if member is None else member.keys
    return frozenset(key.key_id for key in keys if key.until is not None and not key.revoked)


# --- environments ---


def _environments(old: View, new: View) -> Iterator[EnvironmentChange]:
    for name in sorted({*old.environments, *new.environments}):
        before, after = old.environments.get(name), new.environments.get(name)
        had, has = _settings(before), _settings(after)
        changed = tuple((key, had[key], has[key]) for key in had if had[key] != has[key])
        if before and after and before.epochs and after.epochs and before.epochs[-1] != after.epochs[-1]:
            had_key, has_key = (f"epoch {rule.epochs[-1].number}" for rule in (before, after))
            changed += (("key", had_key, has_key),)
        if before is None:
            yield EnvironmentChange(name, ADDED, changed)
        elif after is None:
            yield EnvironmentChange(name, REMOVED, changed)
        elif changed:
            yield EnvironmentChange(name, CHANGED, changed)


def _settings(rule: EnvironmentRule | None) -> dict[str, str]:
    """Give what an environment says, each as a policy file spells it, empty where it says nothing."""
    asked: Requirements = policy.NO_REQUIREMENTS if rule is None else rule.require
    approvals = asked.approvals
    return {
        "formats": "" if rule is None else ", ".join(sorted(rule.formats)),
        "approvals": ""
        if approvals is None
        else f"{approvals.threshold} by {approvals.role}"
        + (f", not the {' or '.join(sorted(approvals.distinct_from))}" if approvals.distinct_from else ""),
        "audit": "true" if asked.audit else "",
        "fresh": asked.fresh or "",
        "libraries": "true" if asked.libraries else "",
        "load_test": "true" if asked.load_test else "",
        "log": asked.log or "",
        "max_age_days": "" if asked.max_age_days is None else str(asked.max_age_days),
        "witnesses": "" if asked.witnesses is None else str(asked.witnesses),
        "hashed": "" if rule is None else ", ".join(sorted(rule.hashed)),
        "key_services": "" if rule is None else ", ".join(sorted(map(str, rule.key_services))),
    }
