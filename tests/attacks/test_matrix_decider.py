"""The attack matrix: insiders who may approve, or promote."""

from dataclasses import replace

import pytest

from tests.attacks.matrix import Act, Attack, Row, attacks, nothing, run
from tests.attacks.matrix_scenes import (
    FIRST,
    IN_PROD,
    SECOND,
    after,
    amends,
    approved,
    approves,
    asks_distinct,
    both,
    candidate,
    copies,
    deletes,
    keys,
    lets_in,
    loads,
    newer_policy,
    promotes,
    retired,
    second_key,
    seen,
    tries,
    two,
    with_keys_of,
    withdraws,
    writes_record,
)
from tests.attacks.vault_mixing import revoked
from tests.builders import Built
from tests.e2e.team_parts import ONE, THREE, TWO, as_, with_rule
from vault.core import envelope, limits, records
from vault.core.names import Digest
from vault.errors import AccessDenied, DigestMismatch, Refused, Rollback, UntrustedSigner

UNRELATED = Digest("0" * 64)
ready = after(candidate, with_keys_of("churn:2"))  # prod's keys are there, no record and no approval
one_vote = after(ready, approves("churn:2", "bob"))
by_rex = promotes()


# --- what they do ---


def votes(*people: str, seq: int = 0, env: str = "prod") -> Act:
    """Sign approvals of churn:2 by hand."""

    def act(built: Built) -> None:
        for who in people:
            built.approve("churn:2", who, seq=seq, env=env)

    return act


def one_document(*signers: str) -> Act:
    """Sign one approval of churn:2 by several keys."""

    def act(built: Built) -> None:
        payload = records.encode_approval(built.approve("churn:2", "bob"))
        data = built.sign(records.APPROVAL, payload, *signers)
        built.write(f"{SECOND}approvals/prod/{envelope.digest(data)}.json", data)

    return act


def bot_of_cat(built: Built) -> None:
    built.add("bot", "release-manager", kind="service", owners=("cat",))


def dan(built: Built) -> None:
    """Add an approver."""
    built.add("dan", "release-manager")


def roy(built: Built) -> None:
    """Add a promoter who is nobody's approver."""
    built.add("roy", "releaser")


def three() -> Built:
    """Give a team whose prod used churn:1, 2 and 3."""
    built = two()
    built.publish(THREE, who="dora")
    lets_in("churn:3")(built)
    return built


def withdraws_something_else(following: int) -> Act:
    """Bar a digest that is nobody's, by a record that says that it followed another than the newest."""

    def act(built: Built) -> None:
        name = f"{IN_PROD}{following:06d}.json"
        prev = envelope.parse(built.store.objects[name], kind=records.CHANNEL, subject=name).digest
        made = built.record(None, 4, bars=("churn:3",))
        built.write_record(replace(made, bars=(UNRELATED,), prev=prev), "ann")

    return act


def barred_then_back(built: Built) -> None:
    """Withdraw churn:2, and go back to churn:1."""
    withdraws()(built)
    as_(built, "rex").rollback("churn", env="prod")


def votes_of_somebody_who_may_approve_staging(built: Built) -> None:
    built.amend(with_rule("tester", "approve", env="staging"))
    built.add("tess", "tester")


def dated_before(who: str, seq: int) -> Act:
    """Sign a record after one's key was revoked, as if under the first policy."""

    def act(built: Built) -> None:
        first = replace(built.policy_id, version=1, digest=UNRELATED)
        writes_record(who, seq, policy=first, created="2020-01-01T00:00:00Z")(built)

    return act


def policy_to_come(built: Built) -> None:
    found = newer_policy(built)
    made = replace(built.policy_id, version=found["version"], digest=found["digest"])  # type: ignore[arg-type]
    writes_record("rex", 2, policy=made)(built)


def digest_of_one_as_two(built: Built) -> None:
    """Name churn:1's manifest, whose approvals are moved along, as version 2."""
    copies(f"{FIRST}approvals/", f"{SECOND}approvals/")(built)
    _, digest = built.manifest("churn:1")
    writes_record("rex", 2, manifest=digest)(built)


