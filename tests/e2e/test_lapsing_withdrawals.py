"""A withdrawal lasts as long as its signer: no change of policy lets a version back in unnoticed."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.attacks.vault_mixing import outcome, revoked
from tests.builders import Built
from tests.e2e.team_parts import ONE, THREE, TWO, as_, in_prod, let_in, released, with_rule
from vault.actions import lapsing, teaming
from vault.actions.policy_reading import PolicyInForce
from vault.core import names, policy_view
from vault.core.names import Principal
from vault.core.policy import Policy
from vault.core.policy_diff import Lifted
from vault.errors import Refused


def lifted(built: Built, change: Callable[[Policy], Policy]) -> list[str]:
    """Name what a change of the policy would let back in."""
    return [str(entry.subject) for entry in found(built, change)]


def found(built: Built, change: Callable[[Policy], Policy]) -> tuple[Lifted, ...]:
    before = built.policy
    return lapsing.lifted(
        built.fork(forgetful=True).session(None), replace(change(before), version=before.version + 1)
    )


def without(name: str) -> Callable[[Policy], Policy]:
    def change(before: Policy) -> Policy:
        return replace(before, members={who: entry for who, entry in before.members.items() if who != name})

    return change


def lowered(before: Policy) -> Policy:
    prod = before.environments[names.environment("prod")]
    assert prod.require.approvals is not None
    eased = replace(
        prod, require=replace(prod.require, approvals=replace(prod.require.approvals, threshold=1))
    )
    return replace(before, environments={**before.environments, prod.name: eased})


@pytest.fixture
def withdrawn() -> Built:
    """A vault in which cat withdrew churn:2 from prod, and prod uses churn:1 again."""
    built = released(ONE, TWO)
    as_(built, "cat").withdraw("churn:2", env="prod")
    as_(built, "rex").rollback("churn", env="prod")
    return built


def test_what_would_come_back_is_what_does_come_back(withdrawn: Built) -> None:
    assert in_prod(withdrawn, "churn:2") == "barred"
    (entry,) = found(withdrawn, revoked("cat"))
    assert (str(entry.subject), entry.environment, entry.signers) == ("churn:2", "prod", ("cat",))
    withdrawn.amend(revoked("cat"))
    assert in_prod(withdrawn.fork(forgetful=True), "churn:2") == TWO, "a bar counts while its signer does"


@pytest.mark.parametrize(
    "change",
    [revoked("cat"), without("cat"), lambda before: with_role(before, "cat", ())],
    ids=["revoked", "gone", "without the role"],
)
def test_every_way_to_lose_the_signer_of_a_bar_is_seen(
    change: Callable[[Policy], Policy], withdrawn: Built
) -> None:
    assert lifted(withdrawn, change) == ["churn:2"]


def with_role(before: Policy, name: str, roles: tuple[str, ...]) -> Policy:
    who = Principal(name)
    member = replace(before.members[who], roles=tuple(map(Principal, roles)))
    return replace(before, members={**before.members, who: member})


def test_a_change_that_keeps_the_signer_lets_nothing_back(withdrawn: Built) -> None:
    for change in (revoked("ann"), revoked("rex"), with_rule("loader", "load")):
        assert lifted(withdrawn, change) == []


def test_somebody_who_stays_signs_it_once_more_and_then_nothing_lapses(withdrawn: Built) -> None:
    again = as_(withdrawn, "bob").withdraw("churn:2", env="prod", again=True)
    assert not again.already
    assert [where.slot for where in again.written] == ["main"]
    assert lifted(withdrawn, revoked("cat")) == []
    assert lifted(withdrawn, lambda before: revoked("bob")(revoked("cat")(before))) == ["churn:2"]
    withdrawn.amend(revoked("cat"))
    assert in_prod(withdrawn.fork(forgetful=True), "churn:2") == "barred"
    assert in_prod(withdrawn.fork(forgetful=True)) == ONE


def test_without_again_a_withdrawal_is_not_repeated(withdrawn: Built) -> None:
    assert as_(withdrawn, "bob").withdraw("churn:2", env="prod").already


def test_again_signs_in_every_slot_that_used_the_version() -> None:
    built = released(ONE, TWO)
    let_in(built, "churn:2", slot="b")
    as_(built, "cat").withdraw("churn:2", env="prod")
    again = as_(built, "bob").withdraw("churn:2", env="prod", again=True)
    assert [where.slot for where in again.written] == ["main", "b"]
    built.amend(revoked("cat"))
    for ref in ("churn@prod", "churn@prod/b"):
        assert in_prod(built, ref) == in_prod(built.fork(forgetful=True), ref) == "barred"


def test_again_is_an_ordinary_withdrawal_where_nothing_was_withdrawn() -> None:
    built = released(ONE)
    assert not as_(built, "ann").withdraw("churn:1", env="prod", again=True).already
    assert in_prod(built) == "barred"


def test_a_version_that_was_let_in_again_has_no_withdrawal_that_could_lapse() -> None:
    built = released(ONE)
    as_(built, "cat").withdraw("churn:1", env="prod")
    let_in(built, "churn:1")
    assert lifted(built, revoked("cat")) == []


def test_a_promotion_above_the_bar_that_would_hold_now_is_a_way_back() -> None:
    """Approvals from before a bar count again when the bar goes, or when fewer are asked for."""
    built = released(ONE, TWO)
    as_(built, "cat").withdraw("churn:2", env="prod")
    built.write_record(built.record("churn:2", 4), "rex")  # skipped: no approval since the withdrawal
    assert in_prod(built, "churn:2") == "barred"
    assert lifted(built, revoked("cat")) == ["churn:2"]
    built.approve("churn:2", "ann", seq=3)
    assert in_prod(built.fork(forgetful=True), "churn:2") == "barred"
    assert lifted(built, lowered) == ["churn:2"]


def test_an_environment_that_goes_lets_nothing_back(withdrawn: Built) -> None:
    def change(before: Policy) -> Policy:
        left = {name: rule for name, rule in before.environments.items() if name != "prod"}
        members = {name: replace(entry, roles=()) for name, entry in before.members.items()}
        return revoked("cat")(replace(before, environments=left, roles={}, members=members))

    assert lifted(withdrawn, change) == []


def test_a_version_that_no_record_names_is_told_by_its_digest() -> None:
    built = released(ONE)
    ref = str(built.publish(THREE, who="dora"))
    as_(built, "cat").withdraw(ref, env="prod")
    digest = built.manifest(ref)[1]
    (entry,) = found(built, revoked("cat"))
    assert lapsing.again(entry) == f"mvault withdraw churn@sha256:{digest} --env prod --again"


def test_the_difference_of_policies_has_what_would_lapse(withdrawn: Built) -> None:
    asked = PolicyInForce(withdrawn.session("owner"))
    change = asked.change(policy_view.of_policy(without("cat")(withdrawn.policy)))
    assert change.lifted is not None
    assert [str(entry.subject) for entry in change.lifted] == ["churn:2"]
    assert not change.nothing


def test_a_record_made_under_the_policy_in_force_is_no_reason_for_a_difference(withdrawn: Built) -> None:
    """What is compared has no number of its own yet: it counts as newer than what is in force."""
    let_in(withdrawn, "churn:1", slot="b")
    change = PolicyInForce(withdrawn.session("owner")).change(policy_view.of_policy(withdrawn.policy))
    assert change.stopped == ()
    assert change.nothing


def test_nobody_is_taken_out_while_their_withdrawals_depend_on_them(withdrawn: Built) -> None:
    session = withdrawn.session("owner")
    before = dict(withdrawn.store.objects)
    with pytest.raises(Refused) as caught:
        teaming.remove(session, Principal("cat"))
    assert caught.value.code == "withdrawal-lapses"
    assert "churn:2" in str(caught.value)
    assert "by cat" in str(caught.value)
    assert "mvault withdraw churn:2 --env prod --again" in caught.value.hint
    assert withdrawn.store.objects == before
    as_(withdrawn, "ann").withdraw("churn:2", env="prod", again=True)
    done = teaming.remove(withdrawn.session("owner"), Principal("cat")).applied
    assert done is not None
    assert done.lifted == ()
    assert in_prod(withdrawn.fork(forgetful=True), "churn:2") == "barred"


def test_who_means_to_let_it_back_in_says_so(withdrawn: Built) -> None:
    done = teaming.remove(withdrawn.session("owner"), Principal("cat"), lift_withdrawals=True).applied
    assert done is not None
    assert [str(entry.subject) for entry in done.lifted] == ["churn:2"]
    assert outcome(withdrawn.fork(forgetful=True), "churn:2", who="server", env="prod") == TWO


def test_looking_at_what_would_lapse_remembers_nothing(withdrawn: Built) -> None:
    session = withdrawn.session("owner")
    before = session.memory.load()
    lapsing.lifted(session, revoked("cat")(withdrawn.policy))
    assert session.memory.load() == before
