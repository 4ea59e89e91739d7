"""Admission step 4: which version a channel names, or whether a version may be used in an environment."""

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from itertools import tee

from vault.core import in_force, limits, names
from vault.core.in_force import Channel, Context, Signed
from vault.core.names import Digest, Version
from vault.core.records import Approval, ChannelRecord
from vault.core.stages import Resolved, Target
from vault.core.trust import Skipped
from vault.errors import NotFound, Refused


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a channel record's requirements are judged by: who published, and the approvals found."""

    publishers: tuple[names.Principal, ...]
    approvals: tuple[Signed[Approval], ...]


def channel_records(
    context: Context, where: Channel, numbers: Iterable[int], read: Callable[[int], bytes]
) -> Iterator[Signed[ChannelRecord] | Skipped]:
    """Judge a channel's records from the newest down, reading each only when asked for.

    What `read` refuses, because it is too large for a record, is no record.
    """
    for number in sorted(set(numbers), reverse=True):
        try:
            data = read(number)
        except Refused as refusal:
            yield Skipped(f"{where} record {number}", refusal.message, refusal.code)
            continue
        yield in_force.channel_record(context, where, number, data)


def last_bar(
    judged: Iterable[Signed[ChannelRecord] | Skipped], digest: Digest, approvals: Iterable[Signed[Approval]]
) -> int:
    """Give the number of the newest record that bars a digest, 0 if there is none.

    `judged` comes from the newest down, and is read no further than below the
    oldest of `approvals`: an older bar takes no vote from any of them.
    """
    oldest = min((entry.record.seq for entry in approvals), default=limits.NUMBER_MAX)
    for entry in judged:
        if isinstance(entry, Signed):
            if entry.record.seq <= oldest:
                break
            if digest in entry.record.bars:
                return entry.record.seq
    return 0


def channel_in_force(
    resolved: Resolved,
    where: Channel,
    judged: Iterable[Signed[ChannelRecord] | Skipped],
    evidence: Callable[[ChannelRecord], Evidence],
) -> tuple[Signed[ChannelRecord] | None, tuple[Skipped, ...]]:
    """Step 4: the newest record that holds, approvals included; what does not hold is absent.

    Raises:
        Refused: whatever `evidence` raises about a record that is otherwise in force is final.
    """
    skipped: list[Skipped] = []
    (entries,) = tee(judged, 1)
    for entry in entries:
        if isinstance(entry, Skipped):
            skipped.append(entry)
            continue
        missing = missing_approvals(resolved, where, entry, copy(entries), evidence)
        if missing is None:
            return entry, tuple(skipped)
        skipped.append(missing)
    return None, tuple(skipped)


def missing_approvals(
    resolved: Resolved,
    where: Channel,
    entry: Signed[ChannelRecord],
    below: Iterable[Signed[ChannelRecord] | Skipped],
    evidence: Callable[[ChannelRecord], Evidence],
) -> Skipped | None:
    """Say that a record's approvals do not suffice; None where they do, or where none are asked for.

    `below` are the older records, newest first: what one of them bars needs approvals anew.

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
        bar=last_bar(below, manifest, found.approvals),
    )
    if len(counted) >= rule.threshold:
        return None
    return Skipped(
        f"{where} record {entry.record.seq}",
        f"{len(counted)} of {rule.threshold} approvals count",
        "approvals-missing",
    )


def target_of_channel(where: Channel, found: Signed[ChannelRecord] | None) -> Target:
    """Step 4 for `name@environment`: what the record in force names.

    Raises:
        NotFound: the channel is empty.
        Refused: `barred`: its newest record only withdraws.
    """
    if found is None:
        raise NotFound(
            f"Nothing was promoted to {where.environment} for {where.model}.",
            subject=str(where),
            hint=f"Promote a version: mvault promote {where.model}:VERSION --env {where.environment}",
        )
    if found.record.version is None:
        raise Refused(
            f"{where} was withdrawn on {names.day_text(found.record.created)} and nothing replaces it.",
            code="barred",
            subject=str(where),
            hint=f"Promote a good version: mvault promote {where.model}:VERSION --env {where.environment}",
        )
    return Target(found.record.version, found.record.manifest, found)


def target_of_version(
    resolved: Resolved,
    version: Version,
    digest: Digest,
    history: Iterable[Signed[ChannelRecord]],
    reference: str,
) -> Target:
    """Step 4 for a version or digest: a record here names it and no later one bars it, or none is needed.

    `history` holds the records of every slot of the environment that hold.
    Where the environment requires nothing, step 5 decides by the publishers'
    authority in this environment.

    Raises:
        Refused: `barred`, or `not-promoted`.
    """
    named: dict[names.Slot, Signed[ChannelRecord]] = {}
    barred: dict[names.Slot, Signed[ChannelRecord]] = {}
    for entry in history:
        for found, matches in (
            (named, entry.record.manifest == digest),
            (barred, digest in entry.record.bars),
        ):
            slot = entry.record.slot
            if matches and (slot not in found or found[slot].record.seq < entry.record.seq):
                found[slot] = entry
    for slot, bar in barred.items():
        if slot not in named or named[slot].record.seq < bar.record.seq:
            raise Refused(
                f"{reference} was withdrawn from {resolved.rule.name} on "
                f"{names.day_text(bar.record.created)}.",
                code="barred",
                subject=reference,
            )
    if named:
        return Target(version, digest, next(iter(named.values())))
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
