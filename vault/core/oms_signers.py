"""Read whom to trust for signatures beside files: lines as in OpenSSH's allowed_signers (docs/signing.md).

    anna                           ssh-ed25519 AAAA… a comment
    anna                           ecdsa-sha2-nistp256 AAAA…
    ben  models="churn,nepse/*",valid-before="20270101Z"  ssh-ed25519 AAAA…
    cleo revoked                   ssh-ed25519 AAAA…

Source: ssh-keygen(1), "ALLOWED SIGNERS", narrowed: one name a line, which is a person; times without
`Z` are UTC too; `cert-authority` and negated patterns are refused. `models` and `revoked` are ours.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from vault.core import limits, public_keys
from vault.core.public_keys import PublicKey
from vault.errors import Malformed, Refused

NAMESPACE: Final = "model"  # of signatures over models, for files that list keys for other things too

_PERSON: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,199}\Z", re.ASCII)
_TOKEN: Final = re.compile(r'(?:[^\s"]|"[^"]*")+')
_OPTION: Final = re.compile(r'([A-Za-z-]+)(?:="([^"]*)")?\Z', re.ASCII)
_PATTERN: Final = re.compile(r"[A-Za-z0-9._/@:+*?-]+\Z", re.ASCII)
_TIME: Final = re.compile(r"([0-9]{8})(?:([0-9]{4})([0-9]{2})?)?Z?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A key, whose it is, and for what and when it counts.

    `models` and `namespaces` are patterns with `*` and `?`, None for any. `after` and `before` are
    seconds since 1970, the last not included.
    """

    person: str
    key: PublicKey
    models: tuple[str, ...] | None = None
    namespaces: tuple[str, ...] | None = None
    after: int | None = None
    before: int | None = None
    revoked: bool = False

    def covers(self, model: str) -> bool:
        """Tell whether the key may sign this model."""
        return self.models is None or matches(self.models, model)


@dataclass(frozen=True, slots=True)
class Trusted:
    """Every key that is listed, by its id. A key belongs to one person; a person may have several."""

    keys: tuple[TrustedKey, ...] = ()
    by_id: dict[str, TrustedKey] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Index the keys; of one that is listed twice the revocation counts.

        Raises:
            Malformed: a key is listed for two people, or twice in different ways.
        """
        if len(self.keys) > limits.OMS_TRUSTED_KEYS:
            raise _bad("the trusted keys", 0, f"more than {limits.OMS_TRUSTED_KEYS:,} keys are listed")
        for entry in sorted(self.keys, key=lambda entry: entry.revoked):
            known = self.by_id.get(entry.key.key_id, entry)
            if known.person != entry.person or (known != entry and not entry.revoked):
                raise _bad(
                    "the trusted keys", 0, f"one key is listed twice, for {known.person} and {entry.person}"
                )
            self.by_id[entry.key.key_id] = entry


def parse(data: bytes, subject: str) -> tuple[TrustedKey, ...]:
    """Read a file of allowed signers; messages call it `subject`.

    Raises:
        Malformed: `malformed-trust` with the number of the line, `malformed-key`, or `too-large`.
    """
    if len(data) > limits.OMS_TRUSTED_BYTES:
        raise Malformed(
            f"{subject} is larger than {limits.OMS_TRUSTED_BYTES:,} bytes.", code="too-large", subject=subject
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad(subject, 0, "it is not UTF-8") from None
    return tuple(_lines(text, subject))


def _lines(text: str, subject: str) -> Iterator[TrustedKey]:
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield _line(stripped, subject, number)


def _line(line: str, subject: str, number: int) -> TrustedKey:
    tokens = _TOKEN.findall(line)
    if len(tokens) < 3:
        raise _bad(subject, number, "a name, options, a kind of key and a key are expected")
    person = tokens[0].strip('"')
    if not _PERSON.match(person):
        raise _bad(subject, number, f"{person[:60]!r} is not one name; give each person a line")
    options: dict[str, str] = {}
    at = 1
    if tokens[1] not in public_keys.KINDS:
        options = _options(tokens[1], subject, number)
        at = 2
    if len(tokens) < at + 2:
        raise _bad(subject, number, "the key is missing")
    try:
        key = public_keys.parse_openssh(tokens[at], tokens[at + 1], f"Line {number} of {subject}")
    except Refused as refusal:
        raise Malformed(refusal.message, code="malformed-key", subject=subject, hint=refusal.hint) from None
    return TrustedKey(
        person,
        key,
        models=_patterns(options.get("models"), subject, number),
        namespaces=_patterns(options.get("namespaces"), subject, number),
        after=_time(options.get("valid-after"), subject, number),
        before=_time(options.get("valid-before"), subject, number),
        revoked="revoked" in options,
    )


_VALUED: Final = frozenset({"models", "namespaces", "valid-after", "valid-before"})


def _options(text: str, subject: str, number: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in re.findall(r'(?:[^,"]|"[^"]*")+', text):
        option = _OPTION.match(part)
        name = option[1].lower() if option else ""
        value = option[2] if option else None
        if (
            name in found
            or (name not in _VALUED and name != "revoked")
            or (value is None) == (name in _VALUED)
        ):
            raise _bad(subject, number, f"{part[:60]!r} is not an option that is known here, or stands twice")
        found[name] = value or ""
    return found


def _patterns(text: str | None, subject: str, number: int) -> tuple[str, ...] | None:
    if text is None:
        return None
    found = tuple(text.split(","))
    if len(found) > limits.OMS_PATTERNS or not all(_PATTERN.match(pattern) for pattern in found):
        raise _bad(
            subject, number, "patterns are separated by commas, of letters, digits and . _ / @ : + - * ?"
        )
    return found


def _time(text: str | None, subject: str, number: int) -> int | None:
    """Read YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, each with or without a Z, as UTC."""
    if text is None:
        return None
    found = _TIME.match(text)
    try:
        if found is not None:
            digits = found[1] + (found[2] or "0000") + (found[3] or "00")
            return int(datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp())
    except ValueError:
        pass
    raise _bad(subject, number, f"{text[:40]!r} is no time: 20270131Z or 202701311800Z is one")


def matches(patterns: Iterable[str], name: str) -> bool:
    """Tell whether a pattern means `name`: `*` stands for any characters, `?` for one."""
    return any(_matches(pattern, name) for pattern in patterns)


def _matches(pattern: str, name: str) -> bool:
    """Match without backtracking beyond the last star, so that no pattern costs more than a square."""
    at = place = 0
    star = mark = -1
    while place < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, mark = at, place
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", name[place]):
            at, place = at + 1, place + 1
        elif star >= 0:
            mark += 1
            at, place = star + 1, mark
        else:
            return False
    return pattern[at:].strip("*") == ""


def _bad(subject: str, number: int, reason: str) -> Malformed:
    where = f"Line {number} of {subject}" if number else subject[0].upper() + subject[1:]
    return Malformed(
        f"{where} cannot be used: {reason}.",
        code="malformed-trust",
        subject=subject,
        hint="A line is: NAME [options] ssh-ed25519 AAAA…; see docs/signing.md.",
    )
