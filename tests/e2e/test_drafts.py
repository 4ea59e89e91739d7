"""Drafts of policies: compiled from a file, signed in turn, applied once; keys come, go and are replaced."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.attacks.vault_mixing import check
from tests.builders import CHURN, CONTENT, DEV, NOW, PROD, Built, age_key, new_identity, solo
from tests.e2e.drafting_parts import SOLO, apply, change, draft, keys_of, person, rotate, signed
from tests.faults import FaultyStore, Operation
from vault import policyfile
from vault.actions import applying, ballots, compiling, draft_files, drafting
from vault.core import ed25519, layout, limits, names, policy_document, public_identity
from vault.core import policy as policies
from vault.core.names import Principal
from vault.errors import (
    AccessDenied,
    Conflict,
    NotFound,
    NoUsableKey,
    Refused,
    Rollback,
    UntrustedSigner,
)
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore

ANN, BEN, CY = person("ann"), person("ben"), person("cy")
SECOND = person("ann", seed="a new laptop")


def with_people(*lines: str, text: str = SOLO) -> str:
    """Give the one-owner policy with more principals."""
    return text + "".join(f"  {line}\n" for line in lines)


ANN_TOO = with_people("ann: {kind: person, roles: [owner]}")


@pytest.fixture
def built() -> Built:
    made = solo(seed="drafts")
    made.promote(made.publish())
    return made


# --- drafting ---


def test_a_draft_follows_what_is_in_force_and_changes_nothing_by_itself(built: Built) -> None:
    before, made_by = built.policy, built.policy_id
    made = draft(built, ANN_TOO, ANN)
    assert made.kind == "policy"
    assert made.envelope.signatures == ()
    after = made.document
    assert (after.version, after.prev, after.era) == (before.version + 1, made_by.digest, 0)  # type: ignore[union-attr]
    assert after.expires is None, "with one owner nothing expires"
    assert built.policy == before


def test_whoever_is_in_force_keeps_keys_and_somebody_new_needs_a_public_identity(built: Built) -> None:
    with pytest.raises(NotFound, match="no public identity of ann") as caught:
        draft(built, ANN_TOO)
    assert "mvault identity export > ann.pub" in caught.value.hint
    change_to = draft(built, ANN_TOO, ANN).document
    assert change_to.members["owner"] == built.policy.members["owner"]  # type: ignore[union-attr, index]


def test_public_identities_are_found_beside_the_file(tmp_path: Path) -> None:
    folder = tmp_path / compiling.IDENTITIES
    folder.mkdir()
    for name, who in (("ann.pub", ANN), ("ann.2.pub", SECOND), ("a.2.pub", BEN), ("stranger.pub", CY)):
        found = public_identity.PublicIdentity(
            Principal("any"), ed25519.PublicKey.parse(who.public), who.recipient
        )
        (folder / name).write_bytes(public_identity.encode(found))
    (folder / "notes.txt").write_text("mine")
    found_there = compiling.found_beside(tmp_path / "p.yaml", [Principal("ann"), Principal("a.2")])
    assert {name: {entry.public for entry in entries} for name, entries in found_there.items()} == {
        "ann": {ANN.public, SECOND.public},
        "a.2": {BEN.public},
    }
    assert compiling.found_beside(tmp_path / "elsewhere" / "p.yaml", [Principal("ann")]) == {}


def test_owner_in_a_file_stands_for_whoever_drafts(built: Built) -> None:
    """A team's file that says `owner` fits a vault whose owner has a name."""
    renamed = replace(
        built.policy,
        members={Principal("zoe"): replace(built.policy.members[Principal("owner")], name=Principal("zoe"))},
    )
    built.amend(lambda _: renamed)
    made = draft(built, with_people("bot: {kind: service, owners: [owner], roles: [loader]}"), person("bot"))
    members = made.document.members  # type: ignore[union-attr]
    assert set(members) == {"zoe", "bot"}
    assert members[Principal("bot")].owners == ("zoe",)


def test_an_age_key_of_another_kind_is_told_before_anything_is_written(built: Built) -> None:
    before = dict(built.store.objects)
    with pytest.raises(ValueError, match="one kind is used throughout"):
        draft(built, ANN_TOO, new_identity("ann", "mlkem768x25519"))
    assert built.store.objects == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90d", "2027-02-21"),
        ("2w", "2026-12-07"),
        ("1m", "2026-12-23"),
        ("1y", "2027-11-23"),
        ("never", None),
    ],
)
def test_how_long_a_policy_lasts_is_said_in_days_weeks_months_or_years(
    text: str, expected: str | None
) -> None:
    found = drafting.lasting(text, NOW)
    assert (found and found[:10]) == expected


