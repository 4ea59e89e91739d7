"""Remove versions by rules: sign that they are to go, once a grace period is over (docs/retention.md).

Nothing is deleted here. What is removed can be taken back until it is reclaimed
(`reclaiming`), where every reason to keep is looked at again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vault.actions import auditing, bulk, logged, removing, retaining_facts
from vault.actions.removing import Step
from vault.actions.retaining_facts import Facts
from vault.actions.session import Session
from vault.core import limits, names, policy, policy_patterns, removal, retention_plan
from vault.core.in_force import Signed
from vault.core.names import Digest, Environment, Reference
from vault.core.policy_patterns import Patterns
from vault.core.removal import Removal
from vault.core.retention import Rules
from vault.core.retention_plan import Decision, Known, ModelRules
from vault.core.stages import Resolved
from vault.core.trust import Skipped
from vault.errors import AccessDenied, NotFound, VaultError


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: rules by pattern, for some models; or versions by name, whatever rules say.

    `how` says of versions by name which backup must hold them, and how long they are kept.
    """

    by_pattern: Mapping[str, ModelRules] = field(default_factory=dict)
    only: Patterns = policy_patterns.ALL
    named: tuple[Reference, ...] = ()
    how: ModelRules = field(default_factory=lambda: ModelRules(Rules()))
    allow_all: bool = False

    @property
    def backups(self) -> frozenset[str]:
        """The backups that something asks for."""
        rules = (self.how,) if self.named else self.by_pattern.values()
        return frozenset(entry.backup for entry in rules if entry.backup is not None)

    @property
    def needs_tags(self) -> bool:
        """Whether some rule looks at tags, which costs reading them."""
        return not self.named and any(
            entry.rules.tags or "tag" in entry.group_by for entry in self.by_pattern.values()
        )


