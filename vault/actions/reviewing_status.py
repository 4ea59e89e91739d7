"""Tell the state of the audit: what waits on this machine, what the logs have, and who may write them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vault.actions import identities, reviewing_logs
from vault.actions.auditor import KEY_DIGITS
from vault.actions.reviewing_indexing import FOLDER, Indexed
from vault.actions.session import Session
from vault.core import audit_record, limits, log_keys, log_names, note
from vault.core.log_names import Log
from vault.core.log_rights import may_log
from vault.core.names import Digest, Principal
from vault.errors import NotFound, Refused, Unavailable, VaultError
from vault.settings import Settings

if TYPE_CHECKING:
    from vault.audit.index import Mark

CURRENT, BEHIND, MISSING = "current", "behind", "missing"


@dataclass(frozen=True, slots=True)
class LogStatus:
    """One log: its entries, the number of its newest commit, the time of its newest record.

    `copies` says whether tiles and checkpoint, which other programs read, are `current`, `behind` or
    `missing`; `trouble` why the log is not shown up to date.
    """

    log: str
    entries: int
    commit: int
    root: str
    newest: str | None
    copies: str
    trouble: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits here for one identity: how many records, since when; `trouble` if that is unknown."""

    place: Path
    key: str  # the beginning of the identity's key id
    mine: bool
    records: int
    since: str | None
    trouble: str


@dataclass(frozen=True, slots=True)
class Writer:
    """Whoever holds this machine's identity: its name in the policy, and the logs that it may write."""

    name: Principal | None
    key: Digest
    logs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the audit. `place` is where this machine's records go; `writer` None without identity."""

    logs: tuple[LogStatus, ...]
    waiting: tuple[Waiting, ...]
    writer: Writer | None
    place: str


def status(session: Session, found: Settings, indexed: Indexed) -> Status:
    """Look at everything; `indexed` was brought up to date. No passphrase is needed.

    Raises:
        Refused, Unavailable: the trust documents, the store or the index cannot be used.
    """
    writer = _writer(session, found)
    key = None if writer is None else writer.key
    return Status(
        tuple(_logs(session, indexed)), tuple(waiting(session, found, key)), writer, _place(found, writer)
    )


def _logs(session: Session, indexed: Indexed) -> Iterator[LogStatus]:
    from vault.audit import query
    from vault.audit.index import Mark

    marks = indexed.index.marks()
    for log in reviewing_logs.all_logs(session):
        mark = marks.get(str(log), Mark(0, b"", 0))
        rows = query.page(indexed.index, query.Filter(log=(str(log),)), most=1).rows
        record = rows[0].record if rows else None
        trouble = indexed.troubles.get(str(log))
        yield LogStatus(
            log=str(log),
            entries=mark.size,
            commit=mark.commit,
            root=mark.root.hex(),
            newest=None if record is None else record.time,
            copies=_copies(session, log, mark),
            trouble="" if trouble is None else trouble.message,
        )


def _copies(session: Session, log: Log, mark: "Mark") -> str:
    """Compare the `checkpoint` file, which is written last, with the log."""
    try:
        data = session.store.read(log.checkpoint, limit=limits.NOTE_BYTES)
        found = note.parse_checkpoint(note.parse(data, log.checkpoint).text, log.checkpoint)
    except NotFound:
        return MISSING
    except Refused:
        return BEHIND
    return CURRENT if (found.size, found.root) == (mark.size, mark.root) else BEHIND


def _writer(session: Session, found: Settings) -> Writer | None:
    """Say who this machine's identity is to the policy, from the public half of its file."""
    if found.identity is None or session.unlock is None:
        return None
    try:
        key = Digest(identities.describe(found.identity).key_id)
    except VaultError:
        return None
    policy = session.trust().policy
    holder = policy.holder(key)
    if holder is None or key not in policy.counting_keys():
        return Writer(None if holder is None else holder.name, key, ())
    places: Sequence[Log] = [
        log_names.TRUST_LOG,
        *(log_names.environment_log(environment) for environment in policy.environments),
    ]
    logs = [str(log) for log in places if may_log(policy, holder.name, log_keys.LOG, log.environment)]
    return Writer(holder.name, key, (*logs, f"access/{holder.name}/…"))


