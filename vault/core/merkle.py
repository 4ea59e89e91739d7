"""Merkle trees of RFC 6962, section 2.1, over SHA-256: growing them, and proofs in them.

A leaf is SHA-256(00 ‖ entry), a node SHA-256(01 ‖ left ‖ right), the root of no
leaves SHA-256 of nothing. A tree is carried as its `Edge`, the roots of the
complete subtrees that it falls into, so that appending needs no old leaf.

Spans `[low, high)` of leaves name subtrees; complete ones are also named by
(level, index), which means the leaves from `index << level` up to the next index.
"""

import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from vault.errors import LogInconsistent

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()

Span = tuple[int, int]
Node = tuple[int, int]  # (level, index)


def leaf_hash(entry: bytes) -> bytes:
    """Hash one entry."""
    return sha256(b"\0" + entry).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """Hash entries, in order."""
    return [sha256(b"\0" + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into the one above them."""
    return sha256(b"\1" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Edge:
    """A tree of `size` leaves: the roots of its complete subtrees, largest and leftmost first.

    There is one for each bit that is set in `size`.
    """

    size: int
    hashes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Refuse what is no tree: the caller's mistake, which raises ValueError."""
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise ValueError(f"a tree of {self.size} leaves has not {len(self.hashes)} complete subtrees")

    @property
    def root(self) -> bytes:
        """The root of the tree."""
        return fold(self.hashes) if self.hashes else EMPTY_ROOT

    def nodes(self) -> Iterator[tuple[Node, bytes]]:
        """Give each complete subtree's place and root, the smallest first."""
        hashes = reversed(self.hashes)
        for level in range(self.size.bit_length()):
            if self.size >> level & 1:
                yield (level, (self.size >> level) - 1), next(hashes)

    def node(self, level: int, index: int) -> bytes | None:
        """Give the root of one complete subtree if it is one of these."""
        if not self.size >> level & 1 or index != (self.size >> level) - 1:
            return None
        return self.hashes[(self.size >> level).bit_count() - 1]


EMPTY: Final = Edge(0, ())


def fold(hashes: Sequence[bytes]) -> bytes:
    """Give the root over adjacent complete subtrees, largest first; there is at least one."""
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


@dataclass(frozen=True, slots=True)
class Row:
    """The complete subtrees of one level that a growth made, from the index `first`.

    `known` of them, none or one, were there before.
    """

    first: int
    known: int
    hashes: list[bytes]


@dataclass(frozen=True, slots=True)
class Growth:
    """What some new leaves made of a tree: its edges before and after, and every new complete subtree."""

    before: Edge
    after: Edge
    rows: tuple[Row, ...]  # by level, as far as there are new ones

    def new(self, level: int) -> tuple[int, list[bytes]]:
        """Give the new complete subtrees of a level: the index of the first, and their roots."""
        if level >= len(self.rows):
            return self.after.size >> level, []
        row = self.rows[level]
        return row.first + row.known, row.hashes[row.known :]

    def node(self, level: int, index: int) -> bytes | None:
        """Give the root of a complete subtree, if it is new or of the edge before."""
        if level < len(self.rows):
            row = self.rows[level]
            if row.first <= index < row.first + len(row.hashes):
                return row.hashes[index - row.first]
        return self.before.node(level, index)


def grow(before: Edge, leaves: Sequence[bytes]) -> Growth:
    """Append leaf hashes to a tree, level by level."""
    known = {level: root for (level, _), root in before.nodes()}
    rows: list[Row] = []
    left: dict[int, bytes] = {}
    first, hashes = before.size, list(leaves)
    while hashes:
        level = len(rows)
        joined = first & 1
        if joined:
            hashes.insert(0, known.pop(level))
        rows.append(Row(first - joined, joined, hashes))
        if len(hashes) & 1:
            left[level] = hashes[-1]
        pairs = iter(hashes)
        hashes = [sha256(b"\1" + one + other).digest() for one, other in zip(pairs, pairs, strict=False)]
        first >>= 1
    left |= known
    after = Edge(before.size + len(leaves), tuple(left[level] for level in sorted(left, reverse=True)))
    return Growth(before, after, tuple(rows))


# --- which subtrees a proof is made of ---


def _middle(low: int, high: int) -> int:
    """Split a span of two leaves or more where RFC 6962 splits it: after the largest power of two below."""
    return low + (1 << (high - low - 1).bit_length() - 1)


def inclusion_spans(index: int, size: int) -> list[Span]:
    """Name the subtrees whose roots prove that leaf `index` is in a tree of `size`, from the leaf up.

    RFC 6962, section 2.1.1.

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} has no leaf {index}")
    low, high, spans = 0, size, []
    while high - low > 1:
        middle = _middle(low, high)
        if index < middle:
            spans.append((middle, high))
            high = middle
        else:
            spans.append((low, middle))
            low = middle
    return spans[::-1]


def consistency_spans(old: int, new: int) -> list[Span]:
    """Name the subtrees whose roots prove that a tree of `new` leaves extends one of `old`.

    RFC 6962, section 2.1.2; none where `old` is 0 or `new`.

    Raises:
        ValueError: the sizes are not in order.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} does not extend one of {old}")
    if old in (0, new):
        return []
    low, high, spans = 0, new, []
    while high != old:
        middle = _middle(low, high)
        if old <= middle:
            spans.append((middle, high))
            high = middle
        else:
            spans.append((low, middle))
            low = middle
    if low:  # else the old tree is a whole subtree, whose root the verifier has
        spans.append((low, high))
    return spans[::-1]


def complete_nodes(span: Span) -> list[Node]:
    """Split a span of a proof into complete subtrees, largest first."""
    low, high = span
    found = []
    for level in range((high - low).bit_length() - 1, -1, -1):
        if (high - low) >> level & 1:
            found.append((level, low >> level))
            low += 1 << level
    return found


def hash_spans(spans: Iterable[Span], node: Callable[[int, int], bytes]) -> tuple[bytes, ...]:
    """Give the roots of spans, from a source of complete subtrees by (level, index)."""
    return tuple(fold([node(*place) for place in complete_nodes(span)]) for span in spans)


# --- checking proofs ---


def inclusion_root(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """Give the root that a proof leads to from a leaf's hash; None when it has not the right length."""
    spans = inclusion_spans(index, size)
    if len(proof) != len(spans):
        return None
    found = leaf
    for (low, _), sibling in zip(spans, proof, strict=True):
        found = node_hash(found, sibling) if low > index else node_hash(sibling, found)
    return found


def verify_inclusion(
    index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes, subject: str = "the log"
) -> None:
    """Demand that the leaf with this hash is number `index` of the tree with `size` leaves and `root`.

    Raises:
        LogInconsistent: `not-logged`.
    """
    if not 0 <= index < size or not _same(inclusion_root(index, size, leaf, proof), root):
        raise LogInconsistent(
            f"The proof that entry {index} is in {subject} at size {size} does not hold.",
            code="not-logged",
            subject=subject,
            hint="The entry or its proof was altered. Ask for the proof again: mvault audit prove",
        )


def verify_consistency(
    old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes], subject: str = "the log"
) -> None:
    """Demand that the tree (`new`, `new_root`) extends the tree (`old`, `old_root`).

    Raises:
        LogInconsistent: `log-inconsistent`.
    """
    if not 0 <= old <= new or not _extends(old, old_root, new, new_root, proof):
        raise LogInconsistent(
            f"{subject} at size {new} is not shown to extend what it was at size {old}.",
            subject=subject,
            hint="One of the two was forged, or the log was rewritten. Compare with a colleague.",
        )


def _extends(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    spans = consistency_spans(old, new)
    if len(proof) != len(spans):
        return False
    if old == 0:
        return _same(old_root, EMPTY_ROOT)
    first, rest = old_root, list(zip(spans, proof, strict=True))
    if rest and rest[0][0][1] == old:  # the old tree's last subtree, from which both roots are built up
        first = rest.pop(0)[1]
    older = newer = first
    for (low, _), sibling in rest:
        if low >= old:
            newer = node_hash(newer, sibling)
        else:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
    return _same(older, old_root) and _same(newer, new_root)


def _same(found: bytes | None, root: bytes) -> bool:
    return found is not None and hmac.compare_digest(found, root)
