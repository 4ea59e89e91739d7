"""Admission step 4: which version a channel names, and which versions an environment accepts."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest

from tests import builders
from tests.builders import Built, channel
from vault.core import channels, limits
from vault.core.channels import Evidence, InForce, Records, Slots
from vault.core.in_force import Context, Order, Signed
from vault.core.names import Digest, Principal, Slot, Version
from vault.core.policy import ChannelHead, PolicyId
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


def record(
    seq: int,
    manifest: Digest | None = A,
    *bars: Digest,
    slot: str = "main",
    era: int = 0,
    prev: int | None = None,
) -> Signed[ChannelRecord]:
    """Give a record whose digest is made of its era and number, as `prev` is."""
    made = ChannelRecord(
        vault=Digest("0" * 64),
        policy=replace(POLICY, era=era),
        environment=builders.PROD,
        slot=Slot(slot),
        model=builders.CHURN,
        seq=seq,
        version=None if manifest is None else Version("1"),
        manifest=manifest,
        prev=None if prev is None else Digest(f"{prev:064}"),
        bars=bars,
        created=TIME,
    )
    return Signed(made, Digest(f"{seq:064}"), (Principal("rex"),))


def vote(who: str, seq: int = 0, era: int = 0) -> Signed[Approval]:
    made = Approval(
        vault=Digest("0" * 64),
        policy=replace(POLICY, era=era),
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


class Judged(Records):
    """Records that were judged before, in the order given."""

    def __init__(self, context: Context, entries: Iterable[Entry], slot: str = "main") -> None:
        where = replace(channel(), slot=Slot(slot))
        super().__init__(context, where, lambda: [limits.NUMBER_MAX], lambda _: b"")
        self._more = iter(entries)


def slots(context: Context, judged: Iterable[Entry], **others: Iterable[Entry]) -> Slots:
    """Give the slot `main`, and others by their names."""
    places = {"main": judged, **others}
    return Slots(context, {Slot(name): Judged(context, entries, name) for name, entries in places.items()})


def found_in(
    resolved: Resolved,
    judged: Iterable[Entry],
    found: Callable[[ChannelRecord], Evidence] = never,
    **others: Iterable[Entry],
) -> InForce:
    return channels.channel_in_force(resolved, channel(), slots(resolved.context, judged, **others), found)


def in_force(
    resolved: Resolved, judged: Iterable[Entry], found: Callable[[ChannelRecord], Evidence] = never
) -> tuple[int | None, list[str]]:
    """Give the number in force and the codes of what was skipped."""
    came = found_in(resolved, judged, found)
    return (None if came.head is None else came.head.record.seq), [item.code for item in came.skipped]


def named(found: InForce) -> int | None:
    """Give the number of the record that says what the channel means."""
    return None if found.naming is None else found.naming.record.seq


# --- reading ---


def test_records_are_read_from_the_newest_down_and_only_when_asked_for(built: Built) -> None:
    asked: list[int] = []

    def read(number: int) -> bytes:
        asked.append(number)
        return b"garbage"

    judged = Records(built.context, channel(), lambda: [1, 3, 2, 3], read)
    assert asked == []
    next(iter(judged))
    assert asked == [3]
    assert [type(entry) for entry in judged] == [Skipped, Skipped, Skipped]
    assert [type(entry) for entry in judged] == [Skipped, Skipped, Skipped]
    assert asked == [3, 2, 1]  # each once
    assert judged.numbers == (3, 2, 1)


def test_the_names_are_listed_once_so_that_what_comes_later_is_not_taken_for_seen(built: Built) -> None:
    listed: list[int] = [1]
    judged = Records(built.context, channel(), lambda: list(listed), lambda _: b"")
    assert judged.numbers == (1,)
    listed.append(2)
    assert judged.numbers == (1,)


def test_an_object_too_large_for_a_record_is_skipped_and_one_that_cannot_be_read_is_not(built: Built) -> None:
    def read(number: int) -> bytes:
        if number == 3:
            raise Malformed("too large", code="too-large")
        raise Unavailable("gone")

    judged = iter(Records(built.context, channel(), lambda: [2, 3], read))
    first = next(judged)
    assert isinstance(first, Skipped)
    assert (first.name, first.code) == ("churn@prod record 3", "too-large")
    with pytest.raises(Unavailable):
        next(judged)


def test_no_record_is_read_whose_number_tells_that_it_is_older(built: Built) -> None:
    def never_read(_: int) -> bytes:
        raise AssertionError("number 4 is before 5")

    assert list(Records(built.context, channel(), lambda: [4], never_read).since((0, 5))) == []
    assert list(Records(built.context, channel(), list, never_read).since((0, 1))) == []


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


def test_the_last_bar_is_looked_for_no_further_down_than_it_can_matter(prod: Resolved) -> None:
    def judged() -> Iterator[Entry]:
        yield record(9, B)
        yield record(8, B, A)
        raise AssertionError("found already")

    def last(
        entries: Iterable[Entry], digest: Digest, *votes: Signed[Approval], before: Order | None = None
    ) -> Order:
        return channels.last_bar(slots(prod.context, entries), digest, votes, before=before)

    assert last(judged(), A, vote("ann", 2)) == (0, 8)

    def shallow() -> Iterator[Entry]:
        yield JUNK
        yield record(5, B)
        raise AssertionError("no approval is older than record 5")

    assert last(shallow(), A, vote("ann", 6), vote("bob", 5)) == (0, 0)
    assert last([record(5, B), record(4, B, A)], B) == (0, 0)
    assert last([record(3, B)], A, vote("ann", 0)) == (0, 0)
    assert last([record(7, None, A), record(3, None, A)], A, vote("ann", 0), before=(0, 7)) == (0, 3)


# --- withdrawals ---


def test_a_withdrawal_of_another_version_leaves_the_channel_with_what_it_followed(prod: Resolved) -> None:
    votes = evidence(vote("ann"), vote("bob"))
    found = found_in(prod, [record(3, None, B, prev=2), JUNK, record(2, A), record(1, A)], votes)
    assert (found.head, named(found), found.bar, found.manifest) == (record(3, None, B, prev=2), 2, None, A)
    twice = [record(4, None, B, prev=3), record(3, None, B, prev=2), record(2, A)]
    assert named(found_in(prod, twice, votes)) == 2


def test_nothing_but_what_a_withdrawal_followed_is_put_in_force_by_it(prod: Resolved) -> None:
    """Who deletes a record, or its approvals, below a withdrawal does not bring back an older version."""
    withdrawal = record(3, None, B, prev=2)
    for below in ([], [record(1, A)]):
        found = found_in(prod, [withdrawal, *below])
        assert (found.head, found.naming, found.manifest) == (withdrawal, None, None)
    found = found_in(prod, [withdrawal, record(2, A), record(1, A)], evidence())
    assert (found.naming, [item.code for item in found.skipped]) == (None, ["approvals-missing"])


def test_what_was_withdrawn_is_barred_whatever_became_of_its_approvals(prod: Resolved) -> None:
    for bar in (record(3, None, A, prev=2), record(3, None, A, B, prev=2)):
        found = found_in(prod, [bar, record(2, A), record(1, B)], never)
        assert (named(found), found.bar) == (2, bar)


def test_a_bar_in_any_slot_keeps_a_version_out_of_every_slot(dev: Resolved) -> None:
    bar = record(6, None, A, slot="b")
    found = found_in(dev, [record(5, A)], b=[bar])
    assert (named(found), found.bar, found.manifest) == (5, bar, None)
    with pytest.raises(Refused) as caught:
        channels.target_of_channel(channel(), found)
    assert caught.value.code == "barred"


def test_of_a_promotion_and_a_withdrawal_with_one_number_in_two_slots_the_withdrawal_counts(
    dev: Resolved,
) -> None:
    assert found_in(dev, [record(5, A)], b=[record(5, None, A, slot="b")]).manifest is None
    assert found_in(dev, [record(5, A)], b=[record(4, None, A, slot="b")]).manifest == A
    assert found_in(dev, [record(5, A)], b=[record(6, None, B, slot="b")]).manifest == A


def test_the_newest_of_several_bars_is_told(dev: Resolved) -> None:
    bars = {name: [record(number, None, A, slot=name)] for name, number in (("b", 6), ("c", 8), ("d", 7))}
    found = found_in(dev, [record(5, A)], never, **bars)
    assert found.bar == bars["c"][0]


def test_approvals_from_before_a_bar_in_another_slot_never_count_again(prod: Resolved) -> None:
    bars = [record(2, None, A, slot="b")]
    old, new = (vote("ann", 1), vote("bob", 1)), (vote("cat", 2), vote("rex", 2))
    assert named(found_in(prod, [record(3)], evidence(*old), b=bars)) is None
    assert named(found_in(prod, [record(3)], evidence(*old, *new), b=bars)) == 3


def test_a_bar_counts_although_what_its_record_promotes_has_no_approvals(prod: Resolved) -> None:
    votes = {A: evidence(vote("ann"), vote("bob")), B: evidence()}

    def lookup(entry: ChannelRecord) -> Evidence:
        return votes[entry.manifest or A](entry)

    found = found_in(prod, [record(6, B, A), record(5, A)], lookup)
    assert (named(found), found.bar) == (5, record(6, B, A))


# --- eras ---


def in_era(resolved: Resolved, era: int, **continues: ChannelHead) -> Resolved:
    """Resolve under a policy of another era, which continues the channel's slots from these heads."""
    context = resolved.context
    heads = {f"prod/{slot}/churn": head for slot, head in continues.items()} or None
    policy = replace(context.policy, era=era, continues=heads)
    policy_id = replace(context.policy_id, era=era)
    return replace(resolved, context=replace(context, policy=policy, policy_id=policy_id))


