"""Read a log from its commits: fold them, hand over what is in force, tell what is not.

Commits are read one after another and none is kept, so a log of a million
records takes no more memory than its largest commit and its heads.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from vault.core import limits, log_chain, log_commit, log_keys, log_names, merkle
from vault.core.log_chain import FORK, ORPHAN, REFUSED, START, Chain, Extended, Head, Link, Skipped
from vault.core.log_commit import Commit
from vault.core.log_names import Log
from vault.core.merkle import Growth
from vault.core.names import Digest, Principal
from vault.core.note import Note
from vault.core.policy import Policy
from vault.errors import LogInconsistent, NotFound, Refused, Unavailable
from vault.ports import Store

_FIRST_SEVEN_DIGITS: Final = 100_000  # from here on, names of seven digits may sort before those of six


@dataclass(frozen=True, slots=True)
class CommitRead:
    """One commit in force: its number, the index of its first entry, and its entries.

    `provisional` says that nobody who may write the log today vouches for it:
    the end of an access log whose owner's key was revoked, or what this client
    has seen in force before. `note` is the checkpoint, with the certificate.
    """

    number: int
    first: int
    entries: tuple[bytes, ...]
    writer: Principal | None
    key_id: Digest | None
    provisional: bool
    note: Note
    growth: Growth


Take = Callable[[CommitRead], None]


@dataclass(frozen=True, slots=True)
class LogState:
    """What a log came to: the newest commit in force, and everything that is not in force.

    `provisional` are commits on its end by who may not write it; `kept` are
    those of them that are in force all the same (`log_chain.InForce`).
    """

    log: Log
    newest: Link
    provisional: tuple[Link, ...]
    kept: tuple[Link, ...]
    skipped: tuple[Skipped, ...]
    taken: frozenset[int]  # numbers above the newest that something else has
    commits: int  # read now and in force

    @property
    def head(self) -> Head:
        """What a client remembers."""
        return self.newest.head

    @property
    def forks(self) -> tuple[Skipped, ...]:
        """Those that are skipped because a writer signed another history."""
        return tuple(entry for entry in self.skipped if entry.kind == FORK)


def logs(store: Store) -> list[Log]:
    """Name every log that the store has commits of.

    Raises:
        Unavailable: the store failed.
    """
    found = []
    for folder in _folders(store, log_names.LOGS, 0):
        if next(iter(store.list_folders(f"{log_names.LOGS}{folder}/commit/")), None) is not None:
            try:
                found.append(log_names.parse(folder))
            except Refused:
                continue
    return found


def _folders(store: Store, prefix: str, depth: int) -> list[str]:
    """Name the folders below `prefix` that a log's name may mean, at most three parts deep."""
    found = []
    for name in store.list_folders(prefix):
        if name.endswith("/"):
            part = name[:-1]
            found.append(part)
            if depth < 2 and part not in {"commit", "tile", "cosigned"}:
                found += [f"{part}/{rest}" for rest in _folders(store, prefix + name, depth + 1)]
    return found


def numbers(store: Store, log: Log, after: int) -> list[int]:
    """List the numbers above `after` of what lies in the folder of commits, ascending.

    Raises:
        Unavailable: the store failed, or there are more than `limits.LISTED_NAMES` names.
    """
    found = []
    start = log.commit(after) if after < _FIRST_SEVEN_DIGITS else ""
    for count, name in enumerate(store.list(log.commits, after=start)):
        if count >= limits.LISTED_NAMES:
            raise Unavailable(f"There are too many objects in {log.commits}.", subject=log.commits)
        number = log_names.parse_commit(name.removeprefix(log.commits))
        if number is not None and number > after:
            found.append(number)
    return sorted(found)


def read_commit(store: Store, log: Log, number: int) -> bytes:
    """Read an object that was listed.

    Raises:
        Unavailable: it cannot be read; what was listed is never taken for absent.
        Malformed: it is larger than any commit.
    """
    name = log.commit(number)
    try:
        return store.read(name, limit=limits.LOG_COMMIT_BYTES)
    except NotFound:
        raise Unavailable(
            f"{name} was listed and is gone.",
            subject=name,
            hint="Try again; if it stays so, run mvault audit verify.",
        ) from None


def certified_note(commit: Commit) -> Note:
    """Give a commit's checkpoint with its certificate beside it, as proofs and copies carry it."""
    line = log_keys.certificate_line(commit.checkpoint.origin, commit.certificate)
    return commit.note.added([line])


