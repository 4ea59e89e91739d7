"""Let people in and out of a vault without writing a policy file: drafts out of the policy in force."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vault import policyfile
from vault.actions import anchoring, applying, ballots, draft_files, drafting
from vault.actions.applying import Applied, Standing
from vault.actions.draft_files import Draft
from vault.actions.init import OWNER, Joining
from vault.actions.session import Session, Trust
from vault.core import policy
from vault.core.names import Digest, Environment, Principal
from vault.core.policy import Key, Member, Policy
from vault.core.trust import Root
from vault.errors import AccessDenied, NotFound
from vault.policyfile import EnvironmentSource, PolicySource, PrincipalSource

STARTER = "team"  # policies/team.yaml
WAITING = (
    "It may be a change that waits for signatures: mvault policy status tells, with that file. Apply it "
    "first, or move it away. Several changes at once go into a policy file: mvault policy draft."
)
ENOUGH = (2, 3)  # threshold and people: one of them may lose a key, and one stolen key does nothing


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in the policy in force, or a holder of the root who is not in it (then without a kind).

    `keys` is how many keys count; `retired` are those that count only for what
    a log had before their `until`.
    """

    name: Principal
    kind: str | None
    roles: tuple[Principal, ...]
    models: tuple[str, ...] | None
    owners: tuple[Principal, ...]
    keys: int
    retired: tuple[Key, ...]
    reads: tuple[Environment, ...]
    holds_root: bool


