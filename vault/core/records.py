"""Sealing, approval, adoption and channel records: their documents (docs/format.md, "Records")."""

from dataclasses import dataclass
from typing import Final, TypedDict

from vault.core import limits, names, strict_json
from vault.core.fields import Fields, hexadecimal, malformed, one_of, time
from vault.core.manifest import policy_value, read_policy
from vault.core.names import Digest, Environment, Model, Path, Slot, Version
from vault.core.policy import PolicyId

SEALING: Final = "sealing"
APPROVAL: Final = "approval"
ADOPTION: Final = "adoption"
CHANNEL: Final = "channel"
SUITE: Final = "age-v1"


@dataclass(frozen=True, slots=True)
class SealedFile:
    """The ciphertext of one file: which object, how large, what its units hash to, which key opens it."""

    path: Path
    file_id: bytes  # 16 bytes; hex names the object
    suite: str
    plain_size: int
    cipher_size: int
    root: bytes  # 32 bytes, the ciphertext tree's
    key_check: bytes  # 32 bytes

    @property
    def name(self) -> str:
        """The object's name part."""
        return self.file_id.hex()


@dataclass(frozen=True, slots=True)
class SealingRecord:
    """Binds a manifest to ciphertext; deep rotation writes the next number."""

    vault: Digest
    policy: PolicyId
    model: Model
    version: Version
    manifest: Digest
    number: int
    created: str
    files: tuple[SealedFile, ...]  # ascending by path

    def file(self, path: str) -> SealedFile | None:
        """Give the entry of one path."""
        return next((entry for entry in self.files if entry.path == path), None)


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word that a manifest may enter an environment.

    `seq` is the highest number in force there, over all slots, when they looked.
    """

    vault: Digest
    policy: PolicyId
    model: Model
    version: Version
    manifest: Digest
    environment: Environment
    seq: int
    created: str


@dataclass(frozen=True, slots=True)
class Adoption:
    """A person's word that they stand in for a publisher of a manifest who was lost or revoked."""

    vault: Digest
    policy: PolicyId
    model: Model
    version: Version
    manifest: Digest
    created: str


@dataclass(frozen=True, slots=True)
class ChannelRecord:
    """One step of a channel: a promotion to `manifest`, or a withdrawal that bars digests."""

    vault: Digest
    policy: PolicyId
    environment: Environment
    slot: Slot
    model: Model
    seq: int
    version: Version | None  # where the manifest lies; None when nothing replaces what is barred
    manifest: Digest | None
    prev: Digest | None
    bars: tuple[Digest, ...]
    created: str


class _About(TypedDict):
    """What every record about one version says: where, under which policy, of which manifest, when."""

    vault: Digest
    policy: PolicyId
    model: Model
    version: Version
    manifest: Digest
    created: str


def _about(fields: Fields) -> _About:
    return {
        "vault": fields.text("vault", names.digest),
        "policy": fields.object("policy", read_policy),
        "model": fields.text("model", names.model),
        "version": fields.text("version", names.version),
        "manifest": fields.text("manifest", names.digest),
        "created": fields.text("created", time),
    }


def _about_value(record: SealingRecord | Approval | Adoption) -> dict[str, strict_json.JSONValue]:
    return {
        "created": record.created,
        "manifest": record.manifest,
        "model": record.model,
        "policy": policy_value(record.policy),
        "vault": record.vault,
        "version": record.version,
    }


def encode_sealing(record: SealingRecord) -> bytes:
    """Write the payload of a sealing record."""
    return strict_json.encode(
        {
            **_about_value(record),
            "files": [
                {
                    "check": entry.key_check.hex(),
                    "cipher_size": entry.cipher_size,
                    "id": entry.file_id.hex(),
                    "path": entry.path,
                    "plain_size": entry.plain_size,
                    "root": entry.root.hex(),
                    "suite": entry.suite,
                }
                for entry in record.files
            ],
            "number": record.number,
        }
    )


def parse_sealing(payload: bytes, subject: str) -> SealingRecord:
    """Parse the payload of a sealing record, after its signature was checked.

    Raises:
        Malformed: a field is missing, unknown or of another shape.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    record = SealingRecord(
        **_about(fields),
        number=fields.integer("number", 1),
        files=fields.objects("files", _sealed_file, limits.PACKAGE_FILES),
    )
    fields.done()
    paths = [entry.path for entry in record.files]
    if paths != sorted(set(paths)) or len({entry.file_id for entry in record.files}) != len(paths):
        raise malformed(subject, "its files are not different and in order")
    return record


def _sealed_file(fields: Fields) -> SealedFile:
    return SealedFile(
        path=fields.text("path", names.path),
        file_id=fields.text("id", hexadecimal(16)),
        suite=fields.text("suite", one_of(SUITE)),
        plain_size=fields.integer("plain_size", 0, limits.FILE_BYTES),
        cipher_size=fields.integer("cipher_size", 32, 2 * limits.FILE_BYTES),
        root=fields.text("root", hexadecimal(32)),
        key_check=fields.text("check", hexadecimal(32)),
    )


def encode_approval(record: Approval) -> bytes:
    """Write the payload of an approval."""
    return strict_json.encode({**_about_value(record), "environment": record.environment, "seq": record.seq})


def parse_approval(payload: bytes, subject: str) -> Approval:
    """Parse the payload of an approval, after its signature was checked.

    Raises:
        Malformed: a field is missing, unknown or of another shape.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    record = Approval(
        **_about(fields),
        environment=fields.text("environment", names.environment),
        seq=fields.integer("seq"),
    )
    fields.done()
    return record


def encode_adoption(record: Adoption) -> bytes:
    """Write the payload of an adoption."""
    return strict_json.encode(_about_value(record))


def parse_adoption(payload: bytes, subject: str) -> Adoption:
    """Parse the payload of an adoption, after its signature was checked.

    Raises:
        Malformed: a field is missing, unknown or of another shape.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    record = Adoption(**_about(fields))
    fields.done()
    return record


def encode_channel(record: ChannelRecord) -> bytes:
    """Write the payload of a channel record."""
    return strict_json.encode(
        {
            "bars": list(record.bars),
            "created": record.created,
            "environment": record.environment,
            "manifest": record.manifest,
            "model": record.model,
            "policy": policy_value(record.policy),
            "prev": record.prev,
            "seq": record.seq,
            "slot": record.slot,
            "vault": record.vault,
            "version": record.version,
        }
    )


def parse_channel(payload: bytes, subject: str) -> ChannelRecord:
    """Parse the payload of a channel record, after its signature was checked.

    Raises:
        Malformed: a field is missing, unknown or of another shape.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    record = ChannelRecord(
        vault=fields.text("vault", names.digest),
        policy=fields.object("policy", read_policy),
        environment=fields.text("environment", names.environment),
        slot=fields.text("slot", names.slot),
        model=fields.text("model", names.model),
        seq=fields.integer("seq", 1),
        version=fields.optional("version", names.version),
        manifest=fields.optional("manifest", names.digest),
        prev=fields.optional("prev", names.digest),
        bars=fields.texts("bars", names.digest, limits.BARS),
        created=fields.text("created", time),
    )
    fields.done()
    if (record.version is None) != (record.manifest is None):
        raise malformed(subject, "a version and its manifest are named together")
    if record.manifest is None and not record.bars:
        raise malformed(subject, "it neither promotes nor bars anything")
    if record.manifest in record.bars:
        raise malformed(subject, "it bars what it promotes")
    return record
