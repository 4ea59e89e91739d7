"""Nobody turns back time: rollback, fast-forward, withholding, root rotation, stale trust, endless data.

The scenarios are those of the update frameworks (TUF, section 1.5), told of a vault.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.attacks.vault_damage import CONTENT, OLDER, grown
from tests.attacks.vault_forgeries import Value
from tests.attacks.vault_mixing import check, outcome, resigned, revoked, skipped, without
from tests.builders import NOW, Built, new_identity, solo, team
from vault.core import envelope, layout, limits, names, policy_document, trust
from vault.core.names import Digest, Principal
from vault.core.policy import Policy
from vault.core.trust import Root, RootKey
from vault.errors import Conflict, Rollback, VaultError
from vault.storage.memory import MemoryStore

IN_PROD = "channels/prod/main/churn/@/"
THIRD = {"model.json": b'{"w":3}'}


# --- rollback ---


@pytest.mark.parametrize(
    ("gone", "new_client"),
    [
        (f"{IN_PROD}000002.json", OLDER),
        ("trust/policy/000002.json", "withheld"),
        ("models/churn/@/2/manifest.json", "not-found"),
    ],
)
def test_what_was_seen_in_force_cannot_be_deleted_unnoticed(gone: str, new_client: Any) -> None:
    knowing, new = grown().fork(), grown().fork(forgetful=True)
    for built in (knowing, new):
        del built.store.objects[gone]
    assert outcome(new, "churn@prod") == new_client
    assert outcome(knowing, "churn@prod") == ("not-found" if "manifest" in gone else "rollback")


def test_a_whole_older_copy_of_the_vault_is_a_rollback_for_who_remembers() -> None:
    built = solo(seed="copy")
    built.promote(built.publish(OLDER))
    copy = dict(built.store.objects)
    built.promote(built.publish(CONTENT))
    built.read("churn@prod")
    built.store.objects.clear()
    built.store.objects.update(copy)
    assert outcome(built, "churn@prod") == "rollback"
    assert outcome(built, "churn") == "rollback"
    assert outcome(built, "churn:1") == OLDER  # what it names has not changed
    assert outcome(built.fork(forgetful=True), "churn@prod") == OLDER


def test_the_old_record_under_the_new_number_is_absent_and_so_a_rollback() -> None:
    built = grown().fork()
    built.write(f"{IN_PROD}000002.json", built.store.objects[f"{IN_PROD}000001.json"])
    assert outcome(built, "churn@prod") == "rollback"
    assert outcome(built.fork(forgetful=True), "churn@prod") == OLDER


def test_the_loser_of_a_race_served_later_is_a_rollback() -> None:
    built = grown().fork()
    built.read("churn@prod")
    loser = replace(built.record("churn:1", 2), created=names.time_text(NOW + 1))
    built.write_record(loser)  # as genuine as the winner, under the same number
    assert outcome(built, "churn@prod") == "rollback"
    assert outcome(built.fork(forgetful=True), "churn@prod") == OLDER


@pytest.mark.parametrize("ref", ["churn:1", "churn"])
def test_another_genuine_manifest_under_a_known_version_is_a_rollback(ref: str) -> None:
    built = solo(seed="again")
    built.publish(CONTENT)
    built.read(ref)
    fork = built.fork(forgetful=True)
    del fork.store.objects["models/churn/@/1/manifest.json"]
    fork.publish(OLDER)
    again = built.fork()
    again.store.objects.clear()
    again.store.objects.update(fork.store.objects)
    assert outcome(again, ref) == "rollback"
    assert outcome(fork, ref) == OLDER


def test_another_policy_under_a_known_number_is_a_rollback() -> None:
    built = grown().fork()
    name = layout.policy(2)
    built.write(
        name, resigned(built, name, "policy", lambda doc: doc.update(expires=names.time_text(2**32)), "owner")
    )
    assert outcome(built, "churn@prod") == "rollback"
    assert outcome(built.fork(forgetful=True), "churn@prod") == "withheld"  # records name the other one


# --- what is not a rollback ---


@pytest.mark.parametrize("change", [without("dora"), revoked("dora")], ids=["removed", "revoked"])
def test_a_newest_version_that_the_policy_no_longer_accepts_gives_way_even_to_who_remembers(
    change: Callable[[Policy], Policy],
) -> None:
    built = team()
    built.publish(OLDER)
    built.publish(CONTENT, who="dora")
    assert outcome(built, "churn") == CONTENT
    built.amend(change)
    assert outcome(built, "churn") == OLDER


def test_a_newest_version_that_was_withdrawn_gives_way_even_to_who_remembers() -> None:
    built = solo(seed="withdrawn")
    built.publish(OLDER)
    built.publish(CONTENT)
    assert outcome(built, "churn") == CONTENT
    built.write_record(built.record(None, 1, env="dev", bars=("churn:2",)))
    assert outcome(built, "churn") == OLDER
    assert outcome(built, "churn:2") == "barred"


def test_stripping_the_signature_of_a_known_newest_version_is_a_rollback_all_the_same() -> None:
    built = solo(seed="stripped")
    built.publish(OLDER)
    built.publish(CONTENT)
    name = "models/churn/@/2/manifest.json"
    sealed = envelope.parse(built.store.objects[name], kind="manifest", subject="")
    built.write(name, envelope.serialise(replace(sealed, signatures=())))
    assert outcome(built, "churn") == "rollback"


class Between(MemoryStore):
    """A store in which somebody acts once between a reader's look at the policy and at the channel."""

    act: Callable[[], object] | None = None

    def list_folders(self, prefix: str) -> Iterator[str]:
        """List, after acting where a channel is looked at."""
        if prefix.startswith("channels/") and self.act is not None:
            act, self.act = self.act, None
            act()
        return super().list_folders(prefix)


