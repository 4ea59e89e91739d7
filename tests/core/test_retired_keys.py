"""A retired key counts for what a log had before its `until`, and for nothing else."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests import builders
from tests.builders import Built, channel
from vault.core import in_force, records
from vault.core.in_force import Proofs, Signed
from vault.core.names import Digest, Environment, Principal
from vault.core.policy import Key, LogHead, Policy
from vault.core.records import ChannelRecord
from vault.core.trust import Skipped

UNTIL = LogHead("mvault/v1/it/env/prod", 12, Digest("a" * 64))


def retiring(who: str, *, revoked: bool = False) -> Callable[[Policy], Policy]:
    def change(before: Policy) -> Policy:
        member = before.members[Principal(who)]
        keys = tuple(replace(key, until=UNTIL, revoked=revoked) for key in member.keys)
        return replace(before, members={**before.members, member.name: replace(member, keys=keys)})

    return change


@pytest.fixture
def built() -> Built:
    made = builders.team()
    made.publish(who="dora")
    return made


def judged(
    built: Built, record: ChannelRecord, proved: Callable[[Digest, Key, Environment | None], bool], *who: str
) -> Signed[ChannelRecord] | Skipped:
    data = built.sign(records.CHANNEL, records.encode_channel(record), *who)
    context = replace(built.context, proofs=Proofs(had=proved))
    return in_force.channel_record(context, channel(), record.seq, data)


def test_what_a_log_had_before_the_head_counts_still(built: Built) -> None:
    record = built.record("churn:1", 1)
    built.amend(retiring("rex"))
    asked = []

    def proved(digest: Digest, key: Key, environment: Environment | None) -> bool:
        asked.append((digest, key.until, environment))
        return True

    found = judged(built, record, proved, "rex")
    assert isinstance(found, Signed)
    assert found.signers == ("rex",)
    assert asked == [(found.digest, UNTIL, "prod")]


def test_what_no_log_had_does_not(built: Built) -> None:
    record = built.record("churn:1", 1)
    built.amend(retiring("rex"))
    for proved in (in_force.never_had, lambda digest, *_: digest == "0" * 64):
        found = judged(built, record, proved, "rex")
        assert isinstance(found, Skipped)
        assert found.code == "untrusted-signer"


def test_a_revoked_key_never_counts_whatever_a_log_had(built: Built) -> None:
    record = built.record("churn:1", 1)
    built.amend(retiring("rex", revoked=True))
    assert isinstance(judged(built, record, lambda *_: True, "rex"), Skipped)


def test_the_log_is_asked_only_about_what_the_key_really_signed(built: Built) -> None:
    record = built.record("churn:1", 1)
    built.amend(retiring("rex"))
    data = built.sign(records.CHANNEL, records.encode_channel(record), "ann")
    by, of = (built.identities[name].key_id.encode() for name in ("ann", "rex"))

    def proved(digest: Digest, key: Key, environment: Environment | None) -> bool:
        raise AssertionError("nothing that verifies was signed with a retired key")

    context = replace(built.context, proofs=Proofs(had=proved))
    assert isinstance(in_force.channel_record(context, channel(), 1, data.replace(by, of)), Skipped)


def test_others_signatures_count_beside_it(built: Built) -> None:
    built.amend(retiring("ann"))
    found = judged(built, built.record("churn:1", 1), in_force.never_had, "rex", "ann")
    assert isinstance(found, Signed)
    assert found.signers == ("rex",)