APPROVER = (
    Attack(
        "an approval by a service of somebody who may approve",
        Row.APPROVER, ("approval through an owned service",), after(one_vote, bot_of_cat),
        strike=votes("bot"), honest=votes("cat"), flow=by_rex, gives="done",
        refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "the two keys of one person on two approvals",
        Row.APPROVER, ("one key or person counted twice",), after(ready, second_key("bob", "bob-too")),
        strike=votes("bob", "bob-too"), honest=votes("bob", "cat"), flow=by_rex, gives="done",
        refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "the two keys of one person on one approval",
        Row.APPROVER, ("one key or person counted twice", "one of several signatures looked at"),
        after(ready, second_key("bob", "bob-too")),
        strike=one_document("bob", "bob-too"), honest=one_document("bob", "cat"), flow=by_rex,
        gives="done", refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "one person's approval many times, under several numbers",
        Row.APPROVER, ("one key or person counted twice",), ready,
        strike=both(*(votes("bob", seq=number) for number in range(1, 6))), honest=votes("bob", "cat"),
        flow=by_rex, gives="done", refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "an approval by a key that was revoked",
        Row.APPROVER, ("a revoked key",), after(one_vote, amends(revoked("cat"))),
        strike=votes("cat"), honest=votes("ann"), flow=by_rex, gives="done",
        refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "an approval from before a revocation, which was enough then",
        Row.APPROVER, ("a revoked key", "a delegator that has changed"), after(one_vote, votes("cat")),
        strike=amends(revoked("cat")), flow=by_rex, gives="done",
        refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "approvals by keys that are retired, and no log to prove when",
        Row.APPROVER, ("a threshold of retired keys",),
        after(ready, dan, amends(retired("cat"), retired("dan"))),
        strike=votes("cat", "dan"), honest=votes("ann", "bob"), flow=by_rex, gives="done",
        refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "approvals for staging by who may approve there only",
        Row.APPROVER, ("a known key without authority",),
        after(one_vote, votes_of_somebody_who_may_approve_staging),
        strike=both(votes("tess", env="staging"), votes("tess")), honest=votes("cat"), flow=by_rex,
        gives="done", refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "approvals from before a withdrawal",
        Row.APPROVER, ("bars",), after(two, barred_then_back),
        strike=nothing, honest=approves("churn:2", "ann", "bob"), flow=by_rex, gives="done",
        refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "approvals signed after a withdrawal, as if it had not been seen",
        Row.APPROVER, ("bars",), after(two, barred_then_back),
        strike=votes("ann", "bob", seq=2), honest=votes("ann", "bob", seq=4), flow=by_rex, gives="done",
        refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "a promotion by who may only approve",
        Row.APPROVER, ("a known key without authority",), after(approved, with_keys_of("churn:2")),
        strike=writes_record("ann", 2), honest=by_rex, flow=loads("churn@prod"), gives=TWO, stays=ONE,
    ),
    Attack(
        "a withdrawal that says that it followed an older version than it did",
        Row.APPROVER, ("rollback", "bars", "a known key without authority"), three,
        strike=withdraws_something_else(following=1),
        flow=loads("churn@prod"), gives=THREE, stays=THREE,
    ),
    Attack(
        "a withdrawal of the newest that says that it followed an older one",
        Row.APPROVER, ("rollback", "bars", "a known key without authority"), three,
        strike=writes_record("ann", 4, None, bars=("churn:3",), prev=1),
        flow=loads("churn@prod"), gives=THREE, refused=(Refused, "barred"), in_force=True,
    ),
    Attack(
        "a replacement that who may withdraw chose",
        Row.APPROVER, ("a known key without authority", "bars"), after(approved, with_keys_of("churn:2")),
        strike=writes_record("ann", 2, bars=("churn:1",)),
        honest=lambda built: as_(built, "rex").withdraw("churn:1", env="prod", replacement="2"),
        flow=loads("churn@prod"), gives=TWO, stays=ONE,
    ),
)  # fmt: skip