@pytest.mark.parametrize("text", ["", "0d", "1", "1h", "123456d", "\u0661d", "1y "])
def test_any_other_length_of_time_is_a_mistake(text: str) -> None:
    with pytest.raises(ValueError, match="no length of time"):
        drafting.lasting(text, NOW)


# --- signing and applying ---


def test_an_applied_policy_is_in_force_for_everybody(built: Built, tmp_path: Path) -> None:
    done = change(built, tmp_path, ANN_TOO, ANN)
    assert (done.policy, done.root, done.already) == (2, None, False)
    assert done.granted == ((DEV, "ann"), (PROD, "ann"))
    assert built.read("churn@prod", who="ann", env="prod") == CONTENT
    built.publish({"model.json": b"[2]"}, who="ann")
    assert built.read("churn", who="owner") == {"model.json": b"[2]"}


def test_applying_the_same_draft_again_is_no_error(built: Built, tmp_path: Path) -> None:
    made = signed(built, tmp_path, [draft(built, ANN_TOO, ANN)], "owner")
    assert not apply(built, *made).already
    before = dict(built.store.objects)
    assert apply(built, *made).already
    assert built.store.objects == before


def test_a_draft_that_nobody_or_too_few_signed_is_not_applied(built: Built, tmp_path: Path) -> None:
    made = draft(built, ANN_TOO, ANN)
    before = dict(built.store.objects)
    with pytest.raises(UntrustedSigner) as caught:
        apply(built, made)
    assert caught.value.code == "threshold-not-met"
    assert "owner" in caught.value.message
    assert built.store.objects == before


def test_who_holds_no_root_key_cannot_sign(built: Built, tmp_path: Path) -> None:
    change(built, tmp_path, ANN_TOO, ANN)
    with pytest.raises(AccessDenied, match="holds no key of the root") as caught:
        signed(built, tmp_path, [draft(built, ANN_TOO)], "ann")
    assert "owner" in caught.value.hint


def test_signatures_on_two_copies_of_a_draft_are_put_together(built: Built, tmp_path: Path) -> None:
    change(built, tmp_path, ANN_TOO, ANN)
    rotate(built, tmp_path, {"owner": [], "ann": [ANN]}, 2, "owner", "ann")
    made = draft(built, ANN_TOO)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (one,) = signed(built, tmp_path / "a", [made], "owner")
    (other,) = signed(built, tmp_path / "b", [made], "ann")
    for alone in (one, other):
        with pytest.raises(UntrustedSigner, match="one more signature"):
            apply(built, alone)
    assert apply(built, one, other).policy == made.document.version


def test_a_policy_of_several_holders_lasts_a_year(built: Built, tmp_path: Path) -> None:
    change(built, tmp_path, ANN_TOO, ANN)
    rotate(built, tmp_path, {"owner": [], "ann": [ANN]}, 2, "owner", "ann")
    assert draft(built, ANN_TOO).document.expires == "2027-11-23T05:00:00Z"
    assert draft(built, ANN_TOO, expires="never").document.expires is None


def test_the_status_tells_who_signed_and_who_is_missing(built: Built, tmp_path: Path) -> None:
    change(built, tmp_path, ANN_TOO, ANN)
    rotate(built, tmp_path, {"owner": [], "ann": [ANN], "ben": [BEN]}, 2, "owner", "ann")
    (made,) = signed(built, tmp_path, [draft(built, SOLO)], "owner")
    found = applying.status(built.session(), [made])
    assert found.policy is not None
    assert found.root is not None
    assert (found.policy.version, found.policy.signed) == (3, ("ann", "owner"))
    assert (found.root.version, found.threshold, found.holders) == (2, 2, ("owner", "ann", "ben"))
    (standing,) = found.drafts
    assert standing.signed == ("owner",)
    assert [(lack.more, lack.waiting) for lack in standing.missing] == [(1, ("ann", "ben"))]
    assert found.change is not None
    assert [entry.name for entry in found.change.principals] == ["ann"]


# --- races and kills ---


