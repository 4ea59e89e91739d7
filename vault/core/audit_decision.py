"""Read from an audit record which channel record it tells of, and under which number.

docs/format.md, "Decisions in a log".
"""

from typing import Final

from vault.core import audit_record
from vault.core.audit_record import AuditRecord
from vault.core.names import Digest, Environment, Model, Slot

ACTIONS: Final = ("promote", "withdraw")
_PREFIXES: Final = tuple(f'{{"action":"{action}"'.encode("ascii") for action in ACTIONS)

# Era, environment, slot, model and seq: an era begins the numbers anew.
Number = tuple[int, Environment, Slot, Model, int]


def decided(record: AuditRecord) -> tuple[Number, Digest] | None:
    """Give the number and the digest of the channel record that an audit record tells of, if any."""
    if record.action not in ACTIONS or record.evidence is None:
        return None
    if record.environment is None or record.slot is None or record.model is None or record.seq is None:
        return None
    era = 0 if record.policy is None else record.policy.era
    return (era, record.environment, record.slot, record.model, record.seq), record.evidence


def parse(entry: bytes) -> tuple[Number, Digest] | None:
    """Read the number and the digest of the channel record that an entry of a log tells of.

    Raises:
        Malformed: it begins like such an entry, and is no audit record.
    """
    if not entry.startswith(_PREFIXES):
        return None
    return decided(audit_record.parse(entry))
