"""Bring the channels of many models one version back, each once, however often the run is interrupted.

Going back twice is not going back once. So where each channel is to go is
planned and kept before the first one goes; a run that goes on with a plan
leaves alone what is where it is to be, and what somebody else has changed.
"""

import contextlib
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from vault.actions import bulk, bulk_journal, bulk_references, bulk_results, promote
from vault.actions.bulk_channels import Many
from vault.actions.bulk_references import Item
from vault.actions.bulk_results import ALREADY, DONE, WOULD, Batch, Done, Failed, Run
from vault.actions.journal import Journal, lines
from vault.actions.promote import Promotion, WayBack
from vault.actions.session import Session
from vault.core import names
from vault.core.in_force import Channel
from vault.core.names import Environment, Slot
from vault.errors import Conflict, Malformed, NotFound

_PLANNED: Final = "*"  # an item that stands for all: from here on channels may have gone back


def rollback_all(
    session: Session,
    many: Many,
    environment: Environment,
    slot: Slot,
    *,
    state: Path | None,
    anew: bool = False,
) -> Batch[Promotion]:
    """Bring each model's channel one version back; an earlier run of the same that was stopped is ended.

    `anew` forgets what earlier runs had planned. Without a state folder nothing is planned ahead.

    Raises:
        Conflict: another run is under way here, or one about some of these models was stopped.
        ValueError, NotFound, NoUsableKey, Refused, Unavailable: nothing can be done at all.
        bulk_results.Interrupted.
    """
    for entry in many.asked:
        if entry.suffix:
            raise ValueError(f"{entry}: a rollback is of a model, as {entry.pattern}.")
    if many.dry_run:
        return _Rollback(session, many, environment, slot, None).planned()
    folder = bulk_journal.folder(state, session.pin)
    lock = None if folder is None else folder / f"rollback-{environment}-{slot}"
    with bulk_journal.alone(lock, f"rollback of many models in {environment}"):
        return _Rollback(session, many, environment, slot, state).run(anew=anew)


