"""The root of trust: the pin, the chain, and thresholds of different people."""

from dataclasses import replace

import pytest

from tests.builders import NOW, new_identity
from vault.core import envelope, limits, names, trust
from vault.core.names import Digest, Principal
from vault.core.trust import Root, RootKey, TrustedRoot
from vault.errors import (
    DigestMismatch,
    Malformed,
    Refused,
    Unavailable,
    Unsigned,
    UntrustedSigner,
)
from vault.keys.identity_file import Identity

ANN, BOB, CAT, EVE = (new_identity(name) for name in ("ann", "bob", "cat", "eve"))
ANN2 = new_identity("ann", seed="second key")
TIME = names.time_text(NOW)


def keys(*people: Identity) -> tuple[RootKey, ...]:
    return tuple(RootKey(who.name, who.public) for who in people)


def first(*people: Identity, threshold: int = 1) -> Root:
    return Root(1, None, None, TIME, None, threshold, keys(*people), bytes(16))


def sign(root: Root, *people: Identity) -> bytes:
    signers = [(Digest(who.key_id), who.sign) for who in people]
    return envelope.serialise(envelope.sign(trust.KIND, trust.encode(root), signers))


def pin(root: Root) -> Digest:
    return envelope.digest(trust.encode(root))


def trusted(root: Root) -> TrustedRoot:
    return trust.verify_first(sign(root, ANN, BOB, CAT), pin(root))


def successor(current: TrustedRoot, *people: Identity, threshold: int = 1) -> Root:
    return Root(
        current.root.version + 1,
        current.vault,
        current.digest,
        TIME,
        None,
        threshold,
        keys(*people),
        bytes(16),
    )


def test_a_root_is_read_as_it_was_written() -> None:
    root = replace(first(ANN, BOB, threshold=2), expires=TIME)
    assert trust.parse(trust.encode(root), "it") == root
    following = successor(trusted(first(ANN)), BOB)
    assert trust.parse(trust.encode(following), "it") == following


@pytest.mark.parametrize(
    "root",
    [
        first(ANN, ANN),
        first(ANN, threshold=2),
        first(ANN, ANN2, threshold=2),
        replace(first(ANN), version=2),
        replace(first(ANN), vault=Digest("0" * 64)),
        replace(first(ANN), prev=Digest("0" * 64)),
        replace(first(ANN), threshold=0),
        replace(first(ANN), keys=()),
        replace(first(ANN), created="yesterday"),
        replace(first(ANN), expires="never"),
        replace(first(ANN), nonce=bytes(15)),
        replace(first(ANN), keys=(RootKey(Principal("ann"), bytes(32)),)),
        replace(first(ANN), keys=(RootKey(Principal("ann"), b"\xff" * 32),)),
        replace(first(ANN), keys=(RootKey(Principal("ann"), bytes(31)),)),
        replace(first(ANN), keys=(RootKey(Principal("a/b"), ANN.public),)),
    ],
)
def test_a_root_that_contradicts_itself_is_refused(root: Root) -> None:
    with pytest.raises(Malformed):
        trust.parse(trust.encode(root), "it")


def test_the_pin_alone_makes_the_first_root_trusted() -> None:
    root = first(ANN)
    found = trust.verify_first(sign(root, ANN), pin(root))
    assert (found.root, found.digest, found.vault) == (root, pin(root), pin(root))
    with pytest.raises(DigestMismatch, match="not the vault that was pinned"):
        trust.verify_first(sign(root, ANN), Digest("0" * 64))
    with pytest.raises(DigestMismatch):
        trust.verify_first(sign(first(EVE), EVE), pin(root))


def test_the_pinned_root_is_signed_by_its_own_threshold() -> None:
    root = first(ANN, BOB, threshold=2)
    trust.verify_first(sign(root, ANN, BOB), pin(root))
    with pytest.raises(UntrustedSigner) as caught:
        trust.verify_first(sign(root, ANN), pin(root))
    assert caught.value.code == "threshold-not-met"
    with pytest.raises(Unsigned):
        trust.verify_first(sign(root), pin(root))


def test_the_first_root_has_version_1() -> None:
    root = successor(trusted(first(ANN)), ANN)
    with pytest.raises(Malformed, match="version 1"):
        trust.verify_first(sign(root, ANN), pin(root))


