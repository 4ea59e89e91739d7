"""Signed notes, log checkpoints and witness cosignatures (docs/format.md, "Audit log").

Sources: C2SP signed-note, tlog-checkpoint and tlog-cosignature, with Ed25519
keys only. A note is bytes that anybody may have written until a signature line
of a known key has been verified over its text.
"""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from vault.core import ed25519, limits
from vault.core.fields import base64_bytes
from vault.core.merkle import HASH_BYTES
from vault.errors import BadSignature, Malformed, Unsigned

ED25519: Final = 0x01
COSIGNATURE: Final = 0x04  # timestamped Ed25519, by a witness
OWN: Final = 0xFF  # followed by a name of our own

KEY_HASH_BYTES: Final = 4

_SEPARATOR: Final = b"\n\n"
_SIGNATURE: Final = re.compile("\N{EM DASH} ([^ \n]+) ([A-Za-z0-9+/=]+)\\Z")
_CONTROL: Final = re.compile("[\x00-\x09\x0b-\x1f]")
_SIZE: Final = re.compile(r"(0|[1-9][0-9]{0,15})\Z", re.ASCII)
_TIMESTAMP_BYTES: Final = 8
_TIMESTAMP_MAX: Final = 2**63 - 1


class LogSigner(Protocol):
    """Holds the private half of a log's or a witness's Ed25519 key."""

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`, 64 bytes."""


@dataclass(frozen=True, slots=True)
class Line:
    """One signature line: whose name, the key's short hash, and the signature: a claim."""

    name: str
    key_hash: bytes  # 4 bytes
    signature: bytes

    def __str__(self) -> str:
        blob = base64.b64encode(self.key_hash + self.signature).decode("ascii")
        return f"\N{EM DASH} {self.name} {blob}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text, which ends in a newline, and its signature lines."""

    text: bytes
    lines: tuple[Line, ...]

    def encode(self) -> bytes:
        """Write the note; `parse` reads exactly these bytes."""
        return self.text + b"\n" + "".join(str(line) for line in self.lines).encode()

    def added(self, lines: Iterable[Line]) -> "Note":
        """Give the note with further signature lines; a line that it has is not repeated."""
        return Note(self.text, tuple(dict.fromkeys((*self.lines, *lines))))


def malformed_log(what: str, reason: str) -> Malformed:
    """Build the refusal of bytes that are not what their place in a log says."""
    return Malformed(f"{what} is not what it should be: {reason}.", code="malformed-log", subject=what)


def parse(data: bytes, subject: str, *, limit: int = limits.NOTE_BYTES) -> Note:
    """Parse a signed note of at most `limit` bytes.

    Raises:
        Malformed: `malformed-log`, `too-large`.
    """
    if len(data) > limit:
        raise Malformed(f"{subject} has {len(data):,} bytes.", code="too-large", subject=subject)
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise malformed_log(subject, "it is not UTF-8") from None
    if _CONTROL.search(whole):
        raise malformed_log(subject, "it holds control characters")
    at = data.rfind(_SEPARATOR)
    if at < 0 or not data.endswith(b"\n"):
        raise malformed_log(subject, "it is no text, an empty line and signature lines")
    text, tail = data[: at + 1], data[at + 2 : -1].decode("utf-8")
    lines = tail.split("\n")
    if len(lines) > limits.NOTE_SIGNATURES:
        raise malformed_log(subject, f"it has more than {limits.NOTE_SIGNATURES} signatures")
    return Note(text, tuple(_parse_line(line, subject) for line in lines))


def _parse_line(text: str, subject: str) -> Line:
    found = _SIGNATURE.match(text)
    if found is None:
        raise malformed_log(subject, "a signature line is a dash, a name and base64")
    name = check_name(found[1], subject)
    try:
        blob = base64_bytes(found[2])
    except Malformed:
        raise malformed_log(subject, "a signature is not in canonical base64") from None
    if len(blob) <= KEY_HASH_BYTES:
        raise malformed_log(subject, "a signature is too short")
    return Line(name, blob[:KEY_HASH_BYTES], blob[KEY_HASH_BYTES:])


def check_name(name: str, subject: str) -> str:
    """Accept the name of a key: no Unicode space, no plus, not empty.

    Raises:
        Malformed: `malformed-log`.
    """
    if not name or "+" in name or any(char.isspace() for char in name):
        raise malformed_log(subject, "the name of a key has no spaces and no plus")
    return name


def key_hash(name: str, algorithm: int, public: bytes) -> bytes:
    """Give the short hash of a key: SHA-256(name ‖ LF ‖ algorithm ‖ public key), 4 bytes."""
    return sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:KEY_HASH_BYTES]


def verifier_key(name: str, algorithm: int, public: bytes) -> str:
    """Write a key as other programs take it: `name+hash+base64(algorithm ‖ key)` (C2SP signed-note)."""
    blob = base64.b64encode(bytes([algorithm]) + public).decode("ascii")
    return f"{name}+{key_hash(name, algorithm, public).hex()}+{blob}"


# --- checkpoints ---


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's head: its origin, how many entries it has, and the root over them (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def text(self) -> bytes:
        """Write the text that is signed."""
        root = base64.b64encode(self.root).decode("ascii")
        return f"{self.origin}\n{self.size}\n{root}\n".encode()


def parse_checkpoint(text: bytes, subject: str) -> Checkpoint:
    """Parse the text of a checkpoint: origin, size and root, without extension lines.

    Raises:
        Malformed: `malformed-log`.
    """
    try:
        lines = text.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise malformed_log(subject, "it is not UTF-8") from None
    if len(lines) != 4 or lines[3]:
        raise malformed_log(subject, "a checkpoint has three lines")
    origin = check_name(lines[0], subject)
    if not _SIZE.match(lines[1]):
        raise malformed_log(subject, "the size of a tree is a number without leading zeros")
    try:
        root = base64_bytes(lines[2])
    except Malformed:
        root = b""
    if len(root) != HASH_BYTES:
        raise malformed_log(subject, f"a root is {HASH_BYTES} bytes in canonical base64")
    return Checkpoint(origin, int(lines[1]), root)


def sign_checkpoint(checkpoint: Checkpoint, signer: LogSigner) -> Note:
    """Sign a checkpoint as its log: the name of the key is the origin."""
    text = checkpoint.text()
    name = checkpoint.origin
    return Note(text, (Line(name, key_hash(name, ED25519, signer.public), signer.sign(text)),))


def verify_checkpoint(note: Note, origin: str, public: bytes, subject: str) -> Checkpoint:
    """Demand the log's own signature over a note, and give the checkpoint that it holds.

    Raises:
        Unsigned: no line is by this key.
        BadSignature: a line is, and does not verify.
        Malformed: the text is no checkpoint, or of another log, or the key is weak.
    """
    wanted = key_hash(origin, ED25519, public)
    lines = [line for line in note.lines if line.name == origin and line.key_hash == wanted]
    if not lines:
        raise Unsigned(f"{subject} is not signed by the log's key.", subject=subject)
    if not all(ed25519.verify(public, line.signature, note.text) for line in lines):
        raise BadSignature(
            f"{subject} was altered: its signature does not fit its content.",
            subject=subject,
            hint="Somebody changed it after it was signed. Nothing in it was used.",
        )
    found = parse_checkpoint(note.text, subject)
    if found.origin != origin:
        raise malformed_log(subject, f"it is of {found.origin[:120]!r}, not of {origin!r}")
    return found


# --- cosignatures ---


def cosigned_message(text: bytes, timestamp: int) -> bytes:
    """Give what a witness signs: a header, the time in seconds since 1970, and the checkpoint's text."""
    return b"cosignature/v1\ntime %d\n" % timestamp + text


def cosign(text: bytes, name: str, timestamp: int, signer: LogSigner) -> Line:
    """Write a witness's line for a checkpoint that it has verified.

    Raises:
        ValueError: the time is negative.
    """
    if not 0 <= timestamp <= _TIMESTAMP_MAX:
        raise ValueError("a cosignature is not older than 1970")
    value = signer.sign(cosigned_message(text, timestamp))
    stamped = timestamp.to_bytes(_TIMESTAMP_BYTES, "big") + value
    return Line(name, key_hash(name, COSIGNATURE, signer.public), stamped)


def cosignature(note: Note, name: str, public: bytes) -> tuple[int, Line] | None:
    """Give when a witness cosigned this note, in seconds since 1970, and its line; None when it has not.

    Lines that do not verify are no cosignatures and no error: anybody can add one.

    Raises:
        Malformed: `malformed-key`: the key is weak.
    """
    wanted = key_hash(name, COSIGNATURE, public)
    for line in note.lines:
        if line.name == name and line.key_hash == wanted:
            timestamp = int.from_bytes(line.signature[:_TIMESTAMP_BYTES], "big")
            message = cosigned_message(note.text, timestamp)
            value = line.signature[_TIMESTAMP_BYTES:]
            if timestamp <= _TIMESTAMP_MAX and ed25519.verify(public, value, message):
                return timestamp, line
    return None
