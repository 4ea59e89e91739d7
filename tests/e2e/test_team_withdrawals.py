"""What is withdrawn is out of every slot, and going back needs no new approvals."""

import pytest

from tests.attacks.vault_mixing import check, outcome, revoked
from tests.builders import solo
from tests.e2e.team_parts import ONE, THREE, TWO, as_, in_prod, let_in, released
from vault.errors import AccessDenied, NotFound, Refused

# --- withdrawals ---


@pytest.mark.parametrize("who", ["ann", "rex"], ids=["may withdraw", "may promote"])
def test_a_withdrawn_version_is_out_of_every_slot_by_every_reference(who: str) -> None:
    built = released(ONE, TWO)
    let_in(built, "churn:2", slot="b")
    let_in(built, "churn:1", slot="c")
    digest = built.manifest("churn:2")[1]
    done = as_(built, who).withdraw("churn:2", env="prod")
    assert not done.already
    assert [(where.slot) for where in done.written] == ["main", "b"]
    for ref in ("churn@prod", "churn@prod/b", "churn:2", f"churn@sha256:{digest}"):
        assert in_prod(built, ref) == "barred"
        assert in_prod(built.fork(forgetful=True), ref) == "barred"
    assert in_prod(built, "churn@prod/c") == ONE
    assert in_prod(built, "churn:1") == ONE
    assert outcome(built, "churn:2", who="dora") == TWO  # it is prod that it was withdrawn from
    assert check(built, data=False).whole
    again = as_(built, who).withdraw("churn:2", env="prod")
    assert (again.already, again.written) == (True, ())


def test_withdrawing_what_a_channel_does_not_use_leaves_the_channel_as_it_is() -> None:
    built = released(ONE, TWO)
    done = as_(built, "ann").withdraw("churn:1", env="prod")
    assert [where.slot for where in done.written] == ["main"]
    assert in_prod(built) == TWO
    assert in_prod(built, "churn:1") == "barred"
    as_(built, "bob").withdraw("churn:2", env="prod")
    assert in_prod(built) == "barred"


def test_a_replacement_takes_the_place_in_every_slot_that_used_it_or_in_one() -> None:
    for slot, expected in ((None, [ONE, ONE]), ("b", ["barred", ONE]), ("main", [ONE, "barred"])):
        built = released(ONE, TWO)
        let_in(built, "churn:2", slot="b")
        done = as_(built, "rex").withdraw("churn:2", env="prod", slot=slot, replacement=1)
        assert done.replacement == "1"
        assert [in_prod(built, ref) for ref in ("churn@prod", "churn@prod/b")] == expected
        assert in_prod(built, "churn:2") == "barred"


def test_a_replacement_needs_the_authority_the_approvals_and_a_place() -> None:
    built = released(ONE)
    other = str(built.publish(TWO, who="dora"))
    with pytest.raises(AccessDenied):
        as_(built, "ann").withdraw("churn:1", env="prod", replacement=2)
    with pytest.raises(Refused) as caught:
        as_(built, "rex").withdraw("churn:1", env="prod", replacement=2)
    assert caught.value.code == "approvals-missing"
    for who in ("ann", "bob"):
        as_(built, who).approve(other, env="prod")
    with pytest.raises(ValueError, match="cannot replace itself"):
        as_(built, "rex").withdraw("churn:1", env="prod", replacement=1)
    with pytest.raises(ValueError, match="nothing can take its place"):
        as_(built, "rex").withdraw("churn:1", env="prod", slot="b", replacement=2)
    assert in_prod(built) == ONE  # and nothing was withdrawn meanwhile


def test_a_withdrawn_version_comes_back_only_with_approvals_anew() -> None:
    built = released(ONE)
    as_(built, "ann").withdraw("churn:1", env="prod")
    with pytest.raises(Refused, match="0 of 2"):
        as_(built, "rex").promote("churn:1", env="prod")
    let_in(built, "churn:1")
    assert in_prod(built) == ONE


def test_approvals_from_before_a_withdrawal_in_another_slot_do_not_count_again() -> None:
    built = released(ONE)
    bar = built.record(None, 2, slot="b", bars=("churn:1",))
    built.write_record(bar, "ann")
    with pytest.raises(Refused, match="0 of 2"):
        as_(built, "rex").promote("churn:1", env="prod")
    let_in(built, "churn:1")
    assert in_prod(built) == ONE