def test_a_policy_signed_and_used_while_a_load_is_under_way_is_not_being_withheld() -> None:
    built = solo(seed="between")
    built.promote(built.publish(OLDER))
    store = Between(built.store.objects)

    def act() -> None:
        built.amend(lambda before: before)
        built.promote(built.publish(CONTENT))

    store.act = act
    reader = built.fork()
    assert reader.read("churn@prod", session=reader.session(store=store)) == CONTENT


# --- fast-forward ---


@pytest.mark.parametrize("name", [f"{IN_PROD}9999999999999999.json", "trust/policy/9999999999999999.json"])
def test_a_strangers_highest_number_moves_nothing(name: str) -> None:
    folder = name.rpartition("/")[0]
    genuine = (grown().store.objects[f"{folder}/{number:06d}.json"] for number in (1, 2))
    for data in (b"garbage", *genuine):
        built = grown().fork()
        built.write(name, data)
        assert outcome(built, "churn@prod") == CONTENT
        assert any("9999999999999999" in subject for subject in skipped(check(built)))
        assert not built.promote(built.publish(THIRD)).already
        assert outcome(built, "churn@prod") == THIRD


def test_a_promoter_who_uses_up_the_numbers_is_told_of_and_stops_promotions_not_loads() -> None:
    built = solo(seed="forward")
    built.publish(OLDER)
    built.promote(built.publish(CONTENT))
    built.write_record(built.record("churn:2", limits.NUMBER_MAX))
    assert outcome(built, "churn@prod") == CONTENT
    with pytest.raises(Conflict):
        built.promote("churn:1")
    assert outcome(built, "churn@prod") == CONTENT


def test_a_policy_with_the_highest_number_is_in_force_and_its_predecessor_a_rollback() -> None:
    built = solo(seed="forward")
    built.promote(built.publish(CONTENT))
    last = replace(built.policy, version=limits.NUMBER_MAX, prev=built.policy_id.digest)
    built.write(layout.policy(last.version), built.sign("policy", policy_document.encode(last), "owner"))
    assert outcome(built, "churn@prod") == CONTENT
    del built.store.objects[layout.policy(last.version)]
    assert outcome(built, "churn@prod") == "rollback"


# --- withholding ---