PROMOTER = (
    Attack(
        "a record without its approvals above an approved one",
        Row.PROMOTER, ("a record without its approvals",), ready,
        strike=writes_record("rex", 2), honest=both(votes("bob", "cat"), by_rex),
        flow=loads("churn@prod"), gives=TWO, stays=ONE,
    ),
    Attack(
        "a record without its approvals under the highest number",
        Row.PROMOTER, ("a record without its approvals", "fast-forward"), ready,
        strike=writes_record("rex", limits.NUMBER_MAX), honest=both(votes("bob", "cat"), by_rex),
        flow=loads("churn@prod"), gives=TWO, stays=ONE,
    ),
    Attack(
        "the highest number without approvals, against the next promotion",
        Row.PROMOTER, ("fast-forward",), after(candidate, roy),
        strike=writes_record("roy", limits.NUMBER_MAX),
        honest=approves("churn:2", "bob", "cat"), flow=by_rex, gives="done",
        refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "a version named again after its withdrawal, on the approvals of before",
        Row.PROMOTER, ("bars", "a record without its approvals"), after(two, barred_then_back),
        strike=writes_record("rex", 5), honest=both(approves("churn:2", "ann", "bob"), by_rex),
        flow=loads("churn@prod"), gives=TWO, stays=ONE,
    ),
    Attack(
        "a version named again below its withdrawal, at a number that was left free",
        Row.PROMOTER, ("bars",),
        after(two, writes_record("ann", 5, None, bars=("churn:2",), prev=2)),
        strike=writes_record("rex", 4), honest=both(approves("churn:2", "ann", "bob"), by_rex),
        flow=loads("churn@prod"), gives=TWO, refused=(Refused, "barred"),
    ),
    Attack(
        "the number of a withdrawal taken for a promotion",
        Row.PROMOTER, ("bars", "rollback"), seen(after(two, withdraws()), tries(loads("churn@prod"))),
        strike=writes_record("rex", 3), honest=both(approves("churn:2", "ann", "bob"), by_rex),
        flow=loads("churn@prod"), gives=TWO, refused=(Rollback, "rollback"),
    ),
    Attack(
        "a withdrawal replaced by a higher number of the promoter's, for a client that saw it",
        Row.PROMOTER, ("bars", "rollback"), seen(after(two, withdraws()), tries(loads("churn@prod"))),
        strike=both(deletes(f"{IN_PROD}000003.json"), writes_record("rex", 4, prev=2)),
        honest=both(approves("churn:2", "ann", "bob"), by_rex), flow=loads("churn@prod"), gives=TWO,
        refused=(Rollback, "rollback"),
    ),
    Attack(
        "the promoter's own approval where another's is asked for",
        Row.PROMOTER, ("a record without its approvals",),
        after(one_vote, amends(asks_distinct("publisher", "promoter"))),
        strike=votes("rex"), honest=votes("cat"), flow=by_rex, gives="done",
        refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "a promotion to where one may not promote",
        Row.PROMOTER, ("a known key without authority",), candidate,
        strike=writes_record("rex", 1, "churn:1", env="dev"),
        flow=loads("churn@dev", "dora", "dev"), gives=TWO, stays=TWO,
    ),
    Attack(
        "a version whose publisher was revoked",
        Row.PROMOTER, ("a revoked key",), approved,
        strike=amends(revoked("dora")), flow=by_rex, gives="done",
        refused=(UntrustedSigner, "untrusted-signer"),
    ),
    Attack(
        "a record signed after a revocation, dated and numbered before it",
        Row.PROMOTER, ("a revoked key",),
        after(approved, with_keys_of("churn:2"), roy, amends(revoked("roy"))),
        strike=dated_before("roy", 2), honest=by_rex, flow=loads("churn@prod"), gives=TWO, stays=ONE,
    ),
    Attack(
        "a record signed by a key that is retired, as if it had been before",
        Row.PROMOTER, ("a threshold of retired keys", "a revoked key"),
        after(approved, with_keys_of("churn:2"), roy, amends(retired("roy"))),
        strike=dated_before("roy", 2), honest=by_rex, flow=loads("churn@prod"), gives=TWO, stays=ONE,
    ),
    Attack(
        "a record that names a policy to come",
        Row.PROMOTER, ("a withheld policy",), after(approved, with_keys_of("churn:2")),
        strike=policy_to_come, honest=by_rex, flow=loads("churn@prod"), gives=TWO,
        refused=(Rollback, "withheld"),
    ),
    Attack(
        "one version's digest and approvals under another version's name",
        Row.PROMOTER, ("mixed versions",), approved,
        strike=digest_of_one_as_two, honest=by_rex, flow=loads("churn@prod"), gives=TWO,
        refused=(DigestMismatch, "digest-mismatch"),
    ),
    Attack(
        "a record for one slot under another",
        Row.PROMOTER, ("another version or model served",), approved,
        strike=both(
            with_keys_of("churn:2"),
            writes_record("rex", 2, slot="b"),
            copies("channels/prod/b/churn/@/", IN_PROD),
        ),
        honest=by_rex, flow=loads("churn@prod"), gives=TWO, stays=ONE,
    ),
    Attack(
        "a promotion by a principal who has left",
        Row.PROMOTER, ("a delegator that has changed",), after(approved, roy),
        strike=amends(keys("roy", revoked=True)), flow=promotes(who="roy"), gives="done",
        refused=(AccessDenied, "access-denied"),
    ),
)  # fmt: skip

ATTACKS = (*APPROVER, *PROMOTER)


@attacks(ATTACKS)
def test_who_decides_decides_no_more_than_their_part(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    run(attack, monkeypatch)