@dataclass(frozen=True, slots=True)
class Failed:
    """A version of which something was to be done, and what went wrong."""

    subject: str
    error: VaultError


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to become of every version, newest first within its model; `sizes` are bytes, by manifest.

    `waiting` are the versions that were removed before and are not reclaimed yet.
    """

    decisions: tuple[Decision, ...]
    waiting: tuple[Removal, ...]
    sizes: Mapping[Digest, int]
    skipped: tuple[Skipped, ...]

    @property
    def going(self) -> tuple[Decision, ...]:
        """What is to be removed."""
        return tuple(entry for entry in self.decisions if not entry.keep)

    @property
    def bytes(self) -> int:
        """The size of what is to be removed."""
        return sum(self.sizes.get(entry.known.manifest, 0) for entry in self.going)


@dataclass(frozen=True, slots=True)
class Retained:
    """What was done: the plan, the removals that were signed, and what failed."""

    plan: Plan
    removed: tuple[Removal, ...] = ()
    failed: tuple[Failed, ...] = ()
    agreed: bool = True


def retain(
    session: Session,
    wanted: Wanted,
    *,
    dry_run: bool = False,
    confirm: Callable[[Plan], bool] | None = None,
    threads: int | None = None,
) -> Retained:
    """Sign that every version that the rules do not keep, and nothing needs, is removed.

    `confirm` is shown the plan where there is something to remove, and may stop it.
    One version that fails is no end of the others.

    Raises:
        NotFound: a version that was named is not there, or does not verify.
        Refused, Unavailable, NoUsableKey: not enough could be read to remove anything.
    """
    with auditing.acting(session, removal.ACTION, _told(wanted), session.environment):
        resolved = session.resolve(session.environment)
        if not dry_run:
            logged.demand(session, resolved.rule)
        facts = retaining_facts.gather(
            session, tags=wanted.needs_tags, backups=wanted.backups, threads=threads
        )
        plan = make_plan(session, wanted, facts)
        if dry_run or not plan.going:
            return Retained(plan)
        if confirm is not None and not confirm(plan):
            return Retained(plan, agreed=False)
        return _carry_out(session, resolved, plan, facts, threads)


def _told(wanted: Wanted) -> str:
    named = (str(entry) for entry in wanted.named)
    return ", ".join(named) if wanted.named else f"retention of {', '.join(sorted(wanted.only))}"


def make_plan(session: Session, wanted: Wanted, facts: Facts) -> Plan:
    """Decide about every version.

    Raises:
        NotFound: a version that was named is not there, or does not verify.
        Refused, Unavailable.
    """
    named = {_find(facts, entry).manifest: wanted.how for entry in wanted.named} if wanted.named else None

    def decide(situation: retention_plan.Situation) -> list[Decision]:
        return retention_plan.decide(
            situation,
            wanted.by_pattern,
            now=session.clock(),
            only=wanted.only,
            named=named,
            allow_all=wanted.allow_all,
        )

    # Approvals cost a listing each, so they are asked for of what would go otherwise.
    first = decide(facts.situation)
    candidates = [entry.known for entry in first if not entry.keep]
    decisions = decide(retaining_facts.approved(session, facts, candidates)) if candidates else first
    waiting = [
        facts.removals[known.manifest].record
        for known in retention_plan.in_order(facts.situation.versions)
        if known.gone and not known.empty
    ]
    return Plan(tuple(decisions), tuple(waiting), facts.sizes, facts.skipped)


def _find(facts: Facts, wanted: Reference) -> Known:
    for known in facts.situation.versions:
        if known.model == wanted.model and wanted.version == known.candidate.version:
            if known.gone:
                raise removal.refuse(facts.removals[known.manifest].record)
            return known
    raise NotFound(
        f"There is no {wanted} that could be removed, or it does not verify.",
        subject=str(wanted),
        hint=f"See what there is: mvault ls {wanted.model}",
    )


def _carry_out(
    session: Session, resolved: Resolved, plan: Plan, facts: Facts, threads: int | None
) -> Retained:
    removed: list[Removal] = []
    failed: list[Failed] = []
    worker = bulk.worker(session)
    going = plan.going

    def remove(entry: Decision) -> Signed[Removal]:
        known, rules = entry.known, entry.rules or ModelRules(Rules())
        subject = Reference(known.model, version=known.candidate.version)
        with auditing.acting(worker, removal.ACTION, subject, session.environment):
            return signed(known, rules, entry.reasons[0])

    def signed(known: Known, rules: ModelRules, reason: str) -> Signed[Removal]:
        demand(session, resolved, known)
        step = Step(
            removal.REMOVE,
            names.time_text(rules.grace.after(worker.clock())),
            rules.backup,
            reason[: limits.REASON_CHARS],
        )
        before = facts.removals.get(known.manifest)
        return removing.write(worker, resolved, facts.verified[known.manifest], before, step)

    for outcome in bulk.run(
        going,
        remove,
        threads=bulk.threads_for(session, threads),
        progress=session.progress,
        total=len(going),
        what="removals",
    ):
        if outcome.result is not None:
            removed.append(outcome.result.record)
        elif isinstance(outcome.error, VaultError):
            failed.append(Failed(outcome.item.subject, outcome.error))
        elif outcome.error is not None:
            raise outcome.error
    order = {entry.known.manifest: place for place, entry in enumerate(going)}
    removed.sort(key=lambda record: order[record.manifest])
    return Retained(plan, tuple(removed), tuple(sorted(failed, key=lambda entry: entry.subject)))


def demand(session: Session, resolved: Resolved, known: Known) -> None:
    """Demand that this identity may `delete` a version: in every environment that ever used it.

    Raises:
        AccessDenied.
    """
    member = removing.authorise(session, resolved, removal.ACTION, known.model)
    for name in sorted(known.candidate.environments):
        decision = policy.decide(
            resolved.context.policy, member.name, removal.ACTION, known.model, Environment(name)
        )
        if not decision.allowed:
            raise AccessDenied(
                f"{member.name} may not delete {known.subject}, which {name} has used: {decision.reason}.",
                subject=known.subject,
                hint=f"See who may: mvault policy who-can delete {known.model} --env {name}",
            )
