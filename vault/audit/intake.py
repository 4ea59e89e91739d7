"""Take audit records in on this machine, durably, before they are in a log of the store.

Any number of threads and processes append; records that are appended at the
same time share a transaction (threads) and a wait for the disk (processes).
One process at a time integrates: it takes the oldest records, stores them in a
commit of the access log, and forgets them here.
"""

import errno
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from vault.audit.intake_file import Entry, IntakeFile, Waiting
from vault.core import limits
from vault.core.names import Digest, Principal
from vault.errors import Unavailable, VaultError
from vault.ports import Random

T = TypeVar("T")

_LOCK: Final = "integrating.lock"
_ID_BYTES: Final = 16
_FORK_SECONDS: Final = 10.0
_PAUSE: Final = 0.01

__all__ = ["Entry", "Intake", "Turn", "Waiting"]


class Intake:
    """The intake of one instance: safe for threads, for forks, and for several processes on one folder."""

    _file: IntakeFile | None
    _process: int  # that opened the file
    _writer: threading.Lock  # has the connection
    _gate: threading.Lock  # has the group that is being joined
    _group: "_Group"
    _lost: VaultError | None  # why nothing more is acknowledged here
    _turns: set[int]

    def __init__(
        self, folder: Path, *, vault: Digest, principal: Principal, random: Random, durable: bool = True
    ) -> None:
        """Take records of `principal` in a vault into `folder`, which is made on first use.

        With `durable` an appended record survives a crash of the machine when
        `append` has returned, otherwise a crash of the process.
        """
        self._folder = folder
        self._of = (vault, principal)
        self._random = random
        self._durable = durable
        self._reset()
        with _REGISTER:
            _INTAKES.add(self)

    @property
    def instance(self) -> str:
        """The instance that the folder stands for: 16 hexadecimal digits, drawn when it was made.

        Raises:
            Unavailable: the intake cannot be made, read or written.
            Refused: `memory-damaged`: it is damaged, of a newer release, or of another vault or principal.
        """
        with self._writer:
            return self._opened().instance

    def append(self, entries: Sequence[Entry]) -> None:
        """Keep records, in this order, all or none; they are safe when this returns.

        An exception means that they may not be: what demands a record stops then.

        Raises:
            Unavailable: `storage-full`, `storage-denied` or `unavailable`, with the reason.
            Refused: `memory-damaged`: the intake is damaged, of a newer release, or of another vault.
            ValueError: there are more than 4,096, or one is no record that a log takes.
        """
        if len(entries) > limits.AUDIT_BATCH_ENTRIES:
            raise ValueError(f"At most {limits.AUDIT_BATCH_ENTRIES:,} records are appended at once")
        for entry in entries:
            if len(entry.record_id) != _ID_BYTES or not 0 < len(entry.data) <= limits.AUDIT_RECORD_BYTES:
                raise ValueError("A record has an id of 16 bytes, and at most 16 KiB")
        if not entries:
            return
        with self._gate:
            group, leads = self._group, not self._group.entries
            group.entries.extend(entries)
        if leads:
            self._lead(group)
        else:
            group.ended.wait()
        if group.error is not None:
            raise _again(group.error)

    def waiting(self) -> Waiting:
        """Count the records that are not in the log yet.

        Raises:
            Unavailable: the intake cannot be read now.
            Refused: `memory-damaged`.
        """
        with self._writer:
            return self._try(lambda file: file.waiting())

    @contextmanager
    def integrating(self, *, wait: float = 0.0) -> Iterator["Turn | None"]:
        """Take the turn to move records into the log; None while another thread or process has it.

        `wait` is for how many seconds to try. A turn that a crash ended is free again.

        Raises:
            Unavailable: the intake cannot be made, read or written.
            Refused: `memory-damaged`.
        """
        with self._writer:
            self._opened()
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._folder / _LOCK, flags, 0o600)
        except OSError as error:
            raise Unavailable(
                f"The audit records in {self._folder} cannot be moved into the log: {error.strerror}.",
                code="storage-denied" if error.errno in {errno.EACCES, errno.EROFS, errno.ELOOP} else "",
                subject=str(self._folder),
                hint="Correct what is wrong with that folder, then try again.",
            ) from None
        self._turns.add(descriptor)
        try:
            deadline = time.monotonic() + wait
            while not (taken := _taken(descriptor)) and time.monotonic() < deadline:
                time.sleep(_PAUSE)
            yield Turn(self) if taken else None
        finally:
            self._turns.discard(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked process may still have the descriptor
            os.close(descriptor)

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self._writer:
            self._drop()

    def _lead(self, group: "_Group") -> None:
        """Write what others added while the last group was on its way to the disk."""
        try:
            with self._writer:
                with self._gate:
                    self._group = _Group()
                self._try(lambda file: file.append(group.entries, durable=self._durable))
            group.error = None
        except VaultError as error:
            group.error = error
        finally:
            with self._gate:
                if self._group is group:  # interrupted before it was this one's turn
                    self._group = _Group()
            group.ended.set()

    def _try(self, work: Callable[[IntakeFile], T]) -> T:
        """Do something with the file; after an error it is opened anew, unless writes were lost."""
        if self._lost is not None:
            raise _again(self._lost)
        file = self._opened()
        try:
            return work(file)
        except VaultError as error:
            if file.lost_writes:
                self._lost = error
            self._drop()
            raise

    def _opened(self) -> IntakeFile:
        if self._file is None or self._process != os.getpid():
            if self._file is not None:
                self._file.abandon()
            with _OPENING:
                self._file = IntakeFile(self._folder, *self._of, self._random)
            self._process = os.getpid()
        return self._file

    def _drop(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            if self._process == os.getpid():
                file.close()
            else:
                file.abandon()

    def _reset(self) -> None:
        """Begin without a file, and with locks that no thread holds."""
        self._file = None
        self._process = os.getpid()
        self._writer = threading.Lock()
        self._gate = threading.Lock()
        self._group = _Group()
        self._lost = None
        self._turns = set()

    def before_fork(self) -> bool:
        """Close the connection, which must not cross a fork; tell whether the writer's lock was had."""
        held = self._writer.acquire(timeout=_FORK_SECONDS)
        if held:
            self._drop()
        return held

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._writer.release()

    def after_fork_in_child(self) -> None:
        """Go on as another process: its threads are gone, and the turn is its parent's."""
        if self._file is not None:
            self._file.abandon()
        for descriptor in self._turns:
            os.close(descriptor)
        self._reset()


class Turn:
    """The right to move records into the log, while its block lasts."""

    def __init__(self, intake: Intake) -> None:
        """Take the turn; `Intake.integrating` gives one."""
        self._intake = intake

    @property
    def since(self) -> int | None:
        """The commit above which a batch may lie that was taken and never forgotten; None if there is none.

        Where it is given, look for the ids of the log's records in the commits above
        that number and `forget` them, before the next batch is taken.

        Raises:
            Unavailable: the intake cannot be read now.
            Refused: `memory-damaged`.
        """
        return self._do(lambda file: file.held())

    def batch(
        self,
        *,
        since: int,
        entries: int = limits.AUDIT_BATCH_ENTRIES,
        size: int = limits.AUDIT_BATCH_BYTES,
    ) -> tuple[Entry, ...]:
        """Give the oldest records, in the order in which they came; none if none wait.

        At most `entries`, and `size` bytes with two for the length of each. `since`
        is the number of the log's newest commit, which is noted durably: see `since`.

        Raises:
            Unavailable: the intake cannot be read or written now.
            Refused: `memory-damaged`.
        """

        def take(file: IntakeFile) -> tuple[Entry, ...]:
            found = file.first(entries, size)
            if found:
                file.hold(since)
            return found

        return self._do(take)

    def forget(self, record_ids: Iterable[bytes]) -> int:
        """Remove records that are in the log now; give how many were still here.

        Raises:
            Unavailable: nothing was removed.
            Refused: `memory-damaged`.
        """
        gone = frozenset(record_ids)
        return self._do(lambda file: file.forget(gone))

    def _do(self, work: Callable[[IntakeFile], T]) -> T:
        with self._intake._writer:
            return self._intake._try(work)


class _Group:
    """Records that will be in one transaction."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.ended = threading.Event()
        self.error: VaultError | None = Unavailable(
            "Writing an audit record was interrupted.", hint="Try again."
        )


def _again(error: VaultError) -> VaultError:
    """Copy an error, since each thread that raises one adds to its traceback."""
    return type(error)(error.message, code=error.code, subject=error.subject, hint=error.hint)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# --- forks ---

_INTAKES: Final[weakref.WeakSet[Intake]] = weakref.WeakSet()
_OPENING = threading.Lock()  # no thread may close a file that another has just made: see `intake_file`
_REGISTER = threading.Lock()


class _Forking(threading.local):
    """What the thread that forks holds meanwhile."""

    intakes: tuple[tuple[Intake, bool], ...] = ()


_FORKING: Final = _Forking()


def _before_fork() -> None:
    with _REGISTER:
        known = tuple(_INTAKES)
    _FORKING.intakes = tuple((intake, intake.before_fork()) for intake in known)


def _after_fork_in_parent() -> None:
    for intake, held in _FORKING.intakes:
        if held:
            intake.after_fork_in_parent()
    _FORKING.intakes = ()


def _after_fork_in_child() -> None:
    global _OPENING, _REGISTER  # a thread that is not here any more may hold them
    _OPENING, _REGISTER = threading.Lock(), threading.Lock()
    for intake, _ in _FORKING.intakes:
        intake.after_fork_in_child()
    _FORKING.intakes = ()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
