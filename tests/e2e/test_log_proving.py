"""Proofs out of tiles that nobody trusts, or out of the commits; and what witnesses sign."""

import hashlib
from collections.abc import Callable

import pytest

from tests.logs import (
    NOW,
    PROD_LOG,
    certificate,
    certified,
    checkpoint,
    commit,
    cosigned,
    log_key,
    numbered,
    policy,
    squat,
    state,
    tree,
    writer,
)
from vault.audit import cosigning, stored_tree
from vault.audit.proving import Prover
from vault.core import limits, log_keys, log_proof, merkle, note
from vault.core.log_chain import Head
from vault.core.names import Digest, Principal
from vault.core.note import Line
from vault.core.policy import LogHead
from vault.errors import Conflict, LogInconsistent, NotFound, Refused, UntrustedSigner
from vault.ports import Store
from vault.storage.memory import MemoryStore

SIZES = (1, 2, 255, 256, 257, 600)


def built(size: int, step: int = 100) -> MemoryStore:
    store = MemoryStore()
    ann = writer(store)
    for at in range(0, size, step):
        ann.append(numbered(at, min(step, size - at)))
    return store


def prover(store: Store, known: Head | None = None) -> Prover:
    return Prover(store, PROD_LOG, policy(), known=known)


def head(size: int) -> Head:
    return Head(0, size, tree(numbered(0, size)).root)


def keep(store: MemoryStore) -> None:
    pass


def drop(store: MemoryStore) -> None:
    for name in [name for name in store.objects if "/tile/" in name]:
        del store.objects[name]


def zero(store: MemoryStore) -> None:
    for name in [name for name in store.objects if "/tile/" in name]:
        store.objects[name] = bytes(len(store.objects[name]))


def shuffle(store: MemoryStore) -> None:
    """Give tiles and bundles of another log of the same size, which are genuine in themselves."""
    other = MemoryStore()
    size = state(store).head.size
    writer(other).append([b"other %d" % number for number in range(size)])
    for name in [name for name in store.objects if "/tile/" in name]:
        store.objects[name] = other.objects[name]


