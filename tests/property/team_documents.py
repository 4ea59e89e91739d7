"""What the slow oracle reads and is asked: signed documents, and questions with a client's memory.

Documents are read with `json` and their signatures checked with `cryptography`; none of the vault's own
parsers is used.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Value = dict[str, Any]
Order = tuple[int, int]
Known = tuple[int, int, str]  # era, number, digest


class Denied(Exception):
    """The oracle says no; `codes` are the reasons that the vault may give."""

    def __init__(self, *codes: str) -> None:
        super().__init__(", ".join(codes))
        self.codes = frozenset(codes)


@dataclass(frozen=True)
class Document:
    """A signed document: what it says, its digest, and the signatures beside it, not checked yet."""

    kind: str
    digest: str
    value: Value
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@cache
def document(data: bytes, kind: str) -> Document | None:
    """Read an envelope of one kind; None for anything else."""
    try:
        outer = json.loads(data)
        if set(outer) != {"payload", "payloadType", "signatures"} or canonical(outer) != data:
            return None
        payload = base64.b64decode(outer["payload"], validate=True)
        value = json.loads(payload)
        listed = []
        for entry in outer["signatures"]:
            signature = base64.b64decode(entry["sig"], validate=True)
            if base64.b64encode(signature).decode() != entry["sig"] or len(signature) != 64:
                return None
            listed.append((entry["keyid"], signature))
    except (ValueError, TypeError, KeyError):
        return None
    if base64.b64encode(payload).decode() != outer["payload"] or canonical(value) != payload:
        return None
    if outer["payloadType"] != f"application/vnd.mvault.{kind}.v1+json":
        return None
    return Document(kind, hashlib.sha256(payload).hexdigest(), value, payload, tuple(listed))


@cache
def fits(key: bytes, signature: bytes, kind: str, payload: bytes) -> bool:
    """Check one signature over DSSE's encoding of kind and payload."""
    name = f"application/vnd.mvault.{kind}.v1+json".encode()
    message = b" ".join([b"DSSEv1", b"%d" % len(name), name, b"%d" % len(payload), payload])
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def signed_by(found: Document, public: bytes) -> bool:
    key_id = hashlib.sha256(public).hexdigest()
    return any(
        name == key_id and fits(public, signature, found.kind, found.payload)
        for name, signature in found.signatures
    )


def covers(patterns: list[str] | None, model: str) -> bool:
    """Tell whether some pattern means the model: `*`, the model, or `a/*` for what is below `a`."""
    return patterns is None or any(
        pattern in ("*", model) or (pattern.endswith("/*") and model.startswith(pattern[:-1]))
        for pattern in patterns
    )


# --- questions ---


@dataclass(frozen=True)
class Seen:
    """What a client remembers, as plain data."""

    policy: Known | None = None
    channels: Mapping[str, Known] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    heads: Mapping[str, Known] = field(default_factory=dict)


@dataclass(frozen=True)
class Use:
    """Who asks for what: a key, an action, an environment, and a channel, a version or just a model."""

    key_id: str
    action: str
    env: str
    model: str
    slot: str | None = None  # of a channel; "" means that none was named, which is `main`
    version: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The one manifest that may be used, or why none may; `withheld`: a refusal is right as well."""

    manifest: str | None
    version: str | None
    codes: frozenset[str]
    publishers: tuple[str, ...] = ()
    withheld: bool = False


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def nothing_required(rule: dict[str, Any]) -> bool:
    """Tell whether publishing is enough; being warned of old heads asks nothing of a version."""
    return all(not value or value == "warn" for value in rule.values())


def parse_known(text: str) -> Known:
    era, number, digest = text.split(".")
    return int(era), int(number), digest
