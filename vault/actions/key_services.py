"""Ask key services: open the adapter for each kind, and give no answer longer than a bounded time.

A library's own timeouts bound each step of a request, and neither the resolving
of names nor a server that sends a byte now and then. So each call is made by a
thread that nobody waits for any longer than said here.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

from vault.actions import objects
from vault.actions.session import Session
from vault.core import ed25519, envelope, key_services, layout, limits
from vault.core import policy as policies
from vault.core.key_services import KeyServiceId, SigningKeyId, TransitKey
from vault.core.names import Digest, Environment
from vault.core.policy import EnvironmentRule, Policy
from vault.errors import AccessDenied, MissingLibrary, NoUsableKey, Refused, Unavailable, VaultError
from vault.keys import kms, transit
from vault.keys.recipients import Identity
from vault.ports import KeyService, SigningService, Store

SECONDS: Final = 60.0

_OPENERS: Final[Mapping[str, Callable[[KeyServiceId], KeyService]]] = {
    key_services.KMS: kms.open_service,
    key_services.TRANSIT: transit.open_service,
}
_T = TypeVar("_T")


def of_session(session: Session, service: KeyServiceId) -> KeyService:
    """Give a key service, made on first use and kept while the vault is open."""
    found = session.key_services.get(service)
    if found is None:
        found = session.key_services[service] = open_service(service)
    return found


def open_service(service: KeyServiceId) -> KeyService:
    """Give a key service whose answers come within a bounded time."""
    return _TimedService(service, _OPENERS[service.kind](service))


def open_signer(key: SigningKeyId, public: ed25519.PublicKey) -> SigningService:
    """Give what signs with a key in a service, within a bounded time."""
    return _TimedSigner(key, transit.open_signer(key, public))


def find_signer(url: str, version: int | None) -> tuple[SigningKeyId, ed25519.PublicKey, SigningService]:
    """Look up an Ed25519 key in a service for a new identity, and let it sign once.

    Raises:
        ValueError: it is no URL of a key, or the key cannot be an identity's.
        Unavailable, Refused, NoUsableKey, MissingLibrary: see `transit.find_signer`.
    """
    key = _transit_key(url)
    found = within(lambda: transit.find_signer(key, version), url)
    return found.key, found.public, open_signer(found.key, found.public)


def _transit_key(url: str) -> TransitKey:
    try:
        return key_services.transit_key(url)
    except VaultError as error:
        raise ValueError(error.message) from None


def within(act: Callable[[], _T], service: str, seconds: float = SECONDS) -> _T:
    """Give what `act` gives, or raise what it raises, unless that takes too long.

    Raises:
        Unavailable: it takes longer.
    """
    found: list[_T] = []
    failed: list[Exception] = []
    ended = threading.Event()

    def run() -> None:
        try:
            found.append(act())
        except Exception as error:  # whatever it is, the caller gets it
            failed.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, daemon=True, name="key-service").start()
    if not ended.wait(seconds):
        raise key_services.unavailable(service, f"it did not answer within {seconds:g} seconds")
    if failed:
        raise failed[0]
    return found[0]


@dataclass(frozen=True, slots=True)
class _TimedService:
    service: KeyServiceId
    inner: KeyService

    def wrap(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        return within(lambda: self.inner.wrap(plaintext, context), self.service.key)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        return within(lambda: self.inner.unwrap(wrapped, context), self.service.key)


@dataclass(frozen=True, slots=True)
class _TimedSigner:
    key: SigningKeyId
    inner: SigningService

    def sign(self, message: bytes) -> bytes:
        return within(lambda: self.inner.sign(message), self.key.key.url)


# --- copies of environment keys ---


def may_read(policy: Policy, entry: EnvironmentRule, key_id: Digest) -> bool:
    """Tell whether the holder of a key is a reader of an environment, by a key that counts."""
    if not entry.key_services or key_id not in policy.counting_keys():
        return False
    holder = policy.holder(key_id)
    return holder is not None and any(
        member.name == holder.name for member in policies.readers(policy, entry.name)
    )


def listed(store: Store, environment: Environment, epoch: int, service: KeyServiceId) -> Iterator[str]:
    """List the names of what may be a copy for one key of a service."""
    folder = layout.service_keys(environment, epoch)
    for name in store.list(folder + layout.copies_for(service.digest)):
        if layout.is_service_copy(name.removeprefix(folder)):
            yield name


def unwrap_any(
    session: Session,
    place: tuple[EnvironmentRule, int],
    candidates: Callable[[Iterable[str]], Iterator[tuple[str, bytes]]],
    accept: Callable[[bytes, str], _T],
    failure: VaultError,
) -> _T:
    """Ask the services of an environment to unwrap a copy of one epoch's key.

    Anybody may have put copies there. `candidates` reads objects by their names,
    `accept` sees whether what was unwrapped is the key; `failure` is why it could not be had otherwise.

    Raises:
        Unavailable, MissingLibrary, NoUsableKey, Refused: no copy gives the key; what says most is raised.
    """
    entry, epoch = place
    failures = [failure]
    for service in entry.key_services:
        names = listed(session.store, entry.name, epoch, service)
        for name, data in candidates(islice(names, limits.KEY_NAMES)):
            if not layout.fits_content(name, envelope.digest(data)):
                continue  # no genuine copy, and each costs a request
            try:
                return accept(_unwrap(session, service, (entry.name, epoch), name, data), name)
            except Refused as refusal:
                failures.append(refusal)
            except (Unavailable, NoUsableKey, MissingLibrary) as error:
                failures.append(error)
                break  # it will not answer for another copy either
    raise max(failures, key=_telling)


def _telling(failure: VaultError) -> int:
    """Rank what stood in the way of a key: what may pass says the most, a stranger's object the least."""
    order: tuple[type[VaultError], ...] = (Refused, MissingLibrary, AccessDenied, Unavailable)
    return max((rank for rank, kind in enumerate(order, start=1) if isinstance(failure, kind)), default=0)


