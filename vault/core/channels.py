"""Admission step 4: which version a channel names, or whether a version may be used in an environment.

Records are ordered by (era, number). The numbers of a model's records run through
all slots of an environment, so that a withdrawal in one slot is before or after
a promotion in another (docs/format.md, "In force").
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from vault.core import in_force, limits, memory_format, names
from vault.core.in_force import Channel, Context, Order, Signed
from vault.core.names import Digest, Slot, Version
from vault.core.records import Approval, ChannelRecord
from vault.core.stages import Resolved, Target
from vault.core.trust import Skipped
from vault.errors import NotFound, Refused

Entry = Signed[ChannelRecord]
Judged = Entry | Skipped


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a channel record's requirements are judged by: who published, and the approvals found."""

    publishers: tuple[names.Principal, ...]
    approvals: tuple[Signed[Approval], ...]


@dataclass(frozen=True, slots=True)
class InForce:
    """What a channel's records come to.

    `head` is the newest record in force: memory keeps it, and the next record
    follows it. `naming` is the one that says which version the channel means:
    the head, or, where the head only withdraws, the record that it followed.
    `bar` is the record of any slot that withdrew that version since.
    """

    head: Entry | None
    naming: Entry | None = None
    bar: Entry | None = None
    skipped: tuple[Skipped, ...] = ()

    @property
    def manifest(self) -> Digest | None:
        """The manifest that the channel can be loaded as, None when there is none."""
        return None if self.naming is None or self.bar is not None else self.naming.record.manifest


def order_of(context: Context, entry: Entry) -> Order:
    """Give a record's place in the order of its environment: (era, number).

    A record that the policy continues from counts in the policy's era.
    """
    record = entry.record
    key = memory_format.channel_key(record.environment, record.slot, record.model)
    head = (context.policy.continues or {}).get(key)
    continued = head is not None and (head.seq, head.digest) == (record.seq, entry.digest)
    return context.policy_id.era if continued else record.policy.era, record.seq


class Records:
    """One channel's judged records, newest first; each is read once, and only when it is asked for.

    What cannot be a record, because `read` refuses it as too large, is skipped.
    """

    def __init__(
        self,
        context: Context,
        where: Channel,
        numbers: Callable[[], Iterable[int]],
        read: Callable[[int], bytes],
    ) -> None:
        """Take what lists the numbers, asked once, and what reads the object of one."""
        self.context = context
        self.where = where
        self._list = numbers
        self._read = read
        self._numbers: tuple[int, ...] | None = None
        self._found: list[Judged] = []
        self._more = self._judge()

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers under which something lies, descending; whatever is written later is not among them."""
        if self._numbers is None:
            self._numbers = tuple(sorted(set(self._list()), reverse=True))
        return self._numbers

    @property
    def looked_at(self) -> tuple[Judged, ...]:
        """What was read so far, newest first."""
        return tuple(self._found)

    @property
    def exhausted(self) -> bool:
        """Whether that is all there is."""
        return len(self._found) == len(self.numbers)

    def __iter__(self) -> Iterator[Judged]:
        """Give the records in order, from the newest down; what is skipped stands where it was met."""
        place = 0
        while True:
            if place == len(self._found):
                entry = next(self._more, None)
                if entry is None:
                    return
                self._found.append(entry)
            yield self._found[place]
            place += 1

    def since(self, order: Order) -> Iterator[Entry]:
        """Give the records at `order` or later, newest first; no more is read than is needed."""
        if order[0] == self.context.policy_id.era and (not self.numbers or self.numbers[0] < order[1]):
            return  # none of this era has so high a number, and no other era is later
        for entry in self:
            if isinstance(entry, Signed):
                place = order_of(self.context, entry)
                if place >= order:
                    yield entry
                if place <= order:
                    return

    def _judge(self) -> Iterator[Judged]:
        """Judge by falling number; records of an earlier era come after all of this one."""
        earlier: list[Entry] = []
        for number in self.numbers:
            try:
                data = self._read(number)
            except Refused as refusal:
                yield Skipped(f"{self.where} record {number}", refusal.message, refusal.code)
                continue
            entry = in_force.channel_record(self.context, self.where, number, data)
            if isinstance(entry, Signed) and order_of(self.context, entry)[0] < self.context.policy_id.era:
                earlier.append(entry)
            else:
                yield entry
        yield from sorted(earlier, key=lambda entry: order_of(self.context, entry), reverse=True)


@dataclass(frozen=True, slots=True)
class Slots:
    """A model's records in every slot of an environment."""

    context: Context
    places: Mapping[Slot, Records]

    def bar(self, digest: Digest, *, since: Order, before: Order | None = None) -> Entry | None:
        """Give the newest record of any slot that bars a digest, at or after `since` and before `before`.

        Who may bar may do so without anybody's approval, whatever else the record says.
        """
        newest: Entry | None = None
        for records in self.places.values():
            for entry in records.since(since):
                order = order_of(self.context, entry)
                if digest not in entry.record.bars or (before is not None and order >= before):
                    continue
                if newest is None or order > order_of(self.context, newest):
                    newest = entry
                break
        return newest


