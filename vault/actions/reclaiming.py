"""Delete the payloads of versions that were removed long enough ago.

Order: every reason to keep is looked at → a record says that the version is being
deleted → every reason is looked at again → key headers, then payloads, are deleted.
Whoever needs the version meanwhile either sees that record, or is seen. Manifest,
records and removals stay, so that the number never comes back. A kill between any
two steps leaves a version that is whole, or one that the next run goes on with.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from vault.actions import archived, auditing, logged, removing, retaining, retaining_facts
from vault.actions.removing import Step
from vault.actions.retaining import Failed
from vault.actions.retaining_facts import Facts
from vault.actions.session import Session
from vault.core import archives, limits, names, policy_patterns, removal, retention_plan
from vault.core.in_force import Signed
from vault.core.names import Digest, Environment
from vault.core.policy_patterns import Patterns
from vault.core.removal import Removal
from vault.core.retention_plan import Known
from vault.core.stages import Resolved, Verified
from vault.errors import Conflict, Unavailable, VaultError

_EARLY = "its files are kept until then"


@dataclass(frozen=True, slots=True)
class Blocked:
    """A version that was removed and keeps its files for now, with why; `until` where it is too early."""

    removal: Removal
    reasons: tuple[str, ...]
    until: str | None = None

    @property
    def subject(self) -> str:
        """The version as `name:version`."""
        return f"{self.removal.model}:{self.removal.version}"


@dataclass(frozen=True, slots=True)
class ReclaimPlan:
    """What would be deleted now, and what would not; `sizes` are bytes, by manifest."""

    going: tuple[Known, ...]
    blocked: tuple[Blocked, ...]
    sizes: Mapping[Digest, int]

    @property
    def bytes(self) -> int:
        """The size of what would be deleted."""
        return sum(self.sizes.get(known.manifest, 0) for known in self.going)


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What was deleted, and what was not: too early or needed, taken back, or not let go by the store."""

    plan: ReclaimPlan
    deleted: tuple[str, ...] = ()
    objects: int = 0
    bytes: int = 0
    kept: tuple[Blocked, ...] = ()  # needed after all; their removal was taken back
    failed: tuple[Failed, ...] = ()
    elsewhere: tuple[str, ...] = ()  # versions whose files were moved to another store, which keeps them
    agreed: bool = True


def reclaim(
    session: Session,
    *,
    only: Patterns = policy_patterns.ALL,
    allow_all: bool = False,
    dry_run: bool = False,
    confirm: Callable[[ReclaimPlan], bool] | None = None,
    threads: int | None = None,
) -> Reclaimed:
    """Delete the files of versions whose grace period is over and that nothing needs.

    Raises:
        Refused, Unavailable, NoUsableKey: not enough could be read to delete anything.
    """
    subject = f"reclaiming {', '.join(sorted(only))}"
    with auditing.acting(session, removal.ACTION, subject, session.environment):
        resolved = session.resolve(session.environment)
        if not dry_run:
            logged.demand(session, resolved.rule)
        facts = _gather(session, threads)
        plan = _plan(session, facts, only, allow_all=allow_all, dry_run=dry_run)
        if dry_run or not plan.going:
            return Reclaimed(plan)
        if confirm is not None and not confirm(plan):
            return Reclaimed(plan, agreed=False)
        run = _Run(session, resolved, plan)
        run.begin(facts)
        run.look_again(_gather(session, threads), allow_all=allow_all)
        run.delete()
        return run.report()


def _gather(session: Session, threads: int | None) -> Facts:
    """Read the vault, and what it needs of the receipts of backups that removals ask for."""
    facts = retaining_facts.gather(session, threads=threads)
    asked = {entry.record.backup for entry in facts.removals.values()} - {None}
    covered = retaining_facts.covered(session, {name for name in asked if name is not None})
    return replace(facts, situation=replace(facts.situation, covered=covered))


def _plan(session: Session, facts: Facts, only: Patterns, *, allow_all: bool, dry_run: bool) -> ReclaimPlan:
    now = _now(session)
    due: dict[Digest, str | None] = {}
    blocked: dict[Digest, Blocked] = {}
    for known in facts.situation.versions:
        if not known.gone or known.empty or not retention_plan.meant(known.model, only):
            continue
        record = facts.removals[known.manifest].record
        reason = _not_yet(record, now)
        if reason is not None:
            blocked[known.manifest] = Blocked(record, (reason,), record.after if reason == _EARLY else None)
        else:
            due[known.manifest] = record.backup
    candidates = [known for known in facts.situation.versions if known.manifest in due]
    situation = retaining_facts.approved(session, facts, candidates)
    going, needed = retention_plan.reclaimable(situation, due, allow_all=allow_all)
    for digest, reasons in needed.items():
        blocked[digest] = Blocked(facts.removals[digest].record, reasons)
    going, denied = _allowed(session, facts, going, recorded=not dry_run)
    in_order = retention_plan.in_order(facts.situation.versions)
    told = [blocked[known.manifest] for known in in_order if known.manifest in blocked]
    return ReclaimPlan(tuple(going), (*told, *denied), facts.sizes)


def _now(session: Session) -> int:
    """Give the time: where the store tells it, the earlier of its clock and this machine's.

    Nobody believes the store; a clock that runs ahead here would delete too early.
    """
    told = getattr(session.store, "server_time", None)
    there = told() if callable(told) else None
    return session.clock() if not isinstance(there, int) else min(there, session.clock())


def _not_yet(record: Removal, now: int) -> str | None:
    """Say why the time of a removal has not come, by the clock of this machine."""
    if now < names.timestamp(record.created):
        return f"by the clock here it is removed only on {names.day_text(record.created)}"
    if record.after is not None and now < names.timestamp(record.after):
        return _EARLY
    return None