def _unwrap(
    session: Session, service: KeyServiceId, place: tuple[Environment, int], name: str, data: bytes
) -> bytes:
    """Have a service unwrap one stored copy; whether it holds the right key, the caller sees."""
    named, wrapped = key_services.parse_wrapped(data, name)
    if named != service:
        raise key_services.not_opened(service.key, f"{name} is for {named.key}")
    return of_session(session, service).unwrap(wrapped, key_services.context(session.pin, *place))


def wrap(
    session: Session, service: KeyServiceId, environment: Environment, epoch: int, identity_line: str
) -> bytes:
    """Have a service wrap an environment's private key, which is an age identity line; give the object.

    Raises:
        Unavailable, AccessDenied, NoUsableKey, MissingLibrary: see `ports.KeyService`.
    """
    bound = key_services.context(session.pin, environment, epoch)
    return _wrapped(of_session(session, service), service, bound, identity_line)


def wrap_new(
    session: Session, entry: EnvironmentRule, epoch: int, identity_line: str
) -> list[tuple[KeyServiceId, bytes]]:
    """Have every service of an environment wrap a new key of it; give the objects, of which none is stored.

    Nobody else may hold the new key, so that a service that lacked it could not be given it afterwards.

    Raises:
        Unavailable, AccessDenied, NoUsableKey, MissingLibrary: one of them does not.
    """
    return [
        (service, wrap(session, service, entry.name, epoch, identity_line)) for service in entry.key_services
    ]


def wrap_first(
    vault: Digest,
    environments: Mapping[Environment, EnvironmentRule],
    private: Mapping[Environment, Identity],
) -> list[tuple[Environment, KeyServiceId, bytes]]:
    """Have services wrap the keys of the first epoch of a vault that is not there yet; give the objects.

    Raises:
        Unavailable, AccessDenied, NoUsableKey, MissingLibrary: one of them does not.
    """
    asked: dict[KeyServiceId, KeyService] = {}
    found = []
    for place, secret in private.items():
        bound = key_services.context(vault, place, 1)
        for service in environments[place].key_services:
            if service not in asked:
                asked[service] = open_service(service)
            found.append((place, service, _wrapped(asked[service], service, bound, secret.encode())))
    return found


def _wrapped(asked: KeyService, service: KeyServiceId, bound: Mapping[str, str], line: str) -> bytes:
    return key_services.encode_wrapped(service, asked.wrap(f"{line}\n".encode("ascii"), bound))


def store_copy(
    store: Store, service: KeyServiceId, environment: Environment, epoch: int, data: bytes
) -> None:
    """Store a copy of an environment's key that a key service wrapped."""
    objects.create(store, layout.service_key(environment, epoch, service.digest, envelope.digest(data)), data)
