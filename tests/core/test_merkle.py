"""Merkle trees against RFC 6962's own definitions, written down slowly, and against published vectors."""

import base64
import hashlib
import random
from collections.abc import Sequence

import pytest

from vault.core import merkle
from vault.core.merkle import Edge
from vault.errors import LogInconsistent

# The reference tree of github.com/transparency-dev/merkle, testonly/constants.go.
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# The happy paths of its testdata/consistency/1 to 4: sizes, and the proof.
CONSISTENCY = [
    (1, 8, (
        "lqKW0iTyhcZ77pPDD4owkVfw2qNdxbh+QQt4YwoJz8c=",
        "Xwg/ChozygdqlSeYMlgNs+DvRYS9/x9UyKNg9Q3jAx4=",
        "a0eq8p7jwq+a+Im8H7klTavTEXfxYjLdaqsDXKOb9uQ=",
    )),
    (6, 8, (
        "DrxdNDf74tsVi58Sah0RjjCBgQMdCpSfje3t68VY72o=",
        "yoVOoSjtBQtBs1/8G4e46yveRh6eO1WW7Oa51ZdaCuA=",
        "037kGJdt2VdTwcc4Yrk5j6Kiz5tP8P3+izDNlSCWFLc=",
    )),
    (2, 5, (
        "Xwg/ChozygdqlSeYMlgNs+DvRYS9/x9UyKNg9Q3jAx4=",
        "vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms=",
    )),
    (6, 7, (
        "DrxdNDf74tsVi58Sah0RjjCBgQMdCpSfje3t68VY72o=",
        "sIaT7C5yFZcTBkHoIR5+7cy0wmQTlj7ubB4u0W/7Gl8=",
        "037kGJdt2VdTwcc4Yrk5j6Kiz5tP8P3+izDNlSCWFLc=",
    )),
]  # fmt: skip
LARGE = (255, 256, 257, 65_535, 65_536, 65_537)


# --- RFC 6962, section 2.1, word for word ---


def split(size: int) -> int:
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def mth(entries: Sequence[bytes]) -> bytes:
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\0" + entries[0]).digest()
    k = split(len(entries))
    return hashlib.sha256(b"\1" + mth(entries[:k]) + mth(entries[k:])).digest()


def path(index: int, entries: Sequence[bytes]) -> list[bytes]:
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if index < k:
        return [*path(index, entries[:k]), mth(entries[k:])]
    return [*path(index - k, entries[k:]), mth(entries[:k])]


def subproof(old: int, entries: Sequence[bytes], whole: bool) -> list[bytes]:
    if old == len(entries):
        return [] if whole else [mth(entries)]
    k = split(len(entries))
    if old <= k:
        return [*subproof(old, entries[:k], whole), mth(entries[k:])]
    return [*subproof(old - k, entries[k:], whole=False), mth(entries[:k])]