@pytest.mark.parametrize("place", ["policy", "digest"])
def test_a_record_of_a_policy_that_is_not_served_is_refused_not_skipped(place: str) -> None:
    built = solo(seed="withheld")
    built.promote(built.publish(OLDER))
    name = f"{IN_PROD}000001.json"
    newer = {"version": 2} if place == "policy" else {"digest": "00" * 32}
    built.write(name, resigned(built, name, "channel", lambda doc: doc["policy"].update(newer), "owner"))
    assert outcome(built.fork(forgetful=True), "churn@prod") == "withheld"


def test_a_policy_of_a_root_that_is_not_served_is_refused() -> None:
    built = solo(seed="withheld")
    built.amend(lambda before: replace(before, root_version=2))
    with pytest.raises(Rollback) as caught:
        built.publish(OLDER)
    assert caught.value.code == "withheld"


# --- roots ---


def next_root(built: Built, number: int, threshold: int, *keys: tuple[str, bytes], **change: Any) -> bytes:
    """Make the payload of a root that follows root 1."""
    root = Root(
        version=number,
        vault=built.vault,
        prev=built.vault,
        created=built.time,
        expires=None,
        threshold=threshold,
        keys=tuple(RootKey(Principal(name), public) for name, public in keys),
        nonce=bytes(16),
    )
    return trust.encode(replace(root, **change))


def rotated(*signers: str, **change: Any) -> Built:
    """Build a vault whose root 2 hands over from the owner to ann, signed by `signers`."""
    built = solo(seed="rotation")
    built.promote(built.publish(CONTENT))
    built.identities["ann"] = new_identity("ann")
    payload = next_root(built, 2, 1, ("ann", built.identities["ann"].public), **change)
    built.write(layout.root(2), built.sign("root", payload, *signers))
    return built.fork(forgetful=True)


def test_a_root_signed_by_old_and_new_keys_follows_and_takes_the_policies_of_the_old_one_with_it() -> None:
    built = rotated("owner", "ann")
    assert outcome(built, "churn@prod") == "not-found"  # there is no policy that the new root signed
    name = layout.policy(1)
    built.write(layout.policy(2), resigned(built, name, "policy", lambda doc: doc.update(version=2), "ann"))
    assert outcome(built, "churn@prod") == CONTENT
    assert built.trusted.root.version == 2
    built.write(layout.policy(3), resigned(built, name, "policy", lambda doc: doc.update(version=3), "owner"))
    assert outcome(built, "churn@prod") == CONTENT
    assert skipped(check(built)) >= {"policy 1", "policy 3"}


@pytest.mark.parametrize("signers", [("owner",), ("ann",), ()], ids=["only old", "only new", "nobody"])
def test_a_root_signed_by_old_or_new_keys_alone_is_absent(signers: tuple[str, ...]) -> None:
    built = rotated(*signers)
    assert built.trusted.root.version == 1
    assert outcome(built, "churn@prod") == CONTENT
    assert skipped(check(built)) == {"root 2"}


@pytest.mark.parametrize(
    "change", [{"version": 3}, {"prev": Digest("00" * 32)}, {"vault": Digest("00" * 32)}], ids=str
)
def test_a_root_that_does_not_follow_is_absent(change: dict[str, Any]) -> None:
    built = rotated("owner", "ann", **change)
    assert built.trusted.root.version == 1
    assert outcome(built, "churn@prod") == CONTENT


def test_a_root_that_was_seen_cannot_be_taken_back() -> None:
    built = rotated("owner", "ann").fork(forgetful=False)
    built.forgetful = False
    name = layout.policy(1)
    built.write(layout.policy(2), resigned(built, name, "policy", lambda doc: doc.update(version=2), "ann"))
    assert outcome(built, "churn@prod") == CONTENT
    del built.store.objects[layout.root(2)]
    assert outcome(built, "churn@prod") == "rollback"


def founded(threshold: int, *keys: tuple[str, bytes], signers: tuple[str, ...], **change: Any) -> Built:
    """Build a vault and replace its root 1 and policy 1, and the pin with them."""
    built = solo(seed="thresholds")
    built.promote(built.publish(CONTENT))
    built.identities |= {"second": new_identity("owner", seed="second key"), "ann": new_identity("ann")}
    people = keys or (("owner", built.owner.public),)
    payload = next_root(built, 1, threshold, *people, vault=None, prev=None, **change)
    built.vault = envelope.digest(payload)
    built.write(layout.root(1), built.sign("root", payload, *signers))
    return built.fork(forgetful=True)


