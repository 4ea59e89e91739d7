"""The Update Framework's scenarios of expiry and of freezing: until when what was signed last counts."""

from dataclasses import replace

import pytest

from tests.attacks.test_freshness import asking, renew
from tests.attacks.update_framework_parts import (
    NEW,
    OLD,
    attested,
    newcomer,
    number_of,
    put_back,
    remembered,
    scenario,
    snapshot,
    strip,
)
from tests.attacks.vault_mixing import outcome, revoked
from tests.builders import NOW, Built, solo
from vault.core import layout, names
from vault.core.heads import DAY
from vault.core.policy import Policy
from vault.settings import Settings
from vault.vault import Vault

TOP = "python-tuf/top_level::"
SET = "python-tuf/trusted_set::"
HEADS = "trust/heads/prod/"


def expire(built: Built, seconds: int) -> int:
    """Sign a policy that lasts so long; give its number."""
    return built.amend(lambda policy: replace(policy, expires=names.time_text(built.now + seconds))).version


@scenario(
    "expiration::test_targets_expired",
    "delegated_expiration::test_delegated_targets_expired",
    TOP + "test_new_targets_expired",
    SET + "test_update_targets_expired_new_target",
)
def test_targets_expired() -> None:
    """A policy that had expired when it was first seen stops loads, and binds: the older one is a rollback.

    The update framework does not keep expired targets, since a snapshot vouches for their version. Here no
    other document does, so the policy itself must be remembered.
    """
    built = solo(seed="expired")
    built.promote(built.publish(OLD))
    assert outcome(built, "churn@prod") == OLD
    before = snapshot(built)
    number = expire(built, 10)
    assert outcome(newcomer(built), "churn@prod") == OLD
    built.now += 10
    assert outcome(built, "churn@prod") == "expired"
    assert number_of(remembered(built, "policy")) == number
    put_back(built, before, "trust/")
    assert outcome(built, "churn@prod") == "rollback"
    assert outcome(newcomer(built), "churn@prod") == OLD


@scenario("delegated_expiration::test_expired_local_delegated_targets")
def test_expired_local_delegated_targets() -> None:
    """An open vault does not go on with a policy that it read while that was valid."""
    built = solo(seed="expired")
    for model in ("churn", "fraud"):
        built.promote(built.publish(OLD, model=model))
    expire(built, 7 * DAY)
    session = built.session()
    assert built.read("churn@prod", session=session) == OLD
    assert Vault(session, Settings()).show("churn@prod").release.version == "1"
    built.now += 18 * DAY
    for model in ("churn", "fraud"):
        with pytest.raises(Exception, match="expired on") as caught:
            built.read(f"{model}@prod", session=session)
        assert getattr(caught.value, "code", "") == "expired"


@scenario(
    "delegated_expiration::test_expired_local_delegated_targets_updates",
    "expiration::test_expired_metadata",
)
def test_expired_local_metadata_can_be_updated() -> None:
    """What is remembered is a floor and never expires: what lapsed is followed by what comes next."""
    built = attested()
    renew(built)
    expire(built, 7 * DAY)
    session = built.session()
    assert built.read("churn@prod", session=session) == OLD
    built.now += 18 * DAY
    assert outcome(built, "churn@prod") == "expired"
    expire(built, 21 * DAY)
    assert outcome(built, "churn@prod") == "heads-expired"
    renew(built)
    built.promote(built.publish(NEW))
    for client in (built, newcomer(built)):
        assert outcome(client, "churn@prod") == NEW
    assert built.read("churn@prod", session=session) == NEW


@pytest.mark.parametrize(
    ("mode", "known", "new"),
    [("warn", OLD, OLD), ("stale", OLD, "heads-expired"), ("refuse", "heads-expired", "heads-expired")],
)
@scenario(
    "expiration::test_timestamp_expired",
    TOP + "test_new_timestamp_expired",
    SET + "test_update_timestamp_expired",
    "python-tuf::test_indefinite_freeze_attack",
)
def test_timestamp_expired(mode: str, known: object, new: object) -> None:
    """What a lapse of the heads means is the environment's to say: "refuse" is what a timestamp does."""
    built = attested()
    built.amend(asking(mode))
    renew(built)
    assert outcome(built, "churn@prod") == OLD
    built.now += 7 * DAY - 1
    assert outcome(newcomer(built), "churn@prod") == OLD
    built.now += 1
    assert outcome(built, "churn@prod") == known
    assert outcome(newcomer(built), "churn@prod") == new


