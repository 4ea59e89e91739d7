"""Witness logs: cosign what continues all that this witness has cosigned before, and nothing else.

A witness is worth what it remembers. So it has a memory of its own, which only
this action writes, one run at a time, and which is on the disk before a
cosignature is in the store. What it refuses it keeps, for whoever looks into it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vault import memory
from vault.actions import log_writers, reviewing_logs, witnessing_evidence
from vault.actions.session import Session
from vault.core import admission, log_keys, log_names, memory_format
from vault.core.log_chain import Head
from vault.core.log_names import Log
from vault.core.log_rights import may_log
from vault.core.memory_format import Mark, Memory
from vault.core.names import Digest, Principal
from vault.core.policy import persons_behind
from vault.errors import AccessDenied, Conflict, LogInconsistent, Refused, Unavailable, VaultError
from vault.locked_file import LockedFile, unwritable

COSIGNED: Final = "cosigned"
UNCHANGED: Final = "unchanged"  # and cosigned before
EMPTY: Final = "empty"
REFUSED: Final = "refused"
UNAVAILABLE: Final = "unavailable"

_OWN_SIZES: Final = 16  # the newest cosigned sizes in which a witness looks for its own signature


@dataclass(frozen=True, slots=True)
class LogWitnessed:
    """What came of one log.

    `size` and `root` are of what is cosigned now, `since` is what was cosigned
    before; None where this witness begins. `notes` are what its operator ought
    to know. `kept` is where what was refused lies.
    """

    log: Log
    result: str  # one of the names above
    size: int = 0
    root: str = ""
    since: int | None = None
    notes: tuple[str, ...] = ()
    error: VaultError | None = None
    kept: Path | None = None


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What a run came to, log by log."""

    witness: Principal
    logs: tuple[LogWitnessed, ...]

    @property
    def status(self) -> int:
        """Give the exit status: 3 if anything was refused, 7 if anything could not be read, else 0."""
        statuses = {entry.error.exit_status for entry in self.logs if entry.error is not None}
        if Refused.exit_status in statuses:
            return Refused.exit_status
        return max(statuses, default=0)


def witness(
    session: Session, state_dir: Path | None, wanted: Log | None = None, *, begin: bool = False
) -> Witnessed:
    """Cosign the newest checkpoint of every log that this identity may witness, or of one.

    What a log had when this witness last cosigned it lies below `state_dir`. A
    witness that remembers no log at all begins anew only with `begin`.

    Raises:
        AccessDenied: the policy does not let this identity witness that log, or any.
        Unavailable: there is nowhere to remember it, or the store failed.
        Refused, NotFound, NoUsableKey: the trust documents do not verify, or memory is damaged.
    """
    if state_dir is None:
        raise Unavailable(
            "A witness has to remember what it cosigned, and there is no folder for that.",
            code="storage-denied",
            hint="Name one that lasts: MVAULT_STATE_DIR.",
        )
    found = session.trust()
    who = _member(session)
    _demand(session, who, wanted)
    with _alone(state_dir, session.pin):
        own = memory.ClientMemory(session.pin, state_dir / "witness")
        seen = admission.trust_seen(found.root, found.policy_id)
        for known in (own.load(), session.memory.load()):
            memory_format.check(known, seen)
        run = _Run(session, who, own, state_dir, begin)
        logs = run.logs() if wanted is None else [wanted]
        told = []
        for done, log in enumerate(logs, 1):
            told.append(run.one(log))
            session.progress(done, len(logs), str(log))
    return Witnessed(who, tuple(told))


def _member(session: Session) -> Principal:
    key = Digest(session.identity.key_id)
    policy = session.trust().policy
    holder = policy.holder(key)
    if holder is None or key not in policy.counting_keys():
        raise AccessDenied(
            "This identity is not in the vault's policy, so its word as a witness is worth nothing.",
            subject=session.identity.name,
            hint="Ask the vault's owner to add it, with a role that may {actions: [witness]}.",
        )
    return holder.name


