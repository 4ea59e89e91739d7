"""Which commits of a log are in force: a fold over them in the order of their numbers.

A commit extends another when its entries, appended to that one's tree, give
exactly its own tree. In force is the chain that who may write the log has made;
what others have put on its end is provisional until somebody who may has gone
on from it (docs/format.md, "Commits in force").
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vault.core import limits, log_commit, log_keys, merkle, note
from vault.core.log_commit import Commit
from vault.core.log_keys import Certified
from vault.core.log_names import ACCESS, Log, origin
from vault.core.merkle import Edge, Growth
from vault.core.names import Digest, Principal
from vault.core.policy import Policy
from vault.errors import DigestMismatch, LogInconsistent, Refused

REPEATED: Final = "repeated"  # a copy of a commit in force
FORK: Final = "fork"  # who may write the log signed another history
ORPHAN: Final = "orphan"  # what it extends is not there
REFUSED: Final = "refused"  # it is no commit of this log

_CERTIFICATES: Final = 256  # kept, since each writer repeats its own in every commit


@dataclass(frozen=True, slots=True)
class Head:
    """A head of a log, as it is remembered: the number of its commit, size and root."""

    number: int
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """One commit of the chain: its number, the tree after it, and who wrote it.

    `writer` is None when the policy does not know the identity (any more).
    """

    number: int
    edge: Edge
    root: bytes
    writer: Principal | None
    key_id: Digest | None  # of the writer's identity; None at the start alone
    authorised: bool

    @property
    def size(self) -> int:
        """How many entries the log has after it."""
        return self.edge.size

    @property
    def head(self) -> Head:
        """What is remembered of it."""
        return Head(self.number, self.size, self.root)


START: Final = Link(0, merkle.EMPTY, merkle.EMPTY_ROOT, None, None, True)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A commit that is not in force, why, and the kind: one of the names above."""

    number: int
    kind: str
    reason: str
    code: str


@dataclass(frozen=True, slots=True)
class Extended:
    """A commit that extends the chain.

    `sealed` are provisional ones before it that are in force now, and `final`
    says whether it is itself; `cut` are provisional ones that it did away with.
    """

    link: Link
    commit: Commit
    growth: Growth
    sealed: tuple[Link, ...]
    cut: tuple[Link, ...]
    final: bool


@dataclass(frozen=True, slots=True)
class InForce:
    """What the fold came to: the newest link in force, and what is on its end and is not.

    `kept` are the last ones in force without a writer who may write the log
    today: of an access log, whose one writer was revoked, or below a head that
    was seen before.
    """

    newest: Link
    provisional: tuple[Link, ...]
    kept: tuple[Link, ...]


