"""What a reference means over a store in which strangers, deletions and withdrawals have been."""

from dataclasses import replace

import pytest

from tests import builders
from tests.builders import Built
from vault.actions import checking
from vault.core import envelope, limits
from vault.core.names import Principal
from vault.core.policy import Policy
from vault.errors import Conflict, DigestMismatch, Malformed, NotFound, Refused, Rollback

TOO_LARGE = b" " * (limits.ENVELOPE_BYTES + 1)


def numbered(number: int) -> dict[str, bytes]:
    return {"model.json": b'{"n":%d}' % number}


def promoted() -> Built:
    """Give a vault whose churn:1 is in prod."""
    built = builders.solo()
    built.promote(built.publish(numbered(1)))
    return built


def approved(*versions: int) -> Built:
    """Give a vault in whose prod these versions were, one after the other, each approved by two."""
    built = builders.team()
    for version in versions:
        ref = built.publish(numbered(version), who="dora")
        built.approve(ref, "ann", seq=version - 1)
        built.approve(ref, "bob", seq=version - 1)
        built.promote(ref, who="rex")
    return built


@pytest.mark.parametrize(
    "name",
    [
        "trust/root/000002.json",
        "trust/policy/000002.json",
        "channels/prod/main/churn/@/000002.json",
        "models/churn/@/1/sealed/000002.json",
    ],
)
def test_an_object_too_large_for_its_place_blocks_nobody_and_is_reported(name: str) -> None:
    built = promoted()
    built.write(name, TOO_LARGE)
    assert built.read("churn@prod") == numbered(1)
    assert built.fork(forgetful=True).read("churn@prod") == numbered(1)
    report = checking.check(built.session(), None, data=False)
    assert report.whole
    assert [entry.code for entry in report.findings if entry.level == "skipped"] == ["too-large"]


def test_an_object_too_large_for_an_approval_is_no_vote_and_blocks_nobody() -> None:
    built = approved(1)
    built.write("models/churn/@/1/approvals/prod/junk.json", TOO_LARGE)
    assert built.read("churn@prod", who="server") == numbered(1)


def test_a_package_of_a_thousand_files_is_published_and_read() -> None:
    built = builders.solo()
    files = {f"part-{number:05}.json": b"{}" for number in range(1_000)}
    assert built.read(built.publish(files)) == files


def test_a_manifest_that_no_client_would_accept_is_never_made_visible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = builders.solo()
    monkeypatch.setattr(limits, "PACKAGE_FILES", 3)
    with pytest.raises(Malformed):
        built.publish({f"{number}.json": b"{}" for number in range(3)})
    assert not [name for name in built.store.objects if name.endswith("manifest.json")]


def test_after_a_withdrawal_a_version_needs_new_approvals() -> None:
    built = approved(1)
    built.write_record(built.record(None, 2, bars=("churn:1",)), "ann")
    for ref, env in (("churn@prod", "dev"), ("churn:1", "prod")):
        with pytest.raises(Refused) as caught:
            built.read(ref, who="server", env=env)
        assert caught.value.code == "barred"
    with pytest.raises(Refused) as caught:
        built.promote("churn:1", who="rex")
    assert caught.value.code == "approvals-missing"
    # A promoter who writes the record all the same puts nothing in force.
    built.write_record(built.record("churn:1", 3), "rex")
    with pytest.raises(Refused) as caught:
        built.read("churn@prod", who="server")
    assert caught.value.code == "barred"
    for who in ("bob", "cat"):
        built.approve("churn:1", who, seq=2)
    assert built.read("churn@prod", who="server") == numbered(1)
    assert built.read("churn:1", who="server", env="prod") == numbered(1)


def test_going_back_to_an_approved_version_needs_no_new_approvals() -> None:
    built = approved(1, 2)
    assert built.promote("churn:1", who="rex").seq == 3
    assert built.read("churn@prod", who="server") == numbered(1)