def test_of_two_drafts_the_second_to_be_applied_is_told_what_happened(built: Built, tmp_path: Path) -> None:
    (one,) = signed(built, tmp_path, [draft(built, ANN_TOO, ANN)], "owner")
    (tmp_path / "other").mkdir()
    two_text = with_people("ben: {kind: person, roles: [owner]}")
    (two,) = signed(built, tmp_path / "other", [draft(built, two_text, BEN)], "owner")
    apply(built, one)
    with pytest.raises(Conflict, match="does not follow policy 2") as caught:
        apply(built, two)
    assert "Draft it anew" in caught.value.hint
    assert "ben" not in built.policy.members


@pytest.mark.parametrize("moment", ["before", "after"])
def test_of_two_who_apply_at_once_one_wins_and_the_other_is_told(
    built: Built, tmp_path: Path, moment: str
) -> None:
    (one,) = signed(built, tmp_path, [draft(built, ANN_TOO, ANN)], "owner")
    (tmp_path / "other").mkdir()
    two_text = with_people("ben: {kind: person, roles: [owner]}")
    (two,) = signed(built, tmp_path / "other", [draft(built, two_text, BEN)], "owner")
    rival = built.session()
    raced: list[object] = []

    def hook(operation: Operation, when: str) -> None:
        here = (operation.verb, operation.name, when) == ("commit", layout.policy(2), moment)
        if here and not raced:
            raced.append(operation)
            try:
                applying.apply(rival, [two])
                raced.append("won")
            except Conflict:
                raced.append("lost")

    session = built.session(store=FaultyStore(built.store, on_operation=hook))
    if moment == "before":
        with pytest.raises(Conflict, match="another policy was first"):
            applying.apply(session, [one])
        assert raced[1] == "won"
        assert "ben" in built.policy.members
    else:
        applying.apply(session, [one])
        assert raced[1] == "lost"
        assert "ann" in built.policy.members


def test_the_same_draft_applied_by_two_people_at_once_is_applied(built: Built, tmp_path: Path) -> None:
    change(built, tmp_path, ANN_TOO, ANN)
    rotate(built, tmp_path, {"owner": [], "ann": [ANN]}, 1, "owner", "ann")
    made = draft(built, ANN_TOO)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (one,) = signed(built, tmp_path / "a", [made], "owner")
    (other,) = signed(built, tmp_path / "b", [made], "ann")
    rival = built.session("ann")
    done: list[object] = []

    def hook(operation: Operation, when: str) -> None:
        if (operation.verb, when) == ("commit", "before") and not done:
            done.append(applying.apply(rival, [other]))

    applying.apply(built.session(store=FaultyStore(built.store, on_operation=hook)), [one])
    assert built.policy_id.digest == made.digest


def test_two_people_who_sign_one_file_at_once_lose_no_signature(built: Built, tmp_path: Path) -> None:
    change(built, tmp_path, ANN_TOO, ANN)
    rotate(built, tmp_path, {"owner": [], "ann": [ANN]}, 2, "owner", "ann")
    path = tmp_path / "shared.json"
    made = draft(built, ANN_TOO)
    draft_files.write_new(path, made)
    children = []
    for name in ("owner", "ann"):
        session = built.session(name)
        found = ballots.ballot(session, [made])
        child = os.fork()
        if child == 0:
            try:
                ballots.sign(found, session.identity, [path])
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert len(draft_files.read(path).envelope.signatures) == 2
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")) == []


