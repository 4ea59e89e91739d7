"""Compile a policy file: its words, people's public keys, and what the policy in force already knows.

Whoever is in force keeps their keys, and environments keep theirs; new people
bring a public identity, and for new environments a key pair is made.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vault.actions import identities, keyring, objects
from vault.actions.init import OWNER, Joining
from vault.core import ed25519, layout
from vault.core.names import Digest, Environment, Principal
from vault.core.policy import EnvironmentRule, Epoch, Key, Member, Policy
from vault.core.policy import Recipient as RecipientId
from vault.errors import NotFound, Unavailable
from vault.keys import recipients
from vault.keys.recipients import Identity
from vault.policyfile import PolicySource, PrincipalSource
from vault.ports import Random, Store

IDENTITIES = "identities"  # the folder of public identities beside a policy file
_NUMBERED = re.compile(r"(.+)\.(?:[2-9]|[1-9][0-9])\Z", re.ASCII)

Keys = Mapping[Principal, Sequence[Joining]]


@dataclass(frozen=True, slots=True)
class Compiled:
    """People and environments of the next policy, and what must lie in the store before it is applied.

    `private` holds the keys of environments that are new, `recipients` the public
    age keys of people who are.
    """

    members: Mapping[Principal, Member]
    environments: Mapping[Environment, EnvironmentRule]
    private: Mapping[Environment, Identity]
    recipients: tuple[str, ...]


def found_beside(path: Path, wanted: Iterable[Principal]) -> dict[Principal, list[Joining]]:
    """Read the public identities beside a policy file: `identities/NAME.pub`, `NAME.2.pub`, ….

    Files of people whom the policy does not name are left alone.

    Raises:
        Malformed: one of them is no public identity (`malformed-identity`).
        Unavailable: the folder or a file cannot be read.
        ValueError: one of them is no regular file.
    """
    folder = path.parent / IDENTITIES
    known = frozenset(wanted)
    try:
        names_there = sorted(entry.name for entry in folder.iterdir() if entry.suffix == ".pub")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise Unavailable(f"{folder} cannot be read: {error.strerror}.", subject=str(folder)) from None
    found: dict[Principal, list[Joining]] = {}
    for name in names_there:
        stem = name.removesuffix(".pub")
        numbered = _NUMBERED.match(stem)
        who = Principal(stem)
        if who not in known and numbered is not None:
            who = Principal(numbered[1])
        if who in known:
            found.setdefault(who, []).append(identities.joining(folder / name, who))
    return found


def compile_source(
    store: Store, source: PolicySource, before: Policy, keys: Keys, me: Principal | None, random: Random
) -> Compiled:
    """Compile a policy file against the policy in force; `me` is whom `owner` stands for.

    Raises:
        NotFound: somebody new has no public identity here.
        ValueError: the file names a key that its holder does not have, an age key is of another kind than
            the vault's, or `owner` stands for nobody.
        Unavailable: the store failed.
    """
    source = _resolve_owner(source, before, keys, me)
    missing = [name for name in source.principals if name not in before.members and not keys.get(name)]
    if missing:
        shown = ", ".join(missing[:8]) + (", …" if len(missing) > 8 else "")
        raise NotFound(
            f"There is no public identity of {shown}.",
            subject=missing[0],
            hint=f"They run: mvault identity export > {missing[0]}.pub. "
            f"Put it into {IDENTITIES}/ beside the policy file, or name it: --key {missing[0]}=FILE",
        )
    kind = kind_of(before)
    members = {
        name: _member(name, entry, before.members.get(name), keys.get(name, ()), kind)
        for name, entry in source.principals.items()
    }
    new = [name for name in source.environments if name not in before.environments]
    private = {name: recipients.generate_identity(kind, random) for name in new}
    environments = {}
    for name, entry in source.environments.items():
        epochs: tuple[Epoch, ...]
        if name in private:
            epochs = (Epoch(_free_epoch(store, name), recipient_id(private[name].recipient().encode())),)
        else:
            epochs = before.environments[name].epochs
        environments[name] = EnvironmentRule(
            name, epochs, entry.formats, entry.require, entry.hashed, entry.key_services
        )
    public = [secret.recipient().encode() for secret in private.values()]
    joined = [joining.recipient for name in members for joining in keys.get(name, ())]
    public += [text for text in joined if text is not None]
    return Compiled(members, environments, private, tuple(dict.fromkeys(public)))


def kind_of(policy: Policy) -> recipients.Kind:
    """Give the kind of age keys that a vault uses throughout.

    Raises:
        ValueError: its policy names none, so that nothing can be wrapped in it.
    """
    named = [*policy.recovery, *(epoch.recipient for e in policy.environments.values() for epoch in e.epochs)]
    if not named:
        raise ValueError("The policy in force names no age key.")
    return "x25519" if named[0].kind == "x25519" else "mlkem768x25519"


def recipient_id(text: str) -> RecipientId:
    """Give what a policy says of a public age key: its kind and its digest.

    Raises:
        Malformed: it is none.
    """
    found = recipients.parse_recipient(text)
    return RecipientId(found.kind, keyring.recipient_digest(found.encode()))


def _resolve_owner(source: PolicySource, before: Policy, keys: Keys, me: Principal | None) -> PolicySource:
    """Put whoever compiles the file in place of `owner`, as `mvault init` does."""
    if OWNER not in source.principals or OWNER in before.members or keys.get(OWNER):
        return source
    if me is None or me in source.principals:
        raise ValueError(
            f"{source.file or 'The policy'} names 'owner', and this vault has nobody of that name. "
            "Write the person's name there."
        )

    def meant(name: Principal) -> Principal:
        return me if name == OWNER else name

    return replace(
        source,
        principals={
            meant(name): replace(entry, owners=tuple(meant(owner) for owner in entry.owners))
            for name, entry in source.principals.items()
        },
    )


def _member(
    name: Principal,
    described: PrincipalSource,
    before: Member | None,
    joined: Sequence[Joining],
    kind: recipients.Kind,
) -> Member:
    keys, theirs, loose = _known(before)
    for joining in joined:
        public = ed25519.PublicKey.parse(joining.public)
        key_id = Digest(public.key_id)
        keys.setdefault(key_id, Key(public.raw, key_id, revoked=False, until=None))
        if joining.recipient is None:
            theirs.pop(key_id, None)
            continue
        recipient = recipient_id(joining.recipient)
        if recipient.kind != kind:
            raise ValueError(
                f"The age key of {name} is {recipient.kind}, the vault's are {kind}: "
                "one kind is used throughout."
            )
        theirs[key_id] = recipient
    for prefix in described.revoked:
        key_id = _one_key(name, prefix, keys)
        keys[key_id] = replace(keys[key_id], revoked=True)
    for prefix, head in described.retired.items():
        key_id = _one_key(name, prefix, keys)
        keys[key_id] = replace(keys[key_id], until=head)
    counting = [key_id for key_id, key in keys.items() if not key.revoked and key.until is None]
    gone = {recipient for key_id, recipient in theirs.items() if key_id not in counting}
    mine = [theirs[key_id] for key_id in counting if key_id in theirs]
    mine += [recipient for recipient in loose if recipient not in gone]
    ageless = any(joining.recipient is None for joining in joined)
    if joined and mine and (ageless or (not loose and not set(counting) <= set(theirs))):
        raise ValueError(
            f"Some keys of {name} would have an age key beside them and some none, so that nobody could tell "
            "which age key goes with which. Let all of them have one, or none."
        )
    return Member(
        name=name,
        kind=described.kind,
        owners=described.owners,
        roles=described.roles,
        models=described.models,
        keys=tuple(keys.values()),
        recipients=tuple(dict.fromkeys(mine)),
    )


def _known(
    before: Member | None,
) -> tuple[dict[Digest, Key], dict[Digest, RecipientId], tuple[RecipientId, ...]]:
    """Give somebody's keys, the age key beside each where the order tells, and age keys beside none.

    A policy lists the age keys of a principal in the order of the signing keys that
    count, as they came from one identity each.
    """
    if before is None:
        return {}, {}, ()
    keys = {key.key_id: key for key in before.keys}
    counting = [key.key_id for key in before.keys if not key.revoked and key.until is None]
    if len(counting) == len(before.recipients):
        return keys, dict(zip(counting, before.recipients, strict=True)), ()
    return keys, {}, before.recipients


def _one_key(name: Principal, prefix: str, keys: Mapping[Digest, Key]) -> Digest:
    found = [key_id for key_id in keys if key_id.startswith(prefix)]
    if len(found) != 1:
        raise ValueError(
            f"{name} has {'no key' if not found else 'several keys'} whose id begins with {prefix}."
        )
    return found[0]


def _free_epoch(store: Store, environment: Environment) -> int:
    """Give an epoch under which nothing lies: an environment of that name may have been there before."""
    folder = f"keys/{environment}/{layout.COMPARTMENT}/"
    listed = (name.removesuffix("/") for name in store.list_folders(folder))
    taken = [int(name) for name in listed if name.isascii() and name.isdecimal() and len(name) < 16]
    return objects.lowest_free(taken, 0, f"epochs of {environment}")
