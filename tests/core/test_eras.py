"""Eras: what a new one continues from, and what a client forgets when it comes to one."""

from dataclasses import replace
from typing import Any

import pytest

from tests.builders import Built, solo
from vault.core import envelope, memory_format, policy_document, strict_json, trust
from vault.core.memory_format import Mark, Memory
from vault.core.names import Digest
from vault.core.policy import ChannelHead
from vault.errors import Malformed, Rollback

VAULT = "ab" * 32
ONE, OTHER = "1" * 64, "2" * 64
KEY = "prod/main/churn"


def memory(era: int, churn: Mark | None = None, *, versions: dict[str, str] | None = None) -> Memory:
    return Memory(
        VAULT,
        policy=Mark(era, 3, ONE),
        channels={} if churn is None else {KEY: churn},
        versions=versions or {},
    )


# --- the document ---


@pytest.fixture(scope="module")
def built() -> Built:
    return solo(seed="eras")


def test_where_an_era_continues_is_read_as_it_was_written(built: Built) -> None:
    heads = {KEY: ChannelHead(7, Digest(ONE)), "dev/b/nepse/NABIL": ChannelHead(1, Digest(OTHER))}
    for continues in (heads, {}, None):
        policy = replace(built.policy, era=1, continues=continues)
        assert policy_document.parse(policy_document.encode(policy), "it").continues == continues


@pytest.mark.parametrize(
    ("era", "continues"),
    [
        (0, {}),
        (0, {KEY: {"digest": ONE, "seq": 1}}),
        (1, []),
        (1, {"prod": {"digest": ONE, "seq": 1}}),
        (1, {"prod/main": {"digest": ONE, "seq": 1}}),
        (1, {"prod/Main/churn": {"digest": ONE, "seq": 1}}),
        (1, {"prod/main/../x": {"digest": ONE, "seq": 1}}),
        (1, {KEY: {"digest": ONE, "seq": 0}}),
        (1, {KEY: {"digest": ONE}}),
        (1, {KEY: {"digest": "x", "seq": 1}}),
        (1, {KEY: {"digest": ONE, "seq": 1, "more": 1}}),
        (1, {KEY: 1}),
    ],
    ids=str,
)
def test_an_era_that_continues_from_nowhere_is_refused(built: Built, era: int, continues: Any) -> None:
    value: Any = strict_json.parse(policy_document.encode(built.policy))
    value.update(era=era, continues=continues)
    with pytest.raises(Malformed):
        policy_document.parse(strict_json.encode(value), "it")


# --- memory ---


def test_in_a_newer_era_the_versions_of_an_older_one_are_not_missed() -> None:
    known = memory(0, versions={"churn:5": ONE})
    assert memory_format.in_era(known, 0) is known
    assert memory_format.in_era(known, 1).versions == {}
    assert memory_format.in_era(Memory(VAULT, versions={"churn:5": ONE}), 1).versions == {"churn:5": ONE}


def test_what_is_merged_keeps_the_versions_of_the_later_era() -> None:
    old, new = memory(0, versions={"churn:5": ONE}), memory(1, versions={"churn:5": OTHER})
    assert memory_format.merge(old, new).versions == {"churn:5": OTHER}
    assert memory_format.merge(new, old) is new
    assert memory_format.merge(old, memory(1)).versions == {}
    same = memory(0, versions={"churn:4": OTHER})
    assert set(memory_format.merge(old, same).versions) == {"churn:4", "churn:5"}


def test_a_channel_goes_on_from_a_lower_number_in_a_newer_era() -> None:
    known = memory(0, churn=Mark(0, 9_999, ONE))
    memory_format.check_channel(known, KEY, Mark(1, 3, OTHER))
    with pytest.raises(Rollback):
        memory_format.check_channel(known, KEY, Mark(0, 3, OTHER))


def test_a_channel_may_be_gone_that_a_newer_era_went_on_without() -> None:
    known = memory(1, churn=Mark(0, 5, ONE))
    memory_format.check_channel(known, KEY, None, lost_before=1)
    with pytest.raises(Rollback):
        memory_format.check_channel(known, KEY, None)
    with pytest.raises(Rollback, match="number 5 was there"):
        memory_format.check_channel(known, KEY, Mark(0, 3, OTHER), lost_before=1)
    in_this_era = memory(1, churn=Mark(1, 5, ONE))
    with pytest.raises(Rollback):
        memory_format.check_channel(in_this_era, KEY, None, lost_before=1)


# --- voters ---


def test_the_voters_of_a_root_are_its_people_who_signed(built: Built) -> None:
    root = built.trusted.root
    assert trust.voters(root, envelope.sign("policy", b"{}", [])) == frozenset()
    owner = built.owner
    signed = envelope.sign("policy", b"{}", [(Digest(owner.key_id), owner.sign)])
    assert trust.voters(root, signed) == {"owner"}
