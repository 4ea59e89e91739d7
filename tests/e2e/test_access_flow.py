"""Who can read what: new readers, people who leave, services whose keys change, rotation with `--deep`."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import CONTENT, DEV, PROD, Built, age_key, new_identity, secret_age_key, team
from vault.actions import access, access_rotate, access_sync, checking, draft_files, keyring
from vault.actions.access import EnvironmentAccess, Reader
from vault.actions.access_rotate import Rotated
from vault.actions.access_sync import SyncPlan
from vault.actions.draft_files import Draft
from vault.actions.session import Session
from vault.core import age, layout, names
from vault.core.names import Digest, Environment, Principal
from vault.core.policy import Key, Policy
from vault.core.policy import Recipient as RecipientId
from vault.errors import AccessDenied, Conflict, NoUsableKey
from vault.keys import recipients

BIG = {"model.json": b"[" + b"1," * 1_500_000 + b"1]", "features.json": b'["age"]'}  # several units


def rotate(built: Built, env: str = "prod", *, who: str = "owner", **options: object) -> Rotated:
    session = built.session(who)
    return access_rotate.rotate(session, names.environment(env), **options)  # type: ignore[arg-type]


def shown(built: Built, env: Environment = PROD) -> EnvironmentAccess:
    (found,) = access.show(built.session(None), env).environments
    return found


def reader(built: Built, who: str, env: Environment = PROD) -> Reader:
    return next(entry for entry in shown(built, env).readers if entry.who == who)


def leaves(built: Built, name: str) -> None:
    def change(before: Policy) -> Policy:
        members = {key: member for key, member in before.members.items() if key != name}
        return replace(before, members=members)

    built.amend(change)


def whole(built: Built) -> bool:
    return checking.check(built.session(), None, data=False).whole


def released(kind: str = "x25519") -> Built:
    """Give a team's vault with churn:1 in prod."""
    built = team(kind)  # type: ignore[arg-type]
    ref = built.publish()
    built.approve(ref, "ann")
    built.approve(ref, "bob")
    built.promote(ref, who="rex")
    return built


def opens(built: Built, name: str, age_identity: str) -> bool:
    """Tell whether an age identity, and every environment key that it ever opened, opens a header by hand."""
    mine = [recipients.parse_identity(age_identity)]
    for copy in [entry for entry in built.store.objects if entry.startswith("keys/")]:
        try:
            line = recipients.decrypt_bytes(built.store.objects[copy], mine[:1], limit=4096)
        except NoUsableKey:
            continue
        mine.append(recipients.parse_identity(line.decode().strip()))
    try:
        recipients.unwrap(age.parse_detached_header(built.store.objects[name]), mine)
    except NoUsableKey:
        return False
    return True


def headers(built: Built, env: str, epoch: int) -> list[str]:
    return [name for name in built.store.objects if f"/keys/{env}-{epoch}/" in name]


# --- show ---


def test_show_tells_readers_and_recovery_by_the_policy_and_by_what_is_stored() -> None:
    built = released()
    found = shown(built)
    assert found.epochs == (1,)
    assert found.complete
    assert not found.leaks
    reading = {str(entry.who): (entry.kind, entry.reads, entry.epochs) for entry in found.readers}
    assert reading["server"] == ("service", True, (1,))
    assert reading["recovery"] == ("recovery", True, (1,))
    assert "dora" not in reading, "who may only publish to dev has no key of prod"
    assert "dora" in {entry.who for entry in shown(built, DEV).readers}


def test_show_says_plainly_that_who_left_can_still_read() -> None:
    built = released()
    leaves(built, "cat")
    entry = reader(built, "cat")
    assert (entry.kind, entry.reads, entry.epochs, entry.former) == ("gone", False, (), (1,))
    assert "can still read what was stored under epoch 1" in entry.note
    assert [leak.who for leak in shown(built).leaks] == ["cat"]
    rotate(built)
    assert not shown(built).leaks
    assert "can still read what was stored under epoch 1" in reader(built, "cat").note


# --- sync ---