def killed(folder: Path, act: Callable[[LocalStore], object], index: int, when: str) -> bool:
    """Do something in a child that kills itself at one step; tell whether it came to that."""

    def hook(operation: Operation, moment: str) -> None:
        if operation.index == index and moment == when:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            act(FaultyStore(LocalStore(folder), on_operation=hook))  # type: ignore[arg-type]
        finally:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_apply_that_was_killed_at_any_step_leaves_a_whole_vault_and_is_done_again(
    built: Built, tmp_path: Path, when: str
) -> None:
    """A new root of two with the policy that must go with it: the longest apply that there is."""
    change(built, tmp_path, ANN_TOO, ANN)
    root, policy = drafting.root_draft(
        built.session(), {Principal("owner"): [], Principal("ann"): []}, threshold=2
    )
    assert policy is not None
    # Somebody new joins in the same policy, so that keys are wrapped as well.
    base = built.session().trust()
    joined = drafting.policy_draft(
        built.session(), policyfile.parse(with_people(*PEOPLE), "p.yaml"), keys_of(BEN)
    )
    assert base.policy.version == 2
    drafts = signed(built, tmp_path, [joined, root], "owner", "ann")

    def act(store: LocalStore) -> object:
        return applying.apply(built.fork(forgetful=True).session(store=store), drafts)

    rehearsal = tmp_path / "rehearsal"
    on_disk(built, rehearsal)
    watched = FaultyStore(LocalStore(rehearsal))
    act(watched)  # type: ignore[arg-type]
    steps = [step for step in watched.operations if step.changes]
    assert [step.name for step in steps if step.verb == "commit"][:2] == [layout.policy(3), layout.root(2)]
    for step in steps:
        folder = tmp_path / f"{step.index}"
        on_disk(built, folder)
        assert killed(folder, act, step.index, when)
        again = built.fork(forgetful=True)
        again.store = LocalStore(folder)  # type: ignore[assignment]
        assert again.read("churn@prod") == CONTENT
        assert not [entry for entry in check(again).findings if entry.level == "bad"]
        applying.apply(again.session(), drafts)
        assert (again.trusted.root.version, again.policy.version) == (2, 3)
        again.identities["ben"] = BEN
        assert again.read("churn@prod", who="ben", env="prod") == CONTENT


PEOPLE = ("ann: {kind: person, roles: [owner]}", "ben: {kind: person, roles: [owner]}")


def on_disk(built: Built, folder: Path) -> None:
    for name, data in built.store.objects.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


# --- outages ---


def test_a_change_that_would_stop_a_channel_is_refused_unless_that_is_accepted(
    built: Built, tmp_path: Path
) -> None:
    change(built, tmp_path, ANN_TOO, ANN)
    built.promote(built.publish({"model.json": b"[2]"}, who="ann"), who="ann")
    (tmp_path / "next").mkdir()
    made = signed(built, tmp_path / "next", [draft(built, SOLO)], "owner")
    before = dict(built.store.objects)
    with pytest.raises(Refused, match="churn@prod") as caught:
        apply(built, *made)
    assert caught.value.code == "outage"
    assert "--accept-outage" in caught.value.hint
    assert built.store.objects == before
    done = apply(built, *made, accept_outage=True)
    assert {str(stop.channel) for stop in done.stopped} == {"churn@prod", "churn@dev"}
    assert set(done.left) == {(DEV, "ann"), (PROD, "ann")}


def test_a_change_that_stops_nothing_needs_no_word(built: Built, tmp_path: Path) -> None:
    assert change(built, tmp_path, ANN_TOO, ANN).stopped == ()


# --- keys over time ---


def test_a_person_who_leaves_signs_and_reads_nothing_more(built: Built, tmp_path: Path) -> None:
    change(built, tmp_path, ANN_TOO, ANN)
    change(built, tmp_path, SOLO)
    with pytest.raises(AccessDenied):
        built.read("churn@prod", who="ann", env="prod")
    with pytest.raises(AccessDenied):
        built.publish({"model.json": b"[2]"}, who="ann")


def test_a_revoked_key_signs_nothing_more_and_the_new_one_reads(built: Built, tmp_path: Path) -> None:
    change(built, tmp_path, ANN_TOO, ANN)
    stolen = built.identities["ann"]
    text = with_people(f"ann: {{kind: person, roles: [owner], revoked: [{ANN.key_id[:16]}]}}")
    done = change(built, tmp_path, text, SECOND)
    assert set(done.granted) == {(DEV, "ann"), (PROD, "ann")}
    assert set(done.left) == {(DEV, "ann"), (PROD, "ann")}, "the old age key may have been copied"
    member = built.policy.members[Principal("ann")]
    assert [(key.key_id, key.revoked) for key in member.keys] == [(ANN.key_id, True), (SECOND.key_id, False)]
    assert [entry.digest for entry in member.recipients] == [compiling.recipient_id(age_key(SECOND)).digest]
    for act in (lambda: built.publish(who="ann"), lambda: built.read("churn@prod", who="ann", env="prod")):
        with pytest.raises(AccessDenied):
            act()
    built.identities["ann"] = SECOND
    assert built.read("churn@prod", who="ann", env="prod") == CONTENT
    built.publish({"model.json": b"[2]"}, who="ann")
    # A file that no longer mentions it does not bring the key back.
    change(built, tmp_path, ANN_TOO, SECOND)
    built.identities["ann"] = stolen
    with pytest.raises(AccessDenied):
        built.publish({"model.json": b"[3]"}, who="ann")