def test_what_is_in_use_can_be_withdrawn_by_the_channels_name() -> None:
    built = released(ONE)
    as_(built, "ann").withdraw("churn@prod", env="prod")
    assert in_prod(built) == "barred"
    with pytest.raises(ValueError, match="name a version"):
        as_(built, "ann").withdraw("churn@staging", env="prod")
    with pytest.raises(ValueError, match="Say which version"):
        as_(built, "ann").withdraw("churn", env="prod")
    for unknown in ("churn:9", "fraud@prod"):
        with pytest.raises(NotFound):
            as_(built, "ann").withdraw(unknown, env="prod")


def test_who_may_neither_withdraw_approve_nor_promote_may_not_withdraw() -> None:
    built = released(ONE)
    for who in ("dora", "server"):
        with pytest.raises(AccessDenied):
            as_(built, who).withdraw("churn:1", env="prod")


@pytest.mark.parametrize("how", ["publisher revoked", "manifest deleted", "by digest"])
def test_a_version_that_does_not_verify_any_more_can_be_withdrawn(how: str) -> None:
    built = released(ONE)
    digest = built.manifest("churn:1")[1]
    kept = built.store.objects["models/churn/@/1/manifest.json"]
    if how == "publisher revoked":
        built.amend(revoked("dora"))
    else:
        del built.store.objects["models/churn/@/1/manifest.json"]
    ref = f"churn@sha256:{digest}" if how == "by digest" else "churn:1"
    assert as_(built, "ann").withdraw(ref, env="prod").digests == (digest,)
    built.write("models/churn/@/1/manifest.json", kept)
    assert in_prod(built) == "barred"


def test_the_owner_of_a_small_vault_withdraws_and_goes_back_alone() -> None:
    built = solo()
    for content in (ONE, TWO):
        built.promote(built.publish(content))
    as_(built, "owner").withdraw("churn:2", env="prod")
    assert outcome(built, "churn@prod", env="prod") == "barred"
    as_(built, "owner").rollback("churn", env="prod")
    assert outcome(built, "churn@prod", env="prod") == ONE
    as_(built, "owner").withdraw("churn:2", env="dev")
    assert outcome(built, "churn:2") == "barred"
    assert outcome(built, "churn") == ONE  # the newest that is left


# --- going back ---


def test_going_back_needs_no_new_approvals() -> None:
    built = released(ONE, TWO, THREE)
    rex = as_(built, "rex")
    assert rex.rollback("churn", env="prod").version == "2"
    assert in_prod(built) == TWO
    assert rex.rollback("churn", env="prod", to=1).version == "1"
    assert in_prod(built) == ONE
    assert rex.rollback("churn", env="prod", to=1).already


def test_going_back_passes_over_what_was_withdrawn_and_what_never_was_in_force() -> None:
    built = released(ONE, TWO, THREE)
    as_(built, "ann").withdraw("churn:2", env="prod")
    unapproved = built.publish({"model.json": b'{"w":4}'}, who="dora")
    built.write_record(built.record(unapproved, 90), "rex")
    assert as_(built, "rex").rollback("churn", env="prod").version == "1"
    assert in_prod(built) == ONE
    with pytest.raises(Refused) as caught:
        as_(built, "rex").rollback("churn", env="prod", to=2)
    assert caught.value.code == "approvals-missing"
    with pytest.raises(NotFound, match="never named churn:4"):
        as_(built, "rex").rollback("churn", env="prod", to=4)


def test_going_back_from_a_withdrawn_version_finds_the_one_before() -> None:
    built = released(ONE, TWO)
    as_(built, "ann").withdraw("churn@prod", env="prod")
    assert as_(built, "rex").rollback("churn", env="prod").version == "1"
    assert in_prod(built) == ONE


def test_there_is_no_going_back_from_the_first_version_or_by_who_may_not_promote() -> None:
    built = released(ONE)
    with pytest.raises(NotFound, match="no earlier version"):
        as_(built, "rex").rollback("churn", env="prod")
    with pytest.raises(NotFound, match="no earlier version"):
        as_(built, "rex").rollback("churn", env="prod", slot="b")
    with pytest.raises(AccessDenied):
        as_(built, "ann").rollback("churn", env="prod")


def test_going_back_passes_over_a_version_whose_manifest_was_deleted() -> None:
    built = released(ONE, TWO, THREE)
    del built.store.objects["models/churn/@/2/manifest.json"]
    assert as_(built, "rex").rollback("churn", env="prod").version == "1"
