"""Compare the wrapped copies of environment keys that are stored with those that the policy asks for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from vault.actions import keyring, objects
from vault.actions.session import HeldIdentity, Session
from vault.core import age, envelope, key_services, layout, limits, names
from vault.core import policy as policies
from vault.core.key_services import KeyServiceId
from vault.core.names import Environment, Principal
from vault.core.policy import EnvironmentRule, Epoch, Member, Policy
from vault.core.policy import Recipient as RecipientId
from vault.errors import NotFound, NoUsableKey, Refused
from vault.keys import recipients

PRESENT = "present"
MISSING = "missing"
SURPLUS = "surplus"
STANZAS = frozenset({"X25519", "mlkem768x25519"})  # C2SP age.md, "Native recipient types"


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who is to have a copy of an environment's key, and the age key that it is wrapped to."""

    name: Principal
    recipient: RecipientId


@dataclass(frozen=True, slots=True)
class Copy:
    """A wrapped copy of one epoch of an environment's key, stored or wanted.

    `state` is `present`, `missing`, or `surplus`: it is there for somebody who is
    no reader by this policy. `recipient` is the first 16 hex digits of the
    recipient's digest. `garbage` counts objects under its name that are no copy.
    That a copy for somebody else really opens, only they can tell. Of a copy that
    a key service wrapped `service` is the key there, and `who` its name.
    """

    environment: Environment
    epoch: int
    who: str
    recipient: str
    state: str
    garbage: int = 0
    service: KeyServiceId | None = None


def rule_of(policy: Policy, environment: Environment) -> EnvironmentRule:
    """Give an environment of the policy.

    Raises:
        NotFound: there is no such environment.
    """
    found = policy.environments.get(environment)
    if found is None:
        known = ", ".join(sorted(policy.environments))
        raise NotFound(
            f"There is no environment {environment}.", subject=environment, hint=f"There are: {known}."
        )
    return found


def holders(policy: Policy, environment: Environment) -> tuple[Holder, ...]:
    """List who is to have an environment's key: its readers with a key that counts, and recovery."""
    people = [
        Holder(member.name, recipient)
        for member in policies.readers(policy, environment)
        if _counts(member)
        for recipient in member.recipients
    ]
    return (*people, *(Holder(layout.RECOVERY, recipient) for recipient in policy.recovery))


def ageless(policy: Policy, environment: Environment) -> tuple[Member, ...]:
    """List the readers of an environment to whom nothing can be wrapped: they have no age key."""
    found = policies.readers(policy, environment)
    return tuple(member for member in found if _counts(member) and not member.recipients)


def _counts(member: Member) -> bool:
    """Tell whether any key of a principal still counts; without one it can do nothing, nor read."""
    return any(not key.revoked and key.until is None for key in member.keys)


def copies(
    session: Session, policy: Policy, environment: Environment, *, own: HeldIdentity | None = None
) -> list[Copy]:
    """List the copies of an environment's key, epoch by epoch: those that are wanted, then what is surplus.

    A copy counts as present when it is named after its content and has the form
    of one. Of `own` it must also open and be the key that the policy names.

    Raises:
        NotFound: there is no such environment.
        Unavailable: the store failed.
    """
    entry = rule_of(policy, environment)
    return [copy for epoch in entry.epochs for copy in _copies(session, policy, entry, epoch, own)]


def _copies(
    session: Session, policy: Policy, entry: EnvironmentRule, epoch: Epoch, own: HeldIdentity | None
) -> Iterator[Copy]:
    stored = _stored(session, entry.name, epoch.number)
    mine = None
    if own is not None and own.recipient is not None:
        mine = keyring.recipient_digest(own.recipient)
    for holder in holders(policy, entry.name):
        place = (holder.name, holder.recipient.digest[:16])
        test = _Test(session, epoch.recipient, own if holder.recipient.digest == mine else None)
        genuine, garbage = test.count(stored.pop(place, ()))
        yield Copy(entry.name, epoch.number, *place, PRESENT if genuine else MISSING, garbage)
    for (who, recipient), found in sorted(stored.items()):
        genuine, garbage = _Test(session, epoch.recipient, None).count(found)
        if genuine:
            yield Copy(entry.name, epoch.number, who, recipient, SURPLUS, garbage)
    yield from _service_copies(session, entry, epoch.number)