DAMAGES = [keep, drop, zero, shuffle]
Damage = Callable[[MemoryStore], None]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("size", SIZES)
def test_every_entry_is_given_and_proved_whatever_the_tiles_say(size: int, damage: Damage) -> None:
    store = built(size)
    damage(store)
    asked = prover(store)
    for index in {0, size // 2, min(255, size - 1), size - 1}:
        entry = numbered(index, 1)[0]
        assert asked.entry(index) == entry
        proof = asked.inclusion(index, entry)
        assert log_proof.check(proof, policy(), PROD_LOG).entry == entry
        with pytest.raises(LogInconsistent) as caught:
            asked.inclusion(index, b"other")
        assert caught.value.code == "not-logged"


def test_an_entry_and_its_leaf_that_were_rewritten_together_are_not_given() -> None:
    """CVE-2026-56865: the leaf in the tile and the entry in the bundle agree, and neither is in the tree."""
    store = built(300)
    forged = [b"forged", *numbered(1, 255)]
    store.objects[PROD_LOG.bundle(0)] = b"".join(len(entry).to_bytes(2, "big") + entry for entry in forged)
    tile = store.objects[PROD_LOG.tile(0, 0)]
    store.objects[PROD_LOG.tile(0, 0)] = merkle.leaf_hash(b"forged") + tile[32:]
    assert prover(store).entry(0) == numbered(0, 1)[0]
    with pytest.raises(LogInconsistent):
        prover(store).inclusion(0, b"forged")


@pytest.mark.parametrize("damage", DAMAGES)
def test_heads_are_proved_consistent(damage: Damage) -> None:
    store = built(600)
    damage(store)
    asked = prover(store)
    for old, new in ((0, 600), (1, 600), (100, 257), (256, 512), (599, 600), (600, 600), (300, 300)):
        proof = asked.consistency(head(old), head(new))
        merkle.verify_consistency(old, head(old).root, new, head(new).root, proof)
        asked.check_consistent(head(new), head(old))


def test_heads_of_another_history_are_refused() -> None:
    store = built(600)
    asked = prover(store)
    false = Head(0, 300, bytes(32))
    for one, other in (
        (false, head(400)),
        (head(200), false),
        (false, false),
        (head(10), Head(0, 601, bytes(32))),
    ):
        with pytest.raises(LogInconsistent):
            asked.check_consistent(one, other)
    with pytest.raises(LogInconsistent):
        asked.consistency(head(400), head(300))


def test_an_earlier_head_can_be_proved_to() -> None:
    store = built(600)
    edge = tree(numbered(0, 300))
    proof = prover(store).inclusion(7, numbered(7, 1)[0], size=300, root=edge.root)
    until = LogHead("any", 300, Digest(edge.root.hex()))
    assert log_proof.check_before(proof, until) == numbered(7, 1)[0]
    with pytest.raises(LogInconsistent):
        prover(store).inclusion(300, numbered(300, 1)[0], size=300, root=edge.root)
    with pytest.raises(LogInconsistent):
        prover(store).inclusion(7, numbered(7, 1)[0], size=601, root=edge.root)


def test_what_is_not_there_is_not_found() -> None:
    store = built(3)
    for index in (-1, 3):
        with pytest.raises(NotFound):
            prover(store).entry(index)
    with pytest.raises(NotFound):
        prover(MemoryStore()).note()
    with pytest.raises(NotFound):
        prover(MemoryStore()).inclusion(0, b"x")


def test_a_prover_follows_the_log() -> None:
    store = built(3)
    asked = prover(store, state(store).head)
    assert asked.newest.size == 3
    writer(store).append(numbered(3, 300))
    assert asked.newest.size == 3
    assert asked.read().head.size == 303
    assert asked.entry(302) == numbered(302, 1)[0]


def test_a_proof_whose_writer_was_revoked_is_made_again_by_anybody() -> None:
    store = MemoryStore()
    done = writer(store, "bob").append(numbered(0, 3))
    writer(store).append(numbered(3, 1))
    later = policy(revoked=["bob"])
    with pytest.raises(UntrustedSigner, match="may write"):
        log_proof.check(done.proof(1), later, PROD_LOG)
    again = Prover(store, PROD_LOG, later).inclusion(1, done.entries[1])
    assert log_proof.check(again, later, PROD_LOG).writer == "ann"


# --- witnesses ---


class Witness:
    """A witness on a machine of its own, with its memory."""

    def __init__(self, who: str = "wes") -> None:
        self.who = who
        self.known: Head | None = None
        self.time = NOW

    def look(self, store: Store) -> Head:
        return cosigning.cosign(
            store,
            PROD_LOG,
            policy(),
            log_key(self.who, use=log_keys.WITNESS),
            certificate(self.who, use=log_keys.WITNESS),
            known=self.known,
            clock=lambda: self.time,
            remember=self.remember,
        )

    def remember(self, head: Head) -> None:
        self.known = head


def test_what_witnesses_cosign_makes_a_proof_that_counts() -> None:
    store = built(300)
    wes, wim = Witness("wes"), Witness("wim")
    assert wes.look(store) == wim.look(store) == state(store).head
    writer(store).append(numbered(300, 5))
    wes.look(store)
    assert cosigning.sizes(store, PROD_LOG) == [300, 305]
    entry = numbered(7, 1)[0]
    proof = prover(store).witnessed(7, entry, 2)
    told = log_proof.check(log_proof.parse(proof.encode(), "it"), policy(), PROD_LOG, witnesses=2)
    assert (told.checkpoint.size, [found.witness for found in told.witnesses]) == (300, ["wes", "wim"])
    assert prover(store).witnessed(7, entry, 1).note.text.split(b"\n")[1] == b"305"
    for index, wanted in ((7, 3), (304, 2)):
        with pytest.raises(LogInconsistent) as caught:
            prover(store).witnessed(index, numbered(index, 1)[0], wanted)
        assert caught.value.code == "not-witnessed"
    found = cosigning.cosigners(store, PROD_LOG, policy(), head(300))
    assert [entry.witness for entry in found] == ["wes", "wim"]
    assert cosigning.cosigners(store, PROD_LOG, policy(), Head(0, 300, bytes(32))) == ()


def test_a_witness_goes_on_from_what_it_remembers_and_refuses_anything_else() -> None:
    store = built(3)
    wes = Witness()
    wes.look(store)
    fork = MemoryStore()
    writer(fork, "bob").append([b"other"])
    writer(fork, "bob").append(numbered(0, 9))
    with pytest.raises(LogInconsistent):
        wes.look(fork)
    assert cosigning.sizes(fork, PROD_LOG) == []
    with pytest.raises(LogInconsistent):
        wes.look(MemoryStore())
    assert wes.known == state(store).head


def test_a_witness_remembers_before_its_signature_is_seen() -> None:
    store = built(3)
    wes = Witness()

    def fail(head: Head) -> None:
        raise Conflict("the disk is full")

    wes.remember = fail  # type: ignore[method-assign]
    with pytest.raises(Conflict):
        wes.look(store)
    assert cosigning.sizes(store, PROD_LOG) == []


def test_a_commit_that_changes_while_it_is_witnessed_is_not_cosigned() -> None:
    store = built(3)
    other = commit(tree(numbered(0, 1)), numbered(1, 5), "bob")

    class Changing:
        """Gives another commit of a writer when it is read for the second time."""

        reads = 0

        def __getattr__(self, name: str) -> Callable[..., object]:
            found: Callable[..., object] = getattr(store, name)
            return found

        def read(self, name: str, *, limit: int) -> bytes:
            self.reads += name == PROD_LOG.commit(1)
            return other if self.reads == 2 else store.read(name, limit=limit)

    wes = Witness()
    with pytest.raises(Conflict, match="changed"):
        wes.look(Changing())  # type: ignore[arg-type]
    assert (wes.known, cosigning.sizes(store, PROD_LOG)) == (None, [])


def test_a_squatted_name_of_a_cosignature_is_told() -> None:
    store = built(3)
    Witness().look(store)
    name = next(name for name in store.objects if "/cosigned/" in name)
    store.objects[name] = b"garbage"
    with pytest.raises(Conflict):
        Witness().look(store)
    wes = Witness()
    wes.time += 1
    wes.look(store)
    assert len(cosigning.cosigners(store, PROD_LOG, policy(), head(3))) == 1


def test_the_tiles_that_a_prover_keeps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_tree, "_KEPT_TILES", 1)
    asked = prover(built(600))
    for index in (0, 300, 599):
        assert asked.entry(index) == numbered(index, 1)[0]
    assert asked._tree is not None
    assert len(asked._tree._tiles) == 1


