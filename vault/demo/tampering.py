"""What the demo's attacker can do with stored bytes; everything used here is public or the attacker's own."""

import base64
import json
import secrets
import shutil
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
from vault.storage.opening import open_store


@dataclass(frozen=True, slots=True)
class Place:
    """A version of a model."""

    model: str
    version: str


# --- where things lie ---


def version(stage: Stage, place: Place) -> Path:
    """Give a version's folder."""
    return stage.vault / layout.version(names.model(place.model), names.version(place.version))


def manifest(stage: Stage, place: Place) -> Path:
    """Give a version's manifest."""
    return version(stage, place) / "manifest.json"


def keys(stage: Stage, place: Place, environment: str) -> Path:
    """Give the folder of a version's key headers for an environment."""
    return version(stage, place) / "keys" / f"{environment}-1"


def record(stage: Stage, model: str, number: int) -> Path:
    """Give a record of a model's channel in prod."""
    folder = layout.channel(names.environment("prod"), names.MAIN, names.model(model))
    return stage.vault / folder / layout.numbered(number)


def payload(stage: Stage, place: Place, path: str) -> Path:
    """Give the stored ciphertext of one file of a version, as its sealing record tells everybody."""
    return version(stage, place) / "files" / str(_sealed(stage, place, path)["id"])


def _sealed(stage: Stage, place: Place, path: str) -> dict[str, Any]:
    data, _ = opened(version(stage, place) / "sealed" / layout.numbered(1))
    found: dict[str, Any] = next(entry for entry in json.loads(data)["files"] if entry["path"] == path)
    return found


# --- bytes ---


def write(path: Path, data: bytes) -> None:
    """Put bytes under a name, whatever was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def copy(source: Path, target: Path) -> None:
    """Put a folder in the place of another."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


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


def opened(path: Path) -> tuple[bytes, list[Any]]:
    """Give a document's payload and its list of signatures."""
    document = json.loads(path.read_bytes())
    return base64.b64decode(document["payload"]), document["signatures"]


def edit(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change an envelope."""
    write(path, strict_json.encode(change(json.loads(path.read_bytes()))))


def put_together(path: Path, kind: str, data: bytes, signatures: list[Any]) -> None:
    """Write an envelope of any payload and any signatures."""
    document: dict[str, JSONValue] = {
        "payload": base64.b64encode(data).decode(),
        "payloadType": envelope.payload_type(kind),
        "signatures": signatures,
    }
    write(path, strict_json.encode(document))


def sign_again(path: Path, kind: str, signer: HeldIdentity) -> None:
    """Replace a document's signatures by a genuine one of somebody else's."""
    data, _ = opened(path)
    write(path, _signed(kind, data, signer))


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
    existing = json.loads(opened(record(stage, "churn", 1))[0])
    digest = envelope.digest(opened(manifest(stage, place))[0])
    wanted = existing | {"model": place.model, "version": place.version, "manifest": digest}
    write(
        record(stage, place.model, 1),
        _signed(records.CHANNEL, strict_json.encode(wanted), signer),
    )
    copy(keys(stage, place, "dev"), keys(stage, place, "prod"))


def seal_for_prod(stage: Stage, place: Place, path: str, data: bytes) -> None:
    """Encrypt other content for prod's public key, as anybody can, and put it in a file's place."""
    entry = _sealed(stage, place, path)
    data = data.ljust(entry["plain_size"], b"\0")
    file_id, file_key = entry["id"], secrets.token_bytes(age.FILE_KEY_BYTES)
    target = payload(stage, place, path)
    store = open_store(str(stage.vault))
    target.unlink()
    with store.create(target.relative_to(stage.vault).as_posix()) as sink:
        nonce = secrets.token_bytes(limits.AGE_NONCE)
        sealing.seal(BytesSource(data), sink, file_key=file_key, nonce=nonce, size=len(data))
    folder = keys(stage, place, "prod")
    for header in folder.glob(f"{file_id}-*"):
        header.unlink()
    header_bytes = recipients.wrap(file_key, [_prod(stage)], secrets.token_bytes)
    write(folder / f"{file_id}-{envelope.digest(header_bytes)[:32]}", header_bytes)


def _prod(stage: Stage) -> recipients.Recipient:
    document = json.loads(opened(stage.vault / layout.policy(1))[0])
    digest = document["environments"]["prod"]["epochs"][0]["recipient"]["digest"]
    return recipients.parse_recipient((stage.vault / layout.recipient(digest)).read_text())


def found_another(stage: Stage) -> None:
    """Found a vault of the attacker's own in this one's place; the old models stay where they were."""
    for name in (layout.VAULT, layout.README):
        (stage.vault / name).unlink()
    shutil.rmtree(stage.vault / "trust")
    init.init(
        open_store(str(stage.vault)),
        stranger(),
        parse_policy(shipped("solo"), "solo.yaml"),
        kind="mlkem768x25519",
        now=names.time_text(opening.clock()),
        random=secrets.token_bytes,
        keep_recovery=lambda _: None,
    )


# --- putting everything back ---


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The vault's bytes before an attack; what a service goes on writing below `but` is left alone."""

    folder: Path
    files: dict[Path, bytes]
    but: Path | None = None

    @classmethod
    def take(cls, folder: Path, *, but: Path | None = None) -> "Snapshot":
        """Read everything."""
        return cls(folder, _read(folder, but), but)

    def differs(self) -> bool:
        """Tell whether anything was changed, added or removed since."""
        return _read(self.folder, self.but) != self.files

    def restore(self) -> None:
        """Put every byte back, and remove what was added."""
        now = _read(self.folder, self.but)
        for path in now.keys() - self.files.keys():
            path.unlink()
        for path, data in self.files.items():
            if now.get(path) != data:
                write(path, data)


def _read(folder: Path, but: Path | None) -> dict[Path, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path: path.read_bytes() for path in files if but is None or but not in path.parents}