class LogReader:
    """Reads one log under the newest policy; trusts nothing that the store says.

    `known` is the head that this client remembers, `seen` further trees,
    size → root, that the log must contain.
    """

    def __init__(
        self,
        store: Store,
        log: Log,
        policy: Policy,
        *,
        known: Head | None = None,
        seen: Mapping[int, bytes] | None = None,
    ) -> None:
        """Read nothing yet.

        Raises:
            LogInconsistent: `known` and `seen` contradict each other.
        """
        self.store, self.log, self.policy = store, log, policy
        self._seen = dict(seen or {})
        if known is not None and known.size:
            if self._seen.get(known.size, known.root) != known.root:
                raise LogInconsistent(
                    f"This client has seen {log} with {known.size:,} entries, and others were signed for.",
                    subject=str(log),
                    hint="Two histories of this log are about. Ask the vault's owner.",
                )
            self._seen[known.size] = known.root

    def read(self, take: Take | None = None, *, start: Head | Link | None = None) -> LogState:
        """Fold the commits after `start`, or all, and hand each in force to `take`, in order.

        A head that is remembered saves reading what came before it. Where its
        commit is not at its number any more, everything is read, and only what
        came after it is handed over. A link was in force when this process read it.

        Raises:
            LogInconsistent: the log does not extend what was seen of it.
            Unavailable: the store failed.
        """
        if start is None or not start.size:
            return self._fold(START, self._seen, take, 0)
        link = start if isinstance(start, Link) else self._link(start)
        if link is None:
            return self._from_the_start(start, take)
        ahead = {size: root for size, root in self._seen.items() if size > link.size}
        state = self._fold(link, ahead, take, link.size)
        if state.forks:  # a writer may have gone on from before `start`, which only the whole log tells
            self._from_the_start(start, None)
        return state

    def _from_the_start(self, start: Head | Link, take: Take | None) -> LogState:
        return self._fold(START, {**self._seen, start.size: start.root}, take, start.size)

    def _link(self, head: Head) -> Link | None:
        """Find the commit of a head that was in force; its root alone vouches for what it holds."""
        try:
            data = self.store.read(self.log.commit(head.number), limit=limits.LOG_COMMIT_BYTES)
            edge = log_commit.parse(data, str(self.log)).edge
        except (NotFound, Refused):
            return None
        if (edge.size, edge.root) != (head.size, head.root):
            return None
        return replace(START, number=head.number, edge=edge, root=head.root)

    def _fold(self, link: Link, seen: Mapping[int, bytes], take: Take | None, above: int) -> LogState:
        fold = _Fold(self, Chain(self.policy, self.log, link, seen), take, above)
        listed: list[int] = []
        while True:
            found = numbers(self.store, self.log, fold.chain.last.number)
            if found == listed or not fold.offer(found):
                return fold.state(found)
            listed = found


class _Fold:
    """One reading of a log."""

    def __init__(self, reader: LogReader, chain: Chain, take: Take | None, above: int) -> None:
        self.chain = chain
        self._reader = reader
        self._take = take
        self._edge = chain.start.edge
        self._above = above  # what is not above this size was handed over before
        self._skipped: dict[int, Skipped] = {}
        self._commits = 0

    def offer(self, listed: list[int]) -> bool:
        """Offer what was listed; tell whether a listing again may find what is missing.

        A listing that runs while others write may lack a commit and have the next.
        """
        orphans = False
        for number in listed:
            if not self.chain.reaches(number):
                break
            told = self._judge(number)
            if isinstance(told, Skipped):
                self._skipped[number] = told
                orphans |= told.kind == ORPHAN
                continue
            self._skipped.pop(number, None)
            if told.final:
                for link in told.sealed:
                    self._hand_over_again(link, provisional=False)
                self._hand_over(told.link, told.commit, told.growth, provisional=False)
        return orphans

    def _judge(self, number: int) -> Extended | Skipped:
        try:
            data = read_commit(self._reader.store, self._reader.log, number)
        except Refused as refusal:  # larger than any
            return Skipped(number, REFUSED, refusal.message, refusal.code)
        return self.chain.offer(number, data)

    def _hand_over_again(self, link: Link, *, provisional: bool) -> None:
        """Hand over a commit that was read before it was known to be in force."""
        if self._take is None:
            self._commits += 1
            return
        commit = log_commit.parse(
            read_commit(self._reader.store, self._reader.log, link.number), f"commit {link.number}"
        )
        growth = merkle.grow(self._edge, merkle.leaf_hashes(commit.entries))
        if growth.after != link.edge:
            raise Unavailable(f"Commit {link.number} of {self._reader.log} changed while it was read.")
        self._hand_over(link, commit, growth, provisional=provisional)

    def _hand_over(self, link: Link, commit: Commit, growth: Growth, *, provisional: bool) -> None:
        self._commits += 1
        before, self._edge = self._above, link.edge
        if self._take is None or link.size <= before:
            return
        first, entries = commit.first, commit.entries
        if first < before:  # a commit that holds the end of what was handed over, and more
            start = merkle.grow(growth.before, merkle.leaf_hashes(entries[: before - first])).after
            first, entries = before, entries[before - first :]
            growth = merkle.grow(start, merkle.leaf_hashes(entries))
        self._take(
            CommitRead(
                link.number,
                first,
                entries,
                link.writer,
                link.key_id,
                provisional,
                certified_note(commit),
                growth,
            )
        )

    def state(self, listed: list[int]) -> LogState:
        """Say what it came to, after handing over what is kept at the end."""
        found: log_chain.InForce = self.chain.finish()
        for link in found.kept:
            self._hand_over_again(link, provisional=True)
        skipped = tuple(self._skipped[number] for number in sorted(self._skipped))
        others = {*listed, *self._skipped, *(link.number for link in found.provisional)}
        taken = frozenset(number for number in others if number > found.newest.number)
        return LogState(
            self._reader.log, found.newest, found.provisional, found.kept, skipped, taken, self._commits
        )
