"""Name the keys of a service that wrap environment keys, and read what it wrapped.

The formats are in docs/format.md, "Keys in a service". Here are also the errors
that every kind of service gives, so that they say the same.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vault.core import layout, limits, strict_json
from vault.core.fields import Fields, base64_bytes, malformed, one_of
from vault.core.names import Digest, Environment
from vault.errors import AccessDenied, DigestMismatch, MissingLibrary, NoUsableKey, Unavailable

KMS: Final = "kms"
TRANSIT: Final = "transit"
KINDS: Final = (KMS, TRANSIT)
FORMAT: Final = "mvault-wrapped-key-v1"
PURPOSE: Final = "mvault/v1/environment-key"

# A key by its id, never by an alias: whoever administers the account can point that at another key.
_ARN: Final = re.compile(
    r"arn:(?P<partition>aws(?:-[a-z]+){0,3}):kms:(?P<region>[a-z]{2}(?:-[a-z]+){1,3}-[0-9]{1,2}):[0-9]{12}"
    r":key/(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32})\Z",
    re.ASCII,
)
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ADDRESS: Final = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:]{{2,39}}\])"
    r"(?P<port>:[1-9][0-9]{0,4})?\Z",
    re.ASCII,
)
_LOOPBACK: Final = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]")
_PART: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?\Z", re.ASCII)
_REASON_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class KeyServiceId:
    """One key in a service, as a policy names it: `kms` and an ARN, or `transit` and a URL."""

    kind: str
    key: str

    @property
    def digest(self) -> Digest:
        """SHA-256 of the kind, a space and the key: objects for it are named after that."""
        return Digest(hashlib.sha256(f"{self.kind} {self.key}".encode("ascii")).hexdigest())

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True, slots=True)
class TransitKey:
    """Where a key of a transit engine lies: the server's address, the engine's mount, the key's name."""

    address: str
    mount: str
    name: str

    @property
    def url(self) -> str:
        """The key in one line, as policies and identity files name it."""
        return f"{self.address}/{self.mount}/{self.name}"


@dataclass(frozen=True, slots=True)
class SigningKeyId:
    """One version of an Ed25519 key of a transit engine, which signs for an identity."""

    key: TransitKey
    version: int


def identify(kind: str, key: str) -> KeyServiceId:
    """Accept a key of a service as a policy names it, in its one spelling.

    Raises:
        Malformed: there is no such kind, or the key is not of it.
    """
    one_of(*KINDS)(kind)
    if kind == KMS:
        region(key)
    else:
        transit_key(key)
    return KeyServiceId(kind, key)


def region(arn: str) -> str:
    """Give the region of an AWS KMS key's ARN.

    Raises:
        Malformed: it is no ARN of a key; that of an alias is none.
    """
    found = _ARN.match(arn) if len(arn) <= limits.KEY_SERVICE_CHARS else None
    if found is None:
        raise malformed(
            f"The KMS key {arn[:_REASON_CHARS]!r}",
            "the ARN of a key is expected, such as arn:aws:kms:REGION:ACCOUNT:key/ID; an alias is none",
        )
    return found["region"]


def transit_key(url: str) -> TransitKey:
    """Take the URL of a key of a transit engine apart: `https://HOST[:PORT]/MOUNT/KEY`.

    The mount may have several parts, of which the first may be namespaces.

    Raises:
        Malformed: it is none, or would send tokens in the clear.
    """
    pieces = url.split("/") if len(url) <= limits.KEY_SERVICE_CHARS else []
    parts = pieces[3:]
    if len(parts) < 2 or not all(_PART.match(part) for part in parts):
        raise malformed(
            f"The transit key {url[:_REASON_CHARS]!r}",
            "https://HOST:PORT/MOUNT/KEY is expected, nothing more",
        )
    return TransitKey(address("/".join(pieces[:3])), "/".join(parts[:-1]), parts[-1])


