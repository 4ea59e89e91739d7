"""The Update Framework's scenarios about roots: chains, rotation, thresholds, expiry, the pinned root 1."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.attacks.update_framework_parts import (
    Reads,
    code_of,
    each,
    held_by,
    newcomer,
    number_of,
    released,
    remembered,
    root_of,
    scenario,
    signed_by,
    snapshot,
    strip,
)
from tests.attacks.vault_mixing import check, outcome, resigned, skipped
from tests.builders import CONTENT, NOW, Built
from tests.e2e.drafting_parts import apply
from vault.actions import draft_files
from vault.core import envelope, layout, names, trust
from vault.core.names import Digest
from vault.core.trust import Root
from vault.errors import UntrustedSigner

ROTATIONS = "key_rotations::test_root_rotation"
TOP = "python-tuf/top_level::"
SET = "python-tuf/trusted_set::"


@dataclass(frozen=True)
class Step:
    """A root: its holders, its threshold, and who signed it."""

    keys: tuple[int, ...]
    threshold: int
    sigs: tuple[int, ...]


FIVE = (0, 1, 2, 3, 4)
ONE_ROTATED = (0, 1, 3, 4, 5)
LATER = (5, 6, 7, 8, 9)
# The suite's sequences of roots; the last one of those in REFUSED must not be followed.
CASES: dict[str, tuple[Step, ...]] = {
    "1-of-1-key-rotation": (Step((1,), 1, (1,)), Step((2,), 1, (2, 1)), Step((2,), 1, (2,))),
    "1-of-1-key-rotation-unused-signatures": (
        Step((1,), 1, (3, 1, 4)),
        Step((2,), 1, (3, 2, 1, 4)),
        Step((2,), 1, (3, 2, 4)),
    ),
    "3-of-5-sign-with-different-keycombos": (
        Step(FIVE, 3, (0, 2, 4)),
        Step(FIVE, 3, (0, 4, 1)),
        Step(FIVE, 3, (0, 1, 3)),
        Step(FIVE, 3, (0, 1, 3)),
    ),
    "3-of-5-one-key-rotated": (Step(FIVE, 3, (0, 2, 4)), Step(ONE_ROTATED, 3, (0, 4, 1))),
    "3-of-5-one-key-rotated-with-intermediate-step": (
        Step(FIVE, 3, (0, 2, 4)),
        Step(ONE_ROTATED, 3, (0, 2, 4, 5)),
        Step(ONE_ROTATED, 3, (0, 4, 5)),
    ),
    "3-of-5-all-keys-rotated-with-intermediate-step": (
        Step(FIVE, 3, (0, 2, 4)),
        Step(LATER, 3, (0, 2, 4, 5, 6, 7)),
        Step(LATER, 3, (5, 6, 7)),
    ),
    "1-of-3-threshold-increase-to-2-of-3": (Step((1, 2, 3), 1, (1,)), Step((1, 2, 3), 2, (1, 2))),
    "2-of-3-threshold-decrease-to-1-of-3": (
        Step((1, 2, 3), 2, (1, 2)),
        Step((1, 2, 3), 1, (1, 2)),
        Step((1, 2, 3), 1, (1,)),
    ),
    "1-of-2-threshold-increase-to-2-of-2": (Step((1,), 1, (1,)), Step((1, 2), 2, (1, 2))),
    "1-of-1-key-rotation-fail-not-signed-with-old-key": (Step((1,), 1, (1,)), Step((2,), 1, (2, 3, 4))),
    "1-of-1-key-rotation-fail-not-signed-with-new-key": (Step((1,), 1, (1,)), Step((2,), 1, (1, 3, 4))),
    "3-of-5-one-key-rotate-fails-not-signed-with-3-new-keys": (
        Step(FIVE, 3, (0, 2, 4)),
        Step(ONE_ROTATED, 3, (0, 2, 4)),
    ),
    "3-of-5-one-key-rotate-fails-not-signed-with-3-old-keys": (
        Step(FIVE, 3, (0, 2, 4)),
        Step(ONE_ROTATED, 3, (0, 4, 5)),
    ),
    "1-of-3-threshold-bump-to-2-of-3-fails-new-threshold-not-reached": (
        Step((1, 2, 3), 1, (1,)),
        Step((1, 2, 3), 2, (2,)),
    ),
    "2-of-3-threshold-decr-to-1-of-3-fails-old-threshold-not-eached": (
        Step((1, 2, 3), 2, (1, 2)),
        Step((1, 2, 3), 1, (1,)),
    ),
}
REFUSED = {name for name in CASES if "fail" in name}


def follow(built: Built, step: Step, **change: Any) -> tuple[Root, bytes]:
    """Make the root that would follow the one in force, signed as a step says."""
    before = built.trusted
    root = root_of(built, before.root.version + 1, step.keys, step.threshold, prev=before.digest, **change)
    return root, signed_by(built, root, step.sigs)


def rotate(built: Built, *steps: Step, **change: Any) -> Built:
    """Write roots one after another, each as the successor of the one in force."""
    for step in steps:
        root, data = follow(built, step, **change)
        built.write(layout.root(root.version), data)
    return built


def test_the_suites_table_of_rotations_is_whole() -> None:
    assert (len(CASES), len(REFUSED)) == (15, 6)


@pytest.mark.parametrize("name", CASES)
@scenario(*each(ROTATIONS, CASES), TOP + "test_first_time_refresh", SET + "test_update_root_new_root")
def test_root_rotation(name: str) -> None:
    """Whoever applies drafts and whoever only reads the store come to the same root."""
    first, *steps = CASES[name]
    built = released(held_by(first.keys, first.threshold, first.sigs))
    assert outcome(built, "churn@prod") == CONTENT
    for place, step in enumerate(steps, 2):
        root, data = follow(built, step)
        draft = replace(
            draft_files.of_root(root), envelope=envelope.parse(data, kind=trust.KIND, subject="a draft")
        )
        if name in REFUSED and step is steps[-1]:
            before = snapshot(built)
            with pytest.raises(UntrustedSigner) as caught:
                apply(built, draft)
            assert caught.value.code == "threshold-not-met"
            assert snapshot(built) == before
            built.write(layout.root(place), data)
            assert skipped(check(built)) == {f"root {place}"}
        else:
            assert apply(built, draft).root == place
    expected = len(CASES[name]) - (name in REFUSED)
    for client in (built, newcomer(built)):
        assert outcome(client, "churn@prod") == CONTENT
        assert number_of(remembered(built, "root")) == expected
    assert built.trusted.root.version == expected


@scenario(TOP + "test_max_root_rotations")
def test_max_root_rotations() -> None:
    """There is no cap to stop at: a root is looked for among the names that are listed, not by trying more.

    A client that stopped half-way, as the reference client does, would go on with keys that were rotated out.
    """
    built = released(held_by((0,), 1))
    rotate(built, *(Step((number % 10,), 1, ((number - 1) % 10, number % 10)) for number in range(1, 26)))
    assert outcome(built, "churn@prod") == CONTENT
    assert number_of(remembered(built, "root")) == 26


@scenario(
    SET + "test_root_with_invalid_json", "basic::test_invalid_initial_root", TOP + "test_trusted_root_missing"
)
@pytest.mark.parametrize("how", ["missing", "empty", "no version", "another kind", "another vault's"])
def test_invalid_initial_root(how: str) -> None:
    """The pin is a digest, so nothing but those very bytes is a first root; nothing else is read."""
    built = released(held_by((0,), 1))
    name, reads = layout.root(1), Reads(built)
    if how == "missing":
        del built.store.objects[name]
    else:
        built.write(
            name,
            {
                "empty": b"",
                "no version": resigned(built, name, "root", lambda doc: doc.pop("version"), "p0"),
                "another kind": built.store.objects[layout.policy(1)],
                "another vault's": released(held_by((1,), 1)).store.objects[name],
            }[how],
        )
    wanted = {
        "missing": "no-such-vault",
        "empty": "malformed-json",
        "no version": "digest-mismatch",
        "another kind": "wrong-payload-type",
        "another vault's": "digest-mismatch",
    }[how]
    assert code_of(lambda: built.read("churn@prod", session=built.session(store=reads))) == wanted
    assert reads.names == ([] if how == "missing" else [name])
    assert remembered(built, "root") is None


@scenario("basic::test_unsigned_initial_root", TOP + "test_trusted_root_unsigned")
@pytest.mark.parametrize(
    ("sigs", "code"), [((), "unsigned"), ((9,), "untrusted-signer"), ((0,), "threshold-not-met")]
)
def test_unsigned_initial_root(sigs: tuple[int, ...], code: str) -> None:
    """The pin alone would do; that root 1 meets its own threshold is asked as well."""
    good = released(held_by((0, 1), 2))
    assert outcome(good, "churn@prod") == CONTENT
    bad = held_by((0, 1), 2, sigs)
    assert bad.vault == good.vault  # signatures are no part of the fingerprint
    assert outcome(bad, "churn@prod") == code
    assert remembered(bad, "root") is None


@scenario(
    "basic::test_unsigned_metadata[root]",
    TOP + "test_final_root_incorrectly_signed",
    TOP + "test_intermediate_root_incorrectly_signed",
    SET + "test_update_root_new_root_fail_threshold_verification",
)
def test_intermediate_root_incorrectly_signed() -> None:
    """What is not signed is absent, and so is all that builds on it; the update framework raises here.

    Anybody who can write could otherwise stop every load by one object that nobody signed.
    """
    built = released(held_by((0,), 1))
    rotate(built, Step((1,), 1, (0, 1)), Step((2,), 1, (1, 2)))
    assert outcome(built, "churn@prod") == CONTENT
    assert number_of(remembered(built, "root")) == 3
    built.write(layout.root(2), strip(built.store.objects[layout.root(2)], "root"))
    assert skipped(check(newcomer(built))) == {"root 2", "root 3"}
    new = newcomer(built)
    assert outcome(new, "churn@prod") == CONTENT
    assert number_of(remembered(new, "root")) == 1
    assert outcome(built, "churn@prod") == "rollback"


@scenario("python-tuf::test_root_versioning_integration")
def test_a_missing_intermediate_root_is_a_rollback_to_who_went_past_it() -> None:
    built = released(held_by((0,), 1))
    rotate(built, Step((1,), 1, (0, 1)), Step((2,), 1, (1, 2)))
    assert outcome(built, "churn@prod") == CONTENT
    whole = snapshot(built)
    del built.store.objects[layout.root(2)]
    assert outcome(built, "churn@prod") == "rollback"
    new = newcomer(built)
    assert new.trusted.root.version == 1  # it stands still, as a client does that gets no answer for root 2
    built.store.objects = whole
    assert outcome(built, "churn@prod") == CONTENT


@scenario(TOP + "test_new_root_nonconsecutive_version", "basic::test_url_and_metadata_version_mismatch[root]")
@pytest.mark.parametrize(
    ("name", "signed", "counts"), [(2, 2, True), (5, 5, True), (2, 3, False), (3, 2, False)]
)
def test_new_root_nonconsecutive_version(name: int, signed: int, counts: bool) -> None:
    """Numbers may be missing, as a stranger may have squatted one; `prev` says what a root follows.

    What may not be is a name that differs from the number inside.
    """
    built = released(held_by((0,), 1))
    root, data = follow(built, Step((1,), 1, (0, 1)), version=signed)
    built.write(layout.root(2), b"squatted")
    built.write(layout.root(name), data)
    assert built.trusted.root.version == (root.version if counts else 1)
    assert outcome(built, "churn@prod") == CONTENT


@scenario(TOP + "test_new_root_same_version", SET + "test_update_root_new_root_ver_same_as_trusted_root_ver")
def test_new_root_same_version() -> None:
    built = released(held_by((0, 1, 2), 2))
    rotate(built, Step((0, 1, 2), 2, (0, 1)))
    assert outcome(built, "churn@prod") == CONTENT
    other = root_of(built, 2, (0, 1, 9), 2, prev=Digest(built.vault))
    built.write(layout.root(2), signed_by(built, other, (0, 1)))  # as genuine, and under the same number
    assert outcome(built, "churn@prod") == "rollback"
    assert outcome(newcomer(built), "churn@prod") == CONTENT
    built.write(layout.root(1), built.store.objects[layout.root(2)])
    assert outcome(newcomer(built), "churn@prod") == "digest-mismatch"


def lasting(seconds: int) -> str:
    return names.time_text(NOW + seconds)


@scenario(TOP + "test_intermediate_root_expired")
def test_intermediate_root_expired() -> None:
    built = released(held_by((0,), 1))
    rotate(built, Step((1,), 1, (0, 1)), expires=lasting(10))
    rotate(built, Step((2,), 1, (1, 2)))
    built.now += 20
    assert outcome(built, "churn@prod") == CONTENT
    assert number_of(remembered(built, "root")) == 3


@scenario(
    "expiration::test_root_expired",
    "basic::test_faketime",
    TOP + "test_final_root_expired",
    TOP + "test_trusted_root_expired",
    SET + "test_root_expired_final_root",
)
def test_root_expired() -> None:
    """An expired root stops loads and is remembered all the same: nobody gets behind it by withholding it."""
    built = released(held_by((0,), 1))
    assert outcome(built, "churn@prod") == CONTENT
    rotate(built, Step((1,), 1, (0, 1)), expires=lasting(10))
    built.now += 9
    assert outcome(newcomer(built), "churn@prod") == CONTENT
    built.now += 1
    assert outcome(built, "churn@prod") == "expired"
    assert number_of(remembered(built, "root")) == 2
    expired = snapshot(built)
    del built.store.objects[layout.root(2)]
    assert outcome(built, "churn@prod") == "rollback"
    built.store.objects = expired
    rotate(built, Step((1,), 1, (1,)), expires=lasting(10_000))
    assert outcome(built, "churn@prod") == CONTENT
    assert number_of(remembered(built, "root")) == 3


def test_a_root_whose_policy_is_withheld_cannot_be_withheld_afterwards() -> None:
    """The root is kept before anything below it is looked at, as the client workflow says (5.3.8)."""
    built = released(held_by((0,), 1, None))
    policy = built.store.objects[layout.policy(1)]
    built.write(layout.policy(1), resigned(built, layout.policy(1), "policy", lambda doc: None, "p0"))
    assert outcome(built, "churn@prod") == CONTENT
    rotate(built, Step((1,), 1, (0, 1)))  # p1 has not signed the policy
    assert outcome(built, "churn@prod") == "not-found"
    assert number_of(remembered(built, "root")) == 2
    root = built.store.objects.pop(layout.root(2))
    assert outcome(built, "churn@prod") == "rollback"
    built.write(layout.root(2), root)
    built.write(layout.policy(1), policy)
    assert outcome(built, "churn@prod") == CONTENT


@scenario(
    "basic::test_custom_fields",
    "basic::test_deprecated_keyid_hash_algorithms",
    "keys::test_wrong_hashing_algorithm",
)
@pytest.mark.parametrize("where", ["root", "key"])
def test_custom_fields(where: str) -> None:
    """Fields that this version does not know are refused: what nobody reads nobody can agree to.

    The update framework lets them pass. Here an extension is another payload type, so no old client meets it.
    """
    built = released(held_by((0,), 1))
    rotate(built, Step((0,), 1, (0,)))
    assert built.trusted.root.version == 2

    def extend(doc: dict[str, Any]) -> None:
        (doc if where == "root" else doc["keys"][0]).update(keyid_hash_algorithms=["md5"])

    built.write(layout.root(2), resigned(built, layout.root(2), "root", extend, "p0"))
    new = newcomer(built)
    assert new.trusted.root.version == 1
    assert outcome(new, "churn@prod") == CONTENT


@scenario("keys::test_duplicate_keys", "keys::test_snapshot_has_too_few_keys")
@pytest.mark.parametrize("how", ["a key twice", "a threshold above the people", "one person with two keys"])
def test_duplicate_keys_root(how: str) -> None:
    built = released(held_by((0, 1), 2))
    root, _ = follow(built, Step((0, 1, 2), 2, ()))
    if how == "a key twice":
        root = replace(
            root, keys=(root.keys[0], replace(root.keys[0], name=root.keys[1].name), *root.keys[1:])
        )
    elif how == "a threshold above the people":
        root = replace(root, threshold=4)
    else:
        root = replace(
            root, threshold=2, keys=tuple(replace(key, name=root.keys[0].name) for key in root.keys)
        )
    built.write(layout.root(2), signed_by(built, root, (0, 1, 2)))
    assert built.trusted.root.version == 1
    built.write(layout.root(2), follow(built, Step((0, 1, 2), 3, (0, 1, 2)))[1])
    assert built.trusted.root.version == 2


@scenario(
    *each("keys::test_keytype_and_scheme", ["rsa/rsassa-pss-sha256", "ecdsa/ecdsa-sha2-nistp256"]),
    "keys::test_keytype_and_scheme[ed25519/ed25519]",
)
@pytest.mark.parametrize("size", [0, 31, 33, 65, 270])
def test_keytype_and_scheme(size: int) -> None:
    """One kind of key, so none is negotiated: other sizes are no Ed25519 keys; a forged one is no vote."""
    built = released(held_by((0,), 1))
    root, data = follow(built, Step((0, 1), 2, (0, 1)))
    built.write(layout.root(2), data)
    assert built.trusted.root.version == 2
    sealed = envelope.parse(data, kind="root", subject="")
    forged = tuple(
        replace(entry, value=bytes(64)) if entry.key_id == root.keys[1].key_id else entry
        for entry in sealed.signatures
    )
    built.write(layout.root(2), envelope.serialise(replace(sealed, signatures=forged)))
    assert built.trusted.root.version == 1
    other = replace(root, keys=(root.keys[0], replace(root.keys[1], public=b"\x04" * size)), threshold=1)
    built.write(layout.root(2), signed_by(built, other, (0,)))
    assert built.trusted.root.version == 1
