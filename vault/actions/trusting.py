"""Trust a vault on this machine, and hand its trust on to a container."""

from vault import memory
from vault.actions.opening import clock
from vault.actions.session import Session
from vault.core import envelope, layout, limits, names, trust, trustfile
from vault.core.names import Digest
from vault.core.trusted_locations import Pin
from vault.core.trustfile import TrustFile
from vault.errors import Malformed, NotFound
from vault.ports import Store
from vault.settings import Settings


def fingerprint(store: Store) -> Digest:
    """Give the digest of the root that a store offers: a claim, to be compared with what its owner says.

    Raises:
        NotFound: there is no vault.
        Refused: its root is malformed, or not signed by itself.
        Unavailable: the store failed.
    """
    data = _first_root(store)
    claimed = envelope.parse(data, kind=trust.KIND, subject="root 1").digest
    return trust.verify_first(data, claimed).digest


def pin(found: Settings, store: Store, root: Digest, *, replace: bool = False) -> Pin | None:
    """Trust a location with a root that was compared by another way; give the pin that it replaced, if any.

    With `replace` it may take the place of another root: the way out when a
    threshold of root keys was lost, and nothing in the storage can say so. What
    was seen of the old vault is kept, and does not bind the new one.

    Raises:
        DigestMismatch: the store offers another root.
        Conflict: another root is trusted there already.
        Refused, NotFound, Unavailable.
    """
    data = _first_root(store)
    trust.verify_first(data, root)
    pins = memory.Pins(found.config_dir)
    before = pins.get(store.location)
    pins.add(store.location, root, now=clock(), replace=replace)
    return None if before is None or before.root == root else before


def export_trust(session: Session) -> bytes:
    """Write a trust file for a container: this vault's pin, what was seen of it, the allowance in force.

    Raises:
        Refused, NotFound, Unavailable: the vault does not verify now.
    """
    session.resolve(session.environment)
    return trustfile.encode(TrustFile(session.pin, session.memory.load(), session.allowance))


def parse_root(text: str) -> Digest:
    """Parse a fingerprint as people pass it on, with or without `sha256:`.

    Raises:
        ValueError: it is none.
    """
    try:
        return names.digest(text.removeprefix(names.DIGEST_PREFIX))
    except Malformed as error:
        raise ValueError(error.message) from None


def _first_root(store: Store) -> bytes:
    try:
        return store.read(layout.root(1), limit=limits.ENVELOPE_BYTES)
    except NotFound:
        raise NotFound(
            f"There is no vault at {store.location}.", code="no-such-vault", subject=store.location
        ) from None
