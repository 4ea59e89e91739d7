"""Archive records: where the payloads of a version were moved (docs/format.md, "Archive record").

A record is a signpost and no authority: whatever lies where it points is compared
with the sealing record, as everything is. It counts only when its signer may
`archive` the model somewhere, so that a stranger cannot pass off a deletion as an
archive, or send anybody anywhere.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from vault.core import in_force, limits, names, policy, strict_json
from vault.core.fields import Fields, hexadecimal, malformed, one_of, time
from vault.core.in_force import Context, Signed
from vault.core.manifest import policy_value, read_policy
from vault.core.names import Digest, Model, Version
from vault.core.policy import PolicyId
from vault.core.trust import Skipped
from vault.errors import DigestMismatch, Refused, UntrustedSigner

KIND: Final = "archive"
ACTION: Final = "archive"
ARCHIVED: Final = "archived"
RETURNED: Final = "returned"
STORE: Final = "store"  # moved to another store
CLASS: Final = "class"  # moved to a cold class of the vault's own store

_DURATION: Final = re.compile(r"([1-9][0-9]{0,4})([hdwmy])\Z", re.ASCII)
_SECONDS: Final = {"h": 3_600, "d": 86_400, "w": 604_800, "m": 2_592_000, "y": 31_536_000}

# Amazon S3 User Guide, "Archive retrieval options": what restoring takes, by class and tier.
TIERS: Final = ("Standard", "Bulk", "Expedited")
EXPECTED: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("GLACIER", "Expedited"): "1 to 5 minutes",
        ("GLACIER", "Standard"): "3 to 5 hours",
        ("GLACIER", "Bulk"): "5 to 12 hours",
        ("DEEP_ARCHIVE", "Standard"): "up to 12 hours",
        ("DEEP_ARCHIVE", "Bulk"): "up to 48 hours",
    }
)
CLASSES: Final = ("GLACIER", "DEEP_ARCHIVE", "GLACIER_IR", "STANDARD_IA")  # S3's, that are cheaper to keep
WARM: Final = "STANDARD"


@dataclass(frozen=True, slots=True)
class ArchiveRecord:
    """A signed word that payloads of a version were moved, or were brought back.

    `kind` and `where` name the place: a store by its location, which names no secret,
    or a class of the vault's own store. `files` are the ids of the payloads, ascending;
    `size` is their ciphertext in bytes. Of what was brought back, the place is where from.
    """

    vault: Digest
    policy: PolicyId
    model: Model
    version: Version
    manifest: Digest
    number: int
    created: str
    state: str
    kind: str
    where: str
    files: tuple[bytes, ...]  # 16 bytes each
    size: int

    @property
    def place(self) -> str:
        """The place as messages name it."""
        return self.where if self.kind == STORE else f"the class {self.where}"


def encode(record: ArchiveRecord) -> bytes:
    """Write the payload of an archive record."""
    return strict_json.encode(
        {
            "created": record.created,
            "files": [entry.hex() for entry in record.files],
            "kind": record.kind,
            "manifest": record.manifest,
            "model": record.model,
            "number": record.number,
            "policy": policy_value(record.policy),
            "size": record.size,
            "state": record.state,
            "vault": record.vault,
            "version": record.version,
            "where": record.where,
        }
    )


def parse(payload: bytes, subject: str) -> ArchiveRecord:
    """Parse the payload of an archive record, after its signature was checked.

    Raises:
        Malformed: a field is missing, unknown or of another shape.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    record = ArchiveRecord(
        vault=fields.text("vault", names.digest),
        policy=fields.object("policy", read_policy),
        model=fields.text("model", names.model),
        version=fields.text("version", names.version),
        manifest=fields.text("manifest", names.digest),
        number=fields.integer("number", 1),
        created=fields.text("created", time),
        state=fields.text("state", one_of(ARCHIVED, RETURNED)),
        kind=fields.text("kind", one_of(STORE, CLASS)),
        where=fields.text("where", _where),
        files=fields.texts("files", hexadecimal(16), limits.PACKAGE_FILES),
        size=fields.integer("size"),
    )
    fields.done()
    if list(record.files) != sorted(record.files):
        raise malformed(subject, "its files are not in order")
    if record.kind == CLASS and record.where not in CLASSES:
        raise malformed(subject, f"a class is one of {', '.join(CLASSES)}")
    return record