def test_a_new_reader_reads_old_models_of_every_epoch_after_a_sync() -> None:
    built = released()
    rotate(built)
    ref = built.publish({"model.json": b"[2]"})
    built.approve(ref, "ann", seq=1)
    built.approve(ref, "bob", seq=1)
    built.promote(ref, who="rex")
    identity = new_identity("web", built.kind, "sync")
    built.identities["web"] = identity
    digest = keyring.store_recipient(built.store, age_key(identity))

    def join(before: Policy) -> Policy:
        server = before.members[Principal("server")]
        key = Key(identity.public, Digest(identity.key_id), revoked=False, until=None)
        web = replace(
            server, name=Principal("web"), keys=(key,), recipients=(RecipientId(built.kind, digest),)
        )
        return replace(before, members={**before.members, web.name: web})

    built.amend(join)
    with pytest.raises(NoUsableKey):
        built.read("churn@prod", who="web")
    assert reader(built, "web").missing == (1, 2)
    plans: list[SyncPlan] = []
    done = access_sync.sync(built.session(), PROD, planned=plans.append)
    assert [(copy.who, copy.epoch) for copy in done.written] == [("web", 1), ("web", 2)]
    assert plans == [done.plan]
    assert built.read("churn@prod", who="web") == {"model.json": b"[2]"}
    assert built.read("churn:1", who="web", env="prod") == CONTENT
    assert not access_sync.sync(built.session()).plan.writes, "the second time nothing is left to do"


def test_a_dry_run_writes_nothing() -> None:
    built = released()
    for name in list(built.store.objects):
        if name.startswith("keys/prod/all/1/server/"):
            del built.store.objects[name]
    before = dict(built.store.objects)
    done = access_sync.sync(built.session(), dry_run=True)
    assert [copy.who for copy in done.plan.writes] == ["server"]
    planned = rotate(built, dry_run=True, deep=True).plan
    assert (planned.epoch, planned.versions, planned.headers) == (2, 1, 3)
    assert built.store.objects == before
    assert access_sync.sync(built.session()).complete
    assert built.read("churn@prod", who="server") == CONTENT


def test_who_does_not_hold_a_key_cannot_hand_it_out() -> None:
    built = released()
    for name in list(built.store.objects):
        if name.startswith("keys/prod/all/1/server/"):
            del built.store.objects[name]
    done = access_sync.sync(built.session("dora"))
    assert [copy.who for copy in done.locked] == ["server"]
    assert not done.complete


def test_again_writes_a_copy_although_one_is_there() -> None:
    built = released()
    done = access_sync.sync(built.session(), PROD, again=[Principal("server")])
    assert [copy.who for copy in done.written] == ["server"]
    with pytest.raises(ValueError, match="nobody:"):
        access_sync.sync(built.session(), PROD, again=[Principal("nobody")])


# --- rotate ---


@pytest.mark.parametrize("kind", ["x25519", "mlkem768x25519"])
def test_who_left_opens_nothing_that_is_stored_after_the_rotation_and_loaders_go_on(kind: str) -> None:
    built = released(kind)
    leaver = secret_age_key(built.identities["cat"])
    leaves(built, "cat")
    done = rotate(built)
    assert done.complete
    assert (done.plan.epoch, done.versions, done.written) == (2, 1, 3)
    assert "cat" not in done.plan.readers
    for who in ("server", "ann", "owner"):
        assert built.read("churn@prod", who=who) == CONTENT
    with pytest.raises(AccessDenied):
        built.read("churn@prod", who="cat")
    ref = built.publish({"model.json": b"[2]"})
    built.approve(ref, "ann", seq=1)
    built.approve(ref, "bob", seq=1)
    built.promote(ref, who="rex")
    assert built.read("churn@prod", who="server") == {"model.json": b"[2]"}
    assert all(opens(built, name, leaver) for name in headers(built, "prod", 1))
    new = [name for name in headers(built, "prod", 2) if "/2/keys/" in name]
    assert len(new) == 2
    assert not any(opens(built, name, leaver) for name in headers(built, "prod", 2))
    assert opens(built, new[0], secret_age_key(built.identities["server"]))
    assert opens(built, new[0], built.recovery)
    assert whole(built)


