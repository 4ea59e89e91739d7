"""Who could give the approvals that an environment asks for, whoever publishes and promotes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from vault.core import policy
from vault.core.names import Environment, Principal
from vault.core.policy import PERSON, ApprovalRule
from vault.core.policy_analysis import acts_for, reach
from vault.core.policy_patterns import ALL, Patterns, around
from vault.core.policy_view import View

People = frozenset[Principal]
NOBODY: Final[People] = frozenset()


@dataclass(frozen=True, slots=True)
class Situation:
    """Some models, and who approves so that it counts, publishes and promotes them into an environment."""

    models: str
    voters: People
    publishers: People
    promoters: People


@dataclass(frozen=True, slots=True)
class Flow:
    """How many votes a publisher's models find, with the promoter who leaves most; None: nobody publishes."""

    publisher: Principal | None
    models: str
    votes: int


def situations(view: View, environment: Environment, asked: ApprovalRule) -> tuple[Situation, ...]:
    """Give the different situations in which a model may be on its way into an environment.

    A pattern stands for the models that it means and no narrower one names, so
    that every model of the policy is looked at without listing any.
    """
    voting, publishing, promoting = _Acting(), _Acting(), _Acting()
    for member in view.members.values():
        counts = member.kind == PERSON and asked.role in member.roles
        for access, models in reach(view, member.name).items():
            if access.action == "publish":
                publishing.add(member.name, models)
            elif access.environment != environment:
                continue
            elif access.action == "promote":
                promoting.add(member.name, models)
            elif access.action == "approve" and counts:
                voting.add(member.name, models)
    found: dict[tuple[People, People, People], Situation] = {}
    for region in sorted({*ALL, *voting.by_pattern, *publishing.by_pattern, *promoting.by_pattern}):
        entry = Situation(region, voting.of(region), publishing.of(region), promoting.of(region))
        if entry.publishers or not publishing.by_pattern:
            found.setdefault((entry.voters, entry.publishers, entry.promoters), entry)
    return tuple(found.values())


class _Acting:
    """Who does something with which models, by pattern."""

    def __init__(self) -> None:
        self.by_pattern: dict[str, set[Principal]] = {}

    def add(self, who: Principal, models: Patterns) -> None:
        for pattern in models:
            self.by_pattern.setdefault(pattern, set()).add(who)

    def of(self, models: str) -> People:
        return NOBODY.union(*(self.by_pattern.get(pattern, NOBODY) for pattern in around(models)))


def flows(view: View, asked: ApprovalRule, found: tuple[Situation, ...]) -> Iterator[Flow]:
    """Count, for each publisher in each situation, the votes that can be had."""
    behind: dict[Principal, People] = {}
    for situation in found:
        for who in situation.publishers | situation.promoters:
            behind.setdefault(who, policy.persons_behind(view, who))
        promoters = {NOBODY}
        if "promoter" in asked.distinct_from and situation.promoters:
            promoters = {behind[who] for who in situation.promoters}
        known: dict[People, int] = {}
        publishers: list[Principal | None] = [*sorted(situation.publishers)]
        for publisher in publishers or [None]:
            out = NOBODY
            if publisher is not None and "publisher" in asked.distinct_from:
                out = behind[publisher]
            if out not in known:
                known[out] = max(len(situation.voters - out - taken) for taken in promoters)
            yield Flow(publisher, situation.models, known[out])


def self_approvers(
    view: View, asked: ApprovalRule, found: tuple[Situation, ...]
) -> Mapping[Principal, tuple[Principal, ...]]:
    """Give who could publish, approve and promote alone, and through which services of theirs.

    A vote counts once for each person, so that this takes a threshold of one,
    and a rule that asks for nobody else.
    """
    if asked.threshold > 1 or asked.distinct_from:
        return {}
    alone: dict[Principal, tuple[Principal, ...]] = {}
    for situation in found:
        for person in sorted(situation.voters - alone.keys()):
            acts = acts_for(view, person)
            publishes, promotes = acts & situation.publishers, acts & situation.promoters
            if publishes and promotes:
                through = {
                    service for group in (publishes, promotes) if person not in group for service in group
                }
                alone[person] = tuple(sorted(through))
    return alone
