"""One opened vault: its store, its verified trust documents, this client's memory and identity."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from vault.actions import objects
from vault.core import admission, layout, limits, memory_format, names, policy_document, trust
from vault.core.allowance import Allowance
from vault.core.in_force import Channel, Context, Signed
from vault.core.memory_format import Mark, Memory
from vault.core.names import Digest, Environment
from vault.core.policy import Policy, PolicyId
from vault.core.records import ChannelRecord
from vault.core.stages import Resolved, Verified
from vault.core.trust import Skipped, TrustedRoot
from vault.errors import NotFound, NoUsableKey
from vault.keys.recipients import Identity as AgeIdentity
from vault.keys.recipients import Recipient as AgeRecipient
from vault.ports import Clock, Progress, Random, Store, no_progress


class HeldIdentity(Protocol):
    """An unlocked identity: it signs, and its age key opens what is wrapped to it."""

    @property
    def name(self) -> names.Principal:
        """What its holder calls it."""

    @property
    def key_id(self) -> str:
        """SHA-256 of its Ed25519 key."""

    @property
    def public(self) -> bytes:
        """Its Ed25519 key, 32 bytes."""

    @property
    def recipient(self) -> str:
        """Its public age key."""

    @property
    def age_identity(self) -> str:
        """Its private age key."""

    def sign(self, message: bytes) -> bytes:
        """Sign."""


class Remembering(Protocol):
    """This client's memory of one vault (`vault.memory`)."""

    def load(self) -> Memory:
        """Give what is remembered."""

    def advance(self, seen: Memory) -> None:
        """Remember what an operation saw to be in force."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The verified trust documents, and what was skipped on the way to them."""

    root: TrustedRoot
    policy: Policy
    policy_id: PolicyId
    skipped: tuple[Skipped, ...]
    listing: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def context(self) -> Context:
        """What records are judged against."""
        return Context(self.root.vault, self.policy, self.policy_id)


@dataclass(slots=True)
class Session:
    """Everything that the actions share. `unlock` gives the identity, and asks for it once."""

    store: Store
    pin: Digest
    memory: Remembering
    unlock: Callable[[], HeldIdentity] | None
    environment: Environment
    allowance: Allowance
    clock: Clock
    random: Random
    progress: Progress = no_progress
    _identity: HeldIdentity | None = None
    _trust: Trust | None = None
    environment_keys: dict[tuple[Environment, int], AgeIdentity] = field(default_factory=dict)
    recipients: dict[Digest, AgeRecipient] = field(default_factory=dict)

    @property
    def identity(self) -> HeldIdentity:
        """The unlocked identity.

        Raises:
            NoUsableKey: there is none, or it cannot be unlocked.
        """
        if self._identity is None:
            if self.unlock is None:
                raise NoUsableKey(
                    "This needs an identity, and none is set up on this machine.",
                    hint="Make one: mvault identity new. Or name one: --identity FILE, MVAULT_IDENTITY.",
                )
            self._identity = self.unlock()
        return self._identity

    def now(self) -> str:
        """Give the time as documents spell it."""
        return names.time_text(self.clock())

    # --- step 2: memory, root, policy ---

    def trust(self) -> Trust:
        """Give the trust documents in force, reading again only what the store lists anew.

        Raises:
            Refused: the root is not the pinned one, or older than this client has seen.
            NotFound: there is no vault, or no policy in force.
            Unavailable: the store failed.
        """
        listing = (
            tuple(objects.numbers(self.store, layout.ROOTS)),
            tuple(objects.numbers(self.store, layout.POLICIES)),
        )
        if self._trust is None or self._trust.listing != listing:
            self._trust = self._read_trust(listing)
        return self._trust

    def _read_trust(self, listing: tuple[tuple[int, ...], tuple[int, ...]]) -> Trust:
        if 1 not in listing[0]:
            raise NotFound(
                f"There is no vault at {self.store.location}.",
                code="no-such-vault",
                subject=self.store.location,
                hint="Make one: mvault init. If there was one, its root was deleted: restore it.",
            )
        root, skipped_roots = trust.root_in_force(
            self.pin, listing[0], lambda number: self._read(layout.root(number))
        )
        policy, policy_id, skipped = policy_document.in_force(
            root, listing[1], lambda number: self._read(layout.policy(number))
        )
        return Trust(root, policy, policy_id, skipped_roots + skipped, listing)

    def _read(self, name: str) -> bytes:
        return objects.read_listed(self.store, name, limit=limits.ENVELOPE_BYTES)

    def resolve(self, environment: Environment) -> Resolved:
        """Give the policy in force for an environment (admission, steps 1 and 2).

        Raises:
            Refused, NotFound, Unavailable: see `trust` and `admission.resolve`.
        """
        remembered = self.memory.load()
        found = self.trust()
        resolved = admission.resolve(
            found.root, (found.policy, found.policy_id), environment, remembered, self.clock()
        )
        self.memory.advance(admission.trust_seen(found.root, found.policy_id))
        return resolved

    def remember(self, resolved: Resolved, *seen: "Observation") -> None:
        """Compare what was found with what this client knew before, then remember it.

        Raises:
            Rollback: the store offers something older, or other, than was seen before.
        """
        known = resolved.remembered
        channels = {}
        versions = {}
        for entry in seen:
            if isinstance(entry, Verified):
                key = memory_format.version_key(entry.manifest.model, entry.manifest.version)
                versions[key] = entry.digest
                continue
            where, found = entry
            key = memory_format.channel_key(where.environment, where.slot, where.model)
            mark = None if found is None else mark_of(found)
            memory_format.check_channel(known, key, mark)
            if mark is not None:
                channels[key] = mark
        observed = Memory(resolved.context.vault, channels=channels, versions=versions)
        memory_format.check(known, observed)
        self.memory.advance(observed)


Observation = Verified | tuple[Channel, Signed[ChannelRecord] | None]


def mark_of(found: Signed[ChannelRecord]) -> Mark:
    """Give what memory keeps of a channel record."""
    return Mark(found.record.policy.era, found.record.seq, found.digest)
