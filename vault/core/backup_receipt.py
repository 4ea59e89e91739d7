"""Backup receipts: a signed word that another store holds a vault's versions, verified there.

A receipt names the destination, the heads of the logs that it has, and the
digest of a list of the versions that were read and verified at the destination.
Retention rests on it, so it counts only when its signer may `archive` or
`delete` every model somewhere (docs/format.md, "Backup receipt").
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from vault.core import envelope, in_force, limits, log_names, names, policy, strict_json
from vault.core.fields import Fields, malformed, time
from vault.core.in_force import Context, Signed
from vault.core.manifest import policy_value, read_policy
from vault.core.names import Digest, Model, Principal, Slot, Version
from vault.core.policy import LogHead, Policy, PolicyId
from vault.core.policy_document import log_head_value, read_log_head
from vault.core.trust import Skipped
from vault.errors import DigestMismatch, Refused, UntrustedSigner

KIND: Final = "backup-receipt"
ACTIONS: Final = ("archive", "delete")  # whoever may do either for every model may sign a receipt

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Covered:
    """One version that a destination holds: its manifest, and how many objects and bytes lie there for it."""

    model: Model
    version: Version
    manifest: Digest
    objects: int
    size: int


@dataclass(frozen=True, slots=True)
class BackupReceipt:
    """What a run of `backup` or `backup verify` found at a destination.

    `name` is the backup's, `destination` its location, which names no secret.
    `logs` are the heads of the vault's logs that it holds. `versions` are the
    count, the digest and the size in bytes of the list of versions (`encode_list`).
    `read` tells that every byte at the destination was read in this run; otherwise
    what an earlier receipt names was compared by names and sizes alone.
    """

    vault: Digest
    policy: PolicyId
    name: Slot
    number: int
    destination: str
    created: str
    logs: tuple[LogHead, ...]
    objects: int
    size: int
    versions: int
    list_digest: Digest
    list_size: int
    read: bool


def destination(text: str) -> str:
    """Accept the location of a destination, which people read: printable, and not endless.

    Raises:
        Malformed: it is neither.
    """
    if not 0 < len(text) <= limits.LOCATION_CHARS or not text.isprintable():
        raise malformed("A destination", "it is printable text")
    return text


def encode(receipt: BackupReceipt) -> bytes:
    """Write the payload of a receipt."""
    return strict_json.encode(
        {
            "created": receipt.created,
            "destination": receipt.destination,
            "logs": [log_head_value(head) for head in receipt.logs],
            "name": receipt.name,
            "number": receipt.number,
            "objects": receipt.objects,
            "policy": policy_value(receipt.policy),
            "read": receipt.read,
            "size": receipt.size,
            "vault": receipt.vault,
            "versions": {
                "count": receipt.versions,
                "digest": receipt.list_digest,
                "size": receipt.list_size,
            },
        }
    )


def parse(payload: bytes, subject: str) -> BackupReceipt:
    """Parse the payload of a receipt, after its signature was checked.

    Raises:
        Malformed: a field is missing, unknown or of another shape.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    count, digest, list_size = fields.object("versions", _versions)
    found = BackupReceipt(
        vault=fields.text("vault", names.digest),
        policy=fields.object("policy", read_policy),
        name=fields.text("name", names.slot),
        number=fields.integer("number", 1),
        destination=fields.text("destination", destination),
        created=fields.text("created", time),
        logs=fields.objects("logs", read_log_head, limits.ENVIRONMENTS + 1),
        objects=fields.integer("objects"),
        size=fields.integer("size"),
        versions=count,
        list_digest=digest,
        list_size=list_size,
        read=fields.boolean("read"),
    )
    fields.done()
    _check_logs(found, subject)
    return found


def _versions(fields: Fields) -> tuple[int, Digest, int]:
    return (
        fields.integer("count"),
        fields.text("digest", names.digest),
        fields.integer("size", 0, limits.BACKUP_LIST_BYTES),
    )