def last_bar(
    slots: Slots, digest: Digest, approvals: Iterable[Signed[Approval]], *, before: Order | None = None
) -> Order:
    """Give the order of the newest record before `before` that bars a digest, (0, 0) if there is none.

    No further back is looked than the newest approval of whoever approved longest ago: an older bar takes
    no vote from anybody.
    """
    newest: dict[names.Principal, Order] = {}
    for entry in approvals:
        for signer in entry.signers:
            newest[signer] = max(in_force.approval_order(entry), newest.get(signer, (0, 0)))
    oldest = min(newest.values(), default=(slots.context.policy_id.era, limits.NUMBER_MAX))
    found = slots.bar(digest, since=(oldest[0], oldest[1] + 1), before=before)
    return (0, 0) if found is None else order_of(slots.context, found)


def channel_in_force(
    resolved: Resolved,
    where: Channel,
    slots: Slots,
    evidence: Callable[[ChannelRecord], Evidence],
) -> InForce:
    """Step 4: the newest record that holds, approvals included; what does not hold is absent.

    A record that only withdraws leaves the channel with what the record named
    that it followed, and with nothing where that does not hold any more. By what
    it says that it followed nobody chooses a version: where another record that
    holds lies between, that is the one.

    Raises:
        Refused: whatever `evidence` raises about a record that is otherwise in force is final.
    """
    skipped: list[Skipped] = []
    passed: list[tuple[Entry, Digest]] = []  # between a withdrawal and what it says that it followed
    head: Entry | None = None
    followed: Digest | None = None
    for entry in slots.places[where.slot]:
        if isinstance(entry, Skipped):
            skipped.append(entry)
            continue
        manifest = entry.record.manifest
        if head is not None and entry.digest != followed:
            passed += [] if manifest is None else [(entry, manifest)]
            continue
        if manifest is None:
            head, followed = head or entry, entry.record.prev
            if followed is None:
                break
            continue
        for named, digest in (*passed, (entry, manifest)):
            bar = slots.bar(digest, since=order_of(slots.context, named))
            if named is entry and head is not None and bar:
                return InForce(head, named, bar, tuple(skipped))  # whatever became of its approvals
            missing = unmet(resolved, where, named, slots, evidence)
            if missing is None:
                return InForce(head or named, named, bar, tuple(skipped))
            skipped.append(missing)
        if head is not None:
            break
    return InForce(head, skipped=tuple(skipped))