def two_people() -> tuple[tuple[str, bytes], ...]:
    """List the owner with two keys, and ann with one."""
    second, ann = new_identity("owner", seed="second key"), new_identity("ann")
    owner = new_identity("owner", seed="thresholds")
    return ("owner", owner.public), ("owner", second.public), ("ann", ann.public)


def test_one_persons_two_keys_are_one_vote() -> None:
    built = founded(2, *two_people(), signers=("owner", "second"))
    assert outcome(built, "churn@prod") == "threshold-not-met"
    name = layout.policy(1)

    def move(doc: Value) -> None:
        doc.update(vault=built.vault, root={"digest": built.vault, "version": 1})

    built = founded(2, *two_people(), signers=("owner", "ann"))
    for who, counts in ((("owner", "second"), False), (("owner",), False), (("owner", "ann"), True)):
        fork = built.fork(forgetful=True)
        fork.write(name, resigned(fork, name, "policy", move, *who))
        # That a policy is in force is told by the next complaint: the manifest is of the vault before.
        assert outcome(fork, "churn:1") == ("misplaced" if counts else "not-found")


def test_a_threshold_above_the_people_of_a_root_is_refused() -> None:
    assert outcome(founded(3, *two_people(), signers=("owner", "ann")), "churn@prod") == "malformed-document"


def test_an_expired_policy_or_root_stops_every_load() -> None:
    built = solo(seed="expiry")
    built.promote(built.publish(CONTENT))
    soon = names.time_text(NOW + 10)
    built.amend(lambda before: replace(before, expires=soon))
    assert outcome(built, "churn@prod") == CONTENT
    for later in (10, 11, 10**8):
        built.now = NOW + later
        assert outcome(built, "churn@prod") == "expired"

    built = founded(1, signers=("owner",), expires=soon)
    name = layout.policy(1)
    move = {"vault": built.vault, "root": {"digest": built.vault, "version": 1}}
    built.write(name, resigned(built, name, "policy", lambda doc: doc.update(move), "owner"))
    assert outcome(built, "churn:1") == "misplaced"
    built.now = NOW + 10
    assert outcome(built, "churn:1") == "expired"


# --- an open session ---


def test_an_open_session_sees_that_the_policy_changed() -> None:
    built = team()
    built.publish(CONTENT, who="dora")
    session = built.session()
    assert built.read("churn:1", session=session) == CONTENT
    built.amend(revoked("dora"))
    with pytest.raises(VaultError) as caught:
        built.read("churn:1", session=session)
    assert caught.value.code == "untrusted-signer"


def test_an_open_session_of_somebody_who_left_is_refused() -> None:
    built = team()
    built.publish(CONTENT)
    session = built.session("dora")
    assert built.read("churn:1", session=session) == CONTENT
    built.amend(without("dora"))
    with pytest.raises(VaultError) as caught:
        built.read("churn:1", session=session)
    assert caught.value.code == "access-denied"


def test_an_open_session_sees_that_the_root_changed_under_a_policy_that_it_holds() -> None:
    built = solo(seed="rotation")
    built.promote(built.publish(CONTENT))
    session = built.session()
    assert built.read("churn@prod", session=session) == CONTENT
    built.identities["ann"] = new_identity("ann")
    payload = next_root(built, 2, 1, ("ann", built.identities["ann"].public))
    built.write(layout.root(2), built.sign("root", payload, "owner", "ann"))
    with pytest.raises(VaultError) as caught:
        built.read("churn@prod", session=session)
    assert caught.value.code == "not-found"


def test_an_open_session_does_not_follow_a_policy_back() -> None:
    built = grown().fork()
    session = built.session()
    assert built.read("churn@prod", session=session) == CONTENT
    del built.store.objects[layout.policy(2)]
    with pytest.raises(Rollback):
        built.read("churn@prod", session=session)
