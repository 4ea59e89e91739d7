"""Verify the logs of a vault from their files, without any key, and say what that could not show.

A log that holds its entries may still have lost its end: only what somebody
remembers of it tells. So the answer to "is the record whole?" has three values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vault.actions import log_writers, reviewing_logs
from vault.actions.reviewing_replaying import (
    BAD,
    FIRST_SIGHT,
    MEMORY,
    OK,
    UNKNOWN,
    Finding,
    LogFound,
    Replay,
    listed,
    some,
)
from vault.actions.session import Session
from vault.core import log_names
from vault.core.log_names import ACCESS, Log
from vault.errors import NotFound, Refused, Unavailable

YES: Final = "yes"
NO: Final = "no"
NOT_CHECKABLE: Final = "not checkable"

_NEVER: Final = (
    "A load or pull that was never recorded leaves no trace; records may still wait where they were made.",
    "An access log that was deleted whole, before this machine or an anchor saw it, cannot be missed.",
)


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying came to: log by log, and what could not be checked at all, each with the reason."""

    logs: tuple[LogFound, ...]
    limits: tuple[str, ...]

    @property
    def findings(self) -> Iterator[Finding]:
        """All that was found."""
        for entry in self.logs:
            yield from entry.findings

    @property
    def whole(self) -> str:
        """Answer whether the record is whole: `YES`, `NO` or `NOT_CHECKABLE`."""
        if any(entry.level == BAD and not entry.derived for entry in self.findings):
            return NO
        return NOT_CHECKABLE if self.because else YES

    @property
    def because(self) -> str:
        """Say why the record is not whole, or not known to be; empty where it is."""
        bad = [f"{entry.log}: {entry.message}" for entry in self.findings if _counts(entry)]
        if bad:
            return some(bad)
        if not self.logs:
            return "nothing has been recorded in this vault yet"
        unread = [entry for entry in self.findings if entry.level == UNKNOWN and not entry.derived]
        told = [entry.message for entry in unread if entry.code != FIRST_SIGHT]
        new = [entry.log for entry in unread if entry.code == FIRST_SIGHT]
        if new:
            ends = "a cut at its end" if len(new) == 1 else "cuts at their ends"
            told.append(f"this machine sees {listed(new)} for the first time, so {ends} would not show")
        return some(told)

    @property
    def status(self) -> int:
        """Give the exit status: 3 if anything does not hold, 7 if anything could not be read, else 0."""
        found = [*self.findings]
        if any(entry.level == BAD for entry in found):
            return Refused.exit_status
        if any(entry.level == UNKNOWN and entry.code in _UNREADABLE for entry in found):
            return Unavailable.exit_status
        return 0


_UNREADABLE: Final = frozenset({"unavailable", "storage-denied", "storage-full"})


def _counts(entry: Finding) -> bool:
    return entry.level == BAD and not entry.derived


def verify(session: Session, wanted: Log | None = None, *, memory: str = MEMORY) -> Verification:
    """Replay every log, or one, from its commits; compare it with all that is known of it elsewhere.

    What holds is remembered, so that the next time its loss is noticed. `memory` says in
    messages where what is remembered comes from.

    Raises:
        NotFound: there is no such log, and none was ever seen.
        Refused, Unavailable: the trust documents themselves do not verify.
    """
    known = reviewing_logs.remembered(session)
    found: list[LogFound] = []
    anchors: dict[str, list[tuple[int, bytes, str]]] = {}
    there = reviewing_logs.all_logs(session)
    if wanted is not None and wanted.kind != ACCESS:
        _demand(wanted, there)
        there = [wanted]
    for log in (log for log in there if log.kind != ACCESS):
        found.append(Replay(session, log, known.get(str(log)), anchors, memory).run())
    access = [log for log in there if log.kind == ACCESS]
    gone = anchors.keys() - {str(log) for log in there} - {str(entry.log) for entry in found}
    access += [log_names.parse(name) for name in sorted(gone)]
    if wanted is not None and wanted.kind == ACCESS:
        _demand(wanted, access)
        found, access = [], [wanted]
    elif wanted is not None:
        access = []
    for log in access:
        found.append(Replay(session, log, known.get(str(log)), anchors, memory).run())
    for entry in found:
        if entry.holds and entry.head is not None and entry.head.size:
            log_writers.remember(session, entry.log, entry.head)
    return Verification(tuple(found), _limits(session, found))


def _demand(wanted: Log, there: Sequence[Log]) -> None:
    if wanted not in there:
        raise NotFound(
            f"There is no log {wanted}.", subject=str(wanted), hint="See what there is: mvault audit status"
        )


def _limits(session: Session, found: Sequence[LogFound]) -> tuple[str, ...]:
    """Say what no look at these files can show."""
    texts = [*_NEVER]
    lone = [str(entry.log) for entry in found if entry.head is not None and not _witnessed(entry)]
    if lone:
        texts.append(
            f"No witness has cosigned {listed(lone)}, so that others could have been shown another history."
        )
    return tuple(texts)


def _witnessed(found: LogFound) -> bool:
    return any(entry.check == "witnesses" and entry.level == OK for entry in found.findings)
