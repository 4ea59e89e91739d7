"""The keys behind a package: environment keys by identity, file keys by environment key.

Everything here is an ordinary age file or header, so that a stock age program
opens it without us (docs/format.md, "Keys").
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

from vault.actions import key_services, objects
from vault.actions.session import HeldIdentity, Session
from vault.core import age, envelope, layout, limits, names
from vault.core.names import Digest, Environment, Model, Version
from vault.core.policy import EnvironmentRule, Epoch, Policy
from vault.core.policy import Recipient as RecipientId
from vault.core.records import SealedFile, SealingRecord
from vault.errors import DigestMismatch, Malformed, NotFound, NoUsableKey, Refused
from vault.keys import recipients
from vault.keys.recipients import Identity, Recipient
from vault.ports import Random, Store


def recipient_digest(text: str) -> Digest:
    """Give the digest by which the policy names a recipient: SHA-256 of its Bech32 text."""
    return Digest(hashlib.sha256(text.encode("ascii")).hexdigest())


def recipient(session: Session, wanted: RecipientId) -> Recipient:
    """Give the public age key that the policy names by digest.

    Raises:
        DigestMismatch: what lies there has another digest.
        Malformed: it is no recipient, or one of another kind.
        NotFound, Unavailable: it cannot be read.
    """
    if wanted.digest not in session.recipients:
        name = layout.recipient(wanted.digest)
        data = session.store.read(name, limit=limits.RECIPIENT_CHARS)
        if hashlib.sha256(data).hexdigest() != wanted.digest:
            raise DigestMismatch(f"{name} was altered: its digest is not its name.", subject=name)
        found = recipients.parse_recipient(data.decode("ascii", "replace"))
        if found.kind != wanted.kind:
            raise Malformed(f"{name} is of another kind than the policy says.", subject=name)
        session.recipients[wanted.digest] = found
    return session.recipients[wanted.digest]


def store_recipient(store: Store, text: str) -> Digest:
    """Put a recipient where the policy's digest of it leads; give that digest."""
    digest = recipient_digest(text)
    objects.create(store, layout.recipient(digest), text.encode("ascii"))
    return digest


# --- environment keys ---


def environment_key(session: Session, environment: Environment, epoch: int) -> Identity:
    """Unwrap an environment's private age key with this identity; kept while the vault is open.

    A copy that is wrapped to the identity itself comes first; then those that key services hold.

    Raises:
        NoUsableKey: nothing there opens with this identity.
        Refused: what opens is not the key whose public half the policy names (`key-mismatch`); or a key
            service refuses (`key-service-denied`), or does not open what is stored for it.
        Unavailable: the store failed, or a key service did not answer.
    """
    place = (environment, epoch)
    if place not in session.environment_keys:
        policy = session.trust().policy
        entry = policy.environments[environment]
        wanted = next(item.recipient.digest for item in entry.epochs if item.number == epoch)
        try:
            found = _unwrap(session.store, policy, session.identity, environment, epoch, wanted)
        except (NoUsableKey, Refused) as failure:
            if not key_services.may_read(policy, entry, Digest(session.identity.key_id)):
                raise
            found = key_services.unwrap_any(
                session,
                (entry, epoch),
                partial(_candidates, session.store),
                lambda line, name: _identity_for(line, wanted, name),
                failure,
            )
        session.environment_keys[place] = found
    return session.environment_keys[place]


def _unwrap(
    store: Store, policy: Policy, holder: HeldIdentity, environment: Environment, epoch: int, wanted: Digest
) -> Identity:
    member = policy.holder(Digest(holder.key_id))
    refused: Refused | None = None
    if member is not None and holder.age_identity is not None and holder.recipient is not None:
        mine = recipients.parse_identity(holder.age_identity)
        own = layout.copies_for(recipient_digest(holder.recipient))
        folder = layout.environment_keys(environment, epoch, member.name)
        for name, data in _candidates(store, _copies(store, folder, own)):
            try:
                line = recipients.decrypt_bytes(data, [mine], limit=limits.RECIPIENT_CHARS)
                return _identity_for(line, wanted, name)
            except NoUsableKey:
                if name.startswith(folder + own):
                    refused = refused or _altered(name)  # others may be anybody's
            except Refused as refusal:
                refused = refused or refusal
    if refused is not None:
        raise refused
    raise NoUsableKey(
        f"The key of {environment} is not wrapped for this identity.",
        subject=environment,
        hint=f"Nothing there can be read until somebody who holds it runs: mvault access sync {environment}",
    )


