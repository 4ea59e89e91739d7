"""Find one record by its id, by a document's digest or by a reference, and say where its evidence lies."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from vault.actions import logged, resolving, reviewing_logs, reviewing_proofs
from vault.actions.reviewing_indexing import Indexed
from vault.actions.session import Session
from vault.arguments import given, reference_of
from vault.core import (
    envelope,
    heads,
    layout,
    limits,
    log_commit,
    log_names,
    log_witness,
    manifest,
    names,
    note,
    policy,
    records,
    trust,
)
from vault.core.audit_record import ALLOW, AuditRecord
from vault.core.in_force import Channel
from vault.core.names import Digest, Reference
from vault.errors import LogInconsistent, NotFound, Refused

if TYPE_CHECKING:
    from vault.audit.query import Filter, Row

_LISTED: Final = 200  # objects of a folder that are looked at for one document
_ID: Final = re.compile(r"[0-9a-fA-F]{4,32}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where the evidence of a record lies: in which log, at which index, in which object of the store.

    `size` and `root` are the checkpoint of its commit. `document` is the object of
    the store that was signed, None where the record does not name one; `proof` is
    the proof that lies with the log, None if there is none.
    """

    log: str
    index: int
    commit: str
    size: int
    root: bytes
    entry: bytes
    document: str | None
    proof: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A record, with its attempt or its outcomes, oldest first, and where the evidence of each lies."""

    row: "Row"
    kin: "tuple[Row, ...]"
    evidence: Evidence
    of_kin: tuple[Evidence, ...]


def one(indexed: Indexed, what: str) -> "tuple[Row, tuple[Row, ...]]":
    """Give the record that `what` means, and its attempt or outcomes.

    `what` is an id or its beginning; `sha256:…` of a document or manifest; a
    channel, for the record in force there; or a version, for its publication.

    Raises:
        NotFound: there is no such record in the logs.
        ValueError: it means nothing, or several records.
        Refused, Unavailable: what a channel came to cannot be told.
    """
    from vault.audit import query

    if not _ID.match(what):
        row = _by_document(indexed, what)
        if row.record is None:
            return row, ()
        what = row.record.record_id.hex()
    found = query.find(indexed.index, what)
    wanted = [row for row in found if _id(row).startswith(what.lower())]
    ids = {_id(row) for row in wanted}
    if not wanted:
        raise NotFound(
            f"No log has a record {what}.",
            subject=what,
            hint="See what there is: mvault audit log. It may still wait on the machine where it was made.",
        )
    if len(ids) > 1:
        raise ValueError(
            f"{what} means {len(ids)} records: {', '.join(sorted(ids)[:5])}. Give more of its id."
        )
    return wanted[0], tuple(row for row in found if _id(row) not in ids and _kin(row, wanted[0]))


def _id(row: "Row") -> str:
    return "" if row.record is None else row.record.record_id.hex()


def _kin(row: "Row", of: "Row") -> bool:
    one, other = row.record, of.record
    if one is None or other is None:
        return False
    return (
        one.record_id == other.of or one.of == other.record_id or (one.of is not None and one.of == other.of)
    )


def _by_document(indexed: Indexed, what: str) -> "Row":
    """Find the record of a document."""
    if what.startswith(names.DIGEST_PREFIX):
        digest = given(names.digest, what.removeprefix(names.DIGEST_PREFIX))
        return _first(indexed, what, None, digest)
    reference = reference_of(what)
    if reference.environment is None and reference.version is None and reference.digest is None:
        raise ValueError(
            f"{what} is no id, which is hexadecimal; no channel, as {what}@prod; and no version, as {what}:3."
        )
    return _first(indexed, what, *_wanted(indexed.session, reference))


def _wanted(session: Session, reference: Reference) -> "tuple[Filter, Digest | None]":
    """Give what to ask the index for, and the document's digest where a channel tells it."""
    from vault.audit.query import Filter

    if reference.environment is None:
        return Filter(model=(reference.model,), action=("publish",), decision=(ALLOW,)), reference.digest
    resolved = session.resolve(reference.environment)
    where = Channel(reference.environment, reference.slot or names.MAIN, reference.model)
    head = resolving.channel(session, resolving.anybody(resolved, reference.model), where).head
    if head is None:
        raise NotFound(f"Nothing is in force in {where}.", subject=str(where))
    asked = Filter(model=(reference.model,), environment=(reference.environment,), decision=(ALLOW,))
    return asked, head.digest


def _first(indexed: Indexed, what: str, asked: "Filter | None", digest: Digest | None) -> "Row":
    version = None if what.startswith(names.DIGEST_PREFIX) else reference_of(what).version
    for row in _asked(indexed, asked, digest):
        record = row.record
        if record is not None and record.decision == ALLOW and (version is None or record.version == version):
            return row
    raise NotFound(
        f"No log tells of {what}.",
        code="not-logged",
        subject=what,
        hint="Who did it may not write that log, so that it waits in an access log; or nothing was recorded.",
    )


def _asked(indexed: Indexed, asked: "Filter | None", digest: Digest | None) -> "Iterator[Row]":
    from vault.audit import query

    if digest is None:
        yield from query.pages(indexed.index, asked or query.EVERYTHING)
        return
    for row in query.holding(indexed.index, ("evidence", "manifest"), (digest,)):
        if asked is None or all(
            getattr(row.record, field) in texts
            for field in ("model", "environment", "action")
            if (texts := getattr(asked, field))
        ):
            yield row


