"""A key that was retired counts for what its log had by then, and for nothing that is dated back."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.attacks.log_forgeries import OTHER, entry_for, genuine, loaded, proven, put, signed_by
from tests.builders import CONTENT, Built
from tests.log_vaults import PROD_LOG, client, logged
from vault.audit.proving import Prover
from vault.core import log_names
from vault.core.log_names import Log
from vault.core.names import Digest, Principal
from vault.core.policy import LogHead, Policy
from vault.errors import NotFound, Refused


def retired(built: Built, who: str, head: LogHead) -> Callable[[Policy], Policy]:
    """Write into the policy that a key counts for what the log had at a head."""

    def change(before: Policy) -> Policy:
        member = before.members[Principal(who)]
        keys = tuple(replace(key, until=head) for key in member.keys)
        return replace(before, members={**before.members, member.name: replace(member, keys=keys)})

    return change


def head_of(built: Built, log: Log = PROD_LOG) -> LogHead:
    newest = Prover(built.store, log, built.policy).newest
    return LogHead(log_names.origin(built.vault, log), newest.size, Digest(newest.root.hex()))


@pytest.mark.parametrize("mode", ["none", "unwitnessed"])
def test_what_a_key_signed_before_it_was_retired_counts_and_what_is_backdated_does_not(mode: str) -> None:
    built = logged(mode)
    session = client(built)
    built.publish(session=session)
    built.promote("churn:1", who="ann", session=client(built, "ann"))
    built.publish(OTHER, session=session)
    built.amend(retired(built, "ann", head_of(built)))
    assert loaded(built) == CONTENT
    # ann's key signs another record, dated before: it is in no log that the root's head holds.
    built.write_record(built.record("churn:2", 2), "ann")
    assert loaded(built) == CONTENT
    origin = log_names.origin(built.vault, PROD_LOG)
    entry = entry_for(built)
    forged = signed_by(built, "ann")
    put(built, forged)
    assert loaded(built) == CONTENT
    put(built, replace(forged, index=genuine(built).index))
    assert loaded(built) == CONTENT
    # Others may log it: then it is in the log, after the head at which her key ended.
    put(built, proven(built, PROD_LOG, entry))
    assert loaded(built) == CONTENT
    # Somebody whose key counts may still promote, and does.
    built.promote("churn:2", session=client(built))
    assert loaded(built) == OTHER
    assert origin == head_of(built).origin


def test_a_revoked_key_counts_for_nothing_whatever_was_logged() -> None:
    built = logged("unwitnessed")
    built.publish(session=client(built))
    built.promote("churn:1", who="ann", session=client(built, "ann"))
    built.amend(retired(built, "ann", head_of(built)))
    assert loaded(built) == CONTENT
    ann = Principal("ann")

    def revoked(before: Policy) -> Policy:
        member = before.members[ann]
        keys = tuple(replace(key, revoked=True) for key in member.keys)
        return replace(before, members={**before.members, ann: replace(member, keys=keys)})

    built.amend(revoked)
    with pytest.raises((Refused, NotFound)):
        loaded(built)


def test_a_head_of_a_log_that_never_was_lets_nothing_count() -> None:
    built = logged("none")
    built.publish(session=client(built))
    built.promote("churn:1", who="ann", session=client(built, "ann"))
    true = head_of(built)
    built.amend(retired(built, "ann", replace(true, root=Digest("00" * 32))))
    with pytest.raises((Refused, NotFound)):
        loaded(built)
