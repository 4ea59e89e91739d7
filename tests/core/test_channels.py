"""Admission step 4: which version a channel names, and which versions an environment accepts."""

from collections.abc import Callable, Iterable

import pytest

from tests import builders
from tests.builders import Built, channel
from vault.core import channels
from vault.core.channels import Evidence
from vault.core.in_force import Signed
from vault.core.names import Digest, Principal, Slot, Version
from vault.core.policy import PolicyId
from vault.core.records import Approval, ChannelRecord
from vault.core.stages import Resolved
from vault.core.trust import Skipped
from vault.errors import Malformed, NotFound, Refused, Unavailable

A, B = Digest("a" * 64), Digest("b" * 64)
POLICY = PolicyId(0, 1, Digest("0" * 64))
TIME = "2026-11-23T05:00:00Z"
JUNK = Skipped("somebody's object", "it is garbage", "malformed-json")
Entry = Signed[ChannelRecord] | Skipped


@pytest.fixture(scope="module")
def built() -> Built:
    return builders.team()


@pytest.fixture(scope="module")
def prod(built: Built) -> Resolved:
    """Resolve an environment where two of ann, bob, cat and rex must approve."""
    return built.session().resolve(builders.PROD)


@pytest.fixture(scope="module")
def dev(built: Built) -> Resolved:
    """Resolve an environment that requires nothing."""
    return built.session().resolve(builders.DEV)


def record(seq: int, manifest: Digest | None = A, *bars: Digest, slot: str = "main") -> Signed[ChannelRecord]:
    made = ChannelRecord(
        vault=Digest("0" * 64),
        policy=POLICY,
        environment=builders.PROD,
        slot=Slot(slot),
        model=builders.CHURN,
        seq=seq,
        version=None if manifest is None else Version("1"),
        manifest=manifest,
        prev=None,
        bars=bars,
        created=TIME,
    )
    return Signed(made, Digest(f"{seq:064}"), (Principal("rex"),))


def vote(who: str, seq: int = 0) -> Signed[Approval]:
    made = Approval(
        vault=Digest("0" * 64),
        policy=POLICY,
        model=builders.CHURN,
        version=Version("1"),
        manifest=A,
        environment=builders.PROD,
        seq=seq,
        created=TIME,
    )
    return Signed(made, Digest("f" * 64), (Principal(who),))


def evidence(*votes: Signed[Approval], publisher: str = "dora") -> Callable[[ChannelRecord], Evidence]:
    return lambda _: Evidence((Principal(publisher),), votes)


def never(_: ChannelRecord) -> Evidence:
    raise AssertionError("no evidence is needed here")


def in_force(
    resolved: Resolved, judged: Iterable[Entry], found: Callable[[ChannelRecord], Evidence] = never
) -> tuple[int | None, list[str]]:
    """Give the number in force and the codes of what was skipped."""
    entry, skipped = channels.channel_in_force(resolved, channel(), judged, found)
    return (None if entry is None else entry.record.seq), [item.code for item in skipped]


# --- reading ---


def test_records_are_read_from_the_newest_down_and_only_when_asked_for(built: Built) -> None:
    asked: list[int] = []

    def read(number: int) -> bytes:
        asked.append(number)
        return b"garbage"

    judged = channels.channel_records(built.context, channel(), [1, 3, 2, 3], read)
    assert asked == []
    next(judged)
    assert asked == [3]
    assert [type(entry) for entry in judged] == [Skipped, Skipped]
    assert asked == [3, 2, 1]


def test_an_object_too_large_for_a_record_is_skipped_and_one_that_cannot_be_read_is_not(built: Built) -> None:
    def read(number: int) -> bytes:
        if number == 3:
            raise Malformed("too large", code="too-large")
        raise Unavailable("gone")

    judged = channels.channel_records(built.context, channel(), [2, 3], read)
    first = next(judged)
    assert isinstance(first, Skipped)
    assert (first.name, first.code) == ("churn@prod record 3", "too-large")
    with pytest.raises(Unavailable):
        next(judged)


# --- the record in force ---


def test_an_empty_channel_names_nothing(dev: Resolved) -> None:
    assert in_force(dev, []) == (None, [])
    assert in_force(dev, [JUNK, JUNK]) == (None, ["malformed-json"] * 2)


def test_the_newest_record_that_counts_is_in_force_and_no_older_one_is_looked_at(dev: Resolved) -> None:
    def judged() -> Iterable[Entry]:
        yield JUNK
        yield record(7)
        raise AssertionError("the record in force was found already")

    assert in_force(dev, judged()) == (7, ["malformed-json"])


def test_a_record_without_its_approvals_above_an_approved_one_is_skipped(prod: Resolved) -> None:
    found = {A: evidence(vote("ann"), vote("bob")), B: evidence(vote("ann"))}

    def lookup(entry: ChannelRecord) -> Evidence:
        return found[entry.manifest or A](entry)

    assert in_force(prod, [record(3, B), record(2, A), record(1, B)], lookup) == (2, ["approvals-missing"])


