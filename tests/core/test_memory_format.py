"""What counts as going back: marks, their order, and the bytes in which they are remembered."""

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.core import limits, memory_format, names, trusted_locations
from vault.core.memory_format import Mark, Memory
from vault.core.trusted_locations import Pin
from vault.errors import Refused, Rollback, Unavailable

VAULT = "ab" * 32
KEY = "prod/main/churn"


def digest(what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()


def mark(number: int, *, era: int = 1, content: object = None) -> Mark:
    return Mark(era, number, digest(content or (era, number)))


def channels(**marks: Mark) -> Memory:
    return Memory(VAULT, channels={f"prod/main/{model}": each for model, each in marks.items()})


marks = st.builds(mark, st.integers(0, 5), era=st.integers(0, 2))
memories = st.builds(
    Memory,
    st.just(VAULT),
    root=st.none() | st.builds(mark, st.integers(1, 5), era=st.just(0)),
    policy=st.none() | marks,
    channels=st.dictionaries(st.sampled_from(["prod/main/a", "prod/b/a", "dev/main/x/y"]), marks),
    versions=st.sampled_from([{}, {"a:1": digest(1)}, {"a:1": digest(1), "x/y:1.0.0-rc.1": digest(2)}]),
)


def test_the_same_again_and_anything_newer_is_no_rollback() -> None:
    known = channels(churn=mark(3))
    for seen in (mark(3), mark(4), mark(1, era=2), mark(9, era=2)):
        memory_format.check(known, channels(churn=seen))
    memory_format.check(known, Memory(VAULT))
    memory_format.check(known, channels(other=mark(1)))


@pytest.mark.parametrize("seen", [mark(2), mark(0), mark(3, content="other"), mark(9, era=0)])
def test_a_lower_number_or_other_content_is_a_rollback_of_a_channel(seen: Mark) -> None:
    with pytest.raises(Rollback) as refusal:
        memory_format.check(channels(churn=mark(3)), channels(churn=seen))
    assert refusal.value.code == "rollback"
    assert refusal.value.subject == "churn@prod"
    assert refusal.value.hint


@pytest.mark.parametrize("which", ["root", "policy"])
@pytest.mark.parametrize("seen", [mark(2), mark(3, content="other"), mark(4, era=0)])
def test_and_of_the_root_and_the_policy(which: str, seen: Mark) -> None:
    known: dict[str, Any] = {which: mark(3)}
    offered: dict[str, Any] = {which: seen}
    with pytest.raises(Rollback) as refusal:
        memory_format.check(Memory(VAULT, **known), Memory(VAULT, **offered))
    assert which in refusal.value.message


def test_the_era_comes_before_the_number() -> None:
    fast_forwarded = mark(limits.NUMBER_MAX, era=1)
    memory_format.check(channels(churn=fast_forwarded), channels(churn=mark(1, era=2)))
    with pytest.raises(Rollback):
        memory_format.check(channels(churn=mark(1, era=2)), channels(churn=fast_forwarded))


def test_a_version_means_what_it_meant_at_its_first_use() -> None:
    known = Memory(VAULT, versions={"churn:3": digest("first")})
    memory_format.check(known, known)
    other = Memory(VAULT, versions={"churn:3": digest("second")})
    for compare in (memory_format.check, memory_format.merge):
        with pytest.raises(Rollback) as refusal:
            compare(known, other)
        assert refusal.value.subject == "churn:3"


def test_a_channel_that_was_there_and_is_gone_is_a_rollback() -> None:
    with pytest.raises(Rollback, match="now there is none"):
        memory_format.check_channel(channels(churn=mark(3)), KEY, None)
    memory_format.check_channel(Memory(VAULT), KEY, None)
    memory_format.check_channel(channels(churn=mark(3)), KEY, mark(3))
    with pytest.raises(Rollback):
        memory_format.check_channel(channels(churn=mark(3)), KEY, mark(2))


def test_a_message_names_a_channel_as_people_do() -> None:
    for key, name in ((KEY, "churn@prod"), ("prod/b/nepse/NABIL", "nepse/NABIL@prod/b")):
        with pytest.raises(Rollback) as refusal:
            memory_format.check_channel(Memory(VAULT, channels={key: mark(2)}), key, mark(1))
        assert refusal.value.subject == name


def test_keys_are_made_of_parsed_names() -> None:
    prod, main, model = names.environment("prod"), names.slot("main"), names.model("nepse/NABIL")
    assert memory_format.channel_key(prod, main, model) == "prod/main/nepse/NABIL"
    assert memory_format.version_key(model, names.version("1.4.0")) == "nepse/NABIL:1.4.0"


def test_merging_takes_the_later_of_each_because_another_process_may_have_gone_ahead() -> None:
    merged = memory_format.merge(channels(a=mark(3), b=mark(1)), channels(a=mark(2), b=mark(2), c=mark(1)))
    assert merged == channels(a=mark(3), b=mark(2), c=mark(1))


def test_merging_two_contents_of_one_number_is_a_rollback() -> None:
    with pytest.raises(Rollback):
        memory_format.merge(channels(a=mark(3)), channels(a=mark(3, content="other")))


def test_merging_what_adds_nothing_gives_the_same_object() -> None:
    known = Memory(VAULT, mark(1), mark(2), {KEY: mark(3)}, {"churn:3": digest(3)})
    assert memory_format.merge(known, known) is known
    assert memory_format.merge(known, Memory(VAULT)) is known
    assert memory_format.merge(known, channels(churn=mark(2))) is known


def test_memories_of_two_vaults_are_never_compared() -> None:
    for compare in (memory_format.check, memory_format.merge):
        with pytest.raises(ValueError, match="two vaults"):
            compare(Memory(VAULT), Memory("cd" * 32))


@given(memories, memories)
def test_merging_is_the_least_memory_that_is_behind_neither(a: Memory, b: Memory) -> None:
    merged = memory_format.merge(a, b)
    memory_format.check(a, merged)
    memory_format.check(b, merged)
    assert memory_format.merge(b, a) == merged
    assert memory_format.merge(merged, a) is merged
    for key, each in merged.channels.items():
        assert each in (a.channels.get(key), b.channels.get(key))


@given(memories)
def test_what_was_written_is_read_back_the_same(memory: Memory) -> None:
    assert memory_format.parse(memory_format.encode(memory), VAULT, "m") == memory


FILE = memory_format.encode(
    Memory(VAULT, mark(1, era=0), mark(2), {KEY: mark(3), "dev/b/x/y": mark(1)}, {"churn:3": digest(3)})
)


@settings(deadline=None, max_examples=500)
@given(st.data())
def test_whatever_parses_is_written_as_the_same_bytes(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(FILE)))
    end = data.draw(st.integers(start, min(len(FILE), start + 6)))
    mutant = FILE[:start] + data.draw(st.binary(max_size=6)) + FILE[end:]
    try:
        memory = memory_format.parse(mutant, VAULT, "m")
    except Refused as refusal:
        damage = refusal.code
    else:
        assert memory_format.encode(memory) == mutant
        return
    assert damage == "memory-damaged"


