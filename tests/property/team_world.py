"""A team for the state machines: who is in it, how its policy may change, and what a client remembers."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, Final

from hypothesis import strategies as st

from tests import builders
from tests.builders import Built, age_key, new_identity
from tests.property.team_documents import Known, Seen
from vault.actions import keyring
from vault.core import layout, names
from vault.core.memory_format import Mark, Memory
from vault.core.names import Digest, Principal
from vault.core.policy import ApprovalRule, ChannelHead, Key, Policy, Recipient

POLICY: Final = """
roles:
  owner:
    allow:
      - {actions: [load, pull], env: [dev, staging, prod]}
      - {actions: [withdraw, rotate], env: [dev, staging, prod]}
  scientist: {allow: [{actions: [publish, load], env: [dev]}, {actions: [load, pull], env: [staging]}]}
  manager:
    allow:
      - {actions: [load], env: [staging, prod]}
      - {actions: [approve, withdraw], env: [prod]}
  releaser:
    allow:
      - {actions: [load], env: [dev, staging, prod]}
      - {actions: [promote], from: dev, to: staging}
      - {actions: [promote], from: staging, to: prod}
      - {actions: [promote], from: dev, to: prod}
  steward: {allow: [{actions: [adopt, load], env: [dev]}, {actions: [load], env: [prod]}]}
  loader: {allow: [{actions: [load], env: [prod], models: own}]}
  clock: {allow: [{actions: [attest], env: [dev, staging, prod]}]}
environments:
  dev: {formats: [json, npz]}
  staging: {formats: [json]}
  prod:
    formats: [json]
    require: {approvals: {role: manager, threshold: 2, distinct_from: [publisher, promoter]}}
principals:
  owner: {kind: person, roles: [owner, scientist]}
