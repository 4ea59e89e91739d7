"""The attack matrix: one stolen root key of several."""

import pytest

from tests.attacks.matrix import Attack, Row, attacks, run
from tests.attacks.matrix_drafts import (
    NEWEST,
    another_policy_of_that_number,
    applies,
    continues_from_one,
    edited_between,
    for_another_vault,
    higher_era,
    lets_eve_in,
    made_before,
    policy_signed,
    root_and_policy,
    root_signed,
    signed,
    with_two_keys,
    without_owner,
)
from tests.attacks.matrix_scenes import (
    PEOPLE,
    after,
    both,
    deletes,
    loads,
    manifest_by,
    one,
    publishes,
    seen,
    shared_root,
    two,
)
from tests.e2e.team_parts import ONE, THREE, TWO, as_, with_rule
from vault.actions import applying, drafting
from vault.core.names import Principal
from vault.errors import (
    Conflict,
    DigestMismatch,
    Refused,
    Rollback,
    UntrustedSigner,
)

TOO_FEW = (UntrustedSigner, "threshold-not-met")

ATTACKS = (
    Attack(
        "a root that only the new holders signed",
        Row.ROOT_KEY, ("a root signed by new or old keys only",), shared_root,
        strike=root_signed(("zoe", "eve", "rex"), 2, "eve", "rex"),
        honest=root_signed(("zoe", "eve", "rex"), 2, "eve", "zoe", "owner"), flow=applies,
        gives="applied", refused=TOO_FEW,
    ),
    Attack(
        "a root that only the old holders signed",
        Row.ROOT_KEY, ("a root signed by new or old keys only",), shared_root,
        strike=root_signed(("eve", "rex"), 2, "owner", "zoe"),
        honest=root_signed(("eve", "rex"), 2, "owner", "zoe", "eve", "rex"), flow=applies,
        gives="applied", refused=TOO_FEW,
    ),
    Attack(
        "a root signed by one old holder and all new ones, put into the storage with a policy",
        Row.ROOT_KEY, ("a root signed by new or old keys only",), shared_root,
        strike=both(root_and_policy(("zoe", "eve"), 2, "zoe", "eve"), manifest_by("eve", "2")),
        honest=publishes(TWO), flow=NEWEST, gives=TWO, stays=ONE,
    ),
    Attack(
        "the two keys of one holder on a root and its policy",
        Row.ROOT_KEY, ("one key or person counted twice",), shared_root,
        strike=with_two_keys("owner", "owner-too"), honest=with_two_keys("owner", "zoe"), flow=applies,
        gives="applied", refused=TOO_FEW,
    ),
    Attack(
        "a policy signed by one holder and by one who left the root",
        Row.ROOT_KEY, ("a threshold of retired keys", "a delegator that has changed"),
        after(shared_root, without_owner),
        strike=policy_signed("owner", "zoe"), honest=policy_signed("zoe", "yan"), flow=applies,
        gives="applied", refused=TOO_FEW,
    ),
    Attack(
        "a root signed by one holder and by one who left the root",
        Row.ROOT_KEY, ("a threshold of retired keys", "a root signed by new or old keys only"),
        after(shared_root, without_owner),
        strike=root_signed(PEOPLE, 2, "owner", "zoe"), honest=root_signed(PEOPLE, 2, "zoe", "yan"),
        flow=applies, gives="applied", refused=TOO_FEW,
    ),
    Attack(
        "a draft that was edited between two signatures",
        Row.ROOT_KEY, ("a stripped signature",), shared_root,
        strike=edited_between(lets_eve_in), honest=policy_signed("owner", "zoe"), flow=applies,
        gives="applied", refused=TOO_FEW,
    ),
    Attack(
        "where a new era continues, edited between two signatures",
        Row.ROOT_KEY, ("eras", "a stripped signature"), shared_root,
        strike=edited_between(continues_from_one), honest=policy_signed("owner", "zoe", change=higher_era),
        flow=applies, gives="applied", refused=TOO_FEW,
    ),
    Attack(
        "a draft for another vault of the same owner",
        Row.ROOT_KEY, ("another version or model served",), shared_root,
        strike=for_another_vault, honest=policy_signed("owner", "zoe"), flow=applies, gives="applied",
        refused=(DigestMismatch, "misplaced"),
    ),
    Attack(
        "a fully signed draft that another was applied before",
        Row.ROOT_KEY, ("the loser of a race", "rollback"), shared_root,
        strike=made_before, honest=policy_signed("owner", "zoe"), flow=applies, gives="applied",
        refused=(Conflict, "conflict"),
    ),
    Attack(
        "a second policy under the number of the one in force",
        Row.ROOT_KEY, ("the loser of a race", "rollback"), seen(shared_root, loads("churn@prod")),
        strike=another_policy_of_that_number, flow=loads("churn@prod"), gives=ONE,
        refused=(Rollback, "rollback"),
    ),
)  # fmt: skip


@attacks(ATTACKS)
def test_one_key_changes_nothing_that_takes_two(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    run(attack, monkeypatch)


def test_a_service_does_not_hold_the_root() -> None:
    """Its owner would meet a threshold of two alone."""
    built = one()
    with pytest.raises(ValueError, match="server is a service"):
        drafting.root_draft(
            built.session("owner"), {Principal("owner"): [], Principal("server"): []}, threshold=2
        )


def test_a_new_era_does_not_lift_a_version_over_its_withdrawal() -> None:
    """The copy of the bar in slot b was withheld, or never written, when the era was drafted."""
    built = two()
    built.amend(with_rule("release-manager", "withdraw", env="staging"))
    rex = as_(built, "rex")
    rex.promote("churn:1", env="staging")
    rex.promote("churn:2", env="staging", slot="b")
    as_(built, "ann").withdraw("churn:2", env="staging")
    deletes("channels/staging/b/churn/@/000004.json")(built)
    rex.promote(built.publish(THREE, who="dora"), env="staging")
    for era in (0, 1, 2):
        reader = built.fork(forgetful=True)
        assert reader.policy.era == era
        assert loads("churn@staging", "dora", "staging")(reader) == THREE
        for ref in ("churn@staging/b", "churn:2"):
            with pytest.raises(Refused) as caught:
                loads(ref, "dora", "staging")(reader)
            assert caught.value.code == "barred"
        session = built.session("owner")
        base = drafting.base_of(session, new_era=True)
        draft = drafting.next_policy(session, base, base.policy, new_era=True)
        applying.apply(session, [signed(built, draft, "owner")])