def _place(found: Settings, writer: Writer | None) -> str:
    if writer is None:
        return "nowhere: there is no identity on this machine, so it does nothing that is recorded"
    who = writer.name or "NAME"
    if isinstance(found.audit, Path):
        return f"{found.audit}, which was declared to last (MVAULT_AUDIT), then the log access/{who}/…"
    if found.audit == "store":
        return f"the log access/{who}/… in the store, at once (MVAULT_AUDIT)"
    waits = "memory" if found.state_dir is None else str(found.state_dir / "audit")
    text = f"{waits}, then every 256 records and on exit the log access/{who}/…"
    return f"standard output (MVAULT_AUDIT), and {text}" if found.audit == "stdout" else text


def waiting(session: Session, found: Settings, key: Digest | None) -> Iterator[Waiting]:
    """Say what waits on this machine for this vault, of every identity that was used here.

    An intake that cannot be looked into is told with its trouble.
    """
    from vault.audit.intake import Intake

    for folder in _intakes(session, found):
        mine = key is not None and key.startswith(folder.name)
        intake = Intake(
            folder, vault=session.pin, principal=Principal(folder.name), random=session.random, durable=False
        )
        try:
            state = intake.waiting()
        except (Refused, Unavailable) as error:
            yield Waiting(folder, folder.name, mine, 0, None, error.message)
            continue
        finally:
            intake.close()
        since = None
        if state.oldest is not None:
            try:
                since = audit_record.parse(state.oldest.data).time
            except Refused:
                since = None
        yield Waiting(folder, folder.name, mine, state.entries, since, "")


def _intakes(session: Session, found: Settings) -> Iterator[Path]:
    """List the folders of intakes for this vault: in the state folder, and where MVAULT_AUDIT says."""
    bases = [base for base in (found.state_dir, found.audit) if isinstance(base, Path)]
    for base in dict.fromkeys(bases):
        place = base / "audit" / session.pin[:KEY_DIGITS]
        try:
            names = sorted(entry for entry in place.iterdir() if entry.name != FOLDER)
        except OSError:
            continue  # nobody has recorded anything here
        yield from (entry for entry in names if len(entry.name) == KEY_DIGITS and entry.is_dir())


# --- setting right ---


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was set right: records that were moved into the log, and copies that were written again, by log.

    `troubles` are what could not be done: whose records, or which log, and why.
    """

    moved: int
    written: dict[str, int]
    troubles: tuple[tuple[str, VaultError], ...]

    @property
    def status(self) -> int:
        """Give the exit status: that of the first trouble, else 0."""
        return next((error.exit_status for _, error in self.troubles), 0)


def repair(session: Session) -> Repaired:
    """Move this identity's waiting records into its log, and write wrong tiles and checkpoints again.

    Raises:
        Refused, Unavailable: the trust documents do not verify, or the store cannot be listed.
    """
    from vault.audit import reading, tiles

    moved = 0
    troubles: list[tuple[str, VaultError]] = []
    try:
        moved = flush(session)
    except VaultError as error:
        troubles.append(("waiting records", error))
    written = {}
    policy = session.trust().policy
    known = reviewing_logs.remembered(session)
    found = reading.logs(session.store)
    for done, log in enumerate(found, 1):
        session.progress(done, len(found), f"copies of {log}")
        try:
            wrong = tiles.repair(reading.LogReader(session.store, log, policy, known=known.get(str(log))))
        except VaultError as error:
            troubles.append((str(log), error))
            continue
        if wrong:
            written[str(log)] = len(wrong)
    return Repaired(moved, written, tuple(troubles))


def flush(session: Session) -> int:
    """Move this identity's waiting records into its access log; give how many. Without identity: 0.

    Raises:
        AccessDenied: the policy does not know this identity.
        NoUsableKey: it cannot be unlocked.
        Unavailable, Refused, Conflict: it cannot be done now.
    """
    from vault.actions import integrating

    if session.audit is None or session.unlock is None:
        return 0
    return integrating.integrate(session, session.audit.intake(session), wait=30)