def test_ten_thousand_channels_fit_and_a_memory_that_is_full_can_be_read_again() -> None:
    full = Memory(
        VAULT,
        channels={f"prod/main/nepse/S{number}": mark(number) for number in range(10_000)},
        versions={f"m:{number}": digest(number) for number in range(1, limits.MEMORY_ENTRIES - 9_999)},
    )
    assert memory_format.merge(Memory(VAULT), full) == full
    data = memory_format.encode(full)
    assert len(data) < limits.MEMORY_BYTES
    assert memory_format.parse(data, VAULT, "m") == full


def test_a_full_memory_forgets_the_lowest_versions_and_never_a_channel() -> None:
    known = Memory(
        VAULT,
        channels={KEY: mark(3)},
        versions={f"m:{number}": digest(number) for number in range(1, limits.MEMORY_ENTRIES)},
    )
    merged = memory_format.merge(known, Memory(VAULT, versions={"m:500000": digest(0)}))
    assert merged.channels == known.channels
    assert "m:500000" in merged.versions
    assert "m:1" not in merged.versions
    assert f"m:{limits.MEMORY_ENTRIES - 1}" in merged.versions
    assert len(merged.versions) > limits.MEMORY_ENTRIES * 8 // 10


def test_more_channels_than_a_memory_holds_are_an_error_and_not_forgotten() -> None:
    marks_of_all = {f"prod/main/m{number}": Mark(1, 1, VAULT) for number in range(limits.MEMORY_ENTRIES + 1)}
    with pytest.raises(Unavailable) as refusal:
        memory_format.merge(Memory(VAULT), Memory(VAULT, channels=marks_of_all))
    assert refusal.value.code == "storage-full"


def test_pins_are_read_back_and_may_be_edited_by_hand() -> None:
    pins = {"/models": Pin(names.digest(VAULT), "2026-11-23T05:00:00Z")}
    data = trusted_locations.encode_pins(pins)
    assert trusted_locations.parse_pins(data, "trusted.json") == pins
    assert trusted_locations.parse_pins(data.replace(b":{", b": {\n  ") + b"\n", "trusted.json") == pins


def test_slots_that_were_collected_are_carried_over_to_what_is_merged() -> None:
    """A client that loads ten thousand channels must not look at all of them for each one more."""
    known = channels(churn=mark(1))
    known.slots.update({"prod": {names.slot("main")}})
    more = Memory(VAULT, channels={"prod/b/churn": mark(2), "dev/main/x": mark(1)})
    merged = memory_format.merge(known, more)
    assert merged.slots == {"prod": {"main", "b"}, "dev": {"main"}}
    assert known.slots == {"prod": {"main"}}, "what others look at is left as it is"
    assert memory_format.merge(channels(churn=mark(1)), more).slots == {}, "collected by who first asks"
