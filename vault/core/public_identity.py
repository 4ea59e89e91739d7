"""Read and write the public half of an identity, as `mvault identity export` passes it on.

It is JSON with a name and two public keys, and nobody signs it: whoever takes
one in compares its key id with what its owner says by another way
(docs/cli.md, "mvault identity").
"""

import base64
import re
from dataclasses import dataclass
from typing import Final

from vault.core import bech32, ed25519, limits, names, strict_json
from vault.core.fields import Fields, base64_bytes, malformed, one_of
from vault.errors import Malformed, Refused

FORMAT: Final = "mvault-public-identity-v1"

_RECIPIENT: Final = re.compile(r"age1[a-z0-9]+\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class PublicIdentity:
    """The public half of an identity: its name, Ed25519 key, and age recipient where it has one."""

    name: names.Principal
    public: ed25519.PublicKey
    recipient: str | None


def parse(data: bytes, subject: str) -> PublicIdentity:
    """Parse a public identity; messages call it `subject`. Any spelling of the JSON will do.

    Raises:
        Malformed: `malformed-identity`, also for weak Ed25519 keys and recipients with a wrong checksum.
    """
    try:
        fields = Fields(
            strict_json.parse(data, limit=limits.IDENTITY_FILE_BYTES, canonical=False),
            "The public identity",
        )
        fields.text("format", one_of(FORMAT))
        found = PublicIdentity(
            name=fields.text("name", names.principal),
            public=ed25519.PublicKey.parse(fields.text("ed25519", base64_bytes)),
            recipient=fields.optional("age", _recipient),
        )
        fields.done()
    except Refused as refusal:
        raise Malformed(
            f"{subject} is not a public identity: {refusal.message}",
            code="malformed-identity",
            subject=subject,
            hint="Ask its owner to run: mvault identity export",
        ) from None
    return found


def encode(identity: PublicIdentity) -> bytes:
    """Write a public identity as canonical JSON; `parse` reads it back."""
    return strict_json.encode(
        {
            "age": identity.recipient,
            "ed25519": base64.b64encode(identity.public.raw).decode("ascii"),
            "format": FORMAT,
            "name": identity.name,
        }
    )


def _recipient(text: str) -> str:
    """Accept an age recipient whose checksum holds; what kind it is, `vault.keys.recipients` knows."""
    if not _RECIPIENT.match(text):
        raise malformed("A field", "an age recipient is expected")
    bech32.decode(text)
    return text
