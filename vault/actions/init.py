"""Make a vault: a root, a policy, environment keys and a recovery key; nothing is asked of one person."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from vault.actions import draft_files, key_services, keyring, objects
from vault.actions.draft_files import Draft
from vault.actions.session import HeldIdentity
from vault.core import ed25519, envelope, layout, limits, policy, policy_document, strict_json, trust
from vault.core.names import Digest, Environment, Principal
from vault.core.policy import EnvironmentRule, Epoch, Key, Member, Policy
from vault.core.policy import Recipient as RecipientId
from vault.core.trust import Root, RootKey
from vault.errors import Conflict, NotFound, Refused, Unavailable
from vault.keys import recipients
from vault.keys.recipients import Identity, Recipient
from vault.policyfile import PolicySource, PrincipalSource
from vault.ports import Random, Store

OWNER = Principal("owner")
FORMAT = 1
_README: Final = b"This folder is a model artifact vault."


@dataclass(frozen=True, slots=True)
class Joining:
    """A principal who joins at the start: its public keys, as `mvault identity export` prints them."""

    name: Principal
    public: bytes  # Ed25519, 32 bytes
    recipient: str | None  # without one it reads through key services alone


@dataclass(frozen=True, slots=True)
class Founded:
    """A new vault: its id (the digest of root 1), and the public half of its recovery identity.

    Where others must sign its first root and policy, it begins with these `drafts`.
    """

    vault: Digest
    recovery_recipient: str
    drafts: tuple[Draft, ...] = ()


@dataclass(frozen=True, slots=True)
class Founders:
    """Who is there from the start beside the owner.

    `keys` are those of principals whom the policy file names, `holders` the other
    holders of the root, of whom with the owner `threshold` must sign.
    """

    keys: Mapping[Principal, Sequence[Joining]] = field(default_factory=dict)
    holders: tuple[Joining, ...] = ()
    threshold: int = 1


ALONE: Final = Founders()


def init(
    store: Store,
    owner: HeldIdentity,
    source: PolicySource,
    *,
    kind: recipients.Kind,
    services: Sequence[Joining] = (),
    founders: Founders = ALONE,
    now: str,
    random: Random,
    keep_recovery: Callable[[str], None],
) -> Founded:
    """Write a new vault into an empty store, or where this owner's `init` was ended before it was through.

    `keep_recovery` is given the recovery identity before anything is written.
    `kind` is the age recipient kind of environment and recovery keys. Each of
    `services` becomes a service of the owner's, with the policy's role `loader`.
    With a threshold of more than one the vault is not there yet: what it needs is,
    and its first policy and root are drafts that the other founders sign.

    Raises:
        Conflict: there is a vault already, or what somebody else, or more than an `init`, left of one.
        ValueError: the identity's age key is of another kind, or the policy has no owner.
        Malformed: the policy does not hold together, so that no client would accept it.
        Unavailable: the store failed, or a key service did not answer; run it again.
        AccessDenied, NoUsableKey, MissingLibrary: a key service that the policy names cannot be used.
    """
    left = _unfinished(store, owner)
    people = [Joining(owner.name, owner.public, owner.recipient), *services]
    joined = [entry for name in source.principals for entry in founders.keys.get(name, ())]
    parsed = _age_keys([*people, *joined], source, kind)
    recovery = recipients.generate_identity(kind, random)
    private = {place: recipients.generate_identity(kind, random) for place in source.environments}
    first = _root(owner, founders, now, random)
    signer = [(Digest(owner.key_id), owner.sign)]
    root_payload = trust.encode(first)
    vault = envelope.digest(root_payload)
    public = {place: secret.recipient() for place, secret in private.items()}
    number = objects.lowest_free(left, 0, "policies")
    document = _policy(vault, number, people, source, founders, public, recovery.recipient(), now)
    policy_payload = policy_document.encode(document)
    policy_document.parse(policy_payload, "The policy")
    held = key_services.wrap_first(vault, document.environments, private)
    keep_recovery(recovery.encode())
    for recipient in (*parsed, *public.values(), recovery.recipient()):
        keyring.store_recipient(store, recipient.encode())
    for place, secret in private.items():
        _wrap(store, secret, place, document, parsed, recovery.recipient(), random)
    for place, service, copy in held:
        key_services.store_copy(store, service, place, 1, copy)
    objects.create(store, layout.VAULT, strict_json.encode({"format": FORMAT}))
    if founders.threshold > 1:
        drafts = tuple(
            draft_files.with_signature(draft, *signer[0])
            for draft in (draft_files.of_policy(document), draft_files.of_root(first))
        )
        return Founded(vault, recovery.recipient().encode(), drafts)
    objects.create(
        store,
        layout.policy(number),
        envelope.serialise(envelope.sign(policy.KIND, policy_payload, signer)),
    )
    about = readme(vault, kind).encode("utf-8")
    told = create_readme(store, about)
    # Last: before it there is no vault here, and a second try may begin anew.
    objects.create(store, layout.root(1), envelope.serialise(envelope.sign(trust.KIND, root_payload, signer)))
    tidy(store, left, None if told else about)
    return Founded(vault, recovery.recipient().encode())


def _age_keys(people: Sequence[Joining], source: PolicySource, kind: str) -> list[Recipient]:
    """Parse the age keys of people, of whom the owner is the first."""
    owner = people[0]
    if owner.recipient is None and not all(entry.key_services for entry in source.environments.values()):
        raise ValueError(
            f"{owner.name} has no age key, and could not read environments without key services."
        )
    found = []
    for entry in people:
        if entry.recipient is not None:
            parsed = recipients.parse_recipient(entry.recipient)
            if parsed.kind != kind:
                raise ValueError(
                    f"The age key of {entry.name} is {parsed.kind}, the vault's would be {kind}: "
                    "one kind is used throughout."
                )
            found.append(parsed)
    return found


def check_empty(store: Store) -> None:
    """Refuse a place where a vault is.

    Raises:
        Conflict: there is one.
        Unavailable: the store failed.
    """
    if objects.numbers(store, layout.ROOTS):
        raise _taken(
            f"There is a vault at {store.location} already.",
            store,
            "Use it (mvault trust), or choose an empty place.",
        )


def _unfinished(store: Store, owner: HeldIdentity) -> list[int]:
    """Give the numbers of policies that this owner's `init` left, ended before it came to root 1.

    Nobody can have trusted such a vault, and nothing can be in it. The root of a vault that was used
    may also be gone: then it is no place to begin anew.

    Raises:
        Conflict: there is a vault, or what is left of one.
        Unavailable: the store failed.
    """
    check_empty(store)
    left = objects.numbers(store, layout.POLICIES)
    for number in left:
        if not _is_first(store, number, owner):
            raise _taken(
                f"At {store.location} is what is left of a vault, or the start of somebody else's: "
                f"{layout.policy(number)}.",
                store,
                "Restore its root from a backup, or choose an empty place.",
            )
    if (left or _is_begun(store)) and any(f"/{layout.MARK}/" in name for name in store.list(layout.MODELS)):
        raise _taken(
            f"The vault at {store.location} has lost its root: there are models in it.",
            store,
            "Restore trust/root/000001.json from a backup, or choose an empty place.",
        )
    return left


def _is_begun(store: Store) -> bool:
    try:
        store.stat(layout.VAULT)
    except NotFound:
        return False
    return True


def _is_first(store: Store, number: int, owner: HeldIdentity) -> bool:
    """Tell whether a policy has no predecessor and is signed by this owner, as `init` makes them."""
    subject = layout.policy(number)
    try:
        data = objects.read_listed(store, subject, limit=limits.ENVELOPE_BYTES)
        sealed = envelope.parse(data, kind=policy.KIND, subject=subject)
        envelope.require_signer(sealed, {Digest(owner.key_id): owner.public}, subject)
        return policy_document.parse(sealed.payload, subject).prev is None
    except Refused:
        return False


def _taken(message: str, store: Store, hint: str) -> Conflict:
    return Conflict(message, subject=store.location, hint=hint)


def create_readme(store: Store, about: bytes) -> bool:
    """Write the text for people, unless there is one: the user's own, or that of an unfinished `init`."""
    try:
        objects.create(store, layout.README, about)
    except Conflict:
        return False
    return True