"""
PEOPLE: Final = ("owner", "dora", "ann", "bob", "cat", "rex", "eve")
SERVICES: Final = ("robot", "server", "clock")
EVERYBODY: Final = PEOPLE + SERVICES
ENVIRONMENTS: Final = ("dev", "staging", "prod")
MODELS: Final = ("churn", "nepse/a")
SLOTS: Final = ("main", "b")
ROLES: Final = ("owner", "scientist", "manager", "releaser", "steward", "loader", "clock")
Change = Callable[[Policy], Policy]


@cache
def _team() -> Built:
    built = builders.solo(policy=POLICY, seed="machine")
    built.add("dora", "scientist")
    for name in ("ann", "bob"):
        built.add(name, "manager")
    built.add("cat", "manager", "scientist")
    built.add("rex", "releaser", "manager")
    built.add("eve", "steward")
    built.add("robot", "scientist", kind="service", owners=("ann",))
    built.add("server", "loader", kind="service", owners=("owner",), models=("churn", "nepse/*"))
    built.add("clock", "clock", kind="service", owners=("owner",))
    for number in range(1, built.policy.version):  # older policies only cost time
        built.store.delete(layout.policy(number))
    return built


def team() -> Built:
    """Give a vault of its own to one example."""
    return _team().fork(forgetful=True)


# --- what may become of a policy ---


def _members(change: Callable[[dict[Principal, Any]], None]) -> Change:
    def changed(before: Policy) -> Policy:
        members = dict(before.members)
        change(members)
        return replace(before, members=members)

    return changed


def leaves(who: str) -> Change:
    """Take somebody out, and what they own with them."""

    def change(members: dict[Principal, Any]) -> None:
        members.pop(Principal(who), None)
        for name, member in list(members.items()):
            owners = tuple(owner for owner in member.owners if owner != who)
            if member.owners and not owners:
                del members[name]
            elif owners != member.owners:
                members[name] = replace(member, owners=owners)

    return _members(change)


def returns(who: str) -> Change:
    """Let somebody in who left, as they were at first; nothing where they are in."""
    was = _team().policy.members[Principal(who)]

    def change(members: dict[Principal, Any]) -> None:
        if all(owner in members for owner in was.owners):
            members.setdefault(was.name, was)

    return _members(change)


def keys_change(who: str, *, revoke: bool, new: Key | None = None, age: Recipient | None = None) -> Change:
    """Revoke what keys somebody has, or bring them back; and give them a new one."""

    def change(members: dict[Principal, Any]) -> None:
        member = members.get(Principal(who))
        if member is not None:
            keys = tuple(replace(key, revoked=revoke) for key in member.keys)
            if new is not None and new.key_id not in {key.key_id for key in keys}:
                keys = (*keys, new)
            members[member.name] = replace(
                member, keys=keys, recipients=member.recipients if age is None else (age,)
            )

    return _members(change)


def role_changes(who: str, role: str) -> Change:
    """Give somebody a role, or take it from them."""

    def change(members: dict[Principal, Any]) -> None:
        member = members.get(Principal(who))
        if member is not None:
            roles = {*member.roles} ^ {Principal(role)}
            members[member.name] = replace(member, roles=tuple(sorted(roles)))

    return _members(change)


def narrowed(who: str, models: tuple[str, ...] | None) -> Change:
    """Narrow somebody to some models."""

    def change(members: dict[Principal, Any]) -> None:
        if Principal(who) in members:
            members[Principal(who)] = replace(members[Principal(who)], models=models)

    return _members(change)


def requires(env: str, **changed: Any) -> Change:
    """Change what an environment requires, or with `formats` what may be loaded there."""
    formats = changed.pop("formats", None)

    def change(before: Policy) -> Policy:
        rule = before.environments[names.environment(env)]
        after = replace(rule, require=replace(rule.require, **changed))
        if formats is not None:
            after = replace(after, formats=formats)
        return replace(before, environments={**before.environments, rule.name: after})

    return change


def expires(at: str | None) -> Change:
    """Give the policy a last day, or none."""
    return lambda before: replace(before, expires=at)


def new_era(continues: dict[str, ChannelHead] | None) -> Change:
    """Begin the next era."""
    return lambda before: replace(before, era=before.era + 1, continues=continues)


def replacement(built: Built, who: str, count: int) -> Change:
    """Give somebody a new identity in place of what they have."""
    made = new_identity(who, built.kind, f"{count}")
    digest = keyring.store_recipient(built.store, age_key(made))
    built.identities[who] = made
    key = Key(made.public, Digest(made.key_id), revoked=False, until=None)
    return keys_change(who, revoke=True, new=key, age=Recipient(built.kind, digest))


def approvals() -> st.SearchStrategy[ApprovalRule | None]:
    """Draw what an environment asks of approvals."""
    return st.none() | st.builds(
        ApprovalRule,
        st.sampled_from([Principal("manager"), Principal("manager"), Principal("releaser")]),
        st.integers(1, 3),
        st.sampled_from([(), ("publisher",), ("promoter",), ("publisher", "promoter")]),
    )


def changes() -> st.SearchStrategy[Change]:
    """Draw a change of the policy that needs nothing but itself."""
    who = st.sampled_from(EVERYBODY[1:])
    env = st.sampled_from(ENVIRONMENTS)
    return st.one_of(
        st.builds(leaves, who),
        st.builds(returns, who),
        st.builds(returns, who),
        st.builds(keys_change, who, revoke=st.booleans()),
        st.builds(role_changes, who, st.sampled_from(ROLES)),
        st.builds(role_changes, who, st.sampled_from(("manager", "scientist", "releaser"))),
        st.builds(narrowed, who, st.sampled_from([None, None, ("churn",), ("nepse/*",), ()])),
        st.builds(requires, env, approvals=approvals()),
        st.builds(requires, st.just("prod"), approvals=approvals()),
        st.builds(requires, env, fresh=st.sampled_from([None, "warn", "stale", "refuse"])),
        st.builds(requires, env, max_age_days=st.sampled_from([None, None, 5, 40])),
        st.builds(requires, env, formats=st.sampled_from([("json",), ("json",), ("npz",)])),
    )


# --- what a client remembers ---


def known(mark: Mark | None) -> Known | None:
    return None if mark is None else (mark.era, mark.number, mark.digest)


def seen(memory: Memory) -> Seen:
    """Give a client's memory as plain data."""
    return Seen(
        known(memory.policy),
        {key: (mark.era, mark.number, mark.digest) for key, mark in memory.channels.items()},
        dict(memory.versions),
        {key: (mark.era, mark.number, mark.digest) for key, mark in memory.heads.items()},
    )


def went_back(before: Seen, after: Seen) -> list[str]:
    """Tell what a memory lost; versions may be forgotten with a new era."""
    lost = []
    if before.policy is not None and (after.policy is None or after.policy[:2] < before.policy[:2]):
        lost.append("policy")
    for what in ("channels", "heads"):
        old, new = getattr(before, what), getattr(after, what)
        lost += [key for key, mark in old.items() if key not in new or new[key][:2] < mark[:2]]
    same_era = before.policy is None or (after.policy is not None and after.policy[0] == before.policy[0])
    if same_era:
        lost += [key for key, value in before.versions.items() if after.versions.get(key) != value]
    return lost