def ordered(
    resolved: Resolved, monkeypatch: pytest.MonkeyPatch, *entries: Signed[ChannelRecord]
) -> list[tuple[int, int]]:
    """Judge these records, whatever lies there, and give (era, number) in the order that comes of it."""
    by_number = {entry.record.seq: entry for entry in entries}

    def judge(_: object, __: object, number: int, ___: bytes) -> Signed[ChannelRecord]:
        return by_number[number]

    monkeypatch.setattr("vault.core.in_force.channel_record", judge)
    judged = Records(resolved.context, channel(), lambda: by_number, lambda _: b"")
    return [(entry.record.policy.era, entry.record.seq) for entry in judged if isinstance(entry, Signed)]


def test_records_of_a_later_era_are_newer_whatever_their_numbers(
    prod: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [record(2**53), record(9, era=1), record(4, era=2), record(5, era=1), record(3, era=2)]
    expected = [(2, 4), (2, 3), (1, 9), (1, 5), (0, 2**53)]
    assert ordered(in_era(prod, 2), monkeypatch, *entries) == expected


def test_the_record_that_an_era_continues_from_counts_in_it_and_those_above_it_do_not(
    prod: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = record(5)
    entries = (record(2**53), head, record(4))
    for resolved, expected in (
        (in_era(prod, 1, main=ChannelHead(5, head.digest)), [5, 2**53, 4]),
        (in_era(prod, 1, main=ChannelHead(5, Digest("e" * 64))), [2**53, 5, 4]),
        (in_era(prod, 1, main=ChannelHead(6, head.digest)), [2**53, 5, 4]),
        (in_era(prod, 1, b=ChannelHead(5, head.digest)), [2**53, 5, 4]),
        (in_era(prod, 1), [2**53, 5, 4]),
    ):
        assert [seq for _, seq in ordered(resolved, monkeypatch, *entries)] == expected
    lifted = in_era(prod, 1, main=ChannelHead(5, head.digest)).context
    assert channels.order_of(lifted, head) == (1, 5)


def test_a_bar_of_an_earlier_era_does_not_reach_into_a_later_one(dev: Resolved) -> None:
    resolved = in_era(dev, 1)
    found = found_in(resolved, [record(1, A, era=1)], b=[record(2**53, None, A, slot="b")])
    assert found.manifest == A
    assert found_in(resolved, [record(1, A, era=1)], b=[record(2, None, A, era=1, slot="b")]).manifest is None


def test_approvals_of_an_earlier_era_are_before_every_bar_of_a_later_one(prod: Resolved) -> None:
    resolved = in_era(prod, 1)
    votes = evidence(vote("ann", 2**53), vote("bob", 2**53))
    judged = [record(2, A, era=1), record(1, None, A, era=1)]
    assert found_in(resolved, judged, votes).naming is None
    again = evidence(vote("ann", 1, era=1), vote("bob", 1, era=1))
    assert named(found_in(resolved, judged, again)) == 2
    assert named(found_in(resolved, [record(2, A, era=1)], votes)) == 2


# --- what a reference means ---


def test_an_empty_channel_is_not_found_with_the_command_that_fills_it() -> None:
    with pytest.raises(NotFound, match="mvault promote churn:VERSION --env prod"):
        channels.target_of_channel(channel(), InForce(None))


def test_a_channel_gives_what_its_record_names() -> None:
    target = channels.target_of_channel(channel(), InForce(record(5, None, B), record(4)))
    assert (target.version, target.manifest) == ("1", A)
    assert target.via == record(4)


def test_a_channel_that_was_withdrawn_is_barred() -> None:
    withdrawal = record(4, None, A)
    for found in (InForce(withdrawal), InForce(withdrawal, record(3, A), withdrawal)):
        assert found.manifest is None
        with pytest.raises(Refused, match="withdrawn on 23 November 2026") as caught:
            channels.target_of_channel(channel(), found)
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


def test_a_bar_in_one_slot_is_undone_by_a_later_promotion_in_another_only(prod: Resolved) -> None:
    assert target(prod, record(9, A), record(1, None, A, slot="b")) == record(9, A)
    for number in (9, 10):  # at the same number too
        with pytest.raises(Refused) as caught:
            target(prod, record(9, A), record(number, None, A, slot="b"))
        assert caught.value.code == "barred"


def test_a_version_that_was_only_barred_is_barred_even_where_nothing_is_required(dev: Resolved) -> None:
    with pytest.raises(Refused) as caught:
        target(dev, record(1, None, A))
    assert caught.value.code == "barred"