def _check_logs(found: BackupReceipt, subject: str) -> None:
    before = log_names.origin(found.vault, log_names.TRUST_LOG).removesuffix(str(log_names.TRUST_LOG))
    origins = [head.origin for head in found.logs]
    if origins != sorted(set(origins)) or not all(origin.startswith(before) for origin in origins):
        raise malformed(subject, "its logs are different ones of this vault, in order")


# --- the list of versions ---


def encode_list(covered: Iterable[Covered]) -> bytes:
    """Write a list of versions: a line each, ascending by model and version."""
    lines = sorted(
        f"{entry.model}:{entry.version} {entry.manifest} {entry.objects} {entry.size}\n" for entry in covered
    )
    return "".join(lines).encode("ascii")


def parse_list(data: bytes, subject: str) -> tuple[Covered, ...]:
    """Read a list of versions whose digest was compared with that of a receipt.

    Raises:
        Malformed: a line is none, or they are not different and in order.
    """
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise malformed(subject, "it is text in ASCII") from None
    lines = text.split("\n")
    if lines.pop():
        raise malformed(subject, "its last line has no end")
    if any(one >= other for one, other in pairwise(lines)):
        raise malformed(subject, "its lines are different and ascend")
    return tuple(_covered(line, subject) for line in lines)


def _covered(line: str, subject: str) -> Covered:
    parts = line.split(" ")
    if len(parts) != 4 or not all(_NUMBER.fullmatch(part) for part in parts[2:]):
        raise malformed(subject, "a line is MODEL:VERSION DIGEST OBJECTS BYTES")
    model, _, version = parts[0].partition(":")
    return Covered(
        names.model(model), names.version(version), names.digest(parts[1]), int(parts[2]), int(parts[3])
    )


# --- which receipts count ---


def may_sign(current: Policy, who: Principal) -> bool:
    """Tell whether somebody may sign receipts: who may archive or delete every model in some environment.

    A receipt is about a whole vault, so a grant for some models is none.
    """
    return any(
        (grant.rule_models is None or "*" in grant.rule_models)
        and (grant.own_models is None or "*" in grant.own_models)
        for environment in current.environments
        for action in ACTIONS
        for grant in policy.grants(current, who, action, environment)
    )


def judge(context: Context, name: Slot, number: int, data: bytes) -> Signed[BackupReceipt] | Skipped:
    """Judge one object of a backup's folder of receipts.

    Raises:
        Rollback: it was made under a newer policy than the store offers (`withheld`).
    """
    subject = f"receipt {number} of backup {name}"
    try:
        signed = in_force.attribute(context, data, KIND, subject)
        found = parse(signed.envelope.payload, subject)
        if (found.vault, found.name, found.number) != (context.vault, name, number):
            raise DigestMismatch(
                f"{subject} is genuine but belongs elsewhere: its vault, name or number is another.",
                code="misplaced",
                subject=subject,
            )
        signers = [holder.name for holder in signed.holders if may_sign(context.policy, holder.name)]
        if not signers:
            raise UntrustedSigner(
                f"{subject} is signed, but no signer of it may archive or delete every model.",
                subject=subject,
            )
    except Refused as refusal:
        return Skipped(subject, refusal.message, refusal.code)
    in_force.check_policy(context, found.policy, subject)
    return Signed(found, signed.envelope.digest, tuple(signers))


def versions_of(receipt: BackupReceipt, data: bytes, subject: str) -> tuple[Covered, ...]:
    """Give the versions that a receipt names, from the list that lies beside it.

    Raises:
        DigestMismatch: it is another list.
        Malformed: it is none.
    """
    if len(data) != receipt.list_size or envelope.digest(data) != receipt.list_digest:
        raise DigestMismatch(f"{subject} was altered: it is not the list that was signed.", subject=subject)
    found = parse_list(data, subject)
    if len(found) != receipt.versions:
        raise malformed(subject, "it has another number of versions than was signed")
    return found


def by_place(covered: Iterable[Covered]) -> Mapping[tuple[Model, Version], Covered]:
    """Give versions by model and version."""
    return {(entry.model, entry.version): entry for entry in covered}
