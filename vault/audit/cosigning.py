"""Witness a log, and find what witnesses have said of it (docs/format.md, "Cosignatures").

A witness reads the log from what it remembers, keeps the new head in mind, and
only then lets its signature out: so it never signs two histories.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from vault.audit.reading import LogReader, certified_note, read_commit
from vault.core import layout, limits, log_commit, log_keys, log_names, log_proof, log_witness, note
from vault.core.log_chain import Head
from vault.core.log_names import Log
from vault.core.log_proof import SignedCheckpoint
from vault.core.log_witness import Cosigned
from vault.core.names import Digest, Principal
from vault.core.note import Checkpoint, Line, LogSigner, Note
from vault.core.policy import Policy
from vault.errors import Conflict, NotFound, Refused, UntrustedSigner
from vault.ports import Clock, Store

_NOTE_BYTES: Final = 64 * limits.KIB


@dataclass(frozen=True, slots=True)
class CosignedNote:
    """One checkpoint of a size with every cosignature that lies there, and who signed it for the log."""

    note: Note
    checkpoint: Checkpoint
    writer: Principal


def cosign(
    store: Store,
    log: Log,
    policy: Policy,
    signer: LogSigner,
    certificate: bytes,
    *,
    known: Head | None,
    clock: Clock,
    remember: Callable[[Head], None],
    seen: Mapping[int, bytes] | None = None,
) -> Head:
    """Verify a log from what this witness remembers, and cosign its newest checkpoint; give its head.

    `remember` makes the head durable; it is called before the cosignature can
    be seen by anybody. A log without entries is not cosigned.

    Raises:
        LogInconsistent: the log does not extend what this witness has cosigned; nothing is signed.
        UntrustedSigner: the policy does not let this identity witness the log.
        Unavailable: the store failed; `remember` may have been called.
        ValueError: the certificate is for another key.
    """
    who = log_keys.verify(certificate, policy, log, log_keys.WITNESS, f"the witness key of {log}")
    if who.key != signer.public:
        raise ValueError("the certificate is for another key")
    if who.principal is None or not log_keys.may_witness(policy, log, who):
        raise UntrustedSigner(
            f"{who.principal or 'This identity'} may not witness the log {log}.",
            subject=str(log),
            hint="Who may is told by: mvault policy who-can witness",
        )
    newest = LogReader(store, log, policy, known=known, seen=seen).read(start=known).newest
    if not newest.size:
        return newest.head
    subject = f"commit {newest.number} of {log}"
    signed = certified_note(log_commit.parse(read_commit(store, log, newest.number), subject))
    found = log_proof.signed_by(signed, policy, log, subject).checkpoint
    if (found.size, found.root) != (newest.size, newest.root):
        raise Conflict(f"{subject} changed while it was witnessed.", subject=subject, hint="Try again.")
    remember(newest.head)
    name = log_names.witness_name(policy.vault, who.principal)
    lines = [
        note.cosign(signed.text, name, clock(), signer),
        log_keys.certificate_line(name, certificate),
    ]
    _write(store, log, newest.size, who.principal, signed.added(lines).encode())
    return newest.head


def _write(store: Store, log: Log, size: int, witness: Principal, data: bytes) -> None:
    content = Digest(hashlib.sha256(data).hexdigest())
    name = log.cosignature(size, witness, content)
    try:
        with store.create(name, size=len(data)) as sink:
            sink.write(data)
    except Conflict:
        if store.read(name, limit=_NOTE_BYTES) != data:
            raise


def sizes(store: Store, log: Log) -> list[int]:
    """List the sizes for which there may be cosignatures, ascending.

    Raises:
        Unavailable: the store failed.
    """
    found = []
    for name in store.list_folders(f"{log.folder}cosigned/"):
        part = name.removesuffix("/")
        if part.isascii() and part.isdecimal() and log.cosigned(int(part)).endswith(f"/{part}/"):
            found.append(int(part))
    return sorted(found)


def collect(store: Store, log: Log, policy: Policy, size: int) -> tuple[CosignedNote, ...]:
    """Give every checkpoint of a size that who may write the log has signed, with its cosignatures.

    There is one, or somebody has kept two histories and a witness has seen the
    other. At most `limits.LOG_COSIGNATURES` objects are read.

    Raises:
        Unavailable: the store failed.
    """
    folder = log.cosigned(size)
    found: dict[bytes, SignedCheckpoint] = {}
    lines: dict[bytes, dict[Principal, tuple[Line, ...]]] = {}
    leaves = [leaf for leaf in store.list_folders(folder) if log_names.parse_cosignature(leaf)]
    for leaf in leaves[: limits.LOG_COSIGNATURES]:
        try:
            data = store.read(folder + leaf, limit=_NOTE_BYTES)
            held = note.parse(data, folder + leaf)
            signed = log_proof.signed_by(held, policy, log, folder + leaf)
        except (NotFound, Refused):
            continue
        named = layout.fits_content(leaf, Digest(hashlib.sha256(data).hexdigest()))
        if not named or signed.checkpoint.size != size:
            continue
        found.setdefault(held.text, signed)
        for cosigned in log_witness.cosigners(held, policy, log, ()):
            lines.setdefault(held.text, {}).setdefault(cosigned.witness, cosigned.lines)
    return tuple(
        CosignedNote(
            Note(text, signed.lines).added(line for pair in lines.get(text, {}).values() for line in pair),
            signed.checkpoint,
            signed.writer,
        )
        for text, signed in found.items()
    )


def witnesses_of(found: CosignedNote, policy: Policy, log: Log) -> frozenset[Principal]:
    """Name everybody whose cosignature a checkpoint carries, also where it does not count for its writer."""
    return frozenset(entry.witness for entry in log_witness.cosigners(found.note, policy, log, ()))


def cosigners(
    store: Store, log: Log, policy: Policy, head: Head, *, apart_from: tuple[Principal, ...] = ()
) -> tuple[Cosigned, ...]:
    """Give the witnesses of a head who count, each once.

    Raises:
        Unavailable: the store failed.
    """
    for found in collect(store, log, policy, head.size):
        if found.checkpoint.root == head.root:
            return log_witness.cosigners(found.note, policy, log, (found.writer, *apart_from))
    return ()