def test_too_few_different_approvers_put_nothing_in_force(prod: Resolved) -> None:
    for votes in ((), (vote("ann"),), (vote("ann"), vote("ann")), (vote("ann"), vote("owner"))):
        assert in_force(prod, [record(1)], evidence(*votes)) == (None, ["approvals-missing"])


def test_a_publishers_own_approval_does_not_count(prod: Resolved) -> None:
    both = (vote("ann"), vote("bob"))
    assert in_force(prod, [record(1)], evidence(*both, publisher="ann"))[0] is None
    assert in_force(prod, [record(1)], evidence(*both, publisher="robot"))[0] is None
    assert in_force(prod, [record(1)], evidence(*both, publisher="cat"))[0] == 1


def test_a_withdrawal_needs_no_approvals(prod: Resolved) -> None:
    assert in_force(prod, [record(2, None, A), record(1)]) == (2, [])


def test_after_a_withdrawal_the_old_approvals_never_count_again(prod: Resolved) -> None:
    old, new = (vote("ann", 1), vote("bob", 1)), (vote("cat", 2), vote("rex", 2))
    history: list[Entry] = [record(3), JUNK, record(2, None, A), record(1)]
    assert in_force(prod, history, evidence(*old)) == (2, ["approvals-missing", "malformed-json"])
    assert in_force(prod, history, evidence(*old, new[0]))[0] == 2
    assert in_force(prod, history, evidence(*old, *new))[0] == 3


def test_going_back_to_an_approved_version_needs_no_new_approvals(prod: Resolved) -> None:
    history = [record(3, A), record(2, B), record(1, A)]
    assert in_force(prod, history, evidence(vote("ann"), vote("bob"))) == (3, [])


def test_what_fails_behind_a_record_that_counts_is_final(prod: Resolved) -> None:
    def missing(_: ChannelRecord) -> Evidence:
        raise NotFound("the manifest is gone")

    with pytest.raises(NotFound):
        in_force(prod, [record(2), record(1)], missing)


def test_the_last_bar_is_looked_for_no_further_down_than_it_can_matter() -> None:
    def judged() -> Iterable[Entry]:
        yield record(9, B)
        yield record(8, B, A)
        raise AssertionError("found already")

    assert channels.last_bar(judged(), A, [vote("ann", 2)]) == 8

    def shallow() -> Iterable[Entry]:
        yield JUNK
        yield record(5, B)
        raise AssertionError("no approval is older than record 5")

    assert channels.last_bar(shallow(), A, [vote("ann", 6), vote("bob", 5)]) == 0
    assert channels.last_bar([record(5, B), record(4, B, A)], B, []) == 0
    assert channels.last_bar([record(3, B)], A, [vote("ann", 0)]) == 0


# --- what a reference means ---


def test_an_empty_channel_is_not_found_with_the_command_that_fills_it() -> None:
    with pytest.raises(NotFound, match="mvault promote churn:VERSION --env prod"):
        channels.target_of_channel(channel(), None)


def test_a_channel_gives_what_its_record_names() -> None:
    target = channels.target_of_channel(channel(), record(4))
    assert (target.version, target.manifest) == ("1", A)
    assert target.via == record(4)


def test_a_channel_that_was_withdrawn_is_barred() -> None:
    with pytest.raises(Refused, match="withdrawn on 23 November 2026") as caught:
        channels.target_of_channel(channel(), record(4, None, A))
    assert caught.value.code == "barred"


def target(resolved: Resolved, *history: Signed[ChannelRecord]) -> Signed[ChannelRecord] | None:
    return channels.target_of_version(resolved, Version("1"), A, history, "churn:1").via


def test_a_version_needs_a_record_where_something_is_required(prod: Resolved, dev: Resolved) -> None:
    with pytest.raises(Refused) as caught:
        target(prod, record(1, B))
    assert caught.value.code == "not-promoted"
    assert target(dev, record(1, B)) is None
    assert target(dev) is None


def test_a_version_that_was_once_in_force_may_be_loaded_by_its_number(prod: Resolved) -> None:
    assert target(prod, record(3, B), record(2, A), record(1, A)) == record(2, A)
    assert target(prod, record(1, A), record(2, A), record(3, B)) == record(2, A)


def test_a_bar_after_the_promotion_refuses_and_a_promotion_after_the_bar_does_not(
    prod: Resolved, dev: Resolved
) -> None:
    for resolved in (prod, dev):
        for barring in (record(2, None, A), record(2, B, A)):
            with pytest.raises(Refused) as caught:
                target(resolved, barring, record(1, A))
            assert caught.value.code == "barred"
            assert target(resolved, record(3, A), barring, record(1, A)) == record(3, A)


def test_a_bar_in_one_slot_is_not_undone_by_a_promotion_in_another(prod: Resolved) -> None:
    with pytest.raises(Refused) as caught:
        target(prod, record(9, A), record(1, None, A, slot="b"))
    assert caught.value.code == "barred"


def test_a_version_that_was_only_barred_is_barred_even_where_nothing_is_required(dev: Resolved) -> None:
    with pytest.raises(Refused) as caught:
        target(dev, record(1, None, A))
    assert caught.value.code == "barred"