def test_a_services_new_key_reads_and_its_old_one_does_not() -> None:
    built = released()
    old = built.identities["server"]
    fresh = new_identity("server", built.kind, "second")
    digest = keyring.store_recipient(built.store, age_key(fresh))

    def replaced(before: Policy) -> Policy:
        server = before.members[Principal("server")]
        keys = (
            *(replace(key, revoked=True) for key in server.keys),
            Key(fresh.public, Digest(fresh.key_id), revoked=False, until=None),
        )
        server = replace(server, keys=keys, recipients=(RecipientId(built.kind, digest),))
        return replace(before, members={**before.members, server.name: server})

    built.amend(replaced)
    assert "not theirs any more" in reader(built, "server").note
    assert reader(built, "server").missing == (1,)
    assert rotate(built).complete
    with pytest.raises(AccessDenied):
        built.read("churn@prod", who="server")
    built.identities["server"] = fresh
    assert built.read("churn@prod", who="server") == CONTENT
    assert not any(opens(built, name, secret_age_key(old)) for name in headers(built, "prod", 2))


def test_whose_keys_are_all_revoked_gets_no_new_key() -> None:
    built = released()

    def revoke(before: Policy) -> Policy:
        member = before.members[Principal("cat")]
        member = replace(member, keys=tuple(replace(key, revoked=True) for key in member.keys))
        return replace(before, members={**before.members, member.name: member})

    built.amend(revoke)
    assert "cat" not in rotate(built).plan.readers
    assert not [name for name in built.store.objects if name.startswith("keys/prod/all/2/cat/")]


def test_a_rotation_again_and_one_that_goes_on_do_only_what_is_missing() -> None:
    built = released()
    rotate(built)
    before = dict(built.store.objects)
    done = rotate(built, resume=True)
    assert (done.written, done.already, done.plan.headers) == (0, 3, 0)
    assert built.store.objects == before
    assert rotate(built).plan.epoch == 3
    assert built.read("churn@prod", who="server") == CONTENT


def test_what_is_published_until_the_policy_is_in_force_is_wrapped_anew_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = team("x25519")
    built.publish()
    real = access_rotate.apply

    def late(session: Session, draft: Draft) -> None:
        built.publish({"model.json": b'{"published": "under the old policy"}'})
        real(session, draft)

    monkeypatch.setattr(access_rotate, "apply", late)
    done = rotate(built, "dev")
    assert (done.plan.versions, done.versions, done.complete) == (1, 2, True)
    assert len(headers(built, "dev", 2)) == len(headers(built, "dev", 1))


def test_where_others_sign_policies_the_new_one_is_a_draft_first(tmp_path: Path) -> None:
    built = released()
    before = dict(built.store.objects)
    with pytest.raises(ValueError, match="say where to write its draft"):
        rotate(built, who="ann")
    here = rotate(built.fork(), who="ann", folder=tmp_path)
    assert here.draft == tmp_path / f"policy-{built.policy.version + 1}.json"
    assert here.draft.is_file()
    assert here.standing is not None
    assert [lack.waiting for lack in here.standing.missing] == [("owner",)], "ann holds no root"
    path = tmp_path / "draft.json"
    path.write_bytes(b"mine")
    with pytest.raises(Conflict):
        rotate(built, who="ann", draft=path)
    assert path.read_bytes() == b"mine"
    assert built.store.objects == before
    path.unlink()
    done = rotate(built, who="ann", draft=path)
    assert (done.draft, done.written, done.complete) == (path, 0, False)
    assert shown(built).epochs == (1,), "nobody has signed it yet"
    assert built.read("churn@prod", who="server") == CONTENT
    access_rotate.apply(built.session(), draft_files.read(path))
    assert shown(built).epochs == (1, 2)
    assert built.read("churn@prod", who="server") == CONTENT
    assert rotate(built, who="ann", resume=True).written == 3


def test_a_draft_that_follows_another_policy_is_not_applied(tmp_path: Path) -> None:
    built = released()
    path = tmp_path / "draft.json"
    rotate(built, who="ann", draft=path)
    leaves(built, "cat")
    with pytest.raises(Conflict, match="policy status"):
        access_rotate.apply(built.session(), draft_files.read(path))


