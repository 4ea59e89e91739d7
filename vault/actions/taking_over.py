"""Take over models that lie elsewhere: find them, make packages of them, publish those, tell what remains.

Several are looked at and converted at once, each from a copy of its bytes;
they are published one after the other, in the order of their versions. What
was published is noted at once, so that a run that was stopped goes on there.
"""

import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from vault.actions import bulk, promote, taking_over_preparing, taking_over_snapshot
from vault.actions.publish import publish
from vault.actions.session import Session
from vault.actions.taking_over_journal import Entry, Journal
from vault.actions.taking_over_known import Known
from vault.actions.taking_over_places import Aside, BucketPlace, FolderPlace, Place
from vault.actions.taking_over_preparing import How, Look, Prepared
from vault.actions.taking_over_room import Room
from vault.core import adoption_plan, names
from vault.core.adoption_pattern import Pattern
from vault.core.adoption_plan import Candidate, LeftOut, Origin, Plan, Renames
from vault.core.adoption_report import AdoptionReport, Item, Promotable
from vault.core.names import Environment, Reference
from vault.core.stages import Resolved
from vault.errors import Conflict, NotFound, Unavailable, VaultError
from vault.storage import foreign

MLFLOW: Final = "mlflow:"
_AT_ONCE: Final = 2
_AHEAD: Final = 2  # for each thread, so that copies of what waits to be published stay few


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be adopted and how; `aliases` say which environment an alias of MLflow stands for."""

    pattern: Pattern | None = None
    renames: Renames = field(default_factory=Renames)
    how: How = field(default_factory=How)
    aliases: Mapping[str, Environment] = field(default_factory=lambda: MappingProxyType({}))
    dry_run: bool = False
    promote: bool = False
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class _Listed:
    """What lies in a place, planned; `aside` is what cannot be looked at, as path → reason."""

    place: Place
    plan: Plan
    aside: Mapping[str, str]


def adopt(session: Session, state: Path | None, source: str, request: Request) -> AdoptionReport:
    """Adopt what a source holds; the originals are never changed.

    Raises:
        ValueError: the source, or the pattern for it, is none.
        NotFound: there is no such folder, registry or server.
        Unavailable: the source cannot be listed, or the vault's store failed; what was adopted stays.
        Refused, NoUsableKey, MissingLibrary.
    """
    worker = bulk.worker(session)
    resolved = worker.resolve(session.environment)
    found = _origins(source, request)
    run = _Run(worker, resolved, found.place, request, Journal(state, session.pin, found.place.location))
    items = [_left_out(entry) for entry in found.plan.left_out]
    candidates = _ordered(found)
    for done, item in enumerate(run.items(candidates)):
        session.progress(done + 1, len(candidates), f"Adopting {item.path}")
        items.append(item)
    items += run.same
    return AdoptionReport(
        source=found.place.location,
        pattern="" if request.pattern is None else request.pattern.text,
        dry_run=request.dry_run,
        items=tuple(items),
        unmatched=found.plan.unmatched,
        aside=found.aside,
        promotions=tuple(_promotions(worker, items, request)),
    )


def _origins(source: str, request: Request) -> "_Listed":
    """List what a source holds."""
    if source.startswith(MLFLOW):
        from vault.actions import taking_over_mlflow

        read = taking_over_mlflow.read(source, request.pattern, request.renames, request.aliases)
        return _Listed(read.place, read.plan, MappingProxyType({}))
    if request.pattern is None:
        raise ValueError("Say how the paths name models: --as 'models/{model}/v{version}/model.joblib'.")
    place: Place
    if source.partition("://")[0].lower() in foreign.SCHEMES and "://" in source:
        place = BucketPlace(foreign.open_bucket(source))
    else:
        place = FolderPlace(Path(source.removeprefix("file://")))
    paths: list[str] = []
    aside: dict[str, str] = {}
    for entry in place.files(request.pattern.prefix):
        if isinstance(entry, Aside):
            aside[entry.path] = entry.reason
        else:
            paths.append(entry)
    plan = adoption_plan.plan(request.pattern, paths, request.renames)
    return _Listed(place, _without_samples(plan, request.how.sample), MappingProxyType(aside))


def _without_samples(plan: Plan, sample: Pattern | None) -> Plan:
    """Leave rows that are read beside the models out of what fits no pattern."""
    if sample is None:
        return plan
    rows = {sample.fill(candidate.origin.named) for candidate in plan.candidates}
    return replace(plan, unmatched=tuple(path for path in plan.unmatched if path not in rows))


def _ordered(found: "_Listed") -> list[Candidate]:
    """Put those without a number into the order of their files' times."""
    times: dict[str, int] = {}
    for candidate in found.plan.candidates:
        if candidate.version is None:
            try:
                stamps = [found.place.stamp(path) for path in candidate.origin.files.values()]
            except (NotFound, Unavailable):
                continue  # it is told when its turn comes
            times[candidate.origin.path] = max(stamp.modified or 0 for stamp in stamps)
    numbered = [candidate for candidate in found.plan.candidates if candidate.version is not None]
    others = [candidate for candidate in found.plan.candidates if candidate.version is None]
    others.sort(key=lambda one: (one.model, times.get(one.origin.path, 0), one.origin.path))
    return numbered + others


