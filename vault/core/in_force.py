"""Which record is in force: each is judged against the newest policy (docs/format.md, "In force").

Storage may hold anything under any name. A record counts when its name equals
its signed number, its place is its own, its signer is authorised under the
newest policy, and what its environment requires verifies. Anything else is
`Skipped`: treated as absent, and reported. One failure is final, because it
says that the policy itself is being withheld (`check_policy`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from vault.core import envelope, manifest, names, policy, records
from vault.core.names import Digest, Environment, Model, Principal, Slot, Version
from vault.core.policy import ApprovalRule, Key, Member, Policy, PolicyId
from vault.core.records import Adoption, Approval, ChannelRecord, SealingRecord
from vault.core.trust import Skipped
from vault.errors import DigestMismatch, Refused, Rollback, UntrustedSigner

T = TypeVar("T")
Order = tuple[int, int]  # (era, number): what decides which of two records is the later


def never_had(_: Digest, __: Key, ___: Environment | None) -> bool:
    """Say, where no log can be read, that nothing was in one."""
    return False


def never_logged(_: "Signed[ChannelRecord]", __: int) -> str | None:
    """Say, where no log can be read, why a record does not count that has to be in one."""
    return "no log can be read here"


@dataclass(frozen=True, slots=True)
class Proofs:
    """What logs prove: a port, since whoever judges records reads nothing.

    `had` tells whether a log had a document, by its digest, when it had the head at
    which a key was retired; the document is of that environment, or of none.
    `unlogged` says why a channel record is not in its environment's log, as so many
    witnesses have seen it; None where it is.
    """

    had: Callable[[Digest, Key, Environment | None], bool] = never_had
    unlogged: "Callable[[Signed[ChannelRecord], int], str | None]" = never_logged


@dataclass(frozen=True, slots=True)
class Context:
    """What a record is judged against: the vault and its newest policy."""

    vault: Digest
    policy: Policy
    policy_id: PolicyId
    proofs: Proofs = Proofs()


@dataclass(frozen=True, slots=True)
class Signed(Generic[T]):
    """A record that is in force, its digest, and the principals who signed it."""

    record: T
    digest: Digest
    signers: tuple[Principal, ...]


@dataclass(frozen=True, slots=True)
class Attributed:
    """An envelope whose signatures were checked: which keys signed it, and whose they are."""

    envelope: envelope.Envelope
    keys: frozenset[Digest]
    holders: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel's place: environment, slot and model."""

    environment: Environment
    slot: Slot
    model: Model

    def __str__(self) -> str:
        return str(names.Reference(self.model, environment=self.environment, slot=self.slot))


def check_policy(context: Context, made_under: PolicyId, subject: str) -> None:
    """Refuse a record that names a newer policy than the store offers, or another one of the same number.

    Raises:
        Rollback: `withheld`.
    """
    newest = (context.policy_id.era, context.policy_id.version)
    named = (made_under.era, made_under.version)
    if named > newest or (named == newest and made_under.digest != context.policy_id.digest):
        raise Rollback(
            f"{subject} was made under policy {made_under.version}, which the store does not offer: "
            f"its newest is {context.policy_id.version}.",
            code="withheld",
            subject=subject,
            hint="Somebody withholds the policy, or a copy of the vault is incomplete. Ask its owner.",
        )


def attribute(
    context: Context, data: bytes, kind: str, subject: str, environment: Environment | None = None
) -> Attributed:
    """Verify a document's signatures against the keys that count for it; give the principals behind them.

    A retired key counts for what a log had before the key's `until`: for a document of
    an `environment`, one that tells of it.

    Raises:
        Refused: malformed, unsigned, or signed by nobody whom the policy knows.
    """
    sealed = envelope.parse(data, kind=kind, subject=subject)
    counting = {**context.policy.counting_keys(), **_retired(context, sealed, environment)}
    keys = envelope.require_signer(sealed, counting, subject)
    holders = {holder.name: holder for key_id in keys if (holder := context.policy.holder(key_id))}
    return Attributed(sealed, keys, tuple(holders[name] for name in sorted(holders)))


