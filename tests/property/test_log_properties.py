"""Logs of any shape: RFC 6962 as the slow oracle, one spelling for all bytes, no honest entry is lost."""

import hashlib
from collections.abc import Sequence
from typing import Final

import hypothesis.strategies as st
from hypothesis import given, settings

from tests.logs import PROD_LOG, certified, checkpoint, commit, cosigned, entries, policy, tree
from vault.core import log_chain, log_commit, log_proof, merkle, note
from vault.core.log_chain import Chain, Extended, Link
from vault.core.log_proof import Proof
from vault.core.merkle import Edge
from vault.errors import LogInconsistent, Refused

TREES: Final = 40


def mth(leaves: Sequence[bytes]) -> bytes:
    """Hash a list of entries as RFC 6962, section 2.1, says."""
    if len(leaves) < 2:
        return hashlib.sha256(b"\0" + leaves[0] if leaves else b"").digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def nodes(leaves: Sequence[bytes], level: int, index: int) -> bytes:
    part = leaves[index << level : (index + 1) << level]
    assert len(part) == 1 << level
    return mth(part)


leaves_of = st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=300)


@given(leaves_of, st.data())
@settings(max_examples=TREES)
def test_grown_trees_have_the_root_of_the_definition(leaves: list[bytes], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(leaves)))
    hashes = merkle.leaf_hashes(leaves)
    before = merkle.grow(merkle.EMPTY, hashes[:cut]).after
    assert merkle.grow(before, hashes[cut:]).after.root == mth(leaves)
    assert before.root == mth(leaves[:cut])