# --- where it lies ---


def evidence(session: Session, row: "Row") -> Evidence:
    """Look a record up in the log itself; what the index says is not believed.

    Raises:
        LogInconsistent: the log has something else there.
        NotFound, Unavailable: its commit cannot be read.
    """
    log = log_names.parse(row.log)
    name = log.commit(row.commit)
    commit = log_commit.parse(session.store.read(name, limit=limits.LOG_COMMIT_BYTES), name)
    place = row.position - commit.first
    if not 0 <= place < len(commit.entries):
        raise LogInconsistent(
            f"{name} has no entry {row.position}.",
            subject=row.log,
            hint="The log was changed since it was indexed: mvault audit verify",
        )
    record = row.record
    proof = None if record is None or record.evidence is None else logged.proof_name(log, record.evidence)
    return Evidence(
        log=row.log,
        index=row.position,
        commit=name,
        size=commit.checkpoint.size,
        root=commit.checkpoint.root,
        entry=commit.entries[place],
        document=None if record is None else _document(session, record),
        proof=proof if proof is not None and _is_there(session, proof) else None,
    )


def _document(session: Session, record: AuditRecord) -> str | None:
    """Name the object that holds the signed document behind a record; None if it is not there."""
    if record.evidence is None:
        return None
    for kind, name in _places(session, record):
        try:
            data = session.store.read(name, limit=limits.ENVELOPE_BYTES)
            if envelope.parse(data, kind=kind, subject=name).digest == record.evidence:
                return name
        except (NotFound, Refused):
            continue
    return None


def _places(session: Session, record: AuditRecord) -> Iterator[tuple[str, str]]:
    """Give where the document of a record may lie: its kind, and the name of an object."""
    number = record.seq
    if number is not None and record.action in ("policy", "root"):
        of_policy = record.action == "policy"
        yield (policy.KIND, layout.policy(number)) if of_policy else (trust.KIND, layout.root(number))
    if number is not None and record.action == "attest" and record.environment is not None:
        yield heads.KIND, layout.heads(record.environment) + layout.numbered(number)
    if record.model is None:
        return
    if number is not None and record.environment is not None:
        folder = layout.channel(record.environment, record.slot or names.MAIN, record.model)
        yield records.CHANNEL, folder + layout.numbered(number)
    if record.version is None:
        return
    yield manifest.KIND, layout.manifest(record.model, record.version)
    votes = {"publish": (records.SEALING, layout.sealed(record.model, record.version))}
    if record.environment is not None:
        folder = layout.approvals(record.model, record.version, record.environment)
        votes["approve"] = (records.APPROVAL, folder)
    votes["adopt"] = (records.ADOPTION, layout.adoptions(record.model, record.version))
    if record.action in votes:
        kind, folder = votes[record.action]
        yield from ((kind, name) for name in islice(session.store.list(folder), _LISTED))


def _is_there(session: Session, name: str) -> bool:
    try:
        session.store.stat(name)
    except NotFound:
        return False
    return True


def show(session: Session, indexed: Indexed, what: str) -> Shown:
    """Give one record with its attempt or its outcomes, and where the evidence lies.

    Raises:
        NotFound, ValueError, Refused, Unavailable: as `one` and `evidence`.
    """
    row, kin = one(indexed, what)
    return Shown(row, kin, evidence(session, row), tuple(evidence(session, other) for other in kin))


# --- proofs ---


@dataclass(frozen=True, slots=True)
class Proved:
    """A proof, as other programs read it, and what it is of."""

    row: "Row"
    data: bytes
    log: str
    index: int
    size: int
    root: bytes
    witnesses: tuple[str, ...]
    key: str  # the verifier key of the log, by which other programs check the proof


def prove(session: Session, indexed: Indexed, what: str, *, witnesses: int = 0) -> Proved:
    """Prove that the record which `what` means is in its log, with all who cosigned it.

    `witnesses` of them have to; without, the newest checkpoint that has most of them is taken.

    Raises:
        NotFound, ValueError: as `one`.
        LogInconsistent: the log does not hold, or too few witnesses have cosigned it (`not-witnessed`).
        Unavailable: the store failed.
    """
    from vault.audit import proving

    row, _ = one(indexed, what)
    log = log_names.parse(row.log)
    rules = session.trust().policy
    known = reviewing_logs.remembered(session).get(row.log)
    entry = evidence(session, row).entry
    prover = proving.Prover(session.store, log, rules, known=known)
    try:
        proof = prover.witnessed(row.position, entry, max(1, witnesses))
    except LogInconsistent as refusal:
        if witnesses or refusal.code != "not-witnessed":
            raise
        proof = prover.inclusion(row.position, entry)
    checkpoint = note.parse_checkpoint(proof.note.text, row.log)
    counted = log_witness.cosigners(proof.note, rules, log, ())
    return Proved(
        row,
        proof.encode(),
        row.log,
        row.position,
        checkpoint.size,
        checkpoint.root,
        tuple(entry.witness for entry in counted),
        reviewing_proofs.verifier_key(proof.note, rules, log) or "",
    )
