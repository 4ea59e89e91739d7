"""The attack matrix: one stolen laptop, and who writes the log."""

import pytest

from tests.attacks.matrix import Attack, Row, attacks, run
from tests.attacks.matrix_drafts import (
    NEWEST,
    applies,
    asks_for_a_log,
    higher_era,
    lets_eve_in,
    owners_laptop,
    policy_by,
    policy_signed,
    signs_churn_2_backdated,
    twice_by_one,
    without_approvals,
)
from tests.attacks.matrix_scenes import (
    after,
    both,
    loads,
    manifest_by,
    one,
    publishes,
    retired,
    seen,
    shared_root,
)
from tests.e2e.team_parts import ONE, TWO
from vault.errors import (
    AccessDenied,
    LogInconsistent,
    UntrustedSigner,
)

TOO_FEW = (UntrustedSigner, "threshold-not-met")

LAPTOP = (
    Attack(
        "a policy signed by one of two",
        Row.LAPTOP, ("a known key without authority",), shared_root,
        strike=policy_by(without_approvals, "owner"), flow=loads("churn@prod"), gives=ONE, stays=ONE,
    ),
    Attack(
        "a policy by one of two that knows a stranger, and what the stranger published",
        Row.LAPTOP, ("a known key without authority",), shared_root,
        strike=both(policy_by(lets_eve_in, "owner"), manifest_by("eve", "2")),
        honest=publishes(TWO), flow=NEWEST, gives=TWO, stays=ONE,
    ),
    Attack(
        "a draft signed by one of two",
        Row.LAPTOP, ("a known key without authority",), shared_root,
        strike=policy_signed("owner"), honest=policy_signed("owner", "zoe"), flow=applies,
        gives="applied", refused=TOO_FEW,
    ),
    Attack(
        "a draft signed twice by one of two",
        Row.LAPTOP, ("one key or person counted twice",), shared_root,
        strike=twice_by_one, honest=policy_signed("owner", "zoe"), flow=applies, gives="applied",
        refused=TOO_FEW,
    ),
    Attack(
        "the era raised by one of two",
        Row.LAPTOP, ("eras", "fast-forward"), shared_root,
        strike=policy_signed("owner", change=higher_era),
        honest=policy_signed("owner", "yan", change=higher_era), flow=applies, gives="applied",
        refused=TOO_FEW,
    ),
    Attack(
        "a policy of a higher era by one of two, put into the storage",
        Row.LAPTOP, ("eras", "fast-forward", "rollback"), seen(shared_root, loads("churn@prod")),
        strike=policy_by(higher_era, "owner"), flow=loads("churn@prod"), gives=ONE, stays=ONE,
    ),
    Attack(
        "a version signed by a laptop after it was revoked",
        Row.LAPTOP, ("a revoked key",), after(shared_root, owners_laptop),
        strike=manifest_by("owner", "2"), honest=publishes(TWO), flow=loads("churn:2", "dora", "dev"),
        gives=TWO, refused=(UntrustedSigner, "untrusted-signer"),
    ),
    Attack(
        "a version signed by a retired key, dated back to when it counted",
        Row.LAPTOP, ("a threshold of retired keys", "a revoked key"),
        after(shared_root, policy_by(retired("owner"), "zoe", "yan")),
        strike=signs_churn_2_backdated("owner"), honest=publishes(TWO),
        flow=loads("churn:2", "dora", "dev"), gives=TWO, refused=(UntrustedSigner, "untrusted-signer"),
    ),
    Attack(
        "a load with a laptop that was revoked",
        Row.LAPTOP, ("a revoked key", "reading"), shared_root,
        strike=owners_laptop, flow=loads("churn@prod", "owner"), gives=ONE,
        refused=(AccessDenied, "access-denied"),
    ),
)  # fmt: skip

# Without a proof that an environment's log had it, no record counts there; forged proofs come with the log.
LOG_WRITER = (
    Attack(
        "a private fork of the log, where prod asks for a witnessed one",
        Row.LOG_WRITER, ("a private fork of the log", "requirements"), one,
        strike=asks_for_a_log("witnessed", 1), flow=loads("churn@prod"), gives=ONE,
        refused=(LogInconsistent, "not-logged"),
    ),
    Attack(
        "a private fork of the log, where prod asks for any",
        Row.LOG_WRITER, ("a private fork of the log", "requirements"), one,
        strike=asks_for_a_log("unwitnessed"), flow=loads("churn@prod"), gives=ONE,
        refused=(LogInconsistent, "not-logged"),
    ),
)  # fmt: skip

ATTACKS = (*LAPTOP, *LOG_WRITER)


@attacks(ATTACKS)
def test_one_stolen_laptop_changes_nothing(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    run(attack, monkeypatch)
