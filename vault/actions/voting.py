"""Count approvals for an environment by the rule that loaders enforce, and say who could add one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vault.actions import resolving
from vault.actions.session import Session
from vault.core import channels, in_force, names, policy
from vault.core.channels import Slots
from vault.core.in_force import Channel
from vault.core.names import Digest, Model, Principal, Version
from vault.core.policy import ApprovalRule
from vault.core.stages import Resolved
from vault.errors import Refused


@dataclass(frozen=True, slots=True)
class Votes:
    """Who approved a version, who could still, and who may not because they published or promote it.

    `lapsed` are those whose approvals are from before it was withdrawn.
    """

    rule: ApprovalRule
    counted: frozenset[Principal]
    waiting: tuple[Principal, ...]
    excluded: frozenset[Principal]
    lapsed: tuple[Principal, ...]

    @property
    def enough(self) -> bool:
        """Tell whether the threshold is met."""
        return len(self.counted) >= self.rule.threshold


def count(
    session: Session,
    resolved: Resolved,
    model: Model,
    version: Version,
    digest: Digest,
    *,
    publishers: Iterable[Principal],
    promoters: Iterable[Principal] = (),
    among: Slots | None = None,
) -> Votes | None:
    """Count the approvals of a manifest for an environment; None where none are asked for.

    Raises:
        Rollback, Unavailable.
    """
    rule = resolved.rule.require.approvals
    if rule is None:
        return None
    context = resolved.context
    where = Channel(resolved.rule.name, names.MAIN, model)
    found = resolving.approvals(session, resolved, where, version, digest)
    bar = channels.last_bar(among or resolving.slots(session, resolved, model), digest, found)
    acted = {"publishers": tuple(publishers), "promoters": tuple(promoters)}
    counted = in_force.approvers(context, rule, found, bar=bar, **acted)
    excluded = in_force.not_distinct(context, rule, **acted)
    ever = in_force.approvers(context, rule, found, bar=(0, 0), **acted)
    could = _electorate(resolved, rule, model)
    waiting = tuple(sorted(could - excluded - counted))
    return Votes(rule, counted, waiting, excluded & could, tuple(sorted(ever - counted)))


def _electorate(resolved: Resolved, rule: ApprovalRule, model: Model) -> frozenset[Principal]:
    """Give the people of the role who may approve the model there and hold a key that counts."""
    current = resolved.context.policy
    keys = current.counting_keys()
    return frozenset(
        member.name
        for member in current.members.values()
        if member.kind == policy.PERSON
        and rule.role in member.roles
        and any(key.key_id in keys for key in member.keys)
        and policy.decide(current, member.name, "approve", model, resolved.rule.name).allowed
    )


def waiting_for(people: Sequence[Principal]) -> str:
    """Say who could approve."""
    if len(people) > 1:
        return f"Waiting for any of: {', '.join(people)}."
    return f"Waiting for {people[0]}." if people else "Nobody is left who could."


def missing(subject: str, resolved: Resolved, votes: Votes) -> Refused:
    """Say that a version has too few approvals, who they may come from, and how."""
    environment = resolved.rule.name
    count_text = f"{len(votes.counted)} of {votes.rule.threshold} approvals"
    who = {"publisher": "its publisher", "promoter": "who promotes it"}
    barred = [who[name] for name in ("publisher", "promoter") if name in votes.rule.distinct_from]
    if barred:
        count_text += f"; {' and '.join(barred)} cannot approve it"
    if votes.lapsed:
        count_text += f"; what {' and '.join(votes.lapsed)} approved was withdrawn since"
    return Refused(
        f"{subject} cannot enter {environment}: {count_text}. {waiting_for(votes.waiting)}",
        code="approvals-missing",
        subject=subject,
        hint=f"They run: mvault approve {subject} --env {environment}"
        if votes.waiting
        else f"Somebody has to join as {votes.rule.role} first: mvault team add",
    )
