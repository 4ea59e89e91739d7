"""Read parts of a sealed payload, each authenticated, without reading the whole."""

import hashlib
from threading import Lock

from vault import errors
from vault.core import age, ciphertext_tree, limits
from vault.ports import Source
from vault.sealing_feed import check_sizes, read_exactly


class RangeReader:
    """Read any range of a payload's plaintext; safe to use from several threads.

    What it returns authenticates under the file key *and* is part of the ciphertext whose root
    was signed: the key alone would not tell a reader of ranges that a unit is from elsewhere.
    """

    def __init__(
        self, source: Source, units: bytes | None, *, file_key: bytes, cipher_size: int, root: bytes
    ) -> None:
        """Check the unit digests against `root`, then authenticate the end of the payload.

        `units` are the unit digests as stored; a payload of one unit has none stored.

        Raises:
            DigestMismatch: a size (`size-mismatch`), the digests or the last unit
                (`digest-mismatch`), or its last chunk (`decrypt-failed`) is not what was signed.
            Unavailable: the store failed.
            ValueError: the key is not 16 bytes.
        """
        self._size = age.plain_size(cipher_size)
        check_sizes(source, cipher_size, self._size)
        self._source = source
        self._cipher_size = cipher_size
        self._file_key = file_key
        self._lock = Lock()
        self._held: tuple[int, memoryview] | None = None
        last = age.unit_count(cipher_size) - 1
        stored = self._read(last)
        if units is None and not last:
            units = hashlib.sha256(stored).digest()
        self._digests = ciphertext_tree.parse_units(units or b"", cipher_size=cipher_size, expected_root=root)
        nonce = stored if not last else memoryview(bytearray(limits.AGE_NONCE))
        if last:
            read_exactly(source, 0, nonce)
        self._nonce = bytes(nonce[: limits.AGE_NONCE])
        # The flag of the last chunk is what says that the payload was not cut at a chunk's end.
        self._authenticate(last, stored)

    @property
    def size(self) -> int:
        """The plaintext's size in bytes, authenticated."""
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only where the plaintext ends.

        Raises:
            DigestMismatch: a unit that was read is not the one that was signed for.
            Unavailable: the store failed.
            ValueError: the offset or the length is negative.
        """
        if offset < 0 or length < 0:
            raise ValueError("an offset and a length cannot be negative")
        end = min(offset + length, self._size)
        parts: list[memoryview] = []
        while offset < end:
            unit, inside = divmod(offset, limits.UNIT_PLAIN)
            part = self._open(unit)[inside : inside + end - offset]
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def _open(self, unit: int) -> memoryview:
        """Return the plaintext of `unit`; the last one opened is kept for small reads in a row."""
        with self._lock:
            held = self._held
        if held is not None and held[0] == unit:
            return held[1]
        return self._authenticate(unit, self._read(unit))

    def _authenticate(self, unit: int, stored: memoryview) -> memoryview:
        """Return the plaintext of `unit` from what is stored for it, and keep it for the next read."""
        digest = self._digests[unit * ciphertext_tree.DIGEST_BYTES :][: ciphertext_tree.DIGEST_BYTES]
        if hashlib.sha256(stored).digest() != digest:
            raise errors.DigestMismatch(
                f"Unit {unit} of a stored payload is not the one that was signed for.",
                hint="Restore it from a copy of the vault.",
            )
        sealed = stored if unit else stored[limits.AGE_NONCE :]
        start = unit * limits.UNIT_PLAIN
        plain = memoryview(bytearray(min(limits.UNIT_PLAIN, self._size - start)))
        cipher = age.payload_cipher(self._file_key, self._nonce)
        last = start + len(plain) == self._size
        age.open_chunks(cipher, unit * limits.UNIT_CHUNKS, sealed, plain, last=last)
        with self._lock:
            self._held = unit, plain
        return plain

    def _read(self, unit: int) -> memoryview:
        start = age.unit_start(unit)
        stored = memoryview(bytearray(min(age.unit_start(unit + 1), self._cipher_size) - start))
        read_exactly(self._source, start, stored)
        return stored