def test_what_became_of_other_versions_does_not_matter_to_this_one() -> None:
    built = approved(1, 2)
    built.store.delete("models/churn/@/1/manifest.json")
    assert built.read("churn:2", who="server", env="prod") == numbered(2)
    with pytest.raises(NotFound):
        built.read("churn:1", who="server", env="prod")


def test_the_newest_version_that_was_withdrawn_from_dev_gives_way_to_the_one_before() -> None:
    built = builders.solo()
    built.publish(numbered(1))
    built.publish(numbered(2))
    assert built.read("churn") == numbered(2)
    built.write_record(built.record(None, 1, env="dev", bars=("churn:2",)))
    assert built.read("churn") == numbered(1)


def revoke(built: Built, name: str) -> None:
    """Revoke every key of somebody."""

    def change(before: Policy) -> Policy:
        member = before.members[Principal(name)]
        keys = tuple(replace(key, revoked=True) for key in member.keys)
        return replace(before, members={**before.members, member.name: replace(member, keys=keys)})

    built.amend(change)


def test_the_newest_version_of_a_revoked_publisher_gives_way_to_the_one_before() -> None:
    built = builders.team()
    built.publish(numbered(1))
    built.publish(numbered(2), who="dora")
    assert built.read("churn") == numbered(2)
    revoke(built, "dora")
    assert built.read("churn") == numbered(1)


def test_a_newest_version_that_is_gone_or_altered_gives_way_only_to_who_never_saw_it() -> None:
    for change in ("delete", "alter", "strip"):
        built = builders.team()
        built.publish(numbered(1))
        built.publish(numbered(2), who="dora")
        assert built.read("churn") == numbered(2)
        name = "models/churn/@/2/manifest.json"
        data = built.store.objects[name]
        if change == "delete":
            built.store.delete(name)
        elif change == "alter":
            built.write(name, data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        else:  # the genuine content, under another signature
            payload = envelope.parse(data, kind="manifest", subject="it").payload
            built.write(name, built.sign("manifest", payload, "ann"))
        with pytest.raises(Rollback):
            built.read("churn")
        assert built.fork(forgetful=True).read("churn") == numbered(1)


def test_a_version_that_this_client_saw_and_that_is_gone_altogether_is_reported() -> None:
    built = promoted()
    for name in [name for name in built.store.objects if name.startswith(("models/", "channels/"))]:
        built.store.delete(name)
    report = checking.check(built.session(), None, data=False)
    assert {(entry.subject, entry.code) for entry in report.findings if entry.level == "bad"} == {
        ("churn:1", "not-found"),
        ("churn@prod", "rollback"),
    }
    assert checking.check(built.fork(forgetful=True).session(), None, data=False).whole


def test_a_digest_means_the_version_that_has_it() -> None:
    built = promoted()
    built.publish(numbered(2))
    digest = built.manifest("churn:1")[1]
    assert built.read(f"churn@sha256:{digest}") == numbered(1)
    assert built.read(f"churn@sha256:{digest}", env="prod") == numbered(1)
    with pytest.raises(NotFound):
        built.read("churn@sha256:" + "0" * 64)


def test_a_bare_name_is_a_mistake_anywhere_but_in_dev() -> None:
    with pytest.raises(ValueError, match="newest version in dev"):
        promoted().read("churn", env="prod")


def test_a_channel_says_at_once_when_its_manifest_is_another() -> None:
    built = promoted()
    built.publish(numbered(2))
    objects = built.store.objects
    objects["models/churn/@/1/manifest.json"] = objects["models/churn/@/2/manifest.json"]
    with pytest.raises(DigestMismatch):
        built.read("churn@prod")


def test_a_version_is_never_published_twice() -> None:
    built = promoted()
    with pytest.raises(Conflict):
        built.publish(numbered(9), version="1")
    built.store.delete("models/churn/@/1/manifest.json")
    with pytest.raises(Conflict):
        built.publish(numbered(9), version="1")
    assert str(built.publish(numbered(2))) == "churn:2"
