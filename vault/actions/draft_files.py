"""Drafts of policies and roots: files that people pass around, and that each signs in turn.

A draft is the envelope as it will be stored, with as many signatures as it has
so far (docs/format.md, "Drafts"). Whoever hands one on may have changed it, so
it is read like anything else from a stranger.
"""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from vault.actions import local_files
from vault.core import ed25519, envelope, limits, policy, policy_document, strict_json, trust
from vault.core.envelope import Envelope, Signature
from vault.core.names import Digest
from vault.core.policy import Policy
from vault.core.trust import Root
from vault.errors import Conflict, Malformed, Unavailable

OTHER_NAME = "Choose another name (-o FILE), or move that file away first."


@dataclass(frozen=True, slots=True)
class Draft:
    """One draft: the envelope as received, and what its payload says. Nothing in it is trusted yet."""

    envelope: Envelope
    document: Policy | Root
    subject: str

    @property
    def kind(self) -> str:
        """`policy` or `root`."""
        return policy.KIND if isinstance(self.document, Policy) else trust.KIND

    @property
    def digest(self) -> Digest:
        """The digest of its payload, which does not change while people sign."""
        return self.envelope.digest

    @property
    def vault(self) -> Digest:
        """The vault that it is for; a first root founds its own."""
        return self.document.vault or self.digest


def parse(data: bytes, subject: str) -> Draft:
    """Parse a draft; messages call it `subject`.

    Raises:
        Malformed: it is no envelope of a policy or a root, or its payload is malformed.
    """
    kind = _kind(data, subject)
    sealed = envelope.parse(data, kind=kind, subject=subject)
    document: Policy | Root
    if kind == policy.KIND:
        document = policy_document.parse(sealed.payload, subject)
    else:
        document = trust.parse(sealed.payload, subject)
    return Draft(sealed, document, subject)


def _kind(data: bytes, subject: str) -> str:
    """Tell which of the two kinds a draft says it is; `envelope.parse` then demands that kind."""
    value = strict_json.parse(data, limit=limits.ENVELOPE_BYTES, subject=subject)
    told = value.get("payloadType") if isinstance(value, dict) else None
    for kind in (policy.KIND, trust.KIND):
        if told == envelope.payload_type(kind):
            return kind
    raise Malformed(
        f"{subject} is no draft of a policy or a root.",
        code="wrong-payload-type",
        subject=subject,
        hint="Make one: mvault policy draft FILE.yaml, or mvault root draft",
    )


def of_policy(document: Policy, subject: str = "the draft") -> Draft:
    """Make a draft that nobody has signed yet; it is read back, so that what is wrong is told now.

    Raises:
        Malformed: the policy does not hold together.
    """
    sealed = envelope.sign(policy.KIND, policy_document.encode(document), ())
    return parse(envelope.serialise(sealed), subject)


def of_root(document: Root, subject: str = "the draft") -> Draft:
    """Make a draft of a root that nobody has signed yet.

    Raises:
        Malformed: its threshold is higher than the number of its people, or a key is listed twice.
    """
    return parse(envelope.serialise(envelope.sign(trust.KIND, trust.encode(document), ())), subject)


def read(path: Path) -> Draft:
    """Read a draft from a file.

    Raises:
        NotFound, Unavailable: it is not there, or cannot be read.
        ValueError: it is no regular file.
        Malformed: as `parse`.
    """
    with local_files.view(path) as whole:
        data = bytes(whole[: limits.ENVELOPE_BYTES + 1])
    return parse(data, str(path))


def with_signature(draft: Draft, key_id: Digest, sign: Callable[[bytes], bytes]) -> Draft:
    """Add one signature, in place of another by the same key."""
    message = envelope.pae(draft.envelope.payload_type, draft.envelope.payload)
    others = [entry for entry in draft.envelope.signatures if entry.key_id != key_id]
    return _signed(draft, [*others, Signature(key_id, sign(message))])


def keeping(draft: Draft, keys: Mapping[Digest, bytes]) -> Draft:
    """Drop signatures by `keys` that do not verify, and those by other keys where there are too many.

    Another key may be a new root holder's, whose root this client was not given.
    """
    verified = _verified(draft, keys)
    others = [entry for entry in draft.envelope.signatures if entry.key_id not in keys]
    return _signed(draft, [*verified, *others[: max(0, limits.SIGNATURES - len(verified))]])


def _verified(draft: Draft, keys: Mapping[Digest, bytes]) -> list[Signature]:
    message = envelope.pae(draft.envelope.payload_type, draft.envelope.payload)
    found = {
        entry.key_id: entry
        for entry in draft.envelope.signatures
        if entry.key_id in keys and ed25519.verify(keys[entry.key_id], entry.value, message)
    }
    return list(found.values())


def merged(one: Draft, other: Draft) -> Draft:
    """Put together what people signed on two copies of the same draft.

    Raises:
        ValueError: they are not the same draft.
    """
    if one.digest != other.digest:
        raise ValueError(f"{one.subject} and {other.subject} are two different drafts.")
    return _signed(one, [*one.envelope.signatures, *other.envelope.signatures])


def _signed(draft: Draft, signatures: Iterable[Signature]) -> Draft:
    ordered = {(entry.key_id, entry.value): entry for entry in signatures}
    return replace(
        draft,
        envelope=replace(draft.envelope, signatures=tuple(ordered[key] for key in sorted(ordered))),
    )


def write_new(path: Path, draft: Draft) -> None:
    """Write a new draft; never over another file.

    Raises:
        Conflict: there is a file of that name.
        Unavailable: it cannot be written.
    """
    check_free(path)
    _replace(path, envelope.serialise(draft.envelope))


def check_free(path: Path, hint: str = OTHER_NAME) -> None:
    """Refuse where a new draft would be written over another file.

    Raises:
        Conflict: there is a file of that name.
    """
    if path.exists() or path.is_symlink():
        raise Conflict(f"{path} exists and was left as it is.", subject=str(path), hint=hint)


def update(path: Path, change: Callable[[Draft], Draft]) -> Draft:
    """Read a draft, change it and put it back as a whole; two people at once lose neither signature.

    Raises:
        NotFound, Unavailable, ValueError, Malformed: as `read`; what is there stays as it was.
    """
    with _locked(path.parent):
        before = read(path)
        after = change(before)
        if after != before:
            _replace(path, envelope.serialise(after.envelope))
    return after


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock on a folder, which leaves no file behind."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(f"{folder} cannot be opened: {error.strerror}.", subject=str(folder)) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, data: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(aside, flags, 0o644)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Unavailable(
            f"{path} was not written: {error.strerror}.",
            code="storage-denied",
            subject=str(path),
            hint="Name another place (-o FILE), one that you may write to.",
        ) from None
