"""Who stands in for a lost publisher, and how a team gets past a number that leaves no room."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.attacks.vault_mixing import check, outcome, revoked, without
from tests.builders import Built
from tests.e2e.team_parts import ONE, THREE, TWO, as_, in_prod, released, stewarded, with_rule
from vault.core import envelope, limits, records
from vault.core.policy import ChannelHead, Policy
from vault.errors import AccessDenied, Conflict, NotFound, Refused, Rollback

# --- adoption ---


@pytest.mark.parametrize("lost", [revoked("dora"), without("dora")], ids=["revoked", "left"])
def test_a_version_whose_publisher_was_lost_is_back_when_somebody_adopts_it(
    lost: Callable[[Policy], Policy],
) -> None:
    built = stewarded(lost)
    assert in_prod(built) in ("untrusted-signer", "bad-signature")
    done = as_(built, "eve").adopt_version("churn:1")
    assert "eve" in done.publishers
    assert not done.already
    assert in_prod(built) == ONE
    assert in_prod(built, "churn:1") == ONE
    assert check(built, data=False).whole
    assert as_(built, "eve").adopt_version("churn:1").already
    assert [event.who for event in as_(built, "eve").history("churn") if event.action == "adopt"] == [
        ("eve",)
    ]


def test_an_adopted_version_of_who_left_loads_in_dev_by_who_may_adopt_there() -> None:
    built = stewarded(without("dora"))
    as_(built, "eve").adopt_version("churn:1")
    assert outcome(built, "churn:1", who="eve") == ONE
    assert outcome(built, "churn", who="eve") == ONE


def test_who_adopted_a_version_cannot_approve_it() -> None:
    built = stewarded(with_rule("release-manager", "adopt", "load", env="dev"), revoked("dora"))
    built.grant("ann", "dev")
    as_(built, "ann").adopt_version("churn:1")
    assert in_prod(built) == "not-found"  # ann's approval was one of the two
    with pytest.raises(AccessDenied, match="published it"):
        as_(built, "ann").approve("churn:1", env="prod")
    as_(built, "cat").approve("churn:1", env="prod")
    assert in_prod(built) == ONE


def test_nobody_adopts_without_the_right_or_what_needs_no_adoption() -> None:
    built = stewarded()
    assert as_(built, "eve").adopt_version("churn:1").already
    built.amend(revoked("dora"))
    for who in ("ann", "owner"):
        with pytest.raises(AccessDenied):
            as_(built, who).adopt_version("churn:1")
    built.add("bot", "steward", kind="service", owners=("eve",))
    with pytest.raises(AccessDenied, match="Only people adopt"):
        as_(built, "bot").adopt_version("churn:1")
    with pytest.raises(ValueError, match="Say which version"):
        as_(built, "eve").adopt_version("churn")
    with pytest.raises(NotFound):
        as_(built, "eve").adopt_version("churn:9")


def test_what_was_altered_is_not_adopted() -> None:
    for place in ("files/", "manifest.json"):
        built = stewarded(revoked("dora"))
        name = sorted(name for name in built.store.objects if name.startswith(f"models/churn/@/1/{place}"))[0]
        data = built.store.objects[name]
        at = len(data) // 2
        built.write(name, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        before = set(built.store.objects)
        with pytest.raises(Refused):
            as_(built, "eve").adopt_version("churn:1")
        assert set(built.store.objects) == before


def test_a_strangers_sealing_records_do_not_keep_a_version_from_being_adopted() -> None:
    built = stewarded(without("dora"))
    genuine = built.store.objects["models/churn/@/1/sealed/000001.json"]
    built.write("models/churn/@/1/sealed/000002.json", b"garbage")
    built.write("models/churn/@/1/sealed/000003.json", bytes(limits.ENVELOPE_BYTES + 1))
    record = records.parse_sealing(envelope.parse(genuine, kind="sealing", subject="it").payload, "it")
    swapped = replace(
        record,
        number=4,
        files=tuple(replace(file, file_id=bytes(15) + bytes([at])) for at, file in enumerate(record.files)),
    )
    built.write(
        "models/churn/@/1/sealed/000004.json", built.sign("sealing", records.encode_sealing(swapped), "ann")
    )
    as_(built, "eve").adopt_version("churn:1")
    assert in_prod(built) == ONE


def test_a_version_without_any_sealing_record_is_not_adopted() -> None:
    built = stewarded(revoked("dora"))
    del built.store.objects["models/churn/@/1/sealed/000001.json"]
    with pytest.raises(NotFound, match="no sealing record"):
        as_(built, "eve").adopt_version("churn:1")


# --- eras: the way out of a fast-forward ---


def new_era(*changes: Callable[[Policy], Policy], **continues: ChannelHead) -> Callable[[Policy], Policy]:
    def change(before: Policy) -> Policy:
        for step in changes:
            before = step(before)
        heads = {f"prod/{slot}/churn": head for slot, head in continues.items()}
        return replace(before, era=before.era + 1, continues=heads or None)

    return change


def fast_forwarded() -> tuple[Built, ChannelHead]:
    """Give a vault in which roy's stolen key wrote the highest number, and the head before that."""
    built = released(ONE, TWO)
    built.add("roy", "releaser")
    assert in_prod(built) == TWO
    data = built.store.objects["channels/prod/main/churn/@/000002.json"]
    head = ChannelHead(2, envelope.parse(data, kind="channel", subject="it").digest)
    built.write_record(built.record("churn:1", limits.NUMBER_MAX), "roy")
    assert in_prod(built) == ONE
    with pytest.raises(Conflict):
        as_(built, "rex").promote("churn:2", env="prod")
    return built, head


