"""One opened vault: its store, its verified trust documents, this client's memory and identity."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from vault.actions import freshness, objects
from vault.actions.freshness import HeadsFound
from vault.actions.together import Together
from vault.core import (
    admission,
    channels,
    heads,
    layout,
    limits,
    memory_format,
    names,
    policy_succession,
    trust,
)
from vault.core.allowance import Allowance
from vault.core.heads import Heads
from vault.core.in_force import Channel, Context, Proofs, Signed
from vault.core.key_services import KeyServiceId
from vault.core.log_names import Log
from vault.core.memory_format import Mark, Memory
from vault.core.names import Digest, Environment, Model
from vault.core.policy import Policy, PolicyId
from vault.core.records import ChannelRecord
from vault.core.stages import Resolved, Verified
from vault.core.strict_json import JSONValue
from vault.core.trust import Skipped, TrustedRoot
from vault.errors import AccessDenied, Expired, NotFound, NoUsableKey, Rollback
from vault.keys.recipients import Identity as AgeIdentity
from vault.keys.recipients import Recipient as AgeRecipient
from vault.ports import Clock, KeyService, Progress, Random, Store, no_progress

if TYPE_CHECKING:
    from vault.actions.auditor import Auditor


class SigningKey(Protocol):
    """A key that an identity has for one purpose."""

    @property
    def public(self) -> bytes:
        """Its Ed25519 key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """Sign."""


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
    def recipient(self) -> str | None:
        """Its public age key; None where it has none, and reads through key services alone."""

    @property
    def age_identity(self) -> str | None:
        """Its private age key."""

    def sign(self, message: bytes) -> bytes:
        """Sign."""

    def derive(self, info: bytes) -> SigningKey:
        """Give its key for one purpose."""


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
    proofs: Proofs = field(default_factory=Proofs)

    @property
    def context(self) -> Context:
        """What records are judged against."""
        return Context(self.root.vault, self.policy, self.policy_id, self.proofs)


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
    audit: "Auditor | None" = None  # None: nothing is recorded, and what demands a record is refused
    _identity: HeldIdentity | None = None
    _trust: Trust | None = None
    _heads: dict[Environment, HeadsFound] = field(default_factory=dict)
    environment_keys: dict[tuple[Environment, int], AgeIdentity] = field(default_factory=dict)
    recipients: dict[Digest, AgeRecipient] = field(default_factory=dict)
    key_services: dict[KeyServiceId, KeyService] = field(default_factory=dict)  # those asked so far
    certificates: dict[tuple[str, str], bytes] = field(default_factory=dict)  # of log keys, by origin and use
    # What threads append to a log goes there together (`logged.write`): by process, since locks do not fork,
    # by key and by log.
    log_groups: dict[tuple[int, str, Log], Together[Any, Any]] = field(default_factory=dict)
    # Is told of each version that was signed here before it becomes visible: see `bulk_journal`.
    signed: Callable[[Verified], None] | None = None
    changed: Callable[[Model], None] | None = None  # is told which model was changed from here
    # Held while a live model is made into bytes: not every library that does so takes several threads.
    one_by_one: AbstractContextManager[Any] = field(default_factory=nullcontext)
    provenance: Mapping[str, JSONValue] | None = None  # asked once for many models: see `provenance.known`

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

    @property
    def last_trust(self) -> Trust | None:
        """The trust documents as they were last read; None if they were not."""
        return self._trust

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

    def trust_skipped(self) -> tuple[Skipped, ...]:
        """Give every root and policy that does not count; unlike `trust` this parses them all.

        Raises:
            As `trust`.
        """
        return self._read_trust(self.trust().listing, whole=True).skipped

    def _read_trust(self, listing: tuple[tuple[int, ...], tuple[int, ...]], *, whole: bool = False) -> Trust:
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
        try:
            policy, policy_id, skipped = policy_succession.in_force(
                root, listing[1], lambda number: self._read(layout.policy(number)), whole=whole
            )
        except NotFound:
            self.memory.advance(Memory(root.vault, root=Mark(0, root.root.version, root.digest)))
            raise
        return Trust(root, policy, policy_id, skipped_roots + skipped, listing, self._proofs(policy))

    def _proofs(self, policy: Policy) -> Proofs:
        from vault.actions import log_proofs  # it works on sessions

        return log_proofs.of_session(self, policy)

    def _read(self, name: str) -> bytes:
        return objects.read_listed(self.store, name, limit=limits.ENVELOPE_BYTES)

    def resolve(self, environment: Environment) -> Resolved:
        """Give the policy in force for an environment (admission, steps 1 and 2).

        Raises:
            Refused, NotFound, Unavailable: see `trust` and `admission.resolve`.
        """
        remembered = self.memory.load()
        found = self.trust()
        seen = admission.trust_seen(found.root, found.policy_id)
        try:
            newest = found.policy, found.policy_id
            resolved = admission.resolve(
                found.root, newest, environment, remembered, self.clock(), found.proofs
            )
        except (AccessDenied, Expired, NotFound):
            self.memory.advance(seen)  # what stops loads was seen in force all the same (TUF 5.3.10)
            raise
        if resolved.rule.require.fresh is None:
            self.memory.advance(seen)
            return resolved
        try:
            state = self._freshness(found, resolved, resolved.rule.require.fresh)
        except Rollback as refusal:
            self.memory.advance(seen)
            if refusal.code != "withheld" or self.trust() is found:
                raise
            return self.resolve(environment)  # a policy was signed, and attested, between our two looks
        marks: dict[str, Mark] = {} if state.mark is None else {environment: state.mark}
        self.memory.advance(replace(seen, heads=marks))
        return replace(resolved, freshness=state)

    def attested(self, environment: Environment) -> Heads | None:
        """Give the heads of an environment as they were when it was last resolved, fresh or not."""
        read = self._heads.get(environment)
        return None if read is None or read.heads is None else read.heads.record

    def heads_skipped(self, environment: Environment) -> tuple[Skipped, ...]:
        """Give what lay above an environment's heads and did not count, when it was last resolved."""
        read = self._heads.get(environment)
        return () if read is None else read.skipped

    def _freshness(self, found: Trust, resolved: Resolved, mode: str) -> heads.Freshness:
        """Read an environment's heads, compare them with those seen before, and say what they come to now."""
        environment = resolved.rule.name
        read = freshness.read(
            self.store, resolved.context, found.root, environment, self._heads.get(environment)
        )
        self._heads[environment] = read
        state = heads.freshness(mode, environment, read.heads, self.clock())
        known = resolved.remembered.heads.get(environment)
        heads.check_remembered(
            known,
            state.mark,
            era=found.policy.era,
            environment=environment,
            offered=known is not None
            and state.mark != known
            and freshness.offered(self.store, environment, known),
        )
        return state

    def remember(self, resolved: Resolved, *seen: "Observation") -> None:
        """Compare what was found with what this client knew before, then remember it.

        Raises:
            Rollback: the store offers something older, or other, than was seen before.
        """
        known = resolved.remembered
        policy = resolved.context.policy
        # What is seen while heads have lapsed may be old: it is not what this client "holds" from then on.
        lapsed = resolved.freshness is not None and resolved.freshness.holds_only_what_was_seen
        channels = {}
        versions = {}
        for entry in seen:
            if isinstance(entry, Verified):
                key = memory_format.version_key(entry.manifest.model, entry.manifest.version)
                versions[key] = entry.digest
                continue
            where, found = entry
            key = memory_format.channel_key(where.environment, where.slot, where.model)
            mark = None if found is None else mark_of(resolved.context, found)
            left_out = policy.continues is not None and key not in policy.continues
            memory_format.check_channel(known, key, mark, lost_before=policy.era if left_out else 0)
            if resolved.freshness is not None:
                heads.check_channel(resolved.freshness, where, mark)
            if mark is not None and not lapsed:
                channels[key] = mark
        under = resolved.context.policy_id
        observed = Memory(
            resolved.context.vault,
            policy=Mark(under.era, under.version, under.digest),
            channels=channels,
            versions=versions,
        )
        memory_format.check(known, observed)
        self.memory.advance(observed)


Observation = Verified | tuple[Channel, Signed[ChannelRecord] | None]


def mark_of(context: Context, found: Signed[ChannelRecord]) -> Mark:
    """Give what memory keeps of a channel record."""
    era, number = channels.order_of(context, found)
    return Mark(era, number, found.digest)