def _allowed(
    session: Session, facts: Facts, going: list[Known], *, recorded: bool
) -> tuple[list[Known], list[Blocked]]:
    """Leave out what this identity, or whoever removed it, may not delete where it was used."""
    resolved = session.resolve(session.environment)
    allowed: list[Known] = []
    denied: list[Blocked] = []
    for known in going:
        entry = facts.removals[known.manifest]
        places = sorted(Environment(name) for name in known.candidate.environments)
        wrong = [name for name in places if not removal.counts_in(resolved.context, entry, name)]
        denials = auditing.acting(session, removal.ACTION, known.subject, session.environment)
        try:
            with denials if recorded else contextlib.nullcontext():
                retaining.demand(session, resolved, known)
        except VaultError as error:
            denied.append(Blocked(entry.record, (error.message,)))
            continue
        if wrong:
            who = ", ".join(entry.signers)
            denied.append(Blocked(entry.record, (f"{who} removed it, who may not delete in {wrong[0]}",)))
        else:
            allowed.append(known)
    return allowed, denied


@dataclass(slots=True)
class _Run:
    """One run over the versions of a plan."""

    session: Session
    resolved: Resolved
    plan: ReclaimPlan
    begun: dict[Digest, Signed[Removal]] = field(default_factory=dict)
    order: list[Known] = field(default_factory=list)
    facts: Facts | None = None
    deleted: list[str] = field(default_factory=list)
    objects: int = 0
    bytes: int = 0
    kept: list[Blocked] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def begin(self, facts: Facts) -> None:
        """Say of each version, in a record, that it is being deleted."""
        for done, known in enumerate(self.plan.going, start=1):
            entry = facts.removals[known.manifest]
            record = entry.record
            if record.state != removal.RECLAIM:
                step = Step(removal.RECLAIM, None, record.backup, record.reason)
                try:
                    verified = facts.verified[known.manifest]
                    entry = removing.write(self.session, self.resolved, verified, entry, step)
                except VaultError as error:
                    self._fail(known, error)
                    continue
            self.begun[known.manifest] = entry
            self.session.progress(done, len(self.plan.going), "records")

    def look_again(self, facts: Facts, *, allow_all: bool) -> None:
        """Take back what is needed after all: whoever needed it since has seen the record, or is seen now."""
        self.facts = facts
        due = {
            digest: entry.record.backup
            for digest, entry in self.begun.items()
            if digest in facts.removals and facts.removals[digest].digest == entry.digest
        }
        for digest in self.begun.keys() - due.keys():
            self._fail(facts.known(digest), _taken_back(facts.known(digest)))
        self.order, needed = retention_plan.reclaimable(facts.situation, due, allow_all=allow_all)
        for digest, reasons in needed.items():
            known, entry = facts.known(digest), self.begun[digest]
            step = Step(removal.KEEP, None, None, f"needed: {reasons[0]}"[: limits.REASON_CHARS])
            try:
                removing.write(self.session, self.resolved, facts.verified[digest], entry, step)
            except VaultError as error:
                self._fail(known, error)
                continue
            self.kept.append(Blocked(entry.record, reasons))

    def delete(self) -> None:
        """Delete what goes, children before parents; what could not be deleted keeps its parents."""
        facts = self.facts
        if facts is None:
            return
        stuck: set[Digest] = set()
        for done, known in enumerate(self.order, start=1):
            if known.manifest in stuck:
                told = Unavailable(f"{known.subject} stays while what was made from it is there.")
                self._fail(known, told)
                continue
            try:
                self._delete(known, facts.verified[known.manifest])
            except VaultError as error:
                self._fail(known, error)
                stuck.update(
                    parent.manifest for parent in retention_plan.ancestors(known, facts.situation.versions)
                )
            self.session.progress(done, len(self.order), "versions")

    def _delete(self, known: Known, verified: Verified) -> None:
        """Delete one version's key headers and payloads, unless its removal was taken back.

        Raises:
            Conflict: it was.
            Unavailable: the store let something not go; what is left is for the next run.
        """
        session, document = self.session, verified.manifest
        context = self.resolved.context
        now = removing.latest(session, context, document.model, document.version, verified.digest)
        if now is None or now.digest != self.begun[known.manifest].digest:
            raise _taken_back(known)
        listed = [*retaining_facts.payload_names(session, document.model, document.version)]
        for name in listed:
            session.store.delete(name)
        left = [*retaining_facts.payload_names(session, document.model, document.version)]
        if left:
            raise Unavailable(
                f"The store keeps {len(left)} of {len(listed)} objects of {known.subject}, though it was "
                f"asked to delete them: {left[0]}.",
                code="storage-denied",
                subject=known.subject,
                hint="A lock or a retention rule of the store holds them. Reclaim again once it has ended.",
            )
        away = archived.in_force(session, verified)
        if away is not None and away.record.state == archives.ARCHIVED and away.record.kind == archives.STORE:
            self.elsewhere.append(f"{known.subject}: {away.record.where}")
        self.deleted.append(known.subject)
        self.objects += len(listed)
        self.bytes += self.plan.sizes.get(known.manifest, 0)

    def _fail(self, known: Known, error: VaultError) -> None:
        self.failed.append(Failed(known.subject, error))

    def report(self) -> Reclaimed:
        """Tell what was done."""
        return Reclaimed(
            self.plan,
            tuple(self.deleted),
            self.objects,
            self.bytes,
            tuple(self.kept),
            tuple(self.failed),
            tuple(self.elsewhere),
        )


def _taken_back(known: Known) -> Conflict:
    return Conflict(f"The removal of {known.subject} was taken back meanwhile.", subject=known.subject)