def tidy(store: Store, left: list[int], about: bytes | None) -> None:
    """Once the vault is there, take away what an unfinished `init` left that could confuse people.

    Not before: another process may be at it too, and only the one that writes root 1 is right.
    """
    with suppress(Unavailable, Conflict, NotFound, Refused):
        for number in left:
            store.delete(layout.policy(number))
        if about is not None and store.read(layout.README, limit=limits.DOCUMENT_BYTES).startswith(_README):
            store.delete(layout.README)
            objects.create(store, layout.README, about)


def _root(owner: HeldIdentity, founders: Founders, now: str, random: Random) -> Root:
    return Root(
        version=1,
        vault=None,
        prev=None,
        created=now,
        expires=None,  # its fingerprint is the vault's; the first change of holders brings an expiry
        threshold=founders.threshold,
        keys=(
            RootKey(owner.name, owner.public),
            *(RootKey(holder.name, holder.public) for holder in founders.holders),
        ),
        nonce=random(16),
    )


def _policy(
    vault: Digest,
    number: int,
    people: Sequence[Joining],
    source: PolicySource,
    founders: Founders,
    public: Mapping[Environment, Recipient],
    recovery: Recipient,
    now: str,
) -> Policy:
    owner, *services = people
    template = source.principals.get(OWNER)
    if template is None:
        raise ValueError("The policy has no principal 'owner', for whom the new identity would stand.")
    loader = Principal("loader")
    members = {owner.name: _member([owner], template)}
    for name, entry in source.principals.items():
        if founders.keys.get(name) and name not in members:
            owners = tuple(owner.name if who == OWNER else who for who in entry.owners)
            members[name] = _member(founders.keys[name], replace(entry, owners=owners))
    for joining in services:
        if joining.name in members:
            raise ValueError(f"{joining.name} is named twice.")
        described = PrincipalSource(policy.SERVICE, (owner.name,), (loader,), None)
        members[joining.name] = _member([joining], described)
    epochs = {name: (Epoch(1, _recipient_id(found)),) for name, found in public.items()}
    return Policy(
        vault=vault,
        root_version=1,
        root_digest=vault,
        era=0,
        version=number,
        prev=None,
        created=now,
        expires=None,
        members=members,
        roles=source.roles,
        environments={
            name: EnvironmentRule(
                name, epochs[name], entry.formats, entry.require, entry.hashed, entry.key_services
            )
            for name, entry in source.environments.items()
        },
        recovery=(_recipient_id(recovery),),
    )