def _where(text: str) -> str:
    if not 0 < len(text) <= limits.LOCATION_CHARS or not text.isprintable():
        raise malformed("A place", f"it is 1 to {limits.LOCATION_CHARS:,} printable characters")
    return text


def may_archive(context: Context, who: names.Principal, model: Model) -> bool:
    """Tell whether somebody may `archive` a model in any environment."""
    return any(
        policy.decide(context.policy, who, ACTION, model, name).allowed
        for name in context.policy.environments
    )


def judge(
    context: Context, model: Model, version: Version, manifest: Digest, number: int, data: bytes
) -> Signed[ArchiveRecord] | Skipped:
    """Judge one object of a version's folder of archive records.

    Raises:
        Rollback: `withheld`.
    """
    subject = f"{model}:{version} archive record {number}"
    try:
        signed = in_force.attribute(context, data, KIND, subject)
        record = parse(signed.envelope.payload, subject)
        if (record.vault, record.model, record.version, record.manifest, record.number) != (
            context.vault,
            model,
            version,
            manifest,
            number,
        ):
            raise DigestMismatch(
                f"{subject} is genuine but belongs elsewhere.", code="misplaced", subject=subject
            )
        signers = [holder.name for holder in signed.holders if may_archive(context, holder.name, model)]
        if not signers:
            raise UntrustedSigner(
                f"{subject} is signed, but no signer of it may archive {model}.", subject=subject
            )
    except Refused as refusal:
        return Skipped(subject, refusal.message, refusal.code)
    in_force.check_policy(context, record.policy, subject)
    return Signed(record, signed.envelope.digest, tuple(signers))


def covers(record: ArchiveRecord, file_id: bytes) -> bool:
    """Tell whether a record says of a payload that it was moved away."""
    return record.state == ARCHIVED and file_id in record.files


def expected(storage_class: str, tier: str = TIERS[0]) -> str:
    """Say how long it takes until what lies in a class can be read, after it was asked for."""
    return EXPECTED.get((storage_class, tier), "minutes to two days")


# --- which versions ---


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that might be archived: when it was published, and `why` it may not be (empty: it may)."""

    version: Version
    created: str
    why: str = ""


def seconds(duration: str) -> int:
    """Parse a duration such as `36h`, `90d`, `12w`, `6m` (of 30 days) or `2y` (of 365) into seconds.

    Raises:
        ValueError: it is none.
    """
    found = _DURATION.match(duration)
    if found is None:
        raise ValueError(f"{duration!r} is no time: write 36h, 90d, 12w, 6m or 2y.")
    return int(found[1]) * _SECONDS[found[2]]


def chosen(
    candidates: Sequence[Candidate], *, keep_last: int | None, older_than: int | None, now: int
) -> list[Candidate]:
    """Choose versions, newest first as given: those neither among the last few nor too young.

    What is chosen may still be in use, as `why` tells. `older_than` is in seconds.

    Raises:
        ValueError: there is no such number.
    """
    if keep_last is not None and keep_last < 0:
        raise ValueError("The number of versions to keep is not negative.")
    rest = candidates[keep_last or 0 :]
    return [
        entry for entry in rest if older_than is None or names.timestamp(entry.created) <= now - older_than
    ]


def class_of(text: str) -> str:
    """Accept a cold class.

    Raises:
        ValueError: it is none.
    """
    if text not in CLASSES:
        raise ValueError(f"{text!r} is no cold class; there are {', '.join(CLASSES)}.")
    return text