def _service_copies(session: Session, entry: EnvironmentRule, epoch: int) -> Iterator[Copy]:
    """List the copies that key services hold: those of the policy first, then those of others."""
    folder = layout.service_keys(entry.name, epoch)
    genuine: dict[KeyServiceId, int] = dict.fromkeys(entry.key_services, 0)
    garbage: dict[str, int] = {}
    for name in islice(session.store.list(folder), limits.LISTED_NAMES):
        leaf = name.removeprefix(folder)
        if not layout.is_service_copy(leaf):
            continue
        service = _service_of(session, name, leaf[:16])
        if service is None:
            garbage[leaf[:16]] = garbage.get(leaf[:16], 0) + 1
        elif service in genuine or len(genuine) < limits.KEY_NAMES:
            genuine[service] = genuine.get(service, 0) + 1
    for service, count in genuine.items():
        state = SURPLUS if service not in entry.key_services else PRESENT if count else MISSING
        place = service.digest[:16]
        yield Copy(entry.name, epoch, service.key, place, state, garbage.get(place, 0), service)


def _service_of(session: Session, name: str, recipient: str) -> KeyServiceId | None:
    """Tell for which key of a service an object is a copy, by content and name; None if it is none."""
    try:
        data = objects.read_listed(session.store, name, limit=limits.WRAPPED_KEY_BYTES)
        service, _ = key_services.parse_wrapped(data, name)
    except Refused:
        return None
    fits = layout.fits_content(name, envelope.digest(data)) and service.digest.startswith(recipient)
    return service if fits else None


def _stored(session: Session, environment: Environment, epoch: int) -> dict[tuple[Principal, str], list[str]]:
    """List what has the name of a copy, by the principal and the recipient that the name tells."""
    folder = layout.epoch_keys(environment, epoch)
    found: dict[tuple[Principal, str], list[str]] = {}
    for name in islice(session.store.list(folder), limits.LISTED_NAMES):
        who, _, leaf = name.removeprefix(folder).partition("/")
        if not layout.is_copy(leaf):
            continue
        try:
            place = (names.principal(who), leaf[:16])
        except Refused:
            continue  # a stranger's folder
        there = found.setdefault(place, [])
        if len(there) < limits.KEY_NAMES:
            there.append(name)
    return found


@dataclass(frozen=True, slots=True)
class _Test:
    """Looks whether an object is a wrapped copy of the key with this recipient; opens those of `own`."""

    session: Session
    wanted: RecipientId
    own: HeldIdentity | None

    def count(self, found: Iterable[str]) -> tuple[int, int]:
        """Count the copies among the named objects, and those that are none."""
        genuine = garbage = 0
        for name in found:
            if self._is_copy(name):
                genuine += 1
            else:
                garbage += 1
        return genuine, garbage

    def _is_copy(self, name: str) -> bool:
        try:
            data = objects.read_listed(self.session.store, name, limit=limits.AGE_HEADER_BYTES)
            if not layout.fits_content(name, envelope.digest(data)):
                return False
            header, size = age.parse_header(data)
            age.plain_size(len(data) - size)
            if self.own is not None:
                return self._opens(self.own, data)
        except Refused:
            return False
        return any(stanza.arguments[0] in STANZAS for stanza in header.stanzas)

    def _opens(self, own: HeldIdentity, data: bytes) -> bool:
        if own.age_identity is None:
            return False
        try:
            line = recipients.decrypt_bytes(
                data, [recipients.parse_identity(own.age_identity)], limit=limits.RECIPIENT_CHARS
            )
        except NoUsableKey:
            return False
        private = recipients.parse_identity(line.decode("ascii", "replace").removesuffix("\n"))
        return keyring.recipient_digest(private.recipient().encode()) == self.wanted.digest


def environments(policy: Policy, wanted: Environment | None) -> tuple[Environment, ...]:
    """Give the environments that something is to be done for: the one that was named, else all.

    Raises:
        NotFound: there is no such environment.
    """
    return tuple(policy.environments) if wanted is None else (rule_of(policy, wanted).name,)


def recipient_of(session: Session, holder: Holder) -> recipients.Recipient:
    """Give the public age key of somebody who is to have a copy.

    Raises:
        NotFound, Refused, Unavailable: it is not where the policy's digest leads.
    """
    try:
        return keyring.recipient(session, holder.recipient)
    except NotFound:
        name = layout.recipient(holder.recipient.digest)
        raise NotFound(
            f"The public age key of {holder.name} is not in the store: {name} is gone.",
            subject=holder.name,
            hint="Restore it from a backup, or let them send their public identity again.",
        ) from None
