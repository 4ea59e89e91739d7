"""The locations that a user trusts, each with the digest of its root (docs/format.md, "Client memory")."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vault.core import limits, names, strict_json
from vault.core.fields import Fields, malformed
from vault.core.memory_format import damaged
from vault.core.names import Digest
from vault.core.strict_json import JSONValue
from vault.errors import Refused

PINS_FORMAT: Final = "mvault-pins-v1"


@dataclass(frozen=True, slots=True)
class Pin:
    """The root digest by which a location is trusted here, and since when (`YYYY-MM-DDThh:mm:ssZ`)."""

    root: Digest
    added: str


def parse_pins(data: bytes, subject: str) -> dict[str, Pin]:
    """Parse the trusted locations of this user: location -> pin. Any spelling of the JSON will do.

    Raises:
        Refused: `memory-damaged`.
    """
    try:
        fields = Fields(strict_json.parse(data, limit=limits.PINS_BYTES, canonical=False), "The list")
        if fields.text("format", str) != PINS_FORMAT:
            raise malformed("The list", f"its format is not {PINS_FORMAT}")
        locations = fields.mapping("trusted", _location, limits.PINS)
        fields.done()
        return {location: _pin(Fields(value, location)) for location, value in locations.items()}
    except Refused as refusal:
        raise damaged(subject, refusal.message) from None


def encode_pins(pins: Mapping[str, Pin]) -> bytes:
    """Write the trusted locations; `parse_pins` reads them back."""
    trusted: dict[str, JSONValue] = {
        location: {"added": pin.added, "root": pin.root} for location, pin in pins.items()
    }
    return strict_json.encode({"format": PINS_FORMAT, "trusted": trusted})


def _location(text: str) -> str:
    if not 0 < len(text) <= limits.LOCATION_CHARS:
        raise malformed("A location", f"it has 1 to {limits.LOCATION_CHARS:,} characters")
    return text


def _pin(fields: Fields) -> Pin:
    pin = Pin(fields.text("root", names.digest), fields.text("added", str))
    names.timestamp(pin.added)
    fields.done()
    return pin