class Levels:
    """Every complete subtree of some entries, by level: a source of nodes for proofs."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.rows = [merkle.leaf_hashes(entries)]
        while len(self.rows[-1]) > 1:
            below = self.rows[-1]
            self.rows.append(
                [merkle.node_hash(below[at], below[at + 1]) for at in range(0, len(below) - 1, 2)]
            )

    def __call__(self, level: int, index: int) -> bytes:
        return self.rows[level][index]


def numbered(count: int) -> list[bytes]:
    return [number.to_bytes(4, "big") for number in range(count)]


def edge_of(entries: Sequence[bytes]) -> Edge:
    return merkle.grow(merkle.EMPTY, merkle.leaf_hashes(entries)).after


# --- published vectors ---


def test_the_published_roots_are_ours() -> None:
    assert len(ROOTS) == len(INPUTS) + 1 == 9
    for size, root in enumerate(ROOTS):
        assert edge_of(INPUTS[:size]).root.hex() == root
        assert mth(INPUTS[:size]).hex() == root


@pytest.mark.parametrize(("old", "new", "published"), CONSISTENCY)
def test_the_published_consistency_proofs_are_ours(old: int, new: int, published: tuple[str, ...]) -> None:
    proof = merkle.hash_spans(merkle.consistency_spans(old, new), Levels(INPUTS))
    assert [base64.b64encode(part).decode() for part in proof] == list(published)
    merkle.verify_consistency(old, bytes.fromhex(ROOTS[old]), new, bytes.fromhex(ROOTS[new]), proof)


# --- the definitions ---


def test_roots_proofs_and_edges_are_those_of_the_definitions_at_every_small_size() -> None:
    entries = numbered(70)
    levels = Levels(entries)
    roots = [mth(entries[:size]) for size in range(71)]
    for size in range(1, 71):
        assert edge_of(entries[:size]).root == roots[size]
        for index in range(size):
            proof = merkle.hash_spans(merkle.inclusion_spans(index, size), levels)
            assert list(proof) == path(index, entries[:size])
            merkle.verify_inclusion(index, size, levels(0, index), proof, roots[size])
        for old in range(size + 1):
            proof = merkle.hash_spans(merkle.consistency_spans(old, size), levels)
            if old:
                assert list(proof) == subproof(old, entries[:size], whole=True)
            merkle.verify_consistency(old, roots[old], size, roots[size], proof)


def test_every_inclusion_and_consistency_proof_holds_at_sizes_to_600() -> None:
    entries = numbered(600)
    levels = Levels(entries)
    roots, edge = [merkle.EMPTY_ROOT], merkle.EMPTY
    for leaf in levels.rows[0]:
        edge = merkle.grow(edge, [leaf]).after
        roots.append(edge.root)
    for size in range(1, 601):
        step = 1 if size % 100 < 2 else 61  # every proof of some sizes, some of every size
        for index in {*range(0, size, step), size - 1}:
            proof = merkle.hash_spans(merkle.inclusion_spans(index, size), levels)
            merkle.verify_inclusion(index, size, levels(0, index), proof, roots[size])
            proof = merkle.hash_spans(merkle.consistency_spans(index, size), levels)
            merkle.verify_consistency(index, roots[index], size, roots[size], proof)


@pytest.mark.parametrize("size", LARGE)
def test_proofs_hold_around_the_borders_of_tiles(size: int) -> None:
    entries = numbered(size)
    levels = Levels(entries)
    root = edge_of(entries).root
    for index in {0, 1, 254, min(255, size - 1), size // 2, size - 2, size - 1}:
        proof = merkle.hash_spans(merkle.inclusion_spans(index, size), levels)
        merkle.verify_inclusion(index, size, levels(0, index), proof, root)
    for old in {1, 128, 254, min(256, size), size // 3, size - 1, size}:
        proof = merkle.hash_spans(merkle.consistency_spans(old, size), levels)
        older = merkle.fold([levels(*place) for place in merkle.complete_nodes((0, old))])
        merkle.verify_consistency(old, older, size, root, proof)


# --- growing ---


def test_growing_in_any_steps_gives_the_same_tree() -> None:
    entries = numbered(1_000)
    levels = Levels(entries)
    draw = random.Random(6962)
    for _ in range(20):
        edge, at = merkle.EMPTY, 0
        while at < len(entries):
            step = min(draw.choice((1, 2, 3, 31, 256, 300)), len(entries) - at)
            growth = merkle.grow(edge, levels.rows[0][at : at + step])
            for level in range(len(growth.rows) + 1):
                first, hashes = growth.new(level)
                assert first == at >> level if hashes else first == growth.after.size >> level
                assert hashes == (
                    levels.rows[level][first : first + len(hashes)] if level < len(levels.rows) else []
                )
                assert first + len(hashes) == (at + step) >> level
            edge, at = growth.after, at + step
        assert edge == edge_of(entries)


def test_a_growth_knows_every_subtree_that_proofs_of_its_leaves_take() -> None:
    entries = numbered(300)
    levels = Levels(entries)
    for before in (0, 1, 3, 128, 255, 256, 257):
        growth = merkle.grow(edge_of(entries[:before]), levels.rows[0][before:])

        def node(level: int, index: int, known: merkle.Growth = growth) -> bytes:
            found = known.node(level, index)
            assert found is not None
            return found

        for index in range(before, 300):
            proof = merkle.hash_spans(merkle.inclusion_spans(index, 300), node)
            merkle.verify_inclusion(index, 300, levels(0, index), proof, growth.after.root)


def test_an_edge_knows_its_own_subtrees_and_no_others() -> None:
    edge = edge_of(numbered(13))
    levels = Levels(numbered(13))
    places = {(0, 12), (2, 2), (3, 0)}
    assert {place for place, _ in edge.nodes()} == places
    for level in range(6):
        for index in range(16):
            found = edge.node(level, index)
            assert found == (levels(level, index) if (level, index) in places else None)
    growth = merkle.grow(edge, merkle.leaf_hashes([b"x"]))
    assert growth.node(9, 0) is None
    assert growth.node(0, 1) is None


def test_growing_by_nothing_changes_nothing() -> None:
    edge = edge_of(numbered(5))
    growth = merkle.grow(edge, [])
    assert (growth.after, growth.rows) == (edge, ())


# --- what does not hold ---


def mutations(proof: tuple[bytes, ...]) -> list[tuple[bytes, ...]]:
    """Change a proof as the published negative vectors do."""
    garbage = bytes(32)
    found = [proof[:-1], (*proof, garbage), (garbage, *proof), (*proof, proof[-1]), proof[::-1], ()]
    for at, part in enumerate(proof):
        found.append((*proof[:at], bytes([part[0] ^ 16]) + part[1:], *proof[at + 1 :]))
    return [changed for changed in found if changed != proof]


def refused(code: str, index: int, size: int, leaf: bytes, proof: tuple[bytes, ...], root: bytes) -> None:
    with pytest.raises(LogInconsistent) as caught:
        merkle.verify_inclusion(index, size, leaf, proof, root)
    assert caught.value.code == code


def test_an_altered_inclusion_proof_is_refused() -> None:
    entries = numbered(11)
    levels = Levels(entries)
    for size in range(2, 12):
        root = mth(entries[:size])
        for index in range(size):
            leaf = levels(0, index)
            proof = merkle.hash_spans(merkle.inclusion_spans(index, size), levels)
            for changed in mutations(proof):
                refused("not-logged", index, size, leaf, changed, root)
            refused("not-logged", index, size, leaf, proof, mth(entries[: size - 1]))
            refused("not-logged", index, size, merkle.leaf_hash(b"other"), proof, root)
            refused("not-logged", -1, size, leaf, proof, root)
            refused("not-logged", size, size, leaf, proof, root)
            refused("not-logged", (index + 1) % size, size, leaf, proof, root)


def test_an_altered_consistency_proof_is_refused() -> None:
    entries = numbered(11)
    levels = Levels(entries)
    roots = [mth(entries[:size]) for size in range(12)]

    def inconsistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: tuple[bytes, ...]) -> None:
        with pytest.raises(LogInconsistent) as caught:
            merkle.verify_consistency(old, old_root, new, new_root, proof)
        assert caught.value.code == "log-inconsistent"

    for new in range(2, 12):
        for old in range(1, new):
            proof = merkle.hash_spans(merkle.consistency_spans(old, new), levels)
            for changed in mutations(proof):
                inconsistent(old, roots[old], new, roots[new], changed)
            inconsistent(old, roots[new], new, roots[old], proof)
            inconsistent(old, roots[old - 1], new, roots[new], proof)
            inconsistent(new, roots[new], old, roots[old], proof)
        inconsistent(new, roots[new], new, roots[new - 1], ())
        inconsistent(0, roots[1], new, roots[new], ())
        inconsistent(-1, roots[1], new, roots[new], ())


def test_mistakes_of_the_caller_are_value_errors() -> None:
    with pytest.raises(ValueError, match="no leaf 5"):
        merkle.inclusion_spans(5, 5)
    with pytest.raises(ValueError, match="does not extend"):
        merkle.consistency_spans(6, 5)
    with pytest.raises(ValueError, match="complete subtrees"):
        Edge(3, (bytes(32),))
    with pytest.raises(ValueError, match="complete subtrees"):
        Edge(-1, (bytes(32),))
