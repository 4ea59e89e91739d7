"""The lines of a memory file: what each adds, which damage is told, and what a writer that ended leaves."""

import hashlib
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.core import limits, memory_format, memory_journal, names, strict_json
from vault.core.memory_format import Mark, Memory
from vault.core.memory_journal import Stored
from vault.core.strict_json import JSONValue
from vault.errors import Refused

VAULT = "ab" * 32
FILE = "memory.json"


def digest(what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()


def seen(
    *numbers: int, era: int = 1, policy: int | None = None, versions: Iterable[str] = (), root: int = 0
) -> Memory:
    return Memory(
        VAULT,
        root=Mark(0, root, digest(root)) if root else None,
        policy=None if policy is None else Mark(era, policy, digest((era, policy))),
        channels={f"prod/main/m{number}": Mark(era, number, digest(number)) for number in numbers},
        versions={key: digest(key) for key in versions},
        heads={"prod": Mark(era, numbers[0], digest(numbers[0]))} if numbers else {},
    )


def written(first: Memory, *later: Memory) -> tuple[bytes, Stored]:
    """Write a file as a client does; every later memory must fit into a line."""
    data, stored = memory_journal.whole(first)
    for each in later:
        added = memory_journal.line(stored, each, memory_format.merge(stored.memory, each))
        assert added is not None
        data, stored = data + added[0], added[1]
    return data, stored


def text(stored: Stored, payload: bytes) -> bytes:
    """Write any line with the checksum that belongs there."""
    return hashlib.sha256(stored.check.encode() + payload).hexdigest().encode() + b" " + payload + b"\n"


def damaged(data: bytes) -> str:
    with pytest.raises(Refused) as refusal:
        memory_journal.parse(data, VAULT, FILE)
    assert refusal.value.code == "memory-damaged"
    assert refusal.value.subject == FILE
    assert refusal.value.hint
    return refusal.value.message


STEPS = (
    seen(1, policy=1, root=1, versions=["m:1"]),
    seen(2, policy=2, versions=["m:2"]),
    seen(3),
    seen(1, 4, policy=2, versions=["m:4", "m:1"]),
)
LINES, LAST = written(*STEPS)


def test_a_file_of_lines_holds_what_all_of_them_came_to() -> None:
    wanted = STEPS[0]
    for step in STEPS[1:]:
        wanted = memory_format.merge(wanted, step)
    assert memory_journal.parse(LINES, VAULT, FILE) == LAST
    assert LAST.memory == wanted
    assert (LAST.end, LAST.open, LAST.lines) == (len(LINES), True, True)


def test_a_line_holds_what_is_new_and_nothing_else() -> None:
    data, stored = written(STEPS[0])
    after = memory_format.merge(stored.memory, seen(1, 9))
    added = memory_journal.line(stored, seen(1, 9), after)
    assert added is not None
    assert b"m9" in added[0]
    assert b"m1" not in added[0]
    assert len(added[0]) < 300 < len(data)


def test_a_file_as_earlier_releases_wrote_it_is_read_and_takes_no_line() -> None:
    stored = memory_journal.parse(memory_format.encode(STEPS[0]), VAULT, FILE)
    assert stored.memory == STEPS[0]
    assert (stored.open, stored.lines) == (False, False)
    assert memory_journal.line(stored, STEPS[1], memory_format.merge(STEPS[0], STEPS[1])) is None


@settings(deadline=None, max_examples=60)
@given(st.lists(st.builds(seen, st.integers(0, 9), policy=st.integers(1, 4), versions=st.just(["m:7"]))))
def test_what_clients_write_is_read_back_the_same(steps: list[Memory]) -> None:
    data, stored = memory_journal.whole(Memory(VAULT))
    for step in steps:
        after = memory_format.merge(stored.memory, step)
        if after is stored.memory:
            continue
        added = memory_journal.line(stored, step, after)
        assert added is not None
        data, stored = data + added[0], added[1]
        assert memory_journal.parse(data, VAULT, FILE) == stored


@pytest.mark.parametrize("known", [len(LINES), 0])
def test_lines_that_another_client_added_are_read_alone(known: int) -> None:
    first, begun = written(STEPS[0])
    assert memory_journal.extend(begun, LINES[len(first) :], FILE) == LAST
    assert memory_journal.extend(LAST, b"", FILE) == LAST


# --- what ends early ---


def test_a_file_that_ends_anywhere_holds_the_lines_that_are_whole() -> None:
    """Nobody was told that a line is remembered before all of it was on the disk."""
    first, _ = written(STEPS[0])
    states = [written(*STEPS[: count + 1])[1].memory for count in range(len(STEPS))]
    for size in range(len(first), len(LINES)):
        whole_lines = LINES[:size].count(b"\n") + LINES[size : size + 1].count(b"\n")
        stored = memory_journal.parse(LINES[:size], VAULT, FILE)
        assert stored.memory == states[whole_lines - 1]
        assert stored.open == LINES[:size].endswith(b"\n")


@pytest.mark.parametrize("rest", [b"\0", b"\0" * 500, b"{", b"0" * 64, b"0" * 64 + b" {", b"\xff" * 70])
def test_what_a_crash_leaves_after_the_last_line_is_left_out_and_not_written_after(rest: bytes) -> None:
    stored = memory_journal.parse(LINES + rest, VAULT, FILE)
    assert stored.memory == LAST.memory
    assert not stored.open
    assert memory_journal.line(stored, seen(9), memory_format.merge(stored.memory, seen(9))) is None


# --- damage ---


def test_every_flipped_bit_of_a_file_with_lines_is_refused() -> None:
    for bit in range(8 * len(LINES)):
        data = bytearray(LINES)
        data[bit // 8] ^= 1 << bit % 8
        damaged(bytes(data))


def test_a_line_that_is_left_out_repeated_or_put_elsewhere_is_refused() -> None:
    first, *lines, last = LINES.split(b"\n")
    assert (len(lines), last) == (3, b"")
    for order in ([1, 2], [0, 2], [0, 0, 1, 2], [1, 0, 2], [0, 2, 1], [2]):
        damaged(b"\n".join([first, *(lines[index] for index in order), b""]))
    other, _ = written(seen(1, policy=1), *STEPS[1:])
    damaged(other.split(b"\n")[0] + LINES[len(first) :])


def entry(**fields: JSONValue) -> bytes:
    return strict_json.encode(dict(fields))


BAD_ENTRIES = [
    b"",
    b"{}",
    b"null",
    b"[]",
    b"{",
    b' {"channels":{}}',
    entry(channels={}),
    entry(format="mvault-memory-v1"),
    entry(extra={"a": "b"}),
    entry(log={"a": "b"}),
    entry(root=7),
    entry(root=f"0.1.{digest(1)}"),
    entry(policy=f"1.1.{digest((1, 1))}"),
    entry(policy=f"2.9.{digest(9)}"),
    entry(policy=f"0.9.{digest(9)}"),
    entry(channels={"prod/main/m1": f"1.1.{digest(1)}"}),
    entry(channels={"prod/main/m1": f"0.9.{digest(1)}"}),
    entry(channels={"prod/main/m1": f"1.0.{digest(1)}"}),
    entry(channels={"m1": f"1.9.{digest(1)}"}),
    entry(heads={"prod": f"1.1.{digest(2)}"}),
    entry(versions={"m:1": digest("m:1")}),
    entry(versions={"m:1": digest("other")}),
    entry(versions={"m": digest("m")}),
]


def test_as_many_bad_lines_run_as_are_listed() -> None:
    assert len(BAD_ENTRIES) == 23


@pytest.mark.parametrize("payload", BAD_ENTRIES, ids=range(len(BAD_ENTRIES)))
def test_a_line_that_no_client_writes_is_refused_whatever_its_checksum(payload: bytes) -> None:
    data, stored = written(STEPS[0])
    damaged(data + text(stored, payload))


def test_a_line_repeats_no_line_either() -> None:
    data, stored = written(STEPS[0], STEPS[1])
    damaged(data + text(stored, entry(versions={"m:2": digest("m:2")})))
    damaged(data + text(stored, entry(channels={"prod/main/m2": f"1.2.{digest(2)}"})))


def test_lines_cannot_bring_in_more_than_a_memory_holds() -> None:
    data, stored = memory_journal.whole(Memory(VAULT))
    half = limits.MEMORY_ENTRIES // 2 + 1
    for part in range(2):
        payload = entry(versions={f"m{part}:{number}": digest(0) for number in range(1, half + 1)})
        data += text(stored, payload)
        stored = Stored(
            stored.memory, 0, 0, hashlib.sha256(stored.check.encode() + payload).hexdigest(), True
        )
    assert "entries" in damaged(data)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_other_bytes_are_refused_or_hold_an_earlier_state(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(LINES)))
    end = data.draw(st.integers(start, min(len(LINES), start + 6)))
    mutant = LINES[:start] + data.draw(st.binary(max_size=6)) + LINES[end:]
    try:
        stored = memory_journal.parse(mutant, VAULT, FILE)
    except Refused as refusal:
        code = refusal.code
    else:
        memory_format.check(stored.memory, LAST.memory)
        return
    assert code == "memory-damaged"


# --- when a file is written anew ---


def test_where_something_was_forgotten_no_line_will_do() -> None:
    full = Memory(
        VAULT, versions={f"m:{number}": digest(0) for number in range(1, limits.MEMORY_ENTRIES + 1)}
    )
    _, stored = memory_journal.whole(full)
    more = Memory(VAULT, versions={"m:500000": digest(0)})
    after = memory_format.merge(full, more)
    assert len(after.versions) < len(full.versions)
    assert memory_journal.line(stored, more, after) is None


@pytest.mark.parametrize("versions", [(), ("m:1",)])
def test_a_new_era_is_written_anew(versions: tuple[str, ...]) -> None:
    _, stored = written(seen(1, policy=1, versions=versions))
    later = seen(2, policy=1, era=2, versions=["m:2"])
    assert memory_journal.line(stored, later, memory_format.merge(stored.memory, later)) is None


def test_the_lines_of_many_advances_cost_little_more_than_the_memory_itself() -> None:
    stored = memory_journal.whole(Memory(VAULT))[1]
    total = anew = 0
    for number in range(3_000):
        each = Memory(VAULT, channels={f"prod/main/m{number}": Mark(1, 1, digest(number))})
        after = memory_format.merge(stored.memory, each)
        added = memory_journal.line(stored, each, after)
        if added is None:
            anew += 1
            added = memory_journal.whole(after)
        total += len(added[0])
        stored = added[1]
    assert 3 < anew < 30
    assert total < 10 * len(memory_format.encode(stored.memory))


def test_slots_that_were_collected_are_carried_over_to_what_is_read() -> None:
    first, begun = written(STEPS[0])
    begun.memory.slots.update({"prod": {names.slot("main")}})
    other = Memory(VAULT, channels={"prod/b/m1": Mark(1, 9, digest(9))})
    added = memory_journal.line(begun, other, memory_format.merge(begun.memory, other))
    assert added is not None
    assert memory_journal.extend(begun, added[0], FILE).memory.slots == {"prod": {"main", "b"}}
    assert memory_journal.parse(first + added[0], VAULT, FILE).memory.slots == {}
