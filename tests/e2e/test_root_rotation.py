"""Roots: founded by several, rotated under the old and the new threshold, renewed, replaced out of band."""

from pathlib import Path

import pytest

from tests.builders import CONTENT, NOW, Built, Draws, solo
from tests.e2e.drafting_parts import SOLO, apply, change, joining, keys_of, person, rotate, signed
from vault import memory, policyfile
from vault.actions import applying, ballots, draft_files, drafting
from vault.actions import init as new_vault
from vault.actions.draft_files import Draft
from vault.actions.init import Founders
from vault.core import layout, names
from vault.core.memory_format import Mark, Memory
from vault.core.names import Principal
from vault.errors import Conflict, DigestMismatch, Expired, Refused, UntrustedSigner
from vault.keys.identity_file import Identity
from vault.storage.memory import MemoryStore

ANN, BEN, CY = person("ann"), person("ben"), person("cy")
NOBODY: list[Identity] = []


@pytest.fixture
def built() -> Built:
    made = solo(seed="rotation")
    made.promote(made.publish())
    return made


def drafted(built: Built, threshold: int, *holders: Identity, keep: bool = True) -> list[Draft]:
    """Draft a root of the owner, unless `keep` is false, and these people; the policy comes first."""
    for identity in holders:
        built.identities[identity.name] = identity
    chosen = {Principal("owner"): ()} if keep else {}
    root, policy = drafting.root_draft(
        built.session(),
        {**chosen, **{Principal(entry.name): [entry.public] for entry in holders}},
        threshold=threshold,
    )
    return [one for one in (policy, root) if one is not None]


def refused(built: Built, drafts: list[Draft]) -> UntrustedSigner:
    before = dict(built.store.objects)
    with pytest.raises(UntrustedSigner) as caught:
        apply(built, *drafts)
    assert caught.value.code == "threshold-not-met"
    assert built.store.objects == before
    return caught.value


def test_from_one_owner_to_two_of_three(built: Built, tmp_path: Path) -> None:
    done = rotate(built, tmp_path, {"owner": NOBODY, "ann": [ANN], "ben": [BEN]}, 2, "owner", "ben")
    assert (done.policy, done.root) == (2, 2)
    root = built.trusted.root
    assert (root.version, root.threshold, root.expires) == (2, 2, "2028-11-22T05:00:00Z")
    assert built.read("churn@prod", env="prod") == CONTENT
    assert built.policy.expires == "2027-11-23T05:00:00Z", "with several holders a policy expires"


def test_a_root_that_only_the_old_holders_signed_is_not_applied(built: Built, tmp_path: Path) -> None:
    error = refused(built, signed(built, tmp_path, drafted(built, 2, ANN, BEN), "owner"))
    assert "ann, ben" in error.message


def test_a_root_that_only_the_new_holders_signed_is_not_applied(built: Built, tmp_path: Path) -> None:
    error = refused(built, signed(built, tmp_path, drafted(built, 2, ANN, BEN), "ann", "ben"))
    assert "owner" in error.message


def test_a_root_without_its_policy_is_not_applied_where_the_old_policy_would_not_count(
    built: Built, tmp_path: Path
) -> None:
    policy, root = signed(built, tmp_path, drafted(built, 2, ANN, BEN), "owner", "ann")
    assert policy.kind == "policy"
    error = refused(built, [root])
    assert "would not count" in error.message
    assert "name both files" in error.hint


def test_a_policy_applied_without_its_root_harms_nothing_and_the_root_can_follow(
    built: Built, tmp_path: Path
) -> None:
    policy, root = signed(built, tmp_path, drafted(built, 2, ANN, BEN), "owner", "ann")
    assert apply(built, policy).root is None
    assert built.read("churn@prod", env="prod") == CONTENT
    done = apply(built, policy, root)
    assert (done.policy, done.root, built.trusted.root.version) == (2, 2, 2)


def test_a_root_is_not_applied_over_a_policy_that_was_stored_without_the_new_signatures(
    built: Built, tmp_path: Path
) -> None:
    policy, root = drafted(built, 2, ANN, BEN)
    (old_only,) = signed(built, tmp_path, [policy], "owner")
    (tmp_path / "both").mkdir()
    both = signed(built, tmp_path / "both", [policy, root], "owner", "ann")
    apply(built, old_only)
    error = refused(built, both)
    assert "would not count" in error.message
    assert built.read("churn@prod", env="prod") == CONTENT
    again = signed(built, tmp_path, [one for one in drafted(built, 2, ANN, BEN) if one], "owner", "ann")
    assert apply(built, *again).root == 2