@dataclass(frozen=True, slots=True)
class Team:
    """Who is in a vault, and how many of the root's holders must sign."""

    people: tuple[Person, ...]
    threshold: int
    holders: int

    @property
    def advice(self) -> str | None:
        """What to do about a root that one stolen or lost key can undo; None where there is enough."""
        if self.threshold >= ENOUGH[0] and self.holders >= ENOUGH[1]:
            return None
        more = (
            ""
            if self.holders >= ENOUGH[1]
            else "Add holders: mvault team add NAME=FILE --root-holder, then: "
        )
        return (
            f"The root takes {self.threshold} of {self.holders}. Below 2 of 3, one stolen key can do "
            f"everything, or one lost key ends every change. {more}mvault root draft --threshold 2"
        )


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of a change: it is in force, or it lies in files that others must sign first."""

    applied: Applied | None
    paths: tuple[Path, ...]
    drafts: tuple[Standing, ...]


def team(session: Session) -> Team:
    """List who is in the policy in force and who holds the root.

    Raises:
        Rollback, Refused, NotFound, Unavailable.
    """
    base = drafting.base_of(session)
    holders = {key.name for key in base.root.root.keys}
    reads: dict[Principal, list[Environment]] = {}
    for environment in base.policy.environments:
        for member in policy.readers(base.policy, environment):
            reads.setdefault(member.name, []).append(environment)
    people = [
        Person(
            name,
            member.kind,
            member.roles,
            member.models,
            member.owners,
            sum(not key.revoked and key.until is None for key in member.keys),
            tuple(key for key in member.keys if not key.revoked and key.until is not None),
            tuple(reads.get(name, ())),
            name in holders,
        )
        for name, member in base.policy.members.items()
    ]
    people += [
        Person(name, None, (), None, (), 1, (), (), True)
        for name in sorted(holders - set(base.policy.members))
    ]
    return Team(tuple(people), base.root.root.threshold, len(holders))


def add(
    session: Session,
    joining: Sequence[Joining],
    *,
    roles: Sequence[Principal] = (),
    models: tuple[str, ...] | None = None,
    owners: Sequence[Principal] = (),
    root_holder: bool = False,
    starter: bool = False,
    accept_outage: bool = False,
    lift_withdrawals: bool = False,
) -> Changed:
    """Let somebody join, or give somebody who is there more roles or another key.

    With `owners` it is a service. `starter` brings in the roles and environments of
    the shipped team policy first. Where this identity's signature is enough the
    change is in force at once, otherwise drafts are written here.

    Raises:
        ValueError: there is no such role or owner.
        Refused: `outage`.
        Conflict, Unavailable, NoUsableKey: see `applying.apply`.
    """
    base = drafting.base_of(session)
    source = source_of(base.policy)
    if starter:
        source = _with_starter(source, _me(session, base))
    name = joining[0].name
    unknown = [role for role in roles if role not in source.roles]
    if unknown:
        raise ValueError(
            f"There is no role {unknown[0]} in the policy in force; there are {', '.join(source.roles)}. "
            "The roles of the shipped team policy come with --starter."
        )
    strangers = [owner for owner in owners if owner not in source.principals]
    if strangers:
        raise ValueError(f"{strangers[0]} is not in the policy, so cannot own a service.")
    source = _joined(source, name, tuple(roles), models, tuple(owners))
    drafts = [drafting.policy_draft(session, source, {name: joining})]
    if root_holder:
        if owners:
            raise ValueError("A service does not hold the root.")
        holders: dict[Principal, Sequence[bytes]] = {key.name: [] for key in base.root.root.keys}
        holders[name] = [entry.public for entry in joining]
        drafts.append(drafting.root_draft(session, holders)[0])
    return finish(session, drafts, accept_outage=accept_outage, lift_withdrawals=lift_withdrawals)


def remove(
    session: Session, name: Principal, *, accept_outage: bool = False, lift_withdrawals: bool = False
) -> Changed:
    """Take somebody out of the policy, and out of the root where they hold it.

    Raises:
        NotFound: nobody of that name is there.
        ValueError: without them the root's threshold cannot be met, or a service has no owner left.
        Refused: `outage`: what they alone published would stop; `withdrawal-lapses`: what they withdrew would
            come back.
        Conflict, Unavailable, NoUsableKey: see `applying.apply`.
    """
    base = drafting.base_of(session)
    root = base.root.root
    holds = name in {key.name for key in root.keys}
    if name not in base.policy.members and not holds:
        raise NotFound(f"{name} is not in this vault.", subject=name, hint="See who is: mvault team list")
    source = source_of(base.policy)
    orphans = [who for who, entry in source.principals.items() if entry.owners == (name,)]
    if orphans:
        raise ValueError(
            f"{name} alone owns {', '.join(orphans)}. Remove that first, or give it another owner."
        )
    left = {
        who: replace(entry, owners=tuple(owner for owner in entry.owners if owner != name))
        for who, entry in source.principals.items()
        if who != name
    }
    drafts = [drafting.policy_draft(session, replace(source, principals=left), {})]
    drafts += _without_holder(session, root, name)
    return finish(session, drafts, accept_outage=accept_outage, lift_withdrawals=lift_withdrawals)


def retire(
    session: Session, name: Principal, *, accept_outage: bool = False, lift_withdrawals: bool = False
) -> Changed:
    """Let the keys of somebody who leaves in peace count for what the logs have of them, and no longer.

    The heads of the logs are anchored in the trust log first, and its head is what
    the policy then names as `until`. What was not logged stops counting, as with `remove`.

    Raises:
        NotFound: nobody of that name is there.
        ValueError: they have no key that counts, or without them the root's threshold cannot be met.
        AccessDenied: this identity may not write to the trust log.
        Refused: `outage`, `withdrawal-lapses`; or a log does not hold.
        Conflict, Unavailable, NoUsableKey: see `applying.apply`.
    """
    base = drafting.base_of(session)
    member = base.policy.members.get(name)
    if member is None:
        raise NotFound(f"{name} is not in this vault.", subject=name, hint="See who is: mvault team list")
    counting = [key.key_id for key in member.keys if not key.revoked and key.until is None]
    if not counting:
        raise ValueError(f"{name} has no key that counts, so there is nothing to retire.")
    if base.root.root.threshold > 1:  # before anything is written to a log
        draft_files.check_free(Path(f"policy-{drafting.next_number(session, base)}.json"), WAITING)
    head = anchoring.trust_head(session)
    source = source_of(base.policy)
    leaving = replace(source.principals[name], retired=dict.fromkeys(counting, head))
    changed = replace(source, principals={**source.principals, name: leaving})
    drafts = [drafting.policy_draft(session, changed, {})]
    drafts += _without_holder(session, base.root.root, name)
    return finish(session, drafts, accept_outage=accept_outage, lift_withdrawals=lift_withdrawals)


def _without_holder(session: Session, root: Root, name: Principal) -> list[Draft]:
    """Draft the root without somebody; nothing where they do not hold it.

    Raises:
        ValueError: without them its threshold cannot be met.
    """
    if name not in {key.name for key in root.keys}:
        return []
    others: dict[Principal, Sequence[bytes]] = {key.name: [] for key in root.keys if key.name != name}
    if len(others) < root.threshold:
        raise ValueError(
            f"Without {name} too few would hold the root: it takes {root.threshold} of them. "
            "Add another holder first, or draft a lower threshold: mvault root draft"
        )
    return [drafting.root_draft(session, others)[0]]


def source_of(document: Policy) -> PolicySource:
    """Give a policy in force in the form of a policy file, to be changed and compiled again."""
    return PolicySource(
        roles=document.roles,
        environments={
            name: EnvironmentSource(entry.formats, entry.require, entry.hashed, entry.key_services)
            for name, entry in document.environments.items()
        },
        principals={name: _described(member) for name, member in document.members.items()},
    )


def _described(member: Member) -> PrincipalSource:
    return PrincipalSource(member.kind, member.owners, member.roles, member.models)


def _me(session: Session, base: Trust) -> Principal:
    member = base.policy.holder(Digest(session.identity.key_id))
    if member is None:
        raise AccessDenied("This identity is not in the vault's policy.", subject=session.identity.name)
    return member.name


def _with_starter(source: PolicySource, me: Principal) -> PolicySource:
    """Bring in the roles and environments of the shipped team policy; `me` becomes its owner as well."""
    starter = policyfile.parse(policyfile.shipped(STARTER), f"{STARTER}.yaml")
    mine = source.principals[me]
    roles = tuple(dict.fromkeys((*mine.roles, *starter.principals[OWNER].roles)))
    return replace(
        source,
        roles={**source.roles, **starter.roles},
        environments={**source.environments, **starter.environments},
        principals={**source.principals, me: replace(mine, roles=roles)},
    )


def _joined(
    source: PolicySource,
    name: Principal,
    roles: tuple[Principal, ...],
    models: tuple[str, ...] | None,
    owners: tuple[Principal, ...],
) -> PolicySource:
    known = source.principals.get(name)
    kind = policy.SERVICE if owners else policy.PERSON
    entry = PrincipalSource(kind, owners, roles, models)
    if known is not None:
        entry = replace(
            known,
            kind=kind if owners else known.kind,
            owners=owners or known.owners,
            roles=tuple(dict.fromkeys((*known.roles, *roles))),
            models=models if models is not None else known.models,
        )
    return replace(source, principals={**source.principals, name: entry})


def finish(
    session: Session, drafts: Sequence[Draft], *, accept_outage: bool, lift_withdrawals: bool
) -> Changed:
    """Sign drafts and apply them where that is enough; else write them here, for others to sign.

    Raises:
        Conflict: there is a file of a draft's name, or somebody else was first.
        Refused, Unavailable, NoUsableKey.
    """
    signed = ballots.signed(session, drafts)
    mine = list(signed.drafts)
    if not any(signed.missing(draft) for draft in mine):
        done = applying.apply(session, mine, accept_outage=accept_outage, lift_withdrawals=lift_withdrawals)
        return Changed(done, (), ())
    paths = [Path(f"{draft.kind}-{draft.document.version}.json") for draft in mine]
    for path in paths:
        draft_files.check_free(path, WAITING)
    for path, draft in zip(paths, mine, strict=True):
        draft_files.write_new(path, draft)
    return Changed(None, tuple(paths), applying.standings(signed))
