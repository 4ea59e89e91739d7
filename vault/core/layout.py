"""Where each object lies: the names of docs/format.md, "Layout", and nothing else."""

import re
from collections.abc import Iterable
from typing import Final

from vault.core import limits
from vault.core.names import Digest, Environment, Model, Principal, Slot, Version

README: Final = "README.txt"
VAULT: Final = "vault.json"
PROBE: Final = "probe.json"
PROBES: Final = "probe/"
ROOTS: Final = "trust/root/"
POLICIES: Final = "trust/policy/"
HEADS: Final = "trust/heads/"
MODELS: Final = "models/"
HOLDS: Final = "holds/"
LEFTOVERS: Final = "leftovers/"
BACKUPS: Final = "backups/"
COMPARTMENT: Final = "all"
RECOVERY: Final = Principal("recovery")
MARK: Final = "@"

_SERVICE_COPY: Final = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}\.json\Z", re.ASCII)
_COPY: Final = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}\.age\Z", re.ASCII)
_HEADER: Final = re.compile(r"([0-9a-f]{32})-[0-9a-f]{32}\Z", re.ASCII)
_APPROVAL: Final = re.compile(r"[0-9a-f]{64}\.json\Z", re.ASCII)
_NUMBER: Final = re.compile(r"([0-9]{6}|[1-9][0-9]{6,15})\.json\Z", re.ASCII)


def numbered(number: int) -> str:
    """Name the object with this number: six digits at least."""
    return f"{number:06d}.json"


def parse_number(name: str) -> int | None:
    """Give the number that a name stands for, or None when it is no such name."""
    found = _NUMBER.match(name)
    number = int(found[1]) if found else 0
    return number if 0 < number <= limits.NUMBER_MAX else None


def root(number: int) -> str:
    """Name root `number`."""
    return ROOTS + numbered(number)


def policy(number: int) -> str:
    """Name policy `number`."""
    return POLICIES + numbered(number)


def heads(environment: Environment) -> str:
    """Name the folder of an environment's heads."""
    return f"{HEADS}{environment}/"


def recipient(digest: Digest) -> str:
    """Name the public recipient with this digest."""
    return f"trust/recipients/{digest}"


def epoch_keys(environment: Environment, epoch: int) -> str:
    """Name the folder of everybody's wrapped copies of an environment's key."""
    return f"keys/{environment}/{COMPARTMENT}/{epoch}/"


def environment_keys(environment: Environment, epoch: int, principal: Principal) -> str:
    """Name the folder of one principal's wrapped copies of an environment's key."""
    return f"{epoch_keys(environment, epoch)}{principal}/"


def environment_key(
    environment: Environment, epoch: int, principal: Principal, recipient_digest: Digest, content: Digest
) -> str:
    """Name one wrapped copy of an environment's key."""
    folder = environment_keys(environment, epoch, principal)
    return f"{folder}{copies_for(recipient_digest)}{content[:32]}.age"


def copies_for(recipient_digest: Digest) -> str:
    """Begin the names of the wrapped copies for one recipient, or key of a service."""
    return f"{recipient_digest[:16]}-"


def service_keys(environment: Environment, epoch: int) -> str:
    """Name the folder of the copies of an environment's key that key services wrapped."""
    return f"{epoch_keys(environment, epoch)}{MARK}/"


def service_key(environment: Environment, epoch: int, service_digest: Digest, content: Digest) -> str:
    """Name one copy of an environment's key that a key service wrapped."""
    return f"{service_keys(environment, epoch)}{copies_for(service_digest)}{content[:32]}.json"


def is_service_copy(name: str) -> bool:
    """Tell whether a name in the folder of what key services wrapped has the form of a copy."""
    return _SERVICE_COPY.match(name) is not None


def is_copy(name: str) -> bool:
    """Tell whether a name in a folder of wrapped copies has the form of one."""
    return _COPY.match(name) is not None


def fits_content(name: str, content: Digest) -> bool:
    """Tell whether an object is named after its own SHA-256, as every genuine copy, header and vote is."""
    told = name.rpartition("/")[2].partition(".")[0].rpartition("-")[2]
    return len(told) >= 32 and content.startswith(told)


def versions(model: Model) -> str:
    """Name the folder of a model's versions."""
    return f"{MODELS}{model}/{MARK}/"


def version(model: Model, number: Version) -> str:
    """Name the folder of one version."""
    return f"{versions(model)}{number}/"


def manifest(model: Model, number: Version) -> str:
    """Name a version's manifest: its creation publishes the version."""
    return f"{version(model, number)}manifest.json"


def sealed(model: Model, number: Version) -> str:
    """Name the folder of a version's sealing records."""
    return f"{version(model, number)}sealed/"


def files(model: Model, number: Version) -> str:
    """Name the folder of a version's payloads."""
    return f"{version(model, number)}files/"


