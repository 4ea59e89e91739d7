"""Bech32 text for age keys (BIP 173, without its length limit, as C2SP age.md asks)."""

from typing import Final, NoReturn

from vault import errors
from vault.core import limits

_CHARSET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES: Final = {character: value for value, character in enumerate(_CHARSET)}
_GENERATORS: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_CHARS: Final = 6
_PREFIX_CHARS: Final = 83


def encode(prefix: str, data: bytes) -> str:
    """Encode `data` under the human-readable `prefix`; the case of the prefix is that of the text.

    Raises:
        ValueError: the prefix is empty, too long, of mixed case, or not printable ASCII; or the
            text would be longer than `limits.RECIPIENT_CHARS`.
    """
    lower = prefix.lower()
    if not _is_prefix(prefix) or prefix not in {lower, prefix.upper()}:
        raise ValueError(f"{prefix!r} is not a Bech32 prefix")
    values = _regroup_to_five(data)
    text = lower + "1" + "".join(_CHARSET[value] for value in values + _checksum(lower, values))
    if len(text) > limits.RECIPIENT_CHARS:
        raise ValueError(f"{len(data)} bytes are too many for a key")
    return text if prefix == lower else text.upper()


def decode(text: str) -> tuple[str, bytes]:
    """Return the human-readable prefix, in the case it was written in, and the data.

    Raises:
        Malformed: the text is too long, of mixed case, not Bech32, has a wrong checksum,
            or bits left over that are not zero (`malformed-key`).
    """
    if len(text) > limits.RECIPIENT_CHARS:
        _refuse(f"it is longer than {limits.RECIPIENT_CHARS} characters")
    if not text.isascii():
        _refuse("it has characters outside ASCII")
    lower = text.lower()
    if text not in {lower, text.upper()}:
        _refuse("it mixes upper and lower case")
    mark = lower.rfind("1")
    prefix, coded = text[: max(mark, 0)], lower[mark + 1 :]
    if mark < 1 or len(coded) < _CHECKSUM_CHARS or not _is_prefix(prefix):
        _refuse("it has no prefix or no checksum")
    values = [_VALUES.get(character, -1) for character in coded]
    if -1 in values:
        _refuse("it has a character that Bech32 does not use")
    if _checksum(prefix.lower(), values[:-_CHECKSUM_CHARS]) != values[-_CHECKSUM_CHARS:]:
        _refuse("its checksum is wrong; was it copied whole?")
    return prefix, _regroup_to_eight(values[:-_CHECKSUM_CHARS])


def _refuse(reason: str) -> NoReturn:
    # The text itself may be a secret key, so that it is never repeated here.
    raise errors.Malformed(
        f"This is not a key in Bech32 form: {reason}.",
        code="malformed-key",
        hint="Copy the whole line again, with nothing added or missing.",
    )


def _is_prefix(prefix: str) -> bool:
    return 0 < len(prefix) <= _PREFIX_CHARS and all("!" <= character <= "~" for character in prefix)


def _polymod(values: list[int]) -> int:
    """Return the residue of the BCH code of BIP 173."""
    residue = 1
    for value in values:
        top = residue >> 25
        residue = (residue & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATORS):
            if top >> bit & 1:
                residue ^= generator
    return residue


def _checksum(prefix: str, values: list[int]) -> list[int]:
    codes = [ord(character) for character in prefix]
    expanded = [code >> 5 for code in codes] + [0] + [code & 31 for code in codes]
    residue = _polymod(expanded + values + [0] * _CHECKSUM_CHARS) ^ 1
    return [residue >> 5 * (5 - index) & 31 for index in range(_CHECKSUM_CHARS)]


def _regroup_to_five(data: bytes) -> list[int]:
    bits = 8 * len(data)
    padding = -bits % 5
    number = int.from_bytes(data, "big") << padding
    count = (bits + padding) // 5
    return [number >> 5 * (count - 1 - index) & 31 for index in range(count)]


def _regroup_to_eight(values: list[int]) -> bytes:
    padding = 5 * len(values) % 8
    number = 0
    for value in values:
        number = number << 5 | value
    if padding >= 5 or number & ((1 << padding) - 1):
        _refuse("it has bits left over at its end")
    return (number >> padding).to_bytes(5 * len(values) // 8, "big")