@dataclass(slots=True)
class Chain:
    """The fold: `offer` it every commit after `start`, in the order of their numbers; then `finish`.

    `seen` are trees, size → root, that the log is known to have had: what this
    client remembers, and heads that the root threshold has signed. They hold
    whoever may write now.
    """

    policy: Policy
    log: Log
    start: Link = START
    seen: Mapping[int, bytes] = field(default_factory=dict)
    _links: list[Link] = field(init=False)  # the newest that is sealed, and the provisional after it
    _places: dict[int, int] = field(init=False)  # size → place in `_links`
    _fixed: int = field(default=0, init=False)  # how many of the provisional `seen` holds fast
    _history: dict[int, bytes] = field(init=False)  # size → root
    _known: dict[bytes, Certified | Refused] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Begin at `start`."""
        self._links = [self.start]
        self._places = {self.start.size: 0}
        self._history = {self.start.size: self.start.root}

    @property
    def last(self) -> Link:
        """The last link, in force or provisional."""
        return self._links[-1]

    def reaches(self, number: int) -> bool:
        """Tell whether a commit with this number may come next: gaps are bounded."""
        return number <= self.last.number + 1 + limits.GAP

    def offer(self, number: int, data: bytes) -> Extended | Skipped:
        """Judge the object with the next number.

        Raises:
            LogInconsistent: somebody who may write the log has gone on from before a tree in `seen`.
        """
        subject = f"commit {number} of {self.log}"
        try:
            commit = log_commit.parse(data, subject)
            if commit.checkpoint.origin != origin(self.policy.vault, self.log):
                raise DigestMismatch(f"{subject} is another log's.", code="misplaced", subject=subject)
            link = self._verified(number, commit, subject)
        except Refused as refusal:
            return Skipped(number, REFUSED, refusal.message, refusal.code)
        place = self._places.get(commit.first)
        if place is None or (place < len(self._links) - 1 and not link.authorised):
            return self._astray(link, commit, subject)
        parent = self._links[place]
        leaves = merkle.leaf_hashes(commit.entries)
        growth = merkle.grow(parent.edge, leaves)
        if growth.after != commit.edge:
            return self._astray(link, commit, subject)
        missed = self._missed(parent, link, leaves)
        if missed is None:
            return self._extend(place, link, commit, growth)
        if missed <= self.last.size and link.authorised:
            raise self._rewritten(link)
        return self._astray(link, commit, subject)

    def _verified(self, number: int, commit: Commit, subject: str) -> Link:
        """Verify who certified the log's key, and the key's signature."""
        known = self._known.get(commit.certificate)
        if known is None:
            try:
                known = log_keys.verify(commit.certificate, self.policy, self.log, log_keys.LOG, subject)
            except Refused as refusal:
                known = refusal
            if len(self._known) >= _CERTIFICATES:
                self._known.clear()
            self._known[commit.certificate] = known
        if isinstance(known, Refused):
            raise known
        note.verify_checkpoint(commit.note, commit.checkpoint.origin, known.key, subject)
        size = commit.checkpoint.size
        authorised = log_keys.may_write(self.policy, self.log, known, size)
        return Link(number, commit.edge, commit.checkpoint.root, known.principal, known.key_id, authorised)

    def _missed(self, parent: Link, link: Link, leaves: list[bytes]) -> int | None:
        """Give the size of a tree in `seen` that a commit leaves out or tells otherwise."""
        for size, root in self.seen.items():
            if parent.size < size <= link.size:
                if merkle.grow(parent.edge, leaves[: size - parent.size]).after.root != root:
                    return size
            elif link.size < size <= self.last.size:
                return size
        return None

    def _astray(self, link: Link, commit: Commit, subject: str) -> Skipped:
        """Say why a genuine commit does not extend the chain."""
        if self._history.get(link.size) == link.root:
            return Skipped(link.number, REPEATED, f"{subject} repeats one in force.", "misplaced")
        who = link.writer or "nobody whom the policy knows"
        if not link.authorised:
            reason = f"{subject} is by {who}, who may not write this log, and extends nothing in force."
            return Skipped(link.number, REFUSED, reason, "untrusted-signer")
        if commit.first > self.last.size:
            reason = f"{subject} by {who} extends a commit that is not there."
            return Skipped(link.number, ORPHAN, reason, "log-inconsistent")
        reason = f"fork: {subject} by {who} tells another history of entries that are in force."
        return Skipped(link.number, FORK, reason, "log-inconsistent")

    def _rewritten(self, link: Link) -> LogInconsistent:
        return LogInconsistent(
            f"Commit {link.number} of {self.log} by {link.writer} leaves out entries that this client "
            f"has seen in it.",
            subject=str(self.log),
            hint="A writer has rewritten the log. Ask the vault's owner; nothing was taken over.",
        )

    def _extend(self, place: int, link: Link, commit: Commit, growth: Growth) -> Extended:
        cut = tuple(self._links[place + 1 :])
        del self._links[place + 1 :]
        for gone in cut:
            del self._places[gone.size]
            self._history.pop(gone.size, None)
        self._fixed = min(self._fixed, place)
        if len(self._history) >= limits.LOG_HISTORY:
            self._history.pop(next(iter(self._history)))
        self._history[link.size] = link.root
        self._places[link.size] = len(self._links)
        self._links.append(link)
        if link.authorised:
            sealed = tuple(self._links[1:-1])
            self._links, self._places, self._fixed = [link], {link.size: 0}, 0
            return Extended(link, commit, growth, sealed, cut, True)
        if any(growth.before.size < size <= link.size for size in self.seen):
            self._fixed = len(self._links) - 1
        return Extended(link, commit, growth, (), cut, False)

    def finish(self) -> InForce:
        """Give what is in force after the last commit.

        Raises:
            LogInconsistent: the log does not reach a tree in `seen`.
        """
        for size in self.seen:
            if size > self.last.size:
                entries = "1 entry" if size == 1 else f"{size:,} entries"
                raise LogInconsistent(
                    f"{self.log} was seen with {entries}, and the store offers {self.last.size:,}.",
                    subject=str(self.log),
                    hint="Its end was cut off, or another history was put in its place. "
                    "Ask the vault's owner; a copy of the commits can be put back.",
                )
        end = 1 + self._fixed
        if self.log.kind == ACCESS:
            while end < len(self._links) and self._links[end].writer == self.log.principal:
                end += 1
        kept = tuple(self._links[1:end])
        return InForce(self._links[end - 1], tuple(self._links[end:]), kept)
