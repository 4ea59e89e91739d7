"""What the demo's attacker can do with stored bytes; everything used here is public or the attacker's own."""

import base64
import json
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vault import sealing
from vault.actions import init, opening
from vault.actions.publish import BytesSource
from vault.actions.session import HeldIdentity
from vault.core import age, envelope, layout, limits, names, records, strict_json
from vault.core.names import Digest
from vault.core.strict_json import JSONValue
from vault.demo.stage import Stage
from vault.keys import identity_file, recipients
from vault.policyfile import parse as parse_policy
from vault.policyfile import shipped


@dataclass(frozen=True, slots=True)
class Place:
    """A version of a model."""

    model: str
    version: str


# --- where things lie ---


def version(place: Place) -> str:
    """Name a version's folder."""
    return layout.version(names.model(place.model), names.version(place.version))


def manifest(place: Place) -> str:
    """Name a version's manifest."""
    return layout.manifest(names.model(place.model), names.version(place.version))


def keys(place: Place, environment: str) -> str:
    """Name the folder of a version's key headers for an environment."""
    model, number = names.model(place.model), names.version(place.version)
    return layout.header_folder(model, number, names.environment(environment), 1)


def record(model: str, number: int) -> str:
    """Name a record of a model's channel in prod."""
    folder = layout.channel(names.environment("prod"), names.MAIN, names.model(model))
    return folder + layout.numbered(number)


def payload(stage: Stage, place: Place, path: str) -> str:
    """Name the stored ciphertext of one file of a version, as its sealing record tells everybody."""
    file_id = str(_sealed(stage, place, path)["id"])
    return layout.payload(names.model(place.model), names.version(place.version), file_id)


def _sealed(stage: Stage, place: Place, path: str) -> dict[str, Any]:
    folder = layout.sealed(names.model(place.model), names.version(place.version))
    data, _ = opened(stage, folder + layout.numbered(1))
    found: dict[str, Any] = next(entry for entry in json.loads(data)["files"] if entry["path"] == path)
    return found


# --- bytes ---


def pickle(marker: Path) -> bytes:
    """Write a pickle that creates `marker` when it is loaded: `open(marker, "w")`, protocol 4.

    Written opcode by opcode: PROTO 4, GLOBAL, two BINUNICODE, TUPLE2, REDUCE, STOP.
    """
    arguments = b"".join(
        b"X" + len(text).to_bytes(4, "little") + text for text in (str(marker).encode(), b"w")
    )
    return b"\x80\x04cbuiltins\nopen\n" + arguments + b"\x86R."


def run_pickle(stage: Stage) -> None:
    """Load the attacker's pickle in a process of its own, by Python alone, as an unguarded service would."""
    file = stage.folder / "attacker"
    file.write_bytes(pickle(stage.marker))
    subprocess.run(  # noqa: S603 (this Python; the file was written on the line above)
        [sys.executable, "-m", "pickle", str(file)], capture_output=True, timeout=60, check=False
    )


# --- signed documents ---


def opened(stage: Stage, name: str) -> tuple[bytes, list[Any]]:
    """Give a document's payload and its list of signatures."""
    document = json.loads(stage.storage.get(name))
    return base64.b64decode(document["payload"]), document["signatures"]


def edit(stage: Stage, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change an envelope."""
    stage.storage.put(name, strict_json.encode(change(json.loads(stage.storage.get(name)))))


def put_together(stage: Stage, name: str, kind: str, data: bytes, signatures: list[Any]) -> None:
    """Write an envelope of any payload and any signatures."""
    document: dict[str, JSONValue] = {
        "payload": base64.b64encode(data).decode(),
        "payloadType": envelope.payload_type(kind),
        "signatures": signatures,
    }
    stage.storage.put(name, strict_json.encode(document))


def sign_again(stage: Stage, name: str, kind: str, signer: HeldIdentity) -> None:
    """Replace a document's signatures by a genuine one of somebody else's."""
    data, _ = opened(stage, name)
    stage.storage.put(name, _signed(kind, data, signer))


def _signed(kind: str, data: bytes, signer: HeldIdentity) -> bytes:
    return envelope.serialise(envelope.sign(kind, data, [(Digest(signer.key_id), signer.sign)]))


def stranger() -> identity_file.Identity:
    """Make an identity that nobody has heard of."""
    private = recipients.generate_identity("mlkem768x25519", secrets.token_bytes)
    return identity_file.new(
        "stranger",
        random=secrets.token_bytes,
        now=opening.clock(),
        age_identity=private.encode(),
        age_recipient=private.recipient().encode(),
    )


# --- whole operations, done by somebody who may not ---


def promote_as(stage: Stage, signer: HeldIdentity, place: Place) -> None:
    """Write a channel record that is right in everything but its signer, and hand over keys."""
    existing = json.loads(opened(stage, record("churn", 1))[0])
    digest = envelope.digest(opened(stage, manifest(place))[0])
    wanted = existing | {"model": place.model, "version": place.version, "manifest": digest}
    stage.storage.put(
        record(place.model, 1),
        _signed(records.CHANNEL, strict_json.encode(wanted), signer),
    )
    stage.storage.copy(keys(place, "dev"), keys(place, "prod"))


def seal_for_prod(stage: Stage, place: Place, path: str, data: bytes) -> None:
    """Encrypt other content for prod's public key, as anybody can, and put it in a file's place."""
    entry = _sealed(stage, place, path)
    data = data.ljust(entry["plain_size"], b"\0")
    file_id, file_key = entry["id"], secrets.token_bytes(age.FILE_KEY_BYTES)
    target = payload(stage, place, path)
    stage.storage.delete(target)
    with stage.storage.create(target, size=entry["cipher_size"]) as sink:
        nonce = secrets.token_bytes(limits.AGE_NONCE)
        sealing.seal(BytesSource(data), sink, file_key=file_key, nonce=nonce, size=len(data))
    folder = keys(place, "prod")
    stage.storage.remove(f"{folder}{file_id}-")
    header = recipients.wrap(file_key, [_prod(stage)], secrets.token_bytes)
    stage.storage.put(f"{folder}{file_id}-{envelope.digest(header)[:32]}", header)


def _prod(stage: Stage) -> recipients.Recipient:
    document = json.loads(opened(stage, layout.policy(1))[0])
    digest = document["environments"]["prod"]["epochs"][0]["recipient"]["digest"]
    return recipients.parse_recipient(stage.storage.get(layout.recipient(digest)).decode("ascii"))


def found_another(stage: Stage) -> None:
    """Found a vault of the attacker's own in this one's place; the old models stay where they were."""
    for name in (layout.VAULT, layout.README):
        stage.storage.delete(name)
    stage.storage.remove("trust/")
    init.init(
        stage.storage,
        stranger(),
        parse_policy(shipped("solo"), "solo.yaml"),
        kind="mlkem768x25519",
        now=names.time_text(opening.clock()),
        random=secrets.token_bytes,
        keep_recovery=lambda _: None,
    )
