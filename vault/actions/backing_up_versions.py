"""Verify one version where a copy of a vault lies: signatures, sealing record, every stored byte; no key.

A copy is judged by its own trust documents, without this client's memory: a
backup is older than the vault, and that is no fault of it.
"""

from dataclasses import dataclass

from vault import memory, sealing
from vault.actions import archived, removing, resolving
from vault.actions.backing_up_copy import Ciphertext
from vault.actions.reading import judged
from vault.actions.session import Session
from vault.core import admission, backup_order, ciphertext_tree, layout, limits
from vault.core.allowance import Allowance
from vault.core.in_force import Signed
from vault.core.memory_format import Memory
from vault.core.names import Digest, Model, Version
from vault.core.records import SealingRecord
from vault.core.stages import Resolved, Target, Verified
from vault.errors import DigestMismatch, NotFound, Refused, Unavailable
from vault.ports import Store

EVERY_SIZE = Allowance(max_bytes=limits.FILE_BYTES)


@dataclass(frozen=True, slots=True)
class Known:
    """A version whose signatures hold: its manifest, and its sealing record where one does."""

    verified: Verified
    sealing: SealingRecord | None
    removed: bool

    @property
    def manifest(self) -> Digest:
        """The manifest's digest."""
        return self.verified.digest


def session_for(session: Session, store: Store) -> Session:
    """Open a copy of a session's vault, remembering nothing and holding no identity."""
    return Session(
        store=store,
        pin=session.pin,
        memory=memory.ClientMemory(session.pin, None),
        unlock=None,
        environment=session.environment,
        allowance=EVERY_SIZE,
        clock=session.clock,
        random=session.random,
    )


def resolved_of(session: Session) -> Resolved:
    """Judge by the policy in force, whatever has expired: a copy is looked at, not used.

    Raises:
        Refused, NotFound, Unavailable: the trust documents do not verify.
    """
    trust = session.trust()
    environments = trust.policy.environments
    rule = environments.get(session.environment) or next(iter(environments.values()))
    return Resolved(trust.context, rule, Memory(session.pin))


def known(session: Session, resolved: Resolved, model: Model, version: Version) -> Known:
    """Verify a version's manifest and find the sealing record in force.

    Raises:
        NotFound: it has no manifest.
        Refused: it does not verify; or nothing says where its ciphertext is.
        Unavailable: the store failed.
    """
    data = resolving.read_manifest(session, model, version)
    target = Target(version, None, None, open=False)
    verified = resolving.verify(session, resolving.anybody(resolved, model), target, data)
    if removing.removed(session, resolved, model, version, verified.digest) is not None:
        return Known(verified, None, removed=True)
    found = next((entry for entry in judged(session, verified) if isinstance(entry, Signed)), None)
    sealed = admission.seal(verified, [] if found is None else [found], EVERY_SIZE)
    return Known(verified, sealed.sealing, removed=False)


def ciphertext(session: Session, resolved: Resolved, folder: str) -> dict[str, Ciphertext]:
    """Give what a version's payloads are by its sealing record; nothing where that does not verify.

    Raises:
        Unavailable: the store failed.
    """
    place = backup_order.place_of(folder)
    if place is None:
        return {}
    try:
        found = known(session, resolved, Model(place[0]), place[1])
    except (NotFound, Refused):
        return {}
    files = () if found.sealing is None else found.sealing.files
    return {
        layout.payload(Model(place[0]), place[1], file.name): Ciphertext(file.cipher_size, file.root)
        for file in files
    }


def scrub(session: Session, found: Known) -> tuple[int, int]:
    """Read every payload of a version and compare it with its sealing record; give objects and bytes read.

    Raises:
        NotFound: one is gone.
        DigestMismatch: one is another.
        Unavailable: the store failed.
    """
    objects = size = 0
    record = found.sealing
    for file in () if record is None else record.files:
        name = layout.payload(found.verified.manifest.model, found.verified.manifest.version, file.name)
        try:
            with session.store.open(name) as source:
                sealing.scrub(source, cipher_size=file.cipher_size, root=file.root, what=file.path)
            objects, size = objects + 1, size + file.cipher_size
            if file.cipher_size > limits.UNIT_CIPHER + limits.AGE_NONCE:
                wanted = ciphertext_tree.units_size(file.cipher_size)
                units = session.store.read(layout.units(name), limit=wanted)
                ciphertext_tree.parse_units(units, cipher_size=file.cipher_size, expected_root=file.root)
                objects, size = objects + 1, size + wanted
        except (NotFound, Unavailable) as error:
            gone = NotFound(f"{name} is gone.", subject=name) if isinstance(error, NotFound) else error
            raise archived.explained(session, found.verified, file, gone) from None
        except DigestMismatch as refusal:
            raise DigestMismatch(f"{name}: {refusal.message}", code=refusal.code, subject=name) from None
    return objects, size