def recovered_key(store: Store, held: Identity, environment: Environment, epoch: Epoch) -> Identity:
    """Unwrap an environment's private age key with a recovery identity, which is in no policy.

    Raises:
        NoUsableKey: no copy opens with it.
        Refused: what opens is not the key that the policy names (`key-mismatch`).
        Unavailable: the store failed.
    """
    folder = layout.environment_keys(environment, epoch.number, layout.RECOVERY)
    own = layout.copies_for(recipient_digest(held.recipient().encode()))
    refused: Refused | None = None
    for name, data in _candidates(store, _copies(store, folder, own)):
        try:
            line = recipients.decrypt_bytes(data, [held], limit=limits.RECIPIENT_CHARS)
            return _identity_for(line, epoch.recipient.digest, name)
        except NoUsableKey:
            continue  # anybody's
        except Refused as refusal:  # its recipient is public, so anybody can wrap something to it
            refused = refused or refusal
    raise refused or NoUsableKey(
        f"The key of {environment} is not wrapped for this recovery identity.", subject=environment
    )


def _copies(store: Store, folder: str, own: str) -> Iterator[str]:
    """List wrapped copies, those named after this recipient first: what others put there hides none."""
    others = (name for name in store.list(folder) if not name.startswith(folder + own))
    found = chain(store.list(folder + own), others)
    return islice((name for name in found if layout.is_copy(name.removeprefix(folder))), limits.KEY_NAMES)