def payload(model: Model, number: Version, file_id: str) -> str:
    """Name a payload; its unit digests lie beside it with `.units` appended."""
    return f"{files(model, number)}{file_id}"


def units(payload_name: str) -> str:
    """Name the unit digests of a payload of more than one unit."""
    return f"{payload_name}.units"


def version_keys(model: Model, number: Version) -> str:
    """Name the folder of a version's age headers, which holds a folder for each environment and epoch."""
    return f"{version(model, number)}keys/"


def header_folder(model: Model, number: Version, environment: Environment, epoch: int) -> str:
    """Name the folder of a version's age headers for one environment and epoch."""
    return f"{version_keys(model, number)}{environment}-{epoch}/"


def inner_folders(environment: Environment, epochs: Iterable[int]) -> str:
    """Give a regular expression for the folders, from `MODELS`, of what wraps an environment's file keys."""
    keys = "|".join(re.escape(f"{environment}-{epoch}") for epoch in epochs)
    return rf"(?!.*/{MARK}/).*|.*/{MARK}/[^/]+(?:/sealed|/keys(?:/(?:{keys}))?)?"


def header(
    model: Model, number: Version, environment: Environment, epoch: int, file_id: str, content: Digest
) -> str:
    """Name one payload's age header for one environment and epoch."""
    return f"{header_folder(model, number, environment, epoch)}{file_id}-{content[:32]}"


def parse_header(name: str) -> str | None:
    """Give the payload's id that the name of an age header begins with, or None when it is no such name."""
    found = _HEADER.match(name)
    return found[1] if found else None


def approvals(model: Model, number: Version, environment: Environment) -> str:
    """Name the folder of a version's approvals for one environment."""
    return f"{version(model, number)}approvals/{environment}/"


def approval(model: Model, number: Version, environment: Environment, content: Digest) -> str:
    """Name one approval after the SHA-256 of its envelope: two people never meet in one name."""
    return f"{approvals(model, number, environment)}{content}.json"


def is_approval(name: str) -> bool:
    """Tell whether a name in a folder of approvals, or of adoptions, has the form of one."""
    return _APPROVAL.match(name) is not None


def adoptions(model: Model, number: Version) -> str:
    """Name the folder of a version's adoptions."""
    return f"{version(model, number)}adoptions/"


def adoption(model: Model, number: Version, content: Digest) -> str:
    """Name one adoption after the SHA-256 of its envelope, as an approval is."""
    return f"{adoptions(model, number)}{content}.json"


def attestations(model: Model, number: Version) -> str:
    """Name the folder of what testers attested of a version."""
    return f"{version(model, number)}attestations/"


def attestation(model: Model, number: Version, content: Digest) -> str:
    """Name one attestation after the SHA-256 of its envelope, as an approval is."""
    return f"{attestations(model, number)}{content}.json"


def requirements(model: Model, number: Version, content: Digest) -> str:
    """Name the pinned requirements of a load test after their own SHA-256."""
    return f"{version(model, number)}requirements/{content}.txt"


def labels(model: Model, number: Version) -> str:
    """Name the folder of a version's tags and notes."""
    return f"{version(model, number)}labels/"


def label(model: Model, number: Version, content: Digest) -> str:
    """Name one label after the SHA-256 of its envelope, as an approval is."""
    return f"{labels(model, number)}{content}.json"


def slots(environment: Environment) -> str:
    """Name the folder of an environment's slots."""
    return f"channels/{environment}/"


def channel(environment: Environment, slot: Slot, model: Model) -> str:
    """Name the folder of a channel's records."""
    return f"channels/{environment}/{slot}/{model}/{MARK}/"


def backup(name: Slot) -> str:
    """Name the folder of a backup's receipts."""
    return f"{BACKUPS}{name}/"


def backup_list(name: Slot, content: Digest) -> str:
    """Name the list of versions that a receipt is about, after its SHA-256."""
    return f"{backup(name)}versions/{content}"


def archives(model: Model, number: Version) -> str:
    """Name the folder of a version's archive records, which are numbered."""
    return f"{version(model, number)}archive/"


def removals(model: Model, number: Version) -> str:
    """Name the folder of a version's removals, which are numbered."""
    return f"{version(model, number)}removals/"


def hold(content: Digest) -> str:
    """Name one hold, or one release of a hold, after the SHA-256 of its envelope, as an approval is."""
    return f"{HOLDS}{content}.json"


def leftovers(content: Digest) -> str:
    """Name one notice of leftovers after the SHA-256 of its envelope."""
    return f"{LEFTOVERS}{content}.json"


def is_hold(name: str) -> bool:
    """Tell whether a name in the folder of holds, or of notices of leftovers, has the form of one."""
    return _APPROVAL.match(name) is not None