def _retired(
    context: Context, sealed: envelope.Envelope, environment: Environment | None
) -> Mapping[Digest, bytes]:
    """Give the retired keys that signed a document before they were retired, as the log proves."""
    retired: dict[Digest, Key] = {}
    for entry in sealed.signatures:
        key = context.policy.key(entry.key_id)
        if key is not None and key.until is not None and not key.revoked:
            retired[key.key_id] = key
    if not retired:
        return {}
    signed = envelope.signers(sealed, {key_id: key.public for key_id, key in retired.items()})
    return {
        key_id: retired[key_id].public
        for key_id in signed
        if context.proofs.had(sealed.digest, retired[key_id], environment)
    }


def _misplaced(subject: str, what: str) -> DigestMismatch:
    return DigestMismatch(
        f"{subject} is genuine but belongs elsewhere: {what}.", code="misplaced", subject=subject
    )


def _denied(subject: str, what: str) -> UntrustedSigner:
    return UntrustedSigner(f"{subject} is signed, but no signer of it {what}.", subject=subject)


def _allowed(context: Context, signers: Iterable[Member], action: str, where: Channel) -> tuple[Member, ...]:
    return tuple(
        signer
        for signer in signers
        if policy.decide(context.policy, signer.name, action, where.model, where.environment).allowed
    )


def offers(context: Context, data: bytes, remembered: Digest, subject: str) -> bool:
    """Tell whether a manifest is the remembered one, with the signatures of all its publishers.

    Keys that are revoked or retired serve here too: the question is whether the
    store still holds what was seen in it, not whether it may be used. A publisher
    who left the policy cannot be asked; that alone keeps the version out.
    """
    try:
        sealed = envelope.parse(data, kind=manifest.KIND, subject=subject)
        if not envelope.same_digest(sealed.digest, remembered):
            return False
        publishers = manifest.parse(sealed.payload, subject).publishers
    except Refused:
        return False
    known = {key_id: key.public for key_id in publishers if (key := context.policy.key(key_id))}
    return len(known) < len(publishers) or envelope.signers(sealed, known) == set(publishers)


# --- channel records ---


def channel_record(
    context: Context, where: Channel, number: int, data: bytes
) -> Signed[ChannelRecord] | Skipped:
    """Judge one object of a channel's folder by everything but its approvals.

    Raises:
        Rollback: `withheld`.
    """
    subject = f"{where} record {number}"
    try:
        signed = attribute(context, data, records.CHANNEL, subject, where.environment)
        record = records.parse_channel(signed.envelope.payload, subject)
        _check_place(context, where, number, record, subject)
        signers = _channel_signers(context, where, record, signed.holders, subject)
    except Refused as refusal:
        return Skipped(subject, refusal.message, refusal.code)
    check_policy(context, record.policy, subject)
    return Signed(record, signed.envelope.digest, tuple(signer.name for signer in signers))


def _check_place(context: Context, where: Channel, number: int, record: ChannelRecord, subject: str) -> None:
    if record.vault != context.vault:
        raise _misplaced(subject, "it is another vault's")
    if Channel(record.environment, record.slot, record.model) != where:
        raise _misplaced(
            subject, f"it is of {record.model} in {record.environment}/{record.slot}, not of {where}"
        )
    if record.seq != number:
        raise _misplaced(subject, f"it is number {record.seq}")


def _channel_signers(
    context: Context, where: Channel, record: ChannelRecord, holders: tuple[Member, ...], subject: str
) -> tuple[Member, ...]:
    """Who may promote may sign any record; who may approve or withdraw may sign one that only bars."""
    found = _allowed(context, holders, "promote", where)
    if record.manifest is None:
        found += _allowed(context, holders, "withdraw", where) + _allowed(context, holders, "approve", where)
    if not found:
        raise _denied(
            subject, f"may {'promote to' if record.manifest else 'withdraw from'} {where.environment}"
        )
    return tuple({signer.name: signer for signer in found}.values())


# --- approvals ---


def approval(
    context: Context, where: Channel, manifest: Digest, data: bytes, subject: str
) -> Signed[Approval] | Skipped:
    """Judge one approval of `manifest` for an environment; only persons who may approve there count.

    Raises:
        Rollback: `withheld`.
    """
    try:
        signed = attribute(context, data, records.APPROVAL, subject, where.environment)
        record = records.parse_approval(signed.envelope.payload, subject)
        if (record.vault, record.model, record.environment) != (
            context.vault,
            where.model,
            where.environment,
        ) or record.manifest != manifest:
            raise _misplaced(subject, "it approves something else")
        people = [holder for holder in signed.holders if holder.kind == policy.PERSON]
        signers = _allowed(context, people, "approve", where)
        if not signers:
            raise _denied(subject, f"is a person who may approve for {where.environment}")
    except Refused as refusal:
        return Skipped(subject, refusal.message, refusal.code)
    check_policy(context, record.policy, subject)
    return Signed(record, signed.envelope.digest, tuple(signer.name for signer in signers))