def test_the_models_of_a_revoked_key_stop_and_the_change_says_so_before(built: Built, tmp_path: Path) -> None:
    change(built, tmp_path, ANN_TOO, ANN)
    built.promote(built.publish({"model.json": b"[2]"}, who="ann"))
    text = with_people(f"ann: {{kind: person, roles: [owner], revoked: [{ANN.key_id}]}}")
    with pytest.raises(Refused) as caught:
        change(built, tmp_path, text, SECOND)
    assert caught.value.code == "outage"


def test_a_retired_key_counts_no_more_without_a_proof(built: Built, tmp_path: Path) -> None:
    change(built, tmp_path, ANN_TOO, ANN)
    head = f"{{origin: log.example, size: 7, root: {'0' * 64}}}"
    text = with_people(f"ann: {{kind: person, roles: [owner], retired: {{{ANN.key_id[:20]}: {head}}}}}")
    change(built, tmp_path, text, SECOND)
    old, new = built.policy.members[Principal("ann")].keys
    assert old.until is not None
    assert old.until.size == 7
    assert new.until is None
    with pytest.raises(AccessDenied):
        built.publish({"model.json": b"[2]"}, who="ann")


def test_a_services_key_is_replaced(built: Built, tmp_path: Path) -> None:
    old, new = person("web"), person("web", seed="replaced")
    line = "web: {kind: service, owners: [owner], roles: [loader]%s}"
    change(built, tmp_path, with_people(line % ""), old)
    assert built.read("churn@prod", who="web", env="prod") == CONTENT
    change(built, tmp_path, with_people(line % f", revoked: [{old.key_id[:16]}]"), new)
    with pytest.raises(AccessDenied):
        built.read("churn@prod", who="web", env="prod")
    built.identities["web"] = new
    assert built.read("churn@prod", who="web", env="prod") == CONTENT


@pytest.mark.parametrize("key", ["0" * 16, "f" * 64])
def test_a_key_that_its_holder_does_not_have_cannot_be_revoked(built: Built, key: str) -> None:
    with pytest.raises(ValueError, match="has no key whose id begins with"):
        draft(built, with_people(f"ann: {{kind: person, roles: [owner], revoked: [{key}]}}"), ANN)


# --- environments ---

STAGING = SOLO.replace("environments:\n", "environments:\n  staging:\n    formats: [json]\n").replace(
    "env: [dev, prod]}", "env: [dev, prod, staging]}"
)


def test_a_new_environment_has_a_key_from_the_start_and_recovery_opens_it(
    built: Built, tmp_path: Path
) -> None:
    text = STAGING.replace("- {actions: [audit.read, log]}", "- {actions: [promote], from: dev, to: staging}")
    change(built, tmp_path, text)
    staging = names.environment("staging")
    assert [epoch.number for epoch in built.policy.environments[staging].epochs] == [1]
    assert built.environment_key("staging").recipient().encode()
    built.promote("churn:1", env="staging")
    assert built.read("churn@staging", env="staging") == CONTENT


def test_the_private_key_of_a_new_environment_is_stored_wrapped_and_nowhere_else(built: Built) -> None:
    made = draft(built, STAGING)
    assert b"AGE-SECRET-KEY" not in made.envelope.payload
    stored = [name for name in built.store.objects if name.startswith("keys/staging/")]
    assert {name.split("/")[4] for name in stored} == {"owner", "recovery"}
    told = [name for name, data in built.store.objects.items() if b"AGE-SECRET-KEY" in data]
    assert told == [layout.README], "it says how a recovery key looks"


def test_an_environment_that_comes_back_gets_another_epoch(built: Built, tmp_path: Path) -> None:
    change(built, tmp_path, STAGING)
    change(built, tmp_path, SOLO)
    change(built, tmp_path, STAGING)
    assert [epoch.number for epoch in built.policy.environments[names.environment("staging")].epochs] == [2]


def test_who_does_not_hold_a_key_leaves_granting_it_to_others(built: Built, tmp_path: Path) -> None:
    text = with_people("ann: {kind: person, roles: [loader]}")
    change(built, tmp_path, text, ANN)
    both = with_people("ann: {kind: person, roles: [loader]}", "ben: {kind: person, roles: [owner]}")
    made = signed(built, tmp_path, [draft(built, both, BEN)], "owner")
    done = apply(built, *made, who="ann")
    assert (DEV, "ben") in done.waiting
    built.identities["ben"] = BEN
    with pytest.raises(NoUsableKey):
        built.read("churn", who="ben")


