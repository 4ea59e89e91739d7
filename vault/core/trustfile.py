"""The trust file that a container is given (docs/format.md, "Trust file").

It pins a vault, brings floors for a client that remembers nothing, and the
operator's allowance. It holds no secret; whoever can change it decides what
this machine trusts.
"""

from dataclasses import dataclass
from typing import Final

from vault.core import limits, memory_format, names, strict_json
from vault.core.allowance import Allowance
from vault.core.fields import Fields, malformed, one_of, plain
from vault.core.memory_format import Memory
from vault.core.names import Digest
from vault.core.strict_json import JSONValue
from vault.errors import Malformed, Refused

FORMAT: Final = "mvault-trust-v1"


@dataclass(frozen=True, slots=True)
class TrustFile:
    """What a trust file says: the pinned vault, the floors, and what may be loaded beyond the default."""

    vault: Digest
    floor: Memory
    allowance: Allowance


def encode(trust: TrustFile) -> bytes:
    """Write a trust file; `parse` reads it back."""
    allow = trust.allowance
    value: dict[str, JSONValue] = {
        "allow": {
            "formats": [*sorted(allow.formats)],
            "max_bytes": allow.max_bytes,
            "onnx_domains": [*sorted(allow.onnx_domains)],
            "pickle_globals": [*sorted(allow.pickle_globals)],
            "skops_types": [*sorted(allow.skops_types)],
        },
        "floor": strict_json.parse(memory_format.encode(trust.floor), limit=limits.MEMORY_BYTES),
        "format": FORMAT,
        "vault": trust.vault,
    }
    return strict_json.encode(value)


def parse(data: bytes, subject: str) -> TrustFile:
    """Parse a trust file; messages call it `subject`. Any spelling of the JSON will do.

    Raises:
        Malformed: `malformed-trust`.
    """
    try:
        fields = Fields(
            strict_json.parse(data, limit=limits.MEMORY_BYTES, canonical=False, subject=subject), subject
        )
        fields.text("format", one_of(FORMAT))
        vault = fields.text("vault", names.digest)
        floor = memory_format.parse(strict_json.encode(fields.raw("floor")), vault, subject)
        allowance = fields.object("allow", _allowance)
        fields.done()
    except (Refused, ValueError) as error:
        raise Malformed(
            f"{subject} is not a trust file: {error}",
            code="malformed-trust",
            subject=subject,
            hint="Make a new one where the vault is trusted: mvault trust export",
        ) from None
    return TrustFile(vault, floor, allowance)


def _allowance(fields: Fields) -> Allowance:
    def texts(name: str) -> frozenset[str]:
        return frozenset(fields.texts(name, plain, limits.PATTERNS))

    found = Allowance(
        formats=texts("formats"),
        skops_types=texts("skops_types"),
        pickle_globals=texts("pickle_globals"),
        onnx_domains=texts("onnx_domains"),
        max_bytes=fields.integer("max_bytes", 1, limits.FILE_BYTES),
    )
    if any(not name for name in found.formats):
        raise malformed(fields.what, "a format has a name")
    return found