def approvers(
    context: Context,
    rule: ApprovalRule,
    approvals: Iterable[Signed[Approval]],
    *,
    publishers: Iterable[Principal],
    promoters: Iterable[Principal],
    bar: Order,
) -> frozenset[Principal]:
    """Give the different people whose approvals count: of the role, after the last bar, distinct as asked.

    `bar` is the place of the last record that barred the digest, (0, 0) for none.
    """
    excluded = not_distinct(context, rule, publishers=publishers, promoters=promoters)
    return frozenset(
        signer
        for entry in approvals
        if approval_order(entry) >= bar
        for signer in entry.signers
        if rule.role in context.policy.members[signer].roles and signer not in excluded
    )


def approval_order(entry: Signed[Approval]) -> Order:
    """Give what an approver had seen: (era, number)."""
    return entry.record.policy.era, entry.record.seq


def not_distinct(
    context: Context, rule: ApprovalRule, *, publishers: Iterable[Principal], promoters: Iterable[Principal]
) -> frozenset[Principal]:
    """Give the people from whom an approver must differ.

    A service's act is its owners', so an owner is not distinct from it.
    """
    acted = {"publisher": publishers, "promoter": promoters}
    return frozenset(
        person
        for name in rule.distinct_from
        for who in acted[name]
        for person in policy.persons_behind(context.policy, who)
    )


# --- adoptions ---


def adoption(
    context: Context, model: Model, version: Version, manifest: Digest, data: bytes, subject: str
) -> Signed[Adoption] | Skipped:
    """Judge one adoption of `manifest`; only persons who may `adopt` the model somewhere count.

    Raises:
        Rollback: `withheld`.
    """
    try:
        signed = attribute(context, data, records.ADOPTION, subject)
        record = records.parse_adoption(signed.envelope.payload, subject)
        if (record.vault, record.model, record.version, record.manifest) != (
            context.vault,
            model,
            version,
            manifest,
        ):
            raise _misplaced(subject, "it adopts something else")
        signers = [
            holder
            for holder in signed.holders
            if holder.kind == policy.PERSON and policy.may_adopt_somewhere(context.policy, holder.name, model)
        ]
        if not signers:
            raise _denied(subject, f"is a person who may adopt {model}")
    except Refused as refusal:
        return Skipped(subject, refusal.message, refusal.code)
    check_policy(context, record.policy, subject)
    return Signed(record, signed.envelope.digest, tuple(signer.name for signer in signers))


# --- sealing records ---


def sealing_record(
    context: Context,
    model: Model,
    version: Version,
    manifest: Digest,
    publishers: Iterable[Principal],
    number: int,
    data: bytes,
) -> Signed[SealingRecord] | Skipped:
    """Judge one sealing record: by a publisher of the manifest, or by who may `rotate`.

    Raises:
        Rollback: `withheld`.
    """
    subject = f"{model}:{version} sealing record {number}"
    try:
        signed = attribute(context, data, records.SEALING, subject)
        record = records.parse_sealing(signed.envelope.payload, subject)
        if (record.vault, record.model, record.version, record.number) != (
            context.vault,
            model,
            version,
            number,
        ):
            raise _misplaced(subject, "its vault, model, version or number is another")
        if record.manifest != manifest:
            raise _misplaced(subject, "it seals another manifest")
        published = set(publishers)
        signers = [
            holder
            for holder in signed.holders
            if holder.name in published
            or any(
                policy.decide(context.policy, holder.name, "rotate", model, environment).allowed
                for environment in context.policy.environments
            )
        ]
        if not signers:
            raise _denied(subject, "published this version or may rotate keys")
    except Refused as refusal:
        return Skipped(subject, refusal.message, refusal.code)
    check_policy(context, record.policy, subject)
    return Signed(record, signed.envelope.digest, tuple(signer.name for signer in signers))
