"""Vaults with old versions, and what must be true of them whatever an archive did."""

import struct
from functools import cache
from pathlib import Path

from tests.builders import Built, solo
from vault import sealing
from vault.actions import archived, archiving, archiving_places
from vault.actions.reading import find_sealing
from vault.actions.session import Session
from vault.core import archives, layout, names
from vault.core.manifest import METADATA
from vault.core.stages import Verified
from vault.errors import NotFound, Unavailable
from vault.ports import Store
from vault.settings import Settings
from vault.storage.memory import MemoryStore
from vault.vault import Vault

LARGE = bytes(range(256)) * 4_500  # more than one unit
DAY = 86_400


def content(number: int) -> dict[str, bytes]:
    """Give the files of one version."""
    header = b'{"w":{"data_offsets":[0,4],"dtype":"F32","shape":[1]}}'
    weights = struct.pack("<Q", len(header)) + header + struct.pack("<f", number)
    return {"model.safetensors": weights, "data.bin": bytes([number]) + LARGE, "empty.txt": b""}


@cache
def _three() -> Built:
    built = solo(seed="archive")
    for number in (1, 2, 3):
        built.publish(content(number))
        built.now += 100 * DAY
    built.promote("churn:2")
    return built


def three() -> Built:
    """Give a vault with churn 1 to 3, each 100 days after the other; 2 is in prod."""
    return _three().fork(forgetful=True)


def opened(built: Built, who: str = "owner", store: Store | None = None) -> Vault:
    """Open a vault as one client."""
    return Vault(built.session(who, store=store), Settings())


def verified(session: Session, reference: str) -> Verified:
    """Verify a version, for anybody."""
    return archiving.named(session, names.reference(reference))


def payloads(built: Built, reference: str) -> list[str]:
    """Name the payloads of a version that an archive moves."""
    session = built.session()
    record = find_sealing(session, verified(session, reference)).sealing
    return [
        layout.payload(record.model, record.version, file.name)
        for file in record.files
        if file.path != METADATA
    ]


def move(session: Session, target: Store, reference: str = "churn:1") -> archiving.Row:
    """Archive one version to a store that is open already."""
    wanted = archiving.Wanted(version=names.reference(reference))
    (row,) = archiving.archive(session, wanted, archiving_places.OtherStore(target))
    return row


def is_whole(store: Store, name: str, cipher_size: int, root: bytes) -> bool:
    """Tell whether a store has a payload as it was signed."""
    try:
        with store.open(name) as source:
            sealing.scrub(source, cipher_size=cipher_size, root=root)
    except (NotFound, Unavailable):
        return False
    return True


def nothing_is_lost(built: Built, store: Store, target: Store, reference: str) -> None:
    """See that each payload is whole in one place, and missing here only where a record says where it is."""
    session = built.fork(forgetful=True).session(store=store)
    found = verified(session, reference)
    record = archived.in_force(session, found)
    for file in find_sealing(session, found).sealing.files:
        name = layout.payload(found.manifest.model, found.manifest.version, file.name)
        here = is_whole(store, name, file.cipher_size, file.root)
        there = is_whole(target, name, file.cipher_size, file.root)
        assert here or there, f"{file.path} is lost"
        if file.path == METADATA:
            assert here
        elif not here:
            assert record is not None, f"{file.path} is missing and nothing says why"
            assert archives.covers(record.record, file.file_id)


def copied(built: Built) -> MemoryStore:
    """Give the objects of a vault in a store of their own."""
    return MemoryStore(dict(built.store.objects))


def pulled(folder: Path) -> dict[str, bytes]:
    """Give the files in a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