def test_two_keys_of_one_person_count_once() -> None:
    root = first(ANN, ANN2, BOB, threshold=2)
    with pytest.raises(UntrustedSigner) as caught:
        trust.verify_first(sign(root, ANN, ANN2), pin(root))
    assert caught.value.code == "threshold-not-met"
    assert "1 of the 2" in caught.value.message
    trust.verify_first(sign(root, ANN2, BOB), pin(root))


def test_one_signature_repeated_counts_once() -> None:
    root = first(ANN, BOB, threshold=2)
    made = envelope.parse(sign(root, ANN), kind=trust.KIND, subject="it")
    doubled = envelope.serialise(replace(made, signatures=made.signatures * 2))
    with pytest.raises(UntrustedSigner):
        trust.verify_first(doubled, pin(root))


def test_a_successor_is_signed_by_the_old_root_and_by_itself() -> None:
    current = trusted(first(ANN, BOB, threshold=2))
    following = successor(current, BOB, CAT, threshold=2)
    found = trust.verify_next(current, 2, sign(following, ANN, BOB, CAT))
    assert (found.root, found.vault) == (following, current.vault)
    for only in ((ANN, BOB), (BOB, CAT), (ANN, CAT), (BOB,), (EVE,), ()):
        with pytest.raises(Refused):
            trust.verify_next(current, 2, sign(following, *only))


@pytest.mark.parametrize(
    "change",
    [{"version": 3}, {"vault": Digest("1" * 64)}, {"prev": Digest("1" * 64)}],
)
def test_a_successor_follows_the_very_root_before_it(change: dict[str, int]) -> None:
    current = trusted(first(ANN))
    following = replace(successor(current, ANN), **change)  # type: ignore[arg-type]
    with pytest.raises(DigestMismatch) as caught:
        trust.verify_next(current, 2, sign(following, ANN))
    assert caught.value.code == "misplaced"


def test_the_first_root_served_again_is_no_successor() -> None:
    root = first(ANN)
    with pytest.raises(DigestMismatch):
        trust.verify_next(trusted(root), 2, sign(root, ANN))


def chain() -> tuple[Digest, dict[int, bytes]]:
    root = first(ANN)
    one = trusted(root)
    two = successor(one, BOB)
    after_two = trust.verify_next(one, 2, sign(two, ANN, BOB))
    three = successor(after_two, CAT)
    return pin(root), {1: sign(root, ANN), 2: sign(two, ANN, BOB), 3: sign(three, BOB, CAT)}


def test_the_newest_root_of_the_chain_is_in_force() -> None:
    pinned, objects = chain()
    found, skipped = trust.root_in_force(pinned, [3, 1, 2, 2], objects.__getitem__)
    assert (found.root.version, found.root.keys[0].name, skipped) == (3, "cat", ())


def test_what_is_no_successor_is_skipped_and_told() -> None:
    pinned, objects = chain()
    squatted = {**objects, 3: b"garbage", 4: objects[2], 5: sign(first(EVE), EVE), 9: b""}
    found, skipped = trust.root_in_force(pinned, squatted, squatted.__getitem__)
    assert found.root.version == 2
    assert [entry.name for entry in skipped] == ["root 3", "root 4", "root 5", "root 9"]
    assert all(entry.code and entry.reason for entry in skipped)


def test_an_object_too_large_to_be_a_root_is_skipped() -> None:
    pinned, objects = chain()
    objects[4] = b" " * (limits.ENVELOPE_BYTES + 1)

    def read(number: int) -> bytes:
        if len(objects[number]) > limits.ENVELOPE_BYTES:
            raise Malformed("too large", code="too-large")
        return objects[number]

    found, skipped = trust.root_in_force(pinned, objects, read)
    assert (found.root.version, skipped[0].code) == (3, "too-large")


def test_a_listed_root_that_cannot_be_read_is_never_absent() -> None:
    pinned, objects = chain()

    def read(number: int) -> bytes:
        if number == 3:
            raise Unavailable("gone")
        return objects[number]

    with pytest.raises(Unavailable):
        trust.root_in_force(pinned, [1, 2, 3], read)


def test_a_missing_link_ends_the_chain() -> None:
    pinned, objects = chain()
    del objects[2]
    found, skipped = trust.root_in_force(pinned, objects, objects.__getitem__)
    assert found.root.version == 1
    assert [entry.name for entry in skipped] == ["root 3"]


def test_key_ids_are_digests_of_the_keys() -> None:
    root = first(ANN, BOB)
    assert trust.keys_by_id(root) == {ANN.key_id: ANN.public, BOB.key_id: BOB.public}