def unmet(
    resolved: Resolved,
    where: Channel,
    entry: Entry,
    slots: Slots,
    evidence: Callable[[ChannelRecord], Evidence],
) -> Skipped | None:
    """Say what a record lacks of what its environment requires of records: approvals, then the log.

    Raises:
        Refused: from `evidence`.
    """
    missing = _missing_approvals(resolved, where, entry, slots, evidence)
    asked = resolved.rule.require
    if missing is not None or asked.log is None or entry.record.manifest is None:
        return missing
    reason = resolved.context.proofs.unlogged(entry, asked.witnesses or 0)
    return None if reason is None else Skipped(f"{where} record {entry.record.seq}", reason, "not-logged")


def _missing_approvals(
    resolved: Resolved,
    where: Channel,
    entry: Entry,
    slots: Slots,
    evidence: Callable[[ChannelRecord], Evidence],
) -> Skipped | None:
    """Say that a record's approvals do not suffice; None where they do, or where none are asked for.

    What an older record of any slot barred needs approvals anew.

    Raises:
        Refused: from `evidence`.
    """
    rule = resolved.rule.require.approvals
    manifest = entry.record.manifest
    if rule is None or manifest is None:
        return None
    found = evidence(entry.record)
    counted = in_force.approvers(
        resolved.context,
        rule,
        found.approvals,
        publishers=found.publishers,
        promoters=entry.signers,
        bar=last_bar(slots, manifest, found.approvals, before=order_of(slots.context, entry)),
    )
    if len(counted) >= rule.threshold:
        return None
    return Skipped(
        f"{where} record {entry.record.seq}",
        f"{len(counted)} of {rule.threshold} approvals count",
        "approvals-missing",
    )


def target_of_channel(where: Channel, found: InForce) -> Target:
    """Step 4 for `name@environment`: what the record in force names.

    Raises:
        NotFound: the channel is empty.
        Refused: `barred`: what it named was withdrawn, in this slot or another.
    """
    if found.head is None:
        raise NotFound(
            f"Nothing was promoted to {where.environment} for {where.model}.",
            subject=str(where),
            hint=f"Promote a version: mvault promote {where.model}:VERSION --env {where.environment}",
        )
    naming = found.naming
    if naming is None or naming.record.version is None or found.bar is not None:
        withdrawal = found.bar or found.head
        raise Refused(
            f"{where} was withdrawn on {names.day_text(withdrawal.record.created)} and nothing replaces it.",
            code="barred",
            subject=str(where),
            hint=f"Go back: mvault rollback {where.model} --env {where.environment}. "
            f"Or promote: mvault promote {where.model}:VERSION --env {where.environment}",
        )
    return Target(naming.record.version, naming.record.manifest, naming)


def target_of_version(
    resolved: Resolved, version: Version, digest: Digest, history: Iterable[Entry], reference: str
) -> Target:
    """Step 4 for a version or digest: a record here names it and no later one bars it, or none is needed.

    `history` holds the records of every slot of the environment that hold.
    Where the environment requires nothing, step 5 decides by the publishers'
    authority in this environment.

    Raises:
        Refused: `barred`, or `not-promoted`.
    """
    context = resolved.context
    newest_first = sorted(history, key=lambda entry: order_of(context, entry), reverse=True)
    named = next((entry for entry in newest_first if entry.record.manifest == digest), None)
    bar = next((entry for entry in newest_first if digest in entry.record.bars), None)
    if bar is not None and (named is None or order_of(context, bar) >= order_of(context, named)):
        raise Refused(
            f"{reference} was withdrawn from {resolved.rule.name} on {names.day_text(bar.record.created)}.",
            code="barred",
            subject=reference,
            hint="Use another version: mvault history tells which there are.",
        )
    if named is not None:
        return Target(version, digest, named)
    if resolved.rule.require.none:
        return Target(version, digest, None)
    raise not_promoted(resolved, reference)


def not_promoted(resolved: Resolved, reference: str) -> Refused:
    """Say that nothing in this environment names a version."""
    return Refused(
        f"{reference} was never promoted to {resolved.rule.name}.",
        code="not-promoted",
        subject=reference,
        hint=f"Promote it: mvault promote {reference} --env {resolved.rule.name}",
    )
