"""Sheets of paper for keys: text in groups with a check on every line, which people print and type in again.

Source of the alphabet: Crockford's Base32, which has no letters that look like
digits. A recovery identity is printed as it is, so that a stock age program
takes it from the sheet; anything longer is packed (docs/format.md, "Key sheet").
"""

import hashlib
import re
import zlib
from dataclasses import dataclass
from typing import Final

from vault.core import limits, names
from vault.core.names import Digest
from vault.errors import Malformed, Refused

TITLE: Final = "MVAULT KEY SHEET 1"
RECOVERY: Final = "recovery identity"
IDENTITY: Final = "identity file"
KINDS: Final = (RECOVERY, IDENTITY)

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_SAME: Final = str.maketrans("OIL", "011")
_GROUP: Final = 6
_LINE: Final = 8 * _GROUP
_CHECK: Final = 3
_NUMBERED: Final = re.compile(r"\s*([0-9]{1,3})[.:)]?\s+(.+?)\s*\Z", re.ASCII)
_HEADER: Final = re.compile(r"\s*(vault|holds|check)\s*:?\s+(.+?)\s*\Z", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a sheet holds: a recovery identity's line, or an identity file's bytes; and of which vault."""

    kind: str
    vault: Digest
    data: bytes


def encode(sheet: Sheet) -> list[str]:
    """Write the lines of a sheet, at most 80 characters each, without what is explained around them."""
    text = _text_of(sheet)
    parts = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    lines = [TITLE, f"Holds: {sheet.kind}", f"Vault: {names.DIGEST_PREFIX}{sheet.vault}"]
    for number, part in enumerate(parts, start=1):
        groups = " ".join(part[start : start + _GROUP] for start in range(0, len(part), _GROUP))
        lines.append(f"{number:3}  {groups}  {_check(str(number), part)}")
    return [*lines, f"Check: {_total(sheet.kind, sheet.vault, text)}"]


def parse(text: str, subject: str) -> Sheet:
    """Read a sheet that was typed: spaces, case of letters and what stands around it do not matter.

    Raises:
        Malformed: `malformed-identity`: a line is missing or does not fit its check; the message says which.
    """
    if len(text) > 4 * limits.IDENTITY_FILE_BYTES:
        raise _malformed(subject, "it is too long for a sheet")
    headers: dict[str, str] = {}
    parts: dict[int, str] = {}
    for line in text.splitlines():
        if numbered := _NUMBERED.match(line):
            number = int(numbered[1])
            part = _checked(number, numbered[2], subject)
            if parts.setdefault(number, part) != part:
                raise _malformed(subject, f"line {number} is there twice, and not the same")
        elif header := _HEADER.match(line):
            headers[header[1].lower()] = header[2]
    lost = [str(number) for number in range(1, max(parts, default=1) + 1) if number not in parts]
    if lost:
        raise _malformed(subject, f"line {', '.join(lost[:9])} is missing")
    if missing := [name for name in ("holds", "vault", "check") if name not in headers]:
        raise _malformed(subject, f"the line that begins with {missing[0].capitalize()} is missing")
    kind = " ".join(headers["holds"].lower().split())
    if kind not in KINDS:
        raise _malformed(subject, f"the line Holds says {kind[:40]!r}; it is one of {', '.join(KINDS)}")
    vault = _vault(headers["vault"], subject)
    joined = "".join(parts[number] for number in sorted(parts))
    if _total(kind, vault, joined) != _plain(headers["check"]):
        raise _malformed(
            subject,
            "every line fits its check, but the whole does not: look at the lines Holds, Vault and "
            "Check, and whether the last line is there",
        )
    return Sheet(kind, vault, _data_of(kind, joined, subject))


def _vault(text: str, subject: str) -> Digest:
    try:
        return names.digest("".join(text.split()).lower().removeprefix(names.DIGEST_PREFIX))
    except Refused:
        raise _malformed(subject, "the line Vault has no fingerprint: sha256: and 64 digits") from None


def _text_of(sheet: Sheet) -> str:
    if sheet.kind == RECOVERY:
        return sheet.data.decode("ascii").upper()
    packed = zlib.compress(sheet.data, 9)
    bits = int.from_bytes(b"\x01" + packed, "big")
    digits = []
    while bits:
        bits, rest = divmod(bits, 32)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))


def _data_of(kind: str, text: str, subject: str) -> bytes:
    if kind == RECOVERY:
        return text.encode("ascii")
    bits = 0
    for char in text:
        if char not in _ALPHABET:
            raise _malformed(subject, f"{char!r} stands in it, which no sheet has")
        bits = bits * 32 + _ALPHABET.index(char)
    packed = bits.to_bytes((bits.bit_length() + 7) // 8, "big")
    if packed[:1] != b"\x01":
        raise _malformed(subject, "it does not begin as a sheet does")
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(packed[1:], limits.IDENTITY_FILE_BYTES + 1)
    except zlib.error:
        raise _malformed(subject, "it cannot be unpacked") from None
    if not unpacking.eof or len(data) > limits.IDENTITY_FILE_BYTES:
        raise _malformed(subject, "it is larger than any identity file")
    return data


def _checked(number: int, typed: str, subject: str) -> str:
    """Take a typed line apart into its text and its check.

    Raises:
        Malformed: it does not fit.
    """
    line = "".join(typed.split()).upper()
    part, check = line[:-_CHECK], line[-_CHECK:]
    for text in (part, part.translate(_SAME)):  # of what is packed, O stands for 0, I and L for 1
        if _check(str(number), text) == check.translate(_SAME):
            return text
    raise _malformed(
        subject, f"line {number} does not fit its check ({check or 'none'}): compare it with the sheet"
    )


def _check(number: str, part: str) -> str:
    return _digits(f"{number}:{part}", _CHECK)


def _total(kind: str, vault: Digest, text: str) -> str:
    return _digits(f"{kind}\n{vault}\n{text}", 2 * _GROUP)


def _digits(text: str, count: int) -> str:
    """Give the first digits of SHA-256, five bits each."""
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    bits = int.from_bytes(digest, "big") >> (256 - 5 * count)
    return "".join(_ALPHABET[bits >> (5 * place) & 31] for place in reversed(range(count)))


def _plain(text: str) -> str:
    return "".join(text.split()).upper().translate(_SAME)


def _malformed(subject: str, why: str) -> Malformed:
    return Malformed(
        f"{subject} cannot be read as a key sheet: {why}.",
        code="malformed-identity",
        subject=subject,
        hint="Type what is printed: groups, and the three characters at the end of every line.",
    )