def test_one_person_with_two_keys_is_one_vote(built: Built, tmp_path: Path) -> None:
    second = person("ann", seed="second")
    root, policy = drafting.root_draft(
        built.session(),
        {
            Principal("owner"): [],
            Principal("ann"): [ANN.public, second.public],
            Principal("ben"): [BEN.public],
        },
        threshold=2,
    )
    assert policy is not None
    built.identities.update({"ann": ANN, "ann2": second})
    made = signed(built, tmp_path, [policy, root], "ann", "ann2")
    for draft in made:
        assert ballots.ballot(built.session(), made).signed(draft) == ("ann",)
    refused(built, made)


def test_a_holder_whom_the_vault_knows_needs_no_file(built: Built, tmp_path: Path) -> None:
    change(built, tmp_path, SOLO + "  ann: {kind: person, roles: [owner]}\n", ANN)
    rotate(built, tmp_path, {"owner": NOBODY, "ann": NOBODY}, 2, "owner", "ann")
    assert {key.name for key in built.trusted.root.keys} == {"owner", "ann"}
    with pytest.raises(ValueError, match="zoe has no key that is known"):
        drafting.root_draft(built.session(), {Principal("zoe"): []}, threshold=1)


@pytest.mark.parametrize("threshold", [0, 3])
def test_a_threshold_that_cannot_be_met_is_a_mistake(built: Built, threshold: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        drafting.root_draft(
            built.session(), {Principal("owner"): [], Principal("ann"): [ANN.public]}, threshold=threshold
        )


def test_a_holder_who_left_the_root_signs_nothing_more(built: Built, tmp_path: Path) -> None:
    rotate(built, tmp_path, {"owner": NOBODY, "ann": [ANN], "ben": [BEN]}, 2, "owner", "ben")
    rotate(built, tmp_path, {"ann": NOBODY, "ben": NOBODY, "cy": [CY]}, 2, "owner", "ben", "ann")
    assert {key.name for key in built.trusted.root.keys} == {"ann", "ben", "cy"}
    text = SOLO + "  ann: {kind: person, roles: [owner]}\n"
    made = drafting.policy_draft(built.session(), policyfile.parse(text, "p.yaml"), keys_of(ANN))
    with pytest.raises(Refused, match="holds no key of the root"):
        signed(built, tmp_path, [made], "owner")
    assert apply(built, *signed(built, tmp_path, [made], "cy", "ann")).policy == 4


def test_a_renewal_keeps_the_people_and_needs_no_new_policy(built: Built, tmp_path: Path) -> None:
    rotate(built, tmp_path, {"owner": NOBODY, "ann": [ANN]}, 2, "owner", "ann")
    root, policy = drafting.root_draft(built.session(), expires="3y")
    assert policy is None
    assert apply(built, *signed(built, tmp_path, [root], "owner", "ann")).root == 3
    assert built.trusted.root.expires == "2029-11-22T05:00:00Z"
    assert built.read("churn@prod", env="prod") == CONTENT


def test_an_expired_root_is_renewed_by_its_holders(built: Built, tmp_path: Path) -> None:
    rotate(built, tmp_path, {"owner": NOBODY, "ann": [ANN]}, 2, "owner", "ann")
    built.now += 3 * 365 * drafting.DAY
    with pytest.raises(Expired):
        built.read("churn@prod", env="prod")
    root, policy = drafting.root_draft(built.session())
    assert policy is None
    apply(built, *signed(built, tmp_path, [root], "owner", "ann"))
    made = drafting.policy_draft(built.session(), policyfile.parse(SOLO, "p.yaml"), {})
    apply(built, *signed(built, tmp_path, [made], "owner", "ann"))
    assert built.read("churn@prod", env="prod") == CONTENT


def test_a_second_rotation_from_the_same_root_is_told_that_it_was_late(built: Built, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = signed(built, tmp_path / "other", drafted(built, 1, BEN), "owner")
    rotate(built, tmp_path, {"owner": NOBODY, "ann": [ANN]}, 2, "owner", "ann")
    with pytest.raises(Conflict, match="does not follow root 2"):
        apply(built, *other)


# --- founded by several ---


def founders(threshold: int) -> Founders:
    return Founders(keys=keys_of(ANN), holders=(joining(ANN), joining(BEN)), threshold=threshold)


TEXT = SOLO + "  ann: {kind: person, roles: [owner]}\n  cy: {kind: person, roles: [owner]}\n"


def begin(store: MemoryStore, threshold: int, seed: str = "") -> tuple[Built, list[Draft], new_vault.Founded]:
    draws = Draws(f"founders {seed}")
    owner = person("owner")
    kept: list[str] = []
    made = new_vault.init(
        store,
        owner,
        policyfile.parse(TEXT, "p.yaml"),
        kind="x25519",
        founders=founders(threshold),
        now=names.time_text(NOW),
        random=draws,
        keep_recovery=kept.append,
    )
    people = {"owner": owner, "ann": ANN, "ben": BEN}
    return Built(store, made.vault, "x25519", people, kept[0], draws), list(made.drafts), made


def sign_founding(folder: Path, drafts: list[Draft], *people: Identity) -> list[Draft]:
    paths = [folder / f"{draft.kind}.json" for draft in drafts]
    for path, draft in zip(paths, drafts, strict=True):
        draft_files.write_new(path, draft)
    for who in people:
        ballots.sign(ballots.founding([draft_files.read(path) for path in paths]), who, paths)
    return [draft_files.read(path) for path in paths]


def test_a_vault_of_several_is_there_once_enough_of_them_have_signed(tmp_path: Path) -> None:
    store = MemoryStore()
    built, drafts, made = begin(store, 2)
    assert not list(store.list("trust/root/"))
    with pytest.raises(UntrustedSigner, match="one more signature"):
        applying.found_vault(store, drafts)
    whole = sign_founding(tmp_path, drafts, BEN)
    applying.found_vault(store, whole)
    applying.found_vault(store, whole)  # an answer may have been lost
    assert built.trusted.root.threshold == 2
    assert set(built.policy.members) == {"owner", "ann"}, "cy has no key yet"
    built.promote(built.publish())
    assert built.read("churn@prod", who="ann", env="prod") == CONTENT
    assert store.objects[layout.README].decode() == new_vault.readme(made.vault, "x25519")


def test_a_founding_that_was_ended_between_policy_and_root_is_done_again(tmp_path: Path) -> None:
    store = MemoryStore()
    built, drafts, _ = begin(store, 2)
    whole = sign_founding(tmp_path, drafts, BEN)
    before = dict(store.objects)
    applying.found_vault(store, whole)
    written = [name for name in store.objects if name not in before]
    assert written == [layout.policy(1), layout.README, layout.root(1)]
    for kept in range(len(written)):
        store.objects = {**before, **{name: store.objects[name] for name in written[:kept]}}
        applying.found_vault(store, whole)
        used = built.fork(forgetful=True)
        used.promote(used.publish())
        assert used.read("churn@prod") == CONTENT


def test_with_a_threshold_of_one_the_owner_alone_founds_it() -> None:
    built, drafts, _ = begin(MemoryStore(), 1)
    assert drafts == []
    assert {key.name for key in built.trusted.root.keys} == {"owner", "ann", "ben"}


def test_two_foundings_of_one_place_meet_and_one_is_told(tmp_path: Path) -> None:
    store = MemoryStore()
    _, first, _ = begin(store, 2)
    _, second, _ = begin(store, 2, "second")
    (tmp_path / "second").mkdir()
    applying.found_vault(store, sign_founding(tmp_path, first, BEN))
    later = sign_founding(tmp_path / "second", second, ANN)
    with pytest.raises(Conflict, match="another vault already"):
        applying.found_vault(store, later)


def test_founding_needs_both_drafts_and_of_one_vault(tmp_path: Path) -> None:
    _, (policy, root), _ = begin(MemoryStore(), 2)
    other_store = MemoryStore()
    other = new_vault.init(
        other_store,
        person("owner"),
        policyfile.parse(TEXT, "p.yaml"),
        kind="x25519",
        founders=founders(2),
        now=names.time_text(NOW),
        random=Draws("others"),
        keep_recovery=lambda _: None,
    )
    for given in ([root], [policy]):
        with pytest.raises(ValueError, match="founded by"):
            applying.found_vault(MemoryStore(), given)
    with pytest.raises(DigestMismatch) as caught:
        applying.found_vault(MemoryStore(), [other.drafts[0], root])
    assert caught.value.code == "misplaced"


# --- out of band ---


def test_a_pin_is_replaced_only_by_word_and_the_memory_of_the_old_vault_stays(tmp_path: Path) -> None:
    pins = memory.Pins(tmp_path)
    old, new = "ab" * 32, "cd" * 32
    pins.add("/vault", old, now=NOW)
    with pytest.raises(Conflict) as caught:
        pins.add("/vault", new, now=NOW)
    assert "--replace" in caught.value.hint
    assert pins.add("/vault", new, now=NOW + 1, replace=True).root == new
    found = pins.get("/vault")
    assert found is not None
    assert found.root == new
    assert pins.add("/vault", new, now=NOW + 9, replace=True).added == names.time_text(NOW + 1)


def test_memory_goes_by_the_vaults_id_so_that_another_pin_starts_with_none(tmp_path: Path) -> None:
    old = memory.ClientMemory("ab" * 32, tmp_path)
    old.advance(Memory("ab" * 32, root=Mark(0, 7, "0" * 64)))
    assert memory.ClientMemory("cd" * 32, tmp_path).load().root is None
    assert memory.ClientMemory("ab" * 32, tmp_path).load().root is not None