def _left_out(entry: LeftOut) -> Item:
    hint = (
        f"Rename it: --rename {_quoted(entry.rename)}, or all that are like it: --fix-names."
        if entry.rename
        else entry.hint
    )
    if not hint and entry.code == "malformed-name":
        hint = "Rename it: --rename 'OLD=NEW'."
    return Item(entry.path, "remains", code=entry.code, reason=entry.reason, hint=hint, rename=entry.rename)


def _quoted(text: str) -> str:
    """Quote for a shell what holds the name of a stranger's file: the hint is there to be copied."""
    return "'" + text.replace("'", "'\\''") + "'"


@dataclass(slots=True)
class _Step:
    """A candidate on its way: what is known of it, the package, and the copies to let go of."""

    candidate: Candidate
    look: Look = field(default_factory=Look)
    stamp: str = ""
    sha256: str = ""
    size: int = 0
    prepared: Prepared | None = None
    already: str = ""
    error: "VaultError | ValueError | TypeError | None" = None
    copies: ExitStack = field(default_factory=ExitStack)


class _Run:
    """One adoption: threads prepare, the caller's thread publishes."""

    def __init__(
        self, session: Session, resolved: Resolved, place: Place, request: Request, journal: Journal
    ) -> None:
        self._session = session
        self._resolved = resolved
        self._place = place
        self._request = request
        self._journal = journal
        self._known = Known(session, resolved)
        self._room = Room()
        self.same: list[Item] = []

    def items(self, candidates: list[Candidate]) -> Iterator[Item]:
        """Adopt one after the other, some prepared ahead.

        Raises:
            VaultError: what no other candidate would fare better with.
        """
        threads = self._request.threads or min(_AT_ONCE, os.cpu_count() or 1)
        waiting: deque[Future[_Step]] = deque()
        rest = iter(candidates)
        with ThreadPoolExecutor(threads, thread_name_prefix="mvault-adopt") as pool:
            try:
                while True:
                    while len(waiting) < threads * _AHEAD and (one := next(rest, None)) is not None:
                        waiting.append(pool.submit(self._prepared, one))
                    if not waiting:
                        return
                    yield self._settled(waiting.popleft().result())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
                for future in waiting:
                    if future.done() and not future.cancelled() and future.exception() is None:
                        future.result().copies.close()

    def _prepared(self, candidate: Candidate) -> _Step:
        """Do all that can be done beside others: copy, look, convert."""
        step = _Step(candidate)
        try:
            self._prepare(step)
        except (VaultError, ValueError, TypeError) as error:
            step.error = error
        except OSError as error:  # of this machine's temporary folder, say
            step.error = Unavailable(
                f"{candidate.origin.path} cannot be looked at: {error.strerror}.",
                subject=candidate.origin.path,
                hint="Look whether TMPDIR has room, and run it again.",
            )
        return step

    def _prepare(self, step: _Step) -> None:
        candidate, request = step.candidate, self._request
        self._known.authorise(candidate.model)
        step.stamp = taking_over_snapshot.stamp(self._place, candidate.origin)
        noted = self._journal.find(candidate.origin.path)
        if not candidate.rivals and noted is not None and noted.stamp == step.stamp:
            step.sha256, step.already = noted.sha256, self._known.still(candidate, noted.reference)
            if step.already:
                return
        snapshot = step.copies.enter_context(taking_over_snapshot.take(self._place, candidate.origin))
        step.sha256, step.size = snapshot.sha256, snapshot.size
        self._compare(candidate, step.sha256)
        step.already = self._known.published(candidate, step.sha256, noted)
        if step.already:
            return
        taking_over_preparing.look(snapshot, step.look)
        if not request.dry_run:
            step.prepared = taking_over_preparing.prepare(
                self._session, self._place, candidate, snapshot, step.look, request.how, self._room
            )

    def _compare(self, candidate: Candidate, sha256: str) -> None:
        """See that everything that says one version is the same bytes.

        Raises:
            Conflict: it is not.
        """
        for rival in candidate.rivals:
            with taking_over_snapshot.take(self._place, rival) as other:
                if other.sha256 != sha256:
                    raise _rivals(candidate)

    def _settled(self, step: _Step) -> Item:
        """Publish what was prepared, and tell what became of it.

        Raises:
            VaultError: no other candidate would fare better.
        """
        candidate, look = step.candidate, step.look
        item = Item(
            candidate.origin.path,
            "already" if step.already else "would-adopt",
            reference=step.already or candidate.reference,
            format=look.format,
            size=step.size,
            sha256=step.sha256,
            globals=tuple(sorted(look.globals)),
            dangers=look.dangers,
            environments=tuple(candidate.environments),
        )
        with step.copies:
            try:
                if step.error is not None:
                    raise step.error
                if step.prepared is not None:
                    item = self._publish(item, step, step.prepared)
                elif step.already:
                    self._journal.add(item.path, Entry(step.stamp, step.sha256, step.already))
            except (VaultError, ValueError, TypeError) as error:
                if bulk.is_end(error):
                    raise
                item = _remains(item, error)
        self._tell_rivals(candidate, item)
        return item

    def _publish(self, item: Item, step: _Step, prepared: Prepared) -> Item:
        candidate = step.candidate
        reference = str(publish(self._session, candidate.model, candidate.version, prepared.contents))
        self._journal.add(item.path, Entry(step.stamp, step.sha256, reference))
        return replace(
            item,
            outcome="adopted",
            reference=reference,
            became=prepared.became,
            comparison=prepared.comparison,
            warnings=prepared.warnings,
        )

    def _tell_rivals(self, candidate: Candidate, item: Item) -> None:
        for rival in candidate.rivals:
            self.same.append(_beside(rival, item))


