"""Find channel records that a log tells of and a copy of the vault does not hold: newer state taken out.

By signatures alone a copy that lost its newest records looks like an older
vault. Its logs say what there was. Only entries up to the heads that receipts
name are asked for: those were in the logs before anything was listed, so what
they tell of was there to be copied.
"""

from dataclasses import dataclass, field

from vault.actions import backup_receipts, log_writers
from vault.actions.check_report import Finding
from vault.actions.session import Session
from vault.core import audit_decision, envelope, layout, limits, log_names, records
from vault.core.in_force import Channel
from vault.core.names import Digest, Environment, Model, Slot
from vault.errors import NotFound, Refused

Place = tuple[Environment, Slot, Model]


@dataclass(slots=True)
class _Told:
    """What one log tells: of each channel the newest record, up to a size of the log."""

    size: int
    newest: dict[Place, tuple[tuple[int, int], Digest]] = field(default_factory=dict)

    def take(self, first: int, entries: tuple[bytes, ...]) -> None:
        """Look at the entries of one commit, of which the first has this index."""
        for index, entry in enumerate(entries, start=first):
            if index >= self.size:
                return
            try:
                found = audit_decision.parse(entry)
            except Refused:
                continue  # of a later release, or a writer's nonsense: verifying the log tells of it
            if found is not None:
                era, environment, slot, model, seq = found[0]
                place = (environment, slot, model)
                before = self.newest.get(place)
                if before is None or (era, seq) > before[0]:
                    self.newest[place] = ((era, seq), found[1])


def missing(there: Session) -> list[Finding]:
    """Name the channels whose newest logged record is not in a copy of the vault.

    Raises:
        Refused, NotFound: the trust documents do not verify.
        Unavailable: the store failed.
    """
    from vault.audit.reading import LogReader

    heads: dict[str, int] = {}
    for entry in backup_receipts.newest(there.store, there.trust().context):
        for head in () if entry.signed is None else entry.signed.record.logs:
            heads[head.origin] = max(head.size, heads.get(head.origin, 0))
    findings = []
    policy = there.trust().policy
    for environment in policy.environments:
        log = log_writers.log_of(environment)
        told = _Told(heads.get(log_names.origin(there.pin, log), 0))
        try:
            state = LogReader(there.store, log, policy).read(
                lambda commit, told=told: told.take(commit.first, commit.entries)  # type: ignore[misc]
            )
        except Refused:
            continue  # verifying the logs tells of it
        if state.head.size < told.size:
            findings.append(
                Finding(
                    "bad",
                    f"log {log}",
                    f"a receipt says that it had {told.size:,} entries; here it has {state.head.size:,}",
                    "log-inconsistent",
                )
            )
        for place, ((_, seq), digest) in told.newest.items():
            where = Channel(*place)
            if not _is_there(there, where, seq, digest):
                message = f"its log tells of record {seq}, which is not there as it was logged"
                findings.append(Finding("bad", str(where), message, "rollback"))
    return findings


def _is_there(there: Session, where: Channel, seq: int, digest: Digest) -> bool:
    name = layout.channel(where.environment, where.slot, where.model) + layout.numbered(seq)
    try:
        data = there.store.read(name, limit=limits.ENVELOPE_BYTES)
        return envelope.parse(data, kind=records.CHANNEL, subject=name).digest == digest
    except (NotFound, Refused):
        return False
