"""Copy a payload from one store to another as it is, held to the root that was signed; no key is needed."""

import hashlib

from vault import sealing
from vault.actions import objects
from vault.actions.session import Session
from vault.core import age, ciphertext_tree, layout, limits
from vault.core.records import SealedFile, SealingRecord
from vault.errors import Conflict, DigestMismatch
from vault.ports import Sink, Source, Store


def copy(session: Session, store: Store, target: Store, record: SealingRecord, file: SealedFile) -> None:
    """Copy one payload with its unit digests; what lies there and is right is left as it is.

    Raises:
        DigestMismatch: it was altered where it comes from, or other bytes lie where it goes to.
        NotFound: it is gone.
        Unavailable: a store failed; nothing that is not whole is visible.
    """
    name = layout.payload(record.model, record.version, file.name)
    what = f"{file.path} to {target.location}"
    digests: bytes | None = None
    with store.open(name) as source:
        try:
            with target.create(name, size=file.cipher_size) as sink:
                digests = _pump(session, source, sink, file, what)
                ciphertext_tree.check_root(file.cipher_size, digests, file.root)
        except Conflict:
            digests = None
            verify(session, target, record, file)
    if age.unit_count(file.cipher_size) > 1:
        units = digests or store.read(layout.units(name), limit=ciphertext_tree.units_size(file.cipher_size))
        ciphertext_tree.parse_units(units, cipher_size=file.cipher_size, expected_root=file.root)
        objects.create(target, layout.units(name), units)


def verify(session: Session, store: Store, record: SealingRecord, file: SealedFile) -> None:
    """Read a payload where it lies, and compare it with the root that was signed.

    Raises:
        DigestMismatch: it is another one.
        NotFound, Unavailable.
    """
    with store.open(layout.payload(record.model, record.version, file.name)) as source:
        sealing.scrub(
            source,
            cipher_size=file.cipher_size,
            root=file.root,
            progress=session.progress,
            what=f"{file.path} in {store.location}",
        )


def _pump(session: Session, source: Source, sink: Sink, file: SealedFile, what: str) -> bytes:
    """Copy a payload unit by unit; give the digests of its units."""
    if source.size != file.cipher_size:
        raise DigestMismatch(
            f"{file.path} has {source.size} bytes in the store, and {file.cipher_size} were signed.",
            code="size-mismatch",
            subject=file.path,
            hint="Nothing was changed. Restore it from a backup.",
        )
    digests = bytearray()
    buffer = memoryview(bytearray(min(file.cipher_size, limits.AGE_NONCE + limits.UNIT_CIPHER)))
    for unit in range(age.unit_count(file.cipher_size)):
        start = age.unit_start(unit)
        part = buffer[: min(age.unit_start(unit + 1), file.cipher_size) - start]
        if source.read_into(start, part) != len(part):
            raise DigestMismatch(
                f"{file.path} became shorter while it was copied.", code="size-mismatch", subject=file.path
            )
        digests += hashlib.sha256(part).digest()
        sink.write(part)
        session.progress(start + len(part), file.cipher_size, what)
    return bytes(digests)
