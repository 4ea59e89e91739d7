"""Heads: what an environment's newest state was at a time, and until when that may be relied on.

A client that remembers nothing cannot tell an old state of the store from the
newest. A heads statement says what every channel of an environment came to; who
may `attest` there renews it, unattended, with a key that authorises nothing else
(docs/format.md, "Heads"). What it says is a floor for ever; that there is
nothing newer it vouches for until it expires.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from vault.core import in_force, limits, log_names, names, policy, strict_json
from vault.core.fields import Fields, malformed, time
from vault.core.in_force import Channel, Context, Signed
from vault.core.manifest import policy_value, read_policy
from vault.core.memory_format import Mark, parse_mark
from vault.core.names import Digest, Environment, Model, Principal, Slot
from vault.core.policy import LogHead, Policy, PolicyId
from vault.core.policy_document import log_head_value, read_log_head
from vault.core.trust import Skipped, TrustedRoot
from vault.errors import DigestMismatch, Refused, Rollback, UntrustedSigner

KIND: Final = "heads"
ACTION: Final = "attest"
DAY: Final = 86_400
CLOCK_SKEW: Final = DAY  # how far clocks may differ

HELD_ONLY: Final = "stale"
REFUSE: Final = "refuse"


@dataclass(frozen=True, slots=True)
class Heads:
    """The newest record in force of every channel of an environment, and the root and policy above them.

    `channels` go by `slot/model`. `log` is the head of the environment's log, if it had one.
    """

    vault: Digest
    environment: Environment
    number: int
    root: tuple[int, Digest]  # version and digest
    policy: PolicyId
    channels: Mapping[str, Mark]
    created: str
    expires: str
    log: LogHead | None = None
    slots: frozenset[Slot] = field(default=frozenset(), init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Collect the slots once: which of them a model uses is asked at every load."""
        found = frozenset(Slot(key.partition("/")[0]) for key in self.channels)
        object.__setattr__(self, "slots", found)


@dataclass(frozen=True, slots=True)
class Freshness:
    """What an environment's heads come to at one moment.

    `mode` is what the environment asks for: `warn`, `stale` or `refuse`.
    `lapse` says why what the store offers may be old, and is empty while the
    heads are fresh.
    """

    mode: str
    heads: Signed[Heads] | None
    lapse: str

    @property
    def fresh(self) -> bool:
        """Tell whether the heads vouch for the store's state now."""
        return not self.lapse

    @property
    def holds_only_what_was_seen(self) -> bool:
        """Tell whether only what a client knew before the heads lapsed may be used."""
        return self.mode == HELD_ONLY and not self.fresh

    @property
    def mark(self) -> Mark | None:
        """Give what memory keeps of the heads."""
        if self.heads is None:
            return None
        return Mark(self.heads.record.policy.era, self.heads.record.number, self.heads.digest)


def channel_key(slot: Slot, model: Model) -> str:
    """Name a channel in `Heads.channels`."""
    return f"{slot}/{model}"


def encode(heads: Heads) -> bytes:
    """Write the payload of a heads statement."""
    version, digest = heads.root
    return strict_json.encode(
        {
            "channels": {key: str(mark) for key, mark in heads.channels.items()},
            "created": heads.created,
            "environment": heads.environment,
            "expires": heads.expires,
            "log": log_head_value(heads.log),
            "number": heads.number,
            "policy": policy_value(heads.policy),
            "root": {"digest": digest, "version": version},
            "vault": heads.vault,
        }
    )