def _candidates(store: Store, listed: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Read what may hold a key: first what is named after its content, as every genuine object is.

    Anybody can put files there; to hide a genuine one they must at least be well made.
    """
    fitting = 0
    others: list[str] = []
    for name in listed:
        try:
            data = store.read(name, limit=limits.AGE_HEADER_BYTES)
        except Refused:  # larger than any
            continue
        if layout.fits_content(name, envelope.digest(data)):
            yield name, data
            fitting += 1
            if fitting == limits.KEY_CANDIDATES:
                break
        elif len(others) < limits.KEY_CANDIDATES:
            others.append(name)
    for name in others:
        yield name, store.read(name, limit=limits.AGE_HEADER_BYTES)


def _altered(name: str) -> DigestMismatch:
    return DigestMismatch(
        f"{name} was altered: it is named after this identity, which does not open it.",
        code="decrypt-failed",
        subject=name,
        hint="Restore it from a backup, or have the key granted again.",
    )


def _identity_for(line: bytes, wanted: Digest, name: str) -> Identity:
    found = recipients.parse_identity(line.decode("ascii", "replace").removesuffix("\n"))
    if recipient_digest(found.recipient().encode()) != wanted:
        raise DigestMismatch(
            f"{name} holds another key than the policy names.",
            code="key-mismatch",
            subject=name,
            hint="Somebody put it there. The right copy may lie beside it: mvault check",
        )
    return found


def wrap_environment_key(
    store: Store,
    private: Identity,
    environment: Environment,
    epoch: int,
    principal: names.Principal,
    to: Recipient,
    random: Random,
) -> None:
    """Store one wrapped copy of an environment's key: an age file whose plaintext is an identity line."""
    file = recipients.encrypt_bytes(f"{private.encode()}\n".encode("ascii"), [to], random)
    name = layout.environment_key(
        environment, epoch, principal, recipient_digest(to.encode()), envelope.digest(file)
    )
    objects.create(store, name, file)


# --- file keys ---


def wrap_file_key(
    session: Session,
    model: Model,
    version: Version,
    file_id: bytes,
    file_key: bytes,
    entry: EnvironmentRule,
) -> None:
    """Store one payload's age header for the newest epoch of an environment.

    Raises:
        Refused, NotFound, Unavailable: the environment's public key cannot be had, or the store failed.
    """
    objects.create(session.store, *header_for(session, model, version, file_id, file_key, entry))


def header_for(
    session: Session,
    model: Model,
    version: Version,
    file_id: bytes,
    file_key: bytes,
    entry: EnvironmentRule,
) -> tuple[str, bytes]:
    """Give the name and the bytes of one payload's age header for the newest epoch of an environment.

    Raises:
        Refused, NotFound, Unavailable: the environment's public key cannot be had.
    """
    epoch = newest_epoch(entry)
    to = recipient(session, entry.epochs[-1].recipient)
    header = recipients.wrap(file_key, [to], session.random)
    return layout.header(model, version, entry.name, epoch, file_id.hex(), envelope.digest(header)), header


def newest_epoch(entry: EnvironmentRule) -> int:
    """Give the number of an environment's newest epoch.

    Raises:
        NotFound: the environment has no key yet.
    """
    if not entry.epochs:
        raise NotFound(f"{entry.name} has no key yet, so nothing can be stored for it.", subject=entry.name)
    return entry.epochs[-1].number


@dataclass(frozen=True, slots=True)
class FileKeys:
    """What a search for file keys came to: those found by file id, and what stood in the way of the rest.

    `seen` are the files that have a header there, whoever put it; `locked` says
    why an environment key could not be had.
    """

    found: Mapping[bytes, bytes]
    seen: frozenset[bytes]
    locked: Refused | NoUsableKey | None


def search_file_keys(
    session: Session,
    record: SealingRecord,
    entry: EnvironmentRule,
    wanted: Iterable[SealedFile],
    listed: Mapping[int, Sequence[str]] | None = None,
) -> FileKeys:
    """Unwrap what can be unwrapped of the wanted files' keys, newest epoch first.

    `listed` are the names in the folders of headers by epoch, where the caller has listed them.

    Raises:
        Unavailable: the store failed.
    """
    left = {file.file_id: file for file in wanted}
    found: dict[bytes, bytes] = {}
    seen: set[bytes] = set()
    locked: Refused | NoUsableKey | None = None
    for epoch in reversed(entry.epochs):
        if not left:
            break
        folder = layout.header_folder(record.model, record.version, entry.name, epoch.number)
        leaves = _leaves(session.store, folder) if listed is None else listed.get(epoch.number, ())
        headers = _headers(folder, leaves, left)
        seen.update(headers)
        for file_id, candidates in headers.items():
            try:
                private = environment_key(session, entry.name, epoch.number)
            except (Refused, NoUsableKey) as error:
                locked = locked or error  # a stranger may have put these headers there: look at older ones
                break
            key = _open_header(session.store, candidates, private, left[file_id])
            if key is not None:
                found[file_id] = key
                del left[file_id]
    return FileKeys(found, frozenset(seen), locked)


def file_keys(
    session: Session, record: SealingRecord, entry: EnvironmentRule, wanted: Iterable[SealedFile]
) -> Mapping[bytes, bytes]:
    """Unwrap the keys of the wanted files for an environment, newest epoch first: file id → file key.

    Raises:
        NotFound: a file has no header for this environment.
        NoUsableKey: this identity does not hold the environment's key.
        DigestMismatch: no header yields the key that was signed for (`key-mismatch`).
    """
    files = list(wanted)
    search = search_file_keys(session, record, entry, files)
    for file in files:
        if file.file_id not in search.found:
            raise search.locked or missing_key(search, record, entry, file)
    return search.found


def missing_key(
    search: FileKeys, record: SealingRecord, entry: EnvironmentRule, file: SealedFile
) -> NotFound | DigestMismatch:
    """Say why a file's key was not found, where the environment's key could be had."""
    subject = f"{record.model}:{record.version} {file.path}"
    if file.file_id not in search.seen:
        return NotFound(
            f"{subject} was never given to {entry.name}: there is no key for it there.", subject=subject
        )
    return DigestMismatch(
        f"{subject}: no key that is stored for {entry.name} is the one that was signed for.",
        code="key-mismatch",
        subject=subject,
        hint="The header was altered or belongs to another file. Restore it, or promote again.",
    )


def _leaves(store: Store, folder: str) -> Iterator[str]:
    return (name.removeprefix(folder) for name in store.list(folder))


def _headers(
    folder: str, leaves: Iterable[str], wanted: Mapping[bytes, SealedFile]
) -> dict[bytes, list[str]]:
    found: dict[bytes, list[str]] = {}
    by_name = {file_id.hex(): file_id for file_id in wanted}
    for leaf in leaves:
        file_id = by_name.get(layout.parse_header(leaf) or "")
        if file_id is not None:
            candidates = found.setdefault(file_id, [])
            if len(candidates) < limits.KEY_NAMES:
                candidates.append(folder + leaf)
    return found


def _open_header(store: Store, candidates: list[str], private: Identity, file: SealedFile) -> bytes | None:
    for _, data in _candidates(store, candidates):
        try:
            key = recipients.unwrap(age.parse_detached_header(data), [private])
            age.check_file_key(key, file.file_id, file.key_check)
        except (Refused, NoUsableKey):
            continue  # another candidate may be the genuine one: anybody can put one there
        return key
    return None