# --- eras ---


def lose(built: Built, backup: dict[str, bytes]) -> Built:
    """Put a backup back: what was written since is gone; clients remember it."""
    after = built.fork()
    after.store = MemoryStore(dict(backup))
    return after


def test_a_restored_backup_is_a_rollback_until_a_new_era_continues_from_it(
    built: Built, tmp_path: Path
) -> None:
    backup = dict(built.store.objects)
    change(built, tmp_path, ANN_TOO, ANN)
    built.promote(built.publish({"model.json": b"[2]"}))
    built.promote(built.publish({"model.json": b"[0]"}, model="other"))
    built.read("churn@prod", env="prod")
    after = lose(built, backup)
    with pytest.raises(Rollback):
        after.read("churn@prod", env="prod")
    with pytest.raises(Rollback):
        draft(after, SOLO)
    (tmp_path / "era").mkdir()
    change(after, tmp_path / "era", SOLO, new_era=True)
    assert (after.policy.era, after.policy.version) == (1, 2)
    assert after.policy.continues is not None
    assert set(after.policy.continues) == {"prod/main/churn"}
    assert after.read("churn@prod", env="prod") == CONTENT
    with pytest.raises(NotFound):
        after.read("other@prod", env="prod")
    assert after.read("churn") == CONTENT, "a version that was lost is not missed any more"
    after.promote(after.publish({"model.json": b"[9]"}))
    assert after.read("churn@prod", env="prod") == {"model.json": b"[9]"}


def test_what_was_lost_cannot_be_put_back_above_a_new_era(built: Built, tmp_path: Path) -> None:
    backup = dict(built.store.objects)
    built.promote(built.publish({"model.json": b"[2]"}))
    lost = {name: data for name, data in built.store.objects.items() if name not in backup}
    after = lose(built, backup)
    change(after, tmp_path, SOLO, new_era=True)
    after.store.objects.update(lost)
    assert after.read("churn@prod", env="prod") == CONTENT


def test_a_named_channel_that_is_withheld_in_a_new_era_is_a_rollback(built: Built, tmp_path: Path) -> None:
    change(built, tmp_path, SOLO, new_era=True)
    built.read("churn@prod", env="prod")
    for name in [name for name in built.store.objects if name.startswith("channels/")]:
        del built.store.objects[name]
    with pytest.raises(Rollback):
        built.read("churn@prod", env="prod")


def test_a_new_era_is_the_way_out_of_a_number_that_leaves_no_room(built: Built, tmp_path: Path) -> None:
    wedged = replace(built.record("churn:1", limits.NUMBER_MAX), prev=None)
    built.write_record(wedged)
    built.publish({"model.json": b"[2]"})
    assert built.read("churn@prod", env="prod") == CONTENT
    with pytest.raises(Conflict):
        built.promote("churn:2")
    change(built, tmp_path, SOLO, new_era=True)
    continues = built.policy.continues
    assert continues is not None
    assert continues[f"prod/main/{CHURN}"].seq == 1
    built.promote("churn:2")
    assert built.read("churn@prod", env="prod") == {"model.json": b"[2]"}


def test_a_new_era_goes_on_in_the_policies_that_follow(built: Built, tmp_path: Path) -> None:
    change(built, tmp_path, SOLO, new_era=True)
    heads = built.policy.continues
    change(built, tmp_path, ANN_TOO, ANN)
    assert (built.policy.era, built.policy.continues) == (1, heads)
    assert built.read("churn@prod", env="prod") == CONTENT
    change(built, tmp_path, ANN_TOO, new_era=True)
    assert built.policy.era == 2
    assert built.read("churn@prod", env="prod") == CONTENT


def test_nobody_but_the_root_begins_an_era(built: Built) -> None:
    built.identities["eve"] = person("eve")
    forged = replace(built.policy, era=1, continues={}, version=9, prev=built.policy_id.digest)
    built.write(layout.policy(9), built.sign(policies.KIND, policy_document.encode(forged), "eve"))
    assert built.policy.era == 0
    assert built.read("churn@prod", env="prod") == CONTENT