def test_of_two_who_rotate_at_once_one_wins_and_the_other_is_told_what_to_do() -> None:
    built = released()
    session, other = built.session(), built.session()
    base = session.trust()
    rule = base.policy.environments[PROD]
    first, second = (access_rotate.begin(each, base, rule) for each in (session, other))
    access_rotate.apply(session, first)
    with pytest.raises(Conflict) as caught:
        access_rotate.apply(other, second)
    assert "mvault policy status" in caught.value.hint
    assert shown(built).epochs == (1, 2)
    assert rotate(built, resume=True).written == 3
    assert built.read("churn@prod", who="server") == CONTENT, "the loser's copies lie beside the winner's"


def test_a_number_that_is_taken_between_drafting_and_applying_is_told() -> None:
    built = released()
    session = built.session()
    base = session.trust()
    made = access_rotate.begin(session, base, base.policy.environments[PROD])
    built.store.objects[layout.policy(made.document.version)] = b"squatted"
    with pytest.raises(Conflict, match="not put in force"):
        access_rotate.apply(session, made)
    assert rotate(built).complete, "the next try takes the next number"


def test_an_environment_key_that_this_identity_lacks_stops_a_rotation_before_anything_is_written() -> None:
    built = released()
    for name in list(built.store.objects):
        if name.startswith("keys/prod/all/1/owner/"):
            del built.store.objects[name]
    before = dict(built.store.objects)
    with pytest.raises(NoUsableKey):
        rotate(built)
    assert built.store.objects == before


# --- deep ---


@pytest.mark.parametrize("kind", ["x25519", "mlkem768x25519"])
def test_a_deep_rotation_encrypts_every_payload_anew_and_what_was_signed_stands(kind: str) -> None:
    built = team(kind)  # type: ignore[arg-type]
    ref = built.publish(BIG)
    built.approve(ref, "ann")
    built.approve(ref, "bob")
    built.promote(ref, who="rex")
    before = dict(built.store.objects)
    leaver = secret_age_key(built.identities["cat"])
    leaves(built, "cat")
    done = rotate(built, deep=True)
    assert done.complete
    assert done.written == 3
    assert done.plan.bytes > len(BIG["model.json"])
    assert all(built.store.objects[name] == data for name, data in before.items()), "nothing is overwritten"
    for who, place in (("server", "prod"), ("dora", "dev")):
        assert built.read("churn:1", who=who, env=place) == BIG
    assert built.read("churn@prod", who="server") == BIG
    manifest = names.reference("churn:1")
    assert manifest.version is not None
    folder = layout.sealed(manifest.model, manifest.version)
    assert [name for name in built.store.objects if name.startswith(folder)] == [
        f"{folder}000001.json",
        f"{folder}000002.json",
    ]
    fresh = [name for name in headers(built, "prod", 2) if name not in before]
    assert len(fresh) == 3
    assert not any(opens(built, name, leaver) for name in fresh)
    assert whole(built)
    again = rotate(built, deep=True, resume=True)
    assert (again.written, again.already, again.plan.headers) == (0, 3, 0)


def test_a_deep_rotation_gives_the_new_keys_to_no_environment_where_the_version_is_not_in_use() -> None:
    built = team()
    built.publish()
    folder = "models/churn/@/1/keys/"
    old = next(name for name in built.store.objects if name.startswith(f"{folder}dev-1/"))
    built.store.objects[f"{folder}prod-1/{old.rpartition('/')[2]}"] = built.store.objects[old]
    assert rotate(built, "dev", deep=True).complete
    assert len(headers(built, "dev", 2)) == 3
    assert not [name for name in headers(built, "prod", 1) if "dev-1" in name]
    assert len(headers(built, "prod", 1)) == 1, "the squatted header is all that there is"
    assert built.read("churn") == CONTENT


def test_who_may_not_rotate_writes_no_sealing_record() -> None:
    built = released()
    session = built.session("owner")
    base = session.trust()
    made = access_rotate.begin(session, base, base.policy.environments[PROD])
    access_rotate.apply(session, made)
    done = rotate(built, who="ann", deep=True, resume=True)
    assert done.written == 0
    assert [problem.code for problem in done.problems] == ["untrusted-signer"]
    assert not [name for name in built.store.objects if "/sealed/000002" in name]
