"""Records that a client has seen, or that heads attest, and that the store hides from it afterwards.

What is hidden may have barred a version, or ended its approvals: so it must lie there still, signed as it
was, also where newer records lie above it.
"""

import json
from dataclasses import replace

import pytest

from tests.attacks.vault_mixing import outcome, without
from tests.builders import Built, team
from tests.e2e.team_parts import ONE, TWO, as_, in_prod, let_in, released, with_rule
from vault.core import names
from vault.core.policy import Policy
from vault.errors import Rollback

MAIN, B = "channels/prod/main/churn/@/00000{}.json", "channels/prod/b/churn/@/00000{}.json"


def strip(built: Built, name: str) -> None:
    """Take all signatures off an envelope: its digest stays."""
    value = json.loads(built.store.objects[name])
    value["signatures"] = []
    built.write(name, json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def withdrawn_in_b() -> Built:
    """Give a vault whose churn:1 was barred by the only record of slot b, which the server has seen."""
    built = released(ONE)
    built.write_record(built.record(None, 2, slot="b", bars=("churn:1",)), "ann")
    assert in_prod(built, "churn@prod/b") == "barred"
    return built


def test_a_slot_that_vanished_as_a_whole_is_missed_in_the_others() -> None:
    built = withdrawn_in_b()
    assert in_prod(built) == "barred"
    built.store.delete(B.format(2))
    assert in_prod(built) == "rollback"
    assert in_prod(built, "churn:1") == "rollback"


@pytest.mark.parametrize("place", ["main", "b"])
def test_a_withdrawal_whose_signature_was_stripped_is_missed(place: str) -> None:
    built = withdrawn_in_b() if place == "b" else released(ONE)
    if place == "main":
        as_(built, "ann").withdraw("churn:1", env="prod")
    assert in_prod(built) == "barred"
    strip(built, (B if place == "b" else MAIN).format(2))
    assert in_prod(built) == "rollback"
    assert in_prod(built, "churn:1") == "rollback"


def test_a_remembered_record_whose_signer_left_is_not_missed() -> None:
    built = withdrawn_in_b()
    let_in(built, str(built.publish(TWO, who="dora")))
    built.amend(without("ann"))
    let_in_again(built)
    assert in_prod(built) == TWO


def let_in_again(built: Built) -> None:
    """Let the second version in by those who are left."""
    for who in ("bob", "cat"):
        as_(built, who).approve("churn:2", env="prod")
    as_(built, "rex").promote("churn:2", env="prod")


def test_a_promotion_is_refused_where_a_withdrawal_that_was_seen_is_hidden_in_another_slot() -> None:
    built = withdrawn_in_b()
    ref = str(built.publish(TWO, who="dora"))
    for who in ("ann", "bob"):
        as_(built, who).approve(ref, env="prod")
    built.memory("rex").advance(built.memory("server").load())
    hidden = built.fork()
    hidden.store.delete(B.format(2))
    with pytest.raises(Rollback):
        as_(hidden, "rex").promote(ref, env="prod")
    as_(built, "rex").promote(ref, env="prod")


def fresh(before: Policy) -> Policy:
    """Let prod refuse what no heads vouch for."""
    rule = before.environments[names.environment("prod")]
    asked = replace(rule, require=replace(rule.require, fresh="refuse"))
    return replace(before, environments={**before.environments, rule.name: asked})


@pytest.mark.parametrize("slot", ["main", "b"])
def test_what_heads_attest_cannot_be_hidden_below_a_record_of_an_insider(slot: str) -> None:
    """Whoever may promote writes above the withdrawal that the store hides, and needs no approvals."""
    built = team()
    built.amend(fresh)
    built.amend(with_rule("clock", "attest"))
    built.add("clock", "clock", kind="service", owners=("owner",))
    built.publish(ONE, who="dora")
    built.publish(TWO, who="dora")
    let_in(built, "churn:1")
    let_in(built, "churn:1", "b")
    built.write_record(built.record(None, 3, slot=slot, bars=("churn:1",)), "ann")
    as_(built, "clock").renew()
    new = built.fork(forgetful=True)
    assert outcome(new, "churn@prod", who="server", env="prod") == "barred"
    new.store.delete((MAIN if slot == "main" else B).format(3))
    named = "churn:1" if slot == "main" else "churn:2"  # with old approvals, or none
    new.write_record(new.record(named, 4, slot=slot), "rex")
    for ref in ("churn@prod", "churn:1"):
        assert outcome(new, ref, who="server", env="prod") == "rollback"