@scenario("python-tuf::test_freeze_attack_stale_expiry_check")
def test_expired_heads_are_remembered_when_they_were_first_seen_expired() -> None:
    built = attested()
    renew(built)
    first = snapshot(built)
    renew(built)
    built.now += 8 * DAY
    assert outcome(built, "churn@prod") == "heads-expired"
    assert number_of(remembered(built, "heads")) == 2
    put_back(built, first, HEADS)
    assert outcome(built, "churn@prod") == "rollback"
    assert outcome(newcomer(built), "churn@prod") == "heads-expired"


@scenario(
    "expiration::test_snapshot_expired",
    TOP + "test_new_snapshot_expired",
    SET + "test_update_snapshot_expired_new_snapshot",
)
def test_snapshot_expired() -> None:
    """Channel records have no end, so that nothing stops at night; `max_age_days` and heads bound them."""
    built = attested()

    def ageing(policy: Policy) -> Policy:
        prod = policy.environments[names.environment("prod")]
        asked = replace(prod, require=replace(prod.require, max_age_days=30))
        return replace(policy, environments={**policy.environments, prod.name: asked})

    built.amend(ageing)
    renew(built)
    assert outcome(built, "churn@prod") == OLD
    built.now += 31 * DAY
    renew(built)
    assert outcome(built, "churn@prod") == "expired"
    assert number_of(remembered(built, "channel")) == 1
    built.promote(built.publish(NEW))
    assert outcome(built, "churn@prod") == NEW


def test_a_policy_dated_in_the_future_or_past_changes_no_order() -> None:
    """Order is by number alone: clocks of those who sign may differ."""
    built = solo(seed="dated")
    built.promote(built.publish(OLD))
    built.amend(lambda policy: replace(policy, created=names.time_text(NOW + 900 * DAY)))
    built.amend(lambda policy: replace(policy, created=names.time_text(NOW - 900 * DAY)))
    assert outcome(built, "churn@prod") == OLD
    assert number_of(remembered(built, "policy")) == 3
    del built.store.objects[layout.policy(3)]
    assert outcome(built, "churn@prod") == "rollback"


def test_stripped_heads_do_not_pass_for_those_of_somebody_who_lost_the_right() -> None:
    """Heads vouch for channels that a client never used: what it saw of them binds it all the same."""
    built = attested()
    built.promote(built.publish(OLD, model="fraud"))
    renew(built)
    built.promote(built.publish(NEW, model="fraud"))
    renew(built)
    built.memories = {}
    assert outcome(built, "churn@prod") == OLD
    genuine = snapshot(built)
    name = HEADS + layout.numbered(2)
    for data in (strip(genuine[name], "heads"), built.sign("heads", b"{}", "renewer")):
        built.write(name, data)
        built.store.objects.pop("channels/prod/main/fraud/@/000002.json", None)
        assert outcome(built, "fraud@prod") == "rollback"
    put_back(built, genuine, "")
    assert outcome(built, "fraud@prod") == NEW
    built.amend(revoked("renewer"))  # this is what the exception is for
    assert outcome(built, "fraud@prod") == "heads-expired"
    renew(built, "second")
    assert outcome(built, "fraud@prod") == NEW


def test_a_policy_is_remembered_although_the_heads_beside_it_are_refused() -> None:
    built = attested()
    renew(built)
    first = snapshot(built)
    renew(built)
    assert outcome(built, "churn@prod") == OLD
    number = built.amend(lambda policy: policy).version
    put_back(built, first, HEADS)
    assert outcome(built, "churn@prod") == "rollback"
    assert number_of(remembered(built, "policy")) == number
    put_back(built, first, "trust/policy/")
    renew(newcomer(built))
    assert outcome(built, "churn@prod") == "rollback"