def test_an_empty_log_is_not_cosigned() -> None:
    store = MemoryStore()
    wes = Witness()
    assert wes.look(store).size == 0
    assert (wes.known, dict(store.objects)) == (None, {})


def test_a_witness_may_look_twice() -> None:
    store = built(3)
    wes = Witness()
    wes.look(store)
    before = dict(store.objects)
    wes.look(store)
    assert store.objects == before


def test_who_may_not_witness_is_told_at_once() -> None:
    with pytest.raises(UntrustedSigner, match="ann may not witness"):
        Witness("ann").look(built(1))
    with pytest.raises(ValueError, match="another key"):
        cosigning.cosign(
            built(1), PROD_LOG, policy(), log_key("wes"), certificate("wes", use=log_keys.WITNESS),
            known=None, clock=lambda: NOW, remember=lambda head: None,
        )  # fmt: skip


def test_a_witness_does_not_vouch_for_what_nobody_may_have_written() -> None:
    store = MemoryStore()
    writer(store).append(numbered(0, 1))
    squat(store, PROD_LOG.commit(2), commit(tree(numbered(0, 1)), numbered(1, 1), "eve"))
    assert Witness().look(store).size == 1


def test_objects_that_are_no_cosignatures_are_passed_over() -> None:
    store = built(3)
    Witness().look(store)
    folder = PROD_LOG.cosigned(3)
    name = next(name for name in store.objects if name.startswith(folder))
    genuine = store.objects[name]
    squat(store, f"{folder}wes-{'0' * 32}", genuine)  # not named after its content
    squat(store, f"{folder}wes-{'1' * 32}", b"garbage")
    squat(store, f"{folder}wes-{'2' * 32}", bytes(limits.MIB))
    squat(store, f"{folder}note", genuine)
    for other in ("x", "3", "000000000003x", "-00000000003"):
        squat(store, f"{PROD_LOG.folder}cosigned/{other}/wes-{'0' * 32}")
    assert cosigning.sizes(store, PROD_LOG) == [3]
    assert len(cosigning.collect(store, PROD_LOG, policy(), 3)) == 1
    assert len(cosigning.cosigners(store, PROD_LOG, policy(), head(3))) == 1


def test_lines_that_a_stranger_adds_hide_nothing() -> None:
    store = built(3)
    signed = cosigned(certified(checkpoint(tree(numbered(0, 3)))), "wes")
    name = signed.lines[-1].name
    junk = [Line(name, signed.lines[-2].key_hash, bytes(72 - at % 9) + bytes([at])) for at in range(90)]
    for at in range(3):
        crowded = note.Note(signed.text, (*junk[at:], *signed.lines))
        put(store, "wes", crowded)
    put(store, "wim", cosigned(certified(checkpoint(tree(numbered(0, 3)))), "wim"))
    proof = prover(store).witnessed(1, numbered(1, 1)[0], 2)
    assert len(log_proof.check(proof, policy(), PROD_LOG, witnesses=2).witnesses) == 2
    assert len(proof.note.lines) == 6


def put(store: Store, who: str, signed: note.Note) -> None:
    data = signed.encode()
    name = PROD_LOG.cosignature(3, Principal(who), Digest(hashlib.sha256(data).hexdigest()))
    squat(store, name, data)


def test_two_checkpoints_of_one_size_are_both_shown() -> None:
    """A writer who keeps two histories, of which a witness has seen the other, is found out."""
    store = built(3)
    put(store, "wes", cosigned(certified(checkpoint(tree(numbered(0, 3)))), "wes"))
    put(store, "wim", cosigned(certified(checkpoint(tree(numbered(5, 3)), "bob"), "bob"), "wim"))
    put(store, "wim", cosigned(certified(checkpoint(tree(numbered(5, 4)), "bob"), "bob"), "wim"))
    found = cosigning.collect(store, PROD_LOG, policy(), 3)
    assert {entry.writer for entry in found} == {"ann", "bob"}
    with pytest.raises(Refused):
        prover(store).witnessed(1, numbered(1, 1)[0], 2)
