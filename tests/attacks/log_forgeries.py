"""Records that nobody logged, and proofs made by hand for them: what tests of forged proofs share."""

from dataclasses import replace

from tests.builders import CHURN, PROD, Built
from tests.log_vaults import PROD_LOG, append, client, logged
from vault.actions import logged as logging
from vault.actions import promote
from vault.core import audit_record, envelope, layout, log_keys, log_names, log_proof, merkle, names, note
from vault.core.log_names import Log
from vault.core.log_proof import Proof
from vault.core.names import Digest
from vault.core.note import Checkpoint

OTHER = {"model.json": b'{"weights":[6,6,6]}'}


def forged_record(mode: str = "unwitnessed", witnesses: int = 1) -> Built:
    """Build a vault with churn:1 in prod, and a record of owner's that churn:2 is, which nobody logged."""
    built = logged(mode, witnesses)
    session = client(built)
    built.publish(session=session)
    built.promote("churn:1", session=session)
    built.publish(OTHER, session=session)
    rule = built.policy.environments[PROD]
    promote.give_keys(session, built.find("churn:2", session=session), rule, only_missing=False)
    built.write_record(built.record("churn:2", 2), "owner")
    return built


def digest(built: Built, seq: int) -> Digest:
    name = layout.channel(PROD, names.MAIN, CHURN) + layout.numbered(seq)
    return envelope.parse(built.store.objects[name], kind="channel", subject=name).digest


def entry_for(built: Built, seq: int = 2, **changes: object) -> bytes:
    """Write the entry that would tell of the record, had it been logged."""
    record = built.record("churn:2", seq)
    told = audit_record.AuditRecord(
        record_id=bytes([seq] * 16), time=built.time, action="promote", decision="allow", outcome="done",
        known="signature", environment=PROD, slot=names.MAIN, model=CHURN, version=record.version,
        seq=seq, manifest=record.manifest, evidence=digest(built, seq),
    )  # fmt: skip
    return audit_record.encode(replace(told, **changes))  # type: ignore[arg-type]


def genuine(built: Built, seq: int = 1, log: Log = PROD_LOG) -> Proof:
    name = logging.proof_name(log, digest(built, seq))
    return log_proof.parse(built.store.objects[name], name)


def put(built: Built, proof: Proof, seq: int = 2) -> None:
    built.write(logging.proof_name(PROD_LOG, digest(built, seq)), proof.encode())


def loaded(built: Built) -> dict[str, bytes]:
    """Load churn@prod as a client that remembers nothing."""
    view = built.fork(forgetful=True)
    return view.read("churn@prod", who="server", session=client(view, "server"))


def proven(built: Built, done_log: Log, entry: bytes, who: str = "owner") -> Proof:
    """Log an entry as somebody who may, and prove it."""
    return append(built, [entry], who=who, log=done_log).proof(0)


def signed_by(built: Built, who: str, log: Log = PROD_LOG) -> Proof:
    """Make a log of one entry, and a checkpoint of it that `who` signs and certifies: its proof."""
    entry = entry_for(built)
    origin = log_names.origin(built.vault, log)
    identity = built.identities[who]
    key = identity.derive(log_keys.info(log_keys.LOG, origin))
    claim = log_keys.Certificate(built.vault, origin, log_keys.LOG, key.public, built.time)
    line = log_keys.certificate_line(origin, log_keys.certify(claim, identity))
    signed = note.sign_checkpoint(Checkpoint(origin, 1, merkle.leaf_hash(entry)), key)
    return Proof(entry, 0, (), signed.added([line]))
