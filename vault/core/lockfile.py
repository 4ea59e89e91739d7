"""Lock files: exact versions for channels, kept in git (docs/format.md, "Lock file").

One line for each channel, in order, so that a change of one version is a change of
one line. A lock narrows what may be loaded and never widens it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from vault.core import limits, names
from vault.core.names import DIGEST_PREFIX, Digest, Reference, Version
from vault.errors import Malformed, Refused

MISMATCH: Final = "lock-mismatch"
_HEADER: Final = "mvault-lock 1"
_VAULT: Final = "vault "
_COMMENT: Final = "#"


@dataclass(frozen=True, slots=True)
class Locked:
    """One channel, and the version with the manifest that it is held to."""

    reference: Reference  # a channel
    version: Version
    manifest: Digest


@dataclass(frozen=True, slots=True)
class Lock:
    """What a lock file holds: the vault that it is about, and its channels as they are written."""

    vault: Digest
    entries: Mapping[str, Locked]

    def find(self, reference: Reference, vault: Digest, subject: str) -> Locked:
        """Give what a channel of this vault is held to.

        Raises:
            Refused: `lock-mismatch`: the lock is another vault's, or does not name the channel.
            ValueError: the reference names no channel.
        """
        self.check_vault(vault, subject)
        if reference.environment is None:
            raise ValueError(f"A lock holds channels, such as {reference.model}@prod; {reference} is none.")
        found = self.entries.get(str(reference))
        if found is None:
            raise Refused(
                f"{subject} does not name {reference}, so nothing was loaded.",
                code=MISMATCH,
                subject=str(reference),
                hint=f"Lock it, and look at the change before it is committed: mvault lock {reference}",
            )
        return found

    def check_vault(self, vault: Digest, subject: str) -> None:
        """See that the lock is about this vault.

        Raises:
            Refused: `lock-mismatch`.
        """
        if self.vault != vault:
            raise Refused(
                f"{subject} is of another vault, {DIGEST_PREFIX}{self.vault}.",
                code=MISMATCH,
                subject=subject,
                hint="Open that vault, or write a lock of this one: mvault lock",
            )


def encode(vault: Digest, entries: Iterable[Locked]) -> bytes:
    """Write a lock file; the same entries give the same bytes.

    Raises:
        ValueError: an entry is no channel, or a channel is named twice.
    """
    lines: dict[str, str] = {}
    for entry in entries:
        name = str(entry.reference)
        if entry.reference.environment is None:
            raise ValueError(f"{name} is no channel.")
        if name in lines:
            raise ValueError(f"{name} is named twice.")
        lines[name] = f"{name} {entry.version} {DIGEST_PREFIX}{entry.manifest}\n"
    head = f"{_HEADER}\n{_VAULT}{DIGEST_PREFIX}{vault}\n"
    return (head + "".join(lines[name] for name in sorted(lines))).encode("ascii")


def parse(data: bytes, subject: str) -> Lock:
    """Parse a lock file; empty lines and lines that begin with `#` are left out.

    Raises:
        Malformed: `too-large`; or `malformed-document`: it is not one, a line is none, or the lines are
            not different and in order, as after a merge that went wrong.
    """
    if len(data) > limits.LOCK_BYTES:
        raise Malformed(
            f"{subject} has more than {limits.LOCK_BYTES:,} bytes.", code="too-large", subject=subject
        )
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise _malformed(subject, 1, "it is not ASCII") from None
    lines = [
        (number, line)
        for number, line in enumerate(text.split("\n"), start=1)
        if line and not line.startswith(_COMMENT)
    ]
    if not lines or lines[0][1] != _HEADER:
        raise _malformed(subject, lines[0][0] if lines else 1, f"it begins with {_HEADER!r}")
    if len(lines) < 2 or not lines[1][1].startswith(_VAULT + DIGEST_PREFIX):
        raise _malformed(subject, lines[1][0] if len(lines) > 1 else 2, "the vault's id is missing")
    if len(lines) - 2 > limits.LOCKED:
        raise Malformed(
            f"{subject} names more than {limits.LOCKED:,} channels.", code="too-large", subject=subject
        )
    vault = names.digest(lines[1][1].removeprefix(_VAULT + DIGEST_PREFIX))
    entries: dict[str, Locked] = {}
    last = ""
    for number, line in lines[2:]:
        entry = _entry(subject, number, line)
        name = str(entry.reference)
        if name <= last:
            raise _malformed(subject, number, "its lines are not different and in order")
        entries[name] = entry
        last = name
    return Lock(vault, MappingProxyType(entries))


def _entry(subject: str, number: int, line: str) -> Locked:
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith(DIGEST_PREFIX):
        raise _malformed(subject, number, "a line is a channel, a version and sha256:…")
    try:
        reference = names.reference(parts[0])
        version = names.version(parts[1])
        manifest = names.digest(parts[2].removeprefix(DIGEST_PREFIX))
    except Malformed as error:
        raise _malformed(subject, number, error.message) from None
    if reference.environment is None or str(reference) != parts[0]:
        raise _malformed(subject, number, "a line names a channel, such as churn@prod")
    return Locked(reference, version, manifest)


def _malformed(subject: str, number: int, reason: str) -> Malformed:
    return Malformed(
        f"{subject}, line {number}: {reason.rstrip('.')}.",
        code="malformed-document",
        subject=subject,
        hint="Write it anew: mvault lock",
    )