def test_a_fast_forward_is_undone_by_a_new_era_that_names_where_it_continues() -> None:
    built, head = fast_forwarded()
    built.amend(revoked("roy"))
    assert in_prod(built) == "rollback"  # for who has seen the stolen key's record
    assert in_prod(built.fork(forgetful=True)) == TWO
    built.amend(new_era(main=head))
    assert in_prod(built) == TWO
    third = built.publish(THREE, who="dora")
    for who in ("ann", "bob"):
        as_(built, who).approve(str(third), env="prod")
    assert as_(built, "rex").promote(str(third), env="prod").seq == 3
    assert in_prod(built) == THREE


def test_a_new_era_that_names_no_head_begins_with_the_next_promotion() -> None:
    built, _ = fast_forwarded()
    built.amend(new_era())
    assert as_(built, "rex").promote("churn:2", env="prod").seq == 3  # 1 and 2 are taken
    assert in_prod(built) == TWO
    assert in_prod(built.fork(forgetful=True)) == TWO
    assert as_(built, "rex").promote("churn:1", env="prod").seq == 4


def test_numbers_of_an_earlier_era_are_passed_over_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "GAP", 3)
    built = released(ONE)
    for number in range(2, 9):
        built.write_record(built.record("churn:1", number), "rex")
    built.write_record(built.record("churn:1", limits.NUMBER_MAX), "rex")
    built.amend(new_era())
    built.write("channels/prod/main/churn/@/000009.json", b"squatted")
    second = built.publish(TWO, who="dora")
    for who in ("ann", "bob"):
        as_(built, who).approve(str(second), env="prod")
    assert as_(built, "rex").promote(second, env="prod").seq == 10
    assert in_prod(built) == TWO


def test_a_record_that_claims_an_earlier_era_never_is_the_newest() -> None:
    built, head = fast_forwarded()
    old = built.policy_id
    built.amend(new_era(main=head))
    late = replace(built.record("churn:1", 50), policy=old)
    built.write_record(late, "rex")
    assert in_prod(built) == TWO


def test_an_older_era_served_again_is_a_rollback() -> None:
    built, head = fast_forwarded()
    built.amend(new_era(main=head))
    assert in_prod(built) == TWO
    name = max(name for name in built.store.objects if name.startswith("trust/policy/"))
    del built.store.objects[name]
    with pytest.raises(Rollback):
        built.read("churn@prod", who="server", env="prod")
