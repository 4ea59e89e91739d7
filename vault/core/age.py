"""The age v1 format: header grammar, header MAC, payload sizes, sealing and opening of one unit.

Source: C2SP age.md (c2sp.org/age). A *payload* is what follows the header in an age file: a nonce
of 16 bytes, then chunks of 64 KiB, each with its tag. A *unit* is 16 chunks; unit 0 is preceded by
the nonce. Header and payload are stored apart here; one after the other they are an age file.
"""

import base64
import binascii
import hmac
import re
from dataclasses import dataclass
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault import errors
from vault.core import limits

FILE_KEY_BYTES: Final = 16
ID_BYTES: Final = 16
MAC_BYTES: Final = 32
_VERSION_LINE: Final = b"age-encryption.org/v1\n"
_VERSION_START: Final = b"age-encryption.org/"
_STANZA_START: Final = b"-> "
_MAC_START: Final = b"---"
_VISIBLE: Final = re.compile(rb"[!-~]+\Z")
_COLUMNS: Final = 64
_SEALED_CHUNK: Final = limits.AGE_CHUNK + limits.AGE_TAG


@dataclass(frozen=True, slots=True)
class Stanza:
    """Wrap the file key for one recipient; `arguments[0]` names the kind of recipient."""

    arguments: tuple[str, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """Hold the stanzas of a header and its MAC, of 32 bytes."""

    stanzas: tuple[Stanza, ...]
    mac: bytes


def parse_header(data: bytes | memoryview) -> tuple[Header, int]:
    """Parse the header at the start of `data`; return it and the number of bytes that it takes.

    Raises:
        Malformed: the bytes break the grammar or a limit (`malformed-header`).
    """
    window = bytes(data[: limits.AGE_HEADER_BYTES])
    if not window.startswith(_VERSION_LINE):
        _refuse(
            "its version is not v1"
            if window.startswith(_VERSION_START)
            else "it does not start with the age version line"
        )
    stanzas: list[Stanza] = []
    line, position = _line(window, len(_VERSION_LINE))
    while line.startswith(_STANZA_START):
        if len(stanzas) == limits.AGE_STANZAS:
            _refuse(f"it has more than {limits.AGE_STANZAS} recipient stanzas")
        arguments = _arguments(line)
        body, position = _body(window, position)
        stanzas.append(Stanza(arguments, body))
        line, position = _line(window, position)
    if not stanzas:
        _refuse("it has no recipient stanza")
    if not line.startswith(_MAC_START + b" "):
        _refuse("a line is neither a recipient stanza nor the MAC")
    mac = decode_base64(line[len(_MAC_START) + 1 :])
    if len(mac) != MAC_BYTES:
        _refuse("its MAC has a wrong length")
    return Header(tuple(stanzas), mac), position


def parse_detached_header(data: bytes | memoryview) -> Header:
    """Parse a header that is stored by itself, with nothing after it.

    Raises:
        Malformed: as `parse_header`, or there is something after the header (`malformed-header`).
    """
    header, consumed = parse_header(data)
    if consumed != len(data):
        _refuse("there are bytes after its end")
    return header


def serialise_header(header: Header) -> bytes:
    """Return the one text of `header`; of what `parse_header` accepted, the very bytes."""
    return _covered(header.stanzas) + b" " + encode_base64(header.mac) + b"\n"


def build_header(stanzas: tuple[Stanza, ...], file_key: bytes) -> Header:
    """Return the header of these stanzas, with its MAC under the file key.

    Raises:
        ValueError: the header would break a limit or the grammar, so that nobody could read it.
    """
    header = Header(stanzas, _mac(stanzas, file_key))
    try:
        same = parse_detached_header(serialise_header(header)) == header
    except errors.Malformed:
        same = False
    if not same:
        raise ValueError("these stanzas make no age header")
    return header


def check_mac(header: Header, file_key: bytes) -> None:
    """Check that the header is whole, in constant time.

    Raises:
        DigestMismatch: the MAC is another one (`decrypt-failed`).
    """
    if not hmac.compare_digest(header.mac, _mac(header.stanzas, file_key)):
        raise errors.DigestMismatch(
            "An age header was altered: its MAC does not fit.",
            code="decrypt-failed",
            hint="Restore it from a copy of the vault.",
        )


def key_check(file_key: bytes, identifier: bytes) -> bytes:
    """Return the 32 bytes that commit to `file_key` for the payload whose random id is `identifier`.

    HKDF-SHA-256(ikm = file key, salt = id, info = "mvault/v1/key-check").

    Raises:
        ValueError: the key or the id is not 16 bytes.
    """
    if len(identifier) != ID_BYTES:
        raise ValueError("an id has 16 bytes")
    return _hkdf(file_key, identifier, b"mvault/v1/key-check")


def check_file_key(file_key: bytes, identifier: bytes, expected: bytes) -> None:
    """Check a file key against the key check that was signed for it, in constant time.

    Raises:
        DigestMismatch: it is another key (`key-mismatch`).
    """
    if not hmac.compare_digest(key_check(file_key, identifier), expected):
        raise errors.DigestMismatch(
            "A key opened, but it is not the key that was signed for this payload.",
            code="key-mismatch",
            hint="The key header belongs to another file. Restore it from a copy of the vault.",
        )


def payload_cipher(file_key: bytes, nonce: bytes) -> ChaCha20Poly1305:
    """Return the cipher of the payload that starts with `nonce`; use one per thread.

    Raises:
        ValueError: the key or the nonce is not 16 bytes.
    """
    if len(nonce) != limits.AGE_NONCE:
        raise ValueError("a payload nonce has 16 bytes")
    return ChaCha20Poly1305(_hkdf(file_key, nonce, b"payload"))


def cipher_size(plain_size: int) -> int:
    """Return the size of the payload, nonce included, of `plain_size` bytes of plaintext.

    Raises:
        ValueError: the size is negative or above `limits.FILE_BYTES`.
    """
    if not 0 <= plain_size <= limits.FILE_BYTES:
        raise ValueError(f"{plain_size} bytes cannot be sealed")
    return limits.AGE_NONCE + plain_size + limits.AGE_TAG * max(1, -(-plain_size // limits.AGE_CHUNK))


def plain_size(cipher_size: int) -> int:
    """Return the size of the plaintext in a payload of `cipher_size` bytes, nonce included.

    Raises:
        Malformed: there is no room for the nonce (`malformed-header`), or the payload is larger
            than any file may be (`too-large`).
        DigestMismatch: no payload has that size: the last chunk is cut in its tag, or is empty
            though others precede it (`decrypt-failed`).
    """
    if cipher_size < limits.AGE_NONCE:
        _refuse("the nonce after it is cut off")
    chunks, rest = divmod(cipher_size - limits.AGE_NONCE, _SEALED_CHUNK)
    size = chunks * limits.AGE_CHUNK + max(0, rest - limits.AGE_TAG)
    if size > limits.FILE_BYTES:
        raise errors.Malformed(
            f"A payload of {cipher_size} bytes is larger than any file may be.", code="too-large"
        )
    if 0 < rest < limits.AGE_TAG or (rest == limits.AGE_TAG and chunks) or (not rest and not chunks):
        raise _unauthentic(f"no payload has {cipher_size} bytes")
    return size


def unit_count(cipher_size: int) -> int:
    """Return the number of units of a payload of `cipher_size` bytes, nonce included.

    Raises:
        Refused: no payload has that size (see `plain_size`).
    """
    return max(1, -(-plain_size(cipher_size) // limits.UNIT_PLAIN))


def unit_start(unit: int) -> int:
    """Return the offset in the payload at which `unit` starts; unit 0 starts with the nonce."""
    return limits.AGE_NONCE + unit * limits.UNIT_CIPHER if unit else 0


def seal_unit(cipher: ChaCha20Poly1305, unit: int, plain: memoryview, out: memoryview, *, last: bool) -> int:
    """Seal one unit's plaintext into `out`, without the nonce; return the bytes written.

    Raises:
        ValueError: `plain` is no unit's plaintext, or `out` has not the room.
    """
    size = len(plain)
    if size > limits.UNIT_PLAIN or (not last and size < limits.UNIT_PLAIN) or (last and unit and not size):
        raise ValueError(f"{size} bytes are not the plaintext of a unit")
    sealed = size + limits.AGE_TAG * max(1, -(-size // limits.AGE_CHUNK))
    if len(out) < sealed:
        raise ValueError(f"{len(out)} bytes have no room for a sealed unit of {sealed}")
    counter = unit * limits.UNIT_CHUNKS
    target = 0
    for start in range(0, max(size, 1), limits.AGE_CHUNK):
        chunk = plain[start : start + limits.AGE_CHUNK]
        end = target + len(chunk) + limits.AGE_TAG
        final = last and start + limits.AGE_CHUNK >= size
        cipher.encrypt_into(_chunk_nonce(counter, final=final), chunk, None, out[target:end])
        counter += 1
        target = end
    return target


def open_chunks(
    cipher: ChaCha20Poly1305, first: int, sealed: memoryview, out: memoryview, *, last: bool
) -> int:
    """Open consecutive chunks of which the first is chunk number `first`; return the bytes written.

    `last` says that the payload ends with these chunks. At most one unit's worth are taken at a
    time. Where one does not authenticate, all of `out` is wiped: the cipher leaves there what it
    has decrypted and not verified.

    Raises:
        DigestMismatch: a chunk does not authenticate at this place (`decrypt-failed`).
        ValueError: there are too many bytes, or `out` has not the room.
    """
    count = -(-len(sealed) // _SEALED_CHUNK)
    final_size = len(sealed) - (count - 1) * _SEALED_CHUNK
    if count > limits.UNIT_CHUNKS or len(out) < len(sealed) - count * limits.AGE_TAG:
        raise ValueError(f"{len(out)} bytes have no room for {len(sealed)} sealed bytes")
    cut = final_size < limits.AGE_TAG or (final_size < _SEALED_CHUNK and not last)
    empty = final_size == limits.AGE_TAG and first + count > 1
    if not sealed or cut or empty:
        raise _unauthentic("a chunk has a length that it cannot have")
    target = 0
    for number, start in enumerate(range(0, len(sealed), _SEALED_CHUNK), first):
        chunk = sealed[start : start + _SEALED_CHUNK]
        end = target + len(chunk) - limits.AGE_TAG
        final = last and start + _SEALED_CHUNK >= len(sealed)
        try:
            cipher.decrypt_into(_chunk_nonce(number, final=final), chunk, None, out[target:end])
        except InvalidTag:
            out[:] = bytes(len(out))
            raise _unauthentic(f"chunk {number} does not authenticate") from None
        target = end
    return target


def seal_payload(file_key: bytes, nonce: bytes, plaintext: bytes) -> bytes:
    """Return the whole payload, nonce included, of a plaintext in memory.

    Raises:
        ValueError: the key or the nonce is not 16 bytes.
    """
    cipher = payload_cipher(file_key, nonce)
    sealed = bytearray(cipher_size(len(plaintext)))
    sealed[: limits.AGE_NONCE] = nonce
    plain, out = memoryview(plaintext), memoryview(sealed)
    target = limits.AGE_NONCE
    for unit in range(unit_count(len(sealed))):
        start = unit * limits.UNIT_PLAIN
        part = plain[start : start + limits.UNIT_PLAIN]
        target += seal_unit(cipher, unit, part, out[target:], last=start + len(part) == len(plain))
    return bytes(sealed)


def open_payload(file_key: bytes, payload: bytes | memoryview) -> bytes:
    """Return the plaintext of a whole payload, nonce included, in memory.

    Raises:
        Malformed, DigestMismatch: no payload has that size (see `plain_size`).
        DigestMismatch: a chunk does not authenticate (`decrypt-failed`).
        ValueError: the key is not 16 bytes.
    """
    plain = bytearray(plain_size(len(payload)))
    view, out = memoryview(payload), memoryview(plain)
    cipher = payload_cipher(file_key, bytes(view[: limits.AGE_NONCE]))
    view = view[limits.AGE_NONCE :]
    for unit, start in enumerate(range(0, len(view), limits.UNIT_CIPHER)):
        part = view[start : start + limits.UNIT_CIPHER]
        target = out[unit * limits.UNIT_PLAIN : (unit + 1) * limits.UNIT_PLAIN]
        open_chunks(cipher, unit * limits.UNIT_CHUNKS, part, target, last=start + len(part) == len(view))
    return bytes(plain)


def encode_base64(data: bytes) -> bytes:
    """Return `data` in base64 without padding."""
    return base64.b64encode(data).rstrip(b"=")


def decode_base64(text: bytes) -> bytes:
    """Return the bytes of canonical base64 without padding.

    Raises:
        Malformed: it is not that (`malformed-header`).
    """
    try:
        data = binascii.a2b_base64(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        data = b""
    # Only the canonical text comes back from its own bytes: this refuses every other spelling.
    if encode_base64(data) != text:
        _refuse("a part is not canonical base64 without padding")
    return data


def _line(window: bytes, position: int) -> tuple[bytes, int]:
    end = window.find(b"\n", position)
    if end < 0:
        _refuse(f"it does not end within {limits.AGE_HEADER_BYTES} bytes or before the file does")
    return window[position:end], end + 1


def _arguments(line: bytes) -> tuple[str, ...]:
    parts = line[len(_STANZA_START) :].split(b" ")
    if len(parts) > limits.AGE_ARGUMENTS:
        _refuse(f"a stanza has more than {limits.AGE_ARGUMENTS} arguments")
    if not all(_VISIBLE.match(part) for part in parts):
        _refuse("a stanza's argument is empty or has other than visible characters")
    return tuple(part.decode("ascii") for part in parts)


def _body(window: bytes, position: int) -> tuple[bytes, int]:
    text = bytearray()
    while True:
        line, position = _line(window, position)
        if len(line) > _COLUMNS:
            _refuse("a line of a stanza's body is too long")
        text += line
        if len(line) < _COLUMNS:
            return decode_base64(bytes(text)), position


def _covered(stanzas: tuple[Stanza, ...]) -> bytes:
    """Return what the MAC covers: the whole header up to and including the `---`."""
    parts = [_VERSION_LINE]
    for stanza in stanzas:
        parts.append(b"-> " + " ".join(stanza.arguments).encode("ascii", "replace") + b"\n")
        text = encode_base64(stanza.body)
        parts += [text[start : start + _COLUMNS] + b"\n" for start in range(0, len(text) + 1, _COLUMNS)]
    return b"".join(parts) + _MAC_START


def _mac(stanzas: tuple[Stanza, ...], file_key: bytes) -> bytes:
    return hmac.digest(_hkdf(file_key, b"", b"header"), _covered(stanzas), "sha256")


def _hkdf(file_key: bytes, salt: bytes, info: bytes) -> bytes:
    if len(file_key) != FILE_KEY_BYTES:
        raise ValueError("a file key has 16 bytes")
    return HKDF(SHA256(), 32, salt, info).derive(file_key)


def _chunk_nonce(counter: int, *, final: bool) -> bytes:
    return (counter << 8 | final).to_bytes(12, "big")


def _refuse(reason: str) -> NoReturn:
    raise errors.Malformed(
        f"An age header cannot be read: {reason}.",
        code="malformed-header",
        hint="Restore it from a copy of the vault.",
    )


def _unauthentic(reason: str) -> errors.DigestMismatch:
    return errors.DigestMismatch(
        f"The ciphertext was altered, cut or belongs elsewhere: {reason}.",
        code="decrypt-failed",
        hint="Restore it from a copy of the vault.",
    )
