"""Make a vault: a root, a policy, environment keys and a recovery key; nothing is asked of one person."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vault.actions import keyring, objects
from vault.actions.session import HeldIdentity
from vault.core import ed25519, envelope, layout, policy, policy_document, strict_json, trust
from vault.core.names import Digest, Environment, Principal
from vault.core.policy import EnvironmentRule, Epoch, Key, Member, Policy
from vault.core.policy import Recipient as RecipientId
from vault.core.trust import Root, RootKey
from vault.errors import Conflict, NotFound
from vault.keys import recipients
from vault.keys.recipients import Identity, Recipient
from vault.policyfile import PolicySource, PrincipalSource
from vault.ports import Random, Store

OWNER = Principal("owner")
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Joining:
    """A principal who joins at the start: its public keys, as `mvault identity export` prints them."""

    name: Principal
    public: bytes  # Ed25519, 32 bytes
    recipient: str


@dataclass(frozen=True, slots=True)
class Founded:
    """A new vault: its id (the digest of root 1), and the public half of its recovery identity."""

    vault: Digest
    recovery_recipient: str


def init(
    store: Store,
    owner: HeldIdentity,
    source: PolicySource,
    *,
    kind: recipients.Kind,
    services: Sequence[Joining] = (),
    now: str,
    random: Random,
    keep_recovery: Callable[[str], None],
) -> Founded:
    """Write a new vault into an empty store; the policy is the last thing written, and the README after it.

    `keep_recovery` is given the recovery identity before anything is written.
    `kind` is the age recipient kind of environment and recovery keys. Each of
    `services` becomes a service of the owner's, with the policy's role `loader`.

    Raises:
        Conflict: there is a vault already.
        ValueError: the identity's age key is of another kind, or the policy has no owner.
        Malformed: the policy does not hold together, so that no client would accept it.
        Unavailable: the store failed; run it again in an empty place.
    """
    check_empty(store)
    people = [Joining(owner.name, owner.public, owner.recipient), *services]
    parsed = {entry.name: recipients.parse_recipient(entry.recipient) for entry in people}
    for name, found in parsed.items():
        if found.kind != kind:
            raise ValueError(
                f"The age key of {name} is {found.kind}, the vault's would be {kind}: "
                "one kind is used throughout."
            )
    recovery = recipients.generate_identity(kind, random)
    private = {place: recipients.generate_identity(kind, random) for place in source.environments}
    first = _root(owner, now, random)
    signer = [(Digest(owner.key_id), owner.sign)]
    root_payload = trust.encode(first)
    vault = envelope.digest(root_payload)
    public = {place: secret.recipient() for place, secret in private.items()}
    document = _policy(vault, people, source, public, recovery.recipient(), now)
    policy_payload = policy_document.encode(document)
    policy_document.parse(policy_payload, "The policy")
    keep_recovery(recovery.encode())
    for recipient in (*parsed.values(), *public.values(), recovery.recipient()):
        keyring.store_recipient(store, recipient.encode())
    for place, secret in private.items():
        _wrap(store, secret, place, document, parsed, recovery.recipient(), random)
    objects.create(store, layout.VAULT, strict_json.encode({"format": FORMAT}))
    objects.create(
        store,
        layout.policy(1),
        envelope.serialise(envelope.sign(policy.KIND, policy_payload, signer)),
    )
    objects.create(store, layout.README, readme(vault, kind).encode("utf-8"))
    # Last: before it there is no vault here, and a second try finds the place free.
    objects.create(store, layout.root(1), envelope.serialise(envelope.sign(trust.KIND, root_payload, signer)))
    return Founded(vault, recovery.recipient().encode())


def check_empty(store: Store) -> None:
    """Refuse a place where a vault is, or was begun.

    Raises:
        Conflict: there is one.
        Unavailable: the store failed.
    """
    for name in (layout.root(1), layout.policy(1), layout.VAULT):
        try:
            store.stat(name)
        except NotFound:
            continue
        raise Conflict(
            f"There is a vault at {store.location} already, or the start of one.",
            subject=store.location,
            hint="Use it (mvault trust), or choose an empty place.",
        )


def _root(owner: HeldIdentity, now: str, random: Random) -> Root:
    return Root(
        version=1,
        vault=None,
        prev=None,
        created=now,
        expires=None,  # a vault with one owner never expires
        threshold=1,
        keys=(RootKey(owner.name, owner.public),),
        nonce=random(16),
    )


def _policy(
    vault: Digest,
    people: Sequence[Joining],
    source: PolicySource,
    public: Mapping[Environment, Recipient],
    recovery: Recipient,
    now: str,
) -> Policy:
    owner, *services = people
    template = source.principals.get(OWNER)
    if template is None:
        raise ValueError("The policy has no principal 'owner', for whom the new identity would stand.")
    loader = Principal("loader")
    members = {owner.name: _member(owner, template)}
    for joining in services:
        if joining.name in members:
            raise ValueError(f"{joining.name} is named twice.")
        described = PrincipalSource(policy.SERVICE, (owner.name,), (loader,), None)
        members[joining.name] = _member(joining, described)
    return Policy(
        vault=vault,
        root_version=1,
        root_digest=vault,
        era=0,
        version=1,
        prev=None,
        created=now,
        expires=None,
        members=members,
        roles=source.roles,
        environments={
            name: EnvironmentRule(
                name,
                (Epoch(1, _recipient_id(public[name])),),
                entry.formats,
                entry.require,
            )
            for name, entry in source.environments.items()
        },
        recovery=(_recipient_id(recovery),),
        log_writers=(),
        witnesses=(),
    )


def _member(joining: Joining, described: PrincipalSource) -> Member:
    public = ed25519.PublicKey.parse(joining.public)
    return Member(
        name=joining.name,
        kind=described.kind,
        owners=described.owners,
        roles=described.roles,
        models=described.models,
        keys=(Key(public.raw, Digest(public.key_id), revoked=False, until=None),),
        recipients=(_recipient_id(recipients.parse_recipient(joining.recipient)),),
    )


def _recipient_id(found: Recipient) -> RecipientId:
    return RecipientId(found.kind, keyring.recipient_digest(found.encode()))


def _wrap(
    store: Store,
    secret: Identity,
    environment: Environment,
    document: Policy,
    parsed: Mapping[Principal, Recipient],
    recovery: Recipient,
    random: Random,
) -> None:
    """Wrap one environment's key for everybody who reads there, and for recovery."""
    for member in policy.readers(document, environment):
        keyring.wrap_environment_key(store, secret, environment, 1, member.name, parsed[member.name], random)
    keyring.wrap_environment_key(store, secret, environment, 1, layout.RECOVERY, recovery, random)


def readme(vault: Digest, kind: str) -> str:
    """Write the text that stays with the vault: what it is, and how to recover without this software."""
    program = (
        "age 1.3 or newer, or npm age-encryption"
        if kind == "mlkem768x25519"
        else "any age program, 1.0 or newer"
    )
    return f"""This folder is a model artifact vault.

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