def _beside(rival: Origin, item: Item) -> Item:
    """Tell of what says the same version: that it is the same, or that it remains for the same reason."""
    if item.outcome == "remains":
        return replace(item, path=rival.path)
    return Item(
        rival.path, "same", reference=item.reference, format=item.format, size=item.size, sha256=item.sha256
    )


def _rivals(candidate: Candidate) -> Conflict:
    paths = sorted([candidate.origin.path, *(rival.path for rival in candidate.rivals)])
    return Conflict(
        f"{', '.join(paths[:4])} all say {candidate.reference}, and they differ.",
        subject=candidate.reference,
        hint="Give each a name of its own with --rename, or a pattern that tells them apart.",
    )


def _remains(item: Item, error: "VaultError | ValueError | TypeError") -> Item:
    if isinstance(error, VaultError):
        return replace(item, outcome="remains", code=error.code, reason=error.message, hint=error.hint)
    return replace(item, outcome="remains", code="usage", reason=str(error))


# --- into use ---


def _promotions(session: Session, items: list[Item], request: Request) -> Iterator[Promotable]:
    """Give what the source uses, the newest version for each environment; promote it where asked to."""
    newest: dict[tuple[str, str], Reference] = {}
    for item in items:
        if item.outcome == "remains" or not item.environments:
            continue
        reference = names.reference(item.reference)
        if reference.version is None:
            continue  # a dry run of what has no number yet
        for environment in item.environments:
            key = (reference.model, environment)
            if key not in newest or _is_newer(reference, newest[key]):
                newest[key] = reference
    known = session.trust().policy.environments
    for (_, name), reference in sorted(newest.items(), key=lambda entry: (str(entry[1]), entry[0])):
        environment = Environment(name)
        told = Promotable(str(reference), name)
        if environment not in known:
            yield replace(told, reason=f"the policy has no environment {name}")
        elif environment == session.environment:
            continue  # it was published there
        elif request.promote and not request.dry_run:
            try:
                promote.promote(session, reference, environment, names.MAIN)
            except VaultError as error:
                yield replace(told, reason=f"{error.message} {error.hint}".strip())
            else:
                yield replace(told, done=True)
        else:
            yield told


def _is_newer(one: Reference, other: Reference) -> bool:
    return names.version_order(one.version or "") > names.version_order(other.version or "")