def _member(joining: Sequence[Joining], described: PrincipalSource) -> Member:
    public = [ed25519.PublicKey.parse(entry.public) for entry in joining]
    return Member(
        name=joining[0].name,
        kind=described.kind,
        owners=described.owners,
        roles=described.roles,
        models=described.models,
        keys=tuple(Key(key.raw, Digest(key.key_id), revoked=False, until=None) for key in public),
        recipients=tuple(
            _recipient_id(recipients.parse_recipient(entry.recipient))
            for entry in joining
            if entry.recipient is not None
        ),
    )


def _recipient_id(found: Recipient) -> RecipientId:
    return RecipientId(found.kind, keyring.recipient_digest(found.encode()))


def _wrap(
    store: Store,
    secret: Identity,
    environment: Environment,
    document: Policy,
    parsed: Sequence[Recipient],
    recovery: Recipient,
    random: Random,
) -> None:
    """Wrap one environment's key for everybody who reads there, and for recovery."""
    known = {_recipient_id(found): found for found in parsed}
    for member in policy.readers(document, environment):
        for entry in member.recipients:
            keyring.wrap_environment_key(store, secret, environment, 1, member.name, known[entry], random)
    keyring.wrap_environment_key(store, secret, environment, 1, layout.RECOVERY, recovery, random)


def readme(vault: Digest, kind: str) -> str:
    """Write the text that stays with the vault: what it is, and how to recover without this software."""
    program = (
        "age 1.3 or newer, or npm age-encryption"
        if kind == "mlkem768x25519"
        else "any age program, 1.0 or newer"
    )
    return f"""{_README.decode("ascii")}

Vault id: sha256:{vault}

It holds machine-learning models: encrypted (age v1), signed (Ed25519 in DSSE envelopes) and
governed by a signed policy. Use it with the command `mvault` (Python package
model-artifact-vault). Before anything in it is trusted, compare the vault id with the one its
owner tells you by another way:

    mvault trust LOCATION --root sha256:{vault}

Do not edit, rename or delete anything here by hand: nothing that was changed is ever loaded.

WHAT LIES WHERE
    trust/                                   who may do what, signed
    keys/ENVIRONMENT/all/EPOCH/WHO/*.age     an environment's private key, wrapped for one reader
    models/MODEL/@/VERSION/manifest.json     what a version is, signed
    models/MODEL/@/VERSION/sealed/           which encrypted file is which, signed
    models/MODEL/@/VERSION/files/ID          encrypted content, without its header
    models/MODEL/@/VERSION/keys/ENVIRONMENT-EPOCH/ID-*   its age header
    channels/ENVIRONMENT/                    which version an environment uses, signed

EMERGENCY RECOVERY, WITHOUT THIS SOFTWARE
You need the recovery identity (a line AGE-SECRET-KEY-..., which `mvault init` wrote to a file
that belongs offline) and {program}.

  1. Unwrap the environment's key with the recovery identity:

         age -d -i recovery.txt keys/dev/all/1/recovery/*.age > environment.txt

  2. Read a version's manifest and sealing record to see which file is which. Both are JSON; what
     was signed is the base64 text in "payload":

         python3 -c "import base64,json,sys; print(json.dumps(json.loads(
             base64.b64decode(json.load(sys.stdin)['payload'])), indent=1))" \\
             < models/MODEL/@/VERSION/sealed/000001.json

  3. Put the header of a file and its content together and decrypt:

         cat models/MODEL/@/VERSION/keys/dev-1/ID-* models/MODEL/@/VERSION/files/ID \\
             | age -d -i environment.txt > recovered

  metadata.json, one of the files, names the SHA-256 of every other file, as sha256sum prints it.

Recovery decrypts; it does not verify signatures. Before a recovered model is used, compare its
SHA-256 with metadata.json, and the SHA-256 of metadata.json with the signed manifest.
"""