def _demand(session: Session, who: Principal, wanted: Log | None) -> None:
    """Demand that this identity may witness a log, or any at all."""
    policy = session.trust().policy
    places = [None, *policy.environments] if wanted is None else [wanted.environment]
    if not any(may_log(policy, who, log_keys.WITNESS, environment) for environment in places):
        raise AccessDenied(
            f"{who} may not witness {'any log' if wanted is None else f'the log {wanted}'}.",
            subject=who if wanted is None else str(wanted),
            hint="A role with {actions: [witness]} allows it; with env, for that environment's log alone.",
        )


@contextmanager
def _alone(state_dir: Path, vault: Digest) -> Iterator[None]:
    """Keep a second run out: two that remember the same might sign two histories.

    Raises:
        Unavailable: another run does not end, or the folder cannot be written.
    """
    file = LockedFile(state_dir / "witness" / f"{vault}.run")
    try:
        with file.locked():
            yield
    except OSError as error:
        raise unwritable(file.path, error) from None


@dataclass(slots=True)
class _Run:
    """One run, which holds the lock."""

    session: Session
    who: Principal
    own: memory.ClientMemory
    state_dir: Path
    begin: bool
    _known: dict[str, Head] = field(init=False)

    def __post_init__(self) -> None:
        era = self.session.trust().policy.era
        logs = memory_format.in_era(self.own.load(), era).logs
        self._known = {name: log_writers.head_of(mark) for name, mark in logs.items()}

    def logs(self) -> list[Log]:
        """List the logs to look at: those of the store, and those that were there before.

        Raises:
            Unavailable: the store failed.
        """
        found = {str(log): log for log in reviewing_logs.all_logs(self.session)}
        for name in self._known:
            found.setdefault(name, log_names.parse(name))
        policy = self.session.trust().policy
        return [
            log
            for _, log in sorted(found.items())
            if may_log(policy, self.who, log_keys.WITNESS, log.environment)
        ]

    def one(self, log: Log) -> LogWitnessed:
        """Look at one log; whatever happens to it, the others are looked at too."""
        known = self._known.get(str(log))
        since = None if known is None else known.size
        try:
            return self._judge(log, known)
        except (Unavailable, Conflict) as error:
            return LogWitnessed(log, UNAVAILABLE, since=since, error=error)
        except LogInconsistent as error:
            return LogWitnessed(log, REFUSED, since=since, error=error, kept=self._keep(log, known, error))
        except Refused as error:
            return LogWitnessed(log, REFUSED, since=since, error=error)

    def _judge(self, log: Log, known: Head | None) -> LogWitnessed:
        from vault.audit import cosigning
        from vault.audit.reading import LogReader

        session, policy = self.session, self.session.trust().policy
        seen, own = self._seen(log, known)
        if known is None and not self.begin and (own or not self._known):
            raise _forgotten(self.who, log, own)
        state = LogReader(session.store, log, policy, known=known, seen=seen).read(start=known)
        newest = state.newest
        if not newest.size:
            return LogWitnessed(log, EMPTY)
        since = None if known is None else known.size
        result = UNCHANGED
        head = newest.head
        if not (known == head and own.get(head.size) == head.root):
            # Known, and not cosigned in the store: a run that was killed between the two.
            origin = log_names.origin(session.pin, log)
            key = session.identity.derive(log_keys.info(log_keys.WITNESS, origin))
            certificate = log_writers.certificate_of(session, origin, log_keys.WITNESS, key.public)
            head = cosigning.cosign(
                session.store, log, policy, key, certificate,
                known=known, clock=session.clock, remember=lambda head: self._remember(log, head), seen=seen,
            )  # fmt: skip
            result = COSIGNED
        with suppress(VaultError):  # it is signed, and remembered; this copy only helps who looks into a fork
            witnessing_evidence.note_of(session, log, head, self._place)
        notes = self._notes(log, newest.writer, begins=known is None)
        error = kept = None
        if state.forks:
            error = _forked(log, [fork.number for fork in state.forks])
            kept = self._keep(log, known, error)
        return LogWitnessed(log, result, head.size, head.root.hex(), since, notes, error, kept)

    @property
    def _place(self) -> Path:
        return self.state_dir / "witness" / self.session.pin

    def _keep(self, log: Log, known: Head | None, error: VaultError) -> Path | None:
        """Keep what was refused, where that is possible: the refusal itself must be told in any case."""
        try:
            return witnessing_evidence.keep(self.session, log, known, error, self._place)
        except VaultError:
            return None

    def _seen(self, log: Log, known: Head | None) -> tuple[dict[int, bytes], dict[int, bytes]]:
        """Give what the log must hold beside what is remembered, and what this witness has cosigned of it.

        Its own cosignatures that still lie in the store bind a witness that lost its memory.

        Raises:
            LogInconsistent: these contradict each other.
            Unavailable: the store failed.
        """
        from vault.audit import cosigning

        session, policy = self.session, self.session.trust().policy
        seen: dict[int, bytes] = {}
        own: dict[int, bytes] = {}
        others = memory_format.in_era(session.memory.load(), policy.era).logs.get(str(log))
        if others is not None:
            seen[others.number] = bytes.fromhex(others.digest)
        for size in cosigning.sizes(session.store, log)[-_OWN_SIZES:]:
            for signed in cosigning.collect(session.store, log, policy, size):
                root = signed.checkpoint.root
                if self.who in cosigning.witnesses_of(signed, policy, log):
                    if seen.setdefault(size, root) != root:
                        raise _two_histories(self.who, log, size)
                    own[size] = root
        return seen, own

    def _remember(self, log: Log, head: Head) -> None:
        """Remember a head before anybody sees that it was cosigned.

        Raises:
            Unavailable: it is not on the disk; nothing is cosigned.
        """
        found = self.session.trust()
        trusted = admission.trust_seen(found.root, found.policy_id)
        mark = Mark(head.number, head.size, head.root.hex())
        self.own.advance(
            Memory(self.session.pin, root=trusted.root, policy=trusted.policy, logs={str(log): mark})
        )
        if not self.own.durable:
            raise Unavailable(
                f"What a witness cosigns it has to remember, and {self.state_dir} cannot be written. "
                "Nothing was cosigned.",
                code="storage-denied",
                subject=str(self.state_dir),
                hint="Correct its permissions, or name a folder that lasts: MVAULT_STATE_DIR.",
            )

    def _notes(self, log: Log, writer: Principal | None, *, begins: bool) -> tuple[str, ...]:
        """Say what its operator ought to know of a cosignature."""
        policy = self.session.trust().policy
        notes = []
        if begins:
            notes.append(f"{self.who} begins with {log} here: it vouches for nothing that came before.")
        people = persons_behind(policy, self.who)
        if writer is not None and people & persons_behind(policy, writer):
            notes.append(
                f"{writer} wrote this checkpoint, for whom {self.who} acts too, or is the same: "
                "the cosignature does not count."
                if writer != self.who
                else f"{self.who} wrote this checkpoint itself: the cosignature does not count."
            )
        elif may_log(policy, self.who, log_keys.LOG, log.environment):
            notes.append(
                f"{self.who} may also write this log: its cosignatures of what it writes do not count."
            )
        return tuple(notes)


def _forgotten(who: Principal, log: Log, own: dict[int, bytes]) -> Refused:
    before = (
        f"{who} has cosigned {log} before, up to {max(own):,} entries, and remembers nothing of it here."
        if own
        else f"{who} remembers no log here, so it would begin anew with {log}."
    )
    return Refused(
        f"{before} Nothing was cosigned.",
        code="memory-damaged",
        subject=str(log),
        hint="If it never witnessed from this machine, or what it remembered is lost for good: "
        "mvault audit witness --begin",
    )


def _two_histories(who: Principal, log: Log, size: int) -> LogInconsistent:
    return LogInconsistent(
        f"{who} has cosigned, or this machine has seen, two histories of {size:,} entries of {log}.",
        subject=str(log),
        hint="Its memory was lost, or its key is used elsewhere. Tell the vault's owner.",
    )


def _forked(log: Log, numbers: list[int]) -> LogInconsistent:
    shown = ", ".join(map(str, numbers[:5]))
    return LogInconsistent(
        f"A writer of {log} has signed another history too (commit {shown}). It is not in force; what is in "
        "force was cosigned.",
        subject=str(log),
        hint="Tell the vault's owner who wrote it: mvault audit verify",
    )