class _Rollback:
    """One run."""

    def __init__(
        self, session: Session, many: Many, environment: Environment, slot: Slot, state: Path | None
    ) -> None:
        self._session = session
        self._ready = bulk.worker(session)
        self._where = environment, slot
        self._asked = sorted(map(str, many.asked))
        self._items = [
            item
            for item in bulk_references.expand(session, many.asked, once=True)
            if not item.found or bulk_references.has_channel(session, Channel(environment, slot, item.model))
        ]
        if not self._items:
            raise NotFound(
                f"{environment} uses no model that is meant by {', '.join(self._asked)}.",
                subject=environment,
                hint="See what is in use: mvault ls",
            )
        self._expected = bulk_references.expected(session)
        self._ways: dict[str, WayBack] = {}
        self._threads = bulk.threads_for(session, many.threads)
        run = "\n".join((environment, slot, *self._asked))
        self._path = bulk_journal.place(state, session.pin, "rollback", run)
        self._what = {"verb": "rollback", "environment": environment, "slot": slot, "asked": self._asked}

    def planned(self) -> Batch[Promotion]:
        """Tell where each channel would go."""
        return bulk_results.gather(self._items, self._would, self._how("models looked at"))

    def run(self, *, anew: bool) -> Batch[Promotion]:
        """Plan, keep the plan, then go back."""
        self._check_others(anew=anew)
        journal = bulk_journal.begin(self._path, self._what, now=self._session.clock())
        began = journal.began if _PLANNED in journal.done else None
        whole = False
        try:
            plan: dict[str, WayBack] = {}
            if began is not None:
                plan = _read(journal)
            else:
                journal.done.clear()
            failed, left = self._plan(plan, journal)
            if left is not None:
                return left
            going = [item for item in self._items if item.model in plan]
            work = partial(self._go, plan)
            try:
                done = bulk_results.gather(going, work, self._how(f"models back in {self._where[0]}"))
            except bulk_results.Interrupted as interrupted:
                raise bulk_results.Interrupted(_joined(failed, interrupted.batch, began)) from None
            result = _joined(failed, done, began)
            whole = result.whole  # else who runs it again wants the rest, and not all of it once more
            return result
        finally:
            journal.end(whole=whole)

    def _plan(
        self, plan: dict[str, WayBack], journal: Journal
    ) -> tuple[Batch[Promotion], Batch[Promotion] | None]:
        """Plan for who has no plan yet; give those for whom there is none, and the run if it ends here."""
        new = [item for item in self._items if item.model not in plan]
        found = bulk_results.gather(new, self._would, self._how("models looked at"))
        if found.stopped is not None:
            return found, Batch((), found.failed, tuple(map(str, self._items)), (), found.stopped)
        for entry in found.done:
            way = self._ways[entry.model]
            plan[entry.model] = way
            journal.add(entry.model, {"to": way.version, "head": way.head})
        journal.add(_PLANNED, {})
        return found, None

    def _would(self, item: Item) -> Done[Promotion]:
        way = promote.way_back(self._ready, Channel(*self._where, item.model))
        self._ways[item.model] = way
        return Done(item.model, f"{item.model}:{way.version}", WOULD, None)

    def _go(self, plan: dict[str, WayBack], item: Item) -> Done[Promotion]:
        """Go back as planned, unless the channel is there, or somebody else has changed it.

        Raises:
            Conflict: it names something else than when this was planned.
        """
        way, where = plan[item.model], Channel(*self._where, item.model)
        reference = f"{item.model}:{way.version}"

        def go() -> Done[Promotion]:
            named, head = promote.in_use(self._ready, where)
            if head != way.head:
                if named == way.version:
                    return Done(item.model, reference, ALREADY, None)
                raise Conflict(
                    f"{where} was changed since this rollback was planned; it was left as it is.",
                    subject=str(where),
                    hint=f"Look at what is there: mvault history {item.model}. "
                    "To plan anew from what is there now: the same command with --anew.",
                )
            done = promote.rollback(self._ready, item.model, *self._where, way.version)
            return Done(item.model, reference, ALREADY if done.already else DONE, done)

        return bulk.again(go)

    def _how(self, what: str) -> Run[Item]:
        def stranger(item: Item, error: bulk.Failure) -> bool:
            channel = names.Reference(item.model, environment=self._where[0], slot=self._where[1])
            return item.found and isinstance(error, NotFound) and str(channel) not in self._expected

        return Run(
            lambda item: (item.model, str(item)), stranger, self._threads, self._session.progress, what
        )

    # --- other runs ---

    def _check_others(self, *, anew: bool) -> None:
        """See that no other run that was stopped had planned for one of these models.

        Raises:
            Conflict: one had.
        """
        if self._path is None:
            return
        mine = {item.model for item in self._items}
        for path in sorted(self._path.parent.glob("rollback-*.jsonl")):
            if path == self._path:
                if anew:
                    path.unlink(missing_ok=True)
                continue
            kept = lines(path)
            head = next(kept, {})
            same = [head.get("environment"), head.get("slot")] == [*self._where]
            told = {line.get("item") for line in kept} if same else set()
            if _PLANNED not in told or not told & mine:
                continue
            if anew:
                path.unlink(missing_ok=True)
                continue
            asked = head.get("asked")
            what = [*map(str, asked)] if isinstance(asked, list) else ["others"]
            environment, slot = self._where
            place = f"--env {environment}" + ("" if slot == names.MAIN else f" --slot {slot}")
            how = "with the same list"
            if len(what) == 1:
                how = f"mvault rollback {shlex.quote(what[0])} {place}"
            raise Conflict(
                f"A rollback of {', '.join(what[:5])} in {environment} was stopped, and some of these models "
                "were in it.",
                subject=what[0],
                hint=f"End it first: {how}. Or forget it: the same command as now with --anew.",
            )


def _read(journal: Journal) -> dict[str, WayBack]:
    """Read a plan; what makes no sense is planned anew."""
    plan: dict[str, WayBack] = {}
    for model, found in journal.done.items():
        with contextlib.suppress(Malformed, TypeError, KeyError):
            if model != _PLANNED:
                plan[model] = WayBack(names.version(found["to"]), names.digest(found["head"]))
    return plan


def _joined(before: Batch[Promotion], after: Batch[Promotion], began: int | None) -> Batch[Promotion]:
    """Add those that could not be planned to what came of the others."""
    failed: Sequence[Failed] = (*before.failed, *after.failed)
    return Batch(after.done, tuple(failed), after.left, before.skipped + after.skipped, after.stopped, began)