def address(text: str) -> str:
    """Accept the address of a service: `https://HOST[:PORT]`, or `http://` on this machine alone.

    Raises:
        Malformed: it is none.
    """
    found = _ADDRESS.match(text) if len(text) <= limits.KEY_SERVICE_CHARS else None
    if found is None:
        raise malformed(
            f"The address {text[:_REASON_CHARS]!r}", "https://HOST or https://HOST:PORT is expected"
        )
    if found["scheme"] == "http" and not _LOOPBACK.fullmatch(found["host"]):
        raise malformed(
            f"The address {text!r}", "a token would travel in the clear: it must begin with https://"
        )
    return text


def context(vault: Digest, environment: Environment, epoch: int) -> Mapping[str, str]:
    """Give what a wrapped key is bound to; nothing of it is secret."""
    return {
        "compartment": layout.COMPARTMENT,
        "environment": environment,
        "epoch": str(epoch),
        "purpose": PURPOSE,
        "vault": vault,
    }


def encode_wrapped(service: KeyServiceId, ciphertext: bytes) -> bytes:
    """Write a wrapped copy of an environment's key."""
    return strict_json.encode(
        {
            "ciphertext": base64.b64encode(ciphertext).decode("ascii"),
            "format": FORMAT,
            "key": service.key,
            "kind": service.kind,
        }
    )


def parse_wrapped(data: bytes, subject: str) -> tuple[KeyServiceId, bytes]:
    """Read a wrapped copy: which key of which service wrapped it, and what that gave.

    Raises:
        Malformed: it is none.
    """
    fields = Fields(strict_json.parse(data, limit=limits.WRAPPED_KEY_BYTES, subject=subject), subject)
    fields.text("format", one_of(FORMAT))
    service = identify(fields.text("kind", str), fields.text("key", str))
    ciphertext = fields.text("ciphertext", base64_bytes)
    fields.done()
    return service, ciphertext


# --- what every kind of service says when it fails ---


def unavailable(service: str, reason: str) -> Unavailable:
    """Build the error of a service that did not answer, or not as it should."""
    return Unavailable(
        f"{service} cannot be used now: {told(reason)}.",
        subject=service,
        hint="Try again. If it stays so, see whether the service runs and can be reached from here.",
    )


def denied(service: str, reason: str) -> AccessDenied:
    """Build the refusal by a service's own access control, or of a key that it does not use."""
    return AccessDenied(
        f"{service} refuses: {told(reason)}.",
        code="key-service-denied",
        subject=service,
        hint="Whoever administers the service grants this, or enables the key. What is needed is in the "
        "documentation: docs/storage/keys.md",
    )


def not_opened(service: str, reason: str) -> DigestMismatch:
    """Build the refusal of what a service does not unwrap."""
    return DigestMismatch(
        f"What is stored for {service} does not open there: {told(reason)}. It was altered, belongs "
        "to another vault, environment or epoch, or the version of the key that wrapped it is gone.",
        code="decrypt-failed",
        subject=service,
        hint="Somebody who holds the environment's key writes another: mvault access sync --again "
        f"'{service}'",
    )


def no_credentials(service: str, hint: str) -> NoUsableKey:
    """Build the error where nothing here says who is asking."""
    return NoUsableKey(f"There are no credentials here for {service}.", subject=service, hint=hint)


def missing_library(service: str, library: str, extra: str) -> MissingLibrary:
    """Build the error where the library for a kind of service is not installed."""
    return MissingLibrary(
        f"{service} is spoken to by {library}, which is not installed.",
        subject=service,
        hint=f"Install it: pip install 'model-artifact-vault[{extra}]'",
    )


def told(reason: str) -> str:
    """Give what a service said in a form that fits into a message: one line of printable text."""
    shown = "".join(sign if sign.isprintable() else " " for sign in reason[: 4 * _REASON_CHARS])
    return " ".join(shown.split())[:_REASON_CHARS].rstrip(". ") or "it does not say why"


def plain_key(data: bytes, service: str) -> bytes:
    """Check the size of what a service unwrapped.

    Raises:
        DigestMismatch: it is no key.
    """
    if not 0 < len(data) <= limits.RECIPIENT_CHARS:
        raise not_opened(service, f"it holds {len(data):,} bytes")
    return data