def parse(payload: bytes, subject: str) -> Heads:
    """Parse the payload of a heads statement, after its signature was checked.

    Raises:
        Malformed: a field is missing, unknown or of another shape, or it is to be
            valid for longer than heads may be.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    channels = fields.mapping("channels", _channel, limits.MEMORY_ENTRIES)
    found = Heads(
        vault=fields.text("vault", names.digest),
        environment=fields.text("environment", names.environment),
        number=fields.integer("number", 1),
        root=fields.object("root", _root),
        policy=fields.object("policy", read_policy),
        channels={key: parse_mark(value) for key, value in channels.items()},
        created=fields.text("created", time),
        expires=fields.text("expires", time),
        log=fields.optional_object("log", read_log_head),
    )
    fields.done()
    log = log_names.environment_log(found.environment)
    if found.log is not None and found.log.origin != log_names.origin(found.vault, log):
        raise malformed(subject, "it names the head of another log")
    valid = names.timestamp(found.expires) - names.timestamp(found.created)
    if not 0 < valid <= limits.HEADS_DAYS * DAY:
        raise malformed(subject, f"heads are valid for at most {limits.HEADS_DAYS} days")
    return found


def _root(fields: Fields) -> tuple[int, Digest]:
    return fields.integer("version", 1), fields.text("digest", names.digest)


def _channel(text: str) -> str:
    slot, _, model = text.partition("/")
    return channel_key(names.slot(slot), names.model(model))


# --- which heads are in force ---


def may_attest(current: Policy, who: Principal, environment: Environment) -> bool:
    """Tell whether somebody may attest an environment: all of it, so a grant for some models is none."""
    return any(
        (grant.rule_models is None or "*" in grant.rule_models)
        and (grant.own_models is None or "*" in grant.own_models)
        for grant in policy.grants(current, who, ACTION, environment)
    )


def judge(
    context: Context, root: TrustedRoot, environment: Environment, number: int, data: bytes
) -> Signed[Heads] | Skipped:
    """Judge one heads statement by everything but time.

    Those of an earlier era name what the vault may have continued without: they are skipped.

    Raises:
        Rollback: they were made under a newer policy or root than the store offers (`withheld`).
    """
    subject = f"heads {number} of {environment}"
    try:
        signed = in_force.attribute(context, data, KIND, subject, environment)
        found = parse(signed.envelope.payload, subject)
        if (found.vault, found.environment, found.number) != (context.vault, environment, number):
            raise DigestMismatch(
                f"{subject} is genuine but belongs elsewhere: its vault, environment or number is another.",
                code="misplaced",
                subject=subject,
            )
        signers = [
            holder.name for holder in signed.holders if may_attest(context.policy, holder.name, environment)
        ]
        if not signers:
            raise UntrustedSigner(
                f"{subject} is signed, but no signer of it may attest {environment}.", subject=subject
            )
    except Refused as refusal:
        return Skipped(subject, refusal.message, refusal.code)
    in_force.check_policy(context, found.policy, subject)
    _check_root(root, found, subject)
    if found.policy.era < context.policy_id.era:
        return Skipped(subject, "it was made in an earlier era", "heads-expired")
    return Signed(found, signed.envelope.digest, tuple(signers))


def _check_root(root: TrustedRoot, found: Heads, subject: str) -> None:
    version, digest = found.root
    newest = root.root.version
    if version > newest or (version == newest and digest != root.digest):
        raise Rollback(
            f"{subject} was made under root {version}, which the store does not offer: its newest is "
            f"{newest}.",
            code="withheld",
            subject=subject,
            hint="Somebody withholds the root, or a copy of the vault is incomplete. Ask its owner.",
        )


def heads_in_force(
    context: Context,
    root: TrustedRoot,
    environment: Environment,
    numbers: Iterable[int],
    read: Callable[[int], bytes],
) -> tuple[Signed[Heads] | None, tuple[Skipped, ...]]:
    """Give the heads with the highest number that hold; what does not hold is skipped.

    `numbers` are those that the store lists, `read` gives the object of one.

    Raises:
        Rollback: `withheld`.
        Unavailable: from `read`.
    """
    skipped = []
    for number in sorted(set(numbers), reverse=True):
        try:
            data = read(number)
        except Refused as refusal:  # larger than any
            skipped.append(Skipped(f"heads {number} of {environment}", refusal.message, refusal.code))
            continue
        found = judge(context, root, environment, number, data)
        if isinstance(found, Signed):
            return found, tuple(skipped)
        skipped.append(found)
    return None, tuple(skipped)


def check_remembered(
    known: Mark | None, seen: Mark | None, *, era: int, environment: Environment, offered: bool
) -> None:
    """Compare the heads in force with those that this client has seen.

    `offered` tells that the remembered heads still lie in the store as they
    were: then the policy keeps them out, since their signer may not attest any
    more, and nothing is withheld. What was seen in an earlier era may be lost.

    Raises:
        Rollback: older heads than before are offered, or none, or others of the same number.
    """
    if known is None or known.era < era or (seen is not None and seen.order > known.order) or seen == known:
        return
    if seen is not None and seen.order == known.order:
        what = "others of the same number"
    elif offered:
        return
    else:
        what = "none" if seen is None else f"number {seen.number}"
    raise Rollback(
        f"This client has seen heads {known.number} of {environment}, and the store offers {what} now.",
        subject=environment,
        hint="Somebody put back an old copy, or a backup was restored. Ask the vault's owner.",
    )


# --- what they mean for a load ---


def freshness(mode: str, environment: Environment, found: Signed[Heads] | None, now: int) -> Freshness:
    """Say what heads come to at `now`, in seconds since 1970."""
    lapse = ""
    if found is None:
        lapse = f"nobody has attested the state of {environment}"
    elif names.timestamp(found.record.expires) <= now:
        lapse = f"the state of {environment} was attested until {names.day_text(found.record.expires)}"
    elif names.timestamp(found.record.created) > now + CLOCK_SKEW:
        lapse = (
            f"the heads of {environment} are dated {names.day_text(found.record.created)}, which is to come"
        )
    return Freshness(mode, found, lapse)


def check_channel(state: Freshness, where: Channel, seen: Mark | None) -> None:
    """Demand that a channel is no older than the heads say; newer it may be.

    `seen` is its newest record, None where the store has none.

    Raises:
        Rollback: the store offers an older state, or another record of the same number.
    """
    if state.heads is None:
        return
    mark = attested(state, where)
    if mark is None or seen == mark or (seen is not None and seen.order > mark.order):
        return
    offered = "nothing" if seen is None else f"number {seen.number}"
    if seen is not None and seen.order == mark.order:
        offered = "another record of that number"
    raise Rollback(
        f"{where} was at number {mark.number} when heads {state.heads.record.number} were signed; "
        f"the store offers {offered}.",
        subject=str(where),
        hint="Somebody put back an old copy, or a backup was restored. Ask the vault's owner.",
    )


def attested(state: Freshness, where: Channel) -> Mark | None:
    """Give what the heads say of a channel."""
    return (
        None if state.heads is None else state.heads.record.channels.get(channel_key(where.slot, where.model))
    )


def slots_of(state: Freshness, model: Model) -> tuple[Slot, ...]:
    """Give the slots in which the heads name a channel of a model."""
    if state.heads is None:
        return ()
    found = state.heads.record
    return tuple(slot for slot in sorted(found.slots) if channel_key(slot, model) in found.channels)
