"""Choose a slot for a key, for A/B tests: the same key gets the same slot, by weights (docs/loading.md).

    u(slot) = (n + 1) / 2**64
        n = the first 8 bytes, big endian, of HMAC-SHA256(vault id, label ‖ model ‖ environment ‖ slot ‖ key)
    the slot with the least  -ln(u(slot)) / weight(slot)  is chosen

Weighted rendezvous hashing: each slot is chosen for a share of the keys that is its
share of the weights. When one weight changes, keys move to or from that slot only, and
exactly as many as its share changes by. When several change at once, at most
2d / (1 + d) of the keys move, where d is the least that could (Bavarian et al.,
"Optimality of Correlated Sampling Strategies", 2020). Logarithms are taken in decimal
arithmetic, which rounds alike on every machine.
"""

import hmac
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Final

from vault.core import limits, names
from vault.core.names import Digest, Environment, Model, Slot
from vault.errors import Malformed

Key = str | int | bytes
Weight = int | float

_LABEL: Final = b"mvault/v1/choose\x00"
_ARITHMETIC: Final = Context(prec=40)
_RANGE: Final = Decimal(2**64)
_LARGEST: Final = 10**9


def weights_of(given: Mapping[str, Weight]) -> dict[Slot, Decimal]:
    """Check the weights of slots: numbers from 0 to 10**9, one of them more than 0.

    Raises:
        ValueError: they are not that, or a name is no slot's.
        TypeError: a weight is no number.
    """
    if not 0 < len(given) <= limits.CHOICES:
        raise ValueError(f"There are 1 to {limits.CHOICES} slots to choose from.")
    found: dict[Slot, Decimal] = {}
    for name, weight in given.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise TypeError(f"The weight of {name} is a number, not {type(weight).__name__}.")
        if not 0 <= weight <= _LARGEST:
            raise ValueError(f"The weight of {name} is from 0 to {_LARGEST:,}, not {weight}.")
        try:
            found[names.slot(name)] = Decimal(weight)
        except Malformed as error:
            raise ValueError(error.message) from None
    if not any(found.values()):
        raise ValueError("One of the slots has a weight above 0.")
    return found


def key_bytes(key: Key) -> bytes:
    """Give the bytes of a key: of a text its UTF-8, of a whole number its decimal digits.

    Raises:
        ValueError: it is empty, too long, or holds half a character.
        TypeError: it is something else.
    """
    if isinstance(key, bool) or not isinstance(key, str | int | bytes):
        raise TypeError(f"A key is text, a whole number or bytes, not {type(key).__name__}.")
    if isinstance(key, int):
        if abs(key) >= 10**limits.CHOICE_KEY_DIGITS:
            raise ValueError(f"A key that is a number has at most {limits.CHOICE_KEY_DIGITS} digits.")
        key = str(key)
    try:
        data = key.encode("utf-8") if isinstance(key, str) else key
    except UnicodeEncodeError:
        raise ValueError("The key holds half a character.") from None
    if not 0 < len(data) <= limits.CHOICE_KEY_BYTES:
        raise ValueError(f"A key has 1 to {limits.CHOICE_KEY_BYTES:,} bytes.")
    return data


def choose(
    vault: Digest, model: Model, environment: Environment, key: bytes, weights: Mapping[Slot, Decimal]
) -> Slot:
    """Give the slot for a key; `weights` are as `weights_of` gives them."""
    secret = bytes.fromhex(vault)
    best: tuple[Decimal, Slot] | None = None
    for slot in sorted(weights):
        if not weights[slot]:
            continue
        parts = (model.encode("ascii"), environment.encode("ascii"), slot.encode("ascii"), key)
        message = _LABEL + b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        number = int.from_bytes(hmac.digest(secret, message, "sha256")[:8], "big")
        share = _ARITHMETIC.divide(Decimal(number + 1), _RANGE)
        wait = _ARITHMETIC.divide(-_ARITHMETIC.ln(share), weights[slot])
        if best is None or (wait, slot) < best:
            best = wait, slot
    if best is None:
        raise ValueError("One of the slots has a weight above 0.")
    return best[1]