@given(leaves_of, st.data())
@settings(max_examples=TREES)
def test_proofs_hold_for_their_own_entry_and_tree_alone(leaves: list[bytes], data: st.DataObject) -> None:
    size = len(leaves)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    root, leaf = mth(leaves), merkle.leaf_hash(leaves[index])

    def node(level: int, at: int) -> bytes:
        return nodes(leaves, level, at)

    inclusion = merkle.hash_spans(merkle.inclusion_spans(index, size), node)
    merkle.verify_inclusion(index, size, leaf, inclusion, root)
    consistency = merkle.hash_spans(merkle.consistency_spans(old, size), node)
    merkle.verify_consistency(old, mth(leaves[:old]), size, root, consistency)
    for proof in (inclusion, consistency):
        if proof:
            at = data.draw(st.integers(0, len(proof) * 256 - 1))
            bad = bytearray(b"".join(proof))
            bad[at // 8] ^= 1 << at % 8
            parts = [bytes(bad[part : part + 32]) for part in range(0, len(bad), 32)]
            try:
                if proof is inclusion:
                    merkle.verify_inclusion(index, size, leaf, parts, root)
                else:
                    merkle.verify_consistency(old, mth(leaves[:old]), size, root, parts)
            except LogInconsistent:
                continue
            raise AssertionError("a changed proof was taken")


# --- one spelling ---

EDGE: Final = tree(entries("a", "b", "c"))
NOTE: Final = cosigned(certified(checkpoint(EDGE)), "wes")
PROOF: Final = Proof(b"a", 0, (bytes(32), bytes(32)), NOTE)
COMMIT: Final = commit(EDGE, entries("d", "e"))
COMMIT_AT: Final = len(COMMIT) - 100


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Cut, repeat, insert or replace some bytes."""
    found = data
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(found)))
        end = draw(st.integers(at, min(len(found), at + 40)))
        put = draw(
            st.one_of(st.binary(max_size=4), st.sampled_from([b"\n", b"=", b"A", b" ", found[at:end] * 2]))
        )
        found = found[:at] + put + found[end:]
    return found


@given(damaged(NOTE.encode()))
def test_a_note_that_parses_is_written_back_as_it_was(data: bytes) -> None:
    try:
        found = note.parse(data, "it")
    except Refused:
        return
    assert found.encode() == data


@given(damaged(PROOF.encode()))
def test_a_proof_that_parses_is_written_back_as_it_was(data: bytes) -> None:
    try:
        found = log_proof.parse(data, "it")
    except Refused:
        return
    assert found.encode() == data


@given(damaged(COMMIT))
def test_a_commit_that_parses_is_written_back_as_it_was(data: bytes) -> None:
    try:
        found = log_commit.parse(data, "it")
    except Refused:
        return
    assert log_commit.encode(found.certificate, found.note, found.edge, found.entries) == data


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_every_parser(data: bytes) -> None:
    for parse in (note.parse, note.parse_checkpoint, log_commit.parse, log_proof.parse):
        try:
            parse(data, "it")
        except Refused:
            continue
        raise AssertionError("random bytes were taken for something")


# --- who may write, and everybody else ---

# An honest writer takes the lowest number above what is in force; strangers put anything anywhere above.
MOVES: Final = st.lists(
    st.tuples(
        st.sampled_from(("ann", "bob", "eve", "dan", "garbage", "copy", "old")),
        st.integers(1, 3),
        st.integers(0, 3),
    ),
    max_size=14,
)


def told(objects: dict[int, bytes], start: Link = log_chain.START) -> tuple[Chain, list[int]]:
    chain = Chain(policy(), PROD_LOG, start)
    for number in sorted(objects):
        if number > start.number:
            chain.offer(number, objects[number])
    return chain, sorted(objects)


@given(MOVES)
@settings(max_examples=60)
def test_whatever_strangers_do_every_entry_of_an_honest_writer_stays(
    moves: list[tuple[str, int, int]],
) -> None:
    objects: dict[int, bytes] = {}
    honest: list[bytes] = []
    written = 0
    for who, count, back in moves:
        chain, _ = told(objects)
        newest = chain.finish().newest
        number = max(objects, default=0) + 1 + back
        if who in {"ann", "bob"}:
            number = next(at for at in range(newest.number + 1, number + 1) if at not in objects)
        fresh = [b"%s %d" % (who.encode(), written + at) for at in range(count)]
        written += count
        if who in {"ann", "bob"}:
            objects[number] = commit(newest.edge, fresh, who)
            honest += fresh
        elif who in {"eve", "dan"}:
            parents = [newest.edge, chain.last.edge, tree(honest[: max(0, len(honest) - back)])]
            objects[number] = commit(parents[back % 3], fresh, who)
        elif who == "copy" and objects:
            objects[number] = objects[sorted(objects)[back % len(objects)]]
        elif who == "old":  # genuine bytes of a writer, cut or of another tree
            objects[number] = commit(tree([b"elsewhere"] * count), fresh, "eve")
        else:
            objects[number] = b"garbage"
    chain, numbers = told(objects)
    newest = chain.finish().newest
    assert newest.edge == tree(honest)
    # whoever goes on from any head that was in force comes to the same
    partial = Chain(policy(), PROD_LOG)
    for number in numbers:
        if isinstance(partial.offer(number, objects[number]), Extended):
            start = partial.finish().newest
            again, _ = told(objects, start)
            assert again.finish().newest == newest


@given(st.integers(0, 2**53), st.integers(0, 2**53))
def test_proofs_at_any_size_are_short_and_named_in_order(one: int, other: int) -> None:
    low, high = sorted((one, other))
    spans = merkle.inclusion_spans(low, high + 1) + merkle.consistency_spans(low, high)
    assert len(spans) <= 110
    for start, end in spans:
        assert 0 <= start < end <= high + 1
        places = merkle.complete_nodes((start, end))
        assert sum(1 << level for level, _ in places) == end - start
        assert places[0][1] << places[0][0] == start


def test_an_edge_of_the_largest_tree_is_bounded() -> None:
    assert len(Edge(2**54 - 1, (bytes(32),) * 54).hashes) == 54
